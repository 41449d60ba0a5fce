"""The beginning and the end of a console: the first scan, and the unloading of plugins."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Final

from hotload_tui.core.errors import RuntimeDirError
from hotload_tui.core.events import AnyEvent, PluginRetired
from hotload_tui.core.model import PluginStatus, Snapshot
from hotload_tui.tui.requests import Requests, reason_of
from hotload_tui.tui.terminal import settle
from hotload_tui.tui.text import clean_line
from hotload_tui.tui.widgets.status import StatusLine

SETTLED: Final = 1.0
"""Seconds after the first scan in which all rows should appear."""

PATIENCE: Final = 10.0
"""Seconds after which the collector is enabled again even if the first scan has not ended."""


class Startup:
    """Starts the search for plugins and shows its progress."""

    def __init__(
        self,
        start: Callable[[], None] | None,
        requests: Requests,
        status: StatusLine,
        set_timer: Callable[[float, Callable[[], None]], object],
        *,
        ended: Callable[[], None],
    ) -> None:
        """``start`` scans, loads and watches; ``None`` if another program does so.

        ``ended`` is called when the first scan has ended.
        """
        self._start = start
        self._requests = requests
        self._status = status
        self._set_timer = set_timer
        self._ended = ended
        self._is_folder_missing = False
        self.is_ready = start is None
        """Whether the first scan has ended."""
        self.ready_at = math.inf
        """When the first scan ended; earlier events are on the screen already and are not news."""
        self.trouble = ""
        """Why the first scan failed; empty if it succeeded."""

    def begin(self) -> None:
        """Begin the search for plugins."""
        if self.is_ready:
            self.ready_at = -math.inf
            self._status.busy = ""
        self._set_timer(SETTLED if self.is_ready else PATIENCE, settle)
        self._run()

    def _run(self) -> None:
        if self._start is not None:
            self._requests.attempt("start", self._start, self._end)

    def _end(self, error: BaseException | None) -> None:
        """Show that the console is ready, or why it is not."""
        self.is_ready, self.ready_at = True, time.time()
        self._set_timer(SETTLED, settle)
        self._is_folder_missing = isinstance(error, RuntimeDirError)
        self.trouble = self._status.trouble = reason_of(error) if error else ""
        self._status.busy = ""
        self._ended()

    def repeat(self) -> None:
        """Repeat the search for plugins if their folder was missing."""
        if self._is_folder_missing:
            self._is_folder_missing, self.trouble = False, ""
            self._run()

    def why_empty(self, snapshot: Snapshot | None) -> str:
        """Return why there are no plugins, and which key makes one."""
        if not self.is_ready:
            return "Looking for plugins …"
        watcher = snapshot.watcher if snapshot else None
        trouble = self.trouble or (watcher.trouble if watcher and watcher.state == "failed" else "")
        if trouble:
            return f"{clean_line(trouble)}\nn makes it with a first plugin from the template."
        return "No plugins yet. n makes one from the template."


class Shutdown:
    """Unloads the plugins and shows which of them are not unloaded yet."""

    def __init__(self, requests: Requests, status: StatusLine, leave: Callable[[str], None]) -> None:
        """``leave`` ends the console and prints a text in its place."""
        self._requests = requests
        self._status = status
        self._leave = leave
        self._waiting: tuple[tuple[str, int], ...] = ()
        """Name and generation of each plugin that is not unloaded yet."""
        self._number = 0
        """The number of plugins to unload in all."""
        self.has_begun = False
        """Whether the plugins are being unloaded; the user can then only wait or quit."""

    def begin(self, stop: Callable[[], None], plugins: Iterable[PluginStatus]) -> None:
        """Unload the plugins, then leave, even if unloading fails."""
        self.has_begun = True
        self._status.snapshot = None
        self._show((plugin.name, plugin.generation) for plugin in plugins if plugin.generation)
        self._requests.attempt(
            "stop", stop, lambda error: self._leave(f"while unloading: {reason_of(error)}" if error else "")
        )

    def follow(self, events: Iterable[AnyEvent]) -> None:
        """Remove the plugins that are now unloaded from the status line."""
        gone = {(event.name, event.generation) for event in events if isinstance(event, PluginRetired)}
        self._show(one for one in self._waiting if one not in gone)

    def _show(self, waiting: Iterable[tuple[str, int]]) -> None:
        self._waiting = tuple(waiting)
        self._number = max(self._number, len(self._waiting))
        names = ", ".join(name for name, _ in self._waiting)
        whom = f" {clean_line(names, 30)}" if names else ""
        done = f", {self._number - len(self._waiting)} of {self._number} done" if self._number > 1 else ""
        self._status.busy = f"unloading{whom}… (q quits at once){done}"
