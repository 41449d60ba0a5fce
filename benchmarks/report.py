"""``RESULTS.md``: all figures of one run, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.aims import aims
from benchmarks.environment import versions
from benchmarks.figures import FLOOR, OURS, Contest, Figure, figure

SCALE = {"ms": 1e3, "µs": 1e6}
_HEAD = """# Results

Written by `make bench`. Everything here was measured in one run, and the contestants of one work
took turns, each round in another order: compare figures of one table. Milliseconds depend on the
machine and on what else it does; ratios less so. Medians with their 95 % intervals; ratios are
those of the rounds. Each peer is used as its documentation says (`benchmarks/peers/`); peers that
import run without bytecode caches, which are stale after two saves of equal size within a second.
The floor is the system's own notification, one read, `compile`, `exec`: no fence, no rollback, no
cleaning up.
"""


def write(path: Path, contests: list[Contest], facts: Mapping[str, float], seconds: float) -> None:
    """Write the results of a run that took ``seconds``."""
    path.write_text("\n".join(_lines(contests, facts, seconds)) + "\n")


def _lines(contests: list[Contest], facts: Mapping[str, float], seconds: float) -> Iterator[str]:
    yield _HEAD
    yield f"Measured: {', '.join(versions())}. The run took {seconds:.0f} s.\n"
    yield "## Aims\n"
    yield "| aim | measured | | if missed: why, and what to try next |"
    yield "|---|---|---|---|"
    for aim in aims({contest.key: contest for contest in contests}, facts):
        verdict = "met | " if aim.kept else f"missed | {aim.next}"
        if aim.kept is None:
            verdict = "not measured in this run | "
        yield f"| {aim.text} | {aim.measured} | {verdict} |"
    yield "\n## Work\n"
    for contest in contests:
        yield from _table(contest)
    yield "## Other figures\n"
    yield "| what | value |"
    yield "|---|---|"
    for word, value in facts.items():
        yield f"| {_WORDS.get(word, word)} | {value:,.2f} |"


_WORDS = {
    "idle": "CPU of a core while 1,000 plugins are watched and nothing happens, %",
    "growth": "resident memory that a reload of 20 files adds, KB",
    "alive": "old generations not freed after those reloads",
    "slow-key": "key to picture as above, the slowest of 99 in 100, ms",
    "console": "memory of the console with 1,000 plugins and 50,000 log lines, MB",
    "events": "events a second through the socket while a plugin logs in a loop",
    "missed": "of those events left out",
}


def _table(contest: Contest) -> Iterator[str]:
    best = contest.best_peer()
    scale = SCALE[contest.unit]
    yield f"### {contest.work}\n"
    yield f"| who | median {contest.unit} | 95 % | n | of the floor | of the best peer |"
    yield "|---|---:|---:|---:|---:|---:|"
    for who, samples in contest.samples.items():
        if not samples:
            yield f"| {who} | lost: it did not answer | | 0 | | |"
            continue
        found = figure(samples)
        low, high = found.low * scale, found.high * scale
        floor = _ratio(contest.ratio(FLOOR, who) if who != FLOOR else None)
        peer = _ratio(contest.ratio(best, who) if best and who == OURS else None)
        middle = f"{found.middle * scale:,.2f}"
        yield f"| {who} | {middle} | {low:,.2f}-{high:,.2f} | {found.n} | {floor} | {peer} |"
    yield ""


def _ratio(found: Figure | None) -> str:
    return "" if found is None else f"{found.middle:.2f} ({found.low:.2f}-{found.high:.2f})"
