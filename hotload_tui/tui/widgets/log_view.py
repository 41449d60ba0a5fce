"""``LogView``: the newest lines of a ``LogBook``, drawn line by line."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from hotload_tui.tui import keys
from hotload_tui.tui.log_book import LogBook

PACE: Final = 0.05
"""Seconds between two looks at the book while lines pour in."""

EMPTY: Final = "No lines yet. Loads, failures and all that plugins print or log will be here."


class LogView(ScrollView, can_focus=True):
    """Follows the end, unless its user has scrolled away from it; text can be selected and copied."""

    BINDINGS = keys.SCROLL
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--error", "log--warning", "log--debug", "log--info"}

    def __init__(self, book: LogBook, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own word
        super().__init__(id=id)
        self._book = book
        self._widest = 0
        self._due = False
        self._follows = True
        self._growing = False
        self._written = 0
        book.subscribe(self._book_grew)

    @property
    def allow_select(self) -> bool:
        """Lines can be marked with the mouse."""
        return True

    def on_mount(self) -> None:
        """Show what is in the book already."""
        self._drain()

    def on_show(self) -> None:
        """Catch up with what came while the view was hidden; its size is known only after the layout."""
        self.call_after_refresh(self._drain)

    def on_resize(self) -> None:
        """Stay at the end when the view grows or shrinks."""
        self.call_after_refresh(self._drain)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow new lines again when its user comes back to the end."""
        super().watch_scroll_y(old_value, new_value)
        if not self._growing:
            self._follows = self.is_vertical_scroll_end

    def action_scroll_end(self) -> None:
        """Go to the end and follow it; lines that come in the same moment do not keep it from that."""
        self._follows = True
        self._drain()

    def _book_grew(self) -> None:
        if self.is_attached and not self._due:
            self._due = True
            self.set_timer(PACE, self._drain)

    def _drain(self) -> None:
        self._due = False
        total = len(self._book)
        for index in range(max(0, total - (self._book.written - self._written)), total):
            self._widest = max(self._widest, cell_len(self._book[index].text))
        self._written = self._book.written
        self._growing = True
        self.virtual_size = Size(self._widest, max(total, 1))
        if self._follows:
            # By force: the scrollbar, without which nothing scrolls, may come only with the next layout.
            self.scroll_end(animate=False, immediate=True, x_axis=False, force=True)
        self._growing = False
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line of the visible part."""
        scroll_x, scroll_y = self.scroll_offset
        index, width = scroll_y + y, self.size.width
        plain = self.rich_style
        if index >= len(self._book):
            text = EMPTY if index == 0 else ""
            return Strip([Segment(text, plain)]).crop_extend(0, width, plain)
        entry = self._book[index]
        style = plain + self.get_component_rich_style(f"log--{entry.level}", partial=True)
        strip = Strip(self._segments(index, entry.text, style))
        return strip.crop_extend(scroll_x, scroll_x + width, plain).apply_offsets(scroll_x, index)

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
        """Return the text that is marked."""
        return selection.extract(
            "\n".join(entry.text for entry in map(self._book.__getitem__, range(len(self._book))))
        ), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        """Draw the marked part anew."""
        self.refresh()
