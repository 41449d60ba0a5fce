"""``HookTable``: which handlers serve at which hook points, at one moment."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from hotload_tui.core.hooks.handler import Handler

if TYPE_CHECKING:
    from hotload_tui.core.hooks.flight import CallRecord, CallsInFlight

Counted: TypeAlias = tuple["itertools.count[int]", tuple[Handler, ...]]


class HookTable:
    """An immutable mapping of hook points to handlers in order, and who is calling through it."""

    __slots__ = ("calls", "counted", "flight", "plugins", "points")

    def __init__(self, flight: CallsInFlight | None, before: HookTable | None = None) -> None:
        """Begin as the table ``before``, or empty; ``flight``: whose it is, ``None`` if nobody ever calls."""
        self.flight = flight
        self.calls: set[CallRecord] = set()
        self.points: dict[str, tuple[Handler, ...]] = dict(before.points) if before else {}
        self.plugins: dict[str, tuple[Handler, ...]] = dict(before.plugins) if before else {}
        """The handlers of each plugin, as it registered them."""
        self.counted: dict[str, Counted] = dict(before.counted) if before else {}
        """The same handlers, with the calls of them all since it is these."""

    def changed(self, changes: Mapping[str, Sequence[Handler]]) -> tuple[HookTable, set[str]]:
        """Return a table with just these handlers of each plugin in ``changes``, and the points that differ.

        Handlers stand in order of priority, then plugin name, then registration: a reload changes no order.
        What it costs depends on what changes, and hardly on how many plugins there are.
        """
        after = HookTable(self.flight, self)
        touched: set[str] = set()
        for plugin, handlers in changes.items():
            touched.update(handler.point for handler in (*self.plugins.get(plugin, ()), *handlers))
            after.plugins.pop(plugin, None)
            if handlers:
                after.plugins[plugin] = tuple(handlers)
        added = [handler for handlers in changes.values() for handler in handlers]
        for point in touched:
            kept = [handler for handler in self.points.get(point, ()) if handler.plugin not in changes]
            after._fill(point, kept + [handler for handler in added if handler.point == point])
        return after, touched

    def _fill(self, point: str, handlers: list[Handler]) -> None:
        if not handlers:
            self.points.pop(point, None)
            self.counted.pop(point, None)
            return
        handlers.sort(key=lambda handler: (handler.priority, handler.plugin))
        self.points[point] = ordered = tuple(handlers)
        self.counted[point] = itertools.count(1), ordered

    def reaches(self, generations: Collection[tuple[str, int]]) -> bool:
        """Tell whether a call through this table can get to one of these (plugin, generation)."""
        return any(
            handler.generation == generation
            for plugin, generation in generations
            for handler in self.plugins.get(plugin, ())
        )
