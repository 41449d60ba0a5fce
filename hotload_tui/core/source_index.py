"""The index of sources: by which facts of its files a plugin's digest is known without reading them.

It lies beside the artifacts. What is missing, damaged or no longer true in it costs the time of reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
import time
from collections.abc import Sequence
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import msgspec
from msgspec import Struct

from hotload_tui.core.artifact import replace_file
from hotload_tui.core.source import (
    FORMAT,
    NOISE,
    FileFacts,
    Listing,
    Source,
    is_as_listed,
    is_older,
    printable,
)

FILE = "sources.json"

_RECENT = 60_000_000_000  # ns: a mapped page that is written twice within less may leave all facts the same


class _Known(Struct, frozen=True, array_like=True):
    root: str
    digest: str
    folders: dict[str, tuple[int, int, int, int]]
    files: dict[str, FileFacts | None]


class SourceIndex:
    """What was read of each plugin, by this process or one before it; safe to use from any thread."""

    def __init__(self, compiled_dir: Path, ignore: Sequence[str]) -> None:
        """Read it; ``ignore`` are the patterns of files that count for no plugin."""
        self._path = compiled_dir / FILE
        # What belongs to a plugin, and how its digest is made, may differ in the release that wrote it.
        rule = repr((FORMAT, MAGIC_NUMBER, NOISE, list(ignore)))
        self._rule = hashlib.sha256(rule.encode()).hexdigest()
        self._lock = threading.Lock()
        self._known = self._read()
        self.is_new = False
        """Whether something was noted that is not written yet."""

    def find(self, name: str, root: Path) -> Source | None:
        """Return a plugin's source, without its files, if all facts of them are as when they were read."""
        known = self._known.get(name)
        if known is None or known.root != str(root.absolute()):
            return None
        try:
            if not is_as_listed(known.root, Listing(known.folders, known.files, {})):
                return None
        except OSError:
            return None
        now = time.time_ns()
        return Source(name, known.root, (), known.digest, known.files, folders=known.folders, read_at=now)

    def note(self, source: Source) -> None:
        """Remember what was read, if a later change of it is sure to show in its facts."""
        if sys.platform == "win32":  # where ctime is when a file was made: it shows no write
            return
        is_old = is_older(source.folders, source.facts, source.read_at - _RECENT)
        if not source.folders or not is_old or not all(map(_is_text, (*source.folders, *source.facts))):
            return
        known = _Known(source.root, source.digest, source.folders, source.facts)
        with self._lock:
            self.is_new |= self._known.get(source.name) != known
            self._known[source.name] = known

    def save(self) -> None:
        """Write it, if there is something new in it; what cannot be written is read again next time."""
        with self._lock:
            if not self.is_new:
                return
            self.is_new = False
            self._known = {name: known for name, known in self._known.items() if Path(known.root).is_dir()}
            content = msgspec.json.encode(self._known)
        head = f"{self._rule} {hashlib.sha256(content).hexdigest()}\n".encode()
        with contextlib.suppress(OSError):
            replace_file(self._path, head + content, is_durable=False)

    def _read(self) -> dict[str, _Known]:
        try:
            head, _, content = self._path.read_bytes().partition(b"\n")
            if head.decode() != f"{self._rule} {hashlib.sha256(content).hexdigest()}":
                return {}
            return msgspec.json.decode(content, type=dict[str, _Known])
        except (OSError, ValueError, msgspec.DecodeError):
            return {}


def _is_text(path: str) -> bool:
    return printable(path) == path
