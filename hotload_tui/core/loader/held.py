"""``HeldGenerations``: those that retired and are still in memory, looked at until they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from hotload_tui.core.leaks import FREED, collect, collect_young, forget
from hotload_tui.core.loader.retirement import Parting

_SECOND_LOOKS = ((0.01, collect_young), (0.0, collect), (0.1, collect_young))
"""Seconds until a generation that is not freed is looked at again, and how."""


class HeldGenerations:
    """Frees what has retired, and remembers what could not be freed; holds nothing of it."""

    def __init__(self) -> None:
        self._held: list[Parting] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def free(self, parted: Iterable[Parting]) -> None:
        """Have the collector free generations that have just retired, as far as it can."""
        left = [gone for gone in parted if not gone.remains.is_freed()]
        left = _still_there(left, collect_young)
        # The first collection may free an older object that held a generation, and counts it as a holder.
        left = _still_there(left, collect_young)
        for gone in left:
            gone.undo_patches()
            gone.remains.cut()
        # A caller that was just entering, or just leaving, holds the old table for an instant more.
        for pause, collect_some in _SECOND_LOOKS:
            if not left:
                return
            time.sleep(pause)
            left = _still_there(left, collect_some)
        for gone in left:
            gone.remains.let_go()
        if left:
            collect()  # of what is held in ways that only the collector can follow
        self._held += [gone for gone in left if not gone.remains.is_freed()]

    def look_again(self) -> list[Parting]:
        """Return those that have been let go since, and are freed; collects only if there is one."""
        let_go = [gone for gone in self._held if gone.remains.is_let_go()]
        for gone in let_go:
            gone.close()
            gone.remains.cut()
        _still_there(_still_there(let_go, collect_young), collect)
        freed = [gone for gone in self._held if gone.remains.is_freed()]
        self._held = [gone for gone in self._held if gone not in freed]
        for gone in freed:
            forget(gone.remains.root)
        return freed

    def memory_of(self, plugin: str) -> str:
        """Return ``freed``, or what is left of the newest generation that is held, and how many more are."""
        held = [gone for gone in self._held if gone.plugin == plugin]
        if not held:
            return FREED
        newest = held[-1].retirement()
        others = f", and {len(held) - 1} older" if len(held) > 1 else ""
        return f"{newest.memory} (generation {newest.generation}{others})"


def _still_there(parted: list[Parting], collect_some: Callable[[], None]) -> list[Parting]:
    """Close what they left open, collect, and return those that are not freed by that."""
    for gone in parted:
        gone.close()
    is_closing = True
    while parted and is_closing:
        collect_some()
        parted = [gone for gone in parted if not gone.remains.is_freed()]
        # What had held some may have been garbage, too: each is to be closed.
        is_closing = any([gone.close() for gone in parted])  # noqa: C419 - each
    return parted
