"""What happened, as immutable facts.

Only the manager publishes; what becomes of its whole process (``HostEvent``) is published by whoever looks
at it from another one. Events can be encoded; ``kind`` is their name on the wire.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from msgspec import Struct

from hotload_tui.core.events.steps import Step, in_words
from hotload_tui.core.plugin import Fault, HookPlace, LedgerEntry, Level, LogLine

_SHORT = 8  # digits of a digest in a line


class Event(Struct, frozen=True, tag_field="kind", tag=True):
    """The root of all events."""

    at: float
    """When it happened, seconds since the epoch."""


class PluginEvent(Event, frozen=True, tag=True):
    """Something about one plugin."""

    level: ClassVar[Level] = "info"
    name: str

    def describe(self) -> str:
        """Say it in one line, without the plugin's name."""
        raise NotImplementedError


class PluginDiscovered(PluginEvent, frozen=True, tag=True):
    """A directory was found to be a plugin."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return "found"


class PluginRemoved(PluginEvent, frozen=True, tag=True):
    """The plugin's directory is gone, and it was unloaded."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return "its directory is gone; unloaded"


class PluginDisabled(PluginEvent, frozen=True, tag=True):
    """The plugin was switched off and unloaded."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return "disabled"


class PluginEnabled(PluginEvent, frozen=True, tag=True):
    """The plugin was switched on again; its load follows."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return "enabled"


class PluginCompiled(PluginEvent, frozen=True, tag=True):
    """A new artifact was published."""

    digest: str
    compiled: int
    """Python files compiled now."""
    reused: int
    """Python files taken over from the artifact before."""
    size: int
    """Bytes of the artifact."""
    seconds: float
    warnings: tuple[str, ...] = ()
    """What the compiler warned about, with file and line."""
    steps: tuple[Step, ...] = ()
    """What took how long: read, compile, write."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        files = f"{self.compiled} compiled, {self.reused} reused, {self.size:,} bytes"
        parts = "; ".join(part for part in (files, in_words(self.steps)) if part)
        return f"compiled {self.digest[:_SHORT]} in {self.seconds * 1000:.1f} ms ({parts})"


class ArtifactRejected(PluginEvent, frozen=True, tag=True):
    """An artifact was damaged, foreign or unreadable, and was built anew."""

    level: ClassVar[Level] = "warning"
    reason: str

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return f"{self.reason}; built anew"


class PluginLoaded(PluginEvent, frozen=True, tag=True):
    """A generation was swapped in and serves."""

    generation: int
    digest: str
    points: tuple[HookPlace, ...]
    seconds: float
    steps: tuple[Step, ...] = ()
    """What took how long: execute, register, and the swap, which may be that of several plugins."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        points = ", ".join(f"{place.point}:{place.priority}" for place in self.points) or "no hook points"
        loaded = f"loaded generation {self.generation} ({self.digest[:_SHORT]})"
        steps = f" ({in_words(self.steps)})" if self.steps else ""
        return f"{loaded} in {self.seconds * 1000:.1f} ms: {points}{steps}"


class PluginFailed(PluginEvent, frozen=True, tag=True):
    """A step failed; ``serving`` tells which generation still serves (0: none)."""

    level: ClassVar[Level] = "error"
    fault: Fault
    serving: int

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        fault, place = self.fault, self.fault.place
        where = f" ({place.file}:{place.line})" if place and place.line else ""
        serving = f"generation {self.serving} still serves" if self.serving else "nothing serves"
        return f"{fault.phase} failed: {fault.type}: {fault.message}{where}; {serving}"


