"""``PluginTable``: a row per plugin, its cursor kept on the same plugin whatever comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import DataTable

from hotload_tui.core.plugin import PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.widgets.columns import Column, fitting

_TROUBLE = (PluginState.FAIL, PluginState.STALE)
MARK = "*"
"""Between glyph and word of a plugin that broke while another one was looked at."""


class PluginTable(DataTable[Text]):
    """Shows the plugins in order of name; tells which one is chosen and which one is opened."""

    BINDINGS = keys.TABLE
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"plugins--{state.name.lower()}" for state in PluginState),
        "plugins--mark",
    }

    class Chosen(Message):
        """The cursor is on another plugin; an empty name: there is none."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class Opened(Message):
        """The details of the chosen plugin are wanted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(cursor_type="row", header_height=1, cell_padding=1)
        self.chosen = ""
        self._clock = clock
        self._columns_now: tuple[Column, ...] = ()
        self._shown: dict[str, PluginStatus] = {}
        self._marked: set[str] = set()

    def on_mount(self) -> None:
        """Lay out the columns and let ages grow."""
        self.border_title = "Plugins"
        self._lay_out()
        self.set_interval(1, self._fill)

    def on_resize(self, event: events.Resize) -> None:
        """Show as many columns as fit now."""
        if event.size.width:
            self._lay_out()

    def show(self, plugins: tuple[PluginStatus, ...]) -> None:
        """Show these plugins from now on."""
        names = {plugin.name for plugin in plugins}
        for plugin in plugins:
            self._mark(plugin, self._shown.get(plugin.name))
        gone, added = self._shown.keys() - names, names - self._shown.keys()
        self._shown = {plugin.name: plugin for plugin in plugins}
        self._marked &= names
        for name in gone:
            self.remove_row(name)
        for plugin in plugins:
            if plugin.name in added:
                self.add_row(*self._cells(plugin), key=plugin.name)
        self.border_title = f"Plugins ({len(plugins)})" if plugins else "Plugins"
        if not self._lay_out():
            self._fill()
        if added or gone:
            self._order()
            self._keep_cursor()
            self.on_data_table_row_highlighted()

    def choose(self, name: str) -> None:
        """Put the cursor on a plugin, if it is there."""
        if name in self._shown:
            self.move_cursor(row=self.get_row_index(name), animate=False)

    def _order(self) -> None:
        """Put the rows in the order of the plugins; new ones were added at the end."""
        if list(self._shown) != [row.key.value for row in self.ordered_rows]:
            self._refill()

    def _refill(self) -> None:
        self.clear()
        for name, plugin in self._shown.items():
            self.add_row(*self._cells(plugin), key=name)

    def _lay_out(self) -> bool:
        """Choose the columns anew; returns whether they changed."""
        longest = max((len(name) for name in self._shown), default=0)
        width = self.scrollable_content_region.width or self.size.width
        columns = fitting(width, longest)
        if columns == self._columns_now:
            return False
        self._columns_now = columns
        self.clear(columns=True)
        for column in columns:
            self.add_column(Text(column.title), width=column.width, key=column.key)
        self._refill()
        self._keep_cursor()
        return True

    def _keep_cursor(self) -> None:
        if self.chosen in self._shown:
            self.move_cursor(row=self.get_row_index(self.chosen), animate=False)

    def _cells(self, plugin: PluginStatus) -> list[Text]:
        return [self._cell(plugin, column) for column in self._columns_now]

    def _cell(self, plugin: PluginStatus, column: Column) -> Text:
        text = Text(column.show(plugin, self._clock()), no_wrap=True, overflow="ellipsis")
        if column.key == "state":
            text.stylize(self.get_component_rich_style(f"plugins--{plugin.state.name.lower()}", partial=True))
            if plugin.name in self._marked:
                style = self.get_component_rich_style("plugins--mark", partial=True)
                text = text[:1] + Text(MARK, style) + text[2:]
        return text

    def _fill(self) -> None:
        """Draw the cells anew whose text has changed."""
        for name, plugin in self._shown.items():
            for column in self._columns_now:
                cell = self._cell(plugin, column)
                if cell != self.get_cell(name, column.key):
                    self.update_cell(name, column.key, cell)

    def _mark(self, plugin: PluginStatus, before: PluginStatus | None) -> None:
        if plugin.state not in _TROUBLE:
            self._marked.discard(plugin.name)
        elif before is not None and before.fault != plugin.fault and plugin.name != self.chosen:
            self._marked.add(plugin.name)

    def on_data_table_row_highlighted(self) -> None:
        """Tell when the cursor has come to another plugin; rows that only moved are no news."""
        row = self.cursor_row
        name = (self.ordered_rows[row].key.value or "") if row < self.row_count else ""
        if name != self.chosen:
            self.chosen = name
            self._marked.discard(name)
            self.post_message(self.Chosen(name))

    def on_data_table_row_selected(self) -> None:
        """Open what the cursor is on."""
        self.post_message(self.Opened())
