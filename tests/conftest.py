"""Shared fixtures of all tests: a workspace with plugins as real files, and running managers."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from hotload_tui import Config, Fault, HookHost, HotloadManager, PluginStatus
from hotload_tui.core.events import AnyEvent, Event
from hotload_tui.core.hooks.inflight import Version
from hotload_tui.core.hooks.point import Handler
from hotload_tui.core.interpreter import error_handlers, search_functions
from tests.waiting import until

_E = TypeVar("_E", bound=Event)
_OWN_PROCESS = "HOTLOAD_OWN_PROCESS"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Let ``-n auto`` use three workers per core, because tests wait half of the time."""
    return (os.cpu_count() or 1) * 3


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked ``own_process`` in a process of its own: an audit hook cannot be removed.

    Each later test would run the hook for every object that a search of the process looks at.
    """
    if pyfuncitem.get_closest_marker("own_process") is None or _OWN_PROCESS in os.environ:
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, pyfuncitem.nodeid],
        cwd=pyfuncitem.config.rootpath,
        env={**os.environ, _OWN_PROCESS: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the long tests, which have their own time limit, so that none of them is the last."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Freeze the modules and the tests: otherwise each garbage collection of a reload visits them all."""
    search_functions(), error_handlers()  # the collector finds these lists only before
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Let a test that is marked ``unfrozen`` see the modules' objects as holders, or freeze them itself.

    The modules are frozen again after pytest has let go of the last of such tests: nothing collects a frozen
    object.
    """
    if not _is_unfrozen(item):
        return (yield)
    gc.unfreeze()
    result = yield
    if nextitem is None or not _is_unfrozen(nextitem):
        gc.collect()
        gc.freeze()
    return result


def _is_unfrozen(item: pytest.Item) -> bool:
    return item.get_closest_marker("unfrozen") is not None


def answering(value: object, point: str = "greet") -> str:
    """Return the source of a plugin whose only handler returns ``value``."""
    return f"def answer():\n    return {value!r}\n\n\ndef register(ctx):\n    ctx.hook({point!r}, answer)\n"


class Workspace:
    """A project folder; ``workspace["greet"] = source`` writes ``plugins/greet/plugin.py``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugins = root / "plugins"
        self.compiled = root / "compiled"
        self.plugins.mkdir()

    def __setitem__(self, place: str, content: str | bytes) -> None:
        """Write ``plugin`` (its plugin.py) or ``plugin/path/in/it``; a new plugin appears complete.

        A watcher that sees the directory first would sometimes report a missing ``plugin.py``.
        """
        name, _, path = place.partition("/")
        plugin = self.plugins / name
        folder = plugin if plugin.exists() else self.plugins / f".{name}"
        file = folder / (path or "plugin.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        if folder is not plugin:
            folder.rename(plugin)

    def config(self, **settings: object) -> Config:
        """Return a configuration for this folder, by default without a watcher."""
        folders = {"runtime_dir": str(self.plugins), "compiled_dir": str(self.compiled)}
        return msgspec.convert({**folders, "enable_watch": False, **settings}, Config)


def without_memory(*statuses: PluginStatus) -> tuple[PluginStatus, ...]:
    """Return statuses without their memory, which is reported in the background."""
    return tuple(replace(status, memory="") for status in statuses)


class CountingHost(HookHost):
    """A host that counts the assignments of its hook table."""

    swaps = 0

    def swap(self, changes: Mapping[str, Sequence[Handler]], versions: Sequence[Version] = ()) -> None:
        """Count the swap, and do it."""
        self.swaps += 1
        super().swap(changes, versions)


class Running:
    """A manager with its host and all its events."""

    def __init__(self, config: Config) -> None:
        self.host = CountingHost()
        self.manager = HotloadManager(self.host, config)
        self.events: list[AnyEvent] = []
        self.manager.subscribe(self.events.append)

    def wait_for(self, is_so: Callable[[], bool]) -> bool:
        """Wait until ``is_so``, and fail with the log after the time limit."""
        return until(is_so, self.said)

    def told(self, kind: type[_E], name: str = "") -> list[_E]:
        """Return the events of one kind, of one plugin if it is named."""
        return [
            event
            for event in list(self.events)
            if isinstance(event, kind) and name in ("", getattr(event, "name", ""))
        ]

    def status(self, name: str) -> PluginStatus:
        """Return the status of a plugin."""
        return next(status for status in self.manager.snapshot().plugins if status.name == name)

    def fault(self, name: str) -> Fault:
        """Return the plugin's fault, which must be there."""
        fault = self.status(name).fault
        assert fault is not None, f"{name} has no fault"
        return fault

    def said(self) -> str:
        """Return all lines of the log."""
        return "\n".join(f"{line.level} {line.plugin}: {line.text}" for line in self.manager.log())


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what consoles and further runs of pytest store in the folder of this run.

    Pytest uses the path of a test's project again, so a console would begin with what it stored a run ago.
    Two runs of pytest that end at the same time fail if they share a folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path_factory.mktemp("pytest")))
        yield


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Make programs that tests start receive signals that a background run, or ``nohup``, ignores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Check that the test leaves the signal handlers as they were."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before, "the test keeps a signal"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return an empty project folder."""
    return Workspace(tmp_path)


@pytest.fixture
def run() -> Iterator[Callable[[Config], Running]]:
    """Yield a function that starts a manager, and stop all managers afterwards."""
    started: list[Running] = []

    def start(config: Config) -> Running:
        running = Running(config)
        started.append(running)
        running.manager.start()
        return running

    yield start
    for running in started:
        running.manager.stop()
