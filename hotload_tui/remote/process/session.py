"""``Session``: Python's debugger at the other end of a socket."""

from __future__ import annotations

import contextlib
import pdb  # noqa: T100 - it is what this is about
import socket


class Session(pdb.Pdb):
    """Going on, leaving and losing the terminal end it."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rw", encoding="utf-8", errors="replace")
        connection.close()  # the file keeps it
        super().__init__(stdin=self._file, stdout=self._file, nosigint=True, readrc=False)
        self.use_rawinput = False

    def interaction(self, *arguments: object, **named: object) -> None:
        """Ask what to do; without a terminal, go on."""
        try:
            super().interaction(*arguments, **named)  # type: ignore[arg-type]  # differs by version
        except (OSError, ValueError):
            self.do_continue("")
        except BaseException:  # a load that takes too long is interrupted, also here
            self._hang_up()
            raise

    def do_continue(self, arg: str) -> bool | None:
        """Go on; nobody is there to answer another stop."""
        self.clear_all_breaks()
        done = super().do_continue(arg)
        self._hang_up()
        return done

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        """End the call that is being debugged with ``BdbQuit``."""
        done = super().do_quit(arg)
        self._hang_up()
        return done

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool | None:  # noqa: N802 - pdb's name
        """Go on: the terminal is gone."""
        return self.do_continue(arg)

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.close()
