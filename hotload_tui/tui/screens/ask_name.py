"""``AskNameScreen``: asks for the name of a new plugin, until one is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from hotload_tui.core.discovery import oddity
from hotload_tui.tui.text import clean_line


class AskNameScreen(ModalScreen[None]):
    """Hands each name to ``make`` and stays open, so that a refused name can be mended."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, make: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make

    def compose(self) -> ComposeResult:
        """Lay out the prompt, what was wrong with the name before, and the keys."""
        with Vertical(classes="dialog"):
            yield Static("Name of the new plugin (a directory is made from the template)", markup=False)
            yield Input(placeholder="greeter", compact=True)
            yield Static(classes="error -empty", markup=False)
            yield Static("enter make it  esc cancel", classes="keys", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what a plugin of this name could not have, while another can be chosen."""
        self._tell(oddity(event.value.strip()))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Try the name; the manager judges it."""
        if event.value.strip():
            self.refuse(self._make(event.value.strip()))

    def refuse(self, reason: str) -> None:
        """Say why there is no such plugin; nothing for an empty reason."""
        self._tell(f"! {reason}" if reason else "")

    def _tell(self, text: str) -> None:
        line = self.query_one(".error", Static)
        line.update(clean_line(text))
        line.set_class(not text, "-empty")

    def action_cancel(self) -> None:
        """Make nothing."""
        self.dismiss()
