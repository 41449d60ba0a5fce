"""The minimum of any reload: the system's notification, read, compile, execute (Linux)."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from protocol import Task, serve

_CLOSED = 0x8
_HEAD = struct.Struct("iIII")


class Floor:
    """Execute each saved file again, in its own namespace."""

    def __init__(self, task: Task) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(0)
        self._folders: dict[int, Path] = {}
        self._spaces: dict[Path, dict[str, object]] = {}
        for name in task.names:
            folder = task.root / "plugins" / name
            watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _CLOSED)
            self._folders[watch] = folder
            self._execute(folder / ("part_19.py" if (folder / "part_19.py").exists() else "plugin.py"))
        threading.Thread(target=self._listen, daemon=True).start()

    def lowest(self) -> int:
        """Return the least of the plugins' answers."""
        return min(cast("Callable[[], int]", space["answer"])() for space in self._spaces.values())

    def _listen(self) -> None:
        while True:
            batch = os.read(self._descriptor, 65536)
            at = 0
            while at < len(batch):
                watch, _, _, length = _HEAD.unpack_from(batch, at)
                at += _HEAD.size
                self._execute(self._folders[watch] / os.fsdecode(batch[at : at + length].rstrip(b"\0")))
                at += length

    def _execute(self, path: Path) -> None:
        space: dict[str, object] = {"__name__": path.stem}
        exec(compile(path.read_bytes(), str(path), "exec"), space)
        self._spaces[path] = space


if __name__ == "__main__":
    asked = Task()
    serve(asked, Floor(asked).lowest)
