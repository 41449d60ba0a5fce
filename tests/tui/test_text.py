from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotload_tui.tui.text import clean, clean_line, clean_lines, duration, milliseconds, short_path


@given(st.text(st.characters(), max_size=200))
def test_no_control_character_survives(text: str) -> None:
    """Cleaned text has no escape, no NUL and no lone surrogate."""
    shown = clean(text)
    controls = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n", "\t"}
    assert not controls & set(shown)
    shown.encode("utf-8")
    assert not any(mark in shown for mark in "\u202e\u2066\u200f\u2028")
    assert "\n" not in clean_line(text)
    assert "\t" not in clean_line(text)


def test_columns_stay_where_they_are() -> None:
    """Each character is replaced by one character, so that carets stay in place."""
    assert len(clean("a\x1b[2Jb\x00c")) == len("a\x1b[2Jb\x00c")


def test_markup_is_left_as_it_is() -> None:
    """Markup is left as plain text."""
    assert clean_line("[red]x[/red] C:\\[dir]") == "[red]x[/red] C:\\[dir]"


def test_an_endless_line_is_cut_and_says_how_long_it_was() -> None:
    """A line of a megabyte is cut, and its end says how long it was."""
    shown = clean_line("x" * 1_000_000)
    assert len(shown) < 2100
    assert shown.endswith("(1,000,000 characters)")


def test_lines_are_split_and_tabs_expanded() -> None:
    """A text is split into lines with expanded tabs, as a terminal shows them."""
    assert clean_lines("a\tb\r\nc") == ["a   b", "c"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-3, "0s"), (59.9, "59s"), (60, "1m"), (7199, "1h"), (86400 * 40, "40d")]
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    """A duration is shown in its largest unit, rounded down."""
    assert duration(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "-"), (0.0004, "0.4"), (0.0523, "52.3"), (1.5, "1500")])
def test_milliseconds_have_three_digits(seconds: float, shown: str) -> None:
    """A duration is shown in milliseconds, and a missing one as a dash."""
    assert milliseconds(seconds) == shown


def test_paths_are_relative_to_the_project_where_they_can_be() -> None:
    """A path inside the project is shown relative to it, and others in full."""
    assert short_path("/project/plugins/p", Path("/project")) == "plugins/p"
    assert short_path("/usr/lib", Path("/project")) == "/usr/lib"
