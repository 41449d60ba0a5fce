"""Markdown inside a line: code, emphasis, links and images, as safe HTML."""

from __future__ import annotations

import re
from html import escape

_SPAN = re.compile(
    r"""
      \\(?P<literal>[!-/:-@\[-`{-~])
    | (?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)
    | !\[(?P<alt>[^\[\]]*)\]\((?P<image>[^()\s]+)[^()]*\)
    | \[(?P<label>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<link>[^()\s]+)[^()]*\)
    | <(?P<address>https?://[^<>\s]+)>
    | \*\*(?=\S)(?P<strong>.+?)(?<=\S)\*\*
    | ~~(?=\S)(?P<deleted>.+?)(?<=\S)~~
    | \*(?=[^\s*])(?P<star>.+?)(?<=[^\s*])\*(?!\*)
    | \b__(?=\S)(?P<heavy>.+?)(?<=\S)__\b
    | \b_(?=\S)(?P<underline>.+?)(?<=\S)_\b
    """,
    re.VERBOSE | re.DOTALL,
)
_TAGS = {"strong": "strong", "heavy": "strong", "deleted": "del", "star": "em", "underline": "em"}
_SAFE = re.compile(r"(?:https?:|mailto:|[^:]*$|[^:]*[/?#])", re.IGNORECASE)  # else "javascript:" runs


def inline_html(text: str) -> str:
    """Render the text of a paragraph, heading, list item or table cell."""
    parts: list[str] = []
    end = 0
    for span in _SPAN.finditer(text):
        parts += [escape(text[end : span.start()]), _span_html(span)]
        end = span.end()
    return "".join([*parts, escape(text[end:])])


def _span_html(span: re.Match[str]) -> str:
    """Render what one alternative of the pattern matched; what may nest is rendered in turn."""
    content = span[span.lastgroup or 0]
    match span.lastgroup:
        case "code":
            return f"<code>{escape(content.strip())}</code>"
        case "image":
            return f'<img src="{_address(content)}" alt="{escape(span["alt"])}">'
        case "link":
            return f'<a href="{_address(content)}">{inline_html(span["label"])}</a>'
        case "address":
            return f'<a href="{escape(content)}">{escape(content)}</a>'
        case "literal":
            return escape(content)
        case kind:
            tag = _TAGS[str(kind)]
            return f"<{tag}>{inline_html(content)}</{tag}>"


def _address(url: str) -> str:
    return escape(url) if _SAFE.match(url) else "#"
