"""Results of commands: as text for users, as JSON for programs, and as an exit code."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from hotload_tui.cli import output
from hotload_tui.core.errors import HotloadError, near
from hotload_tui.core.model import (
    Fault,
    Frame,
    Invocation,
    LogLine,
    PluginState,
    PluginStatus,
    release_advice,
)
from hotload_tui.tui.chain import own_causes

_FRAMES: Final = 8  # maximum number of the plugin's frames that are shown; older ones are cut
_COLUMNS: Final = ("STATE", "PLUGIN", "GEN", "DIGEST", "COMPILE", "LOAD", "HOOKS")
_DIGEST: Final = 12


def is_failed(status: PluginStatus) -> bool:
    """Return whether the newest build or load of the plugin failed."""
    if status.state in (PluginState.FAIL, PluginState.STALE):
        return True
    return status.fault is not None and status.fault.phase in (
        "discover",
        "compile",
        "test",
        "load",
        "register",
    )


def table(statuses: Sequence[PluginStatus]) -> list[str]:
    """Return a heading and a line for each plugin."""
    rows = [_COLUMNS, *(_row(status) for status in statuses)]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(map(_pad, row, widths)).rstrip() for row in rows]


def fault_lines(fault: Fault) -> Iterator[str]:
    """Describe a fault with the source lines of its frames; its causes follow, indented."""
    yield f"{fault.plugin}: {fault.phase}: {fault.type}: {fault.message}"
    yield from _body(fault)


def brief(fault: Fault, live: int = 0) -> str:
    """Describe a fault in one line, with its generation unless that is the ``live`` one."""
    place = fault.place
    where = "" if place is None else f" ({_where(place)})"
    first_line = fault.message.partition("\n")[0]
    return f"{fault.step(live)}: {fault.type}: {first_line}{where}"


def folder(path: str) -> str:
    """Return the path of a folder with a slash at its end."""
    return near(path).rstrip("/") + "/"


def log_line(line: LogLine) -> str:
    """Return a log line with its time of day, its plugin (if any), and its level (unless ``info``)."""
    clock = time.strftime("%H:%M:%S", time.localtime(line.at))
    level = "" if line.level == "info" else f"{line.level}: "
    return f"{clock} {line.plugin}: {level}{line.text}" if line.plugin else f"{clock} {level}{line.text}"


def _body(fault: Fault) -> Iterator[str]:
    for frame in _shown(fault):
        yield from _frame_lines(frame)
    for note in fault.notes:
        yield f"  note: {note}"
    for cause in own_causes(fault):
        relation = {"cause": "caused by ", "context": "while handling "}.get(cause.relation, "")
        yield f"  {relation}{cause.type}: {cause.message}"
        yield from (f"  {line}" for line in _body(cause))


def _shown(fault: Fault) -> list[Frame]:
    """Return the plugin's own frames, else the fault's place: other frames rarely concern the user."""
    own = [frame for frame in fault.frames if frame.owner == "plugin"]
    if own:
        return own[-_FRAMES:]
    return [] if fault.place is None else [fault.place]


def _frame_lines(frame: Frame) -> Iterator[str]:
    yield f"  {_where(frame)}, in {frame.function}" if frame.function else f"  {_where(frame)}"
    index = frame.line - frame.first_line
    if not 0 <= index < len(frame.lines):
        return
    source = frame.lines[index]
    margin = len(source) - len(source.lstrip())
    number = str(frame.line)
    yield f"    {number} | {source[margin:].rstrip()}"
    carets = _carets(frame, source, margin)
    if carets:
        yield f"    {' ' * len(number)} | {carets}"


def _where(frame: Frame) -> str:
    return f"{near(frame.file)}:{frame.line}" if frame.line else near(frame.file)


def _carets(frame: Frame, source: str, margin: int) -> str:
    if frame.column < 0:
        return ""
    is_one_line = frame.end_line in (0, frame.line)
    end = frame.end_column if is_one_line and frame.end_column > frame.column else 0
    marked = source[frame.column : end] if end else source[frame.column :].rstrip()
    begins_only = is_one_line and not end  # the end is unknown
    length = 1 if begins_only else max(1, _width(marked))
    before = "".join(
        sign if sign == "\t" else " " * _width(sign) for sign in source[margin : max(margin, frame.column)]
    )
    return before + "^" * length


def _row(status: PluginStatus) -> tuple[str, ...]:
    return (
        status.sign,
        status.name,
        str(status.generation or "-"),
        (status.digest or status.source_digest)[:_DIGEST] or "-",
        _milliseconds(status.compile_seconds),
        _milliseconds(status.load_seconds),
        " ".join(f"{place.point}:{place.priority}" for place in status.points) or "-",
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds else "-"


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return the number of terminal columns of a text."""
    return sum(
        0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )


