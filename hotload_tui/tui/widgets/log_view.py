"""``LogView``: the newest lines of a ``LogBook``; it renders only the visible lines."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace
from rich.cells import chop_cells
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from hotload_tui.core.events import LEVELS
from hotload_tui.core.model import Level, LogLine
from hotload_tui.tui import keys
from hotload_tui.tui.framework import Punctual, take_room
from hotload_tui.tui.text import cells, clean_line, clean_lines, clock_time, cut, is_wanted
from hotload_tui.tui.widgets.panes import DetailPane

KEPT: Final = 50_000
"""The maximum number of lines; older lines are dropped."""

STAMP: Final = 9
"""Characters of the time of day and a blank, with which every line begins."""

_GLYPHS: Final = {"debug": ".", "info": " ", "warning": "~", "error": "!"}


class LogEntry(Struct, frozen=True, gc=False):
    """One line for the screen, already cleaned."""

    level: Level
    text: str
    is_step: bool = False
    """Whether the line is a detail of a build, a load or an unload."""


class LogBook:
    """Keeps the newest lines and notifies its readers of new lines."""

    def __init__(self, clock: Callable[[], float], project: Path | None = None) -> None:
        self._clock = clock
        self._inside = f"{project}{os.sep}" if project else ""
        """The prefix of paths inside the project; without it, they fit into a line."""
        self._entries: deque[LogEntry] = deque(maxlen=KEPT)
        self._readers: list[Callable[[], None]] = []
        self._unfinished: dict[Level, str] = {"info": "", "warning": ""}
        self.written = 0
        """The number of lines ever added, including dropped lines."""
        self.newest = ""
        """The text of the last line that is no step; empty if there is none."""

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> LogEntry:
        return self._entries[index]

    def since(self, number: int) -> Iterable[LogEntry]:
        """Return the lines after the first ``number`` lines that were ever added, without dropped lines."""
        return islice(self._entries, max(0, number - self.written + len(self._entries)), None)

    def subscribe(self, reader: Callable[[], None]) -> None:
        """Call ``reader`` after each addition of lines."""
        self._readers.append(reader)

    def add(self, lines: Iterable[LogLine]) -> None:
        """Add lines of the host's log."""
        for line in lines:
            self._write(line.at, line.level, line.plugin, line.text, is_step=line.is_step)
            if line.brief:
                sep = " " if line.brief[0].isdigit() else ": "  # "greet 2 → 3"
                self._write(line.at, line.level, line.plugin, line.brief, sep=sep)
        self._notify_readers()

    def add_print(self, text: str, *, stderr: bool) -> None:
        """Add text that was printed in this process; keep an unfinished line back until its end arrives."""
        level: Level = "warning" if stderr else "info"
        *finished, rest = (self._unfinished[level] + text).split("\n")
        self._unfinished[level] = rest
        for line in finished:
            self._write(self._clock(), level, "stderr" if stderr else "print", line)
        if finished:
            self._notify_readers()

    def _write(
        self, at: float, level: Level, who: str, text: str, *, is_step: bool = False, sep: str = ": "
    ) -> None:
        head = f"{clock_time(at)} {_GLYPHS[level]} "
        owner = f"{clean_line(who, 40)}{sep}" if who else ""
        if self._inside:
            text = text.replace(self._inside, "")
        for line in clean_lines(text.rstrip("\n")):
            entry = LogEntry(level, f"{head}{owner}{line}", is_step)
            self._entries.append(entry)
            self.written += 1
            self.newest = self.newest if is_step else entry.text
            head, owner = " " * len(head), " " * len(owner)

    def _notify_readers(self) -> None:
        for reader in self._readers:
            reader()


class _Piece(NamedTuple):
    line: int
    """The line's number, counted from 0 for the first line ever written."""
    start: int
    end: int


class LogLook(NamedTuple):
    """Which lines a log shows, and how."""

    width: int = 0
    """The cells to wrap at; 0 if lines are not wrapped."""
    stamped: bool = True
    """Whether each line begins with the time of day."""
    wanted: str = ""
    """The filter; only lines that match are shown."""
    steps: bool = False
    """Whether the steps of builds, loads and unloads are shown."""
    least: Level = "debug"
    """The lowest level that is shown."""

    def shows(self, entry: LogEntry) -> bool:
        """Return whether the line is shown."""
        return (
            (self.steps or not entry.is_step)
            and LEVELS[entry.level] >= LEVELS[self.least]
            and (not self.wanted or is_wanted(entry.text, self.wanted))
        )


