"""The status store, the history of each plugin, and the queries of a console."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from time import monotonic  # a plugin can replace it
from time import time as clock

import msgspec
from msgspec.structs import replace

from hotload_tui.core import directories
from hotload_tui.core.checks import description_of
from hotload_tui.core.compiled import FaultRecord, Hold
from hotload_tui.core.config import Config
from hotload_tui.core.errors import (
    ArtifactError,
    HotloadError,
    StorageError,
    UnknownPluginError,
    UsageError,
)
from hotload_tui.core.events import (
    ENGINE_LOGGER,
    EVENT_LOGGER,
    LEVELS,
    AnyEvent,
    EventBus,
    HostLog,
    LogWritten,
    PluginCompiled,
    PluginEvent,
    PluginFailed,
    PluginHeld,
    PluginLoaded,
    PluginOld,
    PluginOldEnded,
    PluginRemoved,
    PluginRetired,
    Subscriber,
    WatcherChanged,
)
from hotload_tui.core.faults import class_name, message_of, raised_by, trace_text
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.interpreter import Interrupted
from hotload_tui.core.manager.outdated import Outdated
from hotload_tui.core.model import (
    Fault,
    FileDigest,
    HistoryEntry,
    HookPointStatus,
    HostStatus,
    Invocation,
    LedgerEntry,
    Level,
    LogLine,
    Phase,
    PluginDetail,
    PluginState,
    PluginStatus,
    Snapshot,
    StepObserver,
    WatcherStatus,
    Work,
    encodable,
)
from hotload_tui.core.runtime import native
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.runtime.loader import Loader
from hotload_tui.core.source import SourceFile, SourceRule, decoded, read_source

_event_logger = logging.getLogger(EVENT_LOGGER)
_engine_logger = logging.getLogger(ENGINE_LOGGER)

_REPEAT = 1.0  # seconds in which the same fault of a handler is published once
_BURST = 10  # faults of known kinds that are published per plugin in that time


class StatusStore:
    """Keeps the statuses, the events and the log; any thread may use it, and it never waits for a reload."""

    def __init__(
        self,
        config: Config,
        limited: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """``limited`` makes a ``with`` block in which code of plugins that does not end is interrupted."""
        self._lock = threading.Lock()
        self._statuses: dict[str, PluginStatus] = {}
        self._of_live: dict[str, Fault] = {}
        """The newest fault of running code of each plugin's live generation, or of an earlier one."""
        self._of_retired: dict[str, Fault] = {}
        """The newest such fault of a retired generation, until a later one retires without a fault."""
        self._last: dict[str, Fault] = {}
        self._bursts: dict[str, tuple[float, int]] = {}
        """When a plugin's newest burst of faults began, and their number."""
        self._gone: dict[str, int] = {}
        """The newest generation of each plugin that is not live any more."""
        self._old_of_gone: dict[str, str] = {}
        """How code of plugins that no longer exist is still called."""
        self._logs_faults = config.on_fault == "log"
        """Whether the traceback of each new fault of running code goes to the program's logging."""
        self._module_path = config.module_path
        self._limited = limited
        self._logging_problem = ""  # the newest one, which the log shows once
        self._ledgers: dict[str, tuple[LedgerEntry, ...]] = {}
        self.failures: dict[str, int] = {}
        """The number of versions of each plugin that did not go live; replaced, never changed."""
        self.at_gate: dict[str, tuple[str, str]] = {}
        """For each plugin whose newest version is at the gate, its digest, and what it waits for; replaced,
        never changed."""
        self._bus = EventBus()
        self._log = HostLog()
        self.history = History()
        self._bus.subscribe(self.history.note)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber`` with every event; return the undo."""
        return self._bus.subscribe(subscriber)

    def publish(self, event: AnyEvent, trace: str = "") -> None:
        """Publish an event, and add its line to the log; ``trace`` goes to the program's logging only."""
        if isinstance(event, PluginFailed) and not event.fault.is_running:
            with self._lock:
                self.failures = {**self.failures, event.name: self.failures.get(event.name, 0) + 1}
        self._bus.publish(event)
        if isinstance(event, WatcherChanged):
            level: Level = "warning" if event.trouble else "info"
            self.write(level, "", f"watcher: {event.describe()}")
        elif isinstance(event, PluginEvent):
            self.write(event.level, event.name, event.describe(), trace, event.brief())

    def write(self, level: Level, plugin: str, text: str, trace: str = "", brief: str | None = None) -> None:
        """Add a line to the log and to the program's logging.

        ``trace`` goes to the program's logging only, and ``brief`` to the log only.
        """
        text = encodable(text)  # the program may log to a UTF-8 file, which cannot hold every name
        line = f"{plugin}: {text}" if plugin else text
        self._tell_program(LEVELS[level], f"{line}\n{trace}" if trace else line)
        self.collect(level, plugin, text, brief)

    def _tell_program(self, level: int, text: str) -> None:
        """Write to the program's logging; what a plugin has put in its way must not stop the engine."""
        try:
            if _event_logger.isEnabledFor(level):
                with self._limited():
                    _event_logger.log(level, "%s", text)
        except (Exception, Interrupted) as error:  # foreign code: handlers, filters and patches
            raised = f"{class_name(type(error))}: {message_of(error)}"
            why = raised if isinstance(error, Exception) else "its code does not end"
            problem = f"the program's logging lacks lines of hotload: {why}"
            if problem != self._logging_problem:
                self._logging_problem = problem
                self.collect("warning", raised_by(error, self._module_path), problem)

    def collect(self, level: Level, plugin: str, text: str, brief: str | None = None) -> None:
        """Add a line that the program's logging already has."""
        now = clock()
        self._bus.publish(LogWritten(now, self._log.add(now, level, plugin, text, brief)))

    def log(self, since: int) -> tuple[LogLine, ...]:
        """Return the kept lines with a number greater than ``since``."""
        return self._log.since(since)

    def statuses(self) -> tuple[PluginStatus, ...]:
        """Return all statuses, sorted by name."""
        with self._lock:
            return tuple(self._statuses[name] for name in sorted(self._statuses))

    def names(self) -> list[str]:
        """Return the names of all plugins, without waiting for the lock."""
        return list(self._statuses)

    def get(self, name: str) -> PluginStatus | None:
        """Return the status of a plugin; ``None`` if there is no such plugin."""
        return self._statuses.get(name)

    def status(self, name: str) -> PluginStatus:
        """Return the status of a plugin. Raises ``UnknownPluginError``."""
        status = self.get(name)
        if status is None:
            raise directories.unknown(name, (each.name for each in self.statuses()))
        return status

    def some(self, names: Iterable[str]) -> tuple[PluginStatus, ...]:
        """Return the statuses of those of the plugins that exist, in the given order."""
        return tuple(status for name in names if (status := self.get(name)))

    def lacking(self) -> dict[str, str]:
        """Return the plugins that failed because a module is missing, with the module's name."""
        found = self._not_loaded().items()
        return {name: fault.missing_module for name, fault in found if fault.missing_module}

    def lacking_programs(self) -> dict[str, str]:
        """Return the plugins that were not built because a program is missing, with the program's name."""
        found = self._not_loaded().items()
        return {name: fault.missing_program for name, fault in found if fault.missing_program}

    def _not_loaded(self) -> dict[str, Fault]:
        """Return the faults of the plugins whose newest version does not load."""
        with self._lock:
            faults = {name: status.fault for name, status in self._statuses.items()}
        return {name: fault for name, fault in faults.items() if fault and not fault.is_running}

    def unwritten(self) -> list[str]:
        """Return the plugins whose newest version cannot be written at present."""
        with self._lock:
            return [
                name
                for name, status in self._statuses.items()
                if status.fault and status.fault.type == StorageError.__name__
            ]

    def put(self, status: PluginStatus) -> None:
        """Set the status of a plugin, but keep the values that ``remember`` has set for its generation."""
        with self._lock:
            known = self._statuses.get(status.name)
            if known is not None and known.generation == status.generation:
                status = replace(status, memory=known.memory, left=known.left)
            elif known is not None and known.generation:
                self._gone[status.name] = known.generation
            self._statuses[status.name] = _with_old(self._with_fault(status), known.old if known else "")

    def _with_fault(self, status: PluginStatus) -> PluginStatus:
        """Return a status with the fault of running code that is not fixed, unless another one precedes."""
        if status.state in (PluginState.FAIL, PluginState.STALE):
            return status
        fault, given = self._of_live.get(status.name), status.fault
        if given is not None and not (given.is_running and given.generation):
            return status  # why the plugin is held
        if fault is None or not status.generation or fault.generation != status.generation:
            fault = self._of_retired.get(status.name)
        return status if fault is given else replace(status, fault=fault)

    def put_failed(
        self, status: PluginStatus, fault: Fault, source: str, generation: int, left: int = 0
    ) -> None:
        """Record and publish that a plugin's source does not load; a live ``generation`` stays live.

        ``left`` is the generation that has left for it, if that is loaded again.
        """
        state = PluginState.STALE if generation else PluginState.FAIL
        self.put(replace(status, state=state, source_digest=source, fault=fault, held="", waits=""))
        self.publish(PluginFailed(fault.at, status.name, fault, generation, left))

    def put_incomplete(self, fault: Fault) -> None:
        """Record and publish that a live version could not take back what it had handed over."""
        status = self.get(fault.plugin)
        if status is not None and status.generation:
            self.put(replace(status, state=PluginState.STALE, fault=fault))
            self.publish(PluginFailed(fault.at, fault.plugin, fault, status.generation))

    def put_held(self, status: PluginStatus, hold: Hold) -> None:
        """Record that a plugin is HELD at the live version, or without a live version."""
        before = status.state
        if not hold.digest:
            status = not_live(status)
        status = replace(
            status,
            state=PluginState.HELD,
            source_digest=hold.source,
            fault=hold.fault,
            held=hold.reason,
            waits="",
        )
        self.put(status)
        if before is not PluginState.HELD:
            self.publish_hold(status)

    def publish_hold(self, status: PluginStatus) -> None:
        """Publish that a plugin is HELD, with the way out."""
        name, by_fault = status.name, status.is_held_by_fault
        self.publish(PluginHeld(clock(), name, status.generation, status.held, by_fault))

    def put_waiting(self, status: PluginStatus, reason: str) -> None:
        """Record that a plugin has no live version, and why it waits."""
        before = self.get(status.name)
        self.put(replace(not_live(status), state=PluginState.WAIT, waits=reason))
        if before is None or before.waits != reason:
            self.write("warning", status.name, f"waits: {reason}")

    def put_not_live(self, name: str, state: PluginState) -> None:
        """Record that a plugin was unloaded and is in another state now."""
        status = self.get(name)
        if status is not None:
            self.put(replace(not_live(status), state=state))

    def drop(self, name: str) -> None:
        """Remove a plugin."""
        with self._lock:
            status = self._statuses.pop(name, None)
            if status is not None and status.generation:
                self._gone[name] = status.generation
            for faults in (self._of_live, self._of_retired, self._last):
                faults.pop(name, None)
            self._ledgers.pop(name, None)

    def remember(
        self, name: str, generation: int, memory: str, ledger: tuple[LedgerEntry, ...] | None = None
    ) -> None:
        """Record the memory and the leftovers of a retired generation in the status of its plugin.

        ``ledger`` lists what the generation started or changed. ``None`` means that the generation is freed
        now; the recorded ledger stays.
        """
        with self._lock:
            if ledger is not None:
                self._ledgers[name] = ledger
            status = self._statuses.get(name)
            if status is not None and status.generation != generation:
                left = tuple(entry.describe() for entry in ledger or () if entry.outcome == "named")
                self._statuses[name] = replace(status, memory=memory, left=left)

    def put_old(self, name: str, old: str) -> None:
        """Record how an earlier version of a plugin is still called; publish its begin and its end.

        A plugin that is gone has no status in which that is shown.
        """
        with self._lock:
            known = self._statuses.get(name)
            before = known.old if known is not None else self._old_of_gone.pop(name, "")
            if known is not None and before != old:
                self._statuses[name] = _with_old(known, old)
            elif known is None and old:
                self._old_of_gone[name] = old
        if before and not old:
            self.publish(PluginOldEnded(clock(), name))
        elif old and not before:
            reason = old if known is not None else f"{old}; the plugin itself is gone"
            self.publish(PluginOld(clock(), name, reason))

    def ledger_before(self, name: str) -> tuple[LedgerEntry, ...]:
        """Return the ledger of the plugin's last retired generation."""
        return self._ledgers.get(name, ())

    def running_failed(self, fault: Fault, generation: int, *, is_shown: bool = False) -> None:
        """Record and publish a fault of code that was loaded; the newest version stays live.

        ``generation`` is the number of the failing code (0: the live one). ``is_shown``: the traceback is on
        standard error or in the program's logging already.
        """
        name = fault.plugin
        with self._lock:
            status = self._statuses.get(name)
            live = status.generation if status is not None else 0
            if not generation and live:
                generation, fault = live, replace(fault, generation=live)
            # A version that has just gone live may fail before its status is here.
            is_gone = fault.phase == "unload" or generation <= self._gone.get(name, 0)
            is_new_kind = status is None or self.history.count(fault)
            if status is None and fault.phase == "hook":
                return
            faults = self._of_retired if is_gone else self._of_live
            before = faults.get(name)
            is_new = before is None or before.generation != generation  # publish again for a new generation
            if not is_new and fault.phase != "unload" and _is_repeated(fault, self._last.get(name)):
                return
            self._last[name] = fault
            if status is not None:
                if is_new or not _lasts_beyond(before, fault):
                    faults[name] = fault
                self._statuses[name] = self._with_fault(status)
            if not (is_new or is_new_kind) and fault.phase != "unload" and self._is_flood(fault):
                return
        is_traced = self._logs_faults or not (is_shown or _event_logger.hasHandlers())
        trace = trace_text(fault) if is_new_kind and is_traced else ""
        self.publish(PluginFailed(fault.at, name, fault, live if is_gone else generation), trace)

    def _is_flood(self, fault: Fault) -> bool:
        """Return whether the plugin's faults of the last second are too many to publish one more."""
        began, count = self._bursts.get(fault.plugin, (0.0, 0))
        if abs(fault.at - began) >= _REPEAT:
            began, count = fault.at, 0
        self._bursts[fault.plugin] = began, count + 1
        return count >= _BURST

    def retired_well(self, name: str, generation: int) -> None:
        """Record that a generation retired without a fault: the faults of earlier ones are over."""
        with self._lock:
            fault, status = self._of_retired.get(name), self._statuses.get(name)
            if fault is not None and fault.generation < generation:
                del self._of_retired[name]
                if status is not None:
                    self._statuses[name] = self._with_fault(status)


