"""The seconds of ``HotloadManager.start()`` in a new process, and its memory in kilobytes."""

from __future__ import annotations

import sys
import time

from memory import resident

from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.compiler import Compiler as _Compiler  # noqa: F401 - the imports of the first start
from hotload_tui.core.runtime.loader import Loader as _Loader  # noqa: F401

if __name__ == "__main__":
    root, count = sys.argv[1], int(sys.argv[2])
    host = HookHost()
    config = Config(runtime_dir=f"{root}/plugins", compiled_dir=f"{root}/compiled", enable_watch=False)
    started = time.perf_counter()
    manager = HotloadManager(host, config)
    manager.start()
    seconds = time.perf_counter() - started
    if len(host.call("answer")) != count:
        sys.exit("not all plugins are loaded")
    print(seconds, resident())
    manager.stop()
