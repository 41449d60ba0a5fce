"""The bell: the system's notification of changes, behind an interface that tests can make deaf."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

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

    def wait(self, step: int, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened, looking each ``step`` ms; ``None`` once ``ended``.

        Raises whatever makes it useless; a new one is made then.
        """
        ...


Hang: TypeAlias = Callable[[Sequence[str], bool], Bell]
"""Makes a bell for directories and all below them; with ``True``, of those that can be watched."""


class SystemBell:
    """The bell of watchfiles; its first argument are directories, and what is below them counts, too."""

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see Hang
        from watchfiles._rust_notify import RustNotify  # 9 ms, for those only who watch

        self._notify = RustNotify(list(directories), False, False, _POLL_DELAY, True, is_partial)

    def wait(self, step: int, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; see ``Bell``."""
        batch = self._notify.watch(_NO_DEBOUNCE, step, _NO_TIMEOUT, ended)
        return {path for _, path in batch} if isinstance(batch, set) else None


def overflow() -> int:
    """Return the number of paths from which on a batch is taken as an overflow of the system's queue."""
    try:
        return int(_QUEUE_LENGTH.read_text()) // _BUSY
    except (OSError, ValueError):
        return _USUAL_LENGTH // _BUSY
