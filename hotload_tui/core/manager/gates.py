"""The gate of a plugin: a version is loaded only when its own tests, or checks of its source, have passed.

They run without the lock of the commands: a save that waits for its tests delays no other plugin. A version
that was live once is not tested again. Checks that are no gate run beside the load, and only warn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

from msgspec.structs import replace

from hotload_tui.core.compiled import stamp_of
from hotload_tui.core.config import Config
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.faults import fault_of
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import Fault
from hotload_tui.core.primitives import Condition, Event, Thread, perf_counter
from hotload_tui.core.source import Source, SourceRule, is_as_read
from hotload_tui.core.suite import REPORT, CheckRun, SuiteRun, Verdict, file_beside, own_tests

_T = TypeVar("_T")

_AT_ONCE: Final = max(1, (os.cpu_count() or 2) // 2)
"""Runs at the same time; the others wait for their turn."""


_Job: TypeAlias = SuiteRun | CheckRun


class GateRun:
    """The tests and checks of one version of a plugin: they run, and then the result is used once."""

    def __init__(
        self, directory: PluginDirectory, source: Source, jobs: Sequence[_Job], build_seconds: float
    ) -> None:
        self.name = directory.name
        self.source = replace(source, files=())  # only what shows a later change
        self.jobs = jobs
        self.build_seconds = build_seconds
        self.beside = stamp_of(file_beside(directory))
        self.directory = directory
        self.found: Verdict | None = None
        """The result of the first job that failed, else of the last one; ``None`` while they run."""
        self.verdict: Verdict | None = None
        """The same, once the version is to be judged by it."""
        self.is_used = False
        """Whether an update has used the result."""
        self.is_awaited = False
        """Whether a command waits for the end, and then continues in its own thread."""
        self.over = Event()

    def end(self) -> None:
        """End what runs."""
        for job in self.jobs:
            job.end()


class Gates:
    """Runs the tests and checks of versions; only one thread at a time may use it."""

    def __init__(
        self, config: Config, store: StatusStore, rule: SourceRule, good: Callable[[str], Collection[str]]
    ) -> None:
        """``good`` returns the digests of the versions of a plugin that were live."""
        self._config = config
        self._store = store
        self._rule = rule
        self._good = good
        self._runs: dict[str, GateRun] = {}
        self._checking: dict[str, list[CheckRun]] = {}
        self._turn = Condition()
        self._running = 0
        self.ended: Callable[[GateRun], None] = lambda _: None
        """Called in a thread of its own when a run has ended."""

    @property
    def is_busy(self) -> bool:
        """Whether a version waits for its tests."""
        return any(not run.is_used for run in self._runs.values())

    def jobs(self, directory: PluginDirectory, source: Source) -> list[_Job]:
        """Return what a version must pass; empty if there is nothing, or it was live once."""
        name, limit = directory.name, self._config.gate_timeout
        gate = self._config.gate_of(name)
        if not gate or REPORT in os.environ or source.digest in self._good(name):
            return []
        jobs: list[_Job] = []
        if "checks" in gate:
            jobs += [CheckRun(directory, command, limit) for command in self._config.checks_of(name)]
        if "tests" in gate and (tests := own_tests(directory, list(source.facts))):
            jobs.append(SuiteRun(directory, tests, limit))
        return jobs

    def check(self, directory: PluginDirectory) -> None:
        """Run the checks that are no gate, and log their findings; those of an earlier version end."""
        name = directory.name
        for job in self._checking.pop(name, ()):
            job.end()
        if "checks" in self._config.gate_of(name) or REPORT in os.environ:
            return
        if commands := self._config.checks_of(name):
            jobs = [CheckRun(directory, command, self._config.gate_timeout) for command in commands]
            self._checking[name] = jobs
            Thread(self._warn, f"hotload-check-{name}", (name, jobs)).start()

    def judge(
        self, directory: PluginDirectory, source: Source, build_seconds: float, *, again: bool
    ) -> Fault | Literal["passed", "running"]:
        """Return whether a version may be loaded; start its tests and checks if that is not known.

        ``build_seconds``: the duration of its build. ``again``: run what failed again.
        """
        name, run = directory.name, self._runs.get(directory.name)
        jobs = self.jobs(directory, source)
        if not jobs:
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
        run = self._runs[name] = GateRun(directory, source, jobs, build_seconds)
        what = ", ".join(job.name for job in jobs)
        self._store.at_gate = {**self._store.at_gate, name: (source.digest, what)}
        self._store.write("info", name, f"it goes live when this has passed: {what}")
        Thread(self._work, f"hotload-gate-{name}", (run,)).start()
        return "running"

    def build_seconds(self, name: str) -> float:
        """Return the duration of the build of the version that a plugin's run is about; 0 without a run."""
        run = self._runs.get(name)
        return run.build_seconds if run is not None else 0.0

    def forget(self, name: str) -> None:
        """End the run of a plugin, if there is one, and forget its result."""
        run = self._runs.pop(name, None)
        if run is not None:
            run.end()
        self._settle(name)

    def overtake(self, name: str, digest: str) -> None:
        """End the run of a plugin if it tests another version than that of ``digest``."""
        run = self._runs.get(name)
        if run is not None and run.source.digest != digest:
            self.forget(name)

    def release(self, run: GateRun) -> None:
        """Judge the version by the result of its run from now on."""
        run.verdict = run.found

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
        """End all runs, and forget their results."""
        for run in self._runs.values():
            run.end()
        for jobs in self._checking.values():
            for job in jobs:
                job.end()
        self._runs.clear()
        self._checking.clear()
        self._store.at_gate = {}

    def _settle(self, name: str) -> None:
        """Record that no version of a plugin waits for its tests any more."""
        self._store.at_gate = {each: waits for each, waits in self._store.at_gate.items() if each != name}

    def _work(self, run: GateRun) -> None:
        try:
            run.found = self._result(run)
        except Exception as error:  # foreign code: a plugin can replace a function that a run needs
            run.found = Verdict(
                fault_of(error, phase="test", plugin=run.name, module_path=self._config.module_path), ""
            )
        run.over.set()
        self.ended(run)

    def _result(self, run: GateRun) -> Verdict:
        verdict = Verdict(None, "")
        for job in run.jobs:
            began = perf_counter()
            verdict = self._in_turn(job.verdict)
            if not self.is_current(run):
                break
            what = "passed" if verdict.fault is None else "failed"
            said = f": {verdict.text}" if verdict.text else ""
            self._store.write("info", run.name, f"{job.name} {what} in {perf_counter() - began:.1f} s{said}")
            if verdict.fault is not None:
                break
        return verdict

    def _warn(self, name: str, jobs: Sequence[CheckRun]) -> None:
        for job in jobs:
            for finding in self._in_turn(job.findings):
                if self._checking.get(name) is jobs:
                    self._store.write("warning", name, finding.describe())

    def _in_turn(self, job: Callable[[], _T]) -> _T:
        """Do a job, when few enough others run."""
        with self._turn:
            while self._running >= _AT_ONCE:
                self._turn.wait()
            self._running += 1
        try:
            return job()
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify()
