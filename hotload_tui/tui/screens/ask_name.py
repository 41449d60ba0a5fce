"""``AskNameScreen``: asks for the name of a new plugin."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class AskNameScreen(ModalScreen[str]):
    """Gives the name, or an empty text when its user thought better of it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Cancel")]

    def __init__(self, initial: str = "") -> None:
        super().__init__()
        self._initial = initial

    def compose(self) -> ComposeResult:
        """Lay out the prompt and the keys."""
        with Vertical(classes="dialog"):
            yield Static("Name of the new plugin (a directory is made from the template)", markup=False)
            yield Input(self._initial, placeholder="greeter", compact=True)
            yield Static("enter make it  esc cancel", classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the name; the manager judges it."""
        if event.value.strip():
            self.dismiss(event.value.strip())

    def action_cancel(self) -> None:
        """Make nothing."""
        self.dismiss("")
