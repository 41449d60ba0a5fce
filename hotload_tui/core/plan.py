"""The plan: what a rebuild would do now, and why; plain data, and the words for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from hotload_tui.core.errors import near
from hotload_tui.core.plugin import Fault

Action = Literal["load", "reload", "unload", "wait", "fail", "keep"]
"""``wait``: something that it requires is not there; ``fail``: what is on disk cannot serve."""

_SIGNS = {"load": "+", "reload": "~", "unload": "-", "wait": ".", "fail": "!", "keep": "="}
_CHANGES = {"added": "+", "changed": "~", "removed": "-"}
_MOST = 8  # files or hook points that are named in one line


class FileChange(Struct, frozen=True):
    """A file that differs from what serves."""

    path: str
    """Relative to the plugin's directory, with forward slashes."""
    change: Literal["added", "changed", "removed"]
    size: int
    """Bytes; 0 for a file that is gone."""
    size_before: int = 0
    """Bytes in what serves; 0 for a new file."""


class PluginPlan(Struct, frozen=True):
    """What would happen to one plugin."""

    name: str
    action: Action
    reasons: tuple[str, ...]
    """Why, in words."""
    generation: int = 0
    """Number of the generation that serves now; 0: none."""
    files: tuple[FileChange, ...] = ()
    """What differs from the files that serve; empty where nothing serves."""
    compiles: tuple[str, ...] = ()
    """Paths of the Python files that would be compiled; empty with ``reuses`` 0: the artifact is there."""
    reuses: int = 0
    """Python files whose code is taken over from an earlier artifact."""
    requires: tuple[str, ...] = ()
    comes: tuple[str, ...] = ()
    """Hook points at which it would be new, as far as its source says so in words."""
    goes: tuple[str, ...] = ()
    """Hook points that it would leave."""
    is_all_known: bool = True
    """Whether the source names every hook point; else only running it would tell."""
    fault: Fault | None = None
    """Why what is on disk cannot serve."""
    obstacles: tuple[str, ...] = ()
    """What keeps it from being applied to the running process."""
    notes: tuple[str, ...] = ()
    """What the compiler would say, and what would stay behind."""

    def lines(self) -> Iterator[str]:
        """Say it in words, the first line with the name."""
        yield f"{_SIGNS[self.action]} {self.name}: {_HEADS[self.action].format(self=self)}"
        yield from (f"    {reason}" for reason in self.reasons)
        if self.fault is not None:
            yield f"    {_brief(self.fault)}"
        if self.files:
            yield f"    files: {_some(map(_describe, self.files), len(self.files))}"
        if self.action in ("load", "reload"):
            yield from (f"    {line}" for line in self._work())
        yield from (f"    obstacle: {obstacle}" for obstacle in self.obstacles)
        yield from (f"    note: {note}" for note in self.notes)

    def _work(self) -> Iterator[str]:
        if self.compiles:
            also = f"; {self.reuses} taken over" if self.reuses else ""
            yield f"compiles: {_some(self.compiles, len(self.compiles))}{also}"
        elif self.reuses:
            yield f"compiles: nothing; {self.reuses} taken over"
        points = [*(f"+ {point}" for point in self.comes), *(f"- {point}" for point in self.goes)]
        if points:
            yield f"hook points: {_some(points, len(points))}"
        if not self.is_all_known:
            yield "hook points: not all are named in the source; running it would tell"


_HEADS = {
    "load": "would be loaded",
    "reload": "would be reloaded; generation {self.generation} serves",
    "unload": "would be unloaded; generation {self.generation} serves",
    "wait": "would wait",
    "fail": "cannot be loaded",
    "keep": "stays as it is",
}


class Plan(Struct, frozen=True):
    """What would happen to all plugins that are concerned."""

    plugins: tuple[PluginPlan, ...]
    """Those with something to do first, in order of loading; then those that stay as they are, by name."""

    @property
    def work(self) -> tuple[PluginPlan, ...]:
        """Those for which there is something to do, or to mend."""
        return tuple(plugin for plugin in self.plugins if plugin.action != "keep" or plugin.reasons)

    @property
    def can_be_applied(self) -> bool:
        """Whether all of it would serve, in the running process."""
        return not any(plugin.action in ("fail", "wait") or plugin.obstacles for plugin in self.plugins)

    def lines(self) -> Iterator[str]:
        """Say it in words: how many of what, and then each plugin with something to do."""
        counts = {
            action: sum(1 for plugin in self.plugins if plugin.action == action)
            for action in ("load", "reload", "unload", "wait", "fail", "keep")
        }
        words = {"load": "to load", "reload": "to reload", "unload": "to unload", "wait": "would wait"}
        words |= {"fail": "cannot be loaded"}
        parts = [f"{counts[action]} {word}" for action, word in words.items() if counts[action]]
        kept = counts["keep"]
        rest = f"{kept} {'stays as it is' if kept == 1 else 'stay as they are'}" if kept else ""
        if parts:
            yield ", ".join(parts) + (f"; {rest}" if rest else "")
        else:
            yield "nothing to do" + (f": {rest}" if rest else ": there are no plugins")
        for plugin in self.work:
            yield ""
            yield from plugin.lines()


def _describe(file: FileChange) -> str:
    sign = _CHANGES[file.change]
    if file.change == "changed":
        return f"{sign} {file.path} ({file.size_before:,} → {file.size:,} bytes)"
    return f"{sign} {file.path}"


def _brief(fault: Fault) -> str:
    place = fault.place
    where = f" ({near(place.file)}:{place.line})" if place and place.line else ""
    return f"{fault.phase}: {fault.type}: {fault.message.partition(chr(10))[0]}{where}"


def _some(texts: Iterator[str] | tuple[str, ...] | list[str], count: int) -> str:
    """Join the first few, and say how many more there are."""
    shown = [text for text, _ in zip(texts, range(_MOST), strict=False)]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
