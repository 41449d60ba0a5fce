"""``PluginTable``: one row per plugin; the cursor stays on its plugin when rows appear or disappear."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from rich.console import JustifyMethod
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import var
from textual.widgets import Static

from hotload_tui.core.model import HookPointStatus, PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.framework import put_cells
from hotload_tui.tui.text import clean_line, cut, duration, milliseconds, short
from hotload_tui.tui.view_state import Arrangement, figures
from hotload_tui.tui.widgets.panes import Body, RowTable

GAP: Final = 1
"""The empty cell between two columns; the header marks the sort column there if its title is as wide."""

BESIDE: Final = 100
"""The width in columns from which on the table is beside the details, and not above them."""

SHARE: Final = 0.46
"""The maximum share of the screen's width of a table beside the details."""

HEIGHT: Final = (10, 0.42)
"""The rows of a table above the details: as many as it needs, but at most these or this share."""

SMALL_HEIGHT: Final = (6, 0.25)
"""The same while the details have the focus."""

NAME_ROOM: Final = (11, 40)
"""The minimum and maximum number of cells for a plugin's name."""

STYLES: Final = {state: f"plugins--{state.name.lower()}" for state in PluginState}
"""The component class of each state."""

MARK: Final = "*"
"""The mark between glyph and word of a plugin that failed while another plugin was selected."""


class PluginRow(NamedTuple):
    """The values from which a row is drawn."""

    status: PluginStatus
    now: float
    calls: int = 0
    """Calls of the plugin's handlers since its generation was loaded."""
    faults: int = 0
    """The number of these calls that raised."""


class Column(NamedTuple):
    """One column of the table."""

    key: str
    title: str
    width: int
    rank: int
    """The table drops columns of high rank first if they do not fit; rank 0 always stays."""
    show: Callable[[PluginRow], str]
    """Returns the text of one plugin's cell."""
    is_figure: bool = False
    """Whether the column is aligned to the right."""

    def text(self, text: str) -> Text:
        """Return a text as aligned in this column."""
        justify: JustifyMethod = "right" if self.is_figure else "left"
        return Text(text, no_wrap=True, overflow="ellipsis", justify=justify)


def _points(row: PluginRow) -> str:
    return clean_line(", ".join(place.point for place in row.status.points) or "-", 100)


def _age(row: PluginRow) -> str:
    return duration(row.now - row.status.loaded_at) if row.status.loaded_at else "-"


COLUMNS: Final = (
    Column("state", "state", 8, 0, lambda row: row.status.sign),
    Column("plugin", "plugin", NAME_ROOM[0], 0, lambda row: clean_line(row.status.name, 100)),
    Column("points", "hook points", 23, 6, _points),
    Column("generation", "gen", 3, 2, lambda row: str(row.status.generation or "-"), is_figure=True),
    Column("compile", "build ms", 8, 5, lambda row: milliseconds(row.status.compile_seconds), is_figure=True),
    Column("load", "load ms", 7, 1, lambda row: milliseconds(row.status.load_seconds), is_figure=True),
    Column("calls", "calls", 5, 4, lambda row: short(row.calls), is_figure=True),
    Column("faults", "faults", 6, 3, lambda row: short(row.faults), is_figure=True),
    Column("age", "age", 4, 0, _age, is_figure=True),
)


def fitting(width: int, longest_name: int) -> tuple[Column, ...]:
    """Return the columns that fit into ``width`` cells, with the name as wide as it needs and can be."""
    low, high = NAME_ROOM
    chosen: list[Column] = []
    used = 0
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        if column.rank and used + column.width + GAP > width:
            break
        chosen.append(column)
        used += column.width + GAP
    name_width = max(low, min(high, longest_name, low + width - used))
    return tuple(
        column._replace(width=name_width) if column.key == "plugin" else column
        for column in COLUMNS
        if any(column.key == other.key for other in chosen)
    )


def cells_of(columns: Iterable[Column]) -> int:
    """Return the number of cells that these columns take."""
    return sum(column.width + GAP for column in columns)


