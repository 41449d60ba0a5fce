"""``PlainApp``: what the framework says by itself, in the console's words and place."""

from __future__ import annotations

from abc import abstractmethod

from textual.app import App
from textual.content import Content
from textual.notifications import SeverityLevel


class PlainApp(App[None]):
    """Hands on what the framework wants to tell; prints a crash without secrets."""

    @abstractmethod
    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast."""

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
