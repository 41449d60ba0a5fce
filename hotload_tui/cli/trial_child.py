"""The child's side of ``check``: loads plugins and tells of each step."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NoReturn

from msgspec import structs

from hotload_tui import HookHost, HotloadManager
from hotload_tui.cli import output
from hotload_tui.cli.trial import Judged, Mark, TrialStep
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError, RequirementError
from hotload_tui.core.model import Fault, PluginState, PluginStatus
from hotload_tui.remote.process.blame import CUT_OFF

_SECOND = 1.0  # what the manager gets to notice a hang itself
_LOOK = 0.2  # seconds between two looks whether the parent lives


def run_trial(config: Config, names: Sequence[str], trace: Path, parent: int) -> NoReturn:
    """Compile and load plugins, one line of JSON for each step; ends the process, with ``parent`` at last."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    report = output.take_standard()
    manager = HotloadManager(HookHost(), config)
    manager.scan()
    with trace.open("w") as file:
        faulthandler.enable(file)
        for name in names:
            for mark in _try(manager, name, config.load_timeout + _SECOND, file):
                _tell(report, mark)
    os._exit(0)  # what plugins left running, threads for instance, must not keep the process


def _end_with(parent: int) -> None:
    """End, with all that plugins started, when the process that is told of them has ended without a word."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)


def _try(manager: HotloadManager, name: str, limit: float, trace: IO[str]) -> Iterator[Mark]:
    """Compile and load one plugin, naming each step before it is taken."""
    yield TrialStep(name, "compile")
    try:
        built = manager.build(name)
        yield TrialStep(name, "load")
        faulthandler.dump_traceback_later(limit, exit=True, file=trace)
        _load_required(manager, name, {name})
        loaded = manager.rebuild(name)
    except HotloadError as error:  # the directory went away under our hands, for instance
        fault = Fault("host", name, type(error).__name__, str(error), time.time())
        yield Judged(PluginStatus(name, PluginState.FAIL, "", fault=fault))
    else:
        yield Judged(_combined(name, built, loaded))
    finally:
        faulthandler.cancel_dump_traceback_later()


def _load_required(manager: HotloadManager, name: str, seen: set[str]) -> None:
    """Load what a plugin requires, as far as it does; its own trial is to come, or was."""
    plugins = {status.name: status for status in manager.snapshot().plugins}
    for other in manager.detail(name).requires:
        if other in plugins and other not in seen and not plugins[other].generation:
            seen.add(other)
            with contextlib.suppress(HotloadError):  # then the one that requires it says what is missing
                manager.build(other)
                _load_required(manager, other, seen)
                manager.rebuild(other)


def _tell(report: output.DataStream, mark: Mark) -> None:
    try:
        is_heard = report.record(mark)
    except HotloadError:
        is_heard = False
    if not is_heard:
        os._exit(CUT_OFF)


def _combined(name: str, built: Iterable[PluginStatus], loaded: Iterable[PluginStatus]) -> PluginStatus:
    """Return the status after the load, with the time of the build before it."""
    seconds = max((status.compile_seconds for status in built if status.name == name), default=0.0)
    status = next(status for status in loaded if status.name == name)
    if status.state is PluginState.WAIT:  # nothing more is to come here
        fault = Fault("load", name, RequirementError.__name__, status.waits, time.time())
        status = structs.replace(status, state=PluginState.FAIL, fault=fault)
    return structs.replace(status, compile_seconds=max(seconds, status.compile_seconds))
