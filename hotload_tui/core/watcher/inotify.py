"""The bell of Linux: inotify itself, which tells within a millisecond and costs nothing while it is quiet."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import weakref
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotload_tui.core.watcher.bell import Ended

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_OVERFLOW, _IGNORED, _IS_FOLDER = 0x4000, 0x8000, 0x40000000
_ONLY_FOLDERS = 0x01000000
_WANTED = (
    (_MODIFY | _ATTRIB | _CLOSE_WRITE)
    | (_MOVED_FROM | _MOVED_TO | _CREATE | _DELETE)
    | (_DELETE_SELF | _MOVE_SELF | _ONLY_FOLDERS)
)

_EVENT = struct.Struct("iIII")  # watch, what happened, cookie, bytes of the name
_READ = 1 << 18
_PATIENCE = 0.5  # seconds until it is asked again whether to go on

_REASONS = {
    errno.ENOSPC: "the limit of watches is reached: fs.inotify.max_user_watches",
    errno.EMFILE: "the limit of files or of instances is reached: fs.inotify.max_user_instances",
}
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class InotifyBell:
    """Listens to directories and all below them, also behind links; see ``Bell``.

    Raises ``OSError`` where it cannot hear one of them, unless only a part is asked for; ``AttributeError``
    where the system has no inotify.
    """

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see Hang
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._is_partial = is_partial
        self._directories = tuple(directories)
        self._paths: dict[int, str] = {}
        self._descriptor = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        weakref.finalize(self, os.close, self._descriptor)
        self._interrupted = os.eventfd(0)
        weakref.finalize(self, os.close, self._interrupted)
        self._poll = select.poll()
        for descriptor in (self._descriptor, self._interrupted):
            self._poll.register(descriptor, select.POLLIN)
        self._listen(self._directories)

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; ``None`` once ``ended``, or if some were lost."""
        while not ended.is_set():
            ready = [descriptor for descriptor, _ in self._poll.poll(_PATIENCE * 1000)]
            if self._interrupted in ready:
                os.eventfd_read(self._interrupted)
            if self._descriptor in ready:
                return self._heard(os.read(self._descriptor, _READ))
        return None

    def interrupt(self) -> None:
        """Ask at once whether it is ended; may be called from any thread."""
        os.eventfd_write(self._interrupted, 1)

    def _heard(self, events: bytes) -> set[str] | None:
        """Return the paths of some events; listen to what came, and no more to what went."""
        paths: set[str] = set()
        is_whole = True
        at = 0
        while at < len(events):
            watch, what, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            folder = self._paths.get(watch)
            if what & _OVERFLOW:
                is_whole = False
            elif what & _IGNORED:
                self._paths.pop(watch, None)
            elif folder is not None:
                name = events[at - length : at].rstrip(b"\0")
                path = f"{folder}/{os.fsdecode(name)}" if name else folder
                paths.add(path)
                if what & _IS_FOLDER and name:
                    self._moved(path, what)
        if is_whole:
            return paths
        self._listen(self._directories)  # what came may be among what was lost
        return None

    def _moved(self, path: str, what: int) -> None:
        if what & (_CREATE | _MOVED_TO):
            self._listen([path])
        elif what & _MOVED_FROM:
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
                self._libc.inotify_rm_watch(self._descriptor, watch)

    def _add(self, path: str) -> int:
        return _checked(self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), _WANTED), path)


def _checked(result: int, path: str | None = None) -> int:
    """Return what a call of the system returned; raises ``OSError``."""
    if result >= 0:
        return result
    number = ctypes.get_errno()
    raise OSError(number, _REASONS.get(number) or os.strerror(number), path)
