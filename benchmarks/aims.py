"""The project's performance targets, and whether the current run meets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.figures import FLOOR, KEYS, OURS, Contest, figure


class Aim(NamedTuple):
    """A target and the measured value."""

    text: str
    measured: str
    kept: bool | None
    """``None`` if it was not measured in this run."""
    next: str
    """The reason for a missed target, and the next thing to try."""


class _Ratio(NamedTuple):
    text: str
    key: str
    other: str
    most: float
    next: str
    ours: str = OURS


class _Median(NamedTuple):
    text: str
    key: str
    who: str
    most: float
    """Milliseconds."""
    next: str


_WATCHER = "waiting for quiet (2 ms), reading, publishing and the trial load are most of it; see NOTES.md"
_PAINT = "importing Textual and the console, styling its widgets; see NOTES.md"
_MEDIANS = (
    _Median("save → live, 1 file, default settings: ≤ 10 ms", "one", OURS, 10, _WATCHER),
    _Median("console, first picture, 7 plugins: ≤ 300 ms", "paint", OURS, 300, _PAINT),
    _Median("console, first picture, 1,000: ≤ 500 ms", "paint", "console alone, 1,000 plugins", 500, _PAINT),
    _Median("console, key press to paint: ≤ 16 ms", "key", KEYS, 16, "painting; see NOTES.md"),
)
_RATIOS = (
    _Ratio("save → live, 1 file: ≤ 0.3 of jurigged", "one", "jurigged", 0.3, _WATCHER),
    _Ratio("save → live, 1 file: ≤ 0.3 of hmr", "one", "hmr", 0.3, _WATCHER),
    _Ratio(
        "the reload alone, 1 file: ≤ 2.0 of read + compile + exec",
        "reload",
        FLOOR,
        2.0,
        "the ledger's looks, publishing, a thread for the load: what makes it a transaction; see NOTES.md",
    ),
    _Ratio(
        "20 files, a leaf: ≤ 0.5 of importlib-style reloading",
        "leaf",
        "importlib",
        0.5,
        "all 20 modules are executed anew, by design; next: write the zip's records by hand, and "
        "fewer steps of the import system, see NOTES.md",
    ),
    _Ratio(
        "longest stall, 5,000 lines: ≤ 0.3 of compiling in process",
        "stall",
        FLOOR,
        0.3,
        "compile() keeps the interpreter's lock; next: compile in a helper process above some 500 lines",
    ),
    _Ratio(
        "longest stall, 5,000 lines, a million objects: ≤ 0.3 of compiling in process",
        "stall-heap",
        FLOOR,
        0.3,
        "something of the version before is found by a whole collection only; next: look for what",
    ),
    *(
        _Ratio(
            f"hook call, {count} handlers: ≤ 0.5 of pluggy's",
            f"hook-{count}",
            "pluggy",
            0.5,
            "entering and leaving the calls in flight costs as much as ten handlers; see NOTES.md",
        )
        for count in (1, 5, 20)
    ),
    _Ratio(
        "a call through a live handle: ≤ 1.3 of host.first",
        "handle",
        "host.first",
        1.3,
        "looking the object up by its name, so that a patch of it is seen; next: remember it per version",
    ),
    _Ratio(
        "1,000 plugins, warm start: ≤ 1.0 of plain imports",
        "start-1000",
        FLOOR,
        1.0,
        "each artifact is opened and verified, the process looked at before and after each load; "
        "next: see NOTES.md",
    ),
    _Ratio(
        "1,000 plugins, one changed: as one of 10 (≤ 1.2)",
        "one-of",
        f"{OURS}, 10 plugins",
        1.2,
        "the names of all modules are looked through, a hook point that all share is put in order; see NOTES",
        f"{OURS}, 1,000 plugins",
    ),
    _Ratio(
        "first paint: ≤ 1.3 of an empty Textual app",
        "paint",
        "empty Textual app",
        1.3,
        _PAINT,
    ),
)


class _Limit(NamedTuple):
    text: str
    key: str
    most: float
    unit: str
    next: str


_LIMITS = (
    _Limit("console, key press to paint, 99 %: ≤ 50 ms", "slow-key", 50, "ms", "painting; see NOTES.md"),
    _Limit(
        "idle, 1,000 plugins watched: ≤ 0.5 % of a core",
        "idle",
        0.5,
        "%",
        "6,000 stat calls each 5 s, of which the system's part is more than half; "
        "next: more time between two sweeps where all is notified",
    ),
    _Limit("growth per reload: ≤ 0.5 KB", "growth", 0.5, "KB", "find the holder with tracemalloc"),
)


def aims(contests: Mapping[str, Contest], facts: Mapping[str, float]) -> list[Aim]:
    """Compare the measured values with the targets."""
    found = []
    for median in _MEDIANS:
        samples = contests[median.key].samples.get(median.who) if median.key in contests else None
        if samples:
            milliseconds = figure(samples).middle * 1000
            measured = f"{milliseconds:.1f} ms"
            found.append(Aim(median.text, measured, milliseconds <= median.most, median.next))
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
