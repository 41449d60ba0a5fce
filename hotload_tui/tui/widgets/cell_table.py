"""``CellTable``: a table of which single cells are drawn anew."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text
from textual.widgets import DataTable
from textual.widgets.data_table import ColumnKey, RowKey


class CellTable(DataTable[Text]):
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
