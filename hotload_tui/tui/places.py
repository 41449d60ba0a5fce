"""Where a user wants to look: which file and line a fault points at, and where that line is by now."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hotload_tui.core.plugin import Fault, Frame, PluginStatus

ENTRY: Final = "plugin.py"


def failing_file(status: PluginStatus) -> str:
    """Return the plugin's file, relative to its folder, that a user wants to see first."""
    place = status.fault.place if status.fault else None
    if place is not None and Path(place.file).is_relative_to(status.path):
        return Path(place.file).relative_to(status.path).as_posix()
    return ENTRY


def failing_line(status: PluginStatus, disk: str | None) -> int:
    """Return the line of ``failing_file`` to open; where it is now, if the file has changed since."""
    place = status.fault.place if status.fault else None
    if place is None or not Path(place.file).is_relative_to(status.path):
        return 1
    return (line_now(place, disk) if disk is not None else None) or place.line or 1


def line_now(place: Frame, disk: str) -> int | None:
    """Return the number that the failing line has in the text on disk; ``None`` if it is not there."""
    index = place.line - place.first_line
    if not 0 <= index < len(place.lines):
        return None
    wanted = place.lines[index]
    lines = disk.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = [number for number, line in enumerate(lines, 1) if line == wanted]
    return min(found, key=lambda number: abs(number - place.line), default=None)


def moved_text(fault: Fault, disk: str | None) -> str:
    """Return the line that says that the file has changed since; empty while it has not."""
    place = fault.place
    if place is None or disk is None or not place.lines:
        return ""
    now = line_now(place, disk)
    if now is None:
        return f"the file has changed since: line {place.line} is not in it any more"
    return "" if now == place.line else f"the file has changed since: line {place.line} is line {now} now"
