"""``HostedManager``: a ``ManagerApi`` whose host process is restarted when it dies."""

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

_TIMEOUT = 0.75  # seconds for a query: after that the last known state is shown
_RESTARTING = "the host restarts"
_PAUSE = 0.02  # seconds between two attempts to connect


class HostedManager(Forwarder):
    """Runs the plugins in a separate host process, which it starts, monitors and restarts.

    The log is kept in this process: it survives the host and contains what the host process printed.
    """

    def __init__(self, config: Config, options: Sequence[str]) -> None:
        """Prepare, without a host; ``options`` are the command-line options that give a host ``config``."""
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
        self._is_closed = False
        self._last = _nothing(config)
        self._monitor = HostMonitor(config, options, self)

    def open(self) -> None:
        """Start the host and list the plugins on disk, without waiting for the host."""
        self._monitor.open()
        with contextlib.suppress(RuntimeDirError):  # the host reports the error with advice
            layout = self._config.layout
            found = sorted(find_plugins(self._runtime_dir, layout).items())  # the order of a host
            plugins = tuple(found_status(plugin, self._config, layout) for _, plugin in found)
            self._last = replace(self._last, plugins=plugins)

    def wait_until_ready(self) -> None:
        """Wait until ``snapshot`` shows the plugins that the host has loaded.

        Return before that if the host cannot be started, hangs, or is closed.
        """
        self._monitor.wait_until_ready()
        while not (self._is_closed or self._monitor.trouble):
            if (remote := self._remote) is not None:
                with contextlib.suppress(NoHostError):  # it has died, or is busy
                    self._last = remote.snapshot()
                    return
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Stop the host; its processes have ended when this returns."""
        self._is_closed = True
        self._monitor.close()
        self._hang_up()

    def restart(self, *, anyway: bool = False) -> str:
        """Restart a host that hangs, without the plugin that hangs; return the reason for a refusal.

        ``anyway`` restarts a healthy host, too. The returned text is empty if the host is restarted.
        """
        return self._monitor.restart(anyway=anyway)

    def debug(self) -> socket.socket | None:
        """Connect to the debugger of a ``breakpoint()`` that waits in the host; ``None`` if none does."""
        return connect(self._monitor.folder)

    # ---- ManagerApi

    def snapshot(self) -> Snapshot:
        """Return the whole state; if the host does not answer, the last known one."""
        if self._remote is not None and not (self._monitor.trouble or self._monitor.is_late):
            with contextlib.suppress(NoHostError):
                self._last = self._remote.snapshot()
        trouble = self._monitor.trouble or (_RESTARTING if self._was_reached and not self._remote else "")
        waits = ", ".join(places(self._monitor.folder))
        return replace(self._last, host=replace(self._last.host, trouble=trouble, breakpoint=waits))

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Call ``subscriber`` with every later event of this host and its successors; return the undo."""
        return self._bus.subscribe(subscriber)

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return self._log.since(since)

    def forward(self, call: Call, expected: type[_T]) -> _T:
        """Have the host carry out a call; the arguments must be JSON values."""
        return self._host().forward(call, expected)

    def pause(self) -> WatcherStatus:
        """Keep later changes of files for ``resume``, also in the hosts that replace this one."""
        status = self._host().pause()
        self._is_paused = True
        return status

    def resume(self) -> tuple[PluginStatus, ...]:
        """Apply the changes since ``pause``, and follow saves again."""
        self._is_paused = False
        return self._host().resume()

    def _host(self) -> RemoteManager:
        """Return the connection to the host.

        Raises:
            NoHostError: no host is connected, or the monitor reports trouble.

        """
        if self._monitor.trouble or self._remote is None:
            raise NoHostError(self._monitor.trouble or "the host is starting; try again in a moment")
        return self._remote

    # ---- HostListener

    def say(self, level: Level, plugin: str, text: str) -> None:
        """Add a line to the log."""
        now = time.time()
        self._bus.publish(LogWritten(now, self._log.add(now, level, plugin, text)))

    def started(self, pid: int) -> None:
        """Connect to a new host, in a thread because the host opens its socket later."""
        self._pid = pid
        threading.Thread(target=self._connect, args=(pid,), name="hotload-connect", daemon=True).start()

    def lost(self) -> None:
        """Disconnect from the host that ended."""
        self._pid = 0
        self._hang_up()
        self.changed()

    def changed(self) -> None:
        """Make subscribers read the state again."""
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
                with contextlib.suppress(HotloadError):  # the host is not ready yet, or has just died
                    remote = RemoteManager(path, timeout=_TIMEOUT)
        with self._lock, contextlib.suppress(HotloadError):  # the host has just died
            if self._is_paused:  # a pause outlasts a crash of the host
                remote.pause()
            self._copied = 0
            remote.subscribe(self._forward_event)
            self._copy(remote.log())  # lines from before the subscription
        self._remote, self._was_reached = remote, True
        self.changed()

    def _hang_up(self) -> None:
        remote, self._remote = self._remote, None
        if remote is not None:
            remote.close()

    def _forward_event(self, event: AnyEvent) -> None:
        match event:
            case LogWritten(line=line):
                with self._lock:
                    self._copy([line])
                return
            case EventsMissed() if self._remote is not None:
                with self._lock, contextlib.suppress(HotloadError):  # the host has just died
                    self._copy(self._remote.log(self._copied))
            case WatcherChanged():
                self._is_paused = event.paused  # another client may have paused or resumed
            case HostEvent():
                return  # the host monitor reports the state of the host
            case _:
                pass
        self._bus.publish(event)

    def _copy(self, lines: Sequence[LogLine]) -> None:
        """Copy lines of the host's log to this log, each once."""
        for line in lines:
            if line.number > self._copied:
                self._copied = line.number
                own = self._log.add(
                    line.at, line.level, line.plugin, line.text, line.brief if line.is_step else None
                )
                self._bus.publish(LogWritten(line.at, own))


def _nothing(config: Config) -> Snapshot:
    """Return the state that is shown before a host answers."""
    host = HostStatus(
        pid=os.getpid(),
        python=platform.python_version(),
        version="",
        runtime_dir=str(Path(config.runtime_dir).absolute()),
        compiled_dir=str(Path(config.compiled_dir).absolute()),
        started_at=time.time(),
    )
    return Snapshot((), (), WatcherStatus("off"), host)
