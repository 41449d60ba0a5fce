"""``check`` in child processes: a plugin that crashes, ends or blocks its child has failed.

The child reports each step as a line of JSON before it begins the step. When the child dies, its last step
names the plugin that caused it, and a new child continues with the remaining plugins.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Literal, NoReturn, Self, TypeAlias

import msgspec
from msgspec import Struct, structs

from hotload_tui import HookHost, HotloadManager
from hotload_tui.cli import output
from hotload_tui.core.config import Config
from hotload_tui.core.directories import find_plugin
from hotload_tui.core.errors import HotloadError, RequirementError
from hotload_tui.core.model import Fault, PluginState, PluginStatus
from hotload_tui.core.runtime.threads import MainTrials
from hotload_tui.core.source import SourceRule, scan
from hotload_tui.core.suite import SuiteRun, own_tests
from hotload_tui.remote.process.blame import CUT_OFF, fault_of_death
from hotload_tui.remote.process.supervisor import kill_group, python_with

_COMPILE_LIMIT: Final = 300.0  # seconds; a source of 20 MB takes a minute
_MARGIN: Final = 3.0  # additional seconds in which the child can report a hang itself, with the line
_POLL: Final = 0.2  # seconds between two checks whether the child is alive
_LINGER: Final = 2.0  # seconds until a child must end after it has closed its output
_SECOND: Final = 1.0  # additional seconds in which the manager can notice a hang itself
_LOOK: Final = 0.2  # seconds between two checks whether the parent is alive


class TrialStep(Struct, frozen=True, tag="step"):
    """The child is about to compile or load a plugin."""

    plugin: str
    phase: Literal["compile", "load"]


class Judged(Struct, frozen=True, tag="judged"):
    """The child has finished a plugin; ``status`` is the result."""

    status: PluginStatus


Mark: TypeAlias = TrialStep | Judged


def try_all(plugins: Sequence[PluginStatus], config: Config, options: Sequence[str]) -> list[PluginStatus]:
    """Compile and load plugins in child processes; return disabled plugins unchanged.

    ``options`` are the command-line options that give a child the same configuration.

    Raises:
        HotloadError: a child ended before it reached a remaining plugin.

    """
    for name in ("SIGTERM", "SIGHUP"):  # like Ctrl-C; else the children, in new sessions, survive
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    remaining = {plugin.name: plugin for plugin in plugins if plugin.state is not PluginState.OFF}
    judged: dict[str, PluginStatus] = {}
    while remaining:
        with _Child([*options, "--", *remaining], config.load_timeout) as child:
            for status in child.statuses():
                if remaining.pop(status.name, None) is not None:
                    judged[status.name] = status
            if remaining:
                culprit = remaining.pop(child.step.plugin, None) if child.step else None
                if child.step is None or culprit is None:
                    raise HotloadError("the process that tries plugins ended before it tried one")
                judged[culprit.name] = _casualty(culprit, child, child.step)
    return [judged.get(plugin.name, plugin) for plugin in plugins]


def tested(plugin: PluginStatus, config: Config) -> PluginStatus:
    """Run the tests of a plugin that loads; return its status, with the fault if a test failed."""
    rule = SourceRule(config.watch.ignore, config.layout)
    directory = find_plugin(Path(config.runtime_dir), plugin.name, rule.layout)
    if plugin.state is not PluginState.OK or directory is None:
        return plugin
    tests = own_tests(directory, list(scan(directory.path, rule).files))
    if not tests:
        output.narrate(f"{plugin.name}: it has no tests")
        return plugin
    verdict = SuiteRun(directory, tests, config.gate_timeout).verdict()
    if verdict.text:
        output.narrate(f"{plugin.name}: {verdict.text}")
    if verdict.fault is None:
        return plugin
    return structs.replace(plugin, state=PluginState.FAIL, fault=verdict.fault)


def _casualty(plugin: PluginStatus, child: _Child, step: TrialStep) -> PluginStatus:
    fault = fault_of_death(
        plugin, step.phase, returncode=child.returncode, limit=child.limit, trace=child.trace_text()
    )
    return structs.replace(plugin, state=PluginState.FAIL, fault=fault)


class _Child:
    """One process that tries plugins in turn, until a plugin ends it."""

    def __init__(self, arguments: Sequence[str], load_timeout: float) -> None:
        self.step: TrialStep | None = None
        self.returncode: int | None = None
        """Exit code of the child; ``None`` if it had to be killed."""
        self._load_timeout = load_timeout
        self._folder = tempfile.TemporaryDirectory(prefix="hotload-")
        self._trace = Path(self._folder.name, "trace")
        command = [*python_with("hotload_tui"), "trial"]
        command += ["--trace", str(self._trace), "--parent", str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*command, *arguments],
            stdin=subprocess.DEVNULL,  # a plugin that reads input gets the end of the file
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that processes of plugins can be killed with it
        )
        assert self._process.stdout is not None
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_pump, args=(self._process.stdout, self._lines), daemon=True)
        reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._folder.cleanup()

    @property
    def limit(self) -> float:
        """Seconds that the current step may take."""
        return self._load_timeout if self.step and self.step.phase == "load" else _COMPILE_LIMIT

    def statuses(self) -> Iterator[PluginStatus]:
        """Yield each plugin's status as it arrives, until the child finishes, dies or hangs."""
        while (line := self._next_line()) is not None:
            mark = msgspec.json.decode(line, type=Mark)
            if isinstance(mark, Judged):
                yield mark.status
            else:
                self.step = mark
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.returncode = self._process.wait(_LINGER)

    def trace_text(self) -> str:
        """Return faulthandler's dump, or an empty text."""
        try:
            return self._trace.read_text(errors="replace")
        except OSError:
            return ""

    def _next_line(self) -> bytes | None:
        deadline = time.monotonic() + self.limit + _MARGIN
        while time.monotonic() < deadline:
            was_alive = self._process.poll() is None  # first, to read all output of a dead child
            try:
                return self._lines.get(timeout=_POLL)
            except queue.Empty:
                if not was_alive:  # a process that a plugin forked keeps the output open
                    return None
        return None

    def _kill(self) -> None:
        if hasattr(os, "killpg"):
            kill_group(self._process.pid)
        else:
            self._process.kill()
        self._process.wait()


def _pump(stream: IO[bytes], lines: queue.SimpleQueue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


# ---- the child process


def run_trial(config: Config, names: Sequence[str], trace: Path, parent: int) -> NoReturn:
    """Compile and load plugins, print a line of JSON for each step, and end the process.

    The plugins load on the main thread, as in ``hotload run``, and acquire nothing: a host may run beside
    this process. The process also ends when the process ``parent`` ends.
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    data = output.take_standard()
    trials = MainTrials() if hasattr(signal, "setitimer") else None
    plugins = {name: structs.replace(each, gate=None, checks=None) for name, each in config.plugins.items()}
    config = structs.replace(
        config, gate=(), checks=(), plugins=plugins
    )  # ``tested`` runs the tests, if it is asked to
    manager = HotloadManager(HookHost(), config, trials=trials, acquires=False)
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
