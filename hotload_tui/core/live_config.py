"""The configuration's files are followed while the manager runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from hotload_tui.core.config import Config
from hotload_tui.core.config_loader import files_of, resolve
from hotload_tui.core.errors import HotloadError, near

if TYPE_CHECKING:
    from hotload_tui.core.manager import HotloadManager

_INTERVAL: Final = 0.25  # seconds between two looks; a file is read when it has stood still for one

_Facts: TypeAlias = tuple[tuple[int, int, int] | None, ...]


def follow_config(
    manager: HotloadManager,
    path: Path | None = None,
    *,
    runtime_dir: Path | None = None,
    compiled_dir: Path | None = None,
    interval: float = _INTERVAL,
) -> Callable[[], None]:
    """Give the manager each change in the files that ``load_config`` reads; returns the undo.

    Of a change in a plugin's table only that plugin is loaded anew. What is wrong changes nothing, and is in
    the log and in ``snapshot().host.config_fault``.
    """
    files = tuple(file.absolute() for file in files_of(path))
    ended = threading.Event()

    def read() -> Config:
        there = [file for file in files if file.exists()] if path is None else files
        place = Path(near(there[-1])) if there else None  # the program may have gone to another folder
        return resolve(place, runtime_dir=runtime_dir, compiled_dir=compiled_dir).config

    def look() -> None:
        taken: _Facts | None = None
        while not ended.is_set():
            facts = tuple(map(_facts, files))
            if facts != taken and not ended.wait(interval) and facts == tuple(map(_facts, files)):
                taken = facts
                with contextlib.suppress(HotloadError):  # the manager has told it, or is ending
                    manager.reconfigure(read)
            ended.wait(interval)

    threading.Thread(target=look, name="hotload-config", daemon=True).start()
    return ended.set


def _facts(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
