"""The order in which a fault and its causes are shown, root cause first, and the line that they lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from hotload_tui.core.model import Fault, Frame, PluginStatus

_LONGEST_CYCLE: Final = 4
_FEWEST: Final = 3
"""How often frames must repeat to be shown once."""

_RELATIONS: Final = {"cause": "caused by the above", "context": "raised while the above was handled"}


class Part(NamedTuple):
    """One exception of a fault, or its frames alone."""

    fault: Fault
    relation: str
    """How it relates to the parts before it; empty for the first part."""
    is_titled: bool = True
    """Whether the type and the message are shown."""
    frames: Sequence[Frame] = ()
    """The frames to show, the newest first."""


def chain_of(fault: Fault) -> tuple[Fault, ...]:
    """Return a fault and the exceptions that it passes on, the root cause last.

    An exception that a ``raise`` in an ``except`` block replaces is a cause. One that was being handled when
    other code failed is none: that other code is to be fixed.
    """
    chain = [fault]
    while cause := next((each for each in own_causes(chain[-1]) if _passes_on(chain[-1], each)), None):
        chain.append(cause)
    return tuple(chain)


def _passes_on(fault: Fault, cause: Fault) -> bool:
    if cause.relation == "cause":
        return True
    if cause.relation != "context" or not (fault.frames and cause.frames):
        return False
    raising, trying = fault.frames[-1], cause.frames[0]
    index = raising.line - raising.first_line
    line = raising.lines[index] if 0 <= index < len(raising.lines) else ""
    is_same = (raising.file, raising.function) == (trying.file, trying.function)
    return is_same and line.strip().startswith("raise")


def parts_of(fault: Fault, relation: str = "") -> Iterator[Part]:
    """Yield the exceptions of a fault: the root cause first, the members of a group before its frames."""
    chain = chain_of(fault)
    for index, each in enumerate(reversed(chain)):
        relation = _RELATIONS[chain[-index].relation] if index else relation
        frames = each.frames[::-1]
        causes = own_causes(each)
        members = [cause for cause in causes if cause.relation == "member"]
        yield Part(each, relation, frames=() if members else frames)
        for number, member in enumerate(members, 1):
            yield from parts_of(member, f"{number} of {len(members)} in the group")
        if members and frames:
            yield Part(each, "the group", is_titled=False, frames=frames)
        for cause in causes:
            if cause not in members and not (index and cause is chain[-index]):
                yield from parts_of(cause, "while this was being handled")


def first_frame(fault: Fault) -> Frame | None:
    """Return the frame to open first: the plugin's newest one, of the first exception that has one."""
    own = (frame for part in parts_of(fault) for frame in part.frames if frame.owner == "plugin")
    return next(own, fault.place)


class Run(NamedTuple):
    """A frame, and how many equal frames it stands for."""

    frame: Frame
    times: int


def runs_of(frames: Sequence[Frame]) -> Iterator[Run]:
    """Yield the frames; frames that repeat, alone or in turn with a few others, come once."""
    at = 0
    while at < len(frames):
        cycle, times = next((found for found in _cycles(frames, at) if found[1] >= _FEWEST), (1, 1))
        for place in range(at, at + cycle):
            every = frames[place : at + cycle * times : cycle]
            yield Run(frames[place], sum(frame.repeats for frame in every))
        at += cycle * times


def _cycles(frames: Sequence[Frame], at: int) -> Iterator[tuple[int, int]]:
    """Yield each possible length of a cycle that begins at ``at``, and how often it repeats."""
    for cycle in range(1, _LONGEST_CYCLE + 1):
        end = at + cycle
        while end < len(frames) and _spot(frames[end]) == _spot(frames[end - cycle]):
            end += 1
        yield cycle, (end - at) // cycle


def _spot(frame: Frame) -> tuple[str, int, str, str, int]:
    return frame.owner, frame.line, frame.file, frame.function, frame.column


def failing_file(status: PluginStatus) -> str:
    """Return the plugin's file to open first, relative to the plugin's folder."""
    return _own_place(status)[0]


def failing_line(status: PluginStatus, disk: str | None) -> int:
    """Return the line of ``failing_file`` to open: its number on disk now, if the file has changed since."""
    _, place = _own_place(status)
    if place is None:
        return 1
    return (line_now(place, disk) if disk is not None else None) or place.line or 1


def _own_place(status: PluginStatus) -> tuple[str, Frame | None]:
    """Return the fault's file and frame; the entry without a frame, if the fault is not in the plugin."""
    place = first_frame(status.fault) if status.fault else None
    own, folder = Path(status.path).absolute(), status.folder.absolute()
    file = Path(place.file).absolute() if place else folder
    if place is None or file == folder or not file.is_relative_to(own):
        return status.entry, None
    return file.relative_to(folder).as_posix(), place


def line_now(place: Frame, disk: str) -> int | None:
    """Return the failing line's number in the text on disk; ``None`` if the text does not contain it."""
    index = place.line - place.first_line
    if not 0 <= index < len(place.lines):
        return None
    wanted = place.lines[index]
    lines = disk.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = [number for number, line in enumerate(lines, 1) if line == wanted]
    return min(found, key=lambda number: abs(number - place.line), default=None)


def moved_text(fault: Fault, disk: str | None) -> str:
    """Return a message if the failing line has moved or gone since the failure, else an empty text."""
    place = first_frame(fault)
    if place is None or disk is None or not place.lines:
        return ""
    now = line_now(place, disk)
    if now is None:
        return f"the file has changed since: it no longer contains the text of line {place.line}"
    return "" if now == place.line else f"the file has changed since: line {place.line} is line {now} now"


def own_causes(fault: Fault) -> tuple[Fault, ...]:
    """Return a fault's causes without echoes: an error that was reported twice is one error."""
    causes: list[Fault] = []
    for cause in fault.causes:
        causes.extend(own_causes(cause) if _is_echo(cause, fault) else (cause,))
    return tuple(causes)


def _is_echo(cause: Fault, fault: Fault) -> bool:
    if cause.relation != "context" or (cause.type, cause.message) != (fault.type, fault.message):
        return False
    here, there = cause.place, fault.place
    if here is None or there is None:
        return here is there
    return (here.file, here.line) == (there.file, there.line)
