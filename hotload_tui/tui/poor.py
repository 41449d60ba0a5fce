"""Terminals without UTF-8: which they are, and what stands for a character that they cannot show."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from rich.cells import get_character_cell_size

_SHAPES: Final = {
    **dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺╼╾\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),  # and dashes
    **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻╽╿▏▎▍▌▋▊▉▐▕", "|"),
    **dict.fromkeys("▁▂", "."),
    **dict.fromkeys("▃▄", ":"),
    **dict.fromkeys("▅▆▀▔", "="),
    **dict.fromkeys("▇█░▒▓", "#"),
    **dict.fromkeys("…→⇒▶►≥", ">"),
    **dict.fromkeys("←⇐⏎↵◀◄≤", "<"),
    **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
    **dict.fromkeys("•●·∙", "*"),
    **dict.fromkeys("\u00d7", "x"),
    "↑": "^",
    "↓": "v",
    "µ": "u",
}
_LINES: Final = range(0x2500, 0x2580)


class _Ascii(dict[int, str]):
    """What stands for each character, by its number: as many cells as the character takes."""

    def __missing__(self, number: int) -> str:
        self[number] = found = _ascii(chr(number))
        return found


ASCII: Final[Mapping[int, str]] = _Ascii()
"""For ``str.translate``; control characters and ASCII stay what they are."""


def speaks_utf8(environment: Mapping[str, str]) -> bool:
    """Tell whether text in UTF-8 can be shown; so it is believed where nothing says otherwise.

    The first of these that is set counts, as POSIX has it: ``LC_ALL``, ``LC_CTYPE``, ``LANG``.
    """
    names = (environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    wanted = next(filter(None, names), "")
    language, _, rest = wanted.partition("@")[0].partition(".")
    coding = rest or language  # macOS has a locale that is called UTF-8
    return not wanted or coding.replace("-", "").casefold() == "utf8"


def _ascii(character: str) -> str:
    if character.isascii():
        return character
    if character in _SHAPES:
        return _SHAPES[character]
    if ord(character) in _LINES:
        return "+"
    cells = get_character_cell_size(character)
    letters = "".join(filter(str.isascii, unicodedata.normalize("NFKD", character)))
    return letters if len(letters) == cells else "?" * cells
