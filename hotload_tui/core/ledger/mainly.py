"""What only the main thread can do, asked for by another one."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable

_PATIENCE = 0.05  # seconds; a main thread inside a system call does it when that returns
_Pending = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_asked: list[object] = []  # the interpreter does not keep what it will call


def in_main_thread(act: Callable[[], object]) -> None:
    """Have the main thread call ``act``, as soon as it runs Python code; waits for it for a moment."""
    if threading.current_thread() is threading.main_thread():
        act()
        return
    is_done = threading.Event()

    def run(_: object) -> int:
        with contextlib.suppress(Exception):  # nobody is there to hear it
            act()
        _asked.remove(pending)
        is_done.set()
        return 0

    pending = _Pending(run)
    _asked.append(pending)
    if ctypes.pythonapi.Py_AddPendingCall(pending, None):
        _asked.remove(pending)  # its queue is full; nothing can be done
        return
    is_done.wait(_PATIENCE)
