"""The parts that several panes share: text, tables, filters, and an input line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple, TypeVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from hotload_tui.core.model import HookPointStatus, PluginStatus
from hotload_tui.tui.framework import PromptSuggester, measure_again
from hotload_tui.tui.requests import CloseUp
from hotload_tui.tui.text import NO_PLUGIN, clean_line, is_wanted


class Body(Static):
    """Plain text, which Textual never reads as markup."""

    def __init__(self, text: str = "", *, is_wrapped: bool = False) -> None:
        """Begin with ``text``; with ``is_wrapped``, no line is wider than the pane."""
        super().__init__(text, markup=False)
        self._text = Content(text)
        self._is_wrapped = is_wrapped

    def show(self, text: Content) -> None:
        """Show ``text``; lay out the screen again only if the size may change."""
        if text.is_same(self._text):
            return
        before, self._text = self._text, text
        has_other_size = self._measures(text) != self._measures(before)
        if has_other_size:
            measure_again(self)
        self.update(text, layout=has_other_size)

    def _measures(self, text: Content) -> list[int]:
        """Return the values that decide the size: the cells of each line, or only the number of lines."""
        if self._is_wrapped:
            return [text.plain.count("\n")]
        return [cell_len(line) for line in text.plain.split("\n")]


class RowTable(DataTable[Text]):
    """A table in which a click moves the cursor, and only a double click has the effect of enter."""

    def fill(
        self, columns: Iterable[tuple[str, int]], rows: Iterable[Iterable[Text]], *, cursor: int
    ) -> None:
        """Replace all columns (title and width in cells) and rows, and put the cursor on a row."""
        self.clear(columns=True)
        for title, width in columns:
            self.add_column(Text(title), width=width)
        for row in rows:
            self.add_row(*row)
        self.move_cursor(row=cursor, animate=False)

    def on_click(self, event: events.Click) -> None:
        """Prevent Textual from treating a single click on the cursor's row as enter."""
        row: object = event.style.meta.get("row")
        if row == self.cursor_row:
            event.prevent_default()
            if event.chain == 2:  # noqa: PLR2004 - a double click
                self.action_select_cursor()


_Row = TypeVar("_Row")


class Filterable(Widget):
    """A pane with its own filter, which stays when the user opens another tab or plugin."""

    KIND: ClassVar[str]
    """The name of the pane's content in texts about its filter."""

    ROWS: ClassVar[str] = "lines"
    """The name of the items that the filter hides."""

    filter: str = ""
    """``text``, or ``!text`` for items without this text; empty for all items."""
    _found = ""

    def redraw(self) -> None:
        """Draw the items that match the filter."""
        self.refresh()

    def narrow(self, wanted: str) -> None:
        """Set the filter to ``wanted``, scroll to the top and draw again."""
        self.filter = wanted
        self.scroll_to(0, 0, animate=False, immediate=True)
        self.redraw()

    def describe(self) -> str:
        """Describe the filter; empty if there is none."""
        return f"{self.KIND} filter {clean_line(self.filter, 30)}{self._found}" if self.filter else ""

    def wants(self, text: str) -> bool:
        """Return whether a line or row with this text matches the filter."""
        return is_wanted(text, self.filter.casefold())

    def of_rows(self, rows: Iterable[_Row], texts: Iterable[str]) -> tuple[_Row, ...]:
        """Return the rows whose texts match the filter, and store both numbers for ``describe``."""
        every = list(zip(rows, texts, strict=True))
        shown = tuple(row for row, text in every if self.wants(text))
        self._found = f": {len(shown)} of {len(every)}"
        return shown

    def of_lines(self, text: Content) -> Content:
        """Return the first line and all other lines that match the filter."""
        if not self.filter:
            return text
        title, *lines = text.split("\n", allow_blank=True)
        shown: Sequence[Content] = [line for line in lines if self.wants(line.plain)]
        return Content("\n").join([title, *(shown or [Content(self.nothing(len(lines)))])])

    def nothing(self, number: int) -> str:
        """Return the reason why none of ``number`` items is shown."""
        return f"0 of {number:,} {self.ROWS} match {clean_line(self.filter, 40)}: esc clears the filter."


