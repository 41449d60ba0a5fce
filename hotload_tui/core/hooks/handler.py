"""``Handler``: a plugin's callable at a hook point, and its figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Protocol

from hotload_tui.core.plugin import HandlerStatus, encodable

SAMPLE = 64  # one call in so many is timed: timing costs more than the call itself


class HookFunction(Protocol):
    """What a plugin registers."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Answer a call of the host."""
        ...


class Handler:
    """A plugin's callable at a hook point; identity counts."""

    __slots__ = (
        "_before",
        "_samples",
        "_seconds",
        "_shared",
        "call",
        "calls",
        "faults",
        "function",
        "generation",
        "plugin",
        "point",
        "priority",
    )

    def __init__(
        self, point: str, call: HookFunction, *, plugin: str, generation: int, priority: int
    ) -> None:
        self.point = point
        self.call = call
        self.plugin = plugin
        self.generation = generation
        self.priority = priority
        self.function = _name_of(call)
        self.faults = 0
        self.calls = itertools.count(1)  # next() is atomic; += is not
        """Calls of this one handler; where all of a hook point are called, the table counts for all."""
        self._shared: itertools.count[int] | None = None
        self._before = 0
        self._samples = 0
        self._seconds = 0.0

    def count(self) -> bool:
        """Count a call and tell whether it is one of those to be timed."""
        return next(self.calls) % SAMPLE == 1

    def join(self, counter: itertools.count[int], before: int) -> None:
        """Be counted by the counter of a table's hook point; the one that it was in gave ``before``."""
        if self._shared is not None:
            self._before += before
        self._shared = counter

    def add_sample(self, seconds: float) -> None:
        """Add a timed call."""
        self._samples += 1
        self._seconds += seconds

    def status(self) -> HandlerStatus:
        """Return the figures so far."""
        return HandlerStatus(
            plugin=self.plugin,
            function=self.function,
            priority=self.priority,
            generation=self.generation,
            calls=self._before + (peek(self._shared) if self._shared else 1) + peek(self.calls) - 2,
            faults=self.faults,
            mean_seconds=self._seconds / self._samples if self._samples else 0.0,
        )


def _name_of(function: object) -> str:
    try:
        name = getattr(function, "__qualname__", None)
    except Exception:  # foreign code: any object can be a handler
        name = None
    return encodable(name if type(name) is str else type(function).__qualname__)


def peek(counter: Iterator[int]) -> int:
    """Return what an ``itertools.count`` would give next, without taking it."""
    return int(repr(counter)[len("count(") : -1])