_LIVE = (PluginState.OK, PluginState.OLD, PluginState.HELD)
"""The states in which the newest version that may run is live."""


def _with_old(status: PluginStatus, old: str) -> PluginStatus:
    """Return a status with how an earlier version is called; only a plugin that is ok becomes OLD by it."""
    state = status.state
    if state in (PluginState.OK, PluginState.OLD):
        state = PluginState.OLD if old else PluginState.OK
    return replace(status, state=state, old=old)


def not_live(status: PluginStatus) -> PluginStatus:
    """Return the status of a plugin without a live version; the caller sets the state and reason."""
    return replace(
        status,
        digest="",
        generation=0,
        points=(),
        loaded_at=0.0,
        load_seconds=0.0,
        fault=None,
        held="",
        suspected="",
        waits="",
    )


def _lasts_beyond(before: Fault | None, fault: Fault) -> bool:
    """Return whether ``before`` stays true after ``fault``: a worker that has ended, and one failed call."""
    return before is not None and before.phase in _WORKERS and fault.phase not in _WORKERS


def _is_repeated(fault: Fault, before: Fault | None) -> bool:
    """Return whether code in a busy loop repeats its previous fault within a second."""
    return (
        before is not None
        and (before.phase, before.type, before.message) == (fault.phase, fault.type, fault.message)
        and fault.at - before.at < _REPEAT
    )


