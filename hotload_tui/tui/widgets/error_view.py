"""``ErrorView``: the newest failure of a plugin, with the source as it was loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.style import Style

from hotload_tui.core.faults import masked_names
from hotload_tui.core.model import Fault, Frame, HostStatus, PluginDetail, PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.text import (
    LONGEST_LINE,
    clean,
    clean_line,
    clean_lines,
    clock_time,
    count,
    moved_text,
    own_causes,
    short_path,
)
from hotload_tui.tui.widgets.files_view import coloured, numbered_line
from hotload_tui.tui.widgets.panes import DetailFacts, TextPane

_NEAR: Final = 2
"""Lines shown before and after a failing line while frames are folded."""

_PLACE: Final = Style(bold=True, underline=True)

_MESSAGE_LINES: Final = 40

_LIBRARY_FOLDER: Final = re.compile(r"^.*/(?:python3\.\d+|site-packages|dist-packages)/")
"""The prefix of library files; on a narrow screen, it would hide the file's name."""

_RELATIONS: Final = {
    "": "",
    "cause": "caused by",
    "context": "while this was being handled",
    "member": "in the group",
}


class FaultOptions(NamedTuple):
    """The options that decide how much of a fault is shown."""

    project: Path
    width: int = 80
    """The width in cells to which prose is wrapped; source is not wrapped."""
    locals: bool = False
    folded: bool = True


def fault_text(status: PluginStatus, fault: Fault, moved: str, options: FaultOptions) -> Content:
    """Return the whole text about a fault; ``moved`` says where the failing line is now, if it moved."""
    head = [*_head(fault, options), *_facts(fault, status, options), _serving(status)]
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


def _facts(fault: Fault, status: PluginStatus, options: FaultOptions) -> Iterator[Content]:
    name = clean_line(fault.plugin, 100)
    if fault.step(status.generation) != fault.phase:
        name += f", generation {fault.generation}"
    yield Content(f"in {fault.phase} of {name}, at {clock_time(fault.at)}")
    if fault.call:
        yield from Content(f"called as {clean_line(fault.call, 800)}").wrap(max(20, options.width))
    if masked := masked_names(fault):
        names = ", ".join(
            clean_line(name if name.lower() == word else f"{name} ({word})", 80)
            for name, word in sorted(masked.items())
        )
        text = f"masked: {names}: hotload never records values whose names contain such a word"
        yield from Content.styled(text, "$foreground-muted").wrap(max(20, options.width))


