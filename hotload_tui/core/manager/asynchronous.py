"""``AsyncLife``: what a manager offers to a program on asyncio; others do not pay for its import."""

from __future__ import annotations

import functools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from hotload_tui.core.events import Subscriber

if TYPE_CHECKING:
    from hotload_tui.core.manager.stream import EventStream


class AsyncLife(ABC):
    """``async with`` and ``events()`` for what can be started, stopped and subscribed to."""

    @abstractmethod
    def start(self) -> None:
        """Begin, blocking."""

    @abstractmethod
    def stop(self) -> None:
        """End, blocking."""

    @abstractmethod
    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Hear every event from now on; returns the undo."""

    def events(self) -> EventStream:
        """Return the events from now on as an asynchronous iterator, for the event loop that runs.

        The manager never waits for its consumer: one that falls 1000 events behind loses the oldest, and
        reads an ``EventsMissed`` in their place.
        """
        from hotload_tui.core.manager.stream import EventStream

        stream = EventStream(self.subscribe)
        self._streams.add(stream)
        return stream

    @functools.cached_property
    def _streams(self) -> weakref.WeakSet[EventStream]:
        return weakref.WeakSet()

    async def __aenter__(self) -> Self:
        import asyncio

        from hotload_tui.core.manager.stream import through

        try:
            await through(self.start)
        except asyncio.CancelledError:
            await through(self.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        from hotload_tui.core.manager.stream import through

        try:
            await through(self.stop)
        finally:
            for stream in list(self._streams):
                stream.close()
