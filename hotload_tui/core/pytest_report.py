"""A plugin of pytest in the process that ``suite`` starts: it reports the tests that fail, as faults."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Final

import msgspec
import pytest
from msgspec.structs import replace

from hotload_tui.core.faults import fault_of
from hotload_tui.core.model import Fault, Frame, encodable
from hotload_tui.core.suite import PLACES, PLUGIN, REPORT, FailedTest, Report, StartedTest

_LOOK: Final = 0.2  # seconds between two checks whether the host is alive


def pytest_configure(config: pytest.Config) -> None:
    """Give way to the host, and end with it."""
    if hasattr(os, "nice"):
        os.nice(10)
    if not hasattr(config, "workerinput") and hasattr(
        os, "killpg"
    ):  # a process of pytest-xdist ends with this one
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def pytest_runtest_logstart(nodeid: str) -> None:
    """Report that a test begins, for the case that it does not end."""
    _write(StartedTest(_short(nodeid)))


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector,
    call: pytest.CallInfo[object],
    report: pytest.TestReport | pytest.CollectReport,
) -> None:
    """Report a test, or a file of tests, that failed."""
    if call.excinfo is not None:
        _write(FailedTest(_fault(node, call.excinfo.value, report)))


def _fault(
    node: pytest.Item | pytest.Collector,
    error: BaseException,
    report: pytest.TestReport | pytest.CollectReport,
) -> Fault:
    places = tuple(os.environ[PLACES].split(os.pathsep))
    if isinstance(error, pytest.Collector.CollectError) and error.__cause__ is not None:
        error = error.__cause__
    fault = fault_of(error, phase="test", plugin=os.environ[PLUGIN], module_path="hotplug", own_places=places)
    own = [index for index, frame in enumerate(fault.frames) if frame.owner == "plugin"]
    frames, text = fault.frames[own[0] :] if own else (), fault.message
    if not own:  # what pytest itself raised, such as for a fixture that is missing
        text = encodable(report.longreprtext.strip())
        file, line, name = (
            report.location if isinstance(report, pytest.TestReport) else (node.nodeid, None, "")
        )
        place = str(node.config.rootpath / file)
        frames = (Frame(file=place, line=(line or 0) + 1, function=name, owner="plugin"),)
    return replace(fault, message=f"{_short(node.nodeid)}: {text}", frames=frames)


def _short(test: str) -> str:
    """Return the identifier of a test without the folders of its file."""
    file, separator, name = test.partition("::")
    return f"{Path(file).name}{separator}{name}"


def _write(report: Report) -> None:
    """Add a line to the report; the processes of pytest-xdist write to the same file."""
    with contextlib.suppress(OSError), Path(os.environ[REPORT]).open("ab") as file:
        file.write(msgspec.json.encode(report) + b"\n")


def _end_with(parent: int) -> None:
    """Wait for the end of the host, then kill this process and all processes that the tests started."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.killpg(0, signal.SIGKILL)
