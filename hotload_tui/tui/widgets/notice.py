"""``Notice``: one short text on the line above the panes, for a few seconds."""

from __future__ import annotations

from typing import Final

from textual.containers import Container
from textual.content import Content
from textual.timer import Timer

from hotload_tui.tui.text import clean_line
from hotload_tui.tui.widgets.body import Body

SHORT: Final = 3.0
LONG: Final = 10.0
"""Seconds that a text stays; longer if it tells of trouble."""

PACE: Final = 0.2
"""Seconds between two texts that are painted."""

_ROW: Final = 0.75
"""Share of the screen's width that fits into one row."""


class Notice(Container):
    """Shows one text at a time, at the right, where it hides nothing but a pane's border.

    It is a part of the main screen: dialogs lie above it. It has one timer, begun anew with each text, and is
    hidden, never removed: a toast of Textual's that was replaced at once could stay painted for ever.
    """

    def __init__(self) -> None:
        super().__init__(Body())
        self._timer: Timer | None = None
        self.text = ""
        self._is_bad = False
        self._due = False

    def show(self, text: str, *, bad: bool) -> None:
        """Show a text in the place of the one before."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(LONG if bad else SHORT, self.hide)
        self.text, self._is_bad = clean_line(text), bad
        if not self.has_class("-shown"):
            self._draw()
        elif not self._due:  # one that grows with every reload would have everything painted anew each time
            self._due = True
            self.set_timer(PACE, self._draw)

    def _draw(self) -> None:
        self._due = False
        if self.text:
            body = self.query_one(Body)
            body.set_class(self._is_bad, "-bad")
            text = Content(f"! {self.text}" if self._is_bad else self.text)
            self.set_class(text.cell_length > _ROW * self.screen.size.width, "-long")
            body.show(text)
            self.add_class("-shown")

    def hide(self) -> None:
        """Show nothing, and paint what lay below."""
        self.text = ""
        self.remove_class("-shown")
        self.screen.refresh(layout=True)
