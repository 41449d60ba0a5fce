"""``StartingScreen``: the first scan, and what the table says while there is nothing in it."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from hotload_tui.core.plugin import PluginStatus
from hotload_tui.tui.garbage import settle
from hotload_tui.tui.messages import StartEnded
from hotload_tui.tui.screens.workbench import WorkbenchScreen
from hotload_tui.tui.text import clean_line
from hotload_tui.tui.widgets.plugin_pane import PluginPane
from hotload_tui.tui.widgets.plugin_table import PluginTable
from hotload_tui.tui.widgets.status_line import StatusLine

SETTLED: Final = 1.0
"""Seconds after which all rows should be there."""

PATIENCE: Final = 10.0
"""Seconds after which no more is expected of a first scan that has not ended."""


class StartingScreen(WorkbenchScreen):
    """Has the plugins looked for, and says so."""

    start: Callable[[], None] | None
    is_ready: bool
    """Whether the first scan is over."""
    ready_at = math.inf
    """When it ended; what happened before is on the screen already, and no news."""
    trouble = ""
    """Why the first scan did not do."""
    _missing = False

    @property
    @abstractmethod
    def plugins(self) -> tuple[PluginStatus, ...]:
        """All plugins, as they were last read."""

    def begin(self) -> None:
        """Begin to look for plugins."""
        if self.is_ready:
            self.ready_at = -math.inf
            self.query_one(StatusLine).busy = ""
        self.set_timer(SETTLED if self.is_ready else PATIENCE, settle)
        self.run_start()

    def run_start(self) -> None:
        """Scan, load and watch; ``StartEnded`` tells how it went."""
        if self.start is not None:
            self.requests.start(self.start)

    def on_start_ended(self, message: StartEnded) -> None:
        """Say that the console is ready, or why not."""
        self.is_ready, self.ready_at = True, time.time()
        self.set_timer(SETTLED, settle)
        self._missing = message.folder_missing
        status = self.query_one(StatusLine)
        self.trouble = status.trouble = message.trouble
        status.busy = ""
        self.show_empty()
        self.call_pinned(anyway=True)  # those of the last time
        self.read_again()

    def start_again(self) -> None:
        """Look for plugins once more, if there was no folder for them."""
        if self._missing:
            self._missing, self.trouble = False, ""
            self.run_start()

    def show_empty(self) -> None:
        """Say why there are no rows, and which key makes some."""
        pane = self.query_one(PluginPane)
        if self.plugins:
            shown = self.query_one(PluginTable).row_count
            pane.empty = "" if shown else self.arrangement.nothing(len(self.plugins))
        elif not self.is_ready:
            pane.empty = "Looking for plugins …"
        elif trouble := self.trouble or self._watcher_trouble():
            pane.empty = f"{clean_line(trouble)}\nn makes it with a first plugin from the template."
        else:
            pane.empty = "No plugins yet. n makes one from the template."

    def _watcher_trouble(self) -> str:
        snapshot = self.query_one(StatusLine).snapshot
        return snapshot.watcher.trouble if snapshot and snapshot.watcher.state == "failed" else ""
