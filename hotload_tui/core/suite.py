"""A plugin's own tests: which they are, and a run of them by pytest in a process of its own.

The process is that of ``python -m pytest`` in the folder that contains the plugins' folder: the project's own
configuration of pytest applies. It writes no bytecode, has a low priority, and ends with the host.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time as clock  # a plugin can replace it
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.checks import PYTHON, is_installed
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.faults import install_advice
from hotload_tui.core.model import Fault, encodable
from hotload_tui.core.primitives import Lock

REPORT: Final = "HOTLOAD_TEST_REPORT"
"""The variable with the file to which the process writes; a manager in that process runs no tests."""
PLUGIN: Final = "HOTLOAD_TESTED_PLUGIN"
"""The variable with the plugin's name."""
PLACES: Final = "HOTLOAD_TESTED_PLACES"
"""The variable with the folders and files that belong to the plugin, as ``PATH`` is written."""

_REPORTER: Final = "hotload_tui.core.pytest_report"
_OPTIONS: Final = ("-q", "--no-header", "--color=no", "-p", "no:cacheprovider", "-p", _REPORTER)
_NONE_FOUND: Final = 5  # pytest's exit code
_TEST_FILE: Final = re.compile(r"test_.*\.py|.*_test\.py")
_FOLDER: Final = "tests/"
_MORE: Final = 10  # further failing tests that a fault names
_TAIL: Final = 20  # lines of pytest's output in a fault without a failing test


class StartedTest(Struct, frozen=True, tag="began"):
    """The process begins a test."""

    test: str


class FailedTest(Struct, frozen=True, tag="failed"):
    """A test, or a file of tests, failed."""

    fault: Fault


Report: TypeAlias = StartedTest | FailedTest


class Verdict(Struct, frozen=True):
    """The result of a run."""

    fault: Fault | None
    """Why the version must not go live; ``None`` if all tests passed."""
    text: str
    """What pytest says at the end, such as ``3 passed in 0.12s``."""


def own_tests(directory: PluginDirectory, files: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of a plugin's tests, of which ``files`` are its files.

    These are ``test_*.py``, ``*_test.py`` and the folder ``tests`` in its directory, and beside it the file
    ``test_<name>.py`` that ``hotload new`` creates.
    """
    root = directory.path.absolute()
    found = [root / path for path in files if "/" not in path and _TEST_FILE.fullmatch(path)]
    if any(path.startswith(_FOLDER) and path.endswith(".py") for path in files):
        found.append(root / _FOLDER)
    if not directory.is_package and (beside := file_beside(directory)).is_file():
        found.append(beside)
    return tuple(dict.fromkeys(map(os.fspath, found)))


def file_beside(directory: PluginDirectory) -> Path:
    """Return the file with tests that may be beside the plugin's directory or file."""
    word = re.sub(r"\W", "_", directory.name)
    return directory.path.absolute().with_name(f"test_{word}.py")


class SuiteRun:
    """One run of the tests of one version; ``end`` may come from another thread, at any moment."""

    def __init__(self, directory: PluginDirectory, tests: Sequence[str], limit: float) -> None:
        """Run ``tests``, and give them ``limit`` seconds."""
        self._plugin = directory.name
        self._root = directory.path.absolute()
        self._tests = tests
        self._limit = limit
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ended = False

    def verdict(self) -> Verdict:
        """Run the tests, and return the result."""
        if not PYTHON.fullmatch(os.path.basename(sys.executable or "")):  # noqa: PTH119 - only a name
            return self._unrun("this program embeds Python, and has no interpreter that could run the tests")
        if not is_installed("pytest"):
            fault = self._fault(
                "ModuleNotFoundError", "pytest is not installed, which runs the plugin's tests"
            )
            return Verdict(replace(fault, missing_module="pytest", notes=(install_advice("pytest"),)), "")
        with tempfile.TemporaryDirectory(prefix="hotload-tests-") as folder:
            report, output = Path(folder, "report"), Path(folder, "output")
            report.touch()
            try:
                code = self._run(report, output)
            except OSError as error:
                return self._unrun(f"the tests cannot be run: {error.strerror}")
            return self._judged(code, list(_read(report)), output.read_text("utf-8", "replace").splitlines())

    def end(self) -> None:
        """End the run: a newer version is there, or the host stops."""
        with self._lock:
            self._is_ended = True
            if self._process is not None:
                _kill(self._process)

    def _run(self, report: Path, output: Path) -> int | None:
        """Return the exit code of pytest; ``None`` if it did not end in time."""
        places = [f"{self._root}{os.sep}" if self._root.is_dir() else str(self._root), *self._tests]
        own = {REPORT: str(report), PLUGIN: self._plugin, PLACES: os.pathsep.join(places)}
        with output.open("wb") as file, self._lock:
            if self._is_ended:
                return 0
            self._process = process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-m", "pytest", *_OPTIONS, *self._tests],
                cwd=self._root.parent.parent,
                env={**os.environ, **own, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that processes of the tests are killed with it
            )
        try:
            return process.wait(self._limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill(process)
            process.wait()

    def _judged(self, code: int | None, reports: list[Report], output: list[str]) -> Verdict:
        last = next((line.strip() for line in reversed(output) if line.strip()), "")
        failed = [each.fault for each in reports if isinstance(each, FailedTest)]
        if code is None:
            running = [each.test for each in reports if isinstance(each, StartedTest)][-1:]
            where = f"{running[0]}: " if running else ""
            message = f"{where}the tests did not end within gate_timeout = {self._limit:g} s"
            return Verdict(self._fault("TimeoutError", message), last)
        if failed:
            more = [f"{each.message.partition(chr(10))[0]}" for each in failed[1:]]
            notes = [f"also failed: {text}" for text in more[:_MORE]]
            notes += [f"{len(more) - _MORE} more tests failed"] if len(more) > _MORE else []
            return Verdict(replace(failed[0], notes=(*failed[0].notes, *notes)), last)
        if code in (0, _NONE_FOUND):
            return Verdict(None, last)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        fault = self._fault("TestError", f"pytest {how}: {last}")
        return Verdict(replace(fault, notes=tuple(map(encodable, output[-_TAIL:]))), last)

    def _unrun(self, reason: str) -> Verdict:
        return Verdict(self._fault("TestError", reason), "")

    def _fault(self, kind: str, message: str) -> Fault:
        return Fault("test", self._plugin, kind, encodable(message), clock())


def _read(report: Path) -> Iterator[Report]:
    for line in report.read_bytes().splitlines():
        with contextlib.suppress(msgspec.DecodeError):  # the process was killed while it wrote
            yield msgspec.json.decode(line, type=Report)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all processes of its group, if any is left."""
    if not hasattr(os, "killpg"):
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
