"""The repository around the plugins: while git changes the working tree, nobody looks at half of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

_LATE = 0.02  # seconds after which the notification of git's last change has arrived


class Repositories:
    """Tells whether git is at work, by its ``index.lock``."""

    def __init__(self, root: Path, longest: float) -> None:
        """Look at the repository that encloses ``root``; a lock older than ``longest`` s was left behind."""
        self._root = root
        self._longest = longest
        self._seen: dict[Path, float] = {}

    def busy(self, plugins: Mapping[str, Path], now: float) -> set[str]:
        """Return those of the named directories in or around which git is at work, or was a moment ago."""
        around = self._enclosing()
        if around is not None and self._is_locked(around, now):
            return set(plugins)
        own = {name: _git_folder(path) for name, path in plugins.items()}
        return {name for name, place in own.items() if place is not None and self._is_locked(place, now)}

    def _is_locked(self, place: Path, now: float) -> bool:
        try:
            age = time.time() - (place / "index.lock").stat().st_mtime
        except OSError:
            return now - self._seen.get(place, -_LATE) < _LATE
        if age > self._longest:
            return False
        self._seen[place] = now
        return True

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
