"""The vocabulary: plugin states, and the frozen records that cross threads and sockets.

Every record is immutable plain data that msgspec can encode: it contains no exception, module, frame or
callable. Times of day are seconds since the epoch; durations are seconds.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, Protocol

from msgspec import Struct

from hotload_tui.core.errors import near

Phase = Literal[
    "discover",
    "compile",
    "test",
    "load",
    "register",
    "hook",
    "thread",
    "task",
    "callback",
    "finalizer",
    "unload",
    "host",
]
"""The step in which a fault happened."""

RUNNING: Final[tuple[Phase, ...]] = ("hook", "thread", "task", "callback", "finalizer", "unload")
"""The phases of code that was loaded: these faults do not keep the newest version from being live."""

Owner = Literal["plugin", "host", "library"]
"""The owner of the code that a frame runs."""


Level = Literal["debug", "info", "warning", "error"]
"""The severity of a log line."""

PLUGIN_LOGGER: Final = "hotload.plugin"
"""The parent of the loggers of all plugins (``ctx.log``)."""


def encodable(text: str) -> str:
    """Return ``text`` with lone surrogates escaped, so that every record can be sent as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


class PluginState(StrEnum):
    """The state of a plugin; the value is the word, and ``glyph`` is the sign always shown with it."""

    OK = "ok"
    OLD = "OLD"
    STALE = "STALE"
    FAIL = "FAIL"
    HELD = "HELD"
    BUILD = "build"
    OFF = "off"
    WAIT = "wait"
    NEW = "new"

    @property
    def glyph(self) -> str:
        """One ASCII character, so that no state is shown by colour alone."""
        return _GLYPHS[self]


_GLYPHS: Final = {
    PluginState.OK: "+",
    PluginState.OLD: "~",
    PluginState.STALE: "~",
    PluginState.FAIL: "!",
    PluginState.HELD: "=",
    PluginState.BUILD: "*",
    PluginState.OFF: "-",
    PluginState.WAIT: ".",
    PluginState.NEW: "?",
}


class Frame(Struct, frozen=True):
    """One frame of a traceback, with the source as it was loaded."""

    file: str
    """Path of the source file."""
    line: int
    """Number of the failing line, from 1; 0 if unknown."""
    function: str
    """Qualified name of the function; empty for a place in code that did not run, as in a syntax error."""
    owner: Owner
    end_line: int = 0
    """Last line of the failing expression; 0 if unknown."""
    column: int = -1
    """First column of the failing expression in characters, from 0; -1 if unknown."""
    end_column: int = -1
    """Column after the failing expression; -1 if unknown."""
    lines: tuple[str, ...] = ()
    """Source lines around the failing line, without line ends."""
    first_line: int = 1
    """Line number of ``lines[0]``."""
    locals: tuple[tuple[str, str], ...] = ()
    """Names of local variables with short, safe representations of their values; secrets are masked."""
    repeats: int = 1
    """How many frames of a deep recursion this one stands for: itself, and equal ones that are left out."""


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
    """The exception's ``__notes__``, and hints such as "did you mean"."""
    frames: tuple[Frame, ...] = ()
    """The frames of the traceback, oldest first, as Python prints them."""
    causes: tuple[Fault, ...] = ()
    relation: Literal["", "cause", "context", "member"] = ""
    """How this fault relates to the fault that lists it in ``causes``."""
    missing_module: str = ""
    """The imported module that is not installed; the plugin is loaded again once the module can be found."""
    generation: int = 0
    """Number of the generation whose code failed; 0 if that code never was live in this host."""
    point: str = ""
    """The hook point that was called; empty in all other phases."""
    arguments: tuple[str, ...] = ()
    """Short representations of the call's arguments, those by name as ``name=value``; secrets are masked."""
    module: str = ""
    """Module of the class; empty for a built-in class and for a class of a plugin or of hotload."""
    missing_program: str = ""
    """The program that a build lacks; the plugin is built again once the program is on the PATH."""

    @property
    def printed_type(self) -> str:
        """The name of the exception's class as Python prints it: ``KeyError``, ``re.error``."""
        return f"{self.module}.{self.type}" if self.module else self.type

    @property
    def is_running(self) -> bool:
        """Whether code that was loaded failed, which does not keep the newest version from being live."""
        return self.phase in RUNNING

    @property
    def call(self) -> str:
        """The call of the hook point, as ``greet('Ada', times=2)``; empty if no handler failed."""
        return f"{self.point}({', '.join(self.arguments)})" if self.point else ""

    def step(self, live: int = 0) -> str:
        """Return the phase, with the failing generation's number unless that is the ``live`` one."""
        is_other = self.is_running and self.generation not in (0, live)
        return f"{self.phase} of generation {self.generation}" if is_other else self.phase

    @property
    def place(self) -> Frame | None:
        """The frame to show first: the newest frame of the plugin, else the newest frame."""
        own = [frame for frame in self.frames if frame.owner == "plugin"]
        candidates = own or list(self.frames)
        return candidates[-1] if candidates else None


