"""``EventStream``: the events of a manager as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import time as clock  # a plugin can replace it
from typing import Final, Self

from hotload_tui.core.events import AnyEvent, EventsMissed, Subscriber

LIMIT: Final = 1000
"""Events kept for a slow consumer; ``EventsMissed`` reports the number of older events that were dropped."""


class EventStream:
    """Iterates over the events that a manager publishes after the stream is created.

    Only the event loop in which the stream is created may read it. The iteration ends after ``close``, or at
    the end of an ``async with`` over the stream or its manager.
    """

    def __init__(self, subscribe: Callable[[Subscriber], Callable[[], None]]) -> None:
        self._box = _Box(asyncio.get_running_loop())
        # The event bus holds only the box, so that a stream that is dropped without ``close`` unsubscribes.
        self._unsubscribe = weakref.finalize(self, subscribe(self._box.put))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyEvent:
        event = await self._box.take()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unsubscribe, and end the iteration after the events already received; callable from any thread."""
        self._unsubscribe()
        self._box.close()


class _Box:
    """Passes events from the threads that publish them to the event loop that reads them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._events: deque[AnyEvent] = deque(maxlen=LIMIT)
        self._missed = 0
        self._is_closed = False
        self._changed = asyncio.Event()

    def put(self, event: AnyEvent) -> None:
        """Add an event for ``take``; if the box is full, drop the oldest event."""
        with self._lock:
            self._missed += len(self._events) == LIMIT
            self._events.append(event)
        self._wake()

    def close(self) -> None:
        """Make ``take`` return ``None`` when no event is left."""
        self._is_closed = True
        self._wake()

    async def take(self) -> AnyEvent | None:
        """Wait for the next event and return it; ``None`` if the box is closed and empty."""
        while True:
            self._changed.clear()  # before the check, so that no later event is missed
            with self._lock:
                missed, self._missed = self._missed, 0
                if missed:
                    return EventsMissed(at=clock(), count=missed)
                if self._events:
                    return self._events.popleft()
            if self._is_closed:
                return None
            await self._changed.wait()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._changed.set)


async def through(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread and wait until it ends; raise a cancellation only after that."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:  # an interrupted start or stop would leave plugins behind
            cancelled = error
    running.result()
    if cancelled is not None:
        raise cancelled
