"""Kill -9 at random moments: the next start is clean, nothing is lost, and no artifact is torn."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from hotload_tui import Config
from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import SUFFIX, Record
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace
from tests.counts import KILL_ROUNDS
from tests.remote.process.conftest import Console

NAMES = ("one", "two", "three")
CODE = "VALUE = {value}\ndef register(ctx):\n    ctx.hook('value', lambda: VALUE)\n"
BUSY = """
import sys, itertools
from pathlib import Path
from hotload_tui import HookHost, HotloadManager, load_config

root, start = Path(sys.argv[1]), int(sys.argv[2])
config = load_config(root / "hotload.toml", runtime_dir=root / "plugins", compiled_dir=root / "compiled")
manager = HotloadManager(HookHost(), config)
manager.start()
print("ready", flush=True)
for number in itertools.count(start):
    for name in ("one", "two", "three"):
        draft = root / "draft"
        draft.write_text(f"VALUE = {number}\\ndef register(ctx):\\n    ctx.hook('value', lambda: VALUE)\\n")
        draft.replace(root / "plugins" / name / "plugin.py")
        manager.rebuild(name)
    if number % 3 == 0:
        manager.clean("two")
"""


@pytest.mark.parametrize("seed", range(KILL_ROUNDS))
def test_the_next_start_is_clean(workspace: Workspace, run: Callable[[Config], Running], seed: int) -> None:
    """After a kill during builds, loads and cleans, the next host loads every plugin's newest source."""
    chance = random.Random(seed)
    (workspace.root / "hotload.toml").write_text("enable_watch = false\n")
    for name in NAMES:
        workspace[name] = CODE.format(value=0)
    command = [sys.executable, "-c", BUSY, str(workspace.root), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        deadline = time.monotonic() + chance.uniform(0.0, 0.3)
        while time.monotonic() < deadline:
            os.sched_yield()
        host.send_signal(signal.SIGKILL)
    for file in workspace.compiled.glob(f"*{SUFFIX}"):
        Artifact(file).code("plugin.py")  # raises for a torn artifact
    after = run(workspace.config())
    assert [after.status(name).state for name in NAMES] == [PluginState.OK] * 3
    expected = [
        int((workspace.plugins / name / "plugin.py").read_text().split()[2]) for name in sorted(NAMES)
    ]
    assert after.host.call("value") == expected
    assert not [file for file in workspace.compiled.iterdir() if file.name.endswith(".tmp")]


@pytest.mark.timeout(120 + 10 * KILL_ROUNDS)
def test_a_kill_during_saves_bars_no_plugin(workspace: Workspace) -> None:
    """After each kill -9 of the host during saves, the newest versions are live, and none is barred."""
    chance, values = random.Random(KILL_ROUNDS), itertools.count()
    newest = save(workspace, values)
    console = Console(workspace)
    try:
        for _ in range(KILL_ROUNDS):
            console.wait_for(lambda newest=newest: are_live(console, newest))  # type: ignore[misc]
            deadline = time.monotonic() + chance.uniform(0.0, 0.3)
            while time.monotonic() < deadline:
                newest = save(workspace, values)
                for _ in range(chance.randrange(5000)):
                    os.sched_yield()
            os.kill(console.pid, signal.SIGKILL)
        console.wait_for(lambda: are_live(console, newest))
        assert not [line for name in NAMES for line in console.lines(f"error {name}:")]
    finally:
        console.manager.close()


def save(workspace: Workspace, values: Iterator[int]) -> tuple[int, ...]:
    """Save each plugin with the next value, and return the values."""
    newest = []
    for name in sorted(NAMES):
        newest.append(next(values))
        draft = workspace.root / "draft"
        draft.write_text(
            f"import time\ntime.sleep(0.01)\n{CODE.format(value=newest[-1])}"
        )  # many kills hit a load
        (workspace.plugins / name).mkdir(exist_ok=True)
        draft.replace(workspace.plugins / name / "plugin.py")
    return tuple(newest)


def are_live(console: Console, newest: tuple[int, ...]) -> bool:
    """Return whether exactly these values are live and no plugin is barred; restart a host given up."""
    if "within a minute" in console.manager.snapshot().host.trouble:
        console.manager.restart()
    record = Record(console.workspace.compiled)
    assert not [name for name in NAMES if record.barred(name)]
    return console.answers("value") == newest and all(console.state(name) is PluginState.OK for name in NAMES)
