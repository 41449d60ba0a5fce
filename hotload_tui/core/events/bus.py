"""The bus that carries events to whoever wants to hear them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from hotload_tui.core.events.events import AnyEvent

logger = logging.getLogger("hotload.engine")

Subscriber: TypeAlias = Callable[[AnyEvent], None]


class EventBus:
    """Calls every subscriber with every event, in order, in the thread that publishes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber`` with each event from now on; the returned function undoes it."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def publish(self, event: AnyEvent) -> None:
        """Hand ``event`` to all; one that raises is logged and does not keep others from hearing."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # foreign code: a subscriber must not stop a reload
                logger.exception("a subscriber failed on %s", type(event).__name__)
