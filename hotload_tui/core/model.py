"""The vocabulary: plugin states, and the frozen records that cross threads and sockets.

Every record is immutable plain data that msgspec can encode: no exception, module, frame or callable.
Times of day are seconds since the epoch, durations are seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Final, Literal, Protocol

from msgspec import Struct

from hotload_tui.core.errors import near

Phase = Literal["discover", "compile", "load", "register", "hook", "unload", "host"]
"""The step of a plugin's journey in which a fault happened."""

Owner = Literal["plugin", "host", "library"]
"""Whose code a frame is in."""


Level = Literal["debug", "info", "warning", "error"]
"""How much a log line matters."""

PLUGIN_LOGGER: Final = "hotload.plugin"
"""The logger above those of all plugins (``ctx.log``)."""


def encodable(text: str) -> str:
    """Return ``text`` with lone surrogates escaped: every record can be sent as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


class PluginState(StrEnum):
    """How a plugin stands; the value is the word, ``glyph`` the sign that always goes with it."""

    OK = "ok"
    STALE = "STALE"
    FAIL = "FAIL"
    HELD = "HELD"
    BUILD = "build"
    OFF = "off"
    WAIT = "wait"
    NEW = "new"

    @property
    def glyph(self) -> str:
        """One ASCII character, so that no state is told by colour alone."""
        return _GLYPHS[self]


_GLYPHS: Final = {
    PluginState.OK: "+",
    PluginState.STALE: "~",
    PluginState.FAIL: "!",
    PluginState.HELD: "=",
    PluginState.BUILD: "*",
    PluginState.OFF: "-",
    PluginState.WAIT: ".",
    PluginState.NEW: "?",
}


class Frame(Struct, frozen=True):
    """One frame of a traceback, with its source as it was loaded."""

    file: str
    """Path of the source file."""
    line: int
    """Failing line, from 1; 0 when unknown."""
    function: str
    """Qualified name; empty for the place of a syntax error."""
    owner: Owner
    end_line: int = 0
    """Last line of the failing expression; 0 when unknown."""
    column: int = -1
    """First column of the failing expression in characters, from 0; -1 when unknown."""
    end_column: int = -1
    """Column after the failing expression; -1 when unknown."""
    lines: tuple[str, ...] = ()
    """Source lines around the failing one, without line ends."""
    first_line: int = 1
    """Line number of ``lines[0]``."""
    locals: tuple[tuple[str, str], ...] = ()
    """Names and short safe representations; secrets masked."""


class Fault(Struct, frozen=True):
    """A failure as plain data; never a live exception."""

    phase: Phase
    plugin: str
    type: str
    """Name of the exception's class."""
    message: str
    at: float
    """When it happened."""
    notes: tuple[str, ...] = ()
    """``__notes__`` and the interpreter's "did you mean"."""
    frames: tuple[Frame, ...] = ()
    """Oldest first, as Python prints them."""
    causes: tuple[Fault, ...] = ()
    relation: Literal["", "cause", "context", "member"] = ""
    """How this fault belongs to the one that lists it in ``causes``."""
    missing_module: str = ""
    """What was imported and is not installed; the plugin is tried again once it can be found."""

    @property
    def place(self) -> Frame | None:
        """The frame a user wants to see first: the newest one of the plugin, else the newest."""
        own = [frame for frame in self.frames if frame.owner == "plugin"]
        candidates = own or list(self.frames)
        return candidates[-1] if candidates else None


class LedgerEntry(Struct, frozen=True):
    """Something that a generation started or changed in the process."""

    category: str
    what: str
    generation: int
    outcome: Literal["stands", "undone", "named"]
    """``stands`` while the generation serves; at its end it is undone, or named if that cannot be."""
    file: str = ""
    """Where the code stands that did it; empty when nobody knows."""
    line: int = 0
    now: str = ""
    """Where it stands now, or why it could not be undone."""

    def describe(self) -> str:
        """Say it in one line."""
        place = f" ({os.path.basename(self.file)}:{self.line})" if self.file else ""  # noqa: PTH119 - a name only
        now = f", now at {self.now}" if self.now and self.outcome != "undone" else ""
        return f"{self.category} {self.what}{place}{now}"


class HookPlace(Struct, frozen=True, order=True):
    """Where a plugin is registered."""

    point: str
    priority: int


class PluginStatus(Struct, frozen=True):
    """All that the table shows of one plugin."""

    name: str
    state: PluginState
    path: str
    """The plugin's directory as it is on disk (with the ``_`` of a disabled one)."""
    digest: str = ""
    """Digest of the generation that serves; empty when nothing serves."""
    source_digest: str = ""
    """Digest of the files on disk when they were last read; empty when they could not be read."""
    generation: int = 0
    """Number of the generation that serves; 0 when nothing serves."""
    points: tuple[HookPlace, ...] = ()
    compile_seconds: float = 0.0
    """Of the last build; 0 when the artifact was there already."""
    load_seconds: float = 0.0
    """Execute and register, of the generation that serves."""
    loaded_at: float = 0.0
    """When the serving generation was swapped in; 0 when nothing serves."""
    reloads: int = 0
    """Swaps after the first one in this host."""
    fault: Fault | None = None
    """The newest failure that the user has not mended yet."""
    memory: str = ""
    """What became of the generation before: ``freed``, or who holds it; empty while unknown."""
    left: tuple[str, ...] = ()
    """What the generation before started or changed and could not be undone, in words."""
    held: str = ""
    """Why it is HELD; empty when it follows its source."""
    waits: str = ""
    """What a plugin in ``wait`` waits for; empty for all others."""

    @property
    def raises(self) -> bool:
        """Whether it is well but for a call of it that raised."""
        return self.fault is not None and self.state not in (PluginState.FAIL, PluginState.STALE)

    @property
    def sign(self) -> str:
        """Glyph and word of its state, with ``!`` behind them if it ``raises``."""
        return f"{self.state.glyph} {self.state.value}{' !' * self.raises}"


class HistoryEntry(Struct, frozen=True):
    """One generation of a plugin, or a change that did not become one."""

    at: float
    generation: int
    """0: it failed, and never served."""
    digest: str
    """Of the artifact; empty when there was none."""
    compile_seconds: float = 0.0
    """0 when the artifact was there already."""
    load_seconds: float = 0.0
    fault: Fault | None = None
    """Why it failed."""
    memory: str = ""
    """Once it has retired: ``freed``, or who holds it."""
    can_return: bool = False
    """Whether its artifact is still there to roll back to."""


class FileDigest(Struct, frozen=True):
    """One file of a plugin."""

    path: str
    """Relative to the plugin's directory, with forward slashes."""
    sha256: str
    size: int
    """Bytes."""


class HandlerStatus(Struct, frozen=True):
    """One handler at a hook point."""

    plugin: str
    function: str
    priority: int
    generation: int
    calls: int = 0
    faults: int = 0
    mean_seconds: float = 0.0
    """Mean of the timed calls (a sample); 0 when none was timed."""


class HookPointStatus(Struct, frozen=True):
    """One hook point with its handlers in calling order."""

    point: str
    handlers: tuple[HandlerStatus, ...]
    calls: int
    """Calls in this process. 0 with handlers: never called; calls without handlers: called in vain."""


class PluginDetail(Struct, frozen=True):
    """What is shown of one plugin when it is asked for."""

    status: PluginStatus
    description: str
    """First line of the docstring of ``plugin.py``."""
    files: tuple[FileDigest, ...]
    """Of the artifact that serves; of the source where nothing serves."""
    settings: dict[str, object]
    handlers: tuple[HookPointStatus, ...]
    """The hook points at which it is registered, with its own handlers only."""
    ledger: tuple[LedgerEntry, ...] = ()
    """What the generation that serves started or changed in the process, then what became of that of the
    generation before."""
    files_before: tuple[FileDigest, ...] = ()
    """Of the artifact that served before this one; empty when there was none or it is gone."""
    requires: tuple[str, ...] = ()
    """The plugins that it requires, by its newest version that was seen."""
    required_by: tuple[str, ...] = ()


