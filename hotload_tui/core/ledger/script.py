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
        self._words: dict[str, CodeType] = {}

    def mentions(self, *words: str) -> Place | None:
        """Return where one of the words stands first, as a name or in a string; ``None`` for nowhere."""
        if not self._words:  # most plugins change nothing, and nobody asks
            for module in self._modules:
                for code in _nested(module):
                    for word in _words_of(code):
                        self._words.setdefault(word, code)
        for word in words:
            if word in self._words:
                found = self._words[word]
                return Place.of(found.co_filename, _line_of(found, word))
        return None


def _words_of(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        yield from _words_in(constant)


def _words_in(constant: object) -> Iterator[str]:
    """Yield what ``_says`` is true of: a text, and what follows each dot of a dotted name."""
    if type(constant) is tuple:
        for item in constant:
            yield from _words_in(item)
    elif type(constant) is str:
        yield constant
        if "." in constant and not any(map(str.isspace, constant)):
            parts = constant.split(".")
            for index in range(1, len(parts)):
                yield ".".join(parts[index:])


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
