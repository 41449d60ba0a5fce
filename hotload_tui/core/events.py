"""Events, which are immutable facts about what happened; the bus that publishes them; and the host's log.

In the host process only the manager publishes events. A ``HostEvent`` is about the host process itself, and
a client in another process publishes it. Events can be encoded; ``kind`` is their name on the wire.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final, TypeAlias

from msgspec import Struct

from hotload_tui.core.model import (
    PLUGIN_LOGGER,
    Fault,
    HookPlace,
    LedgerEntry,
    Level,
    LogLine,
    encodable,
    release_advice,
)


class Step(Struct, frozen=True):
    """One step of a build or a load, and its duration."""

    name: str
    seconds: float


def in_words(steps: tuple[Step, ...]) -> str:
    """Return the steps as ``read 0.1, compile 2.0 ms``; empty if there are none."""
    text = ", ".join(f"{step.name} {step.seconds * 1000:.1f}" for step in steps)
    return f"{text} ms" if text else ""


_SHORT = 8  # digits of a digest in a log line


class Event(Struct, frozen=True, tag_field="kind", tag=True):
    """The root of all events."""

    level: ClassVar[Level] = "info"
    text: ClassVar[str] = ""
    """The event as one line; fields of the event may stand in braces."""
    at: float
    """When it happened, in seconds since the epoch."""

    def describe(self) -> str:
        """Return the event as one line, without the name of its plugin."""
        return self.text.format(self=self)

    def brief(self) -> str | None:
        """Return the line for a reader who wants no details, empty for no line; ``None`` means the whole."""
        return None


class PluginEvent(Event, frozen=True, tag=True):
    """An event about one plugin."""

    name: str


class PluginDiscovered(PluginEvent, frozen=True, tag=True):
    """A new plugin directory was found."""

    text: ClassVar[str] = "found"

    def brief(self) -> str:  # noqa: D102 - as Event
        return ""


class PluginRemoved(PluginEvent, frozen=True, tag=True):
    """The plugin's directory is gone, and it was unloaded."""

    text: ClassVar[str] = "its directory is gone"


class PluginDisabled(PluginEvent, frozen=True, tag=True):
    """The plugin was disabled and unloaded."""

    text: ClassVar[str] = "disabled"


class PluginEnabled(PluginEvent, frozen=True, tag=True):
    """The plugin was enabled; its load follows."""

    text: ClassVar[str] = "enabled"


class PluginCompiled(PluginEvent, frozen=True, tag=True):
    """A new artifact was published."""

    digest: str
    compiled: int
    """Number of Python files and native modules that were compiled now."""
    reused: int
    """Number of those whose code was reused from an earlier artifact."""
    size: int
    """Size of the artifact in bytes."""
    seconds: float
    warnings: tuple[str, ...] = ()
    """Warnings from the compiler and from the checks of the source, with the file and, if known, the line."""
    steps: tuple[Step, ...] = ()
    """Duration of each step: read, compile, native (only with native modules), write."""

    def describe(self) -> str:  # noqa: D102 - as Event
        files = f"{self.compiled} compiled, {self.reused} reused, {self.size:,} bytes"
        parts = "; ".join(part for part in (files, in_words(self.steps)) if part)
        return f"compiled {self.digest[:_SHORT]} in {self.seconds * 1000:.1f} ms ({parts})"

    def brief(self) -> str:  # noqa: D102 - as Event
        return ""


class ArtifactRejected(PluginEvent, frozen=True, tag=True):
    """An artifact was damaged, foreign or unreadable, and was built again."""

    level: ClassVar[Level] = "warning"
    text: ClassVar[str] = "{self.reason}; built again"
    reason: str


class PluginLoaded(PluginEvent, frozen=True, tag=True):
    """A generation was swapped in and is live."""

    generation: int
    digest: str
    points: tuple[HookPlace, ...]
    seconds: float
    steps: tuple[Step, ...] = ()
    """Duration of each step: execute, register, hand over (of resources and workers), and swap. One swap can
    contain several plugins. The gap is the time without a live version, with ``reload = "replace"``."""
    previous: int = 0
    """The number of the generation that this one replaced; 0 if none was live."""
    changed: int = 0
    """Number of files that differ from the replaced generation; without one, of all files."""
    compile_seconds: float = 0.0
    """Duration of the build; 0 if the artifact existed already."""

    def describe(self) -> str:  # noqa: D102 - as Event
        points = ", ".join(f"{place.point}:{place.priority}" for place in self.points) or "no hook points"
        loaded = f"loaded generation {self.generation} ({self.digest[:_SHORT]})"
        steps = f" ({in_words(self.steps)})" if self.steps else ""
        return f"{loaded} in {self.seconds * 1000:.1f} ms: {points}{steps}"

    def brief(self) -> str:  # noqa: D102 - as Event
        milliseconds = (self.compile_seconds + self.seconds) * 1000
        took = f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"  # noqa: PLR2004
        files = f"{self.changed} file{'s' * (self.changed != 1)}" if self.changed else "no file"
        if self.previous:
            return f"{self.previous} → {self.generation}  {took}  {files} changed"
        return f"loaded generation {self.generation}  {took}  {files}"