class PluginMended(PluginEvent, frozen=True, tag=True):
    """The source is again the one that serves, and the fault is over; nothing was loaded."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return "its source is again the one that serves"


class PluginHeld(PluginEvent, frozen=True, tag=True):
    """The plugin does not follow its source, until that changes or somebody releases it."""

    level: ClassVar[Level] = "warning"
    generation: int
    """What serves; 0: nothing."""
    reason: str

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        serving = f"generation {self.generation}" if self.generation else "nothing"
        return f"held, {serving} serves: {self.reason}"


class PluginReleased(PluginEvent, frozen=True, tag=True):
    """The plugin follows its source again."""

    reason: str

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return f"released: {self.reason}"


class PluginRetired(PluginEvent, frozen=True, tag=True):
    """A generation was unloaded: its calls have left, its clean-up has run."""

    generation: int
    memory: str
    """``freed``, or what is left and who holds it."""
    ledger: tuple[LedgerEntry, ...] = ()
    """What it had started or changed in the process: undone, or named."""

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        undone = [entry.describe() for entry in self.ledger if entry.outcome == "undone"]
        left = [entry.describe() for entry in self.ledger if entry.outcome == "named"]
        parts = [f"retired generation {self.generation}, memory {self.memory}"]
        parts += [f"undone: {', '.join(undone)}"] if undone else []
        parts += [f"left: {', '.join(left)}"] if left else []
        return "; ".join(parts)


class PluginCleaned(PluginEvent, frozen=True, tag=True):
    """Artifacts of the plugin were removed."""

    artifacts: int

    def describe(self) -> str:  # noqa: D102 - as PluginEvent
        return f"removed {self.artifacts} artifact{'s' * (self.artifacts != 1)}"


class WatcherChanged(Event, frozen=True, tag=True):
    """The watcher started, stopped, met trouble, was paused or resumed, or kept a change for later."""

    state: str
    trouble: str
    paused: bool = False
    waiting: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say it in a few words."""
        if self.waiting:
            return f"paused; changed since: {', '.join(self.waiting)}"
        return self.trouble or ("paused: changes are kept until it is resumed" if self.paused else self.state)


class LogWritten(Event, frozen=True, tag=True):
    """A line was added to the host's log."""

    line: LogLine


class HostEvent(Event, frozen=True, tag=True):
    """Something about the process in which plugins run, as another process sees it."""

    level: ClassVar[Level] = "info"
    pid: int

    def describe(self) -> str:
        """Say it in one line."""
        raise NotImplementedError


class HostReached(HostEvent, frozen=True, tag=True):
    """After one was lost, a host serves: another process, or the same again. Facts are to be read anew."""

    def describe(self) -> str:  # noqa: D102 - as HostEvent
        return f"connected to host {self.pid}"


class HostLost(HostEvent, frozen=True, tag=True):
    """The host ended, crashed or hung up; until ``HostReached`` every question raises ``NoHostError``."""

    level: ClassVar[Level] = "error"
    reason: str

    def describe(self) -> str:  # noqa: D102 - as HostEvent
        return f"host {self.pid} is gone: {self.reason}"


class HostStalled(HostEvent, frozen=True, tag=True):
    """The host's heartbeat is missing: a plugin keeps the interpreter's lock, or the process is stopped."""

    level: ClassVar[Level] = "error"
    seconds: float
    """For how long nothing was heard."""

    def describe(self) -> str:  # noqa: D102 - as HostEvent
        silence = f"has not been heard of for {self.seconds:.1f} s"
        return f"host {self.pid} {silence}; a plugin hangs, or it is stopped"


class HostResumed(HostEvent, frozen=True, tag=True):
    """The heartbeat is there again."""

    def describe(self) -> str:  # noqa: D102 - as HostEvent
        return f"host {self.pid} is heard of again"


class EventsMissed(Event, frozen=True, tag=True):
    """Events were left out for a listener that fell behind; it is to read the facts anew."""

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
    | PluginCleaned
    | WatcherChanged
    | LogWritten
    | HostReached
    | HostLost
    | HostStalled
    | HostResumed
    | EventsMissed
)
"""Every event that is published; a closed set, so that ``match`` can be checked."""
