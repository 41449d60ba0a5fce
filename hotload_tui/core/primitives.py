"""The clocks and the primitives of threads that the engine uses; a plugin cannot replace them.

A plugin may patch ``time.monotonic``, ``threading.Event.wait`` or ``threading.Thread.join``, for its own
purposes or by mistake. Such a patch must not stop other plugins from reloading. The functions are taken when
this module is imported, before any plugin loads, and the classes have all methods themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import RLock
from time import monotonic, perf_counter, sleep
from types import FunctionType
from typing import Final, TypeVar

__all__ = ["Condition", "Event", "Thread", "join", "monotonic", "perf_counter", "sleep", "start_thread"]

join: Final = threading.Thread.join
start_thread: Final = threading.Thread.start

_T = TypeVar("_T")


def _with_methods(kind: type[_T]) -> type[_T]:
    """Give a class the methods of the class that it extends, as they are now."""
    for name, function in vars(kind.__mro__[1]).items():
        if type(function) is FunctionType and name not in vars(kind):
            setattr(kind, name, function)
    return kind


@_with_methods
class Condition(threading.Condition):
    """A condition variable."""


class Event:
    """A flag for which threads can wait."""

    def __init__(self) -> None:
        self._change = Condition(RLock())
        self._is_set = False

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self._is_set

    def set(self) -> None:
        """Set the flag."""
        with self._change:
            self._is_set = True
            self._change.notify_all()

    def clear(self) -> None:
        """Reset the flag."""
        with self._change:
            self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, at most ``timeout`` seconds; return whether it is."""
        with self._change:
            return self._is_set or self._change.wait(timeout)

    def _at_fork_reinit(self) -> None:
        """Reset the lock in a forked process, which a ``Thread`` asks for."""
        self._change = Condition(RLock())


_STARTED: Final = "_started"
"""The attribute of a thread with the event of its start, in CPython 3.11 to 3.14; ``threading`` makes it."""


@_with_methods
class Thread(threading.Thread):
    """A daemon thread."""

    def __init__(self, target: Callable[[], object], name: str | None = None) -> None:
        super().__init__(target=target, name=name, daemon=True)
        if hasattr(self, _STARTED):  # else a plugin can patch the wait for the start
            setattr(self, _STARTED, Event())
