"""The collector's youngest generation: what is put there is freed without a look at all other objects."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections import deque
from collections.abc import Callable, Collection
from itertools import tee

from hotload_tui.core.collector import uncollected

_IS_KNOWN = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


def make_young(things: Collection[object]) -> None:
    """Let the next collection of the youngest generation look at ``things``, however old or frozen they are.

    It frees those of them that only they themselves hold, as any collection does. Nothing happens where the
    interpreter keeps its objects in another way.
    """
    if not _IS_KNOWN:
        return
    untrack, track = map(_change, ("PyObject_GC_UnTrack", "PyObject_GC_Track"))
    with uncollected():
        # One after the other in C: no thread may come between, and track what is not tracked for a moment.
        old, young = tee(map(id, filter(gc.is_tracked, things)))
        deque(zip(map(untrack, old), map(track, young), strict=True), maxlen=0)


def collect_young() -> None:
    """Free what is young and only held by cycles; costs the same whatever else there is."""
    gc.collect(0)


def _change(name: str) -> Callable[[int], None]:
    """Return a function of the C API; it takes an object by its address."""
    found = ctypes.pythonapi[name]  # one of our own: what others set for theirs does not count
    found.argtypes, found.restype = [ctypes.c_void_p], None  # of an object ctypes would ask for an attribute
    return found
