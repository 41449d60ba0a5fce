"""The sweep: looks at all plugins in turn, for what the bell does not hear."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TypeAlias

from hotload_tui.core.watcher.looker import Looker

_SLICES = 5  # of a whole sweep
_SHORTEST, _LONGEST = 0.1, 1.0  # seconds between two slices; waking up costs more than a small slice
_GRAIN = 20_000_000  # ns: two changes this close may leave the same mtime

_RootFacts: TypeAlias = tuple[int, int, int]


def tick(interval: float) -> float:
    """Return the seconds between two slices where all plugins are looked at once per ``interval``."""
    return min(max(interval / _SLICES, _SHORTEST), _LONGEST)


class Sweep:
    """Looks at each plugin once per interval, a slice of them at a time, and at the root at each slice."""

    def __init__(self, root: Path, looker: Looker) -> None:
        self._root = root
        self._looker = looker
        self._queue: list[str] = []
        self._owed = 0.0
        self._swept_at = time.monotonic()
        self._listed_at = self._swept_at
        self._facts = self._root_facts()
        self._directory = self._facts and self._facts[:2]

    def slice(self, now: float, interval: float) -> set[str]:
        """Return the plugins whose turn has come and that may differ from what is known."""
        share = (now - self._swept_at) / interval
        self._swept_at = now
        total = len(self._looker.names())
        self._owed = min(self._owed + share * total, total)
        found = set()
        while self._owed >= 1:
            self._owed -= 1
            if not self._queue:
                self._queue = sorted(self._looker.names(), reverse=True)
            name = self._queue.pop()
            if self._looker.is_different(name):
                found.add(name)
        return found

    def arrivals(self, now: float, interval: float) -> set[str]:
        """Return the plugins that came or went, where the root changed or the interval is over."""
        facts = self._root_facts()
        if facts == self._facts:
            if now - self._listed_at < interval:
                return set()
            self._listed_at = now
            return self._looker.moved() if self._looker.has_strangers() else set()
        self._listed_at = now
        # Another change within the clock's grain would leave the same facts: look again next time.
        is_racy = facts is not None and time.time_ns() - facts[2] < _GRAIN
        self._facts = None if is_racy else facts
        return self._looker.moved()

    def has_other_root(self) -> bool:
        """Tell whether the root is another directory than at the last look."""
        facts = self._root_facts()
        before, self._directory = self._directory, facts and facts[:2]
        return before != self._directory

    def _root_facts(self) -> _RootFacts | None:
        try:
            found = self._root.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns
