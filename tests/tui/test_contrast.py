"""The contrast of what is painted, in every theme that the console ships."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest
from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from hotload_tui.tui.contrast import legible
from tests.conftest import Workspace, answering
from tests.counts import ALL_CASES
from tests.tui.console import Console, Run, console

TEXT: Final = 4.5
LINE: Final = 3.0
"""The least contrast of text and of the lines of borders, after the Web Content Accessibility Guidelines."""

THEMES: Final = sorted(name for name in BUILTIN_THEMES if not name.startswith("ansi"))
"""All themes but those with the terminal's own colours, which only the terminal knows."""

SHOWN: Final = THEMES if ALL_CASES else ["solarized-light"]
"""The themes in which every view is looked at."""

SOURCE: Final = '''"""Prices in all kinds of code."""
import math
from functools import cache

RATES: dict[str, float] = {"EUR": 1.0}  # a comment
NONE, YES = None, True


class Price(Exception):
    """A price."""

    @property
    def text(self) -> str:
        return f"{self.args[0]!r}" + 'x' + r"\\n"


@cache
def price(what: str, *, times: int = 3) -> float:
    if not what in RATES and len(what) > 0x10:
        raise Price(what) from None
    password = "hidden"
    return RATES["USD"] * math.pi * times


def register(ctx):
    ctx.hook("price", lambda what: price(what))
    ctx.log.warning("a warning")
    ctx.log.error("an error")
    ctx.log.debug("a detail")
    price("x")
'''

VIEWS: Final = {
    "1": ("1",),
    "2": ("2", "v"),
    "3": ("3", "v"),
    "4": ("4",),
    "difference": ("4", "v"),
    "5": ("5",),
    "6": ("6",),
    "7": ("7",),
    "hooks": ("7", "G", "enter", *"Ada", "enter"),
    "prompt": ("7", "enter"),
    "filter": ("0", "slash", *"s:"),
    "help": ("0", "question_mark"),
    "settings": ("0", "comma"),
    "clean": ("0", "C"),
    "new": ("0", "n"),
    "palette": ("0", "colon", *"view: f"),
}


def too_weak(it: Console) -> Iterator[str]:
    """Yield each piece of the screen, or of the dialog above it, whose contrast is too low."""
    dialogs = list(it.app.screen.query(".dialog, CommandPalette > Vertical"))
    x, y, width, height = dialogs[0].region if dialogs else it.app.screen.region
    for strip in (strip.crop(x, x + width) for strip in it.strips[y : y + height]):
        for segment in strip:
            text = segment.text.strip()
            kinds = {_least(sign) for sign in text if not sign.isspace()}
            if not kinds or segment.style is None:
                continue
            front, back = _colours(segment.style)
            contrast = _contrast(front, back)
            if contrast < max(kinds) - 0.005:
                yield f"{contrast:.2f} {front.hex} on {back.hex}: {text[:30]!r} {segment.style}"


def _contrast(one: Color, other: Color) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: Color) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _least(sign: str) -> float:
    if "▀" <= sign <= "▟":  # a scroll bar, or the bars of the load times
        return 0.0
    return LINE if "─" <= sign <= "╿" else TEXT


def _colours(style: Style) -> tuple[Color, Color]:
    colours = [Color.from_rich_color(each or RichColor.default()) for each in (style.color, style.bgcolor)]
    front, back = reversed(colours) if style.reverse else colours
    return front, back


def test_every_theme_has_colours_that_can_be_read() -> None:
    """In every theme, each colour of text has 4.5:1 on all backgrounds, and borders have 3:1."""
    for name in THEMES:
        colours = legible(BUILTIN_THEMES[name].to_color_system().generate())
        behind = [Color.parse(colours[each]) for each in ("background", "surface", "panel")]
        texts = [each for each in colours if each.startswith("text-") and colours[each].startswith("#")]
        assert {"text-error", "text-warning", "text-success"} <= set(texts)
        least = dict.fromkeys((*texts, "foreground", "foreground-muted"), TEXT)
        least |= {"line": LINE, "border": LINE}
        for key, value in least.items():
            assert min(_contrast(Color.parse(colours[key]), each) for each in behind) >= value, (name, key)


@pytest.mark.timeout(600)  # every view in some themes, or in all
async def test_all_that_is_painted_can_be_read(workspace: Workspace, run: Run) -> None:
    """In every view, text has a contrast of 4.5:1 and borders 3:1, also after a change of the theme."""
    workspace["apple"] = answering(1)
    workspace["held"] = answering(1)
    workspace["bad"] = SOURCE.replace("USD", "EUR")
    workspace["fail"] = "def register(ctx):\n    1 / 0\n"
    workspace["_off"] = answering(1)
    manager = run(workspace.config()).manager
    workspace["held"] = answering(2)
    workspace["bad"] = SOURCE
    await asyncio.to_thread(manager.scan_and_load_all)
    await asyncio.to_thread(manager.rollback, "held", 1)
    async with console(manager, workspace.root, (200, 50)) as it:
        await it.until(lambda: "! FAIL" in it.row("fail"))
        it.main.selection.choose("bad")
        await it.selected("bad")
        weak: dict[str, list[str]] = {}
        for view, keys in VIEWS.items():
            await it.press(*keys)
            for theme in SHOWN:
                it.app.theme = theme
                await it.painted()
                weak |= {f"{view} in {theme}": found} if (found := sorted(set(too_weak(it)))) else {}
            while it.app.screen is not it.main:
                await it.press("escape")
            await it.press("escape")
        assert not weak
