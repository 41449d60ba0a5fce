from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len

from hotload_tui.tui.terminal import ASCII, speaks_utf8

AGREED = Path(__file__).parent / "screens"


@pytest.mark.parametrize(
    ("environment", "speaks"),
    [
        ({}, True),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8@euro"}, True),
        ({"LC_CTYPE": "UTF-8", "LANG": "C"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "en_US"}, False),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "POSIX", "LANG": "C.UTF-8"}, False),
        ({"LC_ALL": "en_US.UTF-8", "LC_CTYPE": "C", "LANG": "C"}, True),
    ],
)
def test_the_locale_says_what_a_terminal_shows(environment: dict[str, str], *, speaks: bool) -> None:
    """LC_ALL overrides LC_CTYPE, which overrides LANG; without all of them the terminal counts as UTF-8."""
    assert speaks_utf8(environment) is speaks


@pytest.mark.parametrize("screen", sorted(AGREED.iterdir()), ids=lambda path: path.stem)
def test_a_screen_in_ascii_has_everything_where_it_was(screen: Path) -> None:
    """In ASCII, every view keeps its words, lines and width."""
    lines = screen.read_text("utf-8").splitlines()
    poor = [line.translate(ASCII) for line in lines]
    assert all(map(str.isascii, poor))
    assert list(map(len, poor)) == list(map(cell_len, lines))
    assert {sign for sign in "".join(lines) if sign != "?" and "?" in sign.translate(ASCII)} <= {"🔎"}


@pytest.mark.parametrize(
    ("text", "poor"),
    [
        ("naïve café", "naive cafe"),
        ("日本", "????"),
        ("e\u0301", "e"),
        ("½", "?"),
        ("\x1b[1m┏━\x1b[0m", "\x1b[1m+-\x1b[0m"),
    ],
)
def test_the_ascii_fallback_takes_as_many_cells(text: str, poor: str) -> None:
    """Letters lose their accents, other characters become question marks, and control sequences stay."""
    assert text.translate(ASCII) == poor