class LogRows:
    """The rows of the lines of a book that a look shows."""

    def __init__(self, book: LogBook) -> None:
        self._book = book
        self._look = LogLook()
        self._seen = 0
        self._pieces: list[_Piece] = []
        self._widest = 0

    @property
    def widest(self) -> int:
        """The width in cells of the longest row so far; 0 while lines are wrapped."""
        return self._widest

    def lay_out(self, look: LogLook) -> None:
        """Show lines in this way from now on."""
        look = look._replace(wanted=look.wanted.casefold())
        if look != self._look:
            self._look = look
            self._seen = self._widest = 0
            self._pieces = []

    def keep_pace(self) -> None:
        """Add the rows of new lines, and remove the rows of lines that the book has dropped."""
        look, first = self._look, self._book.written - len(self._book)
        for line, entry in enumerate(self._book.since(self._seen), max(first, self._seen)):
            if not look.shows(entry):
                continue
            text = self._text(entry)
            if look.width:
                self._pieces.extend(_Piece(line, *span) for span in _spans(text, look.width))
                continue
            self._widest = max(self._widest, cells(text))
            self._pieces.append(_Piece(line, 0, len(text)))
        self._seen = self._book.written
        del self._pieces[: bisect_left(self._pieces, (first,))]

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, row: int) -> LogEntry:
        piece = self._pieces[row]
        entry = self._book[piece.line - (self._book.written - len(self._book))]
        return replace(entry, text=self._text(entry)[piece.start : piece.end])

    def _text(self, entry: LogEntry) -> str:
        return entry.text if self._look.stamped else entry.text[STAMP:]


def _spans(text: str, width: int) -> Iterator[tuple[int, int]]:
    if text.isascii():
        for start in range(0, max(1, len(text)), width):
            yield start, start + width
        return
    start = 0
    for part in chop_cells(text, width):
        yield start, start + len(part)
        start += len(part)


DRAW_INTERVAL: Final = 0.05
"""Seconds between two reads of the book while many lines arrive."""

LEVEL_NAMES: Final[dict[Level, str]] = {
    "debug": "",
    "info": "no debug lines",
    "warning": "warnings and errors",
    "error": "errors only",
}
"""The lines that a log shows from each level on; empty for all lines."""

EMPTY: Final = "No lines yet. Loads, failures and all that plugins print or log will be here."


