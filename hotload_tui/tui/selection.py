"""``Selection``: the plugins as of the last read, and the details of the plugin under the table's cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from textual.timer import Timer

from hotload_tui.core.model import PluginStatus, Snapshot
from hotload_tui.tui.requests import CloseUp
from hotload_tui.tui.widgets.panes import DetailFacts
from hotload_tui.tui.widgets.plugin_table import PluginTable

DETAILS_DELAY: Final = 0.1
"""Seconds in which the details of another plugin should arrive."""


class Selection:
    """Knows the plugins and the selected plugin, and shows the details when they have been read."""

    def __init__(
        self,
        table: PluginTable,
        look_at: Callable[[str], None],
        show: Callable[[DetailFacts], None],
        set_timer: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        """``look_at`` requests the details of a plugin by its name; ``show`` shows them."""
        self._table = table
        self._look_at = look_at
        self._show = show
        self._set_timer = set_timer
        self._plugins: dict[str, PluginStatus] = {}
        self._closeup = CloseUp()
        self._due: Timer | None = None
        """Runs while the details on the screen are those of the previously selected plugin."""
        self._made = ""
        """The name of a plugin to select when it appears."""
        self.snapshot: Snapshot | None = None
        """The last state that was read; ``None`` before the first read."""

    @property
    def plugins(self) -> tuple[PluginStatus, ...]:
        """All plugins, as of the last read."""
        return tuple(self._plugins.values())

    @property
    def plugin(self) -> PluginStatus | None:
        """The plugin under the table's cursor."""
        return self._plugins.get(self._table.chosen)

    @property
    def shown(self) -> tuple[PluginStatus, ...]:
        """The plugins in the table's rows, in their order."""
        return self._table.plugins

    @property
    def closeup(self) -> CloseUp:
        """The details of the selected plugin; empty until they have been read."""
        plugin, closeup = self.plugin, self._closeup
        return closeup if plugin and closeup.name == plugin.name else CloseUp()

    def take(self, snapshot: Snapshot, closeup: CloseUp) -> None:
        """Store the state that was read."""
        self.snapshot, self._closeup = snapshot, closeup
        self._plugins = {plugin.name: plugin for plugin in snapshot.plugins}

    def choose(self, name: str) -> None:
        """Put the table's cursor on a plugin."""
        self._table.choose(name)

    def choose_made(self, made: str = "") -> None:
        """Select the plugin ``made``, or a plugin that was made before, as soon as the table has it."""
        self._made = made or self._made
        if self._made in self._plugins:
            self.choose(self._made)
            self._made = ""

    def follow(self, name: str) -> None:
        """Request the details of another plugin.

        The cursor's row is painted first: the details follow with the next read, or after ``DETAILS_DELAY``.
        """
        self._look_at(name)
        self._end_wait()
        self._due = self._set_timer(DETAILS_DELAY, self.show_details)

    def read_again(self) -> None:
        """Read the state again without an event."""
        self._look_at(self._table.chosen)

    def show_read(self) -> None:
        """Show the details of the last read, unless those of another plugin are still to come."""
        if self._closeup.name == self._table.chosen or self._due is None:
            self.show_details()

    def show_due(self) -> None:
        """Show pending details at once: the next key may have arrived already and is meant for them."""
        if self._due is not None:
            self.show_details()

    def show_details(self) -> None:
        """Show the details of the selected plugin as far as they have been read."""
        self._end_wait()
        faulty = tuple(plugin.name for plugin in self.plugins if plugin.fault)
        points = self.snapshot.points if self.snapshot else ()
        self._show(DetailFacts(self.plugin, self.closeup, faulty, points))

    def _end_wait(self) -> None:
        if self._due is not None:
            self._due.stop()
            self._due = None