class PluginFailed(PluginEvent, frozen=True, tag=True):
    """A step or running code failed; ``serving`` is the number of the live generation (0: none)."""

    level: ClassVar[Level] = "error"
    fault: Fault
    serving: int
    left: int = 0
    """The number of the version that has left for the failed one, and is loaded again; 0 if none has."""

    def describe(self) -> str:  # noqa: D102 - as Event
        fault, place = self.fault, self.fault.place
        where = f" ({place.file}:{place.line})" if place and place.line else ""
        failed = f"{fault.step(self.serving)} failed: {fault.type}: {fault.message}{where}"
        if self.serving:
            is_live = fault.is_running and fault.generation == self.serving
            return failed if is_live else f"{failed}; generation {self.serving} stays live"
        if self.left:
            return f"{failed}; generation {self.left} is loaded again"
        # A version may unload for another one, which is not live yet.
        return failed if fault.phase == "unload" else f"{failed}; no version is live"


class PluginMended(PluginEvent, frozen=True, tag=True):
    """The source matches the live generation again, so the fault is over; nothing was loaded."""

    text: ClassVar[str] = "its source matches the live version again"


class PluginHeld(PluginEvent, frozen=True, tag=True):
    """The plugin does not follow its source.

    This ends when the user releases the plugin. If the user did not choose the version, a save ends it, too.
    """

    level: ClassVar[Level] = "warning"
    generation: int
    """Number of the live generation; 0 if none is live."""
    reason: str
    is_by_fault: bool = False
    """Whether a version failed, and not the user chose the version: a save ends the hold."""

    def describe(self) -> str:  # noqa: D102 - as Event
        live = f"generation {self.generation} is live" if self.generation else "no version is live"
        return f"held, {live}: {self.reason}; {release_advice(self.name, by_fault=self.is_by_fault)}"


class PluginReleased(PluginEvent, frozen=True, tag=True):
    """The plugin follows its source again."""

    text: ClassVar[str] = "released: {self.reason}"
    reason: str


class PluginRetired(PluginEvent, frozen=True, tag=True):
    """A generation was unloaded: its calls have ended or timed out, and its clean-up has run."""

    generation: int
    memory: str
    """``freed``, or what is left and what holds it."""
    ledger: tuple[LedgerEntry, ...] = ()
    """What the generation had started or changed in the process; each entry is undone, or else named."""

    def describe(self) -> str:  # noqa: D102 - as Event
        undone = [entry.describe() for entry in self.ledger if entry.outcome == "undone"]
        left = [entry.describe() for entry in self.ledger if entry.outcome == "named"]
        parts = [f"retired generation {self.generation}, memory {self.memory}"]
        parts += [f"undone: {', '.join(undone)}"] if undone else []
        parts += [f"left: {', '.join(left)}"] if left else []
        return "; ".join(parts)

    def brief(self) -> str | None:  # noqa: D102 - as Event
        is_gone = self.memory == "freed" and all(entry.outcome == "undone" for entry in self.ledger)
        return "" if is_gone else None


class PluginOld(PluginEvent, frozen=True, tag=True):
    """Code of an earlier version is still called; published when that begins."""

    level: ClassVar[Level] = "warning"
    text: ClassVar[str] = "{self.reason}"
    reason: str
    """The version, how often it is called, by whom, and what keeps it."""


class PluginOldEnded(PluginEvent, frozen=True, tag=True):
    """No earlier version is called any more."""

    text: ClassVar[str] = "no earlier version is called any more"


class PluginCleaned(PluginEvent, frozen=True, tag=True):
    """Artifacts of the plugin were removed."""

    artifacts: int

    def describe(self) -> str:  # noqa: D102 - as Event
        return f"removed {self.artifacts} artifact{'s' * (self.artifacts != 1)}"


