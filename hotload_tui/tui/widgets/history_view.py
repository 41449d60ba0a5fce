"""The history: the generations of one plugin, and the changes of all plugins, with the newest on top."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from rich.text import Text
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from hotload_tui.core.model import Fault, HistoryEntry, PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.text import clean_line, clock_time, milliseconds
from hotload_tui.tui.widgets.panes import DetailFacts, DetailPane, RowTable

KEPT: Final = 100
"""The maximum number of changes; older changes are dropped."""

_NAME: Final = 16
"""Cells for a plugin's name."""

_STYLES: Final = {"!": "bold $text-error", "+": "$text-success", "-": "$foreground-muted"}


class TimelineEntry(NamedTuple):
    """One change of a plugin."""

    at: float
    name: str
    glyph: str
    text: str


class Timeline(Widget, can_focus=True):
    """Lists the differences between reads; it misses a generation that came and went between two reads."""

    def __init__(self) -> None:
        super().__init__()
        self._plugins: dict[str, PluginStatus] | None = None
        self._changes: list[TimelineEntry] = []

    def on_mount(self) -> None:
        """Set the title."""
        self.border_title = "Timeline"

    def show(self, plugins: Iterable[PluginStatus], now: float) -> None:
        """Add the changes since the previous read."""
        before, self._plugins = self._plugins, {plugin.name: plugin for plugin in plugins}
        news = [
            change
            for plugin in self._plugins.values()
            if before is None or before.get(plugin.name) is not plugin
            for change in _changes((before or {}).get(plugin.name), plugin, now)
        ]
        news += [
            TimelineEntry(now, name, " ", "gone") for name in (before or {}) if name not in self._plugins
        ]
        if news:
            self._changes = sorted([*self._changes, *news], key=lambda change: change[:2])[-KEPT:]
            self.refresh()

    def render(self) -> Content:
        """Draw as many changes as fit."""
        shown = self._changes[: -self.size.height - 1 : -1]
        return Content("\n").join(_line(change, self.size.width) for change in shown)


def _changes(before: PluginStatus | None, now: PluginStatus, seen: float) -> Iterator[TimelineEntry]:
    name = now.name
    if now.generation and (before is None or now.generation != before.generation):
        text = f"generation {now.generation}, load {milliseconds(now.load_seconds)} ms"
        yield TimelineEntry(now.loaded_at, name, "+", text)
    fault = now.fault
    if fault is not None and (before is None or before.fault is None or before.fault.at != fault.at):
        step = fault.step(now.generation)
        yield TimelineEntry(fault.at, name, "!", f"{step} failed: {fault.type}: {fault.message}")
    if before is None:
        return
    if before.fault is not None and fault is None and now.generation == before.generation:
        over = f"no more faults, as in {before.fault.step(now.generation)}"
        text = over if before.fault.is_running else "fixed, nothing was loaded"
        yield TimelineEntry(seen, name, "+", text)
    if now.state is PluginState.OFF and before.state is not PluginState.OFF:
        yield TimelineEntry(seen, name, "-", "disabled")
    if bool(now.held) != bool(before.held):
        yield TimelineEntry(seen, name, "=", "held" if now.held else "released")


def _line(change: TimelineEntry, width: int) -> Content:
    name = clean_line(change.name)
    line = Content.assemble(
        (clock_time(change.at), "$foreground-muted"),
        " ",
        (change.glyph, _STYLES.get(change.glyph, "")),
        f" {name[:_NAME]:<{_NAME}} {clean_line(change.text, 200)}",
    )
    return line.truncate(width, ellipsis=True)


_COLUMNS: Final = (("gen", 4), ("time", 8), ("digest", 12))
_FIGURES: Final = (("build ms", 8), ("load ms", 7))
"""The columns that are shown only if the outcome still has enough cells."""
_OUTCOME: Final = 22
"""The minimum number of cells for an outcome."""
_PADDING: Final = 2
NOTHING: Final = "Nothing has happened to it in this host yet; r builds it."


class GenerationRow(NamedTuple):
    """One entry, and whether its generation is live."""

    entry: HistoryEntry
    is_live: bool


