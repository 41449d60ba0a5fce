"""The bell of Linux: inotify itself, which tells within a millisecond and costs nothing while it is quiet."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from collections.abc import Collection, Sequence

from inotify_simple import INotify, flags, parse_events

from hotload_tui.core.watcher.bell import Ended

_WANTED = (
    (flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE)
    | (flags.MOVED_FROM | flags.MOVED_TO | flags.CREATE | flags.DELETE)
    | (flags.DELETE_SELF | flags.MOVE_SELF | flags.ONLYDIR)
)

_READ = 1 << 18
_PATIENCE = 0.5  # seconds until it is asked again whether to go on

_REASONS = {
    errno.ENOSPC: "the limit of watches is reached: fs.inotify.max_user_watches",
    errno.EMFILE: "the limit of files or of instances is reached: fs.inotify.max_user_instances",
}
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class InotifyBell:
    """Listens to directories and all below them, also behind links; see ``Bell``.

    Raises ``OSError`` where it cannot hear one of them, unless only a part is asked for.
    """

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see Hang
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
        for event in parse_events(events):
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
            watch: int = self._inotify.add_watch(path, _WANTED)
        except OSError as error:
            raise _explained(error, path) from error
        return watch


def _explained(error: OSError, path: str | None = None) -> OSError:
    """Return the error with the limit that was reached, and with the path."""
    return OSError(error.errno, _REASONS.get(error.errno or 0) or error.strerror, path)
