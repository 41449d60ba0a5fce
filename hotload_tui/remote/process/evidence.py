"""``Evidence``: the folder that console and host share, with what a host wrote down."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hotload_tui.remote.process.breadcrumbs import CRASH, HANG, TRAIL, Trail, make_trail, read_trail
from hotload_tui.remote.process.debugging import PLACES, SOCKET
from hotload_tui.remote.process.inquest import Culprit


class Evidence:
    """Breadcrumbs and dumps of one host at a time."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hotload-"))

    def clear(self) -> None:
        """Make room for another host."""
        make_trail(self.folder / TRAIL)
        for name in (CRASH, HANG):
            (self.folder / name).write_bytes(b"")
        for name in (SOCKET, PLACES):
            (self.folder / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def trail(self) -> Trail:
        """Return the breadcrumbs."""
        try:
            return read_trail(self.folder / TRAIL)
        except FileNotFoundError:  # the console is leaving
            return Trail(0.0, False, (), None)

    def dump(self, name: str) -> str:
        """Return what faulthandler wrote to ``CRASH`` or ``HANG``."""
        try:
            return (self.folder / name).read_text(errors="replace")
        except OSError:
            return ""


class Hang:
    """A host that does not go on."""

    def __init__(self, before: int) -> None:
        self.before = before
        """Characters of the dump that are of earlier ones."""
        self.trace = ""
        self.culprit: Culprit | None = None
        self.looks = 0
        self.is_ended = False
        """Whether the host is being killed for it."""
