"""The system's notifications of changes: inotify, watchfiles, or none at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import sys
from collections.abc import Callable, Collection, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from hotload_tui.core import primitives
from hotload_tui.core.primitives import get_ident

if TYPE_CHECKING:
    from inotify_simple import Event


class StopFlag(Protocol):
    """A flag that a notifier reads at every step."""

    def is_set(self) -> bool:
        """Return whether to stop; the first call shows that the notifier listens now."""
        ...


class Notifier(Protocol):
    """Listens to directory trees and single Python files until it is closed.

    It listens at the latest from the first ``wait`` on.
    """

    def wait(self, ended: StopFlag) -> Collection[str] | None:
        """Return paths with changes; ``None`` once ``ended`` is set, or if some may have been lost.

        Any exception makes the notifier useless; the caller then makes a new one.
        """
        ...

    def interrupt(self) -> None:
        """Make ``wait`` read ``ended`` soon; other threads call this."""
        ...

    def close(self) -> None:
        """Release the resources of the system; no other call follows."""
        ...


MakeNotifier: TypeAlias = Callable[[Sequence[str], bool], Notifier]
"""Makes a notifier for directory trees and Python files; with ``True`` it skips what cannot be watched."""


_READ = 1 << 18
_PATIENCE = 0.5  # seconds until ``ended`` is read again

_REASONS = {
    errno.ENOSPC: "the limit of watches is reached: fs.inotify.max_user_watches",
    errno.EMFILE: "the limit of files or of instances is reached: fs.inotify.max_user_instances",
}
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class InotifyNotifier:
    """Listens to directory trees, also behind links; see ``Notifier``.

    Raises ``OSError`` if it cannot watch a directory, unless ``is_partial`` is set, and ``ImportError`` if
    the package ``inotify_simple`` is missing.
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
        self._flat: set[int] = set()  # watches of folders for single files; what is below does not count
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

    def wait(self, ended: StopFlag) -> Collection[str] | None:
        """Return paths with changes; ``None`` once ``ended`` is set, or if some were lost."""
        while not ended.is_set():
            ready = [descriptor for descriptor, _ in self._poll.poll(_PATIENCE * 1000)]
            if self._interrupted in ready:
                os.eventfd_read(self._interrupted)
            if self._inotify.fileno() in ready:
                return self._paths_of(os.read(self._inotify.fileno(), _READ))
        return None

    def interrupt(self) -> None:
        """Make ``wait`` read ``ended`` at once; any thread may call this."""
        os.eventfd_write(self._interrupted, 1)

    def close(self) -> None:
        """Close all descriptors."""
        self._opened.close()

    def _paths_of(self, events: bytes) -> set[str] | None:
        """Return the paths of the events; watch new directories, and stop watching moved ones.

        ``None``: the system has lost events.
        """
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
                if event.mask & flags.ISDIR and event.name and event.wd not in self._flat:
                    self._moved(path, event.mask)
        if is_whole:
            return paths
        self._listen(self._directories)  # the lost events may include new directories
        return None

    def _moved(self, path: str, mask: int) -> None:
        flags = self._flags
        if mask & (flags.CREATE | flags.MOVED_TO):
            self._listen([path])
        elif mask & flags.MOVED_FROM:
            self._forget(path)

    def _listen(self, directories: Sequence[str]) -> None:
        """Watch directory trees; a directory that is reached twice counts once."""
        pending = list(directories)
        seen: set[int] = set()
        while pending:
            path = pending.pop()
            try:
                if path.endswith(".py") and os.path.isfile(path):  # noqa: PTH113 - for each folder of a tree
                    folder = os.path.dirname(path)  # noqa: PTH120 - editors replace files; not what is below
                    watch = self._add(folder)
                    if watch not in seen:
                        self._flat.add(watch)
                        self._paths.setdefault(watch, folder)
                    continue
                watch = self._add(path)
                if watch in seen:
                    continue
                # Watch first: later changes cause events, and the scan finds earlier entries.
                with os.scandir(path) as entries:
                    pending += [entry.path for entry in entries if entry.is_dir()]
            except OSError as error:
                if not self._is_partial and (path in self._directories or error.errno not in _GONE):
                    raise
                continue
            seen.add(watch)
            self._flat.discard(watch)
            self._paths[watch] = path

    def _forget(self, path: str) -> None:
        """Stop watching a directory that was moved away, and the directories in it."""
        below = f"{path}/"
        for watch, each in list(self._paths.items()):
            if each == path or each.startswith(below):
                del self._paths[watch]
                with contextlib.suppress(OSError):  # deleted meanwhile: the system has removed the watch
                    self._inotify.rm_watch(watch)

    def _add(self, path: str) -> int:
        try:
            watch: int = self._inotify.add_watch(path, self._wanted)
        except OSError as error:
            raise _explained(error, path) from error
        return watch


