"""``ConsoleApp``: connects the manager, the screens and the system's signals, and ends the console."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Unpack

from rich.console import RenderableType
from textual import events
from textual.content import Content
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.widget import Widget

from hotload_tui.core.api import ManagerApi
from hotload_tui.tui import keys as bindings
from hotload_tui.tui.actions import HostControls
from hotload_tui.tui.commands import ConsoleCommands
from hotload_tui.tui.contrast import legible
from hotload_tui.tui.dialogs import ConfirmScreen
from hotload_tui.tui.framework import OrderedApp
from hotload_tui.tui.screen import ConsoleScreen
from hotload_tui.tui.terminal import give_size, handle_signals, has_shell, leave_within, stop_job
from hotload_tui.tui.tour import Tour
from hotload_tui.tui.widgets.plugin_table import BESIDE
from hotload_tui.tui.widgets.status import NEEDED

GRACE = 2.0  # seconds that plugins have to clean up after a signal
RESTORE = 2.0  # seconds to restore the terminal, which never succeeds after a hang-up

GO_ON = "space"
"""The key that goes on to the tour's next step."""

_MOUNTING = 0.01  # seconds between two checks whether all widgets are mounted


class ConsoleApp(OrderedApp):
    """The developer console for one manager."""

    TITLE = "hotload"
    CSS_PATH = "console.tcss"
    BINDINGS = bindings.APP
    COMMANDS = {ConsoleCommands}  # noqa: RUF012 - Textual declares it so
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (NEEDED[0], "-narrow"), (BESIDE, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (NEEDED[1], "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(
        self,
        api: ManagerApi,
        *,
        project: Path,
        keys: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.time,
        presents: bool = False,
        tour: Tour | None = None,
        **host: Unpack[HostControls],
    ) -> None:
        """With ``presents``, the console is for an audience: a caption, the last key, more space."""
        super().__init__()
        self._presents = presents
        self._tour = tour
        self._stop = host.get("stop")
        self._code: int | None = None
        self._give_back_signals: Callable[[], None] = lambda: None
        self._held: deque[events.Event] = deque()
        """What the user typed, clicked and pasted while the screen was being mounted."""
        self._console = ConsoleScreen(api, project, host, clock, tour)
        self._console.set_class(presents, "-present")
        self.set_keymap(dict(keys))

    def get_css_variables(self) -> dict[str, str]:
        """Return the colours of the theme, changed where they could not be read."""
        self.theme_variables = legible(super().get_css_variables())
        return self.theme_variables

    def get_default_screen(self) -> Screen[None]:
        """Return the console screen with the classes of its size; without them, Textual styles it twice."""
        width, height = self.size
        for size, breakpoints in ((width, self.HORIZONTAL_BREAKPOINTS), (height, self.VERTICAL_BREAKPOINTS)):
            self._console.add_class(max(each for each in breakpoints if each[0] <= size)[1], update=False)
        return self._console

    async def on_event(self, event: events.Event) -> None:
        """Process an event; keep the user's input in its order until all panes of the screen exist."""
        is_input = isinstance(event, (events.InputEvent, events.Paste)) and not event.is_forwarded
        if is_input and not isinstance(event, events.MouseMove):
            self._console.follow.note_use()
        if is_input and isinstance(event, events.Key) and self._presents:
            self._console.show_key(event.character or event.key if event.is_printable else event.key)
            if event.key == GO_ON and self._tour is not None and self._tour.is_under_way:
                self._tour.go_on()
                return
        if not is_input or not (self._held or self._is_incomplete()):
            await super().on_event(event)
            return
        if not self._held:
            self.set_timer(_MOUNTING, self._release)
        self._held.append(event)

    async def _release(self) -> None:
        """Process the kept input, until it opens another screen that is being mounted."""
        while self._held and not self._is_incomplete():
            await super().on_event(self._held[0])
            self._held.popleft()
        if self._held:
            self.set_timer(_MOUNTING, self._release)

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast."""
        self._console.say(text, bad=bad)

    def action_help_quit(self) -> None:
        """Show which key quits, because ctrl+c without marked text does not."""
        self.say("Nothing is marked to be copied; q quits.")

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,  # noqa: ARG002 - Textual's signature
        markup: bool = True,
    ) -> None:
        """Show a notification of the framework as a toast of the console."""
        text = Content.from_markup(message).plain if markup else message
        self.say(f"{title}: {text}" if title else text, bad=severity == "error")

    def on_mount(self) -> None:
        """Register the signals that make the console leave in order."""
        self._give_back_signals = handle_signals(self.end, GRACE + RESTORE)

    def on_unmount(self) -> None:
        """Restore the signal handlers of the program that started the console."""
        self._give_back_signals()

    def on_resize(self) -> None:
        """Use a default size when the terminal reports none."""
        give_size()

    def end(self, code: int = 0) -> None:
        """Leave with an exit code because of a signal; exit after ``GRACE`` seconds at the latest."""
        self._code = code
        with self.own_context():
            self.leave()
            self.set_timer(GRACE, self.exit)

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Exit, with the code of the signal if one arrived.

        The exit waits until no widget is being mounted: a widget whose children disappear while it is mounted
        would end the console with a traceback.
        """
        if self._code is not None and not self.is_headless:
            leave_within(RESTORE, self._code)
        with self.own_context():
            if self._is_mounting(self.screen_stack):
                self.set_timer(_MOUNTING, lambda: self.exit(result, return_code, message))
                return
            if self._console.is_mounted:
                self._console.keep_view()
            super().exit(result, return_code or self._code or 0, message)

    def _is_incomplete(self) -> bool:
        return not self._console.is_mounted or self._is_mounting(self.screen_stack[-1:])

    def _is_mounting(self, screens: Iterable[Screen[object]]) -> bool:
        return not all(
            node.is_mounted for screen in screens for node in screen.walk_children(Widget, with_self=True)
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action is available; while the plugins are being unloaded, only ``quit`` is."""
        return (
            action == "quit" if self._console.shutdown.has_begun else super().check_action(action, parameters)
        )

    async def action_quit(self) -> None:
        """Leave; ask first during a build, and exit at once on the second request."""
        if self._console.is_building and not self._console.shutdown.has_begun:
            if not isinstance(self.screen, ConfirmScreen):
                question = ConfirmScreen("A build is under way. Quit all the same?", "Quit")
                self._console.ask(question, self.leave)
        else:
            self.leave()

    def action_suspend_process(self) -> None:
        """Suspend the console and return to the shell until the shell continues the console."""
        if not has_shell() or self.is_headless:
            self.say("There is no shell below the console to go back to.")
            return
        with self.suspend():
            stop_job()

    def leave(self) -> None:
        """Unload the plugins in a thread, then exit; a second call exits without waiting for them."""
        if self._stop is None or self._console.shutdown.has_begun:
            self.exit()
        else:
            self._console.unload(self._stop)
