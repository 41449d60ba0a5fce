"""How long a user waits for the console's first picture, and for the picture after a key."""

from __future__ import annotations

import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.terminal import Terminal

_SHIPPED = Path(__file__).parent.parent / "plugins"
_ACTIVE = 7  # shipped plugins that are enabled


def first_paint(*, cold: bool) -> tuple[float, float]:
    """Return the seconds from process start to the painted table of the shipped plugins, and to all OK.

    ``cold``: without artifacts of an earlier start.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(_SHIPPED, Path(folder, "plugins"))
        if not cold:
            _open(Path(folder))
        return _open(Path(folder))


def _open(project: Path) -> tuple[float, float]:
    command = [str(Path(sys.executable).with_name("hotload"))]
    with Terminal(command, cwd=project) as terminal:
        terminal.wait_for("todo_scanner")
        painted = time.perf_counter() - terminal.started
        terminal.wait_for(lambda screen: screen.count("+ ok") >= _ACTIVE)
        loaded = time.perf_counter() - terminal.started
        terminal.press("q")
        terminal.wait_for_exit()
    return painted, loaded


def crowded_paint(plugins: int) -> float:
    """Return the seconds from process start to the painted table of many plugins, without loading them."""
    with _crowd(plugins, 0, 0) as terminal:
        terminal.wait_for("plugin_0003")
        return time.perf_counter() - terminal.started


def empty_paint() -> float:
    """Return the seconds from process start to the picture of a Textual app with one label."""
    with Terminal([sys.executable, "-c", _EMPTY], cwd=Path.cwd()) as terminal:
        terminal.wait_for("nothing to show")
        return time.perf_counter() - terminal.started


def key_to_paint(rounds: int) -> tuple[list[float], int]:
    """Return the seconds from each key to the cursor's new row, and the kilobytes of memory at the end.

    There are 1,000 plugins and 50,000 log lines, with 200 reloads per second.
    """
    with _crowd(1000, 50_000, 200) as terminal:
        terminal.wait_for("plugin_0003")
        taken = []
        for number in range(rounds):
            row = 1 - number % 2
            started = time.perf_counter()
            terminal.press("jk"[number % 2])
            terminal.wait_for_output(re.compile(rb"\x1b\[1;7;[0-9;]*m\s*plugin_%04d" % row))
            taken.append(time.perf_counter() - started)
            time.sleep(random.uniform(0.02, 0.06))  # not in step with the console's own timers
        status = Path(f"/proc/{terminal.process.pid}/status")
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.exists() else None
        return taken, int(found[1]) if found else 0


_EMPTY = """
from textual.app import App
from textual.widgets import Label
class Empty(App):
    def compose(self):
        yield Label("nothing to show")
Empty().run()
"""


def _crowd(plugins: int, lines: int, a_second: int) -> Terminal:
    command = [sys.executable, "-m", "benchmarks.crowd", *map(str, (plugins, lines, a_second))]
    return Terminal(command, cwd=Path(__file__).parent.parent, columns=120, rows=36)
