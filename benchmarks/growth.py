"""The memory and time that replaced generations cost a host."""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from benchmarks.environment import variables
from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.events import PluginRetired

_FILES = 20
_WARM_UP = 0.5  # share of the reloads after which pools and caches have their full size
_LOG = 5000  # log lines that the host keeps: the log is full before the measurement
_PART = '''import logging

logger = logging.getLogger(__name__)


class Part{number}:
    """Adds its number."""

    def __init__(self, start: int = {number}) -> None:
        self.start = start

    def add(self, x: int) -> int:
        return self.start + x


def work(x: int) -> int:
    return Part{number}().add(x)
'''


class Growth(NamedTuple):
    """The result of many reloads."""

    reloads: int
    alive: int
    """Old generations that are not freed."""
    kilobytes: float
    """Growth of resident memory per reload after the warm-up."""
    milliseconds: float
    """Duration of a reload, with compiling, retirement and collection."""


def growth_alone(reloads: int) -> Growth:
    """Measure ``growth`` in its own process, because free memory of others would be filled first."""
    command = [sys.executable, "-m", "benchmarks.growth", str(reloads)]
    told = subprocess.run(command, check=True, env=variables(), capture_output=True, text=True).stdout
    return Growth(*json.loads(told))


def growth(reloads: int) -> Growth:
    """Measure reloads of a plugin with 20 files, one of which changes each time."""
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder, "plugins", "sample")
        plugin.mkdir(parents=True)
        for number in range(1, _FILES):
            (plugin / f"part_{number}.py").write_text(_PART.format(number=number))
        _edit(plugin, 0)
        config = Config(
            runtime_dir=str(plugin.parent), compiled_dir=str(Path(folder, "compiled")), enable_watch=False
        )
        host, retired = HookHost(), SimpleQueue[str]()
        with HotloadManager(host, config) as manager:
            manager.subscribe(
                lambda event: retired.put(event.memory) if isinstance(event, PluginRetired) else None
            )
            for number in range(_LOG):
                logging.getLogger("hotload.plugin.sample").warning("line %d", number)
            alive, before, warm = 0, 0, int(reloads * _WARM_UP)
            started = time.perf_counter()
            for answer in range(1, reloads + 1):
                _edit(plugin, answer)
                manager.rebuild("sample")
                alive += retired.get() != "freed"
                if answer == warm:
                    before = _resident()
            spent = time.perf_counter() - started
            grown = _resident() - before
    return Growth(reloads, alive, grown / 1024 / max(1, reloads - warm), spent / reloads * 1000)


def _edit(plugin: Path, answer: int) -> None:
    imports = "".join(f"import part_{number}\n" for number in range(1, _FILES))
    source = f"{imports}\n\ndef register(ctx):\n    ctx.hook('answer', lambda: part_1.work({answer}))\n"
    (plugin / "plugin.py").write_text(source)


def _resident() -> int:
    """Return the bytes of resident memory, without those that the allocator can give back."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    print(json.dumps(growth(int(sys.argv[1]))))
