"""``Workbench``: the calls of hook points that the user makes by hand, and the pinned calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from hotload_tui.core.events import AnyEvent, PluginDisabled, PluginLoaded, PluginRemoved
from hotload_tui.tui.calls import CallResult, HookCall
from hotload_tui.tui.requests import Requests
from hotload_tui.tui.widgets.hooks_view import HooksView

_CHANGES_ANSWERS: Final = (PluginLoaded, PluginDisabled, PluginRemoved)
"""After these events, a hook point may answer differently."""


class Workbench:
    """Makes the calls that the Hooks tab requests, and repeats the pinned calls after reloads."""

    def __init__(
        self,
        hooks: HooksView,
        requests: Requests,
        say: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._hooks = hooks
        self._requests = requests
        self._say = say
        self._clock = clock
        self._is_due = False

    def call(self, calls: tuple[HookCall, ...]) -> None:
        """Call hook points; ``CallsEnded`` carries the results."""
        self._say(self._requests.call(calls, self._clock))

    def pin(self) -> None:
        """Pin the newest call of the hook point under the cursor, or unpin it if it is pinned."""
        self._say(self._hooks.toggle_pin())

    def show(self, results: tuple[CallResult, ...], *, reloaded: bool) -> None:
        """Show the handlers' results; ``reloaded`` if these are pinned calls that ran again."""
        self._say(self._hooks.take(results, reloaded=reloaded))
        if self._is_due:
            self.repeat()

    def follow(self, events: Iterable[AnyEvent]) -> None:
        """Repeat the pinned calls if one of the events may have changed their answers."""
        if self._is_due or any(isinstance(event, _CHANGES_ANSWERS) for event in events):
            self.repeat()

    def repeat(self) -> None:
        """Repeat the pinned calls; if they are under way, they run once more afterwards."""
        pinned = tuple(self._hooks.pinned)
        self._is_due = bool(pinned and self._requests.call(pinned, self._clock, reloaded=True))