class DetailFacts(NamedTuple):
    """The values that the detail tabs show."""

    status: PluginStatus | None = None
    """The selected plugin."""
    closeup: CloseUp = CloseUp()
    faulty: tuple[str, ...] = ()
    """The names of all plugins that have a fault."""
    points: tuple[HookPointStatus, ...] = ()


class DetailPane(Filterable):
    """The content of a detail tab."""

    def show(self, facts: DetailFacts) -> None:
        """Show these values."""

    def recolour(self) -> None:
        """Draw cells again that have a colour of the previous theme in their text."""


class TextPane(ScrollableContainer, DetailPane, can_focus=True):
    """A pane of text, drawn only while it is visible: each draw makes Textual lay out the whole screen.

    Its keys scroll at once. Textual scrolls after the next refresh, and a key that depends on what is on the
    screen would see it as it was before an earlier key.
    """

    def __init__(self, *, is_wrapped: bool = False) -> None:
        """With ``is_wrapped``, no line of the text is wider than the pane."""
        self.body = Body(NO_PLUGIN, is_wrapped=is_wrapped)
        super().__init__(self.body)
        self.facts = DetailFacts()
        self._is_due = True

    def shown_facts(self, facts: DetailFacts) -> object:
        """Return the values that the text depends on."""
        return facts

    def show(self, facts: DetailFacts) -> None:
        """Store these values, and draw the text if it depends on a value that has changed."""
        before, self.facts = self.facts, facts
        if self.shown_facts(facts) != self.shown_facts(before):
            self.redraw()

    def on_show(self) -> None:
        """Draw the changes that arrived while the pane was hidden."""
        if self._is_due:
            self.redraw()

    def redraw(self) -> None:
        """Draw the text that matches the filter, at once or when the pane becomes visible."""
        self._is_due = not self.is_on_screen
        if not self._is_due:
            self.body.show(self.text())

    def text(self) -> Content:
        """Return the text that matches the filter."""
        raise NotImplementedError

    def action_scroll_home(self) -> None:
        """Scroll to the top."""
        self.scroll_home(animate=False, immediate=True, x_axis=self.scroll_y == 0)

    def action_scroll_end(self) -> None:
        """Scroll to the end."""
        self.scroll_end(animate=False, immediate=True, x_axis=False)

    def action_scroll_up(self) -> None:
        """Scroll up by one row."""
        self.scroll_up(animate=False, immediate=True)

    def action_scroll_down(self) -> None:
        """Scroll down by one row."""
        self.scroll_down(animate=False, immediate=True)


class Earlier(PromptSuggester):
    """Completes a text with the newest earlier text that begins with it."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.texts: Sequence[str] = ()
        """The earlier texts, the newest first."""

    async def get_suggestion(self, value: str) -> str | None:
        """Return the completed text; ``None`` if no earlier text matches."""
        return next((text for text in self.texts if text.startswith(value) and text != value), None)


class Prompt(Input):
    """An input line: up and down select earlier texts, right accepts the completion."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "turn(1)", "Earlier", show=False),
        Binding("down", "turn(-1)", "Later", show=False),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's name
        self._earlier = Earlier()
        super().__init__(compact=True, suggester=self._earlier, id=id)
        self._turn = -1

    @property
    def is_open(self) -> bool:
        """Whether the line is shown."""
        return self.has_class("-open")

    def open(self, title: str | Content, hint: str, text: str, earlier: Sequence[str] = ()) -> None:
        """Show and focus the line with ``text`` in it, selected so that typing replaces it."""
        self._earlier.texts = tuple(earlier)
        self._turn = -1
        self.placeholder = hint
        self.border_title = title
        self.value = text
        self.add_class("-open")
        self.screen.set_focus(self)

    def close(self) -> None:
        """Hide the line."""
        self.remove_class("-open")

    def action_turn(self, by: int) -> None:
        """Insert the next earlier text (``by`` is 1), or the next later one (-1)."""
        texts = self._earlier.texts
        if texts:
            self._turn = max(-1, min(len(texts) - 1, self._turn + by))
            self.value = texts[self._turn] if self._turn >= 0 else ""
            self.cursor_position = len(self.value)
