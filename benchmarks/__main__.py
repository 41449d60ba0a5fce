"""Measure what a user waits for and print a table: medians and 99th percentiles of several runs.

Absolute times depend on the machine and on what else it does: compare the rows of one run.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

from benchmarks import remote
from benchmarks.console import crowded_paint, empty_paint, first_paint, key_to_paint
from benchmarks.growth import growth
from benchmarks.reload import Sample, hook_call, read_compile_execute, reload_alone, save_to_result
from benchmarks.watch import by_inotify, by_watcher, by_watchfiles, idle


def main() -> None:
    """Print one row for each measurement; ``--quick`` makes fewer runs."""
    rounds, starts = (10, 3) if "--quick" in sys.argv else (100, 9)
    print(f"{'work':<52}{'median ms':>11}{'99 % ms':>11}{'n':>7}")
    with Sample() as sample:
        _row("floor: read, compile, execute 1 file of 50 lines", read_compile_execute(sample, rounds))
        _row("reload alone, 1 file of 50 lines", reload_alone(sample, rounds))
        _row("hook call, 1 handler", hook_call(sample, rounds * 100))
    saves = rounds * 3
    if sys.platform == "linux":
        _row("save to notification: inotify alone, the floor", by_inotify(saves))
    _row("save to notification: watchfiles, its defaults", by_watchfiles(saves))
    _row("save to on_change, with what was read", by_watcher(saves))
    print(f"  1,000 plugins watched, nothing happens: {idle(1000, rounds / 10):.2%} of a core")
    with Sample(watched=True) as sample:
        _row("save to new result, watched, default settings", save_to_result(sample, rounds))
    with remote.attached() as host:
        _row("command through the socket", remote.command(host, rounds * 20))
        _row("event through the socket", remote.event(host, rounds * 20))
        rate, missed = remote.events_per_second(host, rounds * 500)
    print(
        f"  events through the socket: {rate:,.0f} a second while a plugin logs in a loop, {missed} left out"
    )
    kept = growth(rounds * 20)
    _row("reload and retire, 20 files", [kept.milliseconds / 1000])
    print(f"  {kept.reloads} times: {kept.alive} old generations alive, {kept.kilobytes:.2f} KB growth each")
    for cold, word in ((True, "nothing compiled yet"), (False, "all compiled")):
        painted, loaded = zip(*(first_paint(cold=cold) for _ in range(starts)), strict=True)
        _row(f"start to painted table of 7 plugins, {word}", painted)
        _row(f"start to all 7 plugins ok, {word}", loaded)
    _row("start to picture of an empty Textual app", [empty_paint() for _ in range(starts)])
    for plugins in (7, 1000):
        word = f"start to table of {plugins:,} plugins, console alone"
        _row(word, [crowded_paint(plugins) for _ in range(starts)])
    keys, kilobytes = key_to_paint(rounds * 3)
    _row("key to paint, 1,000 plugins, 200 reloads a second", keys)
    print(f"  memory of the console then, with 50,000 log lines: {kilobytes / 1024:.0f} MB")


def _row(work: str, seconds: Sequence[float]) -> None:
    ordered = sorted(seconds)
    late = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    middle = statistics.median(ordered)
    print(f"{work:<52}{middle * 1000:>11.3f}{late * 1000:>11.3f}{len(ordered):>7}", flush=True)


main()
