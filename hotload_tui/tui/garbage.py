"""When the console's own process looks for garbage: not while it starts, and not among what is there to stay.

Only for a process in which no plugin runs: what a plugin leaves behind is to be found.
"""

from __future__ import annotations

import gc
import threading

_is_held_off = threading.Event()


def hold_off() -> None:
    """Look for no garbage until ``settle``: while modules are imported hardly anything becomes garbage."""
    _is_held_off.set()
    gc.disable()


def settle() -> None:
    """Look for garbage again, but never again through what is there now; nothing without ``hold_off``.

    A look through a thousand rows and all modules stops the screen for a tenth of a second, and finds next
    to nothing: most is freed when the last reference goes, as ever.
    """
    if _is_held_off.is_set():
        _is_held_off.clear()
        gc.freeze()
        gc.enable()
