"""``REQUIRES`` in ``plugin.py``, read without running anything."""

from __future__ import annotations

import ast
import warnings

from hotload_tui.core.errors import CompileError

NAME = "REQUIRES"


def requires_of(plugin: str, content: bytes, file_name: str) -> tuple[str, ...]:
    """Return the plugins that ``plugin.py`` says it requires; the source compiles.

    Raises ``CompileError`` for a value that only running the module would tell.
    """
    if NAME.encode() not in content:
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler has said them
        body = ast.parse(content).body
    found: tuple[str, ...] = ()
    for statement in body:
        targets, value = _assignment(statement)
        if any(isinstance(target, ast.Name) and target.id == NAME for target in targets):
            names = _names(value)
            if names is None:
                problem = (
                    f'{NAME} is read without running the module: write a list of names, {NAME} = ["other"]'
                )
                raise CompileError(plugin, problem, file=file_name, line=statement.lineno)
            found = names
    return found


def _assignment(statement: ast.stmt) -> tuple[list[ast.expr], ast.expr | None]:
    match statement:
        case ast.Assign(targets, value):
            return targets, value
        case ast.AnnAssign(target, _, value) if value is not None:
            return [target], value
        case ast.AugAssign(target):
            return [target], None
        case _:
            return [], None


def _names(value: ast.expr | None) -> tuple[str, ...] | None:
    if not isinstance(value, ast.List | ast.Tuple):
        return None
    names = [element.value for element in value.elts if isinstance(element, ast.Constant)]
    words = [name for name in names if isinstance(name, str) and name]
    return tuple(dict.fromkeys(words)) if len(words) == len(value.elts) else None
