"""``CellTable``: a table of which single cells are drawn anew."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual import events
from textual.widgets import DataTable
from textual.widgets.data_table import ColumnKey, RowKey


class RowTable(DataTable[Text]):
    """A click puts the cursor on a row, and only a double click does what enter does."""

    def on_click(self, event: events.Click) -> None:
        """Keep Textual from taking a single click on the cursor's own row for enter."""
        row: object = event.style.meta.get("row")
        if row == self.cursor_row:
            event.prevent_default()
            if event.chain == 2:  # noqa: PLR2004 - a double click
                self.action_select_cursor()


class CellTable(RowTable):
    """Keeps what it has rendered of the other cells: ``update_cell`` alone throws all of it away."""

    def put(self, cells: Mapping[tuple[str, str], Text]) -> None:
        """Set cells, named by the keys of row and column."""
        if not cells:
            return
        try:
            self._replace(cells)
        except AttributeError:  # Textual's caches are its own affair: another release may have other ones
            for (row, column), cell in cells.items():
                self.update_cell(row, column, cell)

    def _replace(self, cells: Mapping[tuple[str, str], Text]) -> None:
        for key in list(self._cell_render_cache.keys()):
            if (key[0].value, key[1].value) in cells:
                self._cell_render_cache.discard(key)
        for cache in (self._row_render_cache, self._row_renderable_cache, self._line_cache):
            cache.clear()
        for (row, column), cell in cells.items():
            self._data[RowKey(row)][ColumnKey(column)] = cell
            self.refresh_row(self.get_row_index(row))
