"""``LogRows``: the lines of a ``LogBook`` as the rows of a view, wrapped or not, with times or without."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace
from rich.cells import cell_len, chop_cells

from hotload_tui.tui.log_book import STAMP, Entry, LogBook
from hotload_tui.tui.text import is_wanted


class _Piece(NamedTuple):
    line: int
    """Number of the line, counted from the first that was ever written."""
    start: int
    end: int


class LogRows:
    """Keeps pace with its book; a row costs nothing while lines are not wrapped."""

    def __init__(self, book: LogBook) -> None:
        self._book = book
        self._width = 0
        self._wanted = ""
        self._seen = 0
        self._pieces: list[_Piece] = []
        self._widest = 0
        self.stamped = True
        """Whether each line begins with the time of day."""

    @property
    def widest(self) -> int:
        """Cells of the longest row that was ever seen; 0 where they are wrapped."""
        if self._width or self._wanted:
            return self._widest
        return self._book.widest if self.stamped else max(0, self._book.widest - STAMP)

    def lay_out(self, *, width: int, stamped: bool, wanted: str = "") -> None:
        """Wrap to ``width`` cells from now on, 0 for not at all; show only lines with ``wanted`` in them."""
        wanted = wanted.casefold()
        if (width, stamped, wanted) != (self._width, self.stamped, self._wanted):
            self._width, self.stamped, self._wanted = width, stamped, wanted
            self._seen = self._widest = 0
            self._pieces = []

    def keep_pace(self) -> None:
        """Take in what was written since, and let go what the book has dropped."""
        first = self._book.written - len(self._book)
        new = range(max(first, self._seen), self._book.written)
        for line in new if self._width or self._wanted else ():
            entry = self._book[line - first]
            if self._wanted and not is_wanted(entry.text, self._wanted):
                continue
            text = self._text(entry)
            if self._width:
                self._pieces.extend(_Piece(line, *span) for span in _spans(text, self._width))
                continue
            self._widest = max(self._widest, cell_len(text))
            self._pieces.append(_Piece(line, 0, len(text)))
        self._seen = self._book.written
        del self._pieces[: bisect_left(self._pieces, (first,))]

    def __len__(self) -> int:
        return len(self._pieces) if self._width or self._wanted else len(self._book)

    def __getitem__(self, row: int) -> Entry:
        if not self._width and not self._wanted:
            entry = self._book[row]
            return replace(entry, text=self._text(entry))
        piece = self._pieces[row]
        entry = self._book[piece.line - (self._book.written - len(self._book))]
        return replace(entry, text=self._text(entry)[piece.start : piece.end])

    def _text(self, entry: Entry) -> str:
        return entry.text if self.stamped else entry.text[STAMP:]


def _spans(text: str, width: int) -> Iterator[tuple[int, int]]:
    if text.isascii():
        for start in range(0, max(1, len(text)), width):
            yield start, start + width
        return
    start = 0
    for part in chop_cells(text, width):
        yield start, start + len(part)
        start += len(part)
