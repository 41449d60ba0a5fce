"""Find the artifact that killed or blocks the host, from breadcrumbs and dumps.

The host writes breadcrumbs into shared memory, which costs next to nothing and survives even ``os._exit`` and
SIGKILL; the console reads them. A heartbeat next to them shows whether the interpreter still runs.

A dump proves which artifact ended the host: it names the thread, the thread's frames name the plugin, and the
breadcrumb of that thread names the artifact. A breadcrumb alone proves it only if nothing from outside can
have ended the host; otherwise it makes the artifact suspected.
"""

from __future__ import annotations

import contextlib
import itertools
import linecache
import mmap
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

from msgspec import Struct

from hotload_tui.core.layout import DEFAULT, Layout
from hotload_tui.core.model import Fault, Frame, Owner, Phase, PluginState, PluginStatus
from hotload_tui.core.primitives import Lock, get_ident, get_native_id, monotonic, sleep, time
from hotload_tui.remote.process.debug import PLACES, SOCKET

CUT_OFF: Final = 97
"""Exit status of a process that can no longer report to its parent or serve its clients."""

_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_THREAD: Final = re.compile(r"^(Current thread|Thread) (0x[0-9a-f]+).*$", re.MULTILINE)
_RETIRED: Final = re.compile(r"@g(\d+)$")  # end of the file name of retired code, with its generation
_HOST: Final = str(Path(__file__).with_name("host.py"))
_TIMEOUT: Final = "Timeout ("  # start of a dump that faulthandler wrote because of a timeout

_CRASHES: Final = frozenset(
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP")
    if hasattr(signal, name)
)
"""The signals that code of the process causes; any other signal may come from outside."""


def fault_of_death(
    plugin: PluginStatus,
    phase: Phase,
    *,
    returncode: int | None,
    limit: float,
    trace: str,
    thread: int = 0,
) -> Fault:
    """Return the fault for a process that ended during ``phase`` of ``plugin``.

    ``returncode`` has subprocess's meaning; ``None`` means that the process was killed because the phase took
    longer than ``limit`` seconds. ``trace`` is faulthandler's dump, or empty; ``thread`` is the identifier of
    the thread that ran the plugin, or 0.
    """
    if returncode is None or trace.startswith(_TIMEOUT):
        kind, message = "TimeoutError", f"the plugin did not {phase} within {limit:g} s"
    elif returncode == CUT_OFF:
        kind, message = "ProcessDied", "the plugin closed file descriptors that are not its own"
    elif returncode < 0:
        kind = _signal_name(-returncode)
        what = (
            "its source crashed the interpreter" if phase == "compile" else "the plugin crashed the process"
        )
        message = f"{what}: {signal.strsignal(-returncode)}"
    else:
        kind = "ProcessDied"
        message = f"the plugin ended the process with exit status {returncode}, without cleanup (os._exit?)"
    return Fault(phase, plugin.name, kind, message, time(), frames=_frames(trace, plugin.path, thread))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Stack(NamedTuple):
    """One thread in a dump."""

    thread: int
    """The identifier of the thread."""
    is_current: bool
    """Whether this thread crashed, or wrote the dump."""
    frames: tuple[tuple[str, int, str], ...]
    """File, line and function of each frame, innermost first."""