class WatcherChanged(Event, frozen=True, tag=True):
    """The watcher started, stopped, had a problem, was paused or resumed, or kept a change for later."""

    state: str
    trouble: str
    paused: bool = False
    waiting: tuple[str, ...] = ()

    def describe(self) -> str:  # noqa: D102 - as Event
        if self.waiting:
            return f"paused; changed since: {', '.join(self.waiting)}"
        return self.trouble or ("paused: changes are kept until it is resumed" if self.paused else self.state)


class LogWritten(Event, frozen=True, tag=True):
    """A line was added to the host's log."""

    line: LogLine


class HostEvent(Event, frozen=True, tag=True):
    """An event about the process in which plugins run, as another process sees it."""

    pid: int


class HostReached(HostEvent, frozen=True, tag=True):
    """A host answers again after ``HostLost``: the same process or a new one. Read the state again."""

    text: ClassVar[str] = "connected to host {self.pid}"


class HostLost(HostEvent, frozen=True, tag=True):
    """The host ended, crashed or disconnected; requests raise ``NoHostError`` until ``HostReached``."""

    level: ClassVar[Level] = "error"
    text: ClassVar[str] = "host {self.pid} is gone: {self.reason}"
    reason: str


class HostStalled(HostEvent, frozen=True, tag=True):
    """The host sends no heartbeat: a plugin keeps the interpreter's lock, or the process is stopped."""

    level: ClassVar[Level] = "error"
    text: ClassVar[str] = (
        "host {self.pid} sent nothing for {self.seconds:.1f} s; a plugin hangs, or it is stopped"
    )
    seconds: float
    """For how long the host has sent nothing."""


class HostResumed(HostEvent, frozen=True, tag=True):
    """The host sends its heartbeat again."""

    text: ClassVar[str] = "host {self.pid} answers again"


class EventsMissed(Event, frozen=True, tag=True):
    """A subscriber missed ``count`` events, usually because it was too slow; it must read the state again.

    ``HostedManager`` publishes this event with ``count`` 0 when the state of its host changed.
    """

    count: int


AnyEvent: TypeAlias = (
    PluginDiscovered
    | PluginRemoved
    | PluginDisabled
    | PluginEnabled
    | PluginCompiled
    | ArtifactRejected
    | PluginLoaded
    | PluginFailed
    | PluginMended
    | PluginHeld
    | PluginReleased
    | PluginRetired
    | PluginOld
    | PluginOldEnded
    | PluginCleaned
    | WatcherChanged
    | LogWritten
    | HostReached
    | HostLost
    | HostStalled
    | HostResumed
    | EventsMissed
)
"""Every event that is published; a closed set, so that a type checker can check a ``match``."""


logger = logging.getLogger("hotload.engine")

Subscriber: TypeAlias = Callable[[AnyEvent], None]


class EventBus:
    """Calls every subscriber with every event, in order, in the publishing thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber`` with each event from now on; return the function that unsubscribes it."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def publish(self, event: AnyEvent) -> None:
        """Call all subscribers with ``event``; log a subscriber that raises, and continue with the others."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # foreign code: a subscriber must not stop a reload
                logger.exception("a subscriber failed on %s", type(event).__name__)


ENGINE_LOGGER = "hotload.engine"
"""The logger for problems inside hotload."""
EVENT_LOGGER = "hotload.events"
"""The logger for events about plugins, for a program that configures logging."""


def own_logger(name: str) -> logging.Logger:
    """Return a logger of hotload that ``logging.config`` cannot disable: it reports the failures.

    By default ``dictConfig`` and ``fileConfig`` disable all loggers that they do not configure.
    """
    logger = logging.getLogger(name)
    kind = type(logger)
    if "disabled" not in vars(kind):  # a host may have set its own class of loggers
        enabled = property(lambda _: False, lambda *_: None)
        logger.__class__ = type(kind.__name__, (kind,), {"disabled": enabled, "__module__": kind.__module__})
    return logger


for _name in (ENGINE_LOGGER, EVENT_LOGGER, PLUGIN_LOGGER, "hotload.config"):
    own_logger(_name)
LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
"""The levels of log lines in ``logging``, the lowest first."""

_KEPT = 5000  # lines
_LONGEST = 4096  # characters of one line


