"""``PlainApp``: what the framework says by itself, in the console's words and place."""

from __future__ import annotations

import os
import sys
from abc import abstractmethod

from textual.app import App
from textual.content import Content
from textual.driver import Driver
from textual.notifications import SeverityLevel
from textual.widgets import Input

from hotload_tui.tui.poor import speaks_utf8


class PlainApp(App[None]):
    """Hands on what the framework wants to tell; prints a crash without secrets."""

    @abstractmethod
    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast."""

    def get_driver_class(self) -> type[Driver]:
        """Leave a terminal of Unix tidy, and write ASCII to one without UTF-8; its user may want another."""
        chosen = super().get_driver_class()
        if sys.platform == "win32":
            return chosen
        from hotload_tui.tui.driver import AsciiDriver, TidyDriver  # imports what only Unix has

        ours = TidyDriver if speaks_utf8(os.environ) else AsciiDriver
        return ours if issubclass(ours, chosen) else chosen

    async def _check_bindings(self, key: str, priority: bool = False) -> bool:  # noqa: FBT001, FBT002 - Textual's
        """Act on every key in the order in which it came, but for what is typed into a line.

        Otherwise a key goes to the pane that has the focus when it arrives, and a key typed right behind "3"
        would still reach the pane that had it before.
        """
        if await super()._check_bindings(key, priority):
            return True
        if not priority or isinstance(self.focused, Input):
            return False
        return await super()._check_bindings(key)

    def action_help_quit(self) -> None:
        """Say which key quits: ctrl+c, where nothing is marked, does not."""
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
        """Say in the console's own place what the framework has to say."""
        text = Content.from_markup(message).plain if markup else message
        self.say(f"{title}: {text}" if title else text, bad=severity == "error")

    def _fatal_error(self) -> None:
        """Print the traceback of a bug in the console itself, without locals: they may hold secrets."""
        from rich.segment import Segments
        from rich.traceback import Traceback  # a fifth of all imports, for what should never happen

        trace = Traceback(show_locals=False, width=None)
        self._exit_renderables.append(Segments(self.console.render(trace, self.console.options)))
        self._close_messages_no_wait()
