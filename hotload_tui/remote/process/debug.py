"""``breakpoint()`` in a host: it waits until the console connects its terminal through a socket."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from hotload_tui.core.errors import near
from hotload_tui.core.interpreter import caller

logger = logging.getLogger("hotload.engine")

SOCKET: Final = "debug.sock"
"""Socket in the host's folder; a connection gets the debugger of one waiting ``breakpoint()``."""

PLACES: Final = "breakpoints"
"""File in the same folder with one line for each waiting ``breakpoint()``; missing when none waits."""


class Breakpoints:
    """Stops each thread that calls ``breakpoint()`` until a user connects and continues it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._waiting: list[str] = []

    def install(self) -> None:
        """Make ``breakpoint()`` call ``stop``, unless the user has set ``PYTHONBREAKPOINT``."""
        if not os.environ.get("PYTHONBREAKPOINT"):
            sys.breakpointhook = self.stop

    def stop(self, *_arguments: object, **_named: object) -> None:
        """Wait for a terminal, and debug the caller in it."""
        frame = caller()
        assert frame is not None  # ``breakpoint()`` was called somewhere
        file = Path(frame.f_code.co_filename)
        place = f"{near(file)}:{frame.f_lineno} in {frame.f_code.co_name}"
        listener = self._listening()
        with self._noted(f"{file.parent.name}/{file.name}:{frame.f_lineno}"):
            # The log line makes the console read the places, so they are written before it.
            logger.warning("breakpoint() waits at %s; B in the console opens it", place)
            connection, _ = listener.accept()
        logger.warning("breakpoint() at %s no longer waits", place)
        _debug(frame, connection)

    def _listening(self) -> socket.socket:
        with self._lock:
            if self._listener is None:
                self._listener = socket.socket(socket.AF_UNIX)
                self._listener.bind(os.fspath(self._folder / SOCKET))
                self._listener.listen()
            return self._listener

    @contextlib.contextmanager
    def _noted(self, place: str) -> Iterator[None]:
        """List ``place`` for the console while a thread waits there."""
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


def _debug(frame: FrameType, connection: socket.socket) -> None:
    """Debug ``frame`` through the socket until the user continues or quits, or the terminal is gone."""
    import pdb  # noqa: T100 - takes 10 ms, and only a breakpoint needs it

    class Session(pdb.Pdb):
        """One debugger session."""

        def __init__(self, connection: socket.socket) -> None:
            self._file = connection.makefile("rw", encoding="utf-8", errors="replace")
            connection.close()  # the file keeps the socket open
            super().__init__(stdin=self._file, stdout=self._file, nosigint=True, readrc=False)
            self.use_rawinput = False

        def interaction(self, *arguments: object, **named: object) -> None:
            """Read and run the user's commands; without a terminal, continue the program."""
            try:
                super().interaction(*arguments, **named)  # type: ignore[arg-type]  # differs by version
            except (OSError, ValueError):
                self.do_continue("")
            except BaseException:  # the interrupt of a load that takes too long can arrive here
                self._hang_up()
                raise

        def do_continue(self, arg: str) -> bool | None:
            """Continue without breakpoints: the terminal is no longer there for another stop."""
            self.clear_all_breaks()
            done = super().do_continue(arg)
            self._hang_up()
            return done

        do_c = do_cont = do_continue

        def do_quit(self, arg: str) -> bool | None:
            """End the debugged call with ``BdbQuit``."""
            done = super().do_quit(arg)
            self._hang_up()
            return done

        do_q = do_exit = do_quit

        def do_EOF(self, arg: str) -> bool | None:  # noqa: N802 - pdb's name
            """Continue: the terminal is gone."""
            return self.do_continue(arg)

        def _hang_up(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                self._file.close()

    Session(connection).set_trace(frame)


def places(folder: Path) -> tuple[str, ...]:
    """Return the places at which ``breakpoint()`` waits in the host of this folder."""
    try:
        return tuple((folder / PLACES).read_text("utf-8", "replace").splitlines())
    except OSError:
        return ()


def connect(folder: Path) -> socket.socket | None:
    """Connect to a debugger that waits in the host of this folder; return ``None`` if none waits."""
    if not places(folder):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.fspath(folder / SOCKET))
    except OSError:
        connection.close()
        return None
    return connection
