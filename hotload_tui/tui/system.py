"""What the console asks of the system: signals as calls, and a size for a terminal that has none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from textual.app import App

CODES: Final[Mapping[str, int]] = {"SIGTERM": 0, "SIGHUP": 0, "SIGINT": 130}
"""Signals that end the console, with its exit codes: those of ``hotload run``."""

_SIZE: Final = (24, 80)
"""Rows and columns of a terminal that does not tell them."""


def hear_signals(end: Callable[[int], None], limit: float) -> Callable[[], None]:
    """Call ``end`` with an exit code when the system asks for an end; where there are such signals.

    ``limit`` seconds later the process exits in any case. A handler of the loop's own would not be called
    while the thread waits for a terminal that is gone.

    Returns:
        What ends this: signals are again for who heard them before.

    """
    loop = asyncio.get_running_loop()
    heard: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def hear(number: int, _frame: FrameType | None) -> None:
        code = CODES[signal.Signals(number).name]
        leave_within(limit, code)
        loop.call_soon_threadsafe(end, code)

    def give_back() -> None:
        for number, handler in heard.items():
            if signal.getsignal(number) is hear:  # else a plugin has it now
                signal.signal(number, handler)

    with contextlib.suppress(AttributeError, ValueError):  # not on every system; not the main thread
        for name in CODES:
            number = getattr(signal, name)
            heard[number] = signal.signal(number, hear)
    return give_back


@contextlib.contextmanager
def lent_terminal(app: App[None]) -> Iterator[None]:
    """Have the console step aside; nothing may be raised inside, or the terminal would not be taken back.

    What plugins print goes on to the log, not into what is on the screen now; ``batch_update`` keeps repaints
    from filling the writer's queue, which nobody empties.
    """
    out, err = sys.stdout, sys.stderr
    with app.suspend(), app.batch_update(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def has_shell() -> bool:
    """Tell whether a shell could continue this job: what runs in its session's first group has none below."""
    try:
        return os.getpgrp() != os.getsid(0)
    except AttributeError:  # not on every system
        return False


def stop_job() -> None:
    """Stop the whole job until its shell continues it: it may have begun with another program, like make."""
    # Textual's own handler would begin to draw, too, perhaps a moment later than who called this.
    heard = signal.signal(signal.SIGCONT, signal.SIG_IGN)
    os.killpg(0, signal.SIGSTOP)
    signal.signal(signal.SIGCONT, heard)


def leave_within(seconds: float, code: int) -> None:
    """Exit with ``code`` after ``seconds``, come what may: writing to a terminal that is gone can block."""

    def leave() -> None:
        time.sleep(seconds)
        os._exit(code)

    threading.Thread(target=leave, name="hotload-leave", daemon=True).start()


def give_size() -> None:
    """Have the console, which is made after this, follow the size of its terminal.

    One that says 0x0, as serial lines do, would be drawn again and again, and what a shell exports as COLUMNS
    and LINES stays as it is.
    """
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    try:
        import termios
    except ImportError:  # not on every system
        return
    try:
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ else -1
        rows, columns = termios.tcgetwinsize(descriptor)
        if not (rows and columns):
            termios.tcsetwinsize(descriptor, (rows or _SIZE[0], columns or _SIZE[1]))
    except (OSError, ValueError, termios.error):
        return  # no terminal, or one that cannot be told
