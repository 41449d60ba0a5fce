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
        self._lock = threading.Lock()
        self._bell: Bell | None = None  # that listens now
        self._beginning: WatcherStatus | None = None  # to report once the bell listens

    def run(self) -> None:
        """Listen until ``end``."""
        while not self._ended.is_set():
            self._woken.clear()
            self._hung_at = time.monotonic()
            self._retry_at = 0.0
            try:
                self._listen_to_all()
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
        """Tell the bell whether to stop listening, also for a new one; it listens now."""
        self._check()
        begun, self._beginning = self._beginning, None
        if begun is not None:
            self._report(begun)
            self._rings.put(None)  # what changed while nobody listened
        return self._is_over()

    def _listen_to_all(self) -> None:
        """Listen below the root; where that is refused, to what can be heard."""
        root = os.fspath(self._root)
        try:
            self._listen([root], WatcherStatus("watching"))
        except Exception as error:  # as in run
            if self._beginning is None:
                raise
            refusal = error
        else:
            return
        if isinstance(refusal, FileNotFoundError):
            if not self._root.is_dir():  # else a directory below it vanished meanwhile: try again
                trouble = f"no plugin directory {near(self._root)}; it is watched for"
                self._report(WatcherStatus("failed", trouble))
            return
        # One directory that cannot be heard would silence its neighbours: each is named.
        self._retry_at = time.monotonic() + _RETRY
        self._listen([root, *self._directories()], _deaf(refusal), is_partial=True)

    def _listen(self, directories: list[str], begun: WatcherStatus, *, is_partial: bool = False) -> None:
        """Hang a bell and listen to it; ``begun`` is reported once it listens."""
        self._beginning = begun
        bell = self._hang(directories, is_partial)
        with self._lock:
            self._bell = bell
        try:
            while not self._is_over():
                paths = bell.wait(self)
                if paths is not None or not self._is_over():
                    self._rings.put(paths)
        finally:
            with self._lock:  # nobody interrupts a bell that is closed
                self._bell = None
            bell.close()

    def _interrupt(self) -> None:
        with self._lock:
            if self._bell is not None:
                self._bell.interrupt()

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