def call_record(invocation: Invocation) -> dict[str, object]:
    """Return a call as ``call --json`` prints it."""
    faults = [{**_fault_record(fault), "plugin": fault.plugin} for fault in invocation.faults]
    return {"values": invocation.values, "faults": faults, "seconds": invocation.seconds}


def _plugin_record(status: PluginStatus) -> dict[str, object]:
    """Return a plugin as ``status --json`` and ``check --json`` print it."""
    return {
        "name": status.name,
        "state": status.state.value,
        "digest": status.digest,
        "generation": status.generation,
        "compile_ms": round(status.compile_seconds * 1000, 3),
        "load_ms": round(status.load_seconds * 1000, 3),
        "points": status.points,
        "fault": None if status.fault is None else _fault_record(status.fault),
        "held": status.held,
        "suspected": status.suspected,
        "waits": status.waits,
        "old": status.old,
        "memory": status.memory,
        "left": status.left,
        "outdated": status.outdated,
        "reload": status.reload or "swap",
        "gap_ms": round(status.gap_seconds * 1000, 3),
    }


def _fault_record(fault: Fault) -> dict[str, object]:
    """Return a fault with the place that a user needs first; ``file`` is empty and ``line`` 0 if unknown."""
    place = fault.place
    return {
        "phase": fault.phase,
        "type": fault.type,
        "message": fault.message,
        "file": "" if place is None else place.file,
        "line": 0 if place is None else place.line,
        "generation": fault.generation,
        "point": fault.point,
        "arguments": fault.arguments,
    }


def show(statuses: Sequence[PluginStatus], *, as_json: bool = False) -> None:
    """Print plugins on standard output: a table, or one JSON object."""
    if as_json:
        output.standard().record({"plugins": [_plugin_record(status) for status in statuses]})
        return
    for line in table(statuses):
        output.standard().line(output.printable(line))


def remarks(status: PluginStatus) -> Iterator[str]:
    """Describe why a plugin is HELD, suspected or waits, what earlier versions left, and how it reloads."""
    if status.held:
        advice = release_advice(status.name, by_fault=status.is_held_by_fault)
        yield f"held: {status.held}; {advice}"
    if status.suspected:
        yield f"suspected: {status.suspected}"
    if status.waits:
        yield f"waits: {status.waits}"
    if status.old:
        yield status.old
    if status.memory not in ("", "freed"):
        yield f"an earlier version is in memory: {status.memory}"
    yield from (f"an earlier version left {left}" for left in status.left)
    yield from status.outdated
    if status.reload == "replace":
        gap = f"; the last gap without a live version was {_milliseconds(status.gap_seconds)}"
        yield f'reload = "replace": it leaves before a new version loads{gap if status.gap_seconds else ""}'


def verdict(statuses: Sequence[PluginStatus]) -> int:
    """Print the faults of failed plugins on standard error, and return the exit code."""
    failed = [status for status in statuses if is_failed(status)]
    for status in failed:
        if status.fault is not None:
            for line in fault_lines(status.fault):
                output.narrate(line)
    return HotloadError.exit_code if failed else 0
