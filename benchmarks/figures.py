"""Measurements: samples of several contestants that took turns, with their medians and ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

OURS, FLOOR = "hotload", "floor"
KEYS = "key to paint, 1,000 plugins, 200 reloads a second"


class Figure(NamedTuple):
    """A median with its 95 % interval (by order statistics)."""

    middle: float
    low: float
    high: float
    n: int


def figure(samples: Sequence[float]) -> Figure:
    """Return the median of samples."""
    ordered = sorted(samples)
    n = len(ordered)
    edge = max(0, math.floor(n / 2 - 0.98 * math.sqrt(n)))
    return Figure(statistics.median(ordered), ordered[edge], ordered[n - 1 - edge], n)


class Contest(NamedTuple):
    """One task, measured for several contestants that took turns in each round."""

    key: str
    work: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    """One number of seconds per round, by contestant; shown in ``unit``."""

    def ratio(self, other: str, ours: str = OURS) -> Figure | None:
        """Return the ratio of ``ours`` to ``other``, computed round by round."""
        if not self.samples.get(other) or not self.samples.get(ours):
            return None
        pairs = zip(self.samples[ours], self.samples[other], strict=False)
        return figure([mine / theirs for mine, theirs in pairs if theirs])

    def best_peer(self) -> str | None:
        """Return the contestant with the least median that is neither this project nor the floor."""
        peers = [who for who in self.samples if not who.startswith((OURS, FLOOR)) and self.samples[who]]
        return min(peers, key=lambda who: statistics.median(self.samples[who]), default=None)


class LostError(Exception):
    """A contestant did not answer."""


def take_turns(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure each contestant once per round in varying order; a contestant that is lost has no samples."""
    samples: dict[str, list[float]] = {who: [] for who in contestants}
    lost: set[str] = set()
    names = list(contestants)
    for number in range(rounds + 1):
        first = number % len(names)
        for who in names[first:] + names[:first]:
            if who in lost:
                continue
            try:
                samples[who].append(contestants[who]())
            except LostError:
                lost.add(who)
    return {who: [] if who in lost else taken[1:] for who, taken in samples.items()}  # the first warms up