class WatcherStatus(Struct, frozen=True):
    """Whether saves are noticed."""

    state: Literal["watching", "degraded", "off", "failed"]
    """Degraded: changes are found by looking, not at once; failed: nothing can be found."""
    trouble: str = ""
    """Why it failed or is degraded; empty when all is well."""
    paused: bool = False
    """Whether changes are kept until somebody resumes."""
    waiting: tuple[str, ...] = ()
    """Names of the plugins that changed during the pause and are not up to date."""


class HostStatus(Struct, frozen=True):
    """The process in which plugins run."""

    pid: int
    python: str
    version: str
    """Version of hotload_tui."""
    runtime_dir: str
    compiled_dir: str
    started_at: float
    trouble: str = ""
    """What is wrong with the process, seen from outside: it hangs, or died and is not started again."""
    config_fault: str = ""
    """What is wrong in the configuration's files since they were edited; what was read before holds."""
    breakpoint: str = ""
    """Where ``breakpoint()`` waits for the console's terminal, shortened; empty where it does not."""


class Snapshot(Struct, frozen=True):
    """The whole state at one moment."""

    plugins: tuple[PluginStatus, ...]
    """In order of name."""
    points: tuple[HookPointStatus, ...]
    """In order of name."""
    watcher: WatcherStatus
    host: HostStatus


class LogLine(Struct, frozen=True):
    """One line of the host's log."""

    number: int
    """Counts from 1 and never repeats within one host process."""
    at: float
    level: Level
    plugin: str
    """Whose line it is; empty for the host itself."""
    text: str


class HandlerCall(Struct, frozen=True):
    """One handler's part in a detailed call."""

    plugin: str
    function: str
    failed: bool
    """Whether it raised: then it has a fault and no value."""


class Invocation(Struct, frozen=True):
    """What a detailed call of a hook point gave."""

    values: tuple[object, ...]
    """One value per handler that returned, in calling order: JSON values, or bounded representations."""
    faults: tuple[Fault, ...]
    seconds: tuple[float, ...]
    """One duration per handler, in calling order, also of those that raised."""
    handlers: tuple[HandlerCall, ...] = ()
    """Who was called, in calling order."""


Action = Literal["load", "reload", "unload", "wait", "fail", "keep"]
"""``wait``: something that it requires is not there; ``fail``: what is on disk cannot serve."""

_SIGNS = {"load": "+", "reload": "~", "unload": "-", "wait": ".", "fail": "!", "keep": "="}
_CHANGES = {"added": "+", "changed": "~", "removed": "-"}
_MOST = 8  # files or hook points that are named in one line


class FileChange(Struct, frozen=True):
    """A file that differs from what serves."""

    path: str
    """Relative to the plugin's directory, with forward slashes."""
    change: Literal["added", "changed", "removed"]
    size: int
    """Bytes; 0 for a file that is gone."""
    size_before: int = 0
    """Bytes in what serves; 0 for a new file."""


class PluginPlan(Struct, frozen=True):
    """What would happen to one plugin."""

    name: str
    action: Action
    reasons: tuple[str, ...]
    """Why, in words."""
    generation: int = 0
    """Number of the generation that serves now; 0: none."""
    files: tuple[FileChange, ...] = ()
    """What differs from the files that serve; empty where nothing serves."""
    compiles: tuple[str, ...] = ()
    """Paths of the Python files that would be compiled; empty with ``reuses`` 0: the artifact is there."""
    reuses: int = 0
    """Python files whose code is taken over from an earlier artifact."""
    requires: tuple[str, ...] = ()
    comes: tuple[str, ...] = ()
    """Hook points at which it would be new, as far as its source says so in words."""
    goes: tuple[str, ...] = ()
    """Hook points that it would leave."""
    is_all_known: bool = True
    """Whether the source names every hook point; else only running it would tell."""
    fault: Fault | None = None
    """Why what is on disk cannot serve."""
    obstacles: tuple[str, ...] = ()
    """What keeps it from being applied to the running process."""
    notes: tuple[str, ...] = ()
    """What the compiler would say, and what would stay behind."""

    def lines(self) -> Iterator[str]:
        """Say it in words, the first line with the name."""
        yield f"{_SIGNS[self.action]} {self.name}: {_HEADS[self.action].format(self=self)}"
        yield from (f"    {reason}" for reason in self.reasons)
        if self.fault is not None:
            yield f"    {_brief(self.fault)}"
        if self.files:
            yield f"    files: {_some(map(_describe, self.files), len(self.files))}"
        if self.action in ("load", "reload"):
            yield from (f"    {line}" for line in self._work())
        yield from (f"    obstacle: {obstacle}" for obstacle in self.obstacles)
        yield from (f"    note: {note}" for note in self.notes)

    def _work(self) -> Iterator[str]:
        if self.compiles:
            also = f"; {self.reuses} taken over" if self.reuses else ""
            yield f"compiles: {_some(self.compiles, len(self.compiles))}{also}"
        elif self.reuses:
            yield f"compiles: nothing; {self.reuses} taken over"
        points = [*(f"+ {point}" for point in self.comes), *(f"- {point}" for point in self.goes)]
        if points:
            yield f"hook points: {_some(points, len(points))}"
        if not self.is_all_known:
            yield "hook points: not all are named in the source; running it would tell"


