"""The console's side of a host process, for tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from hotload_tui import Fault, load_config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.events import AnyEvent
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.remote.process import HostedManager
from hotload_tui.remote.process.blame import BEAT
from tests.conftest import Workspace
from tests.waiting import until

GOOD = "def register(ctx):\n    ctx.hook('good', lambda: 'good')\n"
HANG = (
    "m, c = ctypes.create_string_buffer(256), ctypes.PyDLL(None); c.pthread_mutex_init(m, None); "
    "c.pthread_mutex_lock(m); c.pthread_mutex_lock(m)"
)
"""A deadlock in C: it keeps the interpreter's lock, and uses no processor time."""
SETTINGS = "load_timeout = 0.5\ndrain_timeout = 0.5\nsettle_time = 0.0\n"


class Console:
    """A console's connection to a host process on the plugins of the workspace."""

    def __init__(self, workspace: Workspace, wanted: str = SETTINGS) -> None:
        self.workspace = workspace
        settings = workspace.root / "hotload.toml"
        settings.write_text(wanted)
        config = load_config(settings, runtime_dir=workspace.plugins, compiled_dir=workspace.compiled)
        options = {"--config": settings, "--plugins": workspace.plugins, "--compiled": workspace.compiled}
        self.options = [str(word) for pair in options.items() for word in pair]
        self.manager = HostedManager(config, self.options)
        self._heard_at = 0.0
        self.manager.subscribe(self._hear)
        self.manager.open()

    def _hear(self, _event: AnyEvent) -> None:
        self._heard_at = time.monotonic()

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until ``is_so``, and fail with the log after the time limit."""
        until(is_so, self.said)

    def wait_for_line(self, *parts: str) -> str:
        """Wait for a log line that has all ``parts``, and return it."""
        self.wait_for(lambda: bool(self.lines(*parts)))
        return self.lines(*parts)[0]

    def lines(self, *parts: str) -> list[str]:
        """Return the log lines that have all ``parts``."""
        return [line for line in self.said().splitlines() if all(part in line for part in parts)]

    def said(self) -> str:
        """Return the log, with lines of the form ``level plugin: text``."""
        return "\n".join(f"{line.level} {line.plugin}: {line.text}" for line in self.manager.log())

    def wait_for_quiet(self) -> None:
        """Wait until the last event is long past, so that no plugin is active."""
        until(lambda: time.monotonic() - self._heard_at > 2 * BEAT)

    @property
    def pid(self) -> int:
        """The process id of the host."""
        return self.manager.snapshot().host.pid

    def status(self, name: str) -> PluginStatus | None:
        """Return the status of a plugin; ``None`` if there is no such plugin."""
        return next((one for one in self.manager.snapshot().plugins if one.name == name), None)

    def state(self, name: str) -> PluginState | None:
        """Return the state of a plugin."""
        status = self.status(name)
        return status.state if status else None

    def generation(self, name: str) -> int:
        """Return the number of the plugin's live generation; 0 if none is live."""
        status = self.status(name)
        return status.generation if status else 0

    def answers(self, point: str) -> tuple[object, ...]:
        """Call a hook point; without a host that answers, return nothing."""
        try:
            return self.manager.invoke(point).values
        except HotloadError:
            return ()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``hotload`` on the host of this console."""
        command = [sys.executable, "-m", "hotload_tui", *words, *self.options]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.workspace.root)

    def fault(self, name: str) -> Fault:
        """Return the plugin's fault, which must be there."""
        status = self.status(name)
        assert status is not None
        assert status.fault is not None
        return status.fault


@pytest.fixture
def console(workspace: Workspace) -> Iterator[Console]:
    """Yield a console on a host with the plugin ``good``, and check that no process is left at the end."""
    yield from serving(workspace)


def serving(workspace: Workspace, settings: str = SETTINGS) -> Iterator[Console]:
    """Yield a console on a host with the plugin ``good``, and end the host."""
    workspace["good"] = GOOD
    console = Console(workspace, settings)
    console.manager.wait_until_ready()
    console.wait_for(lambda: console.state("good") is PluginState.OK)
    yield console
    pid = console.pid
    console.manager.close()
    until(lambda: not is_alive(pid))  # after SIGKILL, the system takes a moment


def is_alive(group: int) -> bool:
    """Return whether any process of a group runs; zombies do not count."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return any(int(pgid) == group and not state.startswith("Z") for pgid, state in rows)
