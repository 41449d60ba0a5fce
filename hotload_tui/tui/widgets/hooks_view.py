"""``HooksView``: all hook points with their handlers, the line for arguments, and the results of calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import ClassVar, Final, NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import Input

from hotload_tui.core.model import HandlerStatus, HookPointStatus
from hotload_tui.tui import keys
from hotload_tui.tui.calls import HookCall, short_name
from hotload_tui.tui.text import clean_line, milliseconds
from hotload_tui.tui.widgets.panes import Body, DetailFacts, DetailPane, Prompt, RowTable

_TITLES: Final = ("hook point", "handler", "prio", "calls", "faults", "ms")

EMPTY: Final = (
    "enter asks for arguments and calls the hook point; space pins the call: it runs again after each reload."
)
NO_POINTS: Final = 'No hook points yet: a plugin registers at one with ctx.hook("point", handler).'
HINT: Final = 'JSON with commas: "Ada", times=3, or plain text; enter calls, esc does not'


class HookRow(NamedTuple):
    """One row: a hook point with one of its handlers, or without handlers."""

    point: HookPointStatus
    place: int
    handler: HandlerStatus | None


class HooksTable(RowTable):
    """The hook points, with one row per handler, in calling order."""

    BINDINGS = keys.HOOKS


class HooksView(Vertical, DetailPane):
    """Requests calls of hook points and shows the result of each handler."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"hooks--fault", "hooks--warning"}
    KIND = "hooks"
    ROWS = "rows"

    @dataclass
    class CallTyped(Message):
        """The user typed the arguments of a call; ``is_pinned`` if this call is to be pinned."""

        call: HookCall
        is_pinned: bool

    def __init__(self) -> None:
        super().__init__(id="hook-points")
        self.earlier: tuple[HookCall, ...] = ()
        """Earlier calls, the newest first, whose arguments the line offers."""
        self._points: tuple[HookPointStatus, ...] = ()
        self._rows: tuple[HookRow, ...] = ()
        self._results: Content | None = None
        self._asking = ""
        self._is_pinned = False
        """Whether to pin the call that the user is typing."""
        self.table = HooksTable(cursor_type="row", cell_padding=1)
        """The hook points; this table takes the focus of the tab."""
        self._prompt = Prompt(id="arguments")
        self._body = Body(EMPTY)
        self._area = VerticalScroll(self._body, id="results", can_focus=False)

    def compose(self) -> ComposeResult:
        """Lay out the table above the prompt and the results."""
        yield self.table
        yield self._prompt
        yield self._area

    def on_mount(self) -> None:
        """Show the results of pinned calls that ran before the tab was mounted."""
        self._draw()

    def show(self, facts: DetailFacts) -> None:
        """Show all hook points; the cursor stays on its hook point."""
        self._points = facts.points
        if self.is_on_screen:  # a busy host changes the figures all the time
            self.redraw()

    def on_show(self) -> None:
        """Draw the changes that arrived while the tab was hidden."""
        self.redraw()

    def redraw(self) -> None:
        """Draw the rows that match the filter, even if they are not visible: the next key may need them."""
        before, rows = self._rows, tuple(self._wanted_rows())
        if rows == before and self.table.columns:
            if not rows:
                self._draw()  # its text has the number of rows
            return
        here = self._row
        self._rows = rows
        if list(map(_place, rows)) == list(map(_place, before)) and self.table.columns:
            self._update()
            return
        names = max((len(row.point.point) for row in rows), default=0)
        whose = max((len(_who(row.point, row.handler)) for row in rows), default=0)
        widths = (min(20, max(10, names)), min(28, max(12, whose)), 4, 6, 6, 6)
        same = [i for i, row in enumerate(rows) if here and row.point.point == here.point.point]
        cursor = same[min(here.place, len(same) - 1)] if here and same else 0
        self.table.fill(zip(_TITLES, widths, strict=True), map(self._cells, rows), cursor=cursor)
        self._draw()

    def recolour(self) -> None:
        """Draw the rows in the colours of the theme."""
        if self.table.columns:
            self._update()

    def _wanted_rows(self) -> Iterator[HookRow]:
        every = [(point, handler) for point in self._points for handler in point.handlers or (None,)]
        shown = self.of_rows(every, (f"{point.point} {_who(point, handler)}" for point, handler in every))
        for point, rows in groupby(shown, key=itemgetter(0)):
            for place, (_, handler) in enumerate(rows):
                yield HookRow(point, place, handler)

    def _update(self) -> None:
        """Draw the cells that have changed."""
        for number, row in enumerate(self._rows):
            for column, cell in enumerate(self._cells(row)):
                if cell != self.table.get_cell_at(place := Coordinate(number, column)):
                    self.table.update_cell_at(place, cell)

    def _cells(self, row: HookRow) -> list[Text]:
        handler = row.handler
        point = clean_line(row.point.point, 100) if not row.place else ""
        cells = [Text(point, no_wrap=True), Text(_who(row.point, handler), no_wrap=True)]
        if handler is None:
            cells[1].stylize(self.get_component_rich_style("hooks--warning", partial=True))
            return [*cells, Text("-"), Text(str(row.point.calls)), Text("-"), Text("-")]
        faults = Text(str(handler.faults or "-"))
        if handler.faults:
            faults.stylize(self.get_component_rich_style("hooks--fault", partial=True))
        calls, mean = str(handler.calls or "never"), milliseconds(handler.mean_seconds)
        return [*cells, Text(str(handler.priority)), Text(calls), faults, Text(mean)]

    @property
    def _row(self) -> HookRow | None:
        row = self.table.cursor_row
        return self._rows[row] if 0 <= row < len(self._rows) else None

    @property
    def point(self) -> str:
        """The hook point under the cursor; empty if there is none."""
        return self._row.point.point if self._row else ""

    def why_no_point(self) -> str:
        """Return why there is no hook point under the cursor."""
        every = sum(max(1, len(point.handlers)) for point in self._points)
        return self.nothing(every) if every else NO_POINTS

    def on_data_table_row_selected(self) -> None:
        """Ask for the arguments of a call."""
        if self.point:
            self.ask(self.point)
        else:
            self.notify(NO_POINTS, markup=False)

    def ask(self, point: str, *, is_pinned: bool = False) -> None:
        """Open the line for the arguments of a call; ``is_pinned`` if this call is to be pinned."""
        self._asking, self._is_pinned = point, is_pinned
        typed = [call.typed for call in self.earlier if call.point == point]
        latest = typed[0] if typed else ""
        self._prompt.open(Content(f"{clean_line(point, 60)}(…)"), HINT, latest, list(dict.fromkeys(typed)))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Pass the call that the user typed on."""
        event.stop()
        self.leave_prompt()
        self.post_message(self.CallTyped(HookCall(self._asking, event.value.strip()), self._is_pinned))

    def leave_prompt(self) -> bool:
        """Close the line for arguments; return whether it was open."""
        was_open = self._prompt.is_open
        if was_open:
            self.screen.set_focus(self.table)
            self._prompt.close()
        return was_open

    def show_results(self, results: Content | None, *, from_top: bool) -> None:
        """Show the results of calls, or without results a hint; scroll ``from_top`` to see a new one."""
        self._results = results
        if self.is_mounted:
            self._draw()
            if from_top:
                self._area.scroll_home(animate=False)

    def text_to_copy(self) -> str:
        """Return the text of all results."""
        return self._results.plain if self._results else ""

    def _draw(self) -> None:
        hint = EMPTY if self._rows else self.why_no_point()
        self._body.show(self._results or Content.styled(hint, "$foreground-muted"))


def _place(row: HookRow) -> tuple[str, str]:
    return row.point.point, _who(row.point, row.handler)


def _who(point: HookPointStatus, handler: HandlerStatus | None) -> str:
    if handler is None:
        return "no handler: called in vain" if point.calls else "no handler"
    return clean_line(f"{handler.plugin}.{short_name(handler.function)}", 100)
