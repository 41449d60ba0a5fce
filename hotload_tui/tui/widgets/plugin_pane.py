"""``PluginPane``: the table, and what to do while there is nothing in it."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.reactive import var
from textual.widgets import Static

from hotload_tui.tui.widgets.plugin_table import PluginTable


class PluginPane(Vertical):
    """Holds the table and its empty state."""

    empty: var[str] = var("")
    """What to say below the header; nothing while there are rows."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(id="plugins")
        self._clock = clock

    def compose(self) -> ComposeResult:
        """Lay the table over the text."""
        yield PluginTable(self._clock)
        yield Static(id="no-plugins", markup=False)

    def watch_empty(self, text: str) -> None:
        """Show the text."""
        self.set_class(bool(text), "-empty")
        self.query_one("#no-plugins", Static).update(text)
