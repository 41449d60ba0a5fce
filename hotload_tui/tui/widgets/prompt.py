"""``Prompt``: one line to type in, with completion of what was typed before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.suggester import Suggester
from textual.widgets import Input


class Earlier(Suggester):
    """Completes with the newest earlier text that begins so."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.texts: Sequence[str] = ()
        """The newest first."""

    async def get_suggestion(self, value: str) -> str | None:
        """Return the completed text."""
        return next((text for text in self.texts if text.startswith(value) and text != value), None)


class Prompt(Input):
    """A line that remembers: up and down turn through earlier texts, right takes the completion."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "turn(1)", "Earlier", show=False),
        Binding("down", "turn(-1)", "Later", show=False),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own word
        self._earlier = Earlier()
        super().__init__(compact=True, suggester=self._earlier, id=id)
        self._turn = -1

    def open(self, title: str | Content, hint: str, text: str, earlier: Sequence[str] = ()) -> None:
        """Show the line with ``text`` in it, selected so that typing replaces it, and go there."""
        self._earlier.texts = tuple(earlier)
        self._turn = -1
        self.placeholder = hint
        self.border_title = title
        self.value = text
        self.add_class("-open")
        self.screen.set_focus(self)

    def close(self) -> None:
        """Hide the line."""
        self.remove_class("-open")

    def action_turn(self, by: int) -> None:
        """Put an earlier text in."""
        texts = self._earlier.texts
        if texts:
            self._turn = max(-1, min(len(texts) - 1, self._turn + by))
            self.value = texts[self._turn] if self._turn >= 0 else ""
            self.cursor_position = len(self.value)
