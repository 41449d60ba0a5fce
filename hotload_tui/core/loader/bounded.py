"""Foreign code in a thread of its own, which is interrupted or left behind when it takes too long."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

GRACE = 1.0  # seconds for an interrupted call to end

_T = TypeVar("_T")


class _Interrupted(BaseException):
    """Raised inside a call that takes too long; no ``except Exception`` of a plugin stops it."""


class BoundedCall(Generic[_T]):
    """One call of a function, in a thread of its own."""

    def __init__(self, function: Callable[[], _T], name: str) -> None:
        """Prepare to call ``function`` in a thread of that name."""
        self.value: _T | None = None
        self.error: BaseException | None = None
        """Whatever the function raised."""
        # A thread that a plugin starts inherits the daemon flag: a forgotten one cannot keep the host alive.
        self.thread = threading.Thread(target=self._run, args=(function,), name=name, daemon=True)

    def ends_within(self, seconds: float) -> bool:
        """Start, and wait that long for the end; whatever ends the waiting interrupts the call, too."""
        if not start(self.thread):
            return True
        try:
            self.thread.join(seconds)
        except BaseException:
            raise_in(self.thread)
            raise
        return not self.thread.is_alive()

    def interrupt(self) -> bool:
        """End the call if the interpreter can (not in a system call or a lock); tell whether it did."""
        return end(self.thread)

    def _run(self, function: Callable[[], _T]) -> None:
        try:
            self.value = function()
        except BaseException as error:  # foreign code: SystemExit and the like end this call only
            self.error = error


def start(thread: threading.Thread) -> bool:
    """Start a thread; false if what it is for had to be done here, and is done."""
    try:
        thread.start()
    except RuntimeError:  # none can be started while the interpreter ends: better here than not at all
        thread.run()
        return False
    return True


def end(thread: threading.Thread) -> bool:
    """Interrupt what a thread runs, and wait a moment for its end; tell whether it ended."""
    raise_in(thread)
    thread.join(GRACE)
    return not thread.is_alive()


def raise_in(thread: threading.Thread) -> None:
    """Interrupt what a thread runs, as soon as that is Python code again."""
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_Interrupted))