_WORKERS = ("thread", "task")  # phases
_KEPT = 100  # loads and failed attempts per plugin
_KINDS = 20  # kinds of faults of running code per plugin
_SAVED = 1.0  # seconds between two writes of the counts of known kinds
_MESSAGE = 400  # characters of a message in compiled/


class History:
    """Builds the history of each plugin from the events and faults; any thread may use it.

    Faults of running code are counted by kind: by version, phase, type, place and hook point. With
    ``keep_in``, the counts survive the host.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant, because a finalizer may log at any moment
        self._entries: dict[str, deque[HistoryEntry]] = {}
        self._builds: dict[str, PluginCompiled] = {}
        self._kinds: dict[str, dict[Hashable, HistoryEntry]] = {}
        """The kinds of faults of each plugin, the one that happened last at the end."""
        self._record: FaultRecord | None = None
        self._later: Callable[[Callable[[], None]], None] = lambda _: None
        self._unsaved: set[str] = set()
        self._saves_at = 0.0  # monotonic

    def keep_in(self, record: FaultRecord, later: Callable[[Callable[[], None]], None]) -> None:
        """Read the faults of earlier hosts, and write new ones; ``later`` calls a function soon."""
        self._record, self._later = record, later

    def of(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return the history of a plugin, oldest entry first: at most 100 loads and 20 kinds of faults."""
        with self._lock:
            entries = [*self._entries.get(name, ()), *self._kinds_of(name).values()]
        return tuple(sorted(entries, key=lambda entry: entry.at))

    def count(self, fault: Fault) -> bool:
        """Count a fault of running code; return whether its generation has not failed in this way before."""
        with self._lock:
            kinds = self._kinds_of(fault.plugin)
            loads = reversed(self._entries.get(fault.plugin, ()))
            number = fault.generation
            digest = next((load.digest for load in loads if number and load.generation == number), "")
            kind = _kind(digest, fault)
            known = kinds.pop(kind, None)  # to put it at the end
            first, count = (known.at, known.count) if known else (fault.at, 0)
            kinds[kind] = HistoryEntry(first, 0, digest, fault=fault, count=count + 1, last=fault.at)
            if len(kinds) > _KINDS:
                del kinds[next(iter(kinds))]
            is_new = known is None or known.fault is None or known.fault.generation != number
            self._save_soon(fault.plugin, at_once=known is None)
        return is_new

    def _know(self, event: PluginLoaded) -> None:
        """Give the faults that a version had before its event their digest."""
        kinds = self._kinds_of(event.name)
        for kind, entry in list(kinds.items()):
            fault = entry.fault
            if entry.digest or fault is None or fault.generation != event.generation:
                continue
            del kinds[kind]
            known = kinds.pop(_kind(event.digest, fault), None)
            first, count = (known.at, known.count) if known else (entry.at, 0)
            kinds[_kind(event.digest, fault)] = replace(
                entry, at=first, digest=event.digest, count=entry.count + count
            )
            self._save_soon(event.name, at_once=True)  # without its digest it is another kind to a new host

    def save(self) -> None:
        """Write the counts that are not written yet; if that fails, a warning goes to the log."""
        with self._lock:
            names, self._unsaved = self._unsaved, set()
            kept = {name: tuple(map(_short, self._kinds_of(name).values())) for name in names}
        if self._record is not None and kept:
            try:
                self._record.set_faults(kept)
            except ArtifactError as error:
                _engine_logger.warning("the history of faults is not kept: %s", error)

    def _save_soon(self, name: str, *, at_once: bool) -> None:
        now = monotonic()
        self._unsaved.add(name)
        if at_once or now >= self._saves_at:
            self._saves_at = now + _SAVED
            self._later(self.save)

    def _kinds_of(self, name: str) -> dict[Hashable, HistoryEntry]:
        kinds = self._kinds.get(name)
        if kinds is None:
            kept = self._record.faults(name) if self._record is not None else ()
            kinds = {_kind(entry.digest, entry.fault): entry for entry in kept if entry.fault is not None}
            self._kinds[name] = kinds
        return kinds

    def note(self, event: AnyEvent) -> None:
        """Update the history with an event."""
        with self._lock:
            match event:
                case PluginCompiled():
                    self._builds[event.name] = event
                case PluginLoaded():
                    self._know(event)
                    seconds = self._compile_seconds(event.name, event.digest)
                    self._add(
                        event.name,
                        HistoryEntry(event.at, event.generation, event.digest, seconds, event.seconds),
                    )
                case PluginFailed() if event.fault.phase in ("compile", "test", "load", "register"):
                    build = self._builds.pop(event.name, None)
                    digest = build.digest if build and event.fault.phase != "compile" else ""
                    seconds = build.seconds if build and digest else 0.0
                    self._add(event.name, HistoryEntry(event.at, 0, digest, seconds, fault=event.fault))
                case PluginRetired():
                    self._retired(event)
                case PluginRemoved():
                    self._entries.pop(event.name, None)
                    self._builds.pop(event.name, None)
                    if self._kinds_of(event.name):
                        self._kinds[event.name] = {}
                        self._save_soon(event.name, at_once=True)
                case _:
                    pass

    def _add(self, name: str, entry: HistoryEntry) -> None:
        self._entries.setdefault(name, deque(maxlen=_KEPT)).append(entry)

    def _compile_seconds(self, name: str, digest: str) -> float:
        build = self._builds.pop(name, None)
        return build.seconds if build is not None and build.digest == digest else 0.0

    def _retired(self, event: PluginRetired) -> None:
        entries = self._entries.get(event.name, deque())
        for index, entry in enumerate(entries):
            if entry.generation == event.generation:
                entries[index] = replace(entry, memory=event.memory)