class HistoryView(RowTable, DetailPane):
    """Lists the history of one plugin, the newest entry first."""

    BINDINGS = keys.HISTORY
    KIND = "history"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"history--live", "history--failed", "history--gone"}

    @dataclass
    class Wanted(Message):
        """The user wants to roll back to an earlier generation."""

        name: str
        generation: int

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=1)
        self._status: PluginStatus | None = None
        self._every: tuple[GenerationRow, ...] = ()
        self._rows: tuple[GenerationRow, ...] = ()
        """The rows that match the filter."""
        self._has_figures = False

    def show(self, facts: DetailFacts) -> None:
        """Show the plugin's history; the cursor stays on its entry."""
        status = facts.status
        now = status.generation if status else 0
        rows = tuple(
            GenerationRow(entry, bool(now) and entry.generation == now)
            for entry in reversed(facts.closeup.history)
        )
        same = status is not None and self._status is not None and status.name == self._status.name
        self._status = status
        if rows == self._every and same:
            return
        here = self._row if same and self.cursor_row > 0 else None  # a cursor at the top stays there
        self._every = rows
        self._draw(here)

    def redraw(self) -> None:
        """Draw the rows that match the filter."""
        self._draw(self._row)

    def recolour(self) -> None:
        """Draw the rows in the colours of the theme."""
        self.redraw()

    def on_resize(self) -> None:
        """Fit the outcome to the new width."""
        self.redraw()

    def _draw(self, kept: GenerationRow | None) -> None:
        """Draw the rows with the cursor on ``kept``; do nothing while hidden, until the next resize."""
        self._rows = self.of_rows(self._every, map(_words, self._every))
        if not self.size.width:
            return
        room = self.size.width - 1 - sum(width + _PADDING for _, width in _COLUMNS) - _PADDING
        figures = sum(width + _PADDING for _, width in _FIGURES)
        self._has_figures = room - figures >= _OUTCOME
        outcome = ("outcome", max(_OUTCOME, room - figures * self._has_figures))
        columns = (*_COLUMNS, *(_FIGURES if self._has_figures else ()), outcome)
        place = next((i for i, row in enumerate(self._rows) if kept and row.entry.at == kept.entry.at), 0)
        self.fill(columns, map(self._cells, self._rows), cursor=place)

    def text_to_copy(self) -> str:
        """Return the text of the entry under the cursor."""
        row = self._row
        return f"{_generation(row)} {row.entry.digest} {_outcome(row)}" if row else ""

    @property
    def _row(self) -> GenerationRow | None:
        return self._rows[self.cursor_row] if 0 <= self.cursor_row < len(self._rows) else None

    def _cells(self, row: GenerationRow) -> list[Text]:
        entry = row.entry
        style = "history--live" if row.is_live else "history--failed" if entry.fault else ""
        if not style and not entry.can_return:
            style = "history--gone"
        drawn = self.get_component_rich_style(style, partial=True) if style else ""
        figures = (milliseconds(entry.compile_seconds), milliseconds(entry.load_seconds))
        texts = (
            _generation(row),
            clock_time(entry.at),
            clean_line(entry.digest[:12]) or "-",
            *(figures if self._has_figures else ()),
            _outcome(row),
        )
        return [Text(text, drawn, no_wrap=True, overflow="ellipsis") for text in texts]

    def on_data_table_row_selected(self) -> None:
        """Request a rollback to the entry under the cursor, or show why it is not possible."""
        row, status = self._row, self._status
        if row is None or status is None:
            self.notify(NOTHING, markup=False)
            return
        if reason := _why_not(row, status):
            self.notify(reason, markup=False)
        else:
            self.post_message(self.Wanted(status.name, row.entry.generation))


def _why_not(row: GenerationRow, status: PluginStatus) -> str:
    if row.is_live:
        return "This generation is live now."
    if row.entry.count:
        return "This is a fault, and not a version: there is nothing to go back to."
    if not row.entry.generation:
        return "This one never was live: there is nothing to go back to."
    if not row.entry.can_return:
        return "Its artifact is gone: keep_generations in hotload.toml says how many are kept."
    return f"{clean_line(status.name, 40)} is off; d enables it." if status.state is PluginState.OFF else ""


def _generation(row: GenerationRow) -> str:
    if not row.entry.generation:
        fault = row.entry.fault
        return f"!{fault.generation or ''}" if fault and row.entry.count else "!"
    return f"{'>' if row.is_live else ' '}{row.entry.generation}"


def _words(row: GenerationRow) -> str:
    return f"{_generation(row)} {clock_time(row.entry.at)} {row.entry.digest} {_outcome(row)}"


def _outcome(row: GenerationRow) -> str:
    entry = row.entry
    if entry.fault is not None and entry.count:
        return clean_line(_counted(entry, entry.fault), 400)
    if entry.fault is not None:
        return clean_line(f"{entry.fault.phase} failed: {entry.fault.type}: {entry.fault.message}", 200)
    if row.is_live:
        return "live"
    memory = clean_line(entry.memory, 200) or "still being retired"
    back = "" if entry.can_return else ", artifact gone"
    return f"memory {memory}{back}" if entry.memory else f"{memory}{back}"


def _counted(entry: HistoryEntry, fault: Fault) -> str:
    often = f" {entry.count:,}x" if entry.count > 1 else ""
    parts = [f"{fault.phase} failed{often}: {fault.type}: {fault.message}"]
    parts += [f"called as {fault.call}"] if fault.call else []
    parts += [f"last at {clock_time(entry.last)}"] if entry.count > 1 else []
    return "; ".join(parts)
