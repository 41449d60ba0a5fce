"""The repository around the plugins: while git changes the working tree, nobody looks at half of it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Mark: TypeAlias = tuple[int, int] | None
"""Inode and time of an index; ``None`` where there is none."""


class Repositories:
    """Tells whether git is at work, by its ``index.lock``."""

    def __init__(self, root: Path, longest: float) -> None:
        """Look at the repository that encloses ``root``; a lock older than ``longest`` s was left behind."""
        self._around = [os.fspath(folder) for folder in (root, *root.parents)]
        self._longest = longest

    def busy(self, plugins: Mapping[str, Path]) -> set[str]:
        """Return those of the named directories in or around which git is at work."""
        around = self._enclosing()
        if around is not None and self._is_locked(around):
            return set(plugins)
        own = {name: _git_folder(os.fspath(path)) for name, path in plugins.items()}
        return {name for name, place in own.items() if place is not None and self._is_locked(place)}

    def overtaken(self, plugins: Mapping[str, Path], since: Mark) -> set[str]:
        """Return those of which half of a change by git may have been read ``since``."""
        busy = self.busy(plugins)  # first: git that ends now has its index in place below
        return busy if self.mark() == since else set(plugins)

    def mark(self) -> Mark:
        """Return what differs once git has ended a change: it puts another index in the old one's place."""
        around = self._enclosing()
        try:
            found = (around / "index").stat() if around is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_mtime_ns)

    def _is_locked(self, place: Path) -> bool:
        try:
            return time.time() - (place / "index.lock").stat().st_mtime <= self._longest
        except OSError:
            return False

    def _enclosing(self) -> Path | None:
        return next((found for folder in self._around if (found := _git_folder(folder))), None)


def _git_folder(folder: str) -> Path | None:
    """Return where git keeps the index of a working tree whose top is ``folder``, or ``None``."""
    place = f"{folder}/.git"
    try:
        mode = os.stat(place).st_mode  # noqa: PTH116 - each folder on the way up is asked at each save
        if stat.S_ISDIR(mode):
            return Path(place)
        # A worktree or a submodule: the file says where.
        return Path(folder, Path(place).read_text().removeprefix("gitdir:").strip())
    except (OSError, UnicodeDecodeError):
        return None
