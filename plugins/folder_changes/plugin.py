"""Which files of a folder changed since the last call; shows state that survives reloads."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from hotload_tui import PluginContext

SKIPPED = {".git", ".venv", "compiled", "node_modules", "venv", "__pycache__"}

Stamps = dict[str, tuple[int, int]]
"""Path in the folder to time of change and size."""


class Look(TypedDict):
    """One look at a folder, as it is kept: plain values only, none of a class of this plugin."""

    at: str
    stamps: Stamps


class Changes(TypedDict):
    """What a call returns."""

    since: str | None
    files: int
    newest: list[str]
    added: list[str]
    changed: list[str]
    removed: list[str]


def stamps_of(folder: Path) -> Stamps:
    """Note each file below ``folder``."""
    stamps: Stamps = {}
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.endswith("_cache")]
        for path in (Path(parent, name) for name in files):
            with suppress(FileNotFoundError):  # a file that goes away while the folder is read
                status = path.stat()
                stamps[path.relative_to(folder).as_posix()] = status.st_mtime_ns, status.st_size
    return stamps


def changes_between(last: Look | None, now: Stamps) -> Changes:
    """Compare; without a last look (``since`` is null) nothing counts as changed."""
    before = last["stamps"] if last else now
    return {
        "since": last["at"] if last else None,
        "files": len(now),
        "newest": sorted(now, key=lambda path: now[path], reverse=True)[:10],
        "added": sorted(now.keys() - before.keys()),
        "changed": sorted(path for path in now.keys() & before.keys() if now[path] != before[path]),
        "removed": sorted(before.keys() - now.keys()),
    }


def register(ctx: PluginContext) -> None:
    """Answer at the hook point "changes"; edit this file between two calls and nothing is forgotten."""

    @ctx.hook("changes")
    def changes(folder: str = ".") -> Changes:
        """Return the changes below ``folder`` since the previous call, and the newest files."""
        root = Path(folder).resolve()
        if not root.is_dir():
            raise NotADirectoryError(f"{folder}: not a folder")
        last = cast("Look | None", ctx.state.get(str(root)))
        look: Look = {
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "stamps": stamps_of(root),
        }
        ctx.state[str(root)] = look
        return changes_between(last, look["stamps"])