_HEADS = {
    "load": "would be loaded",
    "reload": "would be reloaded; generation {self.generation} serves",
    "unload": "would be unloaded; generation {self.generation} serves",
    "wait": "would wait",
    "fail": "cannot be loaded",
    "keep": "stays as it is",
}


class Plan(Struct, frozen=True):
    """What would happen to all plugins that are concerned."""

    plugins: tuple[PluginPlan, ...]
    """Those with something to do first, in order of loading; then those that stay as they are, by name."""

    @property
    def work(self) -> tuple[PluginPlan, ...]:
        """Those for which there is something to do, or to mend."""
        return tuple(plugin for plugin in self.plugins if plugin.action != "keep" or plugin.reasons)

    @property
    def can_be_applied(self) -> bool:
        """Whether all of it would serve, in the running process."""
        return not any(plugin.action in ("fail", "wait") or plugin.obstacles for plugin in self.plugins)

    def lines(self) -> Iterator[str]:
        """Say it in words: how many of what, and then each plugin with something to do."""
        counts = {
            action: sum(1 for plugin in self.plugins if plugin.action == action)
            for action in ("load", "reload", "unload", "wait", "fail", "keep")
        }
        words = {"load": "to load", "reload": "to reload", "unload": "to unload", "wait": "would wait"}
        words |= {"fail": "cannot be loaded"}
        parts = [f"{counts[action]} {word}" for action, word in words.items() if counts[action]]
        kept = counts["keep"]
        rest = f"{kept} {'stays as it is' if kept == 1 else 'stay as they are'}" if kept else ""
        if parts:
            yield ", ".join(parts) + (f"; {rest}" if rest else "")
        else:
            yield "nothing to do" + (f": {rest}" if rest else ": there are no plugins")
        for plugin in self.work:
            yield ""
            yield from plugin.lines()


def _describe(file: FileChange) -> str:
    sign = _CHANGES[file.change]
    if file.change == "changed":
        return f"{sign} {file.path} ({file.size_before:,} → {file.size:,} bytes)"
    return f"{sign} {file.path}"


def _brief(fault: Fault) -> str:
    place = fault.place
    where = f" ({near(place.file)}:{place.line})" if place and place.line else ""
    return f"{fault.phase}: {fault.type}: {fault.message.partition(chr(10))[0]}{where}"


def _some(texts: Iterator[str] | tuple[str, ...] | list[str], count: int) -> str:
    """Join the first few, and say how many more there are."""
    shown = [text for text, _ in zip(texts, range(_MOST), strict=False)]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


class StepObserver(Protocol):
    """Called before a step; what it returns is entered, and left when the step is over."""

    def __call__(self, phase: Phase, plugin: str, digest: str = "") -> AbstractContextManager[object]:
        """Hear that ``plugin``'s code is about to run; ``digest`` is that of its source, if it is known."""
        ...


def nobody(
    phase: Phase,  # noqa: ARG001 - a StepObserver's signature
    plugin: str,  # noqa: ARG001
    digest: str = "",  # noqa: ARG001
) -> AbstractContextManager[object]:
    """Hear nothing."""
    return _NOTHING


_NOTHING: AbstractContextManager[object] = nullcontext()
