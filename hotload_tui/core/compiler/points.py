"""Hook points that a plugin's source names, read without running anything."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from hotload_tui.core.compiler.code import is_module

_METHOD = "hook"


class NamedPoints(Struct, frozen=True):
    """What the calls of ``ctx.hook`` in a source say."""

    points: frozenset[str]
    is_all: bool
    """Whether each call names its hook point in words."""


def named_points(files: Mapping[str, bytes], default: str | None) -> NamedPoints:
    """Return the hook points that files name; ``default`` is the one that the configuration names."""
    points: set[str | None] = set()
    for path, content in files.items():
        if not is_module(path) or _METHOD.encode() not in content:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler says them
                tree = ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            points.add(None)
            continue
        points.update(_points(tree, default))
    return NamedPoints(frozenset(point for point in points if point is not None), None not in points)


def _points(tree: ast.AST, default: str | None) -> Iterator[str | None]:
    """Yield the hook point of each call, ``None`` where only running it would tell."""
    nodes = list(ast.walk(tree))
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in nodes:
        match node:
            case ast.Call(ast.Attribute(attr="hook"), [ast.Constant(str(point)), *_]):
                yield point
            case ast.Call(ast.Attribute(attr="hook"), [ast.Lambda()]):
                yield default
            case ast.Call(ast.Attribute(attr="hook"), [ast.Name(name)]) if name in functions:
                yield default
            case ast.Call(ast.Attribute(attr="hook"), _):
                yield None
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                yield from _of_decorators(decorators, default)
            case _:
                pass


def _of_decorators(decorators: Iterable[ast.expr], default: str | None) -> Iterator[str | None]:
    """Yield for ``@ctx.hook``; with parentheses it is a call, seen as such."""
    for decorator in decorators:
        if isinstance(decorator, ast.Attribute) and decorator.attr == _METHOD:
            yield default