class HostLog:
    """Keeps the newest lines of the host's log."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque(maxlen=_KEPT)
        self._number = 0
        self._lock = threading.RLock()  # reentrant, because a finalizer may log at any moment

    def add(self, at: float, level: Level, plugin: str, text: str, brief: str | None = None) -> LogLine:
        """Add a line, cut to 4096 characters, and return it."""
        with self._lock:
            self._number += 1
            line = LogLine(
                self._number, at, level, plugin, encodable(text[:_LONGEST]), brief is not None, brief or ""
            )
            self._lines.append(line)
        return line

    def since(self, number: int) -> tuple[LogLine, ...]:
        """Return the kept lines with a number greater than ``number``."""
        with self._lock:
            lines = [*self._lines]
        return tuple(line for line in lines if line.number > number)


_HIDDEN: Final = -1
"""The level of a record that only collectors see: it is below every handler's."""
_raised: dict[logging.Logger, int] = {}
"""The loggers whose level collectors have raised from NOTSET to INFO, and the number of these collectors."""


class LogCollector(logging.Handler):
    """Passes on the log records of hotload and of plugins (``ctx.log``, loggers named after modules).

    Records that exist only because a collector asks for INFO reach no other handler.
    """

    def __init__(
        self, module_path: str, write: Callable[[Level, str, str], None], plugin_of: Callable[[str], str]
    ) -> None:
        """Collect log records after ``attach``; ``write`` gets level, plugin and text.

        ``plugin_of`` returns the plugin for the identifier in the name of its modules.
        """
        super().__init__(_HIDDEN)
        self._module_path = module_path
        self._write = write
        self._plugin_of_module = plugin_of
        self._loggers = [logging.getLogger(name) for name in (PLUGIN_LOGGER, ENGINE_LOGGER, module_path)]
        self._emitting = threading.local()

    def attach(self) -> Callable[[], None]:
        """Begin to collect; return the function that ends it."""
        raised = [each for each in self._loggers if each.level == logging.NOTSET or each in _raised]
        for source in self._loggers:
            source.addHandler(self)
        for source in raised:
            _raised[source] = _raised.get(source, 0) + 1
            source.setLevel(logging.INFO)

        def detach() -> None:
            for source in self._loggers:
                source.removeHandler(self)
            for source in raised:
                _raised[source] -= 1
                if not _raised[source]:
                    del _raised[source]
                    source.setLevel(logging.NOTSET)

        return detach

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one record, but not the records that this causes, which would recurse without end."""
        if getattr(self._emitting, "now", False):
            return
        self._emitting.now = True
        number: int = vars(record).setdefault("hotload_level", record.levelno)
        try:
            last = logging.lastResort
            if last is not None and record.levelno >= last.level and not self._is_handled(record.name):
                last.handle(record)  # which logging does not do, because this handler is there
            if number < _level_without_collectors(record.name):
                record.levelno = _HIDDEN
            self._write(_level(number), self._plugin_of(record.name), _text(record))
        finally:
            self._emitting.now = False

    def _is_handled(self, logger_name: str) -> bool:
        """Return whether another handler, or another collector before this one, shows the record."""
        events = logging.getLogger(EVENT_LOGGER)  # a command or a console shows the host's log itself
        if any(type(handler) is logging.NullHandler for handler in events.handlers):
            return True
        logger: logging.Logger | None = logging.getLogger(logger_name)
        is_ours = False
        while logger is not None:
            for handler in logger.handlers:
                if type(handler) is not LogCollector:
                    return True
                is_ours = is_ours or handler is self
                if not is_ours:
                    return True
            logger = logger.parent if logger.propagate else None
        return False

    def _plugin_of(self, logger_name: str) -> str:
        if logger_name.startswith(f"{PLUGIN_LOGGER}."):
            return logger_name.removeprefix(f"{PLUGIN_LOGGER}.")
        if logger_name.startswith(f"{self._module_path}."):
            return self._plugin_of_module(logger_name.split(".")[1])
        return ""


def _level_without_collectors(name: str) -> int:
    """Return the level that a logger would have if no collector had raised any."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None and (logger.level == logging.NOTSET or logger in _raised):
        logger = logger.parent
    return logger.level if logger else logging.NOTSET


def _text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += f" ({record.exc_info[0].__name__}: {record.exc_info[1]})"
    except Exception as error:  # foreign code: arguments that cannot be formatted
        shown = record.msg if type(record.msg) is str else f"<{type(record.msg).__name__}>"
        return f"{shown} (cannot be formatted: {type(error).__name__})"
    return text


def _level(number: int) -> Level:
    return next((level for level, least in reversed(LEVELS.items()) if number >= least), "debug")
