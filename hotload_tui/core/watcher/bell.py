"""The bell: the system's notification of changes, behind an interface that tests can make deaf."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from hotload_tui.core.watcher.inotify import InotifyBell

# ms between two looks at the system's queue: 2 ms to a ring for 2 % of a core, or 15 ms for a quarter of one
_ALERT, _IDLE = 1, 10
_ALERTED = 60.0  # seconds after a ring in which another is likely

_NO_DEBOUNCE, _NO_TIMEOUT = 0, 0  # quiet is decided by the pace, and a timeout can lose events
_POLL_DELAY = 300  # ms; unused: polling compares whole seconds and misses saves
_BUSY = 8  # a batch of this part of the system's queue may have been an overflow, which is not reported
_QUEUE_LENGTH = Path("/proc/sys/fs/inotify/max_queued_events")
_USUAL_LENGTH = 16384


class Ended(Protocol):
    """Asked at every step whether to go on listening."""

    def is_set(self) -> bool:
        """Tell whether to stop."""
        ...


class Bell(Protocol):
    """Listens below some directories until it is thrown away."""

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; ``None`` once ``ended``, or if some may have been lost.

        Raises whatever makes it useless; a new one is made then.
        """
        ...

    def interrupt(self) -> None:
        """Have ``wait`` ask soon whether it is ended; called from other threads."""
        ...


Hang: TypeAlias = Callable[[Sequence[str], bool], Bell]
"""Makes a bell for directories and all below them; with ``True``, of those that can be watched."""


def system_bell(directories: Sequence[str], is_partial: bool) -> Bell:  # noqa: FBT001 - see Hang
    """Hang the best bell that the system has."""
    if sys.platform == "linux":
        return InotifyBell(directories, is_partial)
    return WatchfilesBell(directories, is_partial)


class WatchfilesBell:
    """The bell of watchfiles, for every system; the shorter its steps, the more it costs."""

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see Hang
        from watchfiles._rust_notify import RustNotify  # 9 ms, for those only who watch

        self._notify = RustNotify(list(directories), False, False, _POLL_DELAY, True, is_partial)
        self._rang_at = time.monotonic()

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; see ``Bell``."""
        stop = _Stop(ended, self._rang_at + _ALERTED)
        batch = self._notify.watch(_NO_DEBOUNCE, stop.step, _NO_TIMEOUT, stop)
        if not isinstance(batch, set):
            return None  # told to stop, it may drop what it just heard
        self._rang_at = time.monotonic()
        return {path for _, path in batch}

    def interrupt(self) -> None:
        """Do nothing: it asks at each of its steps."""


class _Stop:
    """Ends listening, also for another step."""

    def __init__(self, ended: Ended, alert_until: float) -> None:
        self._ended = ended
        self._alert_until = alert_until
        self.step = self._wanted()

    def is_set(self) -> bool:
        """Tell whether to stop."""
        return self._ended.is_set() or self.step != self._wanted()

    def _wanted(self) -> int:
        return _ALERT if time.monotonic() < self._alert_until else _IDLE


def overflow() -> int:
    """Return the number of paths from which on a batch is taken as an overflow of the system's queue."""
    try:
        return int(_QUEUE_LENGTH.read_text()) // _BUSY
    except (OSError, ValueError):
        return _USUAL_LENGTH // _BUSY
