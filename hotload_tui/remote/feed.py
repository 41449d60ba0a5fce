"""``Feed``: the newest events of a manager, numbered; each listener reads at its own pace.

One bounded ring serves all listeners. One that falls behind it has missed something and is told so; nobody's
slowness costs the manager time, or memory without end.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import Final, NamedTuple

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.events import AnyEvent

KEPT: Final = 4096
"""Events; a listener that is further behind gets the whole state instead."""

_BATCH: Final = 256  # events of one message


class Portion(NamedTuple):
    """What a listener has not heard yet: nothing when none came in time."""

    events: tuple[AnyEvent, ...]
    missed: bool = False
    """Whether the ring no longer has what comes next."""
    is_last: bool = False
    """Whether the feed was closed and everything was told."""


class Feed:
    """Hears a manager from the beginning to ``close()``."""

    def __init__(self, manager: ManagerApi) -> None:
        self._events: deque[AnyEvent] = deque(maxlen=KEPT)
        self._number = 0
        self._closed = False
        self._came = threading.Condition()
        self._unsubscribe = manager.subscribe(self._hear)

    @property
    def number(self) -> int:
        """Of the newest event; they count from 1."""
        return self._number

    def after(self, number: int, wait: float) -> Portion:
        """Return what follows event ``number``; if nothing does, wait so many seconds for it."""
        with self._came:
            if self._number == number and not self._closed:
                self._came.wait(wait)
            behind = self._number - number
            if behind > len(self._events):
                return Portion((), missed=True)
            start = len(self._events) - behind
            events = tuple(islice(self._events, start, start + _BATCH))
            return Portion(events, is_last=self._closed and not events)

    def close(self) -> None:
        """Hear no more, and wake all listeners; what is kept can still be read."""
        self._unsubscribe()
        with self._came:
            self._closed = True
            self._came.notify_all()

    def _hear(self, event: AnyEvent) -> None:
        with self._came:
            self._events.append(event)
            self._number += 1
            self._came.notify_all()