class LedgerEntry(Struct, frozen=True):
    """One thing that a generation started or changed in the process."""

    category: str
    what: str
    generation: int
    outcome: Literal["stands", "undone", "named"]
    """``stands`` while the generation is live; afterwards ``undone``, or ``named`` if that is impossible."""
    file: str = ""
    """Source file of the code that did it; empty if unknown."""
    line: int = 0
    now: str = ""
    """Where the code is running now, or why the change could not be undone."""

    def describe(self) -> str:
        """Return the entry as one line."""
        place = f" ({os.path.basename(self.file)}:{self.line})" if self.file else ""  # noqa: PTH119 - only a name
        now = f", now at {self.now}" if self.now and self.outcome != "undone" else ""
        return f"{self.category} {self.what}{place}{now}"


class HookPlace(Struct, frozen=True, order=True):
    """A hook point at which a plugin is registered, and the priority there."""

    point: str
    priority: int


_ABOUT_A_FAULT = (PluginState.FAIL, PluginState.STALE, PluginState.BUILD)


class PluginStatus(Struct, frozen=True):
    """Everything that the table shows about one plugin."""

    name: str
    state: PluginState
    path: str
    """The plugin's directory or file as it is on disk (with the ``_`` of a disabled plugin)."""
    digest: str = ""
    """Digest of the live generation; empty if none is live."""
    source_digest: str = ""
    """Digest of the files on disk when they were last read; empty if they could not be read."""
    generation: int = 0
    """Number of the live generation; 0 if none is live."""
    points: tuple[HookPlace, ...] = ()
    compile_seconds: float = 0.0
    """Duration of the last build; 0 if the artifact existed already."""
    load_seconds: float = 0.0
    """Duration of executing the modules and ``register`` of the live generation."""
    loaded_at: float = 0.0
    """When the live generation was swapped in; 0 if none is live."""
    reloads: int = 0
    """Number of swaps in this host that replaced a live generation."""
    fault: Fault | None = None
    """The newest failure that is not fixed yet. A failed load and the death of a host come before a fault of
    running code, a fault of the live generation before a fault of a retired one, and the end of a worker
    before a failed call."""
    memory: str = ""
    """Memory of retired generations: ``freed``, or what holds the newest that is not; empty if unknown."""
    left: tuple[str, ...] = ()
    """What the previous generation started or changed and could not be undone, in words."""
    held: str = ""
    """Why the plugin is HELD; empty if it follows its source."""
    suspected: str = ""
    """How an earlier host ended while the live version was active, if the cause may be outside the plugin;
    empty if none did, or if the version was loaded again since."""
    waits: str = ""
    """What a plugin in state ``wait`` waits for, or its newest version in state ``build``; else empty."""
    reload: str = ""
    """``replace`` if the live generation leaves before another one is tried; else empty."""
    gap_seconds: float = 0.0
    """How long no version was live before the live generation, with ``reload = "replace"``."""
    old: str = ""
    """How an earlier version is still called, by whom, and what keeps it; empty if none is called."""
    outdated: tuple[str, ...] = ()
    """What the live version uses that is older than its source on disk and that no reload replaces."""
    entry: str = "plugin.py"
    """The name of the plugin's entry file."""

    def __repr__(self) -> str:
        live = f", generation {self.generation} {self.digest[:12]}" if self.generation else ""
        points = ", ".join(place.point for place in self.points)
        fault = f", {self.fault.type}: {self.fault.message}" if self.fault else ""
        return f"<PluginStatus {self.name}: {self.state.value}{live}{points and f' at {points}'}{fault}>"

    @property
    def folder(self) -> Path:
        """The folder to which the paths of the plugin's files are relative."""
        path = Path(self.path)
        return path.parent if path.name == self.entry else path

    @property
    def raises(self) -> bool:
        """Whether there is a fault beside the state, as after a handler that raised.

        FAIL and STALE are about the fault themselves; during a build, it is about to be fixed or replaced.
        """
        return self.fault is not None and self.state not in _ABOUT_A_FAULT

    @property
    def is_held_by_fault(self) -> bool:
        """Whether the plugin is HELD because a version failed, and not because a user chose the version."""
        why = self.fault.message if self.fault is not None else ""
        return bool(why) and self.held.endswith(why)

    @property
    def sign(self) -> str:
        """Glyph and word of the state, followed by ``!`` if ``raises`` is true."""
        return f"{self.state.glyph} {self.state.value}{' !' * self.raises}"


