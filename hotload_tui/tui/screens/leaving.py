"""``LeavingScreen``: the plugins are unloaded before the console ends, and who is waited for is told."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

from rich.text import Text

from hotload_tui.core.events import AnyEvent, PluginRetired
from hotload_tui.core.plugin import PluginStatus
from hotload_tui.tui.messages import StopEnded
from hotload_tui.tui.screens.actions import ActionScreen
from hotload_tui.tui.text import clean_line
from hotload_tui.tui.widgets.status_line import StatusLine


class LeavingScreen(ActionScreen):
    """Unloads and leaves."""

    _waiting: tuple[tuple[str, int], ...] = ()
    """Name and generation of what is not unloaded yet."""

    @property
    @abstractmethod
    def plugins(self) -> tuple[PluginStatus, ...]:
        """All plugins, as they were last read."""

    def unload(self, stop: Callable[[], None]) -> None:
        """Unload the plugins; the console leaves when that is over."""
        self.is_leaving = True
        self.refresh_bindings()
        self.query_one(StatusLine).snapshot = None
        self._tell_waiting((one.name, one.generation) for one in self.plugins if one.generation)
        self.requests.stop(stop)

    def tell_unloaded(self, events: Iterable[AnyEvent]) -> None:
        """Name those no more that are unloaded by now."""
        gone = {(event.name, event.generation) for event in events if isinstance(event, PluginRetired)}
        self._tell_waiting(one for one in self._waiting if one not in gone)

    def _tell_waiting(self, generations: Iterable[tuple[str, int]]) -> None:
        """Name what is not unloaded yet."""
        self._waiting = tuple(generations)
        names = ", ".join(name for name, _ in self._waiting)
        whom = f" {clean_line(names, 30)}" if names else ""
        self.query_one(StatusLine).busy = f"unloading{whom}… (q quits at once)"

    def on_stop_ended(self, message: StopEnded) -> None:
        """Leave; what went wrong is printed where the console was."""
        self.app.exit(message=Text(clean_line(message.trouble)) if message.trouble else None)