def stacks(trace: str) -> list[Stack]:
    """Return the threads in a dump: newest first, the main thread last."""
    _, *parts = _THREAD.split(trace)
    return [
        Stack(int(thread, 16), kind == "Current thread", tuple(_places(dump)))
        for kind, thread, dump in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def _places(dump: str) -> Iterator[tuple[str, int, str]]:
    for file, line, function in _FRAME.findall(dump):
        if file != _HOST:  # it wrote the dump
            yield file, int(line), function


def current(trace: str) -> Stack | None:
    """Return the thread that crashed, or wrote the dump; of several dumps, that of the last one."""
    return next((stack for stack in reversed(stacks(trace)) if stack.is_current), None)


def _frames(trace: str, plugin_dir: str, thread: int = 0) -> tuple[Frame, ...]:
    """Return the stack of the thread that runs the plugin, starting with the plugin's first frame."""
    found = [(stack, _stack(stack, plugin_dir)) for stack in stacks(trace)]
    own = [
        (stack.thread == thread, stack.is_current, frames)
        for stack, frames in found
        if any(frame.owner == "plugin" for frame in frames)
    ]
    if not own:
        return ()
    *_, frames = max(reversed(own), key=lambda each: each[:2])  # of equal threads, the oldest
    first = next(index for index, frame in enumerate(frames) if frame.owner == "plugin")
    return tuple(frames[first:])


def _stack(stack: Stack, plugin_dir: str) -> list[Frame]:
    return [_frame(*place, plugin_dir) for place in reversed(stack.frames)]


def _frame(file: str, line: int, function: str, plugin_dir: str) -> Frame:
    linecache.checkcache(file)  # it may have changed since an earlier crash
    source = linecache.getline(file, line).rstrip("\n")
    return Frame(
        file=file,
        line=line,
        function=function,
        owner=_owner(file, plugin_dir),
        lines=(source,) if source else (),
        first_line=line,
    )


def _owner(file: str, plugin_dir: str) -> Owner:
    if Path(file).is_relative_to(plugin_dir) or Path(file).is_relative_to(Path(plugin_dir).resolve()):
        return "plugin"
    import sysconfig  # only here, so that the console starts faster

    libraries = (*sysconfig.get_paths().values(), sys.prefix)
    return "library" if any(Path(file).is_relative_to(path) for path in libraries) else "host"


def fault_of_hang(plugin: PluginStatus, phase: Phase, trace: str, thread: int = 0) -> Fault:
    """Return the fault for a plugin that blocked its host in ``thread``; ``trace`` is faulthandler's dump."""
    return Fault(
        phase,
        plugin.name,
        "TimeoutError",
        "the plugin blocked the host, so the host was restarted",
        time(),
        frames=_frames(trace, plugin.path, thread),
    )


def plugin_in(stack: Stack, runtime_dir: Path, layout: Layout = DEFAULT) -> tuple[str, int]:
    """Return the plugin whose code the thread runs, and the generation; empty for none.

    The generation is known only of code that has retired; it is 0 otherwise.
    """
    for file, _, _ in stack.frames:
        path = Path(_RETIRED.sub("", file))
        for root in dict.fromkeys((runtime_dir, runtime_dir.resolve())):
            if name := layout.plugin_at(path, root):
                retired = _RETIRED.search(file)
                return name, int(retired[1]) if retired else 0
    return "", 0


BEAT: Final = 0.25
"""Seconds between two heartbeats."""

TRAIL: Final = "trail"
VERSIONS: Final = "versions"
CRASH: Final = "crash"
HANG: Final = "hang"
"""File names in the folder that host and console share: breadcrumbs, live versions, and two dumps."""

_HEAD: Final = struct.Struct("<d?")  # last heartbeat on the monotonic clock, whether the first scan is over
_SLOT: Final = struct.Struct(
    "<QdQQ16s64s256s"
)  # number (0: free), time on the monotonic clock, thread, its number in the system, phase, digest, plugin
_START: Final = 64  # bytes before the first slot
_SLOTS: Final = 32  # steps for which no slot is free are left out
_SIZE: Final = _START + _SLOTS * _SLOT.size
_VERSION: Final = struct.Struct("<Q64s256s")  # generation (0: free), digest, plugin
_VERSIONS_KEPT: Final = 2048  # each further load replaces the oldest one


class Crumb(NamedTuple):
    """A step of a plugin in the host, for example its load or a call of its handler."""

    number: int
    """Counts up: the newest step has the greatest number."""
    at: float
    """Start of the step on the monotonic clock."""
    thread: int
    """Identifier of the thread that runs the step, as in dumps."""
    native: int
    """The system's number of that thread."""
    phase: Phase
    digest: str
    """Digest of the artifact that runs; empty if unknown."""
    plugin: str


class Trail(NamedTuple):
    """Everything that a host recorded."""

    beat: float
    """Time of the last heartbeat on the monotonic clock."""
    is_ready: bool
    """Whether the host's first scan is over."""
    crumbs: tuple[Crumb, ...]
    """The steps that are not over, oldest first."""


class Breadcrumbs:
    """Records the steps of the host; ``step`` is a ``StepObserver``."""

    def __init__(self, folder: Path) -> None:
        with (folder / TRAIL).open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)
        with (folder / VERSIONS).open("r+b") as file:
            self._versions = mmap.mmap(file.fileno(), _VERSIONS_KEPT * _VERSION.size)
        self._loads = itertools.count()
        self._pid = os.getpid()
        self._lock = Lock()
        self._numbers = itertools.count(1)
        self._free = list(range(_SLOTS))
        self._is_ready = False
        self.at_end: Callable[[], None] = _nothing
        """Called at the end of each step, while the step still counts as running."""

    def beat(self) -> None:
        """Record one heartbeat."""
        _HEAD.pack_into(self._memory, 0, monotonic(), self._is_ready)

    def trail(self) -> Trail:
        """Return the current records."""
        return _trail(bytes(self._memory))

    def ready(self) -> None:
        """Record that the first scan is over."""
        self._is_ready = True
        self.beat()

    def went_live(self, plugin: str, generation: int, digest: str) -> None:
        """Record the digest of a live generation, whose threads leave no breadcrumb."""
        place = next(self._loads) % _VERSIONS_KEPT * _VERSION.size
        _VERSION.pack_into(self._versions, place, generation, *_words(digest, plugin))

    @contextlib.contextmanager
    def step(self, phase: Phase, plugin: str, digest: str = "") -> Iterator[None]:
        """Record a step while it runs. A process that the plugin forked in the step exits at its end."""
        with self._lock:
            slot = self._free.pop() if self._free else None
            number = next(self._numbers)
        if slot is not None:
            words = _words(phase, digest, plugin)
            threads = get_ident(), get_native_id()
            self._write(slot, number, monotonic(), threads, words)
        try:
            yield
        finally:
            if os.getpid() != self._pid:
                os._exit(0)
            self.at_end()
            if slot is not None:
                self._write(slot, 0, 0.0, (0, 0), [b"", b"", b""])
                with self._lock:
                    self._free.append(slot)

    def _write(
        self, slot: int, number: int, at: float, threads: tuple[int, int], words: Sequence[bytes]
    ) -> None:
        _SLOT.pack_into(self._memory, _START + slot * _SLOT.size, number, at, *threads, *words)


