"""``Script``: the code of a generation, asked for the words that stand in it."""

from __future__ import annotations

import dis
from collections.abc import Iterable, Iterator
from types import CodeType

from hotload_tui.core.ledger.owner import Place


class Script:
    """The code of a generation: which words it has, and where."""

    def __init__(self, codes: Iterable[CodeType]) -> None:
        self._modules = list(codes)
        self._codes: list[CodeType] = []

    def mentions(self, *words: str) -> Place | None:
        """Return where one of the words stands first, as a name or in a string; ``None`` for nowhere."""
        if not self._codes:  # most plugins change nothing, and nobody asks
            self._codes = [inner for code in self._modules for inner in _nested(code)]
        for word in words:
            for code in self._codes:
                if word in code.co_names or any(_says(constant, word) for constant in code.co_consts):
                    return Place.of(code.co_filename, _line_of(code, word))
        return None


def _says(constant: object, word: str) -> bool:
    if type(constant) is str:
        return constant == word or constant.endswith(f".{word}")
    return type(constant) is tuple and any(_says(item, word) for item in constant)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _nested(constant)


def _line_of(code: CodeType, word: str) -> int:
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = (step.positions.lineno if step.positions else None) or line
        if step.argval == word or _says(step.argval, word):
            return line
    return code.co_firstlineno
