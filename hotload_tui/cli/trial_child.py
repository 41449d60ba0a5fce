"""The child process of ``check``: loads plugins and reports each step."""

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

_SECOND = 1.0  # additional seconds in which the manager can notice a hang itself
_LOOK = 0.2  # seconds between two checks whether the parent is alive


def run_trial(config: Config, names: Sequence[str], trace: Path, parent: int) -> NoReturn:
    """Compile and load plugins, print a line of JSON for each step, and end the process.

    The process also ends when the process ``parent`` ends.
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    data = output.take_standard()
    manager = HotloadManager(HookHost(), config)
    manager.scan()
    with trace.open("w") as file:
        faulthandler.enable(file)
        for name in names:
            for mark in _try(manager, name, config.load_timeout + _SECOND, file):
                _report(data, mark)
    os._exit(0)  # at once: threads of plugins must not keep the process alive


def _end_with(parent: int) -> None:
    """Wait for the end of the parent, then kill this process and all processes that plugins started."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)


def _try(manager: HotloadManager, name: str, limit: float, trace: IO[str]) -> Iterator[Mark]:
    """Compile and load one plugin, and yield each step before it begins."""
    yield TrialStep(name, "compile")
    try:
        built = manager.build(name)
        yield TrialStep(name, "load")
        faulthandler.dump_traceback_later(limit, exit=True, file=trace)
        _load_required(manager, name, {name})
        loaded = manager.rebuild(name)
    except HotloadError as error:  # for example, the directory was deleted meanwhile
        fault = Fault("host", name, type(error).__name__, str(error), time.time())
        yield Judged(PluginStatus(name, PluginState.FAIL, "", fault=fault))
    else:
        yield Judged(_combined(name, built, loaded))
    finally:
        faulthandler.cancel_dump_traceback_later()


def _load_required(manager: HotloadManager, name: str, seen: set[str]) -> None:
    """Load the plugins that a plugin requires; ignore failures, which each plugin's trial reports."""
    plugins = {status.name: status for status in manager.snapshot().plugins}
    for other in manager.detail(name).requires:
        if other in plugins and other not in seen and not plugins[other].generation:
            seen.add(other)
            with contextlib.suppress(HotloadError):  # the requiring plugin reports what is missing
                manager.build(other)
                _load_required(manager, other, seen)
                manager.rebuild(other)


def _report(data: output.DataStream, mark: Mark) -> None:
    """Send a step to the parent; end the process if the parent no longer reads."""
    is_sent = False
    with contextlib.suppress(HotloadError):
        is_sent = data.record(mark)
    if not is_sent:
        os._exit(CUT_OFF)


def _combined(name: str, built: Iterable[PluginStatus], loaded: Iterable[PluginStatus]) -> PluginStatus:
    """Return the status after the load, with the longer compile time of the build and the load."""
    seconds = max((status.compile_seconds for status in built if status.name == name), default=0.0)
    status = next(status for status in loaded if status.name == name)
    if status.state is PluginState.WAIT:  # no other plugin will be loaded in this trial
        fault = Fault("load", name, RequirementError.__name__, status.waits, time.time())
        status = structs.replace(status, state=PluginState.FAIL, fault=fault)
    return structs.replace(status, compile_seconds=max(seconds, status.compile_seconds))
