"""Hook point calls beside pluggy and blinker, and during endless reloads; calls through handles."""

from __future__ import annotations

import importlib
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.environment import PEERS, peers_python
from benchmarks.figures import FLOOR, OURS, Contest, take_turns
from benchmarks.process import Contestant
from benchmarks.reload import Sample, hook_call

_BATCH = 2000


def hook_calls(handlers: int, rounds: int) -> Contest:
    """Measure one call of a hook point with this many handlers."""
    with ExitStack() as stack:
        contestants: dict[str, Callable[[], float]] = {}
        for who in (OURS, FLOOR, "pluggy", "blinker"):
            python = sys.executable if who == OURS else peers_python()
            command = [python, str(PEERS / "calls.py"), who, str(handlers)]
            process = stack.enter_context(Contestant(command))
            process.hear()
            contestants[who] = _batch(process)
        samples = take_turns(contestants, rounds)
    return Contest(f"hook-{handlers}", f"hook call, handlers: {handlers}", "µs", samples)


def hook_calls_in_a_storm(rounds: int) -> Contest:
    """Measure calls of a hook point at rest, and while its plugin is reloaded endlessly."""
    with Sample() as sample:
        over, storm = threading.Event(), threading.Event()

        def reload_for_ever() -> None:
            while not over.is_set():
                storm.wait()
                sample.edit()
                sample.manager.rebuild("sample")

        def stormy() -> float:
            storm.set()
            mean = statistics.fmean(hook_call(sample, _BATCH))
            storm.clear()
            return mean

        thread = threading.Thread(target=reload_for_ever)
        thread.start()
        quiet = lambda: statistics.fmean(hook_call(sample, _BATCH))  # noqa: E731
        samples = take_turns({f"{OURS}, reloads without end": stormy, f"{OURS}, quiet": quiet}, rounds)
        over.set()
        storm.set()
        thread.join()
    return Contest("storm", "hook call, 1 handler, mean of 2,000", "µs", samples)


def handle_calls(rounds: int) -> Contest:
    """Measure a call of a plugin's function through a live handle, beside a call of a hook point."""
    with Sample() as sample:
        handle = importlib.import_module("hotplug.sample").step_0

        def through_handle() -> object:
            return handle(1)

        def through_host() -> object:
            return sample.host.first("answer")

        samples = take_turns(
            {OURS: lambda: _mean(through_handle), "host.first": lambda: _mean(through_host)}, rounds
        )
    return Contest("handle", "call through a live handle", "µs", samples)


def _mean(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(_BATCH):
        call()
    return (time.perf_counter() - started) / _BATCH


def _batch(process: Contestant) -> Callable[[], float]:
    def measure() -> float:
        process.tell(str(_BATCH))
        return float(process.hear()) / _BATCH

    return measure
