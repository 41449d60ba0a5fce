"""Reads of files beside a plugin's code that go to the disk, past the artifact; nothing is executed."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Final

from hotload_tui.core.source import SourceFile, decoded

_READS: Final = frozenset({"open", "read_text", "read_bytes"})
_PLACE: Final = "__file__"
_ADVICE: Final = (
    "reads the disk as it is at that moment, also in a version that is older; importlib.resources reads the"
    " file as this version has it"
)


def live_reads(file: SourceFile) -> Iterator[str]:
    """Warn, as ``file:line: text``, of each ``open`` and the like of a path made from ``__file__``."""
    if _PLACE.encode() not in file.content:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(decoded(file.content))
    places = _made_from_place(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_of(node.func) in _READS and _names(node) & places:
            yield f"{file.path}:{node.lineno}: {_name_of(node.func)}() of a path made from {_PLACE} {_ADVICE}"


def _made_from_place(tree: ast.Module) -> set[str]:
    """Return ``__file__`` and all names that are set to something made from it."""
    made = {_PLACE}
    assignments = sorted(
        (node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value),
        key=lambda node: node.lineno,
    )
    for node in assignments:
        if _names(node.value) & made:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                made |= _names(target)
    return made


def _names(node: ast.AST | None) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} if node else set()


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
