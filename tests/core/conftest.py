"""Helpers for the engine's tests: a loader without a manager, a stage for plugins, random histories."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis.stateful import RuleBasedStateMachine

from hotload_tui import Config
from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.errors import PluginError
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.runtime.loader import Loader
from tests.conftest import CountingHost, Running, Workspace
from tests.waiting import PATIENCE


class Bench:
    """A loader with its host, and a compiler that produces its artifacts."""

    def __init__(self, workspace: Workspace, **settings: object) -> None:
        self.workspace = workspace
        self.host = CountingHost()
        self.loader = Loader(self.host, workspace.config(**settings))

    def artifact(self, source: str, name: str = "greet") -> Artifact:
        """Compile ``source``."""
        self.workspace[name] = source
        return Compiler(self.workspace.compiled).compile(self.workspace.plugins / name).artifact

    def load(self, source: str, name: str = "greet", hook_point: str | None = None) -> None:
        """Compile and load ``source``."""
        self.loader.load(name, self.artifact(source, name), hook_point)

    def number(self) -> int:
        """Return the number of the live generation, or 0 if there is none."""
        live = self.loader.live("greet")
        return live.generation.number if live else 0

    def refusal(self, source: str) -> PluginError:
        """Return the error of a load that must fail."""
        with pytest.raises(PluginError) as caught:
            self.load(source)
        return caught.value


@pytest.fixture
def bench(workspace: Workspace) -> Iterator[Bench]:
    """Yield a loader, and unload all its plugins afterwards."""
    bench = Bench(workspace)
    yield bench
    for name in bench.loader.names():
        bench.loader.unload(name)
    bench.loader.retire()


def seen(kinds: Iterable[str], *unfrozen: str) -> list[str | pytest.ParameterSet]:
    """Return the kinds as parameters; for ``unfrozen`` the collector sees the objects of all modules."""
    marks = {**dict.fromkeys(unfrozen, pytest.mark.unfrozen), "audit hook": pytest.mark.own_process}
    return [pytest.param(kind, marks=marks[kind]) if kind in marks else kind for kind in kinds]


class Stage:
    """The object that plugins import under the name ``stage``."""

    def __init__(self) -> None:
        self.running: Running | None = None
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.told: list[object] = []
        self.view: object = None

    def wait(self) -> str:
        """Block until the test opens the gate."""
        self.entered.set()
        self.gate.wait(PATIENCE)
        return "left"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Yield a stage, and open its gate afterwards so that no thread stays blocked."""
    stage = Stage()
    monkeypatch.setitem(sys.modules, "stage", stage)
    yield stage
    stage.gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith(("hotload-unload", "greet.")):
            thread.join(PATIENCE)


def retired(running: Running, name: str = "greet", times: int = 1) -> PluginRetired:
    """Wait until this many generations of a plugin have retired, and return the event of the last one."""
    assert running.wait_for(lambda: len(running.told(PluginRetired, name)) >= times)
    return running.told(PluginRetired, name)[times - 1]


def plugin_modules() -> list[str]:
    """Return the names of all importable plugin modules."""
    return [name for name in sys.modules.copy() if name.startswith("hotplug.")]


class Histories(RuleBasedStateMachine):
    """Run random user actions with real files and a real manager, and leave nothing behind at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign = set(plugin_modules())  # plugin modules that earlier tests in this process still hold
        self.root = Path(tempfile.mkdtemp(prefix="hotload-history-"))
        self.workspace = Workspace(self.root)
        self.count = 0
        self.host = self.started()

    def started(self) -> Running:
        """Return a new host on the same folders."""
        running = Running(self.config())
        running.manager.start()
        return running

    def config(self) -> Config:
        """Return the settings of each host."""
        return self.workspace.config()

    def teardown(self) -> None:
        """Stop the host, and check that no plugin module is left."""
        self.host.manager.stop()
        shutil.rmtree(self.root)
        left = [name for name in plugin_modules() if name not in self.foreign]
        for name in left:  # so that one failure does not make the following tests fail
            del sys.modules[name]
        assert left == []
