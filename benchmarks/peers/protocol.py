"""The output of every peer's script: ``ready``, then for each number that it reads, when it first saw it.

The script is started with the root folder, the plugins' names, the number of objects to keep in memory, and
the seconds after each save in which the longest stall of a ticker is measured. All clocks are
``time.monotonic()``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_POLL = 0.0002  # seconds between two calls of the host


class Task:
    """The arguments of the command line."""

    def __init__(self) -> None:
        self.root = Path(sys.argv[1])
        self.names = sys.argv[2].split(",")
        self.objects = int(sys.argv[3])
        self.linger = float(sys.argv[4])


class _Ticker:
    """A ticker that wakes each millisecond, as a busy host does, and keeps the longest interval."""

    def __init__(self) -> None:
        self.longest = 0.0
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(0.001)
            now = time.monotonic()
            self.longest = max(self.longest, now - before)
            before = now


def serve(task: Task, lowest: Callable[[], int]) -> None:
    """Call ``lowest`` (the least of the plugins' answers) until it returns the awaited number."""
    heap = [[number] for number in range(task.objects)]
    ticker = _Ticker() if task.linger else None
    print("ready", flush=True)
    for line in sys.stdin:
        awaited = int(line)
        if ticker is not None:
            ticker.longest = 0.0
        print("watching", flush=True)
        while lowest() < awaited:
            time.sleep(_POLL)
        seen = time.monotonic()
        time.sleep(task.linger)
        print(seen, 0.0 if ticker is None else ticker.longest, flush=True)
    del heap
