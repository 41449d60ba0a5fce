"""``Series``: loads one after the other in one thread, which is exchanged when one leaves something in it.

To start a thread for each load takes as long as most loads. What a thread is for stays as it is: a load that
takes too long is interrupted or left behind, and what one plugin sets for its thread is not seen by the next.
"""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from hotload_tui.core.loader.bounded import GRACE, end, raise_in, start
from hotload_tui.core.loader.imprint import Imprint

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Load(Protocol[_T_co]):
    """What is loaded, in three steps; only the second runs code of the plugin's."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        ...

    def begin(self, *, follows: bool) -> None:
        """Prepare; ``follows``: the ``end`` of another load was just now."""
        ...

    def prove(self) -> _T_co:
        """Run the plugin's code; the time of this is bounded."""
        ...

    def end(self) -> None:
        """See what it did."""
        ...


class Series(Generic[_T]):
    """Loads in a thread, until one fails, takes too long, or leaves something in the thread."""

    def __init__(self, loads: Sequence[Load[_T]], limit: float, done: list[_T]) -> None:
        """Prepare; ``limit`` is in seconds for each load, and ``done`` gets the value of each."""
        self._waiting = [*loads][::-1]
        self._limit = limit
        self._done = done
        self.error: BaseException | None = None
        """Whatever the load raised after which the series ended."""
        self._lock = threading.Lock()
        self._ends_at = math.inf  # of the load whose code runs, on the monotonic clock
        self._is_stopped = False
        # A thread that a plugin starts inherits the daemon flag: a forgotten one cannot keep the host alive.
        self.thread = threading.Thread(target=self._run, name=_name(loads[0]), daemon=True)

    def ends_in_time(self) -> bool:
        """Start, and wait for the end; false if a load takes too long. What ends the waiting stops it all."""
        if not start(self.thread):
            return True
        try:
            while not self._is_over_time():
                self.thread.join(min(self._limit, max(0.0, self._ends_at - time.monotonic())))
                if not self.thread.is_alive():
                    return True
        except BaseException:
            if self._stop():
                raise_in(self.thread)
            else:
                self.thread.join(GRACE)  # it is between two loads, and ends before the next
            raise
        return False

    def interrupt(self) -> bool:
        """End the load that takes too long if the interpreter can; tell whether it did."""
        return end(self.thread)

    def _is_over_time(self) -> bool:
        """Stop the series if its load takes too long, and tell whether it does."""
        with self._lock:
            if self._ends_at <= time.monotonic():
                self._leave()
        return self._is_stopped

    def _stop(self) -> bool:
        """Have no other load begin; tell whether one runs."""
        with self._lock:
            self._leave()
            return self._ends_at < math.inf

    def _leave(self) -> None:
        self._is_stopped = True
        self._waiting, self._done = [], []  # a thread that is left behind holds its own load and no other

    def _run(self) -> None:
        imprint = Imprint()
        try:
            follows = False
            while self._waiting:
                load = self._waiting.pop()
                self.thread.name = _name(load)
                load.begin(follows=follows)
                if not self._prove(load) or not imprint.is_blank():
                    break
                follows = True
        except BaseException as error:  # foreign code: SystemExit and the like end this load only
            self.error = error

    def _prove(self, load: Load[_T]) -> bool:
        """Run one load, and tell whether another may follow; raises what it raises."""
        if not self._goes_on(time.monotonic() + self._limit):
            return False
        try:
            # Nothing that a plugin puts into its context may be seen by the next.
            value = contextvars.Context().run(load.prove)
        finally:
            goes_on = self._goes_on(math.inf)
        if goes_on:  # else it is too late, and an interrupt may strike at any line
            load.end()
            self._done.append(value)
        return goes_on

    def _goes_on(self, ends_at: float) -> bool:
        """Note when the load's time is up, unless the series was stopped."""
        with self._lock:
            if not self._is_stopped:
                self._ends_at = ends_at
            return not self._is_stopped


def _name(load: Load[object]) -> str:
    return f"hotload-load-{load.name}"
