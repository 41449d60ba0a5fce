"""The two threads of a watcher: each notices when the other dies, and replaces it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from hotload_tui.core.plugin import WatcherStatus
from hotload_tui.core.watcher.bell import Hang
from hotload_tui.core.watcher.dispatcher import Dispatcher
from hotload_tui.core.watcher.ringer import Ringer, Rings

logger = logging.getLogger("hotload.engine")

_PATIENCE = 0.08  # seconds that ``stop`` waits for the threads; what they are busy with ends behind it


class NewDispatcher(Protocol):
    """Makes a dispatcher that takes its rings from a queue."""

    def __call__(self, *, rings: Rings) -> Dispatcher:
        """Make one to which nothing is known yet."""
        ...


class Threads:
    """From ``start`` to ``stop``; used once."""

    def __init__(
        self, root: Path, hang: Hang, new_dispatcher: NewDispatcher, on_status: Callable[[], None]
    ) -> None:
        self._on_status = on_status
        self._new_dispatcher = new_dispatcher
        self._rings: Rings = queue.SimpleQueue()
        self._dispatcher = new_dispatcher(rings=self._rings)
        self._ringer = Ringer(
            root,
            hang,
            self._rings,
            directories=self._directories,
            report=self._note,
            check=self._check_watch,
        )
        self._stopped = threading.Event()
        self._status = WatcherStatus("watching")
        self._died: dict[str, BaseException] = {}
        self._bell = self._thread("hotload-bell", self._ring)
        self._watch = self._thread("hotload-watch", self._dispatch)

    def start(self) -> None:
        """Take what is there as known, and begin."""
        self._dispatcher.begin()
        self._bell.start()
        self._watch.start()

    def stop(self) -> None:
        """End, soon; returns within a tenth of a second."""
        self._stopped.set()
        self._ringer.end()
        self._rings.put(())
        until = time.monotonic() + _PATIENCE
        for thread in (self._bell, self._watch):
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def status(self) -> WatcherStatus:
        """Return whether changes are found, and what is the trouble if not."""
        return self._status

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # also what was meant for another thread; the other one tells
                self._died[name] = error

        return threading.Thread(target=run, name=name, daemon=True)

    def _directories(self) -> list[str]:
        return self._dispatcher.looker.directories()

    def _ring(self) -> None:
        self._ringer.run()

    def _dispatch(self) -> None:
        self._dispatcher.run(self._is_ended, lambda: self._status.state == "degraded", self._ringer.hang_anew)

    # ---- each looks after the other

    def _is_ended(self) -> bool:
        """Tell the dispatcher whether to end; while at it, see to the bell."""
        if self._stopped.is_set():
            return True
        if not self._bell.is_alive():
            self._bell = self._thread("hotload-bell", self._ring)
            self._replace(self._bell)
        return False

    def _check_watch(self) -> None:
        """See to the dispatcher; called all the time while the bell listens."""
        if self._watch.is_alive() or self._stopped.is_set() or self._watch.ident is None:
            return
        # What it had read and not told would be lost: to a new one everything is new.
        self._dispatcher = self._new_dispatcher(rings=self._rings)
        self._rings.put(None)
        self._watch = self._thread("hotload-watch", self._dispatch)
        self._replace(self._watch)

    def _replace(self, thread: threading.Thread) -> None:
        before = self._status
        error = self._died.pop(thread.name, None)
        self._note(WatcherStatus("degraded", f"the thread {thread.name} ended ({error!r}); a new one begins"))
        logger.error("the thread %s ended", thread.name, exc_info=error)
        thread.start()
        self._note(before)

    def _note(self, status: WatcherStatus) -> None:
        if status != self._status:
            self._status = status
            self._on_status()
