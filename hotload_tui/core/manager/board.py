"""The board: how each plugin stands, and what is told of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from msgspec.structs import replace

from hotload_tui.core.events import (
    AnyEvent,
    EventBus,
    LogWritten,
    PluginEvent,
    PluginFailed,
    Subscriber,
    WatcherChanged,
)
from hotload_tui.core.log import EVENT_LOGGER, HostLog
from hotload_tui.core.plugin import (
    Fault,
    LedgerEntry,
    Level,
    LogLine,
    PluginState,
    PluginStatus,
    encodable,
)

_event_logger = logging.getLogger(EVENT_LOGGER)
_LEVELS: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_REPEAT = 1.0  # seconds in which the same fault of a handler is told once


class Board:
    """Statuses, events and log; safe to use from any thread, and never waits for a reload."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[str, PluginStatus] = {}
        self._hook_faults: dict[str, Fault] = {}
        self._ledgers: dict[str, tuple[LedgerEntry, ...]] = {}
        self._bus = EventBus()
        self._log = HostLog()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Hear every event; returns the undo."""
        return self._bus.subscribe(subscriber)

    def tell(self, event: AnyEvent) -> None:
        """Publish an event, and its line in the log."""
        self._bus.publish(event)
        if isinstance(event, WatcherChanged):
            level: Level = "warning" if event.trouble else "info"
            self.write(level, "", f"watcher: {event.describe()}")
        elif isinstance(event, PluginEvent):
            self.write(event.level, event.name, event.describe())

    def write(self, level: Level, plugin: str, text: str) -> None:
        """Add a line to the log, and to the program's own."""
        text = encodable(text)  # the program's log may be a file in UTF-8, which names need not fit
        _event_logger.log(_LEVELS[level], "%s", f"{plugin}: {text}" if plugin else text)
        self.collect(level, plugin, text)

    def collect(self, level: Level, plugin: str, text: str) -> None:
        """Add a line that the program's logging has seen already."""
        now = time.time()
        self._bus.publish(LogWritten(now, self._log.add(now, level, plugin, text)))

    def log(self, since: int) -> tuple[LogLine, ...]:
        """Return the kept lines with a greater number."""
        return self._log.since(since)

    def statuses(self) -> tuple[PluginStatus, ...]:
        """Return all statuses in order of name."""
        with self._lock:
            return tuple(self._statuses[name] for name in sorted(self._statuses))

    def get(self, name: str) -> PluginStatus | None:
        """Return how a plugin stands; ``None`` if there is no such plugin."""
        return self._statuses.get(name)

    def lacking(self) -> dict[str, str]:
        """Return the plugins that could not be loaded for want of a module, with its name."""
        with self._lock:
            return {
                name: status.fault.missing_module
                for name, status in self._statuses.items()
                if status.fault and status.fault.missing_module and status.fault.phase != "hook"
            }

    def put(self, status: PluginStatus) -> None:
        """Set how a plugin stands; what ``remember`` noted since the status was read is kept."""
        with self._lock:
            known = self._statuses.get(status.name)
            if known is not None and known.generation == status.generation:
                status = replace(status, memory=known.memory, left=known.left)
            self._statuses[status.name] = status

    def drop(self, name: str) -> None:
        """Forget a plugin."""
        with self._lock:
            self._statuses.pop(name, None)
            self._hook_faults.pop(name, None)
            self._ledgers.pop(name, None)

    def remember(
        self, name: str, generation: int, memory: str, ledger: tuple[LedgerEntry, ...] | None = None
    ) -> None:
        """Note on the status of the plugin what became of the generation before the one that serves.

        ``ledger`` is what it had started or changed; ``None``: as was noted before, and it is freed by now.
        """
        with self._lock:
            if ledger is not None:
                self._ledgers[name] = ledger
            status = self._statuses.get(name)
            if status is not None and status.generation != generation:
                left = tuple(entry.describe() for entry in ledger or () if entry.outcome == "named")
                self._statuses[name] = replace(status, memory=memory, left=left)

    def ledger_before(self, name: str) -> tuple[LedgerEntry, ...]:
        """Return what became of what the generation had started or changed that retired last."""
        return self._ledgers.get(name, ())

    def handler_failed(self, fault: Fault, generation: int) -> None:
        """Note a handler's fault; the plugin goes on serving."""
        with self._lock:
            status = self._statuses.get(fault.plugin)
            if status is None:
                return
            serves = status.generation == generation and status.state in (PluginState.OK, PluginState.HELD)
            looks_well = serves and status.fault is None  # a new generation has the same fault again
            if not looks_well and _is_repeated(fault, self._hook_faults.get(fault.plugin)):
                return
            self._hook_faults[fault.plugin] = fault
            if serves:
                self._statuses[fault.plugin] = replace(status, fault=fault)
        self.tell(PluginFailed(fault.at, fault.plugin, fault, generation))


def _is_repeated(fault: Fault, before: Fault | None) -> bool:
    """Tell whether a failing handler in a busy loop says just what it said a moment ago."""
    return (
        before is not None
        and (before.phase, before.type, before.message) == (fault.phase, fault.type, fault.message)
        and fault.at - before.at < _REPEAT
    )
