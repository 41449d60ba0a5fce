"""The gate of a plugin: a version is loaded only when its own tests have passed.

The tests run without the lock of the commands: a save that waits for its tests delays no other plugin. A
version that was live once is not tested again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Final, Literal

from msgspec.structs import replace

from hotload_tui.core.compiled import stamp_of
from hotload_tui.core.config import Config
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import Fault
from hotload_tui.core.primitives import Condition, Event, Thread, perf_counter
from hotload_tui.core.source import Source, SourceRule, is_as_read
from hotload_tui.core.suite import REPORT, SuiteRun, Verdict, file_beside, own_tests

_AT_ONCE: Final = max(1, (os.cpu_count() or 2) // 2)
"""Runs at the same time; the others wait for their turn."""


class GateRun:
    """The tests of one version of a plugin: they run, and then the result is used once."""

    def __init__(self, directory: PluginDirectory, source: Source, suite: SuiteRun) -> None:
        self.name = directory.name
        self.source = replace(source, files=())  # only what shows a later change
        self.suite = suite
        self.beside = stamp_of(file_beside(directory))
        self.directory = directory
        self.verdict: Verdict | None = None
        """The result; ``None`` while the tests run."""
        self.is_used = False
        """Whether an update has used the result."""
        self.is_awaited = False
        """Whether a command waits for the end, and then continues in its own thread."""
        self.over = Event()


class Gates:
    """Runs the tests of versions that are to go live; only one thread at a time may use it."""

    def __init__(
        self, config: Config, store: StatusStore, rule: SourceRule, good: Callable[[str], Collection[str]]
    ) -> None:
        """``good`` returns the digests of the versions of a plugin that were live."""
        self._config = config
        self._store = store
        self._rule = rule
        self._good = good
        self._runs: dict[str, GateRun] = {}
        self._turn = Condition()
        self._running = 0
        self.ended: Callable[[GateRun], None] = lambda _: None
        """Called in a thread of its own when a run has ended."""

    @property
    def is_busy(self) -> bool:
        """Whether a version waits for its tests."""
        return any(not run.is_used for run in self._runs.values())

    def tests(self, directory: PluginDirectory, source: Source) -> tuple[str, ...]:
        """Return the tests that a version must pass; empty if there are none, or it was live once."""
        name = directory.name
        if self._config.gate_of(name) != "tests" or REPORT in os.environ or source.digest in self._good(name):
            return ()
        return own_tests(directory, list(source.facts))

    def judge(
        self, directory: PluginDirectory, source: Source, *, again: bool
    ) -> Fault | Literal["passed", "running"]:
        """Return whether a version may be loaded; start its tests if that is not known.

        ``again``: run tests that failed again.
        """
        name, run = directory.name, self._runs.get(directory.name)
        tests = self.tests(directory, source)
        if not tests:
            self.forget(name)
            return "passed"
        if run is not None and run.source.digest == source.digest:
            if run.verdict is None:
                return "running"
            if not (again and run.is_used and run.verdict.fault is not None):
                run.is_used = True
                self._settle(name)
                return run.verdict.fault or "passed"
        self.forget(name)
        suite = SuiteRun(directory, tests, self._config.gate_timeout)
        run = self._runs[name] = GateRun(directory, source, suite)
        self._store.at_gate = {**self._store.at_gate, name: source.digest}
        self._store.write("info", name, "its tests run; it goes live when they have passed")
        Thread(self._work, f"hotload-gate-{name}", (run,)).start()
        return "running"

    def forget(self, name: str) -> None:
        """End the run of a plugin, if there is one, and forget its result."""
        run = self._runs.pop(name, None)
        if run is not None and run.verdict is None:
            run.suite.end()
        self._settle(name)

    def overtake(self, name: str, digest: str) -> None:
        """End the run of a plugin if it tests another version than that of ``digest``."""
        run = self._runs.get(name)
        if run is not None and run.source.digest != digest:
            self.forget(name)

    def is_current(self, run: GateRun) -> bool:
        """Return whether a run is that of the newest version, and its result is not used yet."""
        return self._runs.get(run.name) is run and not run.is_used

    def is_as_tested(self, run: GateRun) -> bool:
        """Return whether the files on disk are still those that were tested."""
        return is_as_read(run.source, self._rule) and stamp_of(file_beside(run.directory)) == run.beside

    def claim(self) -> list[GateRun]:
        """Return the runs that go on; the caller waits for their end, and continues."""
        runs = [run for run in self._runs.values() if not run.is_used]
        for run in runs:
            run.is_awaited = True
        return runs

    def to_repeat(self) -> list[str]:
        """Return the plugins whose tests failed, and whose test beside the plugin has changed since."""
        failed = [
            run for run in list(self._runs.values()) if run.verdict and run.verdict.fault and run.is_used
        ]
        return [run.name for run in failed if stamp_of(file_beside(run.directory)) != run.beside]

    def stop(self) -> None:
        """End all runs; any thread may call this."""
        for run in list(self._runs.values()):
            if run.verdict is None:
                run.suite.end()
        self._runs.clear()
        self._store.at_gate = {}

    def _settle(self, name: str) -> None:
        """Record that no version of a plugin waits for its tests any more."""
        self._store.at_gate = {each: digest for each, digest in self._store.at_gate.items() if each != name}

    def _work(self, run: GateRun) -> None:
        with self._turn:
            while self._running >= _AT_ONCE:
                self._turn.wait()
            self._running += 1
        try:
            began = perf_counter()
            verdict = run.suite.verdict()
            seconds = perf_counter() - began
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify()
        if self.is_current(run):
            what = "passed" if verdict.fault is None else "failed"
            said = f": {verdict.text}" if verdict.text else ""
            self._store.write("info", run.name, f"its tests {what} in {seconds:.1f} s{said}")
        run.verdict = verdict
        run.over.set()
        self.ended(run)
