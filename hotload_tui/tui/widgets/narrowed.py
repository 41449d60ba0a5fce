"""``Narrowed``: a pane that shows only the lines, or rows, that its user wants to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar

from textual.content import Content
from textual.widget import Widget

from hotload_tui.tui.text import clean_line, is_wanted

_Row = TypeVar("_Row")


class Narrowed(Widget):
    """Has a filter of its own, which stays when another tab or plugin is looked at."""

    KIND: ClassVar[str]
    """What the pane shows, as its filter is named."""

    ROWS: ClassVar[str] = "lines"
    """What a filter leaves out."""

    filter: str = ""
    """``text``, or ``!text`` for what has it not; empty for everything."""
    _found = ""

    def draw_anew(self) -> None:
        """Draw what is wanted now."""
        self.refresh()

    def narrow(self, wanted: str) -> None:
        """Show only what has this text in it (``!text``: has it not); everything for an empty one."""
        self.filter = wanted
        self.scroll_to(0, 0, animate=False, immediate=True)
        self.draw_anew()

    def describe(self) -> str:
        """Say what is not as usual; empty when everything is shown."""
        return f"{self.KIND} filter {clean_line(self.filter, 30)}{self._found}" if self.filter else ""

    def wants(self, text: str) -> bool:
        """Tell whether a line or row with this text is to be shown."""
        return is_wanted(text, self.filter.casefold())

    def of_rows(self, rows: Iterable[_Row], texts: Iterable[str]) -> tuple[_Row, ...]:
        """Return the rows that are wanted by their texts, and remember of how many."""
        every = list(zip(rows, texts, strict=True))
        shown = tuple(row for row, text in every if self.wants(text))
        self._found = f": {len(shown)} of {len(every)}"
        return shown

    def of_lines(self, text: Content) -> Content:
        """Return the first line and those of the others that are wanted."""
        if not self.filter:
            return text
        title, *lines = text.split("\n", allow_blank=True)
        shown: Sequence[Content] = [line for line in lines if self.wants(line.plain)]
        return Content("\n").join([title, *(shown or [Content(self.nothing(len(lines)))])])

    def nothing(self, number: int) -> str:
        """Say why no line is shown of so many."""
        return f"0 of {number:,} {self.ROWS} match {clean_line(self.filter, 40)}: esc clears the filter."
