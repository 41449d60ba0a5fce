"""``ErrorView``: the newest failure of a plugin, with the source as it was loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.style import Style

from hotload_tui.core.faults import masked_names
from hotload_tui.core.model import Fault, Frame, HostStatus, PluginDetail, PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.chain import Part, Run, chain_of, line_now, moved_text, parts_of, runs_of
from hotload_tui.tui.text import (
    LONGEST_LINE,
    clean,
    clean_line,
    clean_lines,
    clock_time,
    count,
    short_path,
)
from hotload_tui.tui.widgets.files_view import coloured, numbered_line
from hotload_tui.tui.widgets.panes import DetailFacts, TextPane

_NEAR: Final = 2
"""Lines shown before and after a failing line while frames are folded."""

_PLACE: Final = Style(bold=True, underline=True)

_LONG: Final = 10
"""The maximum number of lines of a message or note that is not folded."""

_BEGINNING: Final = 3
"""Lines shown of a folded message or note."""

_LIBRARY_FOLDER: Final = re.compile(r"^.*/(?:python3\.\d+|site-packages|dist-packages)/")
"""The prefix of library files; on a narrow screen, it would hide the file's name."""

_MUTED: Final = "$foreground-muted"


class FaultOptions(NamedTuple):
    """The options that decide how much of a fault is shown."""

    project: Path
    width: int = 80
    """The width in cells to which prose is wrapped; source is not wrapped."""
    height: int = 0
    """The rows in which the first failing line should be visible; 0 if there is no limit."""
    locals: bool = False
    """Whether to show the local variables of the frame under the cursor; without a cursor, of all."""
    folded: bool = True
    cursor: int = -1
    """The number of the frame under the cursor; -1 without a cursor."""


class ShownFrame(NamedTuple):
    """A frame in the text about a fault."""

    number: int
    """Its number among all frames, also those that are folded."""
    frame: Frame
    title: str
    """Type and message of its exception."""
    start: int
    """The row of its place, from 0."""
    end: int
    """The row after its last line."""
    failing: int
    """The row after its failing line and the carets."""


