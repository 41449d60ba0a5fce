"""The ringer: hangs the bell, listens, and puts what it hears into a queue; nothing else."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, TypeAlias

from hotload_tui.core.errors import near
from hotload_tui.core.plugin import WatcherStatus
from hotload_tui.core.watcher.bell import Bell, Hang

_APART = 1.0  # seconds between two bells: hanging one takes 20 ms for 2,000 directories, with the GIL held
_RETRY = 10.0  # seconds until a bell that hears only a part is hung anew
_ROOT_RETRY = 0.1

SWEEP_WHEN_DEAF: Final = 0.5
"""Seconds between two looks at all plugins while not all changes are notified."""

Rings: TypeAlias = "queue.SimpleQueue[Collection[str] | None]"
"""Paths where something happened; ``None`` says that it may have happened anywhere."""


class Ringer:
    """One thread's work: ``run``; the other methods may be called from any thread."""

    def __init__(
        self,
        root: Path,
        hang: Hang,
        rings: Rings,
        *,
        directories: Callable[[], list[str]],
        report: Callable[[WatcherStatus], None],
        check: Callable[[], None],
    ) -> None:
        """Listen below ``root``, else to the ``directories`` that can be heard.

        ``report`` hears how it goes; ``check`` is called again and again, at each step of the bell.
        """
        self._root = root
        self._hang = hang
        self._rings = rings
        self._directories = directories
        self._report = report
        self._check = check
        self._ended = threading.Event()
        self._woken = threading.Event()  # set: hang the bell anew
        self._hung_at = 0.0
        self._retry_at = 0.0
        self._bell: Bell | None = None  # that listens now

    def run(self) -> None:
        """Listen until ``end``."""
        while not self._ended.is_set():
            self._woken.clear()
            try:
                self._listen(self._new_bell())
            except Exception as error:  # whatever it meets: a name that is not UTF-8 ends it for good
                self._report(_deaf(error))
                self._retry_at = time.monotonic() + _RETRY
            self._check()
            self._pause()

    def end(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._interrupt()

    def hang_anew(self) -> None:
        """Listen with a new bell, soon: the present one did not hear what it should."""
        self._woken.set()
        self._interrupt()

    def is_set(self) -> bool:
        """Tell the bell whether to stop listening, also for a new one."""
        self._check()
        return self._is_over()

    def _new_bell(self) -> Bell | None:
        self._hung_at = time.monotonic()
        self._retry_at = 0.0
        root = os.fspath(self._root)
        try:
            bell = self._hang([root], False)
            self._report(WatcherStatus("watching"))
        except FileNotFoundError:
            if not self._root.is_dir():  # else a directory below it vanished meanwhile: try again
                trouble = f"no plugin directory {near(self._root)}; it is watched for"
                self._report(WatcherStatus("failed", trouble))
            return None
        except Exception as error:  # as in run
            # One directory that cannot be heard would silence its neighbours: each is named.
            bell = self._hang([root, *self._directories()], True)
            self._report(_deaf(error))
            self._retry_at = time.monotonic() + _RETRY
        self._rings.put(None)  # what changed while nobody listened
        return bell

    def _listen(self, bell: Bell | None) -> None:
        self._bell = bell
        try:
            while bell is not None and not self._is_over():
                paths = bell.wait(self)
                if paths is not None or not self._is_over():
                    self._rings.put(paths)
        finally:
            self._bell = None

    def _interrupt(self) -> None:
        bell = self._bell
        if bell is not None:
            bell.interrupt()

    def _pause(self) -> None:
        """Wait before the next bell, if the last was useless; a call for the end cuts it short."""
        wait = self._hung_at + _APART - time.monotonic()
        if not self._root.is_dir():
            wait = _ROOT_RETRY
        if wait > 0:
            self._ended.wait(wait)

    def _is_over(self) -> bool:
        """Tell whether the bell has had its time; one that may be deaf goes on listening until the next."""
        if self._ended.is_set():
            return True
        now = time.monotonic()
        is_anew = self._woken.is_set() and now - self._hung_at >= _APART
        return is_anew or (self._retry_at != 0.0 and now >= self._retry_at)


def _deaf(error: Exception) -> WatcherStatus:
    return WatcherStatus(
        "degraded", f"not all changes are notified ({error}); looking every {SWEEP_WHEN_DEAF:g} s"
    )
