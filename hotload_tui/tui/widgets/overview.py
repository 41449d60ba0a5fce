"""``Overview``: everything known about one plugin, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from textual.containers import VerticalScroll
from textual.content import Content

from hotload_tui.core.plugin import HandlerStatus, HistoryEntry, PluginDetail, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.text import NO_PLUGIN, clean_line, clock_time, count, duration, milliseconds, short_path
from hotload_tui.tui.widgets.body import Body
from hotload_tui.tui.widgets.narrowed import Narrowed

_LABEL: Final = 12
_BARS: Final = "▁▂▃▄▅▆▇█"
_RELOADS: Final = 30
"""Load times that are drawn."""

Row: TypeAlias = tuple[str, str]
"""A label and its value."""


class Overview(VerticalScroll, Narrowed, can_focus=True):
    """Shows one plugin's facts."""

    BINDINGS = keys.SCROLL
    KIND = "overview"

    def __init__(self, project: Path, clock: Callable[[], float]) -> None:
        super().__init__(Body(NO_PLUGIN, is_wrapped=True))
        self._project = project
        self._clock = clock
        self._facts: tuple[PluginStatus | None, PluginDetail | None] = (None, None)
        self._history: tuple[HistoryEntry, ...] = ()

    def show(
        self,
        status: PluginStatus | None,
        detail: PluginDetail | None,
        history: tuple[HistoryEntry, ...] = (),
    ) -> None:
        """Show this plugin; ``detail`` and ``history`` may come later than its status."""
        if (status, detail, history) != (*self._facts, self._history):
            self._facts, self._history = (status, detail), history
            self._draw()

    def on_mount(self) -> None:
        """Let the age grow."""
        self.set_interval(1, self._draw)

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self._draw()

    def on_show(self) -> None:
        """Draw what came while the tab was hidden."""
        self._draw()

    def draw_anew(self) -> None:
        """Draw the lines that are wanted now."""
        self._draw()

    def text_to_copy(self) -> str:
        """Return all facts."""
        status, detail = self._facts
        return self._text(status, detail).plain if status else ""

    def _draw(self) -> None:
        if not self.is_on_screen:
            return  # whatever is drawn has the whole screen laid out anew
        status, detail = self._facts
        text = self.of_lines(self._text(status, detail)) if status else Content(NO_PLUGIN)
        self.query_one(Body).show(text)

    def _text(self, status: PluginStatus, detail: PluginDetail | None) -> Content:
        width = max(20, self.scrollable_content_region.width - 2)
        title = Content.assemble((clean_line(status.name, 200), "bold"), f"  {status.sign}")
        text = Content(clean_line(detail.description)).wrap(width) if detail and detail.description else []
        rows = [*self._rows(status), *(_details(detail) if detail else ())]
        lines = [line for label, value in rows for line in _row(label, value, width)]
        return Content("\n").join([title, *text, Content(""), *lines])

    def _rows(self, status: PluginStatus) -> Iterator[Row]:
        if status.fault is not None:
            fault = status.fault
            yield ("trouble", f"{clean_line(fault.type, 100)}: {clean_line(fault.message, 300)}")
            yield ("", "press 2 for the traceback")
        yield ("folder", short_path(status.path, self._project))
        yield ("running", clean_line(status.digest) or "nothing")
        same = status.source_digest and status.source_digest == status.digest
        yield ("on disk", "the same" if same else clean_line(status.source_digest) or "unknown")
        yield ("generation", f"{status.generation or 'none'}, {count(status.reloads, 'reload')}")
        if status.loaded_at:
            age = duration(self._clock() - status.loaded_at)
            yield ("loaded", f"{clock_time(status.loaded_at)}, {age} ago")
            build = (
                _took(status.compile_seconds) if status.compile_seconds else "none, the artifact was there"
            )
            yield ("took", f"load {_took(status.load_seconds)}, build {build}")
        if len(self._history) > 1:
            yield ("load times", _load_times(self._history[-_RELOADS:]))
        points = ", ".join(f"{clean_line(place.point, 80)} ({place.priority})" for place in status.points)
        yield ("hook points", points or "none")
        if status.waits:
            yield ("waits", clean_line(status.waits, 300))
        if status.held:
            yield ("held", f"{clean_line(status.held, 300)}; h releases it")
        if status.memory:
            yield ("memory", f"generation before: {clean_line(status.memory, 300)}")
        for left in status.left:
            yield ("left", f"generation before: {clean_line(left, 300)}")


def _load_times(history: Sequence[HistoryEntry]) -> str:
    """Draw a bar for each generation, the newest on the right, and ``!`` for what failed."""
    times = [entry.load_seconds for entry in history if entry.fault is None]
    if not times:
        return "!" * len(history)
    low, high = min(times), max(times)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    bars = "".join(
        "!" if entry.fault else _BARS[round((entry.load_seconds - low) / step)] for entry in history
    )
    return f"{bars}  {milliseconds(low)} to {milliseconds(high)} ms"


def _took(seconds: float) -> str:
    return f"{milliseconds(seconds)} ms"


def _row(label: str, value: str, width: int) -> Iterator[Content]:
    """Yield a row's lines, those after the first below the value."""
    for line in Content(value).wrap(width - _LABEL - 1):
        yield Content.assemble((f"{label:<{_LABEL}} ", "$foreground-muted"), line)
        label = ""


def _details(detail: PluginDetail) -> Iterator[Row]:
    for label, names in (("requires", detail.requires), ("required by", detail.required_by)):
        if names:
            yield (label, clean_line(", ".join(names), 300))
    for name, value in detail.settings.items():
        yield ("setting", f"{clean_line(name, 80)} = {clean_line(repr(value), 200)}")
    for point in detail.handlers:
        for handler in point.handlers:
            yield ("handler", f"{clean_line(point.point, 80)}: {_handler(handler)}")
    for entry in detail.ledger:
        yield (entry.outcome, clean_line(entry.describe(), 200))
    for file in detail.files:
        yield ("file", f"{clean_line(file.path, 120)}  {file.sha256[:12]}  {count(file.size, 'byte')}")


def _handler(handler: HandlerStatus) -> str:
    time = f", {milliseconds(handler.mean_seconds)} ms each" if handler.mean_seconds else ""
    faults = f", {count(handler.faults, 'fault')}" if handler.faults else ""
    return f"{clean_line(handler.function, 80)}, {count(handler.calls, 'call')}{faults}{time}"
