"""``EventStream``: the events of a manager as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from hotload_tui.core.events import AnyEvent, EventsMissed, Subscriber

LIMIT: Final = 1000
"""Events that wait for a slow consumer; of older ones it is told the number."""


class EventStream:
    """Iterates over the events since it was made, in the event loop that it was made in.

    It ends when it is closed: by hand, or by the end of an ``async with`` over it or over its manager.
    """

    def __init__(self, subscribe: Callable[[Subscriber], Callable[[], None]]) -> None:
        self._box = _Box(asyncio.get_running_loop())
        # The bus holds only the box, so that a stream which is dropped without being closed hears no more.
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
        """Hear no more, and end the iteration once what was heard has been read; from any thread."""
        self._unsubscribe()
        self._box.close()


class _Box:
    """Events that were heard in any thread and are not yet read in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._events: deque[AnyEvent] = deque(maxlen=LIMIT)
        self._missed = 0
        self._is_closed = False
        self._changed = asyncio.Event()

    def put(self, event: AnyEvent) -> None:
        """Keep an event for ``take``."""
        with self._lock:
            self._missed += len(self._events) == LIMIT
            self._events.append(event)
        self._wake()

    def close(self) -> None:
        """Let ``take`` end when nothing is left."""
        self._is_closed = True
        self._wake()

    async def take(self) -> AnyEvent | None:
        """Wait for the oldest event and return it; ``None``: there will be no more."""
        while True:
            self._changed.clear()  # before the look, so that what comes behind it is not missed
            with self._lock:
                missed, self._missed = self._missed, 0
                if missed:
                    return EventsMissed(at=time.time(), count=missed)
                if self._events:
                    return self._events.popleft()
            if self._is_closed:
                return None
            await self._changed.wait()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._changed.set)


async def through(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread and wait for its end, also if cancelled, which is obeyed afterwards."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:  # half a start or half a stop would leave plugins behind
            cancelled = error
    running.result()
    if cancelled is not None:
        raise cancelled