def _serving(status: PluginStatus) -> Content:
    if not status.generation:
        return Content.styled("nothing running", "bold")
    return Content.styled(
        f"still running {clean_line(status.digest[:12])} (generation {status.generation}),"
        f" loaded {clock_time(status.loaded_at)}"
        if status.state not in (PluginState.OK, PluginState.OLD)
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
    """Yield the frames, newest first; fold those of host and libraries, unless there are no others."""
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
    # Colour all lines at once: a string may begin above the failing line.
    texts = [clean_line(clean(line).expandtabs(4)) for line in frame.lines]
    source = coloured(texts)
    width = len(str(high))
    for number in range(low, high + 1):
        failing = frame.line <= number <= max(frame.line, frame.end_line)
        yield numbered_line(number, width, source[number - frame.first_line], is_failing=failing)
        if failing and (carets := _carets(frame, number)):
            yield Content.assemble((f"  {'':{width}} | ", "$foreground-muted"), (carets, "bold $text-error"))


def _carets(frame: Frame, number: int) -> str:
    """Return the blanks and carets below one line of the failing expression, in terminal cells."""
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
    # A syntax error at the end of a line points behind the line, so draw at least one caret.
    carets = " " * blank + "^" * max(1, cell_len(line[:end].expandtabs(4)) - blank)
    return carets[:LONGEST_LINE].rstrip()  # cut like the source line


def _locals(frame: Frame) -> Iterator[Content]:
    for name, value in frame.locals:
        yield Content.assemble(
            ("    ", ""), (clean_line(name, 80), "$text-accent"), " = ", clean_line(value, 400)
        )
    if not frame.locals:
        yield Content.styled("    no locals", "$foreground-muted")


LINES: Final = 20
"""Log lines at the end of a report."""
_WIDE: Final = 100


class FailureReport(NamedTuple):
    """The report about one plugin, for an issue."""

    status: PluginStatus
    host: HostStatus
    detail: PluginDetail | None
    lines: Sequence[str]
    """The newest lines of the log."""
    project: Path

    def plain(self) -> str:
        """Return the report as plain text."""
        parts = [f"hotload report: {clean_line(self.status.name, 200)} is {self.status.state}"]
        parts += [f"  {label:<11} {value}" for label, value in self._facts()]
        for title, lines in self._sections():
            parts += ["", f"--- {title}", *lines]
        return clean("\n".join(parts))

    def markdown(self) -> str:
        """Return the report as Markdown."""
        parts = [f"### {_escaped(clean_line(self.status.name, 200))} is {self.status.state}", ""]
        parts += ["| | |", "|---|---|"]
        parts += [f"| {label} | {_escaped(value)} |" for label, value in self._facts()]
        for title, lines in self._sections():
            fence = _fence(lines)
            parts += ["", f"**{title}**", "", f"{fence}text", *lines, fence]
        return clean("\n".join(parts))

    def _facts(self) -> Iterator[tuple[str, str]]:
        status, host = self.status, self.host
        yield "hotload", f"{host.version}, Python {host.python}"
        yield (
            "running",
            f"{clean_line(status.digest) or 'nothing'} (generation {status.generation or 'none'})",
        )
        yield "on disk", clean_line(status.source_digest) or "unknown"
        if status.held:
            yield "held", clean_line(status.held, 300)
        fault = status.fault
        if fault is not None:
            at = datetime.fromtimestamp(fault.at, tz=UTC)
            yield "failed", f"in {fault.step(status.generation)}, {at:%Y-%m-%d %H:%M:%S} UTC"
        for file in self.detail.files if self.detail else ():
            yield "file", f"{clean_line(file.path, 200)} {file.sha256[:12]}, {count(file.size, 'byte')}"

    def _sections(self) -> Iterator[tuple[str, Sequence[str]]]:
        fault = self.status.fault
        if fault is None:
            yield "traceback", ("there is none: the plugin has no fault",)
        else:
            options = FaultOptions(self.project, _WIDE, folded=False)
            yield "traceback", fault_text(self.status, fault, "", options).plain.split("\n")
        newest = self.lines[-LINES:]
        yield f"last {count(len(newest), 'log line')}", newest


def _escaped(text: str) -> str:
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return text


def _fence(lines: Iterable[str]) -> str:
    """Return a code fence that occurs in none of the lines."""
    fence = "```"
    while any(fence in line for line in lines):
        fence += "`"
    return fence


class ErrorView(TextPane):
    """Shows a plugin's fault until the fault is fixed."""

    BINDINGS = keys.ERROR
    KIND = "error"

    def __init__(self, project: Path) -> None:
        super().__init__()
        self._options = FaultOptions(project)
        self._lines: list[str] = []

    @property
    def _fault(self) -> Fault | None:
        return self.facts.status.fault if self.facts.status else None

    def shown_facts(self, facts: DetailFacts) -> object:
        """Return the plugin, its file, and the other plugins that have a fault."""
        return facts.status, facts.closeup.source, facts.faulty

    def show(self, facts: DetailFacts) -> None:
        """Show the plugin's fault; scroll to the top of another fault."""
        before = self._fault
        super().show(facts)
        if before != self._fault:
            self.scroll_home(animate=False)

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the message to the new width."""
        width = event.size.width - 3
        if width != self._options.width:
            self._options = self._options._replace(width=width)
            self.redraw()

    def text_to_copy(self) -> str:
        """Return the fault as it is shown, but without the filter."""
        text = self._fault_text()
        return text.plain if text else ""

    def text(self) -> Content:
        """Return the lines that match the filter."""
        text = self._fault_text()
        if text is None:
            return Content("\n").join(Content(self._nothing()).wrap(max(20, self._options.width)))
        text = self.of_lines(text)
        self._lines = text.plain.split("\n")
        return text

    def _fault_text(self) -> Content | None:
        status, source = self.facts.status, self.facts.closeup.source
        if status is None or status.fault is None:
            return None
        moved = moved_text(status.fault, source.disk) if source else ""
        return fault_text(status, status.fault, moved, self._options)

    def _nothing(self) -> str:
        status, others = self.facts.status, self.facts.faulty
        who = f"No errors in {clean_line(status.name, 80)}." if status else "No errors."
        if status is not None and status.old:
            who += f" Old code: {clean_line(status.old, 500)}."
        if not others:
            return f"{who} The traceback of the next failure will be here."
        names = ", ".join(clean_line(name, 40) for name in others[:5])
        more = len(others) - 5
        return f"{who} Failures in: {names}" + (f" and {count(more, 'other')}" if more > 0 else "")

    def action_toggle_locals(self) -> None:
        """Show or hide local variables."""
        if self._fault is None or not any(frame.locals for frame in _all_frames(self._fault)):
            self.notify("No local variables were recorded for this.", markup=False)
            return
        self._options = self._options._replace(locals=not self._options.locals)
        self.redraw()

    def action_next_frame(self, by: int) -> None:
        """Scroll to the next frame or cause (``by`` is 1), or to the previous one (-1)."""
        starts = [0, *(number for number, line in enumerate(self._lines, 1) if not line)]
        here = round(self.scroll_y)
        if by > 0:
            later = () if self.is_vertical_scroll_end else starts
            target = min((start for start in later if start > here), default=None)
        else:
            target = max((start for start in starts if start < here), default=None)
        if target is None:
            self.notify("This is the last frame." if by > 0 else "This is the first frame.", markup=False)
        else:
            self.scroll_to(y=target, animate=False)

    def action_toggle_frames(self) -> None:
        """Show or fold the frames of host and libraries, and the lines around the failing lines."""
        if self._fault is None or not self._fault.frames:
            self.notify("There are no frames to show or fold.", markup=False)
            return
        self._options = self._options._replace(folded=not self._options.folded)
        self.redraw()


def _all_frames(fault: Fault) -> list[Frame]:
    frames = list(fault.frames)
    for cause in fault.causes:
        frames.extend(_all_frames(cause))
    return frames
