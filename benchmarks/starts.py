"""The start-up time of a host with many plugins, and of the commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

from benchmarks.environment import PEERS, variables
from benchmarks.figures import FLOOR, OURS, Contest, take_turns
from benchmarks.work import Work
from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core import compiled as source_index

_EARLIER = 3600  # seconds: most files of a project are older than its last start


def starts(plugins: int, rounds: int) -> tuple[Contest, dict[str, float]]:
    """Measure the start of this many plugins of 20 lines; also return the megabytes of each process."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for folder in (first, second):
            _write(Path(folder), plugins)
        _start_long_after(Path(first))
        memory: dict[str, float] = {}

        def run(who: str, script: str, folder: str, cache: str = "") -> Callable[[], float]:
            def measure() -> float:
                for place in [*Path(folder).glob(cache)] if cache else []:
                    shutil.rmtree(place)
                seconds, kilobytes = _run([sys.executable, str(PEERS / script), folder, str(plugins)]).split()
                memory[who] = int(kilobytes) / 1024
                return float(seconds)

            return measure

        scripts = {
            OURS: (OURS, "start_hotload.py", first, ""),
            FLOOR: (FLOOR, "start_plain.py", first, ""),
            f"{OURS}, nothing compiled": (
                f"{OURS}, nothing compiled",
                "start_hotload.py",
                second,
                "compiled",
            ),
            f"{FLOOR}, no caches": (f"{FLOOR}, no caches", "start_plain.py", second, "plugins/*/__pycache__"),
        }
        samples = take_turns({who: run(*script) for who, script in scripts.items()}, rounds)
    return Contest(
        f"start-{plugins}", f"start of {plugins:,} plugins (floor: imports)", "ms", samples
    ), memory


def commands(rounds: int) -> Contest:
    """Measure the command line in a project of seven plugins, all compiled."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(__file__).parent.parent / "plugins", Path(folder, "plugins"))
        hotload = [sys.executable, "-m", "hotload_tui"]
        lines: Mapping[str, list[str]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "hotload --help": [*hotload, "--help"],
            "hotload status": [*hotload, "status"],
            "hotload check": [*hotload, "check"],
        }
        samples = take_turns({word: _timed(line, folder) for word, line in lines.items()}, rounds)
    return Contest("commands", "the command line, from process to process", "ms", samples)


def _write(folder: Path, plugins: int) -> None:
    work = Work(folder, plugins=plugins, lines=20)
    long_ago = time.time() - _EARLIER
    for name in work.names:
        entry = folder / "plugins" / name / "plugin.py"
        os.utime(entry, (long_ago, long_ago))


def _start_long_after(folder: Path) -> None:
    """Start once as if the files were old (ctime cannot be set); else later starts would read them."""
    config = Config(runtime_dir=f"{folder}/plugins", compiled_dir=f"{folder}/compiled", enable_watch=False)
    with mock.patch.object(source_index, "_RECENT", 0), HotloadManager(HookHost(), config):
        pass


def _timed(command: list[str], folder: str) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, env=variables(), check=False, capture_output=True)
        return time.perf_counter() - started

    return measure


def _run(command: list[str]) -> str:
    return subprocess.run(command, env=variables(), check=True, capture_output=True, text=True).stdout
