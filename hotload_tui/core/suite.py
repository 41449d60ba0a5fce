"""What a version can be made to pass before it goes live: its own tests, and checks such as a linter.

The tests run by ``python -m pytest`` in the folder that contains the plugins' folder: the project's own
configuration of pytest applies. The process writes no bytecode, has a low priority, and ends with the host.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import time as clock  # a plugin can replace it
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.checks import PYTHON, is_installed
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import CompileError, near
from hotload_tui.core.faults import fault_of, install_advice
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


class _Child:
    """One process with a time limit; another thread may end it at any moment, also before it starts."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        """Seconds."""
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ended = False

    def run(
        self, command: Sequence[str], folder: Path, output: Path, variables: Mapping[str, str]
    ) -> int | None:
        """Run a command in ``folder``; return its exit code, or ``None`` if it did not end in time.

        The standard output and error go to the file ``output``. Raises ``OSError``.
        """
        with output.open("wb") as file, self._lock:
            if self._is_ended:
                return 0
            self._process = process = subprocess.Popen(  # noqa: S603 - the user's own tools
                command,
                cwd=folder,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that processes that it starts are killed with it
            )
        try:
            return process.wait(self.limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with self._lock:
                _kill(process)
                process.wait()
                self._process = None  # its number may soon be that of another process

    def end(self) -> None:
        """Kill the process and all processes that it has started."""
        with self._lock:
            self._is_ended = True
            if self._process is not None:
                _kill(self._process)


class SuiteRun:
    """One run of the tests of one version."""

    def __init__(self, directory: PluginDirectory, tests: Sequence[str], limit: float) -> None:
        """Run ``tests``, and give them ``limit`` seconds."""
        self.name = "its tests"
        """What a message calls the run."""
        self._plugin = directory.name
        self._root = directory.path.absolute()
        self._tests = tests
        self._child = _Child(limit)

    def verdict(self) -> Verdict:
        """Run the tests, and return the result."""
        if not PYTHON.fullmatch(os.path.basename(sys.executable or "")):  # noqa: PTH119 - only a name
            return self._unrun("this program embeds Python, and has no interpreter that could run the tests")
        if not is_installed("pytest"):
            fault = self._fault(
                "ModuleNotFoundError", "pytest is not installed, which runs the plugin's tests"
            )
            return Verdict(replace(fault, missing_module="pytest", notes=(install_advice("pytest"),)), "")
        try:
            with tempfile.TemporaryDirectory(prefix="hotload-tests-") as folder:
                report, output = Path(folder, "report"), Path(folder, "output")
                report.touch()
                code = self._run(report, output)
                lines = output.read_text("utf-8", "replace").splitlines()
                return self._judged(code, list(_read(report)), lines)
        except OSError as error:
            return self._unrun(f"the tests cannot be run: {error.strerror}")

    def end(self) -> None:
        """End the run, from any thread and at any moment: a newer version is there, or the host stops."""
        self._child.end()

    def _run(self, report: Path, output: Path) -> int | None:
        """Return the exit code of pytest; ``None`` if it did not end in time."""
        places = [f"{self._root}{os.sep}" if self._root.is_dir() else str(self._root), *self._tests]
        own = {REPORT: str(report), PLUGIN: self._plugin, PLACES: os.pathsep.join(places)}
        variables = {**own, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", *_OPTIONS, *self._tests]
        return self._child.run(command, self._root.parent.parent, output, variables)

    def _judged(self, code: int | None, reports: list[Report], output: list[str]) -> Verdict:
        last = next((line.strip() for line in reversed(output) if line.strip()), "")
        failed = [each.fault for each in reports if isinstance(each, FailedTest)]
        if code is None:
            running = [each.test for each in reports if isinstance(each, StartedTest)][-1:]
            where = f"{running[0]}: " if running else ""
            message = f"{where}the tests did not end within gate_timeout = {self._child.limit:g} s"
            return Verdict(self._fault("TimeoutError", message), last)
        if code in (0, _NONE_FOUND):  # also if a test failed at first, and a plugin of pytest ran it again
            return Verdict(None, last)
        if failed:
            more = [each.message.partition("\n")[0] for each in failed[1:]]
            notes = [f"also failed: {text}" for text in more[:_MORE]]
            notes += [f"{len(more) - _MORE} more tests failed"] if len(more) > _MORE else []
            return Verdict(replace(failed[0], notes=(*failed[0].notes, *notes)), last)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        fault = self._fault("TestError", f"pytest {how}: {last}")
        return Verdict(replace(fault, notes=tuple(map(encodable, output[-_TAIL:]))), last)

    def _unrun(self, reason: str) -> Verdict:
        return Verdict(self._fault("TestError", reason), "")

    def _fault(self, kind: str, message: str) -> Fault:
        return Fault("test", self._plugin, kind, encodable(message), clock())


class Finding(Struct, frozen=True):
    """What a check says about a line."""

    file: str
    """Absolute path."""
    line: int
    """Number of the line, from 1; 0 if it is about the whole plugin."""
    text: str

    def describe(self) -> str:
        """Return it as ``file:line: text``."""
        return f"{near(self.file)}:{self.line}: {self.text}" if self.line else self.text


class CheckRun:
    """One run of a check, such as ``ruff check``, on one version; its last argument is the plugin's path."""

    def __init__(self, directory: PluginDirectory, command: str, limit: float) -> None:
        """Run ``command``, and give it ``limit`` seconds."""
        self.name = command
        """What a message calls it."""
        self._plugin = directory.name
        self._path = directory.path.absolute()
        self._child = _Child(limit)

    def findings(self) -> tuple[Finding, ...]:
        """Run the check, and return what it says; one finding about the plugin if it names no line."""
        words = shlex.split(self.name)
        with tempfile.TemporaryDirectory(prefix="hotload-check-") as folder:
            output, place = Path(folder, "output"), self._path.parent.parent
            try:
                code = self._child.run(
                    [_tool(words[0]), *words[1:], str(self._path)], place, output, _CONCISE
                )
            except OSError as error:
                return (self._about(f"cannot run: {error.strerror}; install it, or correct checks"),)
            lines = output.read_text("utf-8", "replace").splitlines()
        if code is None:
            return (self._about(f"did not end within gate_timeout = {self._child.limit:g} s"),)
        if code == 0:
            return ()
        matches = filter(None, map(_FINDING.match, lines))
        found = [match for match in matches if (place / match["file"]).is_file()]
        if not found:
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            return (self._about(f"ended with exit code {code}: {last}"),)
        return tuple(
            Finding(str(place / match["file"]), int(match["line"]), f"{self.name}: {match['text']}")
            for match in found
        )

    def verdict(self) -> Verdict:
        """Run the check; return the fault of the first finding, whose notes are the other ones."""
        findings = self.findings()
        if not findings:
            return Verdict(None, "")
        first, *more = findings
        error = CompileError(self._plugin, first.text, file=first.file, line=first.line)
        fault = fault_of(error, phase="compile", plugin=self._plugin, module_path="hotplug", text_of=_text_of)
        notes = [each.describe() for each in more[:_MORE]]
        notes += [f"{len(more) - _MORE} more findings"] if len(more) > _MORE else []
        return Verdict(replace(fault, type="CheckError", notes=tuple(map(encodable, notes))), "")

    def end(self) -> None:
        """End the run, from any thread and at any moment."""
        self._child.end()

    def _about(self, text: str) -> Finding:
        return Finding(str(self._path), 0, f"{self.name} {text}")


_FINDING: Final = re.compile(r"\s*(?P<file>[^\s:][^:]*):(?P<line>\d+):?(?:\d+:?)?[\s-]*(?P<text>.+)")
_CONCISE: Final = {"RUFF_OUTPUT_FORMAT": "concise", "NO_COLOR": "1"}
"""Variables with which well-known tools print one line for each finding."""


def _tool(name: str) -> str:
    """Return the program of this Python's environment, if it has one of that name."""
    own = shutil.which(name, path=os.path.dirname(sys.executable or ""))  # noqa: PTH120 - a search path
    return own or name


def _text_of(file: str) -> str | None:
    with contextlib.suppress(OSError):
        return Path(file).read_text("utf-8", "replace")
    return None


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