class FaultText:
    """The lines of the text about a fault, and the frames in it."""

    def __init__(self, status: PluginStatus, fault: Fault, moved: str, options: FaultOptions) -> None:
        """Lay the text out; ``moved`` says where the failing line is now, if it moved."""
        self.lines: list[Content] = []
        self.frames: list[ShownFrame] = []
        self._options = options
        self._width = max(20, options.width)
        self._number = 0
        chain = chain_of(fault)
        if len(chain) > 1:
            self._wrap(Content.styled(_chain_line(chain), "bold $text-error"))
        self._title(chain[-1])
        self._facts(fault, status)
        if moved:
            self.lines.append(Content.styled(moved, "$text-warning"))
        parts = list(parts_of(fault))
        owners = {frame.owner for part in parts for frame in part.frames}
        self._parts(parts, folds=options.folded and "plugin" in owners)

    @property
    def content(self) -> Content:
        """The whole text."""
        return Content("\n").join(self.lines)

    @property
    def first(self) -> ShownFrame | None:
        """The frame to open first."""
        own = (shown for shown in self.frames if shown.frame.owner == "plugin")
        return next(own, self.frames[0] if self.frames else None)

    def _wrap(self, line: Content) -> None:
        self.lines += line.wrap(self._width) if line else [line]

    def _title(self, fault: Fault) -> None:
        """Add the type, the message and the notes of an exception; fold what is long."""
        title, *more = _title_lines(fault)
        self._fold(
            [
                Content.styled(title, "bold $text-error"),
                *(Content.styled(line, "$text-error") for line in more),
            ]
        )
        for note in fault.notes:
            self._fold([Content.styled(line, "$text-warning") for line in clean_lines(note)])

    def _fold(self, lines: Iterable[Content]) -> None:
        rows = [row for line in lines for row in (line.wrap(self._width) if line else [line])]
        if self._options.folded and len(rows) > _LONG:
            hidden = count(len(rows) - _BEGINNING, "more line")
            rows[_BEGINNING:] = [Content.styled(f"… {hidden} (x shows)", _MUTED)]
        self.lines += rows

    def _facts(self, fault: Fault, status: PluginStatus) -> None:
        """Add where the fault happened, how its code was called, what is live and what is masked."""
        name = clean_line(fault.plugin, 100)
        if fault.step(status.generation) != fault.phase:
            name += f", generation {fault.generation}"
        facts = [Content(f"in {fault.phase} of {name}, at {clock_time(fault.at)}")]
        if fault.call:
            facts.append(Content(f"called as {clean_line(fault.call, 800)}"))
        facts.append(_serving(status))
        line = facts[0]
        for fact in facts[1:]:
            if line.cell_length + 2 + fact.cell_length <= self._width:
                line = Content.assemble(line, "; ", fact)
            else:
                self._wrap(line)
                line = fact
        self._wrap(line)
        if masked := masked_names(fault):
            names = ", ".join(
                clean_line(name if name.lower() == word else f"{name} ({word})", 80)
                for name, word in sorted(masked.items())
            )
            text = f"masked: {names}: hotload never records values whose names contain such a word"
            self._wrap(Content.styled(text, _MUTED))

    def _parts(self, parts: Iterable[Part], *, folds: bool) -> None:
        """Add the frames of all exceptions; fold those of host and libraries if ``folds``."""
        skipped: list[Part] = []
        for part in parts:
            is_foreign = part.frames and all(frame.owner != "plugin" for frame in part.frames)
            if folds and is_foreign and part.is_titled:
                skipped.append(part)
                self._number += len(list(runs_of(part.frames)))
                continue
            self._skipped(skipped)
            skipped = []
            if part.relation:
                self.lines += [Content(), Content.styled(part.relation, f"{_MUTED} italic")]
                if part.is_titled:
                    self._title(part.fault)
            self._frames(part, folds=folds)
        self._skipped(skipped)

    def _skipped(self, parts: Sequence[Part]) -> None:
        """Add one line for exceptions that only the host and libraries have seen."""
        if not parts:
            return
        names = ", ".join(clean_line(part.fault.printed_type, 100) for part in parts if part.relation)
        frames = sum(frame.repeats for part in parts for frame in part.frames)
        what = f"{count(frames, 'frame')} of the host and libraries"
        text = f"{names} and {what} folded (x shows)" if names else f"{what} folded (x shows)"
        self.lines.append(Content())
        self._wrap(Content.styled(text, _MUTED))

    def _frames(self, part: Part, *, folds: bool) -> None:
        """Add the frames of an exception, the newest first; a line about folded frames is close to one."""
        is_below = False
        for plugins, group in groupby(runs_of(part.frames), lambda run: run.frame.owner == "plugin"):
            runs = list(group)
            if folds and not plugins:
                number = sum(run.times for run in runs)
                text = f"{count(number, 'frame')} of the host and libraries folded (x shows)"
                self.lines += [Content(), Content.styled(text, _MUTED)]
                self._number += len(runs)
                is_below = True
                continue
            for run in runs:
                self.lines += [] if is_below else [Content()]
                self._frame(run, _title_lines(part.fault)[0])
                self._number, is_below = self._number + 1, False

    def _frame(self, run: Run, title: str) -> None:
        start, frame, options = len(self.lines), run.frame, self._options
        is_here = self._number == options.cursor
        self.lines.append(_place(run, options.project, is_here=is_here))
        room = options.height - len(self.lines) - 2 if options.height and not self.frames else _NEAR
        failing = len(self.lines)
        if frame.lines:
            for line, is_failing in _source(frame, max(0, min(_NEAR, room)), is_folded=options.folded):
                self.lines.append(line)
                failing = len(self.lines) if is_failing else failing
        else:
            self.lines.append(Content.styled("  its source is not known", _MUTED))
        if options.locals and (is_here or options.cursor < 0):
            self.lines += _locals(frame)
        self.frames.append(ShownFrame(self._number, frame, title, start, len(self.lines), failing))


def fault_text(status: PluginStatus, fault: Fault, moved: str, options: FaultOptions) -> Content:
    """Return the whole text about a fault; ``moved`` says where the failing line is now, if it moved."""
    return FaultText(status, fault, moved, options).content


