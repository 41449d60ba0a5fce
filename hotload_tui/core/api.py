"""The one interface that a console talks to.

``HotloadManager`` implements it in process; the same interface works over a socket. Commands return once
the new state serves; what follows (draining and retiring the old generation) is told by events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hotload_tui.core.events import Subscriber
from hotload_tui.core.model import (
    HistoryEntry,
    Invocation,
    LogLine,
    Plan,
    PluginDetail,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)


class ManagerApi(Protocol):
    """Facts about plugins and commands on them.

    Every method may raise ``HotloadError``; a name that is no plugin raises ``UnknownPluginError``.
    All are safe to call from any thread.
    """

    def snapshot(self) -> Snapshot:
        """Return the whole state at this moment; cheap."""
        ...

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Hear every event from now on, in a thread of the manager's; returns the undo."""
        ...

    def detail(self, name: str) -> PluginDetail:
        """Return everything known about one plugin."""
        ...

    def source(self, name: str, file: str, generation: int | None = None) -> str:
        """Return one file's text: as loaded by the serving ``generation``, or (``None``) as on disk."""
        ...

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        ...

    def rebuild(self, name: str | None = None, *, force: bool = False) -> tuple[PluginStatus, ...]:
        """Build and load one plugin, or all that changed; returns the statuses after the swap.

        ``force`` compiles and loads even what has not changed.
        """
        ...

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return what happened to a plugin in this host, the oldest first; at most 100 entries."""
        ...

    def plan(self, name: str | None = None) -> Plan:
        """Return what ``rebuild`` of this plugin, or of all that changed, would do now, and why.

        Nothing is written, and no code of a plugin is run.
        """
        ...

    def rollback(self, name: str, generation: int) -> PluginStatus:
        """Let an earlier generation serve again, as a new one, and hold the plugin there.

        ``RefusedError`` when it cannot be gone back to.
        """
        ...

    def release(self, name: str) -> PluginStatus:
        """Let a HELD plugin follow its source again; nothing happens to another."""
        ...

    def enable(self, name: str) -> PluginStatus:
        """Switch a plugin on (``_name`` becomes ``name``) and load it; nothing happens if it is on."""
        ...

    def disable(self, name: str) -> PluginStatus:
        """Unload a plugin and switch it off (``name`` becomes ``_name``); nothing happens if it is off."""
        ...

    def clean(self, name: str | None = None) -> int:
        """Remove the artifacts of one plugin, or of all; what serves goes on serving.

        Returns the number of artifacts removed.
        """
        ...

    def undo(self) -> str:
        """Take back the last enable, disable or clean, and return what that was; ``RefusedError``: none."""
        ...

    def new(self, name: str, template: str = "simple") -> PluginStatus:
        """Make a plugin from a template, with its test, and load it; ``UsageError`` for a bad name."""
        ...

    def pause(self) -> WatcherStatus:
        """Keep what is saved from now on until ``resume``; commands work as ever.

        Nothing happens if it is paused; ``RefusedError`` if nothing is watched.
        """
        ...

    def resume(self) -> tuple[PluginStatus, ...]:
        """Bring what changed since ``pause`` up to date, in one batch, and follow saves again.

        Returns how the plugins that waited stand now.
        """
        ...

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point once and tell each handler's value, fault and time."""
        ...
