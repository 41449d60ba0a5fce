"""Toasts: what became of plugins, merged into one line for two seconds, and single remarks that never are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from hotload_tui.core.events import (
    AnyEvent,
    HostReached,
    PluginDisabled,
    PluginDiscovered,
    PluginFailed,
    PluginLoaded,
    PluginRemoved,
)
from hotload_tui.tui.text import clean_line

WINDOW: Final = 2.0
"""Seconds within which news are told in one line."""

_FAILED: Final = "failed"
_VERBS: Final[dict[type, str]] = {
    PluginLoaded: "reloaded",
    PluginDisabled: "disabled",
    PluginDiscovered: "found",
    PluginRemoved: "gone",
}
_REASONS: Final[dict[type, str]] = {PluginDisabled: "d or z enables it"}
"""What is said besides, when it concerns one plugin only."""


class Toaster(Protocol):
    """Shows one text in the place of the one before."""

    def __call__(self, text: str, *, bad: bool) -> None:
        """Show it; ``bad`` ones stay longer."""
        ...


class _News(NamedTuple):
    verb: str
    reason: str = ""


class Toasts:
    """Tells news of plugins in one line, at once and again when more joins it; remarks stand alone."""

    def __init__(self, show: Toaster, clock: Callable[[], float]) -> None:
        self._show = show
        self._clock = clock
        self._opened = 0.0
        self._news: dict[str, _News] = {}

    def say(self, text: str, *, bad: bool = False) -> None:
        """Tell one thing, alone."""
        if text:
            self._show(text, bad=bad)

    def tell(self, events: Iterable[AnyEvent], reading: str = "") -> None:
        """Tell what became of plugins; not the faults of the plugin whose fault is being read."""
        events = tuple(events)
        for event in events:
            if isinstance(event, HostReached):
                self.say(event.describe())
        news = [event for event in events if isinstance(event, (*_VERBS, PluginFailed))]
        news = [event for event in news if not (isinstance(event, PluginFailed) and event.name == reading)]
        if not news:
            return
        if self._clock() - self._opened > WINDOW:
            self._opened = self._clock()
            self._news = {}
        for event in news:
            name = clean_line(getattr(event, "name", ""), 40)
            self._news.pop(name, None)  # only the last word on a plugin counts
            self._news[name] = _news_of(event)
        self._show(self._line(), bad=any(news.verb == _FAILED for news in self._news.values()))

    def _line(self) -> str:
        groups: dict[str, list[str]] = {}
        for name, news in self._news.items():
            groups.setdefault(news.verb, []).append(name)
        parts = []
        for verb, names in sorted(groups.items(), key=lambda item: item[0] == _FAILED):
            reason = self._news[names[0]].reason
            if len(names) > 1:
                parts.append(f"{len(names)} {verb}")
            else:
                parts.append(f"{names[0]} {verb}" + (f" ({reason})" if reason else ""))
        return ", ".join(parts)


def _news_of(event: AnyEvent) -> _News:
    if isinstance(event, PluginFailed):
        return _News(_FAILED, clean_line(f"{event.fault.type}: {event.fault.message}", 100))
    if isinstance(event, PluginLoaded) and event.generation == 1:
        return _News("loaded")
    return _News(_VERBS[type(event)], _REASONS.get(type(event), ""))
