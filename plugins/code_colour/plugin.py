"""Source in colour, for the terminal or as HTML; shows the last step of a pipe, and an installed library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pygments import highlight
from pygments.formatter import Formatter
from pygments.formatters import HtmlFormatter, Terminal256Formatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound

if TYPE_CHECKING:
    from hotload_tui import PluginContext

FORMATS: dict[str, type[Formatter[str]]] = {"terminal": Terminal256Formatter, "html": HtmlFormatter}


class Code(TypedDict):
    """What the step before returned: plain values, so that no plugin imports another."""

    path: str
    text: str


def register(ctx: PluginContext) -> None:
    """Take the last place at the hook point "colour".

    A wrong setting is a fault of the load, not of a later call::

        [plugins.code_colour]
        settings = { format = "html", style = "monokai" }
    """
    name = str(ctx.settings.get("format", "terminal"))
    if name not in FORMATS:
        raise ValueError(f"format = {name!r}: must be one of {', '.join(FORMATS)}")
    style = str(ctx.settings.get("style", "default"))
    formatter = FORMATS[name](style=style, noclasses=True)  # HTML that needs no style sheet

    @ctx.hook("colour", priority=90)
    def colour(code: Code | str) -> str:
        """Colour what a reader read; a bare path is read here, so that this works alone too."""
        if isinstance(code, str):
            code = {"path": code, "text": Path(code).read_text("utf-8")}
        try:
            lexer = get_lexer_for_filename(code["path"], code["text"])
        except ClassNotFound:
            lexer = TextLexer()
        return highlight(code["text"], lexer, formatter)
