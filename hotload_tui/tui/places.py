"""Where a user wants to look: which file and line a fault points at, and where that line is by now."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hotload_tui.core.plugin import Fault, Frame, PluginStatus

ENTRY: Final = "plugin.py"


def failing_file(status: PluginStatus) -> str:
    """Return the plugin's file, relative to its folder, that a user wants to see first."""
    return _own_place(status)[0]


def failing_line(status: PluginStatus, disk: str | None) -> int:
    """Return the line of ``failing_file`` to open; where it is now, if the file has changed since."""
    _, place = _own_place(status)
    if place is None:
        return 1
    return (line_now(place, disk) if disk is not None else None) or place.line or 1


def _own_place(status: PluginStatus) -> tuple[str, Frame | None]:
    """Return the file and the frame in it; its entry, if the fault is nowhere in the plugin's folder."""
    place = status.fault.place if status.fault else None
    folder = Path(status.path).absolute()
    file = Path(place.file).absolute() if place else folder
    if place is None or file == folder or not file.is_relative_to(folder):
        return ENTRY, None
    return file.relative_to(folder).as_posix(), place


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


def own_causes(fault: Fault) -> tuple[Fault, ...]:
    """Return what belongs to a fault, without echoes: an error reported twice is one error."""
    causes: list[Fault] = []
    for cause in fault.causes:
        causes.extend(own_causes(cause) if _is_echo(cause, fault) else (cause,))
    return tuple(causes)


def _is_echo(cause: Fault, fault: Fault) -> bool:
    if cause.relation != "context" or (cause.type, cause.message) != (fault.type, fault.message):
        return False
    return _spot(cause) == _spot(fault)


def _spot(fault: Fault) -> tuple[str, int]:
    return (fault.place.file, fault.place.line) if fault.place else ("", 0)
