"""``Session``: Python's debugger, controlled through a socket."""

from __future__ import annotations

import contextlib
import pdb  # noqa: T100 - this module is a debugger
import socket


class Session(pdb.Pdb):
    """One debugger session; it ends when the user continues or quits, or when the terminal is gone."""

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
