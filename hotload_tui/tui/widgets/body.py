"""``Body``: the text of a pane, drawn anew only when it is another one."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class Body(Static):
    """Plain text that is never taken for markup."""

    def __init__(self, text: str = "", *, is_wrapped: bool = False) -> None:
        """Begin with a text; ``is_wrapped``: no line is wider than the pane, so only their number counts."""
        super().__init__(text, markup=False)
        self._text = Content(text)
        self._is_wrapped = is_wrapped

    def show(self, text: Content) -> None:
        """Show a text; the screen is laid out anew only if that may change the size."""
        if text.is_same(self._text):
            return
        before, self._text = self._text, text
        has_other_size = self._measures(text) != self._measures(before)
        if has_other_size:
            self._layout_updates += 1  # Textual measures but once what asks for two layouts in a row
        self.update(text, layout=has_other_size)

    def _measures(self, text: Content) -> list[int]:
        """Return what tells the size: the cells of each line, or only how many lines there are."""
        if self._is_wrapped:
            return [text.plain.count("\n")]
        return [line.cell_length for line in text.split("\n", allow_blank=True)]