def release_advice(plugin: str, *, by_fault: bool) -> str:
    """Return how a hold ends: a save ends it only if it is there because of a fault."""
    if by_fault:
        return f"save a fix, or 'hotload release {plugin}' loads its source as it is"
    return f"'hotload release {plugin}' lets it follow its source"


class HistoryEntry(Struct, frozen=True):
    """One generation of a plugin, one failed attempt to load it, or one kind of fault of running code."""

    at: float
    generation: int
    """Number of the generation; 0 for a failed attempt, which never was live, and for faults."""
    digest: str
    """Digest of the artifact; empty if there was none, or if it is not known."""
    compile_seconds: float = 0.0
    """Duration of the build; 0 if the artifact existed already."""
    load_seconds: float = 0.0
    fault: Fault | None = None
    """Why the attempt failed; or the newest of the faults of running code that this entry counts."""
    memory: str = ""
    """``freed``, or what holds the generation; empty until it has retired."""
    can_return: bool = False
    """Whether the plugin can roll back to this generation, because its artifact still exists."""
    count: int = 0
    """How often code of this digest failed in this way, the first time at ``at``; 0 for a load."""
    last: float = 0.0
    """When it failed for the last time; 0 for a load."""


class FileDigest(Struct, frozen=True):
    """One file of a plugin."""

    path: str
    """Relative to the plugin's directory, with forward slashes."""
    sha256: str
    size: int
    """Size in bytes."""


class HandlerStatus(Struct, frozen=True):
    """One handler at a hook point."""

    plugin: str
    function: str
    priority: int
    generation: int
    calls: int = 0
    faults: int = 0
    mean_seconds: float = 0.0
    """Mean duration of the timed calls (a sample); 0 if none was timed."""


class HookPointStatus(Struct, frozen=True):
    """One hook point with its handlers in calling order."""

    point: str
    handlers: tuple[HandlerStatus, ...]
    calls: int
    """Number of calls in this process. 0 with handlers: the host never calls the hook point; more than 0
    without handlers: no plugin answers."""
    plugin_faults: dict[str, int] = {}
    """Number of faults of each plugin's handlers in this process, of all versions; none that is 0."""