def _kind(digest: str, fault: Fault) -> Hashable:
    place = fault.place
    where = (place.file, place.line) if place is not None else fault.message
    return digest, fault.phase, fault.type, fault.point, where


def _short(entry: HistoryEntry) -> HistoryEntry:
    """Return an entry for other hosts: without locals, causes and the number of the generation."""
    fault = entry.fault
    assert fault is not None
    frames = (replace(fault.place, locals=(), lines=(), first_line=1),) if fault.place is not None else ()
    message = fault.message if len(fault.message) <= _MESSAGE else f"{fault.message[:_MESSAGE]}…"
    return replace(
        entry, fault=replace(fault, frames=frames, message=message, causes=(), notes=(), generation=0)
    )


_LONGEST = 2000  # characters of a repr


class WorkMonitor:
    """Counts the plugins that an update has compiled and loaded; it is the ``StepObserver`` of a manager."""

    def __init__(self, observer: StepObserver) -> None:
        """``observer`` observes each step, too."""
        self._observer = observer
        self.now: Work | None = None
        """The work under way; ``None`` if there is none."""

    @contextlib.contextmanager
    def counting(self, phase: Phase, number: int) -> Iterator[None]:
        """Count the plugins, ``number`` in all, of which the steps in the block compile or load one each."""
        before, self.now = self.now, Work(phase, "", -1, number)
        try:
            yield
        finally:
            self.now = before

    def __call__(
        self, phase: Phase, plugin: str, digest: str = ""
    ) -> contextlib.AbstractContextManager[object]:
        """Note the plugin that is compiled or loaded now."""
        work = self.now
        if work is not None and work.phase == phase:
            self.now = replace(work, plugin=plugin, done=max(0, min(work.done + 1, work.of - 1)))
        return self._observer(phase, plugin, digest)


