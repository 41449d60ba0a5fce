"""The garbage collector, kept waiting where it would run finalizers at the wrong moment."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Iterator

_COLLECTS_WITHIN_CALLS = sys.version_info < (3, 12)  # later ones collect between two instructions
_lock = threading.RLock()  # a finalizer may come here, too
_waiting: list[bool] = []  # of each who is inside: whether the collector was on


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let no finalizer run within a call into C: it would let other threads run."""
    if not _COLLECTS_WITHIN_CALLS:
        yield
        return
    with _lock:
        _waiting.append(_waiting[0] if _waiting else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            if _waiting.pop() and not _waiting:
                gc.enable()
