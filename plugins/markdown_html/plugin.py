"""Markdown to HTML with coloured code blocks; shows how to import a file beside plugin.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from inline import inline_html  # this plugin's own inline.py; other plugins may have one too
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

if TYPE_CHECKING:
    from hotload_tui import PluginContext

_ITEM = r"(?:[-*+]|\d+[.)])[ ]+"
_BLOCK = re.compile(
    rf"""
      ^(?P<marks>```+|~~~+)[ ]*(?P<language>[\w+-]*).*\n(?P<fence>(?:.*\n)*?)(?:(?P=marks).*\n|\Z)
    | ^(?P<level>\#{{1,6}})[ ]+(?P<heading>.+?)[ ]*\#*\n
    | ^(?P<rule>(?:\*[ ]*){{3,}}|(?:-[ ]*){{3,}}|(?:_[ ]*){{3,}})\n
    | ^(?P<quote>(?:>.*\n)+)
    | ^(?P<list>{_ITEM}.*\n(?:(?:{_ITEM}|[ ]|(?=\S)(?<!\n\n)(?![>`\#])).*\n|\n(?={_ITEM}|[ ]{{2,}}\S))*)
    | ^(?P<table>\|.*\n\|[ :|-]+\n(?:\|.*\n)*)
    | ^(?P<text>.*\S.*\n(?:(?!\#{{1,6}}[ ]|```|~~~|>|{_ITEM}|\|).*\S.*\n)*)
    """,
    re.VERBOSE | re.MULTILINE,
)


def render(source: str) -> str:
    """Render Markdown text, or the file if ``source`` is a name that ends in .md."""
    if source.endswith(".md") and "\n" not in source:
        source = Path(source).read_text("utf-8")
    return _html(source)


def _html(text: str) -> str:
    return "\n".join(_blocks(text))


def _blocks(text: str) -> Iterator[str]:
    """Give each block of ``text`` as HTML."""
    for block in _BLOCK.finditer(text.expandtabs(4).rstrip() + "\n"):
        content = block[block.lastgroup or 0]
        match block.lastgroup:
            case "fence":
                yield _code(content, block["language"])
            case "heading":
                tag = f"h{len(block['level'])}"
                yield f"<{tag}>{inline_html(content)}</{tag}>"
            case "rule":
                yield "<hr>"
            case "quote":
                inside = _html(re.sub(r"^> ?", "", content, flags=re.MULTILINE))
                yield f"<blockquote>\n{inside}\n</blockquote>"
            case "list":
                yield _list(content)
            case "table":
                yield _table(content)
            case _:
                yield f"<p>{inline_html(content.strip())}</p>"


def _code(code: str, language: str) -> str:
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return f"<pre><code>{escape(code)}</code></pre>"
    return highlight(code, lexer, HtmlFormatter(noclasses=True)).rstrip()


def _list(text: str) -> str:
    number = re.findall(r"^\d*", text)[0]  # of the first item; "" in a list of bullets
    html = [f'<ol start="{number}">' if number else "<ul>"]
    for item in re.split(rf"^{_ITEM}", text, flags=re.MULTILINE)[1:]:
        first, _, rest = item.partition("\n")
        content = _html(f"{first}\n{dedent(rest)}")
        if "\n\n" not in text:  # a tight list: its items are lines, not paragraphs
            content = content.removeprefix("<p>").replace("</p>", "", 1)
        html.append(f"<li>{content}</li>")
    return "\n".join([*html, "</ol>" if number else "</ul>"])


def _table(text: str) -> str:
    header, _, *rows = text.splitlines()
    html = ["<table>", _row(header, "th"), *(_row(row, "td") for row in rows), "</table>"]
    return "\n".join(html)


def _row(line: str, tag: str) -> str:
    cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return "<tr>" + "".join(f"<{tag}>{inline_html(cell.strip())}</{tag}>" for cell in cells) + "</tr>"


def register(ctx: PluginContext) -> None:
    """Answer at the hook point "render"."""
    ctx.hook("render", render)
