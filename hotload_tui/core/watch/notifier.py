"""The system's notification of changes: inotify, watchfiles, or none at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from inotify_simple import Event
import contextlib
import errno
import logging
import os
import select
import sys
import threading
from collections.abc import Generator
from pathlib import Path


class Ended(Protocol):
    """Asked at every step whether to go on listening."""

    def is_set(self) -> bool:
        """Tell whether to stop; the first question says that the bell listens now."""
        ...


class Notifier(Protocol):
    """Listens below some directories, at the latest from the first ``wait`` on, until it is closed."""

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; ``None`` once ``ended``, or if some may have been lost.

        Raises whatever makes it useless; a new one is made then.
        """
        ...

    def interrupt(self) -> None:
        """Have ``wait`` ask soon whether it is ended; called from other threads."""
        ...

    def close(self) -> None:
        """Give back what the system lent; nothing else is called afterwards."""
        ...


MakeNotifier: TypeAlias = Callable[[Sequence[str], bool], Notifier]
"""Makes a bell for directories and all below them; with ``True``, of those that can be watched."""


_READ = 1 << 18
_PATIENCE = 0.5  # seconds until it is asked again whether to go on

_REASONS = {
    errno.ENOSPC: "the limit of watches is reached: fs.inotify.max_user_watches",
    errno.EMFILE: "the limit of files or of instances is reached: fs.inotify.max_user_instances",
}
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class InotifyNotifier:
    """Listens to directories and all below them, also behind links; see ``Notifier``.

    Raises ``OSError`` where it cannot hear one of them, unless only a part is asked for, and ``ImportError``
    where the package for it is missing.
    """

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see MakeNotifier
        from inotify_simple import INotify, flags, parse_events  # Linux only

        self._flags = flags
        self._parse: Callable[[bytes], list[Event]] = parse_events
        self._wanted = (
            (flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE)
            | (flags.MOVED_FROM | flags.MOVED_TO | flags.CREATE | flags.DELETE)
            | (flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR)
        )
        self._is_partial = is_partial
        self._directories = tuple(directories)
        self._paths: dict[int, str] = {}
        with contextlib.ExitStack() as opened:
            try:
                self._inotify = opened.enter_context(INotify(nonblocking=True))
                self._interrupted = os.eventfd(0)
            except OSError as error:
                raise _explained(error) from error
            opened.callback(os.close, self._interrupted)
            self._poll = select.poll()
            for descriptor in (self._inotify.fileno(), self._interrupted):
                self._poll.register(descriptor, select.POLLIN)
            self._listen(self._directories)
            self._opened = opened.pop_all()

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; ``None`` once ``ended``, or if some were lost."""
        while not ended.is_set():
            ready = [descriptor for descriptor, _ in self._poll.poll(_PATIENCE * 1000)]
            if self._interrupted in ready:
                os.eventfd_read(self._interrupted)
            if self._inotify.fileno() in ready:
                return self._heard(os.read(self._inotify.fileno(), _READ))
        return None

    def interrupt(self) -> None:
        """Ask at once whether it is ended; may be called from any thread."""
        os.eventfd_write(self._interrupted, 1)

    def close(self) -> None:
        """Give back both descriptors."""
        self._opened.close()

    def _heard(self, events: bytes) -> set[str] | None:
        """Return the paths of some events; listen to what came, and no more to what went."""
        paths: set[str] = set()
        is_whole = True
        flags = self._flags
        for event in self._parse(events):
            folder = self._paths.get(event.wd)
            if event.mask & flags.Q_OVERFLOW:
                is_whole = False
            elif event.mask & flags.IGNORED:
                self._paths.pop(event.wd, None)
            elif folder is not None:
                path = f"{folder}/{event.name}" if event.name else folder
                paths.add(path)
                if event.mask & flags.ISDIR and event.name:
                    self._moved(path, event.mask)
        if is_whole:
            return paths
        self._listen(self._directories)  # what came may be among what was lost
        return None

    def _moved(self, path: str, mask: int) -> None:
        flags = self._flags
        if mask & (flags.CREATE | flags.MOVED_TO):
            self._listen([path])
        elif mask & flags.MOVED_FROM:
            self._forget(path)

    def _listen(self, directories: Sequence[str]) -> None:
        """Listen to directories and all below them; one that is reached twice counts once."""
        pending = list(directories)
        seen: set[int] = set()
        while pending:
            path = pending.pop()
            try:
                watch = self._add(path)
                if watch in seen:
                    continue
                # Listening comes first: what is made from here on rings, and what was made before is found.
                with os.scandir(path) as entries:
                    pending += [entry.path for entry in entries if entry.is_dir()]
            except OSError as error:
                if not self._is_partial and (path in self._directories or error.errno not in _GONE):
                    raise
                continue
            seen.add(watch)
            self._paths[watch] = path

    def _forget(self, path: str) -> None:
        """Stop listening to a directory that went elsewhere, and to those in it."""
        below = f"{path}/"
        for watch, each in list(self._paths.items()):
            if each == path or each.startswith(below):
                del self._paths[watch]
                with contextlib.suppress(OSError):  # deleted meanwhile: the system has forgotten it by itself
                    self._inotify.rm_watch(watch)

    def _add(self, path: str) -> int:
        try:
            watch: int = self._inotify.add_watch(path, self._wanted)
        except OSError as error:
            raise _explained(error, path) from error
        return watch


def _explained(error: OSError, path: str | None = None) -> OSError:
    """Return the error with the limit that was reached, and with the path."""
    return OSError(error.errno, _REASONS.get(error.errno or 0) or error.strerror, path)


logger = logging.getLogger("hotload.engine")

# ms between two looks of watchfiles at the system's queue: a save waits for two of them, and without any save
# they take 1 to 2 % of a core
_STEP = 5
_NO_DEBOUNCE, _NO_TIMEOUT = 0, 0  # quiet is decided by the pace, and a timeout can lose events

_BUSY = 8  # a batch of this part of the system's queue may have been an overflow, which is not reported
_QUEUE_LENGTH = Path("/proc/sys/fs/inotify/max_queued_events")
_USUAL_LENGTH = 16384


def notifier_for(notifier: str) -> MakeNotifier:
    """Return the function that hangs bells of the named notifier.

    Where inotify cannot be had, watchfiles takes its place, and the log says so once.
    """
    match notifier:
        case "sweep":
            return SilentNotifier
        case "watchfiles":
            return WatchfilesNotifier
        case _:
            return _InotifyOrWatchfiles()


class _InotifyOrWatchfiles:
    """Hangs inotify's bell, or the one of watchfiles where the system or the package is missing."""

    def __init__(self) -> None:
        self._is_told = False

    def __call__(self, directories: Sequence[str], is_partial: bool) -> Notifier:  # noqa: FBT001 - see MakeNotifier
        try:
            return InotifyNotifier(directories, is_partial)
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOSYS:
                raise  # a limit or a directory: watchfiles, which uses inotify on Linux, meets the same
            self._tell(error)
        return WatchfilesNotifier(directories, is_partial)

    def _tell(self, error: Exception) -> None:
        if not self._is_told:
            self._is_told = True
            reason = "it exists on Linux only" if sys.platform != "linux" else str(error)
            logger.warning("inotify cannot be used (%s); watchfiles reports changes instead", reason)


class WatchfilesNotifier:
    """The bell of watchfiles, for every system; it begins to listen in the first ``wait``."""

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see MakeNotifier
        self._directories = directories
        self._is_partial = is_partial
        self._batches: Generator[Collection[tuple[int, str]], None, None] | None = None
        self._log_filter = _NotOfThisThread()

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; see ``Notifier``."""
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


class SilentNotifier:
    """The bell that never rings: the sweep alone finds what changes.

    It is hung anew then, as any bell that did not ring, and everything is looked at once more.
    """

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: ARG002, FBT001 - see MakeNotifier
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
