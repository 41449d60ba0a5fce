"""``TooSmall``: what a terminal without enough room shows instead of a broken screen."""

from __future__ import annotations

from typing import Final

from textual.content import Content
from textual.widget import Widget

NEEDED: Final = (60, 15)
"""Columns and rows."""


class TooSmall(Widget):
    """Names the size that there is and the size that is needed."""

    def render(self) -> Content:
        """Draw one line; it is drawn anew whenever the size changes."""
        width, height = self.app.size
        return Content(f"Terminal {width}x{height}: needs {NEEDED[0]}x{NEEDED[1]} (ctrl+q quits)")