def _explained(error: OSError, path: str | None = None) -> OSError:
    """Return the error with the path and the limit that was reached."""
    return OSError(error.errno, _REASONS.get(error.errno or 0) or error.strerror, path)


logger = logging.getLogger("hotload.engine")

# ms between two checks of the system's queue by watchfiles: a save waits for two of them, and without any
# save they take 1 to 2 % of a core
_STEP = 5
_NO_DEBOUNCE, _NO_TIMEOUT = 0, 0  # the debouncer waits for quiet, and a timeout can lose events

_BUSY = 8  # a batch of this part of the system's queue may be an overflow, which is not reported
_QUEUE_LENGTH = Path("/proc/sys/fs/inotify/max_queued_events")
_USUAL_LENGTH = 16384


def notifier_for(notifier: str) -> MakeNotifier:
    """Return the function that makes notifiers of the named kind.

    If inotify is not available, watchfiles replaces it, and the log reports this once.
    """
    match notifier:
        case "sweep":
            return SilentNotifier
        case "watchfiles":
            return WatchfilesNotifier
        case _:
            return _inotify_or_watchfiles()


def _inotify_or_watchfiles() -> MakeNotifier:
    """Return a function that makes inotify notifiers; without inotify, it makes watchfiles notifiers."""
    warned = primitives.Event()

    def make(directories: Sequence[str], is_partial: bool) -> Notifier:  # noqa: FBT001 - see MakeNotifier
        try:
            return InotifyNotifier(directories, is_partial)
        except (ImportError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOSYS:
                raise  # a limit or a directory: watchfiles, which uses inotify on Linux, meets the same
            if not warned.is_set():
                warned.set()
                reason = "it exists on Linux only" if sys.platform != "linux" else str(error)
                logger.warning("inotify cannot be used (%s); watchfiles reports changes instead", reason)
        return WatchfilesNotifier(directories, is_partial)

    return make


class WatchfilesNotifier:
    """The notifier of watchfiles, for every system; it starts to listen in the first ``wait``."""

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see MakeNotifier
        self._directories = directories
        self._is_partial = is_partial
        self._batches: Generator[Collection[tuple[int, str]], None, None] | None = None
        self._log_filter = _log_filter()

    def wait(self, ended: StopFlag) -> Collection[str] | None:
        """Return paths with changes; see ``Notifier``."""
        if self._batches is None:
            self._batches = self._listen(ended)
        batch = next(self._batches, None)  # once stopped, it may drop its last batch
        return None if batch is None else {path for _, path in batch}

    def interrupt(self) -> None:
        """Do nothing: watchfiles reads ``ended`` at each of its steps."""

    def close(self) -> None:
        """Stop listening."""
        if self._batches is not None:
            self._batches.close()
        logging.getLogger("watchfiles.main").removeFilter(self._log_filter)

    def _listen(self, ended: StopFlag) -> Generator[Collection[tuple[int, str]], None, None]:
        from watchfiles import watch  # 9 ms, only for processes that watch

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


def _log_filter() -> Callable[[logging.LogRecord], bool]:
    """Return a filter that drops what watchfiles logs in this thread for each batch, below warnings."""
    thread = get_ident()
    return lambda record: record.levelno > logging.INFO or get_ident() != thread


class SilentNotifier:
    """A notifier that never reports a change: only the sweep finds changes.

    The watcher replaces it after each change, as it replaces any notifier that missed a change, and then
    checks all plugins again.
    """

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: ARG002, FBT001 - see MakeNotifier
        os.stat(directories[0])  # noqa: PTH116 - as the other notifiers do, it refuses a missing root
        self._woken = primitives.Event()

    def wait(self, ended: StopFlag) -> Collection[str] | None:
        """Wait until ``ended`` is set."""
        while not ended.is_set():
            self._woken.wait(_PATIENCE)
            self._woken.clear()
        return None

    def interrupt(self) -> None:
        """Make ``wait`` read ``ended`` at once; any thread may call this."""
        self._woken.set()

    def close(self) -> None:
        """Do nothing: it holds no resources of the system."""


def overflow() -> int:
    """Return the number of paths from which a batch counts as an overflow of the system's queue."""
    try:
        return int(_QUEUE_LENGTH.read_text()) // _BUSY
    except (OSError, ValueError):
        return _USUAL_LENGTH // _BUSY
