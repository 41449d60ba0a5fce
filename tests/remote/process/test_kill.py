"""Kill -9 at random moments: the next start is clean, nothing is lost, and no artifact is torn."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import SUFFIX
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace
from tests.counts import KILL_ROUNDS

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
