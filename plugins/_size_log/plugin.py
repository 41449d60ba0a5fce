"""Log the size of a folder once a minute; shows clean-up: a thread that ends with its plugin."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotload_tui import PluginContext


def size_of(folder: str = ".") -> int:
    """Add up the bytes of all files below ``folder``."""
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: not a folder")
    paths = (Path(parent, name) for parent, _, files in os.walk(folder) for name in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


def register(ctx: PluginContext) -> None:
    """Answer at the hook point "size", and log it until the plugin is unloaded.

    It is off (its directory begins with ``_``) because it keeps a thread: ``hotload enable size_log``.
    """
    folder = str(ctx.settings.get("folder", "."))
    seconds = float(str(ctx.settings.get("seconds", 60)))
    stopped = threading.Event()

    def log_size() -> None:
        while not stopped.wait(seconds):
            ctx.log.info("%s has %d bytes", folder, size_of(folder))

    thread = threading.Thread(target=log_size, name="size_log")
    ctx.hook("size", size_of)
    ctx.on_unload(thread.join)  # the last given runs first:
    ctx.on_unload(stopped.set)  # ask the thread to stop; hotload waits for it
    thread.start()
