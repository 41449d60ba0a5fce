"""Find the plugin that killed or blocks the host, from breadcrumbs and dumps.

The host writes breadcrumbs into shared memory, which costs next to nothing and survives even ``os._exit`` and
SIGKILL; the console reads them. A heartbeat next to them shows whether the interpreter still runs.
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
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

from msgspec import Struct

from hotload_tui.core.directories import name_of
from hotload_tui.core.model import Fault, Frame, Owner, Phase, PluginState, PluginStatus
from hotload_tui.remote.process.debug import PLACES, SOCKET

CUT_OFF: Final = 97
"""Exit status of a process that can no longer report to its parent or serve its clients."""

_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_THREAD: Final = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)
_TIMEOUT: Final = "Timeout ("  # start of a dump that faulthandler wrote because of a timeout


def fault_of_death(
    plugin: PluginStatus, phase: Phase, *, returncode: int | None, limit: float, trace: str
) -> Fault:
    """Return the fault for a process that ended during ``phase`` of ``plugin``.

    ``returncode`` has subprocess's meaning; ``None`` means that the process was killed because the phase took
    longer than ``limit`` seconds. ``trace`` is faulthandler's dump, or empty.
    """
    if returncode is None or trace.startswith(_TIMEOUT):
        kind, message = "TimeoutError", f"the plugin did not {phase} within {limit:g} s"
    elif returncode == CUT_OFF:
        kind, message = "ProcessDied", "the plugin closed file descriptors that are not its own"
    elif returncode < 0:
        kind = _signal_name(-returncode)
        message = f"the plugin crashed the process: {signal.strsignal(-returncode)}"
    else:
        kind = "ProcessDied"
        message = f"the plugin ended the process with exit status {returncode}, without cleanup (os._exit?)"
    return Fault(phase, plugin.name, kind, message, time.time(), frames=_frames(trace, plugin.path))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _frames(trace: str, plugin_dir: str) -> tuple[Frame, ...]:
    """Return the stack of the thread that runs the plugin, starting with the plugin's first frame."""
    stacks = [_stack(part, plugin_dir) for part in _THREAD.split(trace)[1:]]
    own = [stack for stack in stacks if any(frame.owner == "plugin" for frame in stack)]
    if not own:
        return ()
    stack = own[-1]  # faulthandler writes the newest thread first and the main thread last
    first = next(index for index, frame in enumerate(stack) if frame.owner == "plugin")
    return tuple(stack[first:])


def _stack(dump: str, plugin_dir: str) -> list[Frame]:
    frames = [_frame(file, int(line), function, plugin_dir) for file, line, function in _FRAME.findall(dump)]
    return frames[::-1]


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


def fault_of_hang(plugin: PluginStatus, phase: Phase, trace: str) -> Fault:
    """Return the fault for a plugin that blocked its host; ``trace`` is faulthandler's dump."""
    return Fault(
        phase,
        plugin.name,
        "TimeoutError",
        "the plugin blocked the host, so the host was restarted",
        time.time(),
        frames=_frames(trace, plugin.path),
    )


def plugin_in(trace: str, runtime_dir: Path) -> str:
    """Return the directory name of the plugin whose code crashed or held the interpreter; empty for none."""
    _, _, rest = trace.partition("Current thread ")
    current = _THREAD.split(rest)[0]
    for file, _, _ in _FRAME.findall(current):
        with contextlib.suppress(ValueError):
            return Path(file).relative_to(runtime_dir).parts[0]
    return ""


BEAT: Final = 0.25
"""Seconds between two heartbeats."""

TRAIL: Final = "trail"
CRASH: Final = "crash"
HANG: Final = "hang"
"""File names in the folder that host and console share: the breadcrumbs and two dumps of faulthandler."""

_HEAD: Final = struct.Struct("<d?")  # last heartbeat on the monotonic clock, whether the first scan is over
_SLOT: Final = struct.Struct(
    "<Qd16s64s256s"
)  # number (0: free), time on the monotonic clock, phase, digest, plugin
_START: Final = 64  # bytes before the first slot
_SLOTS: Final = 32  # slot 0: the step that ended last; steps for which no slot is free are left out
_SIZE: Final = _START + _SLOTS * _SLOT.size


class Crumb(NamedTuple):
    """A step of a plugin in the host, for example its load or a call of its handler."""

    number: int
    """Counts up: the newest step has the greatest number."""
    at: float
    """Start of the step, or its end if it is over, on the monotonic clock."""
    phase: Phase
    digest: str
    """Digest of the source that runs; empty if unknown."""
    plugin: str


class Trail(NamedTuple):
    """Everything that a host recorded."""

    beat: float
    """Time of the last heartbeat on the monotonic clock."""
    is_ready: bool
    """Whether the host's first scan is over."""
    crumbs: tuple[Crumb, ...]
    """The steps that are not over, oldest first."""
    last: Crumb | None
    """The step that ended last; ``at`` is the time of its end."""


