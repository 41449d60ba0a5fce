"""``HookTable``: which handlers serve at which hook points, at one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from hotload_tui.core.hooks.handler import Handler

if TYPE_CHECKING:
    from hotload_tui.core.hooks.flight import CallRecord

Points: TypeAlias = dict[str, tuple[Handler, ...]]


class HookTable:
    """An immutable mapping of hook points to handlers in order, and who is calling through it."""

    __slots__ = ("calls", "points")

    def __init__(self, points: Points) -> None:
        self.points = points
        self.calls: set[CallRecord] = set()

    def reaches(self, generations: Collection[tuple[str, int]]) -> bool:
        """Tell whether a call through this table can get to one of these (plugin, generation)."""
        return any(
            (handler.plugin, handler.generation) in generations
            for handlers in self.points.values()
            for handler in handlers
        )


def replaced(points: Points, changes: Mapping[str, Sequence[Handler]]) -> Points:
    """Return ``points`` with just these handlers of each plugin in ``changes``.

    They stand in order of priority, then plugin name, then registration: a reload changes no order.
    """
    added: defaultdict[str, list[Handler]] = defaultdict(list)
    for handlers in changes.values():
        for handler in handlers:
            added[handler.point].append(handler)
    result = dict(points)
    for point in {*points, *added}:
        before = points.get(point, ())
        kept = [handler for handler in before if handler.plugin not in changes]
        if point not in added and len(kept) == len(before):
            continue
        ordered = sorted(kept + added[point], key=lambda handler: (handler.priority, handler.plugin))
        if ordered:
            result[point] = tuple(ordered)
        else:
            del result[point]
    return result