class Queries:
    """Reads the status store, the host and the live plugins; never waits for a reload."""

    def __init__(
        self,
        host: HookHost,
        config: Config,
        store: StatusStore,
        loader: Loader,
        outdated: Outdated,
        *,
        work: WorkMonitor,
    ) -> None:
        self._host = host
        self._work = work
        self._outdated = outdated
        self._config = config
        self._rule = SourceRule(config.watch.ignore, config.layout)
        self._root = Path(config.runtime_dir).absolute()  # the working directory may change
        self._compiled = Path(config.compiled_dir).absolute()
        self._store = store
        self._live = loader.live
        self._held = loader.held
        self._started_at = clock()

    def snapshot(self, watcher: WatcherStatus, config_fault: str) -> Snapshot:
        """Return the whole state at this moment."""
        host = HostStatus(
            pid=os.getpid(),
            python=platform.python_version(),
            version=_version(),
            runtime_dir=str(self._root),
            compiled_dir=str(self._compiled),
            started_at=self._started_at,
            config_fault=config_fault,
        )
        changed = self._outdated.shared.changed()
        statuses = self._store.statuses()
        if self._outdated.may_be(map(attrgetter("digest"), statuses), changed):
            statuses = tuple(self._now(status, changed) for status in statuses)
        if at_gate := self._store.at_gate:
            statuses = tuple(_at_gate(status, at_gate) for status in statuses)
        failures, held = self._store.failures, self._held.counts()
        work = self._work.now
        work = work if work and work.plugin else None
        return Snapshot(statuses, self._host.points(), watcher, host, failures, held, work)

    def _now(self, status: PluginStatus, changed: Mapping[str, str]) -> PluginStatus:
        outdated = self._outdated.of(self._live(status.name), changed)
        return replace(status, outdated=outdated) if outdated else status

    def detail(self, name: str) -> PluginDetail:
        """Return all details of one plugin, from its live version or else from its source."""
        status = self._now(self._store.status(name), self._outdated.shared.changed())
        status = _at_gate(status, self._store.at_gate)
        live = self._live(name)
        if live is not None:
            manifest = live.generation.artifact.manifest
            description = manifest.description
            files = tuple(FileDigest(member.path, member.sha256, member.size) for member in manifest.members)
        else:
            source = _source_of(status, self._rule)
            description = next((description_of(f.content) for f in source if f.path == status.entry), "")
            files = tuple(FileDigest(file.path, file.sha256, file.size) for file in source)
        return PluginDetail(
            status=status,
            description=description,
            files=files,
            settings=self._config.of(name).settings,
            handlers=tuple(
                HookPointStatus(point.point, own, point.calls)
                for point in self._host.points()
                if (own := tuple(handler for handler in point.handlers if handler.plugin == name))
            ),
            ledger=(*(_standing(live) if live else ()), *self._store.ledger_before(name)),
        )

    def source(self, name: str, file: str, generation: int | None) -> str:
        """Return a file's text: as the live ``generation`` loaded it, or (``None``) as it is on disk.

        Raises:
            UnknownPluginError: there is no such plugin or file, or ``generation`` is not live.

        """
        status = self._store.status(name)
        live = self._live(name)
        try:
            if generation is None:
                content = _own_file(status.folder, file).read_bytes()
            elif live is not None and live.generation.number == generation:
                content = live.generation.artifact.source(file)
            else:
                raise UnknownPluginError(f"{name} has no generation {generation} in this host")
        except (OSError, KeyError) as error:
            raise UnknownPluginError(f"{name} has no file {file}") from error
        return decoded(content) if file.endswith(".py") else content.decode("utf-8", "replace")

    def invoke(self, point: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Invocation:
        """Call a hook point; return each value as JSON values, or as a shortened ``repr``.

        Raises:
            UsageError: no handler takes these arguments. That is an error of the caller, and no plugin's.

        """
        misfits = self._host.misfits(point, args, kwargs)
        if misfits:
            raise UsageError("\n".join(f"{point}: {reason}" for reason in misfits))
        found = self._host.invoke(point, *args, **kwargs)
        return replace(found, values=tuple(_plain(value) for value in found.values))


def _standing(live: LivePlugin) -> Iterator[LedgerEntry]:
    """Yield what a live version has started or changed in the process, and its native modules."""
    generation = live.generation
    yield from live.ledger.standing()
    yield from native.standing(generation.artifact, generation.number, generation.file_of)


def _at_gate(status: PluginStatus, at_gate: Mapping[str, tuple[str, str]]) -> PluginStatus:
    """Return the status of a plugin whose newest version is at the gate as that of one in the build."""
    if status.name not in at_gate:
        return status
    digest, what = at_gate[status.name]
    return replace(status, state=PluginState.BUILD, source_digest=digest, waits=f"the end of {what}")


def _source_of(status: PluginStatus, rule: SourceRule) -> tuple[SourceFile, ...]:
    try:
        return read_source(status.name, Path(status.path), rule).files
    except HotloadError:
        return ()  # the plugin's status shows the fault


def _own_file(root: Path, file: str) -> Path:
    """Return the path of a plugin's file. Raises ``KeyError`` if it is outside the plugin's directory."""
    parts = Path(file).parts
    if ".." in parts or Path(file).is_absolute():
        raise KeyError(file)
    return root / file


@functools.cache
def _version() -> str:
    from importlib.metadata import version  # 20 ms, which only a snapshot needs

    return version("hotload-tui")


def _plain(value: object) -> object:
    """Return ``value`` as JSON values, or as a shortened ``repr`` if JSON cannot encode it."""
    try:
        plain: object = msgspec.json.decode(msgspec.json.encode(value))
    except Exception:  # foreign code: the value belongs to a plugin
        return _bounded(value)
    return plain


def _bounded(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # foreign code, as above
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