class Breadcrumbs:
    """Records the steps of the host; ``step`` is a ``StepObserver``."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._free = list(range(1, _SLOTS))
        self._is_ready = False

    def beat(self) -> None:
        """Record one heartbeat."""
        _HEAD.pack_into(self._memory, 0, time.monotonic(), self._is_ready)

    def trail(self) -> Trail:
        """Return the current records."""
        return _trail(bytes(self._memory))

    def ready(self) -> None:
        """Record that the first scan is over."""
        self._is_ready = True
        self.beat()

    @contextlib.contextmanager
    def step(self, phase: Phase, plugin: str, digest: str = "") -> Iterator[None]:
        """Record a step while it runs. A process that the plugin forked in the step exits at its end."""
        with self._lock:
            slot = self._free.pop() if self._free else None
            number = next(self._numbers)
        words = _words(phase, digest, plugin)
        if slot is not None:
            self._write(slot, number, time.monotonic(), words)
        try:
            yield
        finally:
            if os.getpid() != self._pid:
                os._exit(0)
            self._write(0, number, time.monotonic(), words)
            if slot is not None:
                self._write(slot, 0, 0.0, [b"", b"", b""])
                with self._lock:
                    self._free.append(slot)

    def reopen(self, crumb: Crumb) -> None:
        """Record a step as running although it may be over: this process ends because of it."""
        self._write(1, crumb.number, crumb.at, _words(crumb.phase, crumb.digest, crumb.plugin))

    def _write(self, slot: int, number: int, at: float, words: Sequence[bytes]) -> None:
        _SLOT.pack_into(self._memory, _START + slot * _SLOT.size, number, at, *words)


def _words(*parts: str) -> list[bytes]:
    return [part.encode("utf-8", "backslashreplace") for part in parts]


def _trail(content: bytes) -> Trail:
    beat, is_ready = _HEAD.unpack_from(content, 0)
    last, *crumbs = [_crumb(content, slot) for slot in range(_SLOTS)]
    return Trail(
        beat,
        is_ready,
        tuple(sorted(crumb for crumb in crumbs if crumb.number)),
        last if last.number else None,
    )


def _crumb(content: bytes, slot: int) -> Crumb:
    number, at, *words = _SLOT.unpack_from(content, _START + slot * _SLOT.size)
    phase, digest, plugin = (word.rstrip(b"\0").decode("utf-8", "replace") for word in words)
    return Crumb(number, at, cast(Phase, phase), digest, plugin)


AFTERMATH: Final = 0.25
"""Seconds after the end of a step in which it still counts as the cause: a signal may arrive late."""

CUT_OFF_SEEN: Final = 1.0
"""Seconds within which a host notices that descriptors are missing."""


class Culprit(NamedTuple):
    """The plugin that killed or blocked the host, and the fault."""

    plugin: str
    digest: str
    """Digest of the plugin's source; empty if unknown."""
    fault: Fault


def recent(trail: Trail, since: float) -> Crumb | None:
    """Return the newest running step, else the last step if it ended after ``since`` (monotonic clock)."""
    if trail.crumbs:
        return trail.crumbs[-1]
    last = trail.last
    return last if last is not None and last.at > since else None


class Evidence:
    """The breadcrumbs and dumps of the current host, and the plugin that they accuse."""

    def __init__(self, runtime_dir: Path, load_timeout: float) -> None:
        """Create the folder that the host shares; its plugins are in ``runtime_dir``."""
        self.folder = Path(tempfile.mkdtemp(prefix="hotload-"))
        self._root = runtime_dir.absolute()
        self._limit = load_timeout

    def clear(self) -> None:
        """Reset all files for the next host."""
        (self.folder / TRAIL).write_bytes(bytes(_SIZE))
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
            return Trail(0.0, False, (), None)

    def dump(self, name: str) -> str:
        """Return the dump that faulthandler wrote to the file ``name`` (``CRASH`` or ``HANG``)."""
        try:
            return (self.folder / name).read_text(errors="replace")
        except OSError:
            return ""

    def culprit_of_death(self, trace: str, returncode: int, *, was_orphaned: bool = False) -> Culprit | None:
        """Return the plugin whose step was running when the host died, or had ended just before.

        A step that is over does not count if the host ended because its supervisor died (``was_orphaned``).
        """
        trail = self.trail()
        crumb = self._crumb(trail, trace)
        if crumb is None and not was_orphaned:
            crumb = recent(trail, time.monotonic() - (CUT_OFF_SEEN if returncode == CUT_OFF else AFTERMATH))
        if crumb is None:
            return None
        status = self._status(crumb)
        fault = fault_of_death(status, crumb.phase, returncode=returncode, limit=self._limit, trace=trace)
        return Culprit(crumb.plugin, crumb.digest, fault)

    def culprit_of_hang(self, trail: Trail, trace: str) -> Culprit | None:
        """Return the plugin that blocks the host."""
        crumb = self._crumb(trail, trace) or recent(trail, trail.beat - AFTERMATH)
        if crumb is None:
            return None
        return Culprit(crumb.plugin, crumb.digest, fault_of_hang(self._status(crumb), crumb.phase, trace))

    def _crumb(self, trail: Trail, trace: str) -> Crumb | None:
        """Return the newest running step of the plugin in whose code the dump was written.

        If the dump names no plugin, return the newest running step. If it names a plugin without a running
        step, return a step of phase ``host``.
        """
        named = name_of(plugin_in(trace, self._root) or plugin_in(trace, self._root.resolve()) or ".") or ""
        for crumb in reversed(trail.crumbs):
            if crumb.plugin == named or not named:
                return crumb
        return Crumb(0, 0.0, "host", "", named) if named else None

    def _status(self, crumb: Crumb) -> PluginStatus:
        return PluginStatus(crumb.plugin, PluginState.HELD, str(self._root / crumb.plugin))


class Hang(Struct):
    """A host that hangs."""

    before: int
    """Number of characters in the dump file that belong to earlier dumps."""
    trace: str = ""
    culprit: Culprit | None = None
    looks: int = 0
    is_ended: bool = False
    """Whether the host is being killed because of this hang."""
