"""``TooSmall``: what a terminal without enough room shows instead of a broken screen."""

from __future__ import annotations

from typing import Final

from textual.content import Content
from textual.widget import Widget

NEEDED: Final = (60, 15)
"""Columns and rows."""

_NARROW: Final = 20
"""Columns in which a whole sentence would need more rows than there are."""


class TooSmall(Widget):
    """Names the size that there is and the size that is needed."""

    def render(self) -> Content:
        """Draw one line, a short one where there is hardly any room; drawn anew whenever the size changes."""
        width, height = self.app.size
        sizes = f"{width}x{height}: needs {NEEDED[0]}x{NEEDED[1]}"
        return Content(sizes if width < _NARROW else f"Terminal {sizes} (ctrl+q quits)")
