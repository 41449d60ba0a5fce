"""What ``[watch] notifier`` may name: inotify, watchfiles, or no notification at all."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections.abc import Collection, Generator, Sequence
from pathlib import Path

from hotload_tui.core.watcher.bell import Bell, Ended, Hang

logger = logging.getLogger("hotload.engine")

# ms between two looks of watchfiles at the system's queue: a save waits for two of them, and without any save
# they take 1 to 2 % of a core
_STEP = 5
_NO_DEBOUNCE, _NO_TIMEOUT = 0, 0  # quiet is decided by the pace, and a timeout can lose events
_PATIENCE = 0.5  # seconds until it is asked again whether to go on

_BUSY = 8  # a batch of this part of the system's queue may have been an overflow, which is not reported
_QUEUE_LENGTH = Path("/proc/sys/fs/inotify/max_queued_events")
_USUAL_LENGTH = 16384


def hang_for(notifier: str) -> Hang:
    """Return the function that hangs bells of the named notifier.

    Where inotify cannot be had, watchfiles takes its place, and the log says so once.
    """
    match notifier:
        case "sweep":
            return SilentBell
        case "watchfiles":
            return WatchfilesBell
        case _:
            return _InotifyOrWatchfiles()


class _InotifyOrWatchfiles:
    """Hangs inotify's bell, or the one of watchfiles where the system or the package is missing."""

    def __init__(self) -> None:
        self._is_told = False

    def __call__(self, directories: Sequence[str], is_partial: bool) -> Bell:  # noqa: FBT001 - see Hang
        try:
            from hotload_tui.core.watcher.inotify import InotifyBell

            return InotifyBell(directories, is_partial)
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOSYS:
                raise  # a limit or a directory: watchfiles, which uses inotify on Linux, meets the same
            self._tell(error)
        return WatchfilesBell(directories, is_partial)

    def _tell(self, error: Exception) -> None:
        if not self._is_told:
            self._is_told = True
            reason = "it exists on Linux only" if sys.platform != "linux" else str(error)
            logger.warning("inotify cannot be used (%s); watchfiles reports changes instead", reason)


class WatchfilesBell:
    """The bell of watchfiles, for every system; it begins to listen in the first ``wait``."""

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see Hang
        self._directories = directories
        self._is_partial = is_partial
        self._batches: Generator[Collection[tuple[int, str]], None, None] | None = None
        self._log_filter = _NotOfThisThread()

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; see ``Bell``."""
        if self._batches is None:
            self._batches = self._listen(ended)
        batch = next(self._batches, None)  # told to stop, it may drop what it just heard
        return None if batch is None else {path for _, path in batch}

    def interrupt(self) -> None:
        """Do nothing: it asks at each of its steps."""

    def close(self) -> None:
        """Stop listening."""
        if self._batches is not None:
            self._batches.close()
        logging.getLogger("watchfiles.main").removeFilter(self._log_filter)

    def _listen(self, ended: Ended) -> Generator[Collection[tuple[int, str]], None, None]:
        from watchfiles import watch  # 9 ms, for those only who watch

        logging.getLogger("watchfiles.main").addFilter(self._log_filter)
        return watch(
            *self._directories,
            watch_filter=None,
            debounce=_NO_DEBOUNCE,
            step=_STEP,
            stop_event=ended,
            rust_timeout=_NO_TIMEOUT,
            debug=False,
            raise_interrupt=False,
            force_polling=False,  # polling compares whole seconds and misses saves
            ignore_permission_denied=self._is_partial,
        )


class _NotOfThisThread(logging.Filter):
    """Leaves out what watchfiles logs for this thread: that there was a batch is news to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is another thread's, or a warning."""
        return record.levelno > logging.INFO or threading.get_ident() != self._thread


class SilentBell:
    """The bell that never rings: the sweep alone finds what changes.

    It is hung anew then, as any bell that did not ring, and everything is looked at once more.
    """

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: ARG002, FBT001 - see Hang
        os.stat(directories[0])  # noqa: PTH116 - as the other bells do, it refuses a root that is not there
        self._woken = threading.Event()

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Wait for the end."""
        while not ended.is_set():
            self._woken.wait(_PATIENCE)
            self._woken.clear()
        return None

    def interrupt(self) -> None:
        """Ask at once whether it is ended; may be called from any thread."""
        self._woken.set()

    def close(self) -> None:
        """Do nothing: it holds nothing of the system's."""


def overflow() -> int:
    """Return the number of paths from which on a batch is taken as an overflow of the system's queue."""
    try:
        return int(_QUEUE_LENGTH.read_text()) // _BUSY
    except (OSError, ValueError):
        return _USUAL_LENGTH // _BUSY
