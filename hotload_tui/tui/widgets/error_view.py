"""``ErrorView``: the newest failure of a plugin, with its source as it was loaded."""

from __future__ import annotations

from pathlib import Path

from textual import events
from textual.containers import ScrollableContainer
from textual.content import Content

from hotload_tui.core.plugin import Fault, Frame, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.fault_text import FaultOptions, fault_text
from hotload_tui.tui.messages import Remark, SourcePair
from hotload_tui.tui.places import moved_text
from hotload_tui.tui.text import clean_line, count
from hotload_tui.tui.widgets.body import Body
from hotload_tui.tui.widgets.narrowed import Narrowed


class ErrorView(ScrollableContainer, Narrowed, can_focus=True):
    """Shows a fault; clears itself when it is mended."""

    BINDINGS = keys.ERROR
    KIND = "error"

    def __init__(self, project: Path) -> None:
        super().__init__(Body())
        self._status: PluginStatus | None = None
        self._options = FaultOptions(project)
        self._facts: tuple[PluginStatus | None, SourcePair | None, tuple[str, ...]] | None = None
        self._moved = ""
        self._others: tuple[str, ...] = ()
        self._lines: list[str] = []

    def show(self, status: PluginStatus | None, source: SourcePair | None, others: tuple[str, ...]) -> None:
        """Show this plugin's fault; ``others`` are the plugins that have one."""
        news = (status, source, others)
        if news == self._facts:
            return
        before, fault = self._status, status.fault if status else None
        self._facts, self._status, self._others = news, status, others
        self._moved = moved_text(fault, source.disk) if fault and source else ""
        self._draw_if_seen()
        if before is None or before.fault != fault:
            self.scroll_home(animate=False)

    def on_show(self) -> None:
        """Draw what came while the tab was hidden."""
        self._draw_if_seen()

    def _draw_if_seen(self) -> None:
        # Whatever is drawn has the whole screen laid out anew.
        if self.is_on_screen:
            self._draw()

    def draw_anew(self) -> None:
        """Draw the lines that are wanted now."""
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        """Wrap the message to the new width."""
        width = event.size.width - 3
        if width != self._options.width:
            self._options = self._options._replace(width=width)
            self._draw()

    def text_to_copy(self) -> str:
        """Return the report as it is shown."""
        status = self._status
        if status is None or status.fault is None:
            return ""
        return fault_text(status, status.fault, self._moved, self._options).plain

    def _draw(self) -> None:
        body = self.query_one(Body)
        status = self._status
        if status is None or status.fault is None:
            lines = Content(self._nothing()).wrap(max(20, self._options.width))
            body.show(Content("\n").join(lines))
        else:
            text = self.of_lines(fault_text(status, status.fault, self._moved, self._options))
            self._lines = text.plain.split("\n")
            body.show(text)

    def _nothing(self) -> str:
        who = f"No errors in {clean_line(self._status.name, 80)}." if self._status else "No errors."
        if not self._others:
            return f"{who} The traceback of a failed build, load or call will be here."
        names = ", ".join(clean_line(name, 40) for name in self._others[:5])
        more = len(self._others) - 5
        return f"{who} Failures in: {names}" + (f" and {count(more, 'other')}" if more > 0 else "")

    def action_toggle_locals(self) -> None:
        """Show or hide local variables."""
        fault = self._status.fault if self._status else None
        if fault is None or not any(frame.locals for frame in _all_frames(fault)):
            self.post_message(Remark("No local variables were recorded for this."))
            return
        self._options = self._options._replace(locals=not self._options.locals)
        self._draw()

    def action_next_frame(self, by: int) -> None:
        """Scroll to the next frame or cause, or to the one before."""
        starts = [number for number, line in enumerate(self._lines, 1) if not line]
        here = round(self.scroll_y)
        later = [start for start in starts if start > here] if by > 0 else []
        earlier = [start for start in [0, *starts] if start < here] if by < 0 else []
        target = min(later, default=None) if by > 0 else max(earlier, default=None)
        if target is None or (by > 0 and self.is_vertical_scroll_end):
            self.post_message(Remark("This is the last frame." if by > 0 else "This is the first frame."))
        else:
            self.scroll_to(y=target, animate=False)

    def action_toggle_frames(self) -> None:
        """Show or fold the frames of the host and of libraries, and the lines around."""
        fault = self._status.fault if self._status else None
        if fault is None or not fault.frames:
            self.post_message(Remark("There are no frames to show or fold."))
            return
        self._options = self._options._replace(folded=not self._options.folded)
        self._draw()


def _all_frames(fault: Fault) -> list[Frame]:
    frames = list(fault.frames)
    for cause in fault.causes:
        frames.extend(_all_frames(cause))
    return frames