class PluginDetail(Struct, frozen=True):
    """The details of one plugin, returned on request."""

    status: PluginStatus
    description: str
    """First line of the docstring of ``plugin.py``."""
    files: tuple[FileDigest, ...]
    """Files of the live artifact, or of the source if none is live."""
    settings: dict[str, object]
    handlers: tuple[HookPointStatus, ...]
    """The hook points at which the plugin is registered, with only its own handlers."""
    ledger: tuple[LedgerEntry, ...] = ()
    """What the live generation started or changed in the process, followed by the same for the previous
    generation, with the outcome of each entry."""
    files_before: tuple[FileDigest, ...] = ()
    """Files of the artifact that was live before this one; empty if there was none or it is gone."""
    requires: tuple[str, ...] = ()
    """The plugins that the newest known version of this plugin requires."""
    required_by: tuple[str, ...] = ()


class WatcherStatus(Struct, frozen=True):
    """Whether the watcher notices saves."""

    state: Literal["watching", "degraded", "off", "failed"]
    """``degraded``: some changes are found by scans, not at once; ``failed``: no changes can be found."""
    trouble: str = ""
    """What is wrong, such as why the state is ``failed`` or ``degraded``; empty if nothing is."""
    paused: bool = False
    """Whether changes are kept until the user resumes."""
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
    """What is wrong with the process, seen from outside: it hangs, is being restarted, or died for good."""
    config_fault: str = ""
    """What is wrong in the edited configuration files; the last valid configuration stays in use."""
    breakpoint: str = ""
    """Where ``breakpoint()`` waits for the console's terminal, in short form; empty if it does not wait."""


class Work(Struct, frozen=True):
    """Work on one plugin after the other, which is under way."""

    phase: Phase
    """``compile`` or ``load``."""
    plugin: str
    """The plugin that is being compiled or loaded."""
    done: int
    """How many plugins are done."""
    of: int
    """How many plugins there are in all."""


class Snapshot(Struct, frozen=True):
    """The whole state at one moment."""

    plugins: tuple[PluginStatus, ...]
    """In order of name."""
    points: tuple[HookPointStatus, ...]
    """In order of name."""
    watcher: WatcherStatus
    host: HostStatus
    failures: dict[str, int] = {}
    """Number of versions of each plugin that did not go live in this host; none that is 0."""
    old_versions: dict[str, int] = {}
    """Number of retired generations of each plugin, also of one that is gone, that are still in memory."""
    work: Work | None = None
    """The compiling or loading that is under way; ``None`` if there is none."""


class LogLine(Struct, frozen=True):
    """One line of the host's log."""

    number: int
    """Counts from 1 and never repeats within one host process."""
    at: float
    level: Level
    plugin: str
    """The plugin that the line is from or about; empty for the host itself."""
    text: str
    is_step: bool = False
    """Whether the line is for a reader who wants the details of builds, loads and unloads."""
    brief: str = ""
    """The line for other readers, if ``is_step``; empty if there is none."""


class HandlerCall(Struct, frozen=True):
    """The call of one handler within a detailed call of a hook point."""

    plugin: str
    function: str
    failed: bool
    """Whether the handler failed, and so has a fault and no value."""


class Invocation(Struct, frozen=True):
    """The result of a detailed call of a hook point."""

    values: tuple[object, ...]
    """One value per handler that did not fail, in calling order. A manager returns JSON values, or bounded
    representations; ``HookHost.invoke`` returns the objects themselves."""
    faults: tuple[Fault, ...]
    seconds: tuple[float, ...]
    """One duration per handler in calling order, including handlers that failed."""
    handlers: tuple[HandlerCall, ...] = ()
    """The handlers that were called, in calling order."""


Action = Literal["load", "reload", "unload", "wait", "fail", "keep"]
"""``wait``: a required plugin is not live; ``fail``: the source on disk cannot go live."""

_SIGNS = {"load": "+", "reload": "~", "unload": "-", "wait": ".", "fail": "!", "keep": "="}
_CHANGES = {"added": "+", "changed": "~", "removed": "-"}
_MOST = 8  # files or hook points that are named in one line


