"""Python source in colours."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content


def coloured(lines: Iterable[str]) -> list[Content]:
    """Return the lines in the theme's colours."""
    from textual.highlight import highlight  # the lexers: not before the first picture

    return highlight("\n".join(lines), language="python").split("\n", allow_blank=True)
