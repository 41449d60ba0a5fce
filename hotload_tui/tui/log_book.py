"""The lines of the log view: the host's numbered lines and what was printed, in order of arrival."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct
from rich.cells import cell_len

from hotload_tui.core.plugin import LogLine
from hotload_tui.tui.text import clean_line, clean_lines, clock_time

KEPT: Final = 50_000
"""Lines; older ones are dropped."""

STAMP: Final = 9
"""Characters of the time of day and the blank behind it, with which every line begins."""

_GLYPHS: Final = {"debug": ".", "info": " ", "warning": "~", "error": "!"}


class Entry(Struct, frozen=True, gc=False):
    """One line on the screen, already harmless."""

    level: str
    text: str


class LogBook:
    """Keeps the newest lines and tells its readers that there are more."""

    def __init__(self, clock: Callable[[], float], project: Path | None = None) -> None:
        self._clock = clock
        self._inside = f"{project}{os.sep}" if project else ""
        """What paths inside the project have in front; without it they fit into a line."""
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._readers: list[Callable[[], None]] = []
        self._unfinished = {"info": "", "warning": ""}
        self.written = 0
        """Lines ever added; what is dropped is counted, too."""
        self.widest = 0
        """Cells of the longest line that was ever added."""

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    @property
    def newest(self) -> str:
        """The text of the last line; empty when there is none."""
        return self._entries[-1].text if self._entries else ""

    def subscribe(self, reader: Callable[[], None]) -> None:
        """Call ``reader`` whenever lines were added."""
        self._readers.append(reader)

    def add(self, lines: Iterable[LogLine]) -> None:
        """Add lines of the host's log."""
        for line in lines:
            self._write(line.at, line.level, line.plugin, line.text)
        self._tell()

    def add_print(self, text: str, *, stderr: bool) -> None:
        """Add what was printed in this process; an unfinished line waits for its end."""
        level = "warning" if stderr else "info"
        *finished, rest = (self._unfinished[level] + text).split("\n")
        self._unfinished[level] = rest
        for line in finished:
            self._write(self._clock(), level, "stderr" if stderr else "print", line)
        if finished:
            self._tell()

    def _write(self, at: float, level: str, who: str, text: str) -> None:
        head = f"{clock_time(at)} {_GLYPHS.get(level, ' ')} "
        owner = f"{clean_line(who, 40)}: " if who else ""
        if self._inside:
            text = text.replace(self._inside, "")
        for line in clean_lines(text.rstrip("\n")):
            entry = Entry(level, f"{head}{owner}{line}")
            self._entries.append(entry)
            self.written += 1
            self.widest = max(self.widest, _cells(entry.text))
            head, owner = " " * len(head), " " * len(owner)

    def _tell(self) -> None:
        for reader in self._readers:
            reader()


def _cells(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)  # whose cache is better kept for other text
