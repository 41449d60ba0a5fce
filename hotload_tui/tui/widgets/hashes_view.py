"""``HashesView``: each file of a plugin with its digest, and what changed since the generation before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textual.containers import ScrollableContainer
from textual.content import Content

from hotload_tui.core.plugin import FileDigest, PluginDetail
from hotload_tui.tui import keys
from hotload_tui.tui.text import NO_PLUGIN, clean_line, count
from hotload_tui.tui.widgets.body import Body
from hotload_tui.tui.widgets.narrowed import Narrowed


class HashesView(ScrollableContainer, Narrowed, can_focus=True):
    """Shows digests in full, so that they can be compared and copied."""

    BINDINGS = keys.WIDE
    KIND = "hashes"
    ROWS = "files"

    def __init__(self) -> None:
        super().__init__(Body(NO_PLUGIN))
        self._detail: PluginDetail | None = None

    def show(self, detail: PluginDetail | None) -> None:
        """Show this plugin's files."""
        if detail != self._detail:
            self._detail = detail
            self._draw_if_seen()

    def on_show(self) -> None:
        """Draw what came while the tab was hidden."""
        self._draw_if_seen()

    def draw_anew(self) -> None:
        """Draw the files that are wanted now, each with its digests."""
        self._draw_if_seen()

    def _draw_if_seen(self) -> None:
        # Whatever is drawn has the whole screen laid out anew.
        if self.is_on_screen:
            self.query_one(Body).show(self._wanted(self._detail) if self._detail else Content(NO_PLUGIN))

    def _wanted(self, detail: PluginDetail) -> Content:
        files = list(_files(detail))
        shown = self.of_rows(files, (file.plain for file in files))
        return _text(detail, shown or [Content(self.nothing(len(files)))] if self.filter else files)

    def text_to_copy(self) -> str:
        """Return all digests."""
        return _text(self._detail, _files(self._detail)).plain if self._detail else ""


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
