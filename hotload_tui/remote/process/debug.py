"""``breakpoint()`` in a host: it waits for the console's terminal, which comes over a socket."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hotload_tui.core.errors import near

logger = logging.getLogger("hotload.engine")

SOCKET: Final = "debug.sock"
"""In the host's folder: who connects has the debugger of one ``breakpoint()`` that waits."""

PLACES: Final = "breakpoints"
"""In the same folder, while any waits: where, a line for each."""


class Breakpoints:
    """Stops the threads that call ``breakpoint()``, each until somebody has come and let it go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._waiting: list[str] = []

    def install(self) -> None:
        """Be what ``breakpoint()`` calls, unless the user has named another debugger."""
        if not os.environ.get("PYTHONBREAKPOINT"):
            sys.breakpointhook = self.stop

    def stop(self, *_arguments: object, **_named: object) -> None:
        """Wait for a terminal, and debug the caller there."""
        from hotload_tui.remote.process.session import Session  # pdb: only for who debugs

        frame = sys._getframe(1)  # noqa: SLF001 - it is how Python's own hook finds its caller
        file = Path(frame.f_code.co_filename)
        place = f"{near(file)}:{frame.f_lineno} in {frame.f_code.co_name}"
        listener = self._listening()
        with self._noted(f"{file.parent.name}/{file.name}:{frame.f_lineno}"):
            # What is logged has the console look at the facts: they are there before.
            logger.warning("breakpoint() waits at %s; B in the console goes there", place)
            connection, _ = listener.accept()
        logger.warning("breakpoint() at %s waits no more", place)
        Session(connection).set_trace(frame)

    def _listening(self) -> socket.socket:
        with self._lock:
            if self._listener is None:
                self._listener = socket.socket(socket.AF_UNIX)
                self._listener.bind(os.fspath(self._folder / SOCKET))
                self._listener.listen()
            return self._listener

    @contextlib.contextmanager
    def _noted(self, place: str) -> Iterator[None]:
        """Have the console know that somebody waits at ``place``."""
        self._note(place, waits=True)
        try:
            yield
        finally:
            self._note(place, waits=False)

    def _note(self, place: str, *, waits: bool) -> None:
        with self._lock:
            (self._waiting.append if waits else self._waiting.remove)(place)
            file = self._folder / PLACES
            if self._waiting:
                file.with_suffix(".new").write_text("\n".join(self._waiting), "utf-8", "replace")
                file.with_suffix(".new").replace(file)
            else:
                file.unlink(missing_ok=True)


def places(folder: Path) -> tuple[str, ...]:
    """Return where ``breakpoint()`` waits in the host of this folder."""
    try:
        return tuple((folder / PLACES).read_text("utf-8", "replace").splitlines())
    except OSError:
        return ()


def connect(folder: Path) -> socket.socket | None:
    """Return the other end of a debugger that waits in the host of this folder, if there is one."""
    if not places(folder):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.fspath(folder / SOCKET))
    except OSError:
        connection.close()
        return None
    return connection
