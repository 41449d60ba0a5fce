"""A console with much to show: ``python -m benchmarks.crowd PLUGINS LINES EVENTS_A_SECOND``.

A substitute for the manager answers at once, so that only the console's own time is measured.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.events import PluginLoaded, Subscriber
from hotload_tui.core.model import (
    FileDigest,
    HandlerStatus,
    HistoryEntry,
    HookPlace,
    HookPointStatus,
    HostStatus,
    Invocation,
    LogLine,
    PluginDetail,
    PluginState,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)
from hotload_tui.tui.terminal import hold_off, quickened

DIGEST = "0123456789abcdef" * 4
PLACE = (HookPlace("work", 100),)


class Crowd(ManagerApi):
    """A manager's answers about many plugins, one of which is reloaded all the time; it takes no command."""

    def __init__(self, plugins: int, lines: int) -> None:
        self._started = time.time()
        self._plugins = [self._plugin(number) for number in range(plugins)]
        self._lines = [self._line(number) for number in range(1, lines + 1)]
        self._subscribers: list[Subscriber] = []

    def _plugin(self, number: int) -> PluginStatus:
        name = f"plugin_{number:04}"
        return PluginStatus(
            name, PluginState.OK, name, DIGEST, DIGEST, 1, PLACE, 0.002, 0.001, self._started, 0
        )

    def _line(self, number: int) -> LogLine:
        return LogLine(
            number, time.time(), "info", f"plugin_{number % 100:04}", f"line {number}: did its work"
        )

    def reload_for_ever(self, a_second: int) -> None:
        """Publish this many events per second, each with a log line."""
        number = 0
        while True:
            number += 1
            at = number * 7 % len(self._plugins)
            before = self._plugins[at]
            now = replace(before, generation=before.generation + 1, loaded_at=time.time())
            self._plugins[at] = now
            self._lines.append(self._line(len(self._lines) + 1))
            event = PluginLoaded(time.time(), now.name, now.generation, DIGEST, PLACE, 0.001)
            for subscriber in self._subscribers:
                subscriber(event)
            time.sleep(1 / a_second)

    def snapshot(self) -> Snapshot:
        """Return all plugins."""
        host = HostStatus(os.getpid(), "3", "0", "plugins", "compiled", self._started)
        handlers = tuple(HandlerStatus(plugin.name, "work", 100, 1) for plugin in self._plugins)
        points = (HookPointStatus("work", handlers, 1),)
        return Snapshot(tuple(self._plugins), points, WatcherStatus("watching"), host)

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Call ``subscriber`` with each event."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def detail(self, name: str) -> PluginDetail:
        """Return one plugin with one file."""
        status = self._plugins[int(name[-4:])]
        return PluginDetail(status, "works", (FileDigest("plugin.py", DIGEST, 100),), {}, ())

    def source(self, name: str, file: str, generation: int | None = None) -> str:  # noqa: ARG002
        """Return a short file."""
        return "def register(ctx):\n    pass\n"

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the lines after ``since``."""
        return tuple(self._lines[since:])

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return one entry."""
        return (HistoryEntry(self._started, self._plugins[int(name[-4:])].generation, DIGEST),)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:  # noqa: ARG002
        """Return an empty result."""
        return Invocation((), (), ())


def main() -> None:
    """Open the console, and run it until it ends."""
    plugins, lines, a_second = map(int, sys.argv[1:])
    crowd = Crowd(plugins, lines)
    if a_second:
        threading.Thread(target=crowd.reload_for_ever, args=(a_second,), daemon=True).start()
    hold_off()  # as the command does, like the next line
    with quickened():
        from hotload_tui.tui.app import ConsoleApp

    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = folder
        ConsoleApp(crowd, project=Path(folder)).run()


if __name__ == "__main__":
    main()
