"""A console's side of a host process, for tests: started, told what to do, and ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from hotload_tui import Fault, load_config
from hotload_tui.core.events import AnyEvent
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.remote.process import HostedManager
from hotload_tui.remote.process.blame import AFTERMATH, BEAT
from tests.conftest import Workspace
from tests.waiting import until

GOOD = "def register(ctx):\n    ctx.hook('good', lambda: 'good')\n"
SETTINGS = "load_timeout = 0.5\ndrain_timeout = 0.5\nsettle_time = 0.0\n"


class Console:
    """What a console has of its host; plugins are in the workspace."""

    def __init__(self, workspace: Workspace, wanted: str = SETTINGS) -> None:
        self.workspace = workspace
        settings = workspace.root / "hotload.toml"
        settings.write_text(wanted)
        config = load_config(settings, runtime_dir=workspace.plugins, compiled_dir=workspace.compiled)
        options = {"--config": settings, "--plugins": workspace.plugins, "--compiled": workspace.compiled}
        words = [str(word) for pair in options.items() for word in pair]
        self.manager = HostedManager(config, words)
        self._heard_at = 0.0
        self.manager.subscribe(self._hear)
        self.manager.open()

    def _hear(self, _event: AnyEvent) -> None:
        self._heard_at = time.monotonic()

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until ``is_so``; fail with the log if that never comes."""
        until(is_so, self.said)

    def wait_for_line(self, *parts: str) -> str:
        """Wait for a line of the log that has all ``parts``; return it."""
        self.wait_for(lambda: bool(self.lines(*parts)))
        return self.lines(*parts)[0]

    def lines(self, *parts: str) -> list[str]:
        """Return the lines of the log that have all ``parts``."""
        return [line for line in self.said().splitlines() if all(part in line for part in parts)]

    def said(self) -> str:
        """Return the log, a line of it as ``level plugin: text``."""
        return "\n".join(f"{line.level} {line.plugin}: {line.text}" for line in self.manager.log())

    def wait_for_quiet(self) -> None:
        """Wait until the last step of a plugin was long ago: a death is not its fault then."""
        until(lambda: time.monotonic() - self._heard_at > AFTERMATH + BEAT)

    @property
    def pid(self) -> int:
        """The host's process."""
        return self.manager.snapshot().host.pid

    def status(self, name: str) -> PluginStatus | None:
        """Return how a plugin stands; ``None`` if there is no such plugin."""
        return next((one for one in self.manager.snapshot().plugins if one.name == name), None)

    def state(self, name: str) -> PluginState | None:
        """Return the state of a plugin."""
        status = self.status(name)
        return status.state if status else None

    def fault(self, name: str) -> Fault:
        """Return the plugin's fault, which must be there."""
        status = self.status(name)
        assert status is not None
        assert status.fault is not None
        return status.fault


@pytest.fixture
def console(workspace: Workspace) -> Iterator[Console]:
    """Give a console on a host that serves the plugin ``good``; nothing of it may be left at the end."""
    yield from serving(workspace)


def serving(workspace: Workspace) -> Iterator[Console]:
    """Yield a console on a host that serves the plugin ``good``, and end it."""
    workspace["good"] = GOOD
    console = Console(workspace)
    console.manager.wait_until_ready()
    console.wait_for(lambda: console.state("good") is PluginState.OK)
    yield console
    pid = console.pid
    console.manager.close()
    until(lambda: not is_alive(pid))  # SIGKILL was sent; the system takes a moment


def is_alive(group: int) -> bool:
    """Tell whether any process of a group runs; one that is dead and not yet waited for does not."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return any(int(pgid) == group and not state.startswith("Z") for pgid, state in rows)
