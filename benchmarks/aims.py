"""What the project promises of its speed, and whether the run that was just made keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.figures import FLOOR, OURS, Contest, figure


class Aim(NamedTuple):
    """A promise and what was measured."""

    text: str
    measured: str
    kept: bool | None
    """``None``: not measured in this run."""
    next: str
    """Why it is missed, and what to try next."""


class _Ratio(NamedTuple):
    text: str
    key: str
    other: str
    most: float
    next: str
    ours: str = OURS


_WATCHER = "waiting for quiet (2 ms), reading, publishing and the trial load are most of it; see NOTES.md"
_RATIOS = (
    _Ratio("save → live, 1 file: ≤ 0.3 of jurigged", "one", "jurigged", 0.3, _WATCHER),
    _Ratio("save → live, 1 file: ≤ 0.3 of hmr", "one", "hmr", 0.3, _WATCHER),
    _Ratio(
        "the reload alone, 1 file: ≤ 2.0 of read + compile + exec",
        "reload",
        FLOOR,
        2.0,
        "publishing, the ledger's looks, a thread for the load; next: publish behind the swap",
    ),
    _Ratio(
        "20 files, a leaf: ≤ 0.5 of importlib-style reloading",
        "leaf",
        "importlib",
        0.5,
        "all 20 modules are executed anew, by design; next: unmarshal fewer, share read and verification",
    ),
    _Ratio(
        "longest stall, 5,000 lines: ≤ 0.3 of compiling in process",
        "stall",
        FLOOR,
        0.3,
        "compile() keeps the interpreter's lock; next: compile in a helper process above some 500 lines",
    ),
    *(
        _Ratio(
            f"hook call, {count} handlers: ≤ 0.5 of pluggy's",
            f"hook-{count}",
            "pluggy",
            0.5,
            "entering and leaving the calls in flight, and the count of each handler; see NOTES.md",
        )
        for count in (1, 5, 20)
    ),
    _Ratio(
        "1,000 plugins, warm start: ≤ 1.0 of plain imports",
        "start-1000",
        FLOOR,
        1.0,
        "each source is read and hashed, each artifact opened and verified, each load compared; "
        "next: leave reading out where size, times and inode are as they were",
    ),
    _Ratio(
        "1,000 plugins, one changed: as one of 10 (≤ 1.2)",
        "one-of",
        f"{OURS}, 10 plugins",
        1.2,
        "something grows with the number of plugins; next: profile the swap and the events at 1,000",
        f"{OURS}, 1,000 plugins",
    ),
    _Ratio(
        "first paint: ≤ 1.3 of an empty Textual app",
        "paint",
        "empty Textual app",
        1.3,
        "importing the console and starting its host; see NOTES.md",
    ),
)


class _Limit(NamedTuple):
    text: str
    key: str
    most: float
    unit: str
    next: str


_LIMITS = (
    _Limit("idle, 1,000 plugins watched: ≤ 0.5 % of a core", "idle", 0.5, "%", "fewer and smaller sweeps"),
    _Limit("growth per reload: ≤ 0.5 KB", "growth", 0.5, "KB", "find the holder with tracemalloc"),
)


def aims(contests: Mapping[str, Contest], facts: Mapping[str, float]) -> list[Aim]:
    """Compare what was measured with what is promised."""
    found = []
    if "one" in contests and contests["one"].samples[OURS]:
        milliseconds = figure(contests["one"].samples[OURS]).middle * 1000
        text = "save → live, 1 file, default settings: ≤ 10 ms"
        found.append(Aim(text, f"{milliseconds:.1f} ms", milliseconds <= 10, _WATCHER))
    for ratio in _RATIOS:
        contest = contests.get(ratio.key)
        figures = contest.ratio(ratio.other, ratio.ours) if contest else None
        if figures is None:
            found.append(Aim(ratio.text, "", kept=None, next=""))
            continue
        measured = f"{figures.middle:.2f} ({figures.low:.2f}-{figures.high:.2f})"
        found.append(Aim(ratio.text, measured, figures.middle <= ratio.most, ratio.next))
    for limit in _LIMITS:
        if limit.key in facts:
            value = facts[limit.key]
            found.append(Aim(limit.text, f"{value:.2f} {limit.unit}", value <= limit.most, limit.next))
    return found