class FileChange(Struct, frozen=True):
    """A file that differs from the live version."""

    path: str
    """Relative to the plugin's directory, with forward slashes."""
    change: Literal["added", "changed", "removed"]
    size: int
    """Size in bytes; 0 for a file that is gone."""
    size_before: int = 0
    """Size in bytes in the live version; 0 for a new file."""


class PluginPlan(Struct, frozen=True):
    """What would happen to one plugin."""

    name: str
    action: Action
    reasons: tuple[str, ...]
    """The reasons for the action, in words."""
    generation: int = 0
    """Number of the live generation; 0 if none is live."""
    becomes: int = 0
    """Number of the generation that would be live afterwards; 0 if none would."""
    files: tuple[FileChange, ...] = ()
    """Differences from the files of the live version; empty if none is live."""
    compiles: tuple[str, ...] = ()
    """Paths of the Python files that would be compiled; if empty and ``reuses`` is 0, the artifact exists."""
    reuses: int = 0
    """Number of Python files whose code would be reused from an earlier artifact."""
    requires: tuple[str, ...] = ()
    comes: tuple[str, ...] = ()
    """Hook points at which the plugin would be new, as far as its source names them."""
    goes: tuple[str, ...] = ()
    """Hook points that the plugin would leave."""
    is_all_known: bool = True
    """Whether the source names every hook point; if not, the others are known only when the code runs."""
    fault: Fault | None = None
    """Why the source on disk cannot go live."""
    obstacles: tuple[str, ...] = ()
    """What would keep the new version from working in the running process."""
    notes: tuple[str, ...] = ()
    """The warnings about the source, and what the live version would leave behind."""

    def lines(self) -> Iterator[str]:
        """Yield the plan in words; the first line has the plugin's name."""
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
            yield "hook points: not all are named in the source; running it would show them"


_HEADS = {
    "load": "would be loaded",
    "reload": "would be reloaded; generation {self.generation} is live",
    "unload": "would be unloaded; generation {self.generation} is live",
    "wait": "would wait",
    "fail": "cannot be loaded",
    "keep": "stays as it is",
}


class Plan(Struct, frozen=True):
    """What would happen to each plugin concerned."""

    plugins: tuple[PluginPlan, ...]
    """First the plugins with something to do, in order of loading; then the others, by name."""

    @property
    def work(self) -> tuple[PluginPlan, ...]:
        """The plugins for which there is something to do, to fix or to know."""
        return tuple(
            plugin for plugin in self.plugins if plugin.action != "keep" or plugin.reasons or plugin.notes
        )

    @property
    def can_be_applied(self) -> bool:
        """Whether all of the plan would succeed in the running process."""
        return not any(plugin.action in ("fail", "wait") or plugin.obstacles for plugin in self.plugins)

    def lines(self) -> Iterator[str]:
        """Yield the plan in words: the plugins counted by action, then each plugin with something to do."""
        counts: Counter[str] = Counter(plugin.action for plugin in self.plugins)
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
    """Join the first few texts, and add how many more there are."""
    shown = [text for text, _ in zip(texts, range(_MOST), strict=False)]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


class StepObserver(Protocol):
    """Returns a context manager for a step in which plugin code is compiled or runs; it is entered for it."""

    def __call__(self, phase: Phase, plugin: str, digest: str = "") -> AbstractContextManager[object]:
        """Observe that such a step is about to begin; ``digest`` is that of ``plugin``'s source, if known."""
        ...


def nobody(
    phase: Phase,  # noqa: ARG001 - a StepObserver's signature
    plugin: str,  # noqa: ARG001
    digest: str = "",  # noqa: ARG001
) -> AbstractContextManager[object]:
    """Observe nothing."""
    return _NOTHING


_NOTHING: AbstractContextManager[object] = nullcontext()
