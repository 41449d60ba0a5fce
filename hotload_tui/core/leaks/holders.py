"""Who holds an object: the way to it from something that a user knows, through the collector's references.

Each step is one look over all objects of the process (15 ms with a million), so this is done only for what is
left of a generation, and for a bounded time. It runs no code of the plugin's, nor of its holders.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Collection
from types import FrameType

from hotload_tui.core.frames import frame_of
from hotload_tui.core.leaks.frames import local_among, running_in
from hotload_tui.core.leaks.island import is_module, namespace_of
from hotload_tui.core.leaks.steps import known, way_down

SECONDS = 0.5
"""Processor time that one search may take; that of others does not count."""

_LEVELS = 16
_WIDEST = 400  # holders that are followed at once
_OURS = __name__.partition(".")[0]


def holder_of(target: object, own: Collection[int], root: str) -> str:
    """Return the way from something known to ``target``, as a user reads it.

    ``own`` are the identities of what belongs to the modules ``root``, which nobody knows: no way leads
    through them.
    """
    running = running_in(root, target)
    if running:
        return running
    search = _Search(target, own, time.thread_time() + SECONDS)
    way = search.run()
    if way:
        return way
    if search.is_cut:
        return f"something not found in {SECONDS:g} s of searching"
    return search.from_local() or running_in(root) or search.from_top()


class _Search:
    """One search upwards, breadth first."""

    def __init__(self, target: object, own: Collection[int], deadline: float) -> None:
        self._own = own
        self._deadline = deadline
        self._modules = {
            id(namespace_of(module)): name for name, module in sys.modules.copy().items() if is_module(module)
        }
        self._found: dict[int, object] = {id(target): target}
        self._below: dict[int, int] = {}
        self.is_cut = False

    def run(self) -> str:
        """Return the way from what is known by name; empty if there is none."""
        level = tuple(self._found.values())
        for _ in range(_LEVELS):
            level = self._above(level)
            if not level:
                break
            for holder in level:
                start = self._modules.get(id(holder)) or known(holder)
                if start:
                    return self._told(start, holder)
            if time.thread_time() > self._deadline:
                self.is_cut = True
                break
        return ""

    def from_local(self) -> str:
        """Return the way from a local variable of running code; empty if there is none."""
        local = local_among(self._found)
        return self._told(*local[:2]) + local[2] if local else ""

    def from_top(self) -> str:
        """Return the way from what nothing that the collector sees refers to."""
        top = list(self._found.values())[-1]
        if type(top) is list:
            return self._told("a list inside the interpreter (audit or at-fork hooks)", top)
        return self._told("C code, which the collector cannot look into", top)

    def _above(self, level: tuple[object, ...]) -> tuple[object, ...]:
        """Return what refers to the objects of a level, and was not met before."""
        wanted = {id(thing) for thing in level}
        above: list[object] = []
        for holder in gc.get_referrers(*level):  # a tuple goes in as it is; a list as a copy, a holder too
            known_before = id(holder) in self._found or id(holder) in self._own
            if known_before or holder is level or holder is self._found or _is_ours(holder):
                continue
            below = next((id(part) for part in gc.get_referents(holder) if id(part) in wanted), None)
            if below is not None and len(above) < _WIDEST:
                self._below[id(holder)] = below
                above.append(holder)
        self._found.update((id(holder), holder) for holder in above)
        return tuple(above)

    def _told(self, start: str, holder: object) -> str:
        things = [holder]
        while id(things[-1]) in self._below:
            things.append(self._found[self._below[id(things[-1])]])
        return start + way_down(things, is_module=id(holder) in self._modules)


def _is_ours(holder: object) -> bool:
    """Tell whether it is running code of this package's, which looks at the object right now."""
    frame = holder if type(holder) is FrameType else frame_of(holder)
    return frame is not None and str(frame.f_globals.get("__name__")).startswith(f"{_OURS}.")
