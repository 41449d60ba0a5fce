"""``HostedManager``: a ``ManagerApi`` whose host may die, and is there again."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from hotload_tui.core.api import Call, Forwarder
from hotload_tui.core.config import Config
from hotload_tui.core.directories import find_plugins, found_status
from hotload_tui.core.errors import HotloadError, NoHostError, RuntimeDirError
from hotload_tui.core.events import (
    AnyEvent,
    EventBus,
    EventsMissed,
    HostEvent,
    HostLog,
    LogWritten,
    Subscriber,
    WatcherChanged,
)
from hotload_tui.core.model import (
    HostStatus,
    Level,
    LogLine,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)
from hotload_tui.remote.address import folder, socket_name
from hotload_tui.remote.client import RemoteManager
from hotload_tui.remote.process.debug import connect, places
from hotload_tui.remote.process.monitor import HostMonitor

_T = TypeVar("_T")

_TIMEOUT = 0.75  # seconds for a question: of a host that does not answer the last facts are shown
_RESTARTING = "the host is being restarted"
_PAUSE = 0.02  # seconds between two attempts to connect


class HostedManager(Forwarder):
    """The plugins in a process of their own, which is started, watched over and restarted.

    The log is this side's: it goes on when a host dies, and has what the host's process printed.
    """

    def __init__(self, config: Config, options: Sequence[str]) -> None:
        """Prepare; ``options`` of the command line lead a host to ``config``."""
        self._config = config
        self._runtime_dir = Path(config.runtime_dir)
        self._bus = EventBus()
        self._log = HostLog()
        self._lock = threading.Lock()
        self._remote: RemoteManager | None = None
        self._pid = 0
        self._was_reached = False
        self._copied = 0
        self._is_paused = False
        self._last = _nothing(config)
        self._monitor = HostMonitor(config, options, self)

    def open(self) -> None:
        """Start the host, and show what plugins there are; does not wait for it."""
        self._monitor.open()
        with contextlib.suppress(RuntimeDirError):  # the host says so, and what to do
            found = sorted(find_plugins(self._runtime_dir).items())  # as a host has them
            plugins = tuple(found_status(plugin, self._config) for _, plugin in found)
            self._last = replace(self._last, plugins=plugins)

    def wait_until_ready(self) -> None:
        """Wait until the host has loaded the plugins, or nothing will come of it."""
        self._monitor.wait_until_ready()

    def close(self) -> None:
        """Stop the host: nothing of it is left when this returns."""
        self._monitor.close()
        self._hang_up()

    def restart(self, *, anyway: bool = False) -> str:
        """Restart a host that hangs, without the plugin that does, or ``anyway``; returns why not."""
        return self._monitor.restart(anyway=anyway)

    def debug(self) -> socket.socket | None:
        """Connect to the debugger of a ``breakpoint()`` that waits in the host; ``None`` if none does."""
        return connect(self._monitor.folder)

    # ---- ManagerApi

    def snapshot(self) -> Snapshot:
        """Return the whole state; of a host that does not answer the last that it told."""
        if self._remote is not None and not (self._monitor.trouble or self._monitor.is_late):
            with contextlib.suppress(NoHostError):
                self._last = self._remote.snapshot()
        trouble = self._monitor.trouble or (_RESTARTING if self._was_reached and not self._remote else "")
        waits = ", ".join(places(self._monitor.folder))
        return replace(self._last, host=replace(self._last.host, trouble=trouble, breakpoint=waits))

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Hear every event from now on, of this host and those that follow it."""
        return self._bus.subscribe(subscriber)

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return self._log.since(since)

    def forward(self, call: Call, expected: type[_T]) -> _T:
        """Have the host carry out a call; the arguments must be JSON values."""
        return self._host().forward(call, expected)

    def pause(self) -> WatcherStatus:
        """Keep what is saved from now on until ``resume``, also in hosts that follow this one."""
        status = self._host().pause()
        self._is_paused = True
        return status

    def resume(self) -> tuple[PluginStatus, ...]:
        """Bring what changed since ``pause`` up to date, and follow saves again."""
        self._is_paused = False
        return self._host().resume()

    def _host(self) -> RemoteManager:
        """Return the host, if there is one that answers.

        Raises:
            NoHostError: there is none.

        """
        if self._monitor.trouble or self._remote is None:
            raise NoHostError(self._monitor.trouble or "the host is being started; try again in a moment")
        return self._remote

    # ---- what the keeper tells

    def say(self, level: Level, plugin: str, text: str) -> None:
        """Add a line to the log."""
        now = time.time()
        self._bus.publish(LogWritten(now, self._log.add(now, level, plugin, text)))

    def started(self, pid: int) -> None:
        """Connect to a new host, in a thread: it is not there at once."""
        self._pid = pid
        threading.Thread(target=self._connect, args=(pid,), name="hotload-connect", daemon=True).start()

    def lost(self) -> None:
        """Forget the host."""
        self._pid = 0
        self._hang_up()
        self.changed()

    def changed(self) -> None:
        """Have subscribers look at the state again."""
        self._bus.publish(EventsMissed(time.time(), 0))

    # ---- the connection

    def _connect(self, pid: int) -> None:
        path = folder() / socket_name(self._runtime_dir, pid)
        remote: RemoteManager | None = None
        while remote is None:
            if self._pid != pid:
                return
            time.sleep(_PAUSE)
            if path.exists():
                with contextlib.suppress(HotloadError):  # it is not ready yet, or died just now
                    remote = RemoteManager(path, timeout=_TIMEOUT)
        with self._lock, contextlib.suppress(HotloadError):  # it died just now
            if self._is_paused:  # a crash is no reason to follow saves again
                remote.pause()
            self._copied = 0
            remote.subscribe(self._heard)
            self._copy(remote.log())  # what was logged before this side listened
        self._remote, self._was_reached = remote, True
        self.changed()

    def _hang_up(self) -> None:
        remote, self._remote = self._remote, None
        if remote is not None:
            remote.close()

    def _heard(self, event: AnyEvent) -> None:
        match event:
            case LogWritten(line=line):
                with self._lock:
                    self._copy([line])
                return
            case EventsMissed() if self._remote is not None:
                with self._lock, contextlib.suppress(HotloadError):  # it died just now
                    self._copy(self._remote.log(self._copied))
            case WatcherChanged():
                self._is_paused = event.paused  # somebody else may have paused it, or resumed
            case HostEvent():
                return  # the keeper knows better, and tells it
            case _:
                pass
        self._bus.publish(event)

    def _copy(self, lines: Sequence[LogLine]) -> None:
        """Take over lines of the host's log, each once."""
        for line in lines:
            if line.number > self._copied:
                self._copied = line.number
                own = self._log.add(line.at, line.level, line.plugin, line.text)
                self._bus.publish(LogWritten(line.at, own))


def _nothing(config: Config) -> Snapshot:
    """Return the state before there is a host."""
    host = HostStatus(
        pid=os.getpid(),
        python=platform.python_version(),
        version="",
        runtime_dir=str(Path(config.runtime_dir).absolute()),
        compiled_dir=str(Path(config.compiled_dir).absolute()),
        started_at=time.time(),
    )
    return Snapshot((), (), WatcherStatus("off"), host)
