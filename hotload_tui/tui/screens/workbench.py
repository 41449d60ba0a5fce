"""``WorkbenchScreen``: hook points are called, by hand and again after each reload."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from hotload_tui.core.events import AnyEvent, PluginDisabled, PluginLoaded, PluginRemoved
from hotload_tui.tui.messages import CallsEnded
from hotload_tui.tui.screens.viewing import ViewingScreen
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.hooks_view import HooksView

_ANSWERS_ANEW = (PluginLoaded, PluginDisabled, PluginRemoved)
"""After these a hook point may answer otherwise."""


class WorkbenchScreen(ViewingScreen):
    """Has the calls made that the Hooks tab wants."""

    clock: Callable[[], float]
    is_ready: bool
    _call_again = False

    @abstractmethod
    def read_again(self) -> None:
        """Read the facts, though nothing is known to have happened."""

    @abstractmethod
    def keep_view(self) -> None:
        """Remember how things look for the next time."""

    def on_hooks_view_wanted(self, message: HooksView.Wanted) -> None:
        """Call hook points."""
        self.say(self.requests.call(message.calls, self.clock))

    def on_hooks_view_kept(self) -> None:
        """Keep earlier arguments even if the console never ends in order."""
        self.keep_view()

    def on_calls_ended(self, message: CallsEnded) -> None:
        """Show what the handlers gave."""
        hooks = self.query_one(DetailTabs).hooks
        self.say(hooks.take(message.results, reloaded=message.reloaded))
        self.read_again()  # no event tells of calls
        if self._call_again:
            self.call_pinned()

    def call_pinned(self, events: tuple[AnyEvent, ...] = (), *, anyway: bool = False) -> None:
        """Call what is pinned again when another generation may answer; once more if calls are under way."""
        self._call_again |= anyway
        pinned = tuple(self.query_one(DetailTabs).hooks.pinned)
        if not pinned or not self.is_ready:
            return
        if self._call_again or any(isinstance(event, _ANSWERS_ANEW) for event in events):
            self._call_again = bool(self.requests.call(pinned, self.clock, reloaded=True))