_UNDRAWN = Text()


class PluginTable(RowTable):
    """Shows one row per plugin, and posts which plugin the user chooses and opens."""

    BINDINGS = keys.TABLE
    COMPONENT_CLASSES: ClassVar[set[str]] = {*STYLES.values(), "plugins--mark"}

    @dataclass
    class Chosen(Message):
        """The cursor has moved to another plugin; ``name`` is empty if there is no plugin."""

        name: str

    @dataclass
    class SortWanted(Message):
        """The user has clicked on the header of the column with this title."""

        title: str

    class Opened(Message):
        """The user wants to see the details of the chosen plugin."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(cursor_type="row", header_height=1, cell_padding=0)
        self.chosen = ""
        self.order = Arrangement()
        """The order of the rows, which the header marks."""
        self.room = 0
        """The cells that the columns may take."""
        self.since = -math.inf
        """The table marks only faults after this time."""
        self._clock = clock
        self._columns_now: tuple[Column, ...] = ()
        self._titles_now: tuple[str, ...] = ()
        self._shown: dict[str, PluginStatus] = {}
        self._figures: dict[str, tuple[int, int]] = {}
        self._marked: set[str] = set()
        self._waiting: set[str] = set()
        """The names of plugins whose drawn rows are out of date."""

    def on_mount(self) -> None:
        """Lay out the columns, and update the ages once a second."""
        self.border_title = "Plugins"
        self._lay_out()
        self.set_interval(1, lambda: self._draw(self._shown.values()))

    def on_resize(self) -> None:
        """Draw the rows that are visible now, and keep the cursor's row visible."""
        self._draw_seen()
        self.move_cursor(row=self.cursor_row, animate=False)

    def recolour(self) -> None:
        """Draw the rows in the colours of the theme."""
        self._draw(self._shown.values())

    def fit(self, room: int) -> None:
        """Show the columns that fit into ``room`` cells."""
        self.room = room
        self._lay_out()

    @property
    def content_cells(self) -> int:
        """The number of cells that all columns take."""
        return cells_of(self._columns_now)

    @property
    def name_cells(self) -> int:
        """The number of cells that the columns up to the plugin's name take."""
        return cells_of(self._columns_now[:2])

    def show(
        self, plugins: tuple[PluginStatus, ...], of: int, points: tuple[HookPointStatus, ...] = ()
    ) -> None:
        """Show ``plugins``, out of ``of`` plugins in all; draw only the rows that changed."""
        earlier, self._figures = self._figures, figures(points)
        before, self._shown = self._shown, {plugin.name: plugin for plugin in plugins}
        for plugin in plugins:
            self._mark(plugin, before.get(plugin.name))
        self._marked &= self._shown.keys()
        self._waiting &= self._shown.keys()
        gone, added = before.keys() - self._shown.keys(), self._shown.keys() - before.keys()
        for name in gone:
            self.remove_row(name)
        for plugin in plugins:
            if plugin.name in added:
                self._add(plugin)
        number = f"{len(plugins)} of {of}" if len(plugins) < of else str(of)
        title = f"Plugins ({number})" if of else "Plugins"
        if title != self.border_title:  # setting the title paints the whole table
            self.border_title = title
        if not self._lay_out():
            self._draw(
                plugin
                for plugin in plugins
                if before.get(plugin.name, plugin) != plugin
                or earlier.get(plugin.name) != self._figures.get(plugin.name)
            )
        moved = list(self._shown) != [row.key.value for row in self.ordered_rows]
        if moved:
            self._refill()  # the order changed, or new rows were added at the end
        if moved or added or gone:
            self.choose(self.chosen if self.chosen not in gone else self._next_to_chosen(list(before)))
            self.on_data_table_row_highlighted()

    @property
    def plugins(self) -> tuple[PluginStatus, ...]:
        """The plugins of the rows, in their order."""
        return tuple(self._shown.values())

    def _next_to_chosen(self, before: list[str]) -> str:
        """Return the plugin to choose instead of a removed one: the next plugin, or else the previous one."""
        at = before.index(self.chosen)
        return next((name for name in [*before[at:], *before[at::-1]] if name in self._shown), "")

    def choose(self, name: str) -> None:
        """Put the cursor on a plugin if the table shows it."""
        if name in self._shown:
            self.move_cursor(row=self.get_row_index(name), animate=False)
            self.on_data_table_row_highlighted()  # the next key may be meant for this plugin

    def text_to_copy(self) -> str:
        """Return the path and the digest of the chosen plugin."""
        plugin = self._shown.get(self.chosen)
        return f"{plugin.path} {plugin.digest}".strip() if plugin else ""

    def _refill(self) -> None:
        self.clear()
        self._waiting.clear()
        for plugin in self._shown.values():
            self._add(plugin)
        self._draw_seen()

    def _add(self, plugin: PluginStatus) -> None:
        """Add a row; its cells are drawn when the row becomes visible."""
        self.add_row(*[_UNDRAWN] * len(self._columns_now), key=plugin.name)
        self._waiting.add(plugin.name)

    def _lay_out(self) -> bool:
        """Choose the columns again; return whether they changed."""
        longest = max((len(name) for name in self._shown), default=0)
        columns = fitting(self.room, longest)
        titles = tuple(self._title(column) for column in columns)
        if (columns, titles) == (self._columns_now, self._titles_now):
            return False
        self._columns_now, self._titles_now = columns, titles
        self.clear(columns=True)
        for column, title in zip(columns, titles, strict=True):
            self.add_column(column.text(title), width=column.width + GAP, key=column.key)
        self._refill()
        self.choose(self.chosen)
        return True

    def _title(self, column: Column) -> str:
        """Return the title of a column, with a mark if the rows are sorted by it."""
        if column.title != self.order.sort:
            return column.title
        mark = "▴" if self.order.is_ascending else "▾"
        return f"{mark}{column.title}" if column.is_figure else f"{column.title}{mark}"

    def _cell(self, plugin: PluginStatus, column: Column) -> Text:
        row = PluginRow(plugin, self._clock(), *self._figures.get(plugin.name, ()))
        text = column.text(column.show(row))
        if column.key == "state":
            text.stylize(self.get_component_rich_style(STYLES[plugin.state], partial=True))
            if plugin.name in self._marked:
                style = self.get_component_rich_style("plugins--mark", partial=True)
                text = text[:1] + Text(MARK, style) + text[2:]
            if plugin.raises:
                text.stylize(self.get_component_rich_style("plugins--fail", partial=True), len(text) - 1)
        return text

    def _draw(self, plugins: Iterable[PluginStatus]) -> None:
        """Draw the cells of these rows whose text has changed; hidden rows wait until they are visible."""
        self._waiting.update(plugin.name for plugin in plugins)
        self._draw_seen()

    def _draw_seen(self) -> None:
        top = int(self.scroll_offset.y)
        seen = self.ordered_rows[top : top + max(1, self.size.height)]
        changed = {}
        for name in [row.key.value for row in seen if row.key.value in self._waiting]:
            self._waiting.discard(name)
            for column, old in zip(self._columns_now, self.get_row(name), strict=True):
                cell = self._cell(self._shown[name], column)
                if cell != old:
                    changed[name, column.key] = cell
        if changed:
            put_cells(self, changed)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Draw the changes in rows that become visible."""
        super().watch_scroll_y(old_value, new_value)
        self._draw_seen()

    def _mark(self, plugin: PluginStatus, before: PluginStatus | None) -> None:
        if plugin.fault is None:
            self._marked.discard(plugin.name)
        elif (
            before is not None
            and before.fault != plugin.fault
            and plugin.fault.at > self.since
            and plugin.name != self.chosen
        ):
            self._marked.add(plugin.name)

    def on_data_table_row_highlighted(self) -> None:
        """Post ``Chosen`` if the cursor has moved to another plugin, but not if rows only moved."""
        row, rows = self.cursor_row, self.ordered_rows
        name = (rows[row].key.value or "") if 0 <= row < len(rows) else ""  # -1 in an empty table
        if name != self.chosen:
            self.chosen = name
            if name in self._marked:
                self._marked.discard(name)
                self._draw([self._shown[name]])
            self.post_message(self.Chosen(name))

    def on_data_table_header_selected(self, event: RowTable.HeaderSelected) -> None:
        """Post ``SortWanted`` for the column whose header was clicked."""
        title = next(column.title for column in COLUMNS if column.key == event.column_key.value)
        self.post_message(self.SortWanted(title))

    def on_data_table_row_selected(self) -> None:
        """Post ``Opened`` for the plugin under the cursor."""
        self.post_message(self.Opened())


class Problems(Body):
    """Lists each plugin that has a problem, in one line."""

    def __init__(self) -> None:
        super().__init__()
        self.id = "problems"
        self._plugins: tuple[PluginStatus, ...] = ()

    def on_mount(self) -> None:
        """Set the title."""
        self.border_title = "Problems"

    def on_resize(self) -> None:
        """Cut the lines to the new width."""
        self.list(self._plugins)

    def list(self, plugins: Iterable[PluginStatus]) -> None:
        """Show the problems of these plugins; the widget is hidden if there are none."""
        self._plugins = tuple(plugins)
        texts = [(plugin, problem_of(plugin)) for plugin in self._plugins]
        lines = [
            cut(f"{plugin.state.glyph} {clean_line(plugin.name, 40)} {text}", max(1, self.size.width))
            for plugin, text in texts
            if text
        ]
        self.set_class(bool(lines), "-shown")
        self.show(Content("\n").join(map(Content, lines)))


def problem_of(plugin: PluginStatus) -> str:
    """Return the problem of a plugin in one line; empty if it has none."""
    fault = plugin.fault
    if fault is None:
        return clean_line(plugin.held or plugin.waits or plugin.old, 300)
    place = f"{Path(fault.place.file).name}:{fault.place.line} " if fault.place and fault.place.line else ""
    return clean_line(f"{place}{fault.type}: {fault.message}", 300)


class PluginPane(Vertical):
    """Holds the table, a text for an empty table, and the list of problems; it takes the room it needs."""

    empty: var[str] = var("")
    """The text below the header; empty while there are rows."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(id="plugins")
        self.table = PluginTable(clock)
        self.problems = Problems()
        self._guide = Body()
        self._guide.id = "guide"
        self._empty = Static(id="no-plugins", markup=False)
        self._taken: tuple[int | None, int | None] = (None, None)
        """The width and height in cells that were set; ``None`` for those of the style sheet."""

    def compose(self) -> ComposeResult:
        """Lay out the table above the texts."""
        yield self.table
        yield self._empty
        yield self.problems
        yield self._guide

    def guide(self, text: str) -> None:
        """Show what the user may press next, below the table; nothing for an empty text."""
        self._guide.show(Content(text))
        self.set_class(bool(text), "-guided")

    def watch_empty(self, text: str) -> None:
        """Show the new text."""
        self.set_class(bool(text), "-empty")
        self._empty.update(text)

    def fit(self, screen: Size, *, is_small: bool, is_alone: bool) -> None:
        """Take as much of a screen of this size as the table needs, so that the details get the rest.

        ``is_small``: the details have the focus and take more. ``is_alone``: the table is maximised.
        """
        is_beside = screen.width >= BESIDE and not is_alone
        self.table.fit((int(screen.width * SHARE) if is_beside else screen.width) - 1)  # 1: scroll bar
        width, height = None, None
        if is_beside:
            # A scroll bar may lie on the gap after the name, but else it needs a cell.
            is_narrow = is_small and not self.empty
            width = self.table.name_cells if is_narrow else self.table.content_cells + 1
        elif not is_alone:
            rows, share = SMALL_HEIGHT if is_small else HEIGHT
            most = max(rows, int(screen.height * share))
            height = most if self.empty else min(most, self.table.row_count + 2 + self.has_class("-guided"))
        if (width, height) != self._taken:
            self._taken = width, height
            self.styles.width, self.styles.height = width, height
