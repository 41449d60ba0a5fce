"""``Overview``: everything known about one plugin, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from hotload_tui.core.plugin import HandlerStatus, PluginDetail, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.text import clean_line, clock_time, count, duration, milliseconds, short_path

NOTHING: Final = "No plugin is selected. n makes one from the template."
_LABEL: Final = 12


class Overview(VerticalScroll, can_focus=True):
    """Shows one plugin's facts."""

    BINDINGS = keys.SCROLL

    def __init__(self, project: Path, clock: Callable[[], float]) -> None:
        super().__init__(Static(NOTHING, markup=False))
        self._project = project
        self._clock = clock
        self._shown = Content(NOTHING)

    def show(self, status: PluginStatus | None, detail: PluginDetail | None) -> None:
        """Show this plugin; ``detail`` may come later than its status."""
        text = self._text(status, detail) if status else Content(NOTHING)
        if not text.is_same(self._shown):
            self._shown = text
            self.query_one(Static).update(text)

    def _text(self, status: PluginStatus, detail: PluginDetail | None) -> Content:
        rows = [*self._rows(status), *(_details(detail) if detail else ())]
        title = Content.assemble(
            (clean_line(status.name, 200), "bold"), f"  {status.state.glyph} {status.state}"
        )
        text = clean_line(detail.description) if detail else ""
        return Content("\n").join([title, *([Content(text)] if text else []), Content(""), *rows])

    def _rows(self, status: PluginStatus) -> Iterator[Content]:
        if status.fault is not None:
            fault = status.fault
            yield _row(
                "trouble", f"{clean_line(fault.type, 100)}: {clean_line(fault.message, 300)} (2 shows it)"
            )
        yield _row("folder", short_path(status.path, self._project))
        yield _row("running", clean_line(status.digest) or "nothing")
        same = status.source_digest and status.source_digest == status.digest
        yield _row("on disk", "the same" if same else clean_line(status.source_digest) or "unknown")
        yield _row("generation", f"{status.generation or 'none'}, {count(status.reloads, 'reload')}")
        if status.loaded_at:
            age = duration(self._clock() - status.loaded_at)
            yield _row("loaded", f"{clock_time(status.loaded_at)}, {age} ago")
            build = (
                _took(status.compile_seconds) if status.compile_seconds else "none, the artifact was there"
            )
            yield _row("took", f"load {_took(status.load_seconds)}, build {build}")
        points = ", ".join(f"{clean_line(place.point, 80)} ({place.priority})" for place in status.points)
        yield _row("hook points", points or "none")
        if status.memory:
            yield _row("memory", f"generation before: {clean_line(status.memory, 300)}")


def _took(seconds: float) -> str:
    return f"{milliseconds(seconds)} ms"


def _row(label: str, value: str) -> Content:
    return Content.assemble((f"{label:<{_LABEL}} ", "$foreground-muted"), value)


def _details(detail: PluginDetail) -> Iterator[Content]:
    for name, value in detail.settings.items():
        yield _row("setting", f"{clean_line(name, 80)} = {clean_line(repr(value), 200)}")
    for point in detail.handlers:
        for handler in point.handlers:
            yield _row("handler", f"{clean_line(point.point, 80)}: {_handler(handler)}")
    for file in detail.files:
        yield _row("file", f"{clean_line(file.path, 120)}  {file.sha256[:12]}  {count(file.size, 'byte')}")


def _handler(handler: HandlerStatus) -> str:
    time = f", {milliseconds(handler.mean_seconds)} ms each" if handler.mean_seconds else ""
    faults = f", {count(handler.faults, 'fault')}" if handler.faults else ""
    return f"{clean_line(handler.function, 80)}, {count(handler.calls, 'call')}{faults}{time}"
