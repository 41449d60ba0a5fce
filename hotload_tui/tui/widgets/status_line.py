"""``StatusLine``: the folder, how many plugins stand how, whether saves are noticed; one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from hotload_tui.core.plugin import PluginState, Snapshot
from hotload_tui.tui.text import clean_line, count

HINT: Final = "? help"

_STYLES: Final = {
    PluginState.OK: "$text-success",
    PluginState.STALE: "bold $text-warning",
    PluginState.FAIL: "bold $text-error",
    PluginState.HELD: "bold $text-accent",
}
_FOLDER: Final = 28
"""Cells for the folder's name."""


class StatusLine(Widget):
    """Tells the state of everything in one line."""

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    busy: reactive[str] = reactive("starting")
    """What goes on besides watching; empty for nothing."""
    trouble: reactive[str] = reactive("")
    """What is wrong with the whole."""
    narrowed: reactive[str] = reactive("")
    """Why not every plugin is shown; empty when all are."""
    newest: reactive[str] = reactive("")
    """The last line of the log, where no log is to be seen."""

    def __init__(self, project: Path) -> None:
        super().__init__()
        self._project = project
        self.is_foreign = False
        """Whether the host is another program, which goes on when the console is left."""
        self._drawn = Content("")

    def watch_snapshot(self) -> None:
        """Draw other facts; most news change none of those that are told here."""
        if not self._facts().is_same(self._drawn):
            self.refresh()

    def render(self) -> Content:
        """Draw facts on the left and the hint, or the last line of the log, on the right."""
        left = self._drawn = self._facts()
        room = self.size.width - left.cell_length - 3
        right = clean_line(self.newest) if self.newest else HINT
        if room < len(HINT):
            return left.truncate(self.size.width, ellipsis=True)
        tail = Content.styled(right, "$foreground-muted").truncate(room, ellipsis=True)
        return Content.assemble(left, " " * (self.size.width - left.cell_length - tail.cell_length), tail)

    def _facts(self) -> Content:
        return Content("  ").join([part for part in self._parts() if part])

    def _parts(self) -> list[Content]:
        parts = [Content.styled(self._folder(), "bold")]
        if self.is_foreign and self.snapshot is not None:
            parts.append(Content(f"attached to {self.snapshot.host.pid}"))
        if self.snapshot is not None and self.snapshot.host.config_fault:
            parts.append(Content.styled("! settings", "bold $text-error"))
        if self.snapshot is not None:
            parts.extend(self._counts(self.snapshot))
            if not self.busy and not self.trouble:
                parts.append(self._watching(self.snapshot))
        if self.snapshot is not None and self.snapshot.host.breakpoint:
            text = f"B: breakpoint at {clean_line(self.snapshot.host.breakpoint, 60)}"
            parts.append(Content.styled(text, "bold reverse"))
        if self.narrowed:
            parts.append(Content.styled(self.narrowed, "bold reverse"))
        if self.trouble:
            parts.append(Content.styled(clean_line(self.trouble), "bold $text-error"))
        if self.busy:
            parts.append(Content.styled(self.busy, "italic"))
        return parts

    def _folder(self) -> str:
        folder = clean_line(self._project.name or str(self._project))
        return folder if len(folder) <= _FOLDER else f"…{folder[1 - _FOLDER :]}"

    def _counts(self, snapshot: Snapshot) -> list[Content]:
        states = Counter(plugin.state for plugin in snapshot.plugins)
        counts = [
            Content.styled(f"{state.glyph} {state} {states[state]}", _STYLES.get(state, ""))
            for state in PluginState
            if states[state]
        ]
        raising = sum(plugin.raises for plugin in snapshot.plugins)
        if raising:
            counts.append(Content.styled(f"! {count(raising, 'fault')}", "bold $text-error"))
        return counts

    def _watching(self, snapshot: Snapshot) -> Content:
        watcher = snapshot.watcher
        trouble = f": {clean_line(watcher.trouble, 200)}" if watcher.trouble else ""
        if watcher.paused:
            waiting = f" ({count(len(watcher.waiting), 'change')})" if watcher.waiting else ""
            return Content.styled(f"PAUSED{waiting}{trouble}", "bold reverse")
        match watcher.state:
            case "watching":
                return Content.styled(f"watching{trouble}", "$text-warning" if trouble else "")
            case "degraded":
                return Content.styled(f"watching slowly{trouble}", "$text-warning")
            case "off":
                return Content.styled(f"not watching{trouble}", "$text-warning")
            case "failed":
                return Content.styled(trouble.removeprefix(": ") or "watching FAILED", "bold $text-error")