def _chain_line(chain: Sequence[Fault]) -> str:
    """Return the types of a chain, the newest exception first, and the message of the root cause."""
    names = [clean_line(fault.printed_type, 100) for fault in chain[:-1]]
    if len(names) > _CHAIN:
        names[_CHAIN // 2 : -_CHAIN // 2] = ["…"]
    return " ← ".join([*names, _title_lines(chain[-1])[0]])


_CHAIN: Final = 6
"""The maximum number of exceptions that are named before the root cause."""


def _title_lines(fault: Fault) -> list[str]:
    """Return the type and the message of an exception, as Python prints them."""
    first, *more = clean_lines(fault.message)
    name = clean_line(fault.printed_type, 100)
    return [f"{name}: {first}" if first else name, *more]


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


def _place(run: Run, project: Path, *, is_here: bool) -> Content:
    """Return the line with the place of a frame; a sign marks the frame under the cursor."""
    frame = run.frame
    place = short_path(frame.file, project)
    if frame.owner == "library":
        place = _LIBRARY_FOLDER.sub("", place)
    aim = Style.from_meta({"@click": ("screen.edit_at", (frame.file, frame.line))})
    if frame.line:
        place = f"{place}:{frame.line}"
    function = f" in {clean_line(frame.function, 200)}" if frame.function else ""
    owner = "" if frame.owner == "plugin" else f"{frame.owner} "
    times = f"  \N{MULTIPLICATION SIGN} {run.times:,}" if run.times > 1 else ""
    return Content.assemble(
        ("▶ " if is_here else "", "bold $text-accent"),
        (owner, _MUTED),
        (place, _PLACE + aim),
        function,
        (times, "bold"),
    )


def _source(frame: Frame, above: int, *, is_folded: bool) -> Iterator[tuple[Content, bool]]:
    """Yield the lines of source and the carets, each with whether it belongs to the failing expression.

    If the source is folded, it begins at most ``above`` lines above the failing one.
    """
    last = frame.first_line + len(frame.lines) - 1
    near = _NEAR if is_folded else len(frame.lines)
    low = max(frame.first_line, frame.line - (above if is_folded else near))
    end = max(frame.line, frame.end_line)
    high = min(last, max(frame.line, min(end, frame.line + near)) + near)
    # Colour all lines at once: a string may begin above the failing line.
    texts = [clean_line(clean(line).expandtabs(4)) for line in frame.lines]
    is_python = frame.file.endswith((".py", ">"))  # not a template
    source = coloured(texts) if is_python else [Content(text) for text in texts]
    width = len(str(high))
    for number in range(low, high + 1):
        failing = frame.line <= number <= end
        yield numbered_line(number, width, source[number - frame.first_line], is_failing=failing), failing
        if failing and (carets := _carets(frame, number)):
            blank = f"  {'':{width}} | "
            yield Content.assemble((blank, _MUTED), (carets, "bold $text-error")), True
    if high < end:
        shows = " (x shows them)" if is_folded and high < last else ""
        text = f"  {'':{width}} … {count(end - high, 'more line')} of this expression{shows}"
        yield Content.styled(text, _MUTED), False


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
    """Shows a plugin's fault until the fault is fixed; a cursor marks one of its frames."""

    BINDINGS = keys.ERROR
    KIND = "error"

    @dataclass
    class EditWanted(Message):
        """The user wants to edit the code of the frame under the cursor."""

        file: str
        line: int

    def __init__(self, project: Path) -> None:
        super().__init__()
        self._options = FaultOptions(project)
        self._is_opening = True
        """Whether to bring the first frame on the screen when the text is drawn."""

    @property
    def _fault(self) -> Fault | None:
        return self.facts.status.fault if self.facts.status else None

    def shown_facts(self, facts: DetailFacts) -> object:
        """Return the plugin, its file, and the other plugins that have a fault."""
        return facts.status, facts.closeup.source, facts.faulty

    def show(self, facts: DetailFacts) -> None:
        """Show the plugin's fault; open another fault at its first frame."""
        before = self._fault
        after = facts.status.fault if facts.status else None
        if before != after:
            self._is_opening = True
            self._options = self._options._replace(cursor=-1)
        super().show(facts)

    def redraw(self) -> None:
        """Draw the text, and bring the first frame of another fault on the screen."""
        super().redraw()
        if self._is_opening and not self._is_due:
            self._is_opening = False
            self.scroll_home(animate=False)
            self.call_after_refresh(self._open)

    def _open(self) -> None:
        """Scroll just as far as the failing line of the first frame needs."""
        text = self._fault_text()
        if text and text.first and not self.filter and self.scroll_y == 0:
            # The failing line and the line below it are visible, and the frame's place in any case.
            height = self.scrollable_content_region.height
            self.scroll_to(y=max(0, min(text.first.start, text.first.failing - height)), animate=False)

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the message to the new width, and keep the first failing line on the screen."""
        options = self._options._replace(
            width=event.size.width - 3, height=self.scrollable_content_region.height
        )
        if options != self._options:
            self._options = options
            self.redraw()

    def text_to_copy(self) -> str:
        """Return the frame under the cursor with its exception, or the whole fault if it has no frames."""
        text = self._fault_text()
        here = self._here(text)
        if text is None or here is None:
            return text.content.plain if text else ""
        rows = [line.plain for line in text.lines[here.start : here.end]]
        return "\n".join([here.title, rows[0].removeprefix("▶ "), *rows[1:]])

    def text(self) -> Content:
        """Return the lines that match the filter."""
        text = self._fault_text()
        if text is None:
            return Content("\n").join(Content(self._nothing()).wrap(max(20, self._options.width)))
        return self.of_lines(text.content)

    def _fault_text(self) -> FaultText | None:
        status, source = self.facts.status, self.facts.closeup.source
        if status is None or status.fault is None:
            return None
        moved = moved_text(status.fault, source.disk) if source else ""
        text = FaultText(status, status.fault, moved, self._options)
        if self._options.cursor < 0 and text.first:
            self._options = self._options._replace(cursor=text.first.number)
            text = FaultText(status, status.fault, moved, self._options)
        return text

    def _here(self, text: FaultText | None) -> ShownFrame | None:
        """Return the frame under the cursor."""
        frames = text.frames if text else ()
        return next((shown for shown in frames if shown.number == self._options.cursor), None)

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
        """Show or hide the local variables of the frame under the cursor."""
        if self._fault is None or not any(frame.locals for frame in _all_frames(self._fault)):
            self.notify("No local variables were recorded for this.", markup=False)
            return
        self._options = self._options._replace(locals=not self._options.locals)
        self.redraw()

    def action_next_frame(self, by: int) -> None:
        """Move the cursor to the next frame (``by`` is 1), or to the previous one (-1)."""
        text = self._fault_text()
        frames = text.frames if text else []
        target = self._target(frames, by)
        if not 0 <= target < len(frames):
            self.notify("This is the last frame." if by > 0 else "This is the first frame.", markup=False)
            return
        self._options = self._options._replace(cursor=frames[target].number)
        self.redraw()
        if not self.filter:
            # At once: the next key looks where the frame under the cursor is.
            self.scroll_to(y=frames[target].start if target else 0, animate=False, immediate=True)

    def _target(self, frames: Sequence[ShownFrame], by: int) -> int:
        """Return the index of the frame to go to; a cursor that is not on the screen comes there first.

        Then it is the first frame that begins on the screen if ``by`` is 1, and the last one if it is -1.
        """
        top, bottom = self.scroll_y, self.scroll_y + self.scrollable_content_region.height
        seen = [i for i, shown in enumerate(frames) if shown.start < bottom and shown.end > top]
        here = next((i for i, shown in enumerate(frames) if shown.number == self._options.cursor), 0)
        if not seen or self.filter or here in seen:
            return here + by
        whole = [i for i in seen if frames[i].start >= top] or seen
        return whole[0] if by > 0 else whole[-1]

    async def action_edit_frame(self) -> None:
        """Open the editor at the frame under the cursor; without one, as the table does."""
        text, source = self._fault_text(), self.facts.closeup.source
        here = self._here(text)
        if here is None or text is None or here == text.first:
            await self.run_action("screen.run('actions.edit')")
            return
        frame, disk = here.frame, source.disk if source else None
        is_known = disk is not None and source is not None and frame.file.endswith(source.file)
        line = line_now(frame, disk) if is_known and disk is not None else None
        self.post_message(self.EditWanted(frame.file, line or frame.line or 1))

    def action_toggle_frames(self) -> None:
        """Show or fold the frames of host and libraries, long messages, and lines around the failing ones."""
        if self._fault is None or not (self._fault.frames or self._fault.causes or self._fault.message):
            self.notify("There are no frames to show or fold.", markup=False)
            return
        self._options = self._options._replace(folded=not self._options.folded)
        self.redraw()


def _all_frames(fault: Fault) -> list[Frame]:
    frames = list(fault.frames)
    for cause in fault.causes:
        frames.extend(_all_frames(cause))
    return frames
