"""Contrast: colours of a theme that are too weak to read become lighter or darker.

Many of Textual's themes have text with a contrast of 3:1 and less. The limits are those of the Web Content
Accessibility Guidelines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from textual.color import BLACK, WHITE, Color, ColorParseError

TEXT: Final = 4.5
LINE: Final = 3.0
"""The least contrast of text, and of the lines of borders."""

_SPARE: Final = 1.02
"""A factor for both: colours are rounded when they are painted."""

_STEPS: Final = 20
"""The number of steps from a colour to black or white."""

_BACKGROUNDS: Final = ("background", "surface", "panel")
"""The variables with the backgrounds of panes, dialogs, and titles."""

_TEXTS: Final = (
    *("foreground", "foreground-muted", "text-primary", "text-secondary", "text-accent"),
    *("text-success", "text-warning", "text-error"),
)
_FOOTER: Final = ("footer-key-foreground", "footer-description-foreground")


def legible(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a theme with colours that can be read, and ``line``, the colour of borders.

    Colours that the terminal chooses stay as they are.
    """
    behind = [color for name in _BACKGROUNDS if (color := _color(variables[name]))]
    below = [color] if (color := _color(variables["footer-background"])) else behind
    ink = _color(variables["foreground"])
    if not behind or ink is None:
        return {**variables, "line": f"{variables['foreground']} 25%"}
    changed = {"line": _stronger(behind[0].blend(ink, 0.25), behind, LINE).hex}
    pairs = (((*_TEXTS, "border"), behind), (_FOOTER, below))
    for name, background in ((name, background) for names, background in pairs for name in names):
        if color := _color(variables[name]):
            opaque = background[0].blend(color, color.a)
            changed[name] = _stronger(opaque, background, LINE if name == "border" else TEXT).hex
    return {**variables, **changed}


def _contrast(one: Color, other: Color) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _color(value: str) -> Color | None:
    """Return the colour, or ``None`` for one that depends on the terminal or on what is behind it."""
    try:
        color = Color.parse(value)
    except ColorParseError:
        return None
    return color if color.a and color.ansi is None else None


def _stronger(color: Color, behind: Iterable[Color], least: float) -> Color:
    """Return the colour that is nearest to ``color`` and has the contrast ``least`` to all behind it."""
    behind = tuple(behind)

    def weakest(one: Color) -> float:
        return min(_contrast(one, other) for other in behind)

    end = max((BLACK, WHITE), key=weakest)
    steps = (color.with_alpha(1.0).blend(end, step / _STEPS) for step in range(_STEPS + 1))
    return next((one for one in steps if weakest(one) >= least * _SPARE), end)


def _luminance(color: Color) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - WCAG's
        for part in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