class LogView(Punctual, ScrollView, DetailPane, can_focus=True):
    """Follows the end unless the user has scrolled away from it; the user can select and copy text."""

    BINDINGS = keys.LOG
    KIND = "log"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--error", "log--warning", "log--debug", "log--info"}

    class Narrowed(Message):
        """The user has chosen another level."""

    def __init__(
        self,
        book: LogBook,
        *,
        wraps: bool = False,
        stamped: bool = True,
        steps: bool = False,
        least: Level = "debug",
        id: str | None = None,  # noqa: A002 - Textual's name
    ) -> None:
        super().__init__(id=id)
        self._book = book
        self._rows = LogRows(book)
        self.wraps = wraps
        self.stamped = stamped
        self.steps = steps
        self.least = least
        self._due = False
        self._follows = True
        self._growing = False
        book.subscribe(self._book_grew)

    @property
    def allow_select(self) -> bool:
        """``True``: the user can select lines with the mouse."""
        return True

    def on_mount(self) -> None:
        """Show the lines that are in the book already."""
        self._drain()

    def on_show(self) -> None:
        """Show the lines that arrived while the view was hidden; its size is known only after the layout."""
        self.call_after_refresh(self._drain)

    def on_resize(self) -> None:
        """Stay at the end when the view's size changes."""
        self.call_after_refresh(self._drain)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow new lines while the user has scrolled to the end."""
        super().watch_scroll_y(old_value, new_value)
        if not self._growing:
            self._follows = self.is_vertical_scroll_end

    def action_scroll_end(self) -> None:
        """Scroll to the end and follow it, even if lines arrive at the same moment."""
        self._follows = True
        self._drain()

    def action_toggle_follow(self) -> None:
        """Follow new lines, or stop following them."""
        self._follows = not self._follows
        self._drain()
        self.notify("Following new lines." if self._follows else "Staying here; f follows.", markup=False)

    def action_toggle_wrap(self) -> None:
        """Wrap lines that are wider than the view, or cut them."""
        self.wraps = not self.wraps
        self.scroll_to(0, animate=False, immediate=True)
        self._drain()

    def action_toggle_stamps(self) -> None:
        """Show or hide the time of each line."""
        self.stamped = not self.stamped
        self._drain()

    def action_toggle_steps(self) -> None:
        """Show or hide the steps of builds, loads and unloads."""
        self.steps = not self.steps
        self._drain()
        self.notify("With all steps and times." if self.steps else "One line for each reload.", markup=False)

    def action_next_level(self) -> None:
        """Show only lines from the next level on; after the highest level, all lines."""
        levels = list(LEVEL_NAMES)
        self.least = levels[(levels.index(self.least) + 1) % len(levels)]
        self._drain()
        self.post_message(self.Narrowed())
        self.notify(f"Log: {LEVEL_NAMES[self.least] or 'lines of all levels'}.", markup=False)

    def describe(self) -> str:
        """Describe the filter and the level; empty if all lines are shown."""
        parts = [LEVEL_NAMES[self.least] and f"log {LEVEL_NAMES[self.least]}", super().describe()]
        return ", ".join(filter(None, parts))

    def nothing(self, number: int) -> str:
        """Return the reason why none of ``number`` lines is shown."""
        if self.filter:
            return super().nothing(number)
        return f"0 of {number:,} {self.ROWS} are {LEVEL_NAMES[self.least]}: l chooses the level."

    def redraw(self) -> None:
        """Draw the lines that match the filter."""
        self._drain()

    def text_to_copy(self) -> str:
        """Return the newest line."""
        return self._book.newest

    def _book_grew(self) -> None:
        if self.is_on_screen and not self._due:
            self._due = True
            self.set_timer(DRAW_INTERVAL, self._drain)

    def _drain(self) -> None:
        self._due = False
        width = self.scrollable_content_region.width
        look = LogLook(width if self.wraps else 0, self.stamped, self.filter, self.steps, self.least)
        self._rows.lay_out(look)
        self._rows.keep_pace()
        self._growing = True
        take_room(self, Size(self._rows.widest, max(len(self._rows), 1)))
        if self._follows:
            # force=True: nothing scrolls without a scrollbar, which may appear only with the next layout.
            self.scroll_end(animate=False, immediate=True, x_axis=False, force=True)
        self._growing = False
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line of the visible part."""
        scroll_x, scroll_y = self.scroll_offset
        index, width = scroll_y + y, self.size.width
        plain = self.rich_style
        if index >= len(self._rows):
            text = "" if index else self._nothing()
            return Strip([Segment(text, plain)]).crop_extend(0, width, plain)
        entry = self._rows[index]
        text = entry.text
        if not scroll_x and not (self.text_selection and self.text_selection.get_span(index)):
            text = cut(text, self.scrollable_content_region.width)  # a marked text is copied whole
        style = plain + self.get_component_rich_style(f"log--{entry.level}", partial=True)
        strip = Strip(self._segments(index, text, style))
        return strip.crop_extend(scroll_x, scroll_x + width, plain).apply_offsets(scroll_x, index)

    def _nothing(self) -> str:
        is_narrow = self.filter or self.least != "debug"
        return self.nothing(len(self._book)) if is_narrow and len(self._book) else EMPTY

    def _segments(self, index: int, text: str, style: Style) -> list[Segment]:
        selection = self.text_selection
        span = selection.get_span(index) if selection else None
        if span is None:
            return [Segment(text, style)]
        start, end = span
        end = len(text) if end == -1 else end
        marked = style + self.screen.get_component_rich_style("screen--selection")
        return [Segment(text[:start], style), Segment(text[start:end], marked), Segment(text[end:], style)]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return the selected text."""
        return selection.extract(
            "\n".join(entry.text for entry in map(self._rows.__getitem__, range(len(self._rows))))
        ), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        """Draw the selected part again."""
        self.refresh()
