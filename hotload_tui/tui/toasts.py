"""Toasts, merged: one line for all that happens within two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from hotload_tui.core.events import (
    AnyEvent,
    PluginDisabled,
    PluginDiscovered,
    PluginFailed,
    PluginLoaded,
    PluginRemoved,
)
from hotload_tui.tui.text import clean_line

WINDOW: Final = 2.0
"""Seconds within which things are told in one line."""

_FAILED: Final = "failed"
_VERBS: Final[dict[type, str]] = {
    PluginLoaded: "reloaded",
    PluginDisabled: "disabled",
    PluginDiscovered: "found",
    PluginRemoved: "gone",
}
_REASONS: Final[dict[type, str]] = {PluginDisabled: "d enables it"}
"""What is said besides, when it concerns one plugin only."""


class Toaster(Protocol):
    """Shows one text in the place of the one before."""

    def __call__(self, text: str, *, bad: bool) -> None:
        """Show it; ``bad`` ones stay longer."""
        ...


class Toasts:
    """Gathers what happened and shows it as one line, at once and again when more joins it."""

    def __init__(self, show: Toaster, clock: Callable[[], float]) -> None:
        self._show = show
        self._clock = clock
        self._opened = 0.0
        self._verbs: dict[str, dict[str, str]] = {}
        self._texts: dict[str, None] = {}
        self._bad = False

    def say(self, text: str, *, bad: bool = False) -> None:
        """Tell one thing."""
        if text:
            self._open()
            self._texts[text] = None
            self._bad = self._bad or bad
            self._show(self._line(), bad=self._bad)

    def tell(self, events: Iterable[AnyEvent]) -> None:
        """Tell what became of plugins; events that nobody needs to be told of are left out."""
        news = [event for event in events if isinstance(event, (*_VERBS, PluginFailed))]
        if not news:
            return
        self._open()
        for event in news:
            self._note(event)
        self._show(self._line(), bad=self._bad)

    def _open(self) -> None:
        now = self._clock()
        if now - self._opened > WINDOW:
            self._opened = now
            self._verbs, self._texts, self._bad = {}, {}, False

    def _note(self, event: AnyEvent) -> None:
        name = clean_line(getattr(event, "name", ""), 40)
        if isinstance(event, PluginFailed):
            self._bad = True
            reason = clean_line(f"{event.fault.type}: {event.fault.message}", 100)
            self._verbs.setdefault(_FAILED, {})[name] = reason
            return
        verb = _VERBS[type(event)]
        if isinstance(event, PluginLoaded):
            # The load that follows a discovery tells more than the discovery.
            self._verbs.get(_VERBS[PluginDiscovered], {}).pop(name, None)
            self._verbs.get(_FAILED, {}).pop(name, None)
            verb = "loaded" if event.generation == 1 else verb
        self._verbs.setdefault(verb, {})[name] = _REASONS.get(type(event), "")

    def _line(self) -> str:
        parts = []
        for verb, names in sorted(self._verbs.items(), key=lambda item: item[0] == _FAILED):
            if len(names) == 1:
                name, reason = next(iter(names.items()))
                parts.append(f"{name} {verb}" + (f" ({reason})" if reason else ""))
            elif names:
                parts.append(f"{len(names)} {verb}")
        return ". ".join(part for part in (", ".join(parts), *self._texts) if part)
