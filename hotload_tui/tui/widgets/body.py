"""``Body``: the text of a pane, drawn anew only when it is another one."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class Body(Static):
    """Plain text that is never taken for markup."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text, markup=False)
        self._text = Content(text)

    def show(self, text: Content) -> None:
        """Show a text; the screen is laid out anew only if that may change the size."""
        if text.is_same(self._text):
            return
        before, self._text = self._text, text
        has_other_size = _measures(text) != _measures(before)
        if has_other_size:
            self._layout_updates += 1  # Textual measures but once what asks for two layouts in a row
        self.update(text, layout=has_other_size)


def _measures(text: Content) -> list[int]:
    """Return the cells of each line: with the same ones a text takes the same room."""
    return [line.cell_length for line in text.split("\n", allow_blank=True)]
