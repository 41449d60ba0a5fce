"""An orderly end on SIGINT and SIGTERM, and a hard one when a plugin does not let go."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

from hotload_tui.cli import output
from hotload_tui.cli.boundary import INTERRUPTED

GRACE: Final = 1.6  # seconds for an orderly end: a process manager expects one within 2


class StopRequest:
    """Waits for a reason to stop."""

    def __init__(self) -> None:
        self._receiver, self.sender = socket.socketpair()
        self.sender.setblocking(False)  # a wake-up descriptor must not block
        self._stopping = threading.Event()
        self._code = 0
        threading.Thread(target=self._watch, name="hotload-stop", daemon=True).start()

    def request(self) -> None:
        """Stop as on SIGTERM."""
        with contextlib.suppress(BlockingIOError):  # full: it was asked for often enough
            self.sender.send(bytes([signal.SIGTERM]))

    def wait(self) -> int:
        """Return the exit code once the process is asked to stop."""
        self._stopping.wait()
        return self._code

    def _watch(self) -> None:
        number = 0
        while number not in (signal.SIGINT, signal.SIGTERM):
            number = self._receiver.recv(1)[0]
        self._code = INTERRUPTED if number == signal.SIGINT else 0
        self._stopping.set()
        time.sleep(GRACE)
        output.narrate("a plugin did not stop in time; leaving without it")
        os._exit(self._code)


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request; from then on the process has 1.6 s.

    The signals' numbers arrive through a descriptor, written by the interpreter even while the main thread
    executes a plugin that hangs; an exception raised there could be caught by the plugin.
    """
    stop = StopRequest()
    previous = signal.set_wakeup_fd(stop.sender.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _noted)
    try:
        yield stop
    finally:
        # The handlers stay: the process is about to end, and a second Ctrl-C must not cut that short.
        signal.set_wakeup_fd(previous)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Nothing is left to do: the descriptor has told it."""
