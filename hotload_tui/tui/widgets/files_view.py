"""The files of a plugin: their digests, and their source as loaded and as on disk."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from textual.content import Content

from hotload_tui.core.model import FileDigest, PluginDetail
from hotload_tui.tui import keys
from hotload_tui.tui.chain import first_frame, line_now
from hotload_tui.tui.requests import SourcePair
from hotload_tui.tui.text import NO_PLUGIN, clean_line, clean_lines, count
from hotload_tui.tui.widgets.panes import DetailFacts, TextPane

if TYPE_CHECKING:
    from textual.highlight import HighlightTheme


def coloured(lines: Iterable[str]) -> list[Content]:
    """Return the lines in the theme's colours."""
    from textual.highlight import highlight  # the lexers are not needed for the first paint

    text = highlight("\n".join(lines), language="python", theme=_highlight_theme())
    return text.split("\n", allow_blank=True)


@cache
def _highlight_theme() -> type[HighlightTheme]:
    """Return Textual's styles of source without the transparent colours, which are too weak to read."""
    from textual.highlight import HighlightTheme

    class Opaque(HighlightTheme):
        STYLES = {  # noqa: RUF012 - Textual declares it so
            token: _TRANSPARENT.sub("", style.replace("$text 60%", "$foreground-muted"))
            for token, style in HighlightTheme.STYLES.items()
        }

    return Opaque


_TRANSPARENT: Final = re.compile(r" \d+%| on \S+")
"""The parts of a style that make its text transparent, or give it another background."""


def numbered_line(number: int, width: int, line: Content, *, is_failing: bool) -> Content:
    """Return a line after its number, which takes ``width`` cells; a failing line is marked."""
    gutter = f"{'>' if is_failing else ' '} {number:>{width}} | "
    return Content.assemble((gutter, "bold $text-error" if is_failing else "$foreground-muted"), line)


class HashesView(TextPane):
    """Shows full digests, so that the user can compare and copy them."""

    BINDINGS = keys.WIDE
    KIND = "hashes"
    ROWS = "files"

    def shown_facts(self, facts: DetailFacts) -> object:
        """Return the plugin's details."""
        return facts.closeup.detail

    def text(self) -> Content:
        """Return the files that match the filter, each with its digests."""
        detail = self.facts.closeup.detail
        if detail is None:
            return Content(NO_PLUGIN)
        files = list(_files(detail))
        shown = self.of_rows(files, (file.plain for file in files))
        return _text(detail, shown or [Content(self.nothing(len(files)))] if self.filter else files)

    def text_to_copy(self) -> str:
        """Return all digests."""
        detail = self.facts.closeup.detail
        return _text(detail, _files(detail)).plain if detail else ""


def _text(detail: PluginDetail, files: Iterable[Content]) -> Content:
    return Content("\n").join([*_head(detail), *files, *_hint(detail)])


def _head(detail: PluginDetail) -> Iterator[Content]:
    status = detail.status
    what = f"as generation {status.generation} loaded them" if status.generation else "as they are on disk"
    yield Content.styled(f"{count(len(detail.files), 'file')}, {what}", "bold")
    yield Content(f"running  {clean_line(status.digest) or 'nothing'}")
    same = bool(status.digest) and status.digest == status.source_digest
    yield Content(f"on disk  {'the same' if same else clean_line(status.source_digest) or 'unknown'}")
    yield Content("")


def _files(detail: PluginDetail) -> Iterator[Content]:
    before = {file.path: file for file in detail.files_before}
    for file in detail.files:
        lines = _file(file, before.pop(file.path, None), compared=bool(detail.files_before))
        yield Content("\n").join(lines)
    for file in before.values():
        yield Content.styled(f"- {clean_line(file.path, 300)}  removed", "$text-warning")


def _hint(detail: PluginDetail) -> Iterator[Content]:
    if not detail.files_before:
        yield Content("")
        yield Content.styled(
            "Nothing to compare with yet: after the next reload the changed files are marked.",
            "$foreground-muted",
        )


def _file(file: FileDigest, before: FileDigest | None, *, compared: bool) -> Iterator[Content]:
    is_new = compared and before is None
    is_changed = before is not None and before.sha256 != file.sha256
    sign, word = ("+", "  new") if is_new else ("*", "  changed") if is_changed else (" ", "")
    style = "bold $text-warning" if word else ""
    size = count(file.size, "byte")
    if before is not None and before.size != file.size:
        size += f" ({file.size - before.size:+,})"
    yield Content.assemble(
        (f"{sign} {clean_line(file.path, 300)}", style), (f"  {size}", "$foreground-muted"), (word, style)
    )
    yield Content(f"    {clean_line(file.sha256)}")
    if is_changed and before is not None:
        yield Content.styled(f"    {clean_line(before.sha256)}  before", "$foreground-muted")


COLOURED: Final = 2_000
"""The number of lines up to which a file is coloured; the user would notice the delay of a longer file."""

SHOWN: Final = 20_000
"""The maximum number of lines shown."""

READ: Final = 2_000_000
"""The maximum number of characters read of a file."""

Version: TypeAlias = Literal["loaded", "disk", "difference"]

_NEXT: Final[dict[Version, Version]] = {"loaded": "disk", "disk": "difference", "difference": "loaded"}

