"""Measure the project and its peers, and write ``RESULTS.md``; ``--quick`` makes fewer runs.

Absolute times depend on the machine and its load: compare only the rows of one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import remote
from benchmarks.calls import handle_calls, hook_calls, hook_calls_in_a_storm
from benchmarks.console import crowded_paint, empty_paint, first_paint, key_to_paint
from benchmarks.figures import FLOOR, KEYS, OURS, Contest, take_turns
from benchmarks.growth import growth_alone
from benchmarks.reload import Sample, read_compile_execute, reload_alone
from benchmarks.report import SCALE, write
from benchmarks.saves import Shape, grown, save_to_live, stall
from benchmarks.starts import commands, starts
from benchmarks.watch import by_inotify, by_watcher, by_watchfiles, idle

_PEERS = ("jurigged", "importlib", "autoreload", "restart", "hmr")
_SHAPES = (
    Shape("one", "save → live, 1 file of 50 lines"),
    Shape("leaf", "save → live, a leaf of 20 files", parts=True),
    Shape("big", "save → live, 1 file of 5,000 lines", lines=5000),
    Shape("fifty", "save → live, 50 plugins at once", plugins=50),
)


class Bench:
    """One run and its measurements."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.facts: dict[str, float] = {}

    def rounds(self, full: int, quick: int) -> int:
        """Return how often to measure."""
        return quick if self.quick else full

    def contests(self) -> Iterator[Contest]:
        """Run all measurements."""
        yield from self._calls()
        yield from self._saves()
        yield from self._watching()
        yield from self._console()
        yield from self._starts()

    def _saves(self) -> Iterator[Contest]:
        peers: tuple[str, ...] = ("importlib",) if self.quick else _PEERS
        for shape in _SHAPES[:2] if self.quick else _SHAPES:
            if shape.plugins > 1:  # jurigged's threads interfere with each other there, and it loses saves
                peers = tuple(peer for peer in peers if peer != "jurigged")
            yield save_to_live(shape, self.rounds(11, 3) if shape.lines < 1000 else 4, peers)
        with Sample() as sample:
            contestants = {
                OURS: lambda: reload_alone(sample, 1)[0],
                "hotload, until the command returns": lambda: reload_alone(sample, 1, to_the_end=True)[0],
                FLOOR: lambda: read_compile_execute(sample, 1)[0],
            }
            samples = take_turns(contestants, self.rounds(200, 20))
        yield Contest("reload", "the reload alone, 1 file of 50 lines", "ms", samples)
        for key, objects in (("stall", 0), ("stall-heap", 1_000_000)):
            word = "longest stall of a 1 ms ticker, 5,000 lines" + (", a million objects" if objects else "")
            stalled = () if self.quick else ("jurigged", "importlib")
            yield stall(Shape(key, word, lines=5000), self.rounds(4, 1), stalled, objects)

    def _calls(self) -> Iterator[Contest]:
        for handlers in (1, 5, 20):
            yield hook_calls(handlers, self.rounds(60, 20))
        yield handle_calls(self.rounds(60, 20))
        yield hook_calls_in_a_storm(self.rounds(20, 5))

    def _starts(self) -> Iterator[Contest]:
        yield commands(self.rounds(7, 2))
        sizes = {size: Shape("one-of", "", plugins=size, only=1) for size in (10, 100, 1000)}
        yield grown({10: sizes[10], 100: sizes[100]} if self.quick else sizes, self.rounds(12, 3))
        for plugins in (100,) if self.quick else (10, 100, 1000):
            contest, memory = starts(plugins, self.rounds(3, 1))
            yield contest
            for who, megabytes in memory.items():
                if "," not in who:
                    word = "plain imports" if who == FLOOR else who
                    self.facts[f"memory of {word} with {plugins:,} plugins, MB"] = megabytes

    def _watching(self) -> Iterator[Contest]:
        saves = self.rounds(200, 20)
        floor = by_inotify(saves) if sys.platform == "linux" else []
        samples = {OURS: by_watcher(saves), FLOOR: floor, "watchfiles": by_watchfiles(saves)}
        samples[f'{OURS}, notifier = "watchfiles"'] = by_watcher(saves, "watchfiles")
        yield Contest("notified", "save → notified, with what was read (one after the other)", "ms", samples)
        self.facts["idle"] = idle(1000, self.rounds(10, 2)) * 100
        with remote.attached() as host:
            through = {"command": remote.command(host, saves), "event": remote.event(host, saves)}
            self.facts["events"], missed = remote.events_per_second(host, self.rounds(50_000, 5000))
            self.facts["missed"] = missed
        yield Contest("socket", "through the socket", "ms", through)
        kept = growth_alone(self.rounds(2000, 60))
        self.facts["growth"], self.facts["alive"] = kept.kilobytes, kept.alive

    def _console(self) -> Iterator[Contest]:
        rounds = self.rounds(7, 1)
        contestants: dict[str, Callable[[], float]] = {
            OURS: lambda: first_paint(cold=False)[0],
            "empty Textual app": empty_paint,
        }
        more: dict[str, Callable[[], float]] = {
            f"{OURS}, nothing compiled": lambda: first_paint(cold=True)[0],
            "console alone, 7 plugins": lambda: crowded_paint(7),
            "console alone, 1,000 plugins": lambda: crowded_paint(1000),
        }
        if not self.quick:
            contestants |= more
        yield Contest("paint", "start of the console → first picture", "ms", take_turns(contestants, rounds))
        keys, kilobytes = key_to_paint(self.rounds(200, 20))
        self.facts["console"] = kilobytes / 1024
        self.facts["slow-key"] = sorted(keys)[len(keys) * 99 // 100] * 1000
        yield Contest("key", "key → picture", "ms", {KEYS: keys})


def main() -> None:
    """Measure, print the medians of each contest as soon as they are known, and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure hotload and its peers."
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer runs and peers; RESULTS.md stays as it is"
    )
    bench = Bench(quick=parser.parse_args().quick)
    started = time.monotonic()
    folder = Path(tempfile.gettempdir()) if bench.quick else Path(__file__).parent
    path = folder / "RESULTS.md"
    contests = []
    for contest in bench.contests():
        contests.append(contest)
        medians = [
            f"{who} {statistics.median(samples) * SCALE[contest.unit]:,.2f}" if samples else f"{who} lost"
            for who, samples in contest.samples.items()
        ]
        print(f"{contest.work} ({contest.unit}): {'; '.join(medians)}", flush=True)
        write(path, contests, bench.facts, time.monotonic() - started)  # the results of an interrupted run
    write(path, contests, bench.facts, time.monotonic() - started)  # with the facts of the last contest
    print(f"written: {path}")


if __name__ == "__main__":
    main()
