"""Breadcrumbs: what a host was about to do, in a file that outlives it.

The host writes into shared memory, so that it costs nothing and is there even after ``os._exit`` and SIGKILL;
the console reads. A heartbeat beside it tells whether the interpreter still runs.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

from hotload_tui.core.plugin import Phase

BEAT: Final = 0.25
"""Seconds between two beats."""

TRAIL: Final = "trail"
CRASH: Final = "crash"
HANG: Final = "hang"
"""Names in the folder that host and console share: breadcrumbs, and two dumps of faulthandler's."""

_HEAD: Final = struct.Struct("<d?")  # last beat on the monotonic clock, whether the first scan is over
_SLOT: Final = struct.Struct(
    "<Qd16s64s256s"
)  # number (0: free), time on the monotonic clock, phase, digest, plugin
_START: Final = 64  # bytes before the first slot
_SLOTS: Final = 32  # the first for the step that was over last; of too many, the newest are left out
_SIZE: Final = _START + _SLOTS * _SLOT.size


class Crumb(NamedTuple):
    """A step that a host is in, or was in when it died."""

    number: int
    """Counts up: the greatest is the newest."""
    at: float
    """When it began, or ended, on the monotonic clock."""
    phase: Phase
    digest: str
    """Of the source that runs; empty where that is not known."""
    plugin: str


class Trail(NamedTuple):
    """All that a host wrote down."""

    beat: float
    """When it last beat, on the monotonic clock."""
    is_ready: bool
    """Whether its first scan is over."""
    crumbs: tuple[Crumb, ...]
    """Steps that are not over, oldest first."""
    last: Crumb | None
    """The step that was over last; ``at`` is when it ended."""


class Breadcrumbs:
    """The host's side; ``step`` is a ``Witness``."""

    def __init__(self, path: Path) -> None:
        self._memory = _mapped(path)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._free = list(range(1, _SLOTS))
        self._is_ready = False

    def beat(self) -> None:
        """Beat once."""
        _HEAD.pack_into(self._memory, 0, time.monotonic(), self._is_ready)

    def trail(self) -> Trail:
        """Return what is written down now."""
        return _trail(bytes(self._memory))

    def ready(self) -> None:
        """Say that the first scan is over."""
        self._is_ready = True
        self.beat()

    @contextlib.contextmanager
    def step(self, phase: Phase, plugin: str, digest: str = "") -> Iterator[None]:
        """Write a step down while it lasts. A copy of the host that a plugin forked in it ends with it."""
        with self._lock:
            slot = self._free.pop() if self._free else None
            number = next(self._numbers)
        words = [part.encode("utf-8", "backslashreplace") for part in (phase, digest, plugin)]
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

    def _write(self, slot: int, number: int, at: float, words: Sequence[bytes]) -> None:
        _SLOT.pack_into(self._memory, _START + slot * _SLOT.size, number, at, *words)


def make_trail(path: Path) -> None:
    """Make the file, without any crumbs; one that is there is emptied, and still mapped by who has it."""
    path.write_bytes(bytes(_SIZE))


def read_trail(path: Path) -> Trail:
    """Return what is written down now; a step that is being written may be missing."""
    return _trail(path.read_bytes())


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


def _mapped(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), _SIZE)
