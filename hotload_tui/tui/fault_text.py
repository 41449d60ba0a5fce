"""A ``Fault`` as text for the Error tab: source only from the fault, carets under the exact expression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from rich.cells import cell_len
from textual.content import Content
from textual.style import Style

from hotload_tui.core.plugin import Fault, Frame, PluginState, PluginStatus
from hotload_tui.tui.colouring import coloured
from hotload_tui.tui.places import own_causes
from hotload_tui.tui.text import LONGEST_LINE, clean, clean_line, clean_lines, clock_time, count, short_path

_NEAR: Final = 2
"""Lines shown around a failing one while frames are folded."""

_PLACE: Final = Style(bold=True, underline=True)

_MESSAGE_LINES: Final = 40

_LIBRARY_FOLDER: Final = re.compile(r"^.*/(?:python3\.\d+|site-packages|dist-packages)/")
"""What all files of libraries have in front of their name; on a narrow screen it would hide the name."""

_RELATIONS: Final = {
    "": "",
    "cause": "caused by",
    "context": "while this was being handled",
    "member": "in the group",
}


class FaultOptions(NamedTuple):
    """How much of a fault is shown."""

    project: Path
    width: int = 80
    """Cells: prose is wrapped to it, source is not."""
    locals: bool = False
    folded: bool = True


def fault_text(status: PluginStatus, fault: Fault, moved: str, options: FaultOptions) -> Content:
    """Return the whole report; ``moved`` says where the failing line is now, if the file has changed."""
    head = [*_head(fault, options), _facts(fault), _serving(status)]
    if moved:
        head.append(Content.styled(moved, "$text-warning"))
    return Content("\n").join([*head, *_blocks(fault, options)])


def _head(fault: Fault, options: FaultOptions) -> Iterator[Content]:
    for line in _head_lines(fault):
        yield from line.wrap(max(20, options.width)) if line else [line]


def _head_lines(fault: Fault) -> Iterator[Content]:
    first, *more = clean_lines(fault.message)[:_MESSAGE_LINES]
    title = f"{clean_line(fault.type, 100)}: {first}" if first else clean_line(fault.type, 100)
    yield Content.styled(title, "bold $text-error")
    for line in more:
        yield Content.styled(line, "$text-error")
    for note in fault.notes:
        for line in clean_lines(note)[:_MESSAGE_LINES]:
            yield Content.styled(line, "$text-warning")


def _facts(fault: Fault) -> Content:
    return Content(f"in {fault.phase} of {clean_line(fault.plugin, 100)}, at {clock_time(fault.at)}")


def _serving(status: PluginStatus) -> Content:
    if not status.generation:
        return Content.styled("nothing running", "bold")
    return Content.styled(
        f"still running {clean_line(status.digest[:12])} (generation {status.generation}),"
        f" loaded {clock_time(status.loaded_at)}"
        if status.state is not PluginState.OK
        else f"running {clean_line(status.digest[:12])} (generation {status.generation})",
        "bold",
    )


def _blocks(fault: Fault, options: FaultOptions) -> Iterator[Content]:
    yield from _frames(fault, options)
    causes = own_causes(fault)
    for number, cause in enumerate(causes, 1):
        relation = _RELATIONS[cause.relation]
        if cause.relation == "member":
            members = sum(other.relation == "member" for other in causes)
            relation = f"{number} of {members} {relation}"
        yield Content("")
        yield Content.styled(relation, "$foreground-muted italic")
        yield from _head(cause, options)
        yield from _blocks(cause, options)


def _frames(fault: Fault, options: FaultOptions) -> Iterator[Content]:
    """Yield the frames newest first; those of host and libraries folded, unless there are no others."""
    own = any(frame.owner == "plugin" for frame in fault.frames)
    fold = options.folded and own
    for plugins, group in groupby(reversed(fault.frames), lambda frame: frame.owner == "plugin"):
        frames = list(group)
        if fold and not plugins:
            yield Content("")
            yield Content.styled(
                f"{count(len(frames), 'frame')} of the host and libraries folded (x shows)",
                "$foreground-muted",
            )
            continue
        for frame in frames:
            yield Content("")
            yield from _frame(frame, options)


def _frame(frame: Frame, options: FaultOptions) -> Iterator[Content]:
    place = short_path(frame.file, options.project)
    if frame.owner == "library":
        place = _LIBRARY_FOLDER.sub("", place)
    aim = Style.from_meta({"@click": ("screen.edit_at", (frame.file, frame.line))})
    if frame.line:
        place = f"{place}:{frame.line}"
    function = f" in {clean_line(frame.function, 200)}" if frame.function else ""
    owner = "" if frame.owner == "plugin" else f"{frame.owner} "
    yield Content.assemble((owner, "$foreground-muted"), (place, _PLACE + aim), function)
    if frame.lines:
        yield from _source(frame, options)
    else:
        yield Content.styled("  its source is not known", "$foreground-muted")
    if options.locals:
        yield from _locals(frame)


def _source(frame: Frame, options: FaultOptions) -> Iterator[Content]:
    last = frame.first_line + len(frame.lines) - 1
    near = _NEAR if options.folded else len(frame.lines)
    low = max(frame.first_line, frame.line - near)
    high = min(last, max(frame.line, min(frame.end_line, frame.line + near)) + near)
    # The whole piece is coloured at once: a string may begin above the failing line.
    texts = [clean_line(clean(line).expandtabs(4)) for line in frame.lines]
    source = coloured(texts)
    width = len(str(high))
    for number in range(low, high + 1):
        index = number - frame.first_line
        failing = frame.line <= number <= max(frame.line, frame.end_line)
        gutter = f"{'>' if failing else ' '} {number:>{width}} | "
        yield Content.assemble(
            (gutter, "bold $text-error" if failing else "$foreground-muted"), source[index]
        )
        if failing and (carets := _carets(frame, number)):
            yield Content.assemble((f"  {'':{width}} | ", "$foreground-muted"), (carets, "bold $text-error"))


def _carets(frame: Frame, number: int) -> str:
    """Return blanks and carets for one line of the failing expression, in cells of the terminal."""
    line = clean(frame.lines[number - frame.first_line])
    start = len(line) - len(line.lstrip())
    end = len(line.rstrip())
    if frame.column < 0:
        return ""
    if number == frame.line:
        start = frame.column
    if number == max(frame.line, frame.end_line) and frame.end_column >= 0:
        end = frame.end_column
    blank = cell_len(line[:start].expandtabs(4)) if start <= len(line) else cell_len(line.expandtabs(4))
    # A syntax error at the end of a line points behind it: one caret at least.
    carets = " " * blank + "^" * max(1, cell_len(line[:end].expandtabs(4)) - blank)
    return carets[:LONGEST_LINE].rstrip()  # as the line above it


def _locals(frame: Frame) -> Iterator[Content]:
    for name, value in frame.locals:
        yield Content.assemble(
            ("    ", ""), (clean_line(name, 80), "$text-accent"), " = ", clean_line(value, 400)
        )
    if not frame.locals:
        yield Content.styled("    no locals", "$foreground-muted")
