"""The seconds of plain imports of the same plugins in a new process, and its memory in kilobytes."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

from memory import resident

if __name__ == "__main__":
    root, count = sys.argv[1], int(sys.argv[2])
    sys.path.insert(0, f"{root}/plugins")
    started = time.perf_counter()
    names = sorted(path.name for path in Path(root, "plugins").iterdir())
    plugins = [importlib.import_module(f"{name}.plugin") for name in names]
    seconds = time.perf_counter() - started
    if len([plugin.answer() for plugin in plugins]) != count:
        sys.exit("not all plugins are loaded")
    print(seconds, resident())