def _nothing() -> None:
    """Do nothing."""


def _words(*parts: str) -> list[bytes]:
    return [part.encode("utf-8", "backslashreplace") for part in parts]


def _texts(words: Iterable[bytes]) -> list[str]:
    return [word.rstrip(b"\0").decode("utf-8", "replace") for word in words]


def _trail(content: bytes) -> Trail:
    beat, is_ready = _HEAD.unpack_from(content, 0)
    crumbs = (_crumb(content, slot) for slot in range(_SLOTS))
    return Trail(beat, is_ready, tuple(sorted(crumb for crumb in crumbs if crumb.number)))


def _crumb(content: bytes, slot: int) -> Crumb:
    number, at, thread, native, *words = _SLOT.unpack_from(content, _START + slot * _SLOT.size)
    phase, digest, plugin = _texts(words)
    return Crumb(number, at, thread, native, cast(Phase, phase), digest, plugin)


class Culprit(NamedTuple):
    """The artifact that killed or blocked the host, and the fault."""

    plugin: str
    digest: str
    """Digest of the artifact; empty if unknown."""
    fault: Fault
    is_proven: bool
    """Whether the evidence is certain; otherwise the artifact is only suspected, because it was active."""


class Evidence:
    """The breadcrumbs and dumps of the current host, and the plugin that they accuse."""

    def __init__(self, runtime_dir: Path, load_timeout: float, layout: Layout = DEFAULT) -> None:
        """Create the folder that the host shares; its plugins are in ``runtime_dir``."""
        self._layout = layout
        self.folder = Path(tempfile.mkdtemp(prefix="hotload-"))
        self._root = runtime_dir.absolute()
        self._limit = load_timeout

    def clear(self) -> None:
        """Reset all files for the next host."""
        (self.folder / TRAIL).write_bytes(bytes(_SIZE))
        with (self.folder / VERSIONS).open("wb") as file:  # sparse
            file.truncate(_VERSIONS_KEPT * _VERSION.size)
        for name in (CRASH, HANG):
            (self.folder / name).write_bytes(b"")
        for name in (SOCKET, PLACES):
            (self.folder / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def trail(self) -> Trail:
        """Return the breadcrumbs; a step that is being written may be missing."""
        try:
            return _trail((self.folder / TRAIL).read_bytes())
        except FileNotFoundError:  # the console is closing and has removed the folder
            return Trail(0.0, False, ())

    def dump(self, name: str) -> str:
        """Return the dump that faulthandler wrote to the file ``name`` (``CRASH`` or ``HANG``)."""
        try:
            return (self.folder / name).read_text(errors="replace")
        except OSError:
            return ""

    def culprit_of_death(self, trace: str, returncode: int, *, was_orphaned: bool = False) -> Culprit | None:
        """Return the artifact that ended the host, or that was active when something else may have done so.

        ``was_orphaned``: the host ended because its supervisor died.
        """
        crumbs = self.trail().crumbs
        crumb = self._step_of(current(trace), crumbs)
        if returncode >= 0:  # a source that is compiled can crash the host, but not make it exit
            crumbs = tuple(each for each in crumbs if each.phase != "compile")
        is_proven = crumb is not None
        if crumb is None and crumbs:
            crumb = crumbs[-1]
            is_alone = len({(each.plugin, each.digest) for each in crumbs}) == 1
            is_proven = is_alone and not (trace or was_orphaned or _may_be_outside(returncode))
        if crumb is None:
            return None
        fault = fault_of_death(
            self._status(crumb),
            crumb.phase,
            returncode=returncode,
            limit=self._limit,
            trace=trace,
            thread=crumb.thread,
        )
        return Culprit(crumb.plugin, crumb.digest, fault, is_proven)

    def culprit_of_hang(
        self, trail: Trail, trace: str, busy: Collection[int] = frozenset()
    ) -> Culprit | None:
        """Return the artifact that blocks the host.

        The dump does not show which thread holds the interpreter's lock; it may have no step. So if
        any thread is ``busy`` (the system's numbers), a step whose thread is not only waits for the lock.
        """
        trace = trace or self.dump(CRASH)  # a process that stops itself has written only the latter
        waiting = {crumb.thread for crumb in trail.crumbs if busy and crumb.native not in busy}
        running = [crumb for crumb in trail.crumbs if crumb.thread not in waiting]
        now: list[Crumb] = []
        others: dict[str, Crumb] = {}
        for stack in stacks(trace):
            step = self._step_of(stack, trail.crumbs) if stack.thread not in waiting else None
            if step is not None:
                others[step.plugin] = step
                now += [step] * stack.is_current
        certain = now or running[-1:] or (list(others.values()) if len(others) == 1 else [])
        crumb = next(iter(certain or trail.crumbs[-1:]), None)
        if crumb is None:
            return None
        fault = fault_of_hang(self._status(crumb), crumb.phase, trace, crumb.thread)
        return Culprit(crumb.plugin, crumb.digest, fault, is_proven=True)

    def _step_of(self, stack: Stack | None, crumbs: Sequence[Crumb]) -> Crumb | None:
        """Return the step that a thread runs; for another thread of a plugin, a step of phase ``thread``."""
        if stack is None:
            return None
        own = [crumb for crumb in reversed(crumbs) if crumb.thread == stack.thread]
        plugin, generation = plugin_in(stack, self._root, self._layout)
        if not plugin or (own and own[0].phase == "compile"):  # perhaps a plugin has asked for the reload
            return own[0] if own else None
        versions = self._versions()
        digest = versions.get((plugin, generation), "")
        for crumb in own:
            if crumb.plugin == plugin:
                return crumb._replace(digest=digest) if generation and digest else crumb
        if not generation:  # of a load that runs, or of the live version
            loads = [each.digest for each in crumbs if each.plugin == plugin and each.phase == "load"]
            digest = loads[-1] if loads else digest
        return Crumb(0, 0.0, stack.thread, 0, "thread", digest, plugin)

    def _versions(self) -> dict[tuple[str, int], str]:
        """Return the digest of each generation that was live; generation 0 is the newest."""
        found: dict[tuple[str, int], str] = {}
        try:
            content = (self.folder / VERSIONS).read_bytes()
        except FileNotFoundError:  # as in ``trail``
            return found
        for generation, *words in sorted(_VERSION.iter_unpack(content)):
            digest, plugin = _texts(words)
            found[plugin, generation] = found[plugin, 0] = digest
        return found

    def _status(self, crumb: Crumb) -> PluginStatus:
        paths = [self._root / name for name in self._layout.file_names(crumb.plugin)]
        path = next((path for path in paths if path.exists()), paths[0])
        path = Path(self._layout.packages.get(crumb.plugin, path))
        return PluginStatus(crumb.plugin, PluginState.HELD, str(path))


def _may_be_outside(returncode: int) -> bool:
    """Return whether something outside the plugin may have ended the host in this way."""
    return returncode == CUT_OFF or (returncode < 0 and -returncode not in _CRASHES)


_LOOK: Final = 0.2
_USED: Final = 0.05
"""Seconds of a look at the threads of a host, and the share of them that a busy thread is on a processor.

A thread that waits for the interpreter's lock wakes up all the time, for a thousandth. On a machine under
load it is then ready to run for long, so its state at one moment says nothing.
"""


def busy_threads(pid: int) -> frozenset[int]:
    """Return the numbers of the threads that use a processor; empty where the system does not say."""
    before = _used(pid)
    sleep(_LOOK)
    after = _used(pid)
    return frozenset(
        number for number, used in after.items() if used - before.get(number, used) >= _LOOK * _USED
    )


def _used(pid: int) -> dict[int, float]:
    """Return the seconds for which each thread was on a processor."""
    found = {}
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has ended
            found[int(file.parent.name)] = int(file.read_bytes().split()[0]) / 1e9
    return found


class Hang(Struct):
    """A host that hangs."""

    before: int
    """Number of characters in the dump file that belong to earlier dumps."""
    trace: str = ""
    culprit: Culprit | None = None
    looks: int = 0
    is_ended: bool = False
    """Whether the host is being killed because of this hang."""
