"""``ConsoleApp``: the console's wiring; what it shows and does is in screens and widgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from rich.console import RenderableType
from textual.app import App
from textual.content import Content
from textual.notifications import SeverityLevel
from textual.screen import Screen

from hotload_tui.core.api import ManagerApi
from hotload_tui.tui import keys as bindings
from hotload_tui.tui.commands import ConsoleCommands
from hotload_tui.tui.screens.confirm import ConfirmScreen
from hotload_tui.tui.screens.console import ConsoleScreen
from hotload_tui.tui.system import give_size, hear_signals, leave_within
from hotload_tui.tui.widgets.too_small import NEEDED

GRACE = 4.0  # seconds that plugins have for their clean-up once a signal has come
RESTORE = 1.0  # seconds for the terminal to become as it was; one that hung up never does


class ConsoleApp(App[None]):
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._stop = stop
        self._leaving = False
        self._code: int | None = None
        self._console = ConsoleScreen(api, project, start, clock)
        self.set_keymap(dict(keys))

    def get_default_screen(self) -> Screen[None]:
        """Open with the console."""
        return self._console

    def on_mount(self) -> None:
        """Leave in order when the system asks for it."""
        hear_signals(self.end)

    def on_resize(self) -> None:
        """Stand a terminal that does not know its size."""
        give_size()

    def end(self, code: int = 0) -> None:
        """Leave with an exit code because the system asks for it; it does not ask for ever."""
        self._code = code
        self.leave()
        self.set_timer(GRACE, self.exit)

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        """Leave with the code that a signal wants, if there was one."""
        if self._code is not None and not self.is_headless:
            leave_within(RESTORE, self._code)
        super().exit(result, return_code or self._code or 0, message)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell which keys there are; while the plugins are being unloaded there is only quitting."""
        return action == "quit" if self._leaving else super().check_action(action, parameters)

    def action_help_quit(self) -> None:
        """Say which key quits: ctrl+c, where nothing is marked, does not."""
        self._console.say("Nothing is marked to be copied; q quits.")

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,  # noqa: ARG002 - Textual's signature
        markup: bool = True,
    ) -> None:
        """Say in the console's own place what the framework has to say."""
        text = Content.from_markup(message).plain if markup else message
        self._console.say(f"{title}: {text}" if title else text, bad=severity == "error")

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

    def leave(self) -> None:
        """Unload the plugins in a thread, then exit; a second call does not wait for them."""
        if self._leaving or self._stop is None:
            self.exit()
            return
        self._leaving = True
        self._console.unload(self._stop)

    def _fatal_error(self) -> None:
        """Print the traceback of a bug in the console itself, without locals: they may hold secrets."""
        from rich.segment import Segments
        from rich.traceback import Traceback  # a fifth of all imports, for what should never happen

        trace = Traceback(show_locals=False, width=None)
        self._exit_renderables.append(Segments(self.console.render(trace, self.console.options)))
        self._close_messages_no_wait()
