"""``Timeline``: what became of plugins, a line for each change, the newest on top."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from textual.content import Content
from textual.widget import Widget

from hotload_tui.core.plugin import PluginState, PluginStatus
from hotload_tui.tui.text import clean_line, clock_time, milliseconds

KEPT: Final = 100
"""Changes; older ones are dropped."""

_NAME: Final = 16
"""Cells of a plugin's name."""

_STYLES: Final = {"!": "bold $text-error", "+": "$text-success", "-": "$foreground-muted"}


class Change(NamedTuple):
    """Something that became of a plugin."""

    at: float
    name: str
    glyph: str
    text: str


class Timeline(Widget):
    """Compares what is with what was; a generation that came and went between two readings is not told."""

    def __init__(self) -> None:
        super().__init__()
        self._plugins: dict[str, PluginStatus] | None = None
        self._changes: list[Change] = []

    def on_mount(self) -> None:
        """Name it."""
        self.border_title = "Timeline"

    def show(self, plugins: Iterable[PluginStatus], now: float) -> None:
        """Take in how plugins stand now."""
        before, self._plugins = self._plugins, {plugin.name: plugin for plugin in plugins}
        news = [
            change
            for plugin in self._plugins.values()
            if before is None or before.get(plugin.name) is not plugin
            for change in _changes((before or {}).get(plugin.name), plugin, now)
        ]
        news += [Change(now, name, " ", "gone") for name in (before or {}) if name not in self._plugins]
        if news:
            self._changes = sorted([*self._changes, *news], key=lambda change: change[:2])[-KEPT:]
            self.refresh()

    def render(self) -> Content:
        """Draw as many as there is room for."""
        shown = self._changes[: -self.size.height - 1 : -1]
        return Content("\n").join(_line(change, self.size.width) for change in shown)


def _changes(before: PluginStatus | None, now: PluginStatus, seen: float) -> Iterator[Change]:
    name = now.name
    if now.generation and (before is None or now.generation != before.generation):
        text = f"generation {now.generation}, load {milliseconds(now.load_seconds)} ms"
        yield Change(now.loaded_at, name, "+", text)
    fault = now.fault
    if fault is not None and (before is None or before.fault is None or before.fault.at != fault.at):
        yield Change(fault.at, name, "!", f"{fault.phase} failed: {fault.type}: {fault.message}")
    if before is None:
        return
    if before.fault is not None and fault is None and now.generation == before.generation:
        yield Change(seen, name, "+", "mended, nothing was loaded")
    if now.state is PluginState.OFF and before.state is not PluginState.OFF:
        yield Change(seen, name, "-", "disabled")
    if bool(now.held) != bool(before.held):
        yield Change(seen, name, "=", "held" if now.held else "released")


def _line(change: Change, width: int) -> Content:
    name = clean_line(change.name)
    line = Content.assemble(
        (clock_time(change.at), "$foreground-muted"),
        " ",
        (change.glyph, _STYLES.get(change.glyph, "")),
        f" {name[:_NAME]:<{_NAME}} {clean_line(change.text, 200)}",
    )
    return line.truncate(width, ellipsis=True)
