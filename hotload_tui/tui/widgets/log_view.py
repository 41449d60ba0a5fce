"""``LogView``: the newest lines of a ``LogBook``, drawn line by line."""

from __future__ import annotations

from typing import ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from hotload_tui.tui import keys
from hotload_tui.tui.log_book import LogBook
from hotload_tui.tui.log_rows import LogRows
from hotload_tui.tui.messages import Remark
from hotload_tui.tui.widgets.narrowed import Narrowed

PACE: Final = 0.05
"""Seconds between two looks at the book while lines pour in."""

EMPTY: Final = "No lines yet. Loads, failures and all that plugins print or log will be here."


class LogView(ScrollView, Narrowed, can_focus=True):
    """Follows the end, unless its user has scrolled away from it; text can be selected and copied."""

    BINDINGS = keys.LOG
    KIND = "log"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--error", "log--warning", "log--debug", "log--info"}

    def __init__(
        self,
        book: LogBook,
        *,
        wraps: bool = False,
        stamped: bool = True,
        id: str | None = None,  # noqa: A002 - Textual's own word
    ) -> None:
        super().__init__(id=id)
        self._book = book
        self._rows = LogRows(book)
        self.wraps = wraps
        self.stamped = stamped
        self._due = False
        self._follows = True
        self._growing = False
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

    def action_toggle_follow(self) -> None:
        """Follow new lines, or stay."""
        self._follows = not self._follows
        self._drain()
        self.post_message(Remark("Following new lines." if self._follows else "Staying here; f follows."))

    def action_toggle_wrap(self) -> None:
        """Wrap lines that are longer than the view, or cut them."""
        self.wraps = not self.wraps
        self.scroll_to(0, animate=False, immediate=True)
        self._drain()

    def action_toggle_stamps(self) -> None:
        """Show the time of each line, or not."""
        self.stamped = not self.stamped
        self._drain()

    def draw_anew(self) -> None:
        """Draw the lines that are wanted now."""
        self._drain()

    def text_to_copy(self) -> str:
        """Return the newest line."""
        return self._book.newest

    def _book_grew(self) -> None:
        if self.is_on_screen and not self._due:
            self._due = True
            self.set_timer(PACE, self._drain)

    def _drain(self) -> None:
        self._due = False
        width = self.scrollable_content_region.width
        self._rows.lay_out(width=width if self.wraps else 0, stamped=self.stamped, wanted=self.filter)
        self._rows.keep_pace()
        self._growing = True
        self._take_room(Size(self._rows.widest, max(len(self._rows), 1)))
        if self._follows:
            # By force: the scrollbar, without which nothing scrolls, may come only with the next layout.
            self.scroll_end(animate=False, immediate=True, x_axis=False, force=True)
        self._growing = False
        self.refresh()

    def _take_room(self, size: Size) -> None:
        """Be of this size inside; without a layout of the whole screen where no scrollbar comes or goes."""
        if self.show_vertical_scrollbar and size.height > self.container_size.height:
            self.set_reactive(LogView.virtual_size, size)
            self._scroll_update(size)
        else:
            self.virtual_size = size

    def render_line(self, y: int) -> Strip:
        """Draw one line of the visible part."""
        scroll_x, scroll_y = self.scroll_offset
        index, width = scroll_y + y, self.size.width
        plain = self.rich_style
        if index >= len(self._rows):
            text = "" if index else self._nothing()
            return Strip([Segment(text, plain)]).crop_extend(0, width, plain)
        entry = self._rows[index]
        style = plain + self.get_component_rich_style(f"log--{entry.level}", partial=True)
        strip = Strip(self._segments(index, entry.text, style))
        return strip.crop_extend(scroll_x, scroll_x + width, plain).apply_offsets(scroll_x, index)

    def _nothing(self) -> str:
        return self.nothing(len(self._book)) if len(self._book) else EMPTY

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
            "\n".join(entry.text for entry in map(self._rows.__getitem__, range(len(self._rows))))
        ), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        """Draw the marked part anew."""
        self.refresh()