_DIFFERENCE_STYLES: Final = {
    "+": "$text-success",
    "-": "$text-error",
    "@": "bold $text-accent",
}


class SourceView(TextPane):
    """Shows one version of a plugin's file."""

    BINDINGS = keys.SOURCE
    KIND = "source"

    def __init__(self) -> None:
        super().__init__()
        self._wants: Version | None = None
        """``None``: the text on disk if the plugin has a fault and the file has changed, else as loaded."""
        self._aim = 0

    def shown_facts(self, facts: DetailFacts) -> object:
        """Return the plugin and its file."""
        return facts.status, facts.closeup.source

    def show(self, facts: DetailFacts) -> None:
        """Show the plugin's file; begin with the default version if it is another plugin."""
        status, before = facts.status, self.facts.status
        if status is None or before is None or status.name != before.name:
            self._wants = None
        super().show(facts)

    def action_next_version(self) -> None:
        """Switch from the loaded text to the text on disk, then to the difference, then back."""
        source = self.facts.closeup.source
        if source is None or source.loaded is None or source.disk is None:
            self.notify("There is only one version: nothing is loaded, or the file is gone.", markup=False)
            return
        self._wants = _NEXT[self._version(source)]
        self.redraw()

    def text_to_copy(self) -> str:
        """Return the text of the shown version, without line numbers and filter."""
        source = self.facts.closeup.source
        if source is None:
            return ""
        match self._version(source):
            case "loaded":
                return source.loaded or ""
            case "disk":
                return source.disk or ""
            case "difference":
                return "\n".join(_difference(source))

    def _version(self, source: SourcePair) -> Version:
        if source.loaded is None:
            return "disk"
        if source.disk is None:
            return "loaded"
        failed = self.facts.status is not None and self.facts.status.fault is not None
        return self._wants or ("disk" if failed and source.loaded != source.disk else "loaded")

    def text(self) -> Content:
        """Return the lines that match the filter, with their numbers; scroll to the failing line."""
        status, source = self.facts.status, self.facts.closeup.source
        self._aim = 0
        if status is None or source is None:
            return Content(NO_PLUGIN)
        version = self._version(source)
        if version == "difference":
            self.scroll_home(animate=False)
            return self.of_lines(_drawn_difference(source, status.generation))
        on_disk = version == "disk"
        text = source.disk if on_disk else source.loaded
        if text is None:
            return Content(f"{clean_line(source.file)} cannot be read.")
        which = "on disk" if on_disk else f"as loaded by generation {status.generation}"
        if source.loaded is not None and source.loaded == source.disk:
            which = f"as loaded by generation {status.generation}, the same on disk"
        elif source.loaded is not None and source.disk is not None:
            which += ", they differ (v turns on)"
        title = Content.styled(f"{clean_line(source.file)}, {which}", "bold")
        self._aim = self._failing(text, on_disk=on_disk)
        self.call_after_refresh(self._scroll_there)
        return self.of_lines(Content("\n").join([title, *_numbered(text, self._aim)]))

    def _scroll_there(self) -> None:
        if self._aim and not self.filter:
            self.scroll_to(0, max(0, self._aim - self.size.height // 2), animate=False)

    def _failing(self, text: str, *, on_disk: bool) -> int:
        """Return the failing line's number; 0 in a text that did not fail, even if it has an equal line."""
        status = self.facts.status
        fault = status.fault if status else None
        place = first_frame(fault) if fault else None
        if status is None or fault is None or place is None or place.owner != "plugin":
            return 0
        if not on_disk and not (fault.is_running and fault.generation in (0, status.generation)):
            return 0  # code that was to be loaded failed, or that of a retired generation
        return line_now(place, text) or 0


def _difference(source: SourcePair) -> list[str]:
    """Return the unified difference from the loaded text to the text on disk, without file names."""
    old, new = (clean_lines((text or "")[:READ])[:SHOWN] for text in (source.loaded, source.disk))
    return list(difflib.unified_diff(old, new, lineterm=""))[2:]


def _drawn_difference(source: SourcePair, generation: int) -> Content:
    lines = _difference(source)
    file = clean_line(source.file)
    if not lines:
        return Content.styled(f"{file}, the same on disk as loaded by generation {generation}", "bold")
    title = f"{file}, from generation {generation} (-) to the disk (+) (v turns on)"
    rows = [Content.styled(line, _DIFFERENCE_STYLES.get(line[:1], "")) for line in lines]
    return Content("\n").join([Content.styled(title, "bold"), *rows])


def _numbered(text: str, failing: int) -> list[Content]:
    lines = clean_lines(text[:READ].replace("\r\n", "\n").replace("\r", "\n"))
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        return [Content("(the file is empty)")]
    shown = lines[:SHOWN]
    source = coloured(shown) if len(shown) <= COLOURED else [Content(line) for line in shown]
    width = len(str(len(shown)))
    rows = [
        numbered_line(number, width, line, is_failing=number == failing)
        for number, line in enumerate(source[: len(shown)], 1)
    ]
    cut = len(lines) > len(shown) or len(text) > READ
    return [*rows, Content(f"… the file goes on: {len(text):,} characters")] if cut else rows
