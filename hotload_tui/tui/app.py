"""``ConsoleApp``: the console's wiring; what it shows and does is in screens and widgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from rich.console import RenderableType
from textual.screen import Screen
from textual.widget import Widget

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.config_loader import Resolved
from hotload_tui.tui import keys as bindings
from hotload_tui.tui.commands import ConsoleCommands
from hotload_tui.tui.debugger import Debug
from hotload_tui.tui.plain_app import PlainApp
from hotload_tui.tui.screens.actions import Restart
from hotload_tui.tui.screens.confirm import ConfirmScreen
from hotload_tui.tui.screens.console import ConsoleScreen
from hotload_tui.tui.system import give_size, has_shell, hear_signals, leave_within, stop_job
from hotload_tui.tui.widgets.too_small import NEEDED

GRACE = 2.0  # seconds that plugins have for their clean-up once a signal has come
RESTORE = 2.0  # seconds for the terminal to become as it was; one that hung up never does

_MOUNTING = 0.01  # seconds until leaving asks again whether all widgets are mounted


class ConsoleApp(PlainApp):
    """The developer console on one manager."""

    TITLE = "hotload"
    CSS_PATH = "console.tcss"
    BINDINGS = bindings.APP
    COMMANDS = {ConsoleCommands}  # noqa: RUF012 - Textual declares it so
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (NEEDED[0], "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (NEEDED[1], "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(
        self,
        api: ManagerApi,
        *,
        project: Path,
        keys: Mapping[str, str] = MappingProxyType({}),
        start: Callable[[], None] | None = None,
        stop: Callable[[], None] | None = None,
        restart: Restart | None = None,
        debug: Debug | None = None,
        settings: Callable[[], Resolved] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._stop = stop
        self._leaving = False
        self._code: int | None = None
        self._give_back_signals: Callable[[], None] = lambda: None
        self._console = ConsoleScreen(
            api, project, start, clock, restart=restart, debug=debug, settings=settings
        )
        self.set_keymap(dict(keys))

    def get_default_screen(self) -> Screen[None]:
        """Open with the console, of the classes of its size: else all is styled twice before it is seen."""
        width, height = self.size
        for size, breakpoints in ((width, self.HORIZONTAL_BREAKPOINTS), (height, self.VERTICAL_BREAKPOINTS)):
            self._console.add_class(max(each for each in breakpoints if each[0] <= size)[1], update=False)
        return self._console

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast."""
        self._console.say(text, bad=bad)

    def on_mount(self) -> None:
        """Leave in order when the system asks for it."""
        self._give_back_signals = hear_signals(self.end, GRACE + RESTORE)

    def on_unmount(self) -> None:
        """Leave signals to the program that goes on after the console."""
        self._give_back_signals()

    def on_resize(self) -> None:
        """Stand a terminal that does not know its size."""
        give_size()

    def end(self, code: int = 0) -> None:
        """Leave with an exit code because the system asks for it; it does not ask for ever."""
        self._code = code
        self.leave()
        self.set_timer(GRACE, self.exit)

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Leave with the code that a signal wants, if there was one.

        A widget that finds its children gone while it is mounted would end the console with a traceback, so
        leaving waits for widgets that are being mounted.
        """
        if self._code is not None and not self.is_headless:
            leave_within(RESTORE, self._code)
        if self._is_mounting():
            self.set_timer(_MOUNTING, lambda: self.exit(result, return_code, message))
            return
        if self._console.is_mounted:
            self._console.keep_view()
        super().exit(result, return_code or self._code or 0, message)

    def _is_mounting(self) -> bool:
        return not all(
            node.is_mounted
            for screen in self.screen_stack
            for node in screen.walk_children(Widget, with_self=True)
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell which keys there are; while the plugins are being unloaded there is only quitting."""
        return action == "quit" if self._leaving else super().check_action(action, parameters)

    async def action_quit(self) -> None:
        """Leave; ask first while something is being built, go at once when asked twice."""

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - called by Textual
            if yes:
                self.leave()

        if self._console.is_building and not self._leaving:
            if not isinstance(self.screen, ConfirmScreen):
                self.push_screen(ConfirmScreen("A build is under way. Quit all the same?", "Quit"), answered)
        else:
            self.leave()

    def action_suspend_process(self) -> None:
        """Go back to the shell until it says fg."""
        if not has_shell() or self.is_headless:
            self.say("There is no shell below the console to go back to.")
            return
        with self.suspend():
            stop_job()

    def leave(self) -> None:
        """Unload the plugins in a thread, then exit; a second call does not wait for them."""
        if self._leaving or self._stop is None:
            self.exit()
            return
        self._leaving = True
        self._console.unload(self._stop)
