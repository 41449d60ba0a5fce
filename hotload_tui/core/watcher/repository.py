"""The repository around the plugins: while git changes the working tree, nobody looks at half of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path


class Repositories:
    """Tells whether git is at work, by its ``index.lock``."""

    def __init__(self, root: Path, longest: float) -> None:
        """Look at the repository that encloses ``root``; a lock older than ``longest`` s was left behind."""
        self._root = root
        self._longest = longest
        self._index = self._index_facts()

    def busy(self, plugins: Mapping[str, Path]) -> set[str]:
        """Return those of the named directories in or around which git is at work."""
        around = self._enclosing()
        if around is not None and self._is_locked(around):
            return set(plugins)
        own = {name: _git_folder(path) for name, path in plugins.items()}
        return {name for name, place in own.items() if place is not None and self._is_locked(place)}

    def has_ended(self) -> bool:
        """Tell, once, whether git has ended a change: all of it is on disk, whoever was notified of it."""
        before, self._index = self._index, self._index_facts()
        return self._index != before

    def _is_locked(self, place: Path) -> bool:
        try:
            return time.time() - (place / "index.lock").stat().st_mtime <= self._longest
        except OSError:
            return False

    def _index_facts(self) -> tuple[int, int] | None:
        """Return what differs once the index was written: git puts another file in its place."""
        around = self._enclosing()
        try:
            found = (around / "index").stat() if around is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_mtime_ns)

    def _enclosing(self) -> Path | None:
        return next(
            (found for folder in (self._root, *self._root.parents) if (found := _git_folder(folder))), None
        )


def _git_folder(folder: Path) -> Path | None:
    """Return where git keeps the index of a working tree whose top is ``folder``, or ``None``."""
    place = folder / ".git"
    try:
        if place.is_dir():
            return place
        # A worktree or a submodule: the file says where.
        return folder / place.read_text().removeprefix("gitdir:").strip()
    except (OSError, UnicodeDecodeError):
        return None
