"""Turns: one command at a time, and a stop that was asked for in the middle of one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hotload_tui.core.errors import RefusedError


class Turns:
    """Whose turn it is to command the manager."""

    def __init__(self, is_inside_trial: Callable[[], bool]) -> None:
        self._is_inside_trial = is_inside_trial
        self._lock = threading.RLock()
        self._holder = 0  # the thread whose command runs
        self._afterwards: Callable[[], None] | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and have it.

        A plugin that is being loaded cannot have one: its load has it. Raises ``RefusedError``.
        """
        self.refuse_inside_trial()
        afterwards = None
        with self._lock:
            before, self._holder = self._holder, threading.get_ident()
            try:
                yield
            finally:
                self._holder = before
                if not before:
                    afterwards, self._afterwards = self._afterwards, None
        if afterwards is not None:
            afterwards()

    def put_off(self, call: Callable[[], None]) -> bool:
        """Have ``call`` made when the turn of the calling thread ends; false if it has none."""
        if self._holder != threading.get_ident():
            return False
        self._afterwards = call
        return True

    def refuse_inside_trial(self) -> None:
        """Raise ``RefusedError`` for a plugin's code that is being loaded."""
        if self._is_inside_trial():
            raise RefusedError(
                "a plugin cannot command its manager while it is being loaded; do it in a handler"
            )
