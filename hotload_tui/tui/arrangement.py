"""Which plugins the table shows, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from hotload_tui.core.plugin import PluginState, PluginStatus
from hotload_tui.tui.text import clean_line

_TROUBLED: Final = (PluginState.FAIL, PluginState.STALE, PluginState.HELD, PluginState.WAIT)

_URGENCY: Final = {
    state: place
    for place, state in enumerate(
        (
            PluginState.FAIL,
            PluginState.STALE,
            PluginState.HELD,
            PluginState.WAIT,
            PluginState.BUILD,
            PluginState.NEW,
            PluginState.OK,
            PluginState.OFF,
        )
    )
}

_Key = str | float | int
_SORTS: Final[dict[str, Callable[[PluginStatus], _Key]]] = {
    "plugin": lambda plugin: plugin.name,
    "state": lambda plugin: (
        _URGENCY[plugin.state] if plugin.fault is None else min(_URGENCY[plugin.state], 2)
    ),
    "load ms": lambda plugin: -plugin.load_seconds,
    "age": lambda plugin: -plugin.loaded_at,
}
SORTS: Final = tuple(_SORTS)
"""What the table can be sorted by; the first is the usual."""


class Arrangement(NamedTuple):
    """A filter and an order."""

    filter: str = ""
    """``text``, ``!text`` for what has it not, ``s:state``; words are combined."""
    problems: bool = False
    """Only what has a problem."""
    sort: str = SORTS[0]
    reverse: bool = False

    def of(self, plugins: tuple[PluginStatus, ...]) -> tuple[PluginStatus, ...]:
        """Return those that are shown, in order; equals in order of name."""
        shown = [plugin for plugin in plugins if self._shows(plugin)]
        if self.sort != SORTS[0]:
            shown.sort(key=_SORTS[self.sort])
        return tuple(reversed(shown)) if self.reverse else tuple(shown)

    def next_sort(self) -> Arrangement:
        """Sort by the next column."""
        return self._replace(sort=SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)])

    def describe(self) -> str:
        """Say what is not as usual; empty when everything is shown."""
        parts = [f"filter {clean_line(self.filter, 30)}"] if self.filter else []
        parts += ["problems only"] if self.problems else []
        return ", ".join(parts)

    def nothing(self, number: int) -> str:
        """Say why no row is shown of so many plugins."""
        if self.filter:
            return f"0 of {number} match {self.describe()}: esc clears the filter."
        return f"No problems in {number} plugins: ! shows all of them."

    def _shows(self, plugin: PluginStatus) -> bool:
        if self.problems and plugin.fault is None and plugin.state not in _TROUBLED:
            return False
        return all(_matches(plugin, word.casefold()) for word in self.filter.split())


def _matches(plugin: PluginStatus, word: str) -> bool:
    if word.startswith("!"):
        return len(word) == 1 or not _matches(plugin, word[1:])
    if word.startswith("s:"):
        return plugin.state.value.casefold().startswith(word[2:])
    points = " ".join(place.point for place in plugin.points)
    return word in f"{plugin.name} {points}".casefold() or plugin.digest.startswith(word)
