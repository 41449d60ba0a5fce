"""How long a user looks at an empty terminal."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.terminal import Terminal

_SHIPPED = Path(__file__).parent.parent / "plugins"
_ACTIVE = 7  # plugins shipped switched on


def first_paint(*, cold: bool) -> tuple[float, float]:
    """Return seconds from process start to the painted table of the shipped plugins, and to all being ok.

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
