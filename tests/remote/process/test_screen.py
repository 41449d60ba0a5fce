"""The screen of 80 by 24 while a host hangs or dies."""

import subprocess
import sys
from pathlib import Path

from tests.remote.process.conftest import HANG
from tests.terminal import Terminal

HOTLOAD = str(Path(sys.executable).with_name("hotload"))
SPIN = f"import ctypes\ndef spin():\n    {HANG}\ndef register(ctx):\n    ctx.hook('spin', spin)\n"
BOOM = "import ctypes\ndef boom():\n    ctypes.string_at(0)\ndef register(ctx):\n    ctx.hook('boom', boom)\n"


def test_a_hang_and_a_crash_are_shown_and_survived(tmp_path: Path) -> None:
    """The screen names the hanging plugin and its line, ``u`` goes on, and a crash shows its signal."""
    for name, code in (("spin", SPIN), ("boom", BOOM)):
        (tmp_path / "plugins" / name).mkdir(parents=True)
        (tmp_path / "plugins" / name / "plugin.py").write_text(code)
    with Terminal([HOTLOAD], cwd=tmp_path) as terminal:
        terminal.wait_for(lambda screen: screen.count("+ ok") >= 2 and "watching" in screen)
        with subprocess.Popen([HOTLOAD, "call", "spin"], cwd=tmp_path, stderr=subprocess.DEVNULL):
            terminal.wait_for("spin hangs at plugin.py:3; u restarts")
            terminal.press("3", "0")  # the console still handles its keys
            terminal.press("u")
        terminal.wait_for("= HELD 1")
        terminal.wait_for("watching")
        subprocess.run([HOTLOAD, "call", "boom"], cwd=tmp_path, stderr=subprocess.DEVNULL, check=False)
        terminal.wait_for("= HELD 2")
        terminal.press("2")
        terminal.wait_for(lambda screen: "SIGSEGV" in screen and "plugin.py:3 in boom" in screen)
        terminal.press("q")
        assert terminal.wait_for_exit() == 0
