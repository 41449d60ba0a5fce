"""The clocks and the primitives of threads that the engine uses; a plugin cannot replace them.

A plugin may patch ``time.monotonic``, ``threading.Event`` or ``threading.Thread.join``, for its own purposes
or by mistake. Such a patch must not stop other plugins from reloading. So the functions are taken when this
module is imported, before any plugin loads, and those of ``threading`` find the names of their module as they
are then. Only what debuggers set for new threads is taken later.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from threading import Lock, RLock, get_ident, get_native_id, getprofile, gettrace, main_thread
from threading import enumerate as all_threads
from time import monotonic, perf_counter, sleep, time, time_ns
from types import FunctionType
from typing import Final, ParamSpec, TypeVar, cast

__all__ = [
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Thread",
    "all_threads",
    "current_thread",
    "get_ident",
    "get_native_id",
    "join",
    "main_thread",
    "monotonic",
    "perf_counter",
    "sleep",
    "start_thread",
    "time",
    "time_ns",
]

# A hook in here would outlive its plugin; ``Thread.run`` asks for the hooks.
_names: Final = vars(threading) | {"_trace_hook": None, "_profile_hook": None}

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _kept(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a copy of a function of ``threading`` that finds the names of its module as they are now."""
    assert type(function) is FunctionType
    code, name, defaults = function.__code__, function.__name__, function.__defaults__
    copy = FunctionType(code, _names, name, defaults, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return cast("Callable[_P, _T]", copy)


def _with_methods(kind: type[_T]) -> type[_T]:
    """Give a class the methods and properties of the class that it extends, as they are now."""
    for name, part in vars(kind.__mro__[1]).items():
        if name in vars(kind):
            continue
        if type(part) is FunctionType:
            setattr(kind, name, _kept(part))
        elif type(part) is property:  # from Python 3.14 on, a new name for a thread asks which thread runs
            setattr(kind, name, property(part.fget and _kept(part.fget), part.fset and _kept(part.fset)))
    _names[kind.__name__] = kind
    return kind


current_thread: Final = _kept(threading.current_thread)
_names["current_thread"] = current_thread
join: Final = _kept(threading.Thread.join)
start_thread: Final = _kept(threading.Thread.start)
_initialize: Final = _kept(threading.Thread.__init__)
_run: Final = _kept(threading.Thread.run)


@_with_methods
class Condition(threading.Condition):
    """A condition variable."""


@_with_methods
class Event(threading.Event):
    """A flag for which threads can wait."""


@_with_methods
class Thread(threading.Thread):
    """A daemon thread."""

    def __init__(
        self, target: Callable[_P, object], name: str | None = None, args: tuple[object, ...] = ()
    ) -> None:
        _initialize(self, target=target, name=name, args=args, daemon=True)

    def run(self) -> None:
        """Call the target with the hooks that a debugger has set for new threads."""
        if (trace := gettrace()) is not None:
            sys.settrace(trace)
        if (profile := getprofile()) is not None:
            sys.setprofile(profile)
        del trace, profile
        _run(self)


def _after_fork() -> None:
    """Take the lock that ``threading`` has made for a forked process."""
    _names["_active_limbo_lock"] = vars(threading)["_active_limbo_lock"]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
