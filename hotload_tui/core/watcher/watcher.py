"""``Watcher``: what the manager starts and stops."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from hotload_tui.core.plugin import WatcherStatus
from hotload_tui.core.source import SourceRule
from hotload_tui.core.watcher.bell import Hang
from hotload_tui.core.watcher.dispatcher import Dispatcher, OnChange
from hotload_tui.core.watcher.threads import Threads


class Watcher:
    """Tells ``on_change`` of plugins whose files, or existence, changed, with what was read of them.

    The call comes from a thread of the watcher's; what changes meanwhile is told in the next call.
    """

    def __init__(
        self,
        root: Path,
        on_change: OnChange,
        *,
        on_status: Callable[[], None] = lambda: None,
        on_tick: Callable[[], None] = lambda: None,
        settle_time: float,
        debounce_time: float,
        sweep_interval: float,
        hang: Hang,
        rule: SourceRule | None = None,
        doubted: set[str] | None = None,
    ) -> None:
        """Watch ``root`` once started; a save is looked at after ``settle_time`` s of quiet.

        A stream of changes puts that off for ``debounce_time`` s at most. Who is added to ``doubted`` is told
        at the next look, also if what is there is known. ``on_tick`` is called about once a second. ``hang``
        makes what notifies of changes.
        """
        self._root = root.absolute()
        self._on_status = on_status
        self._hang = hang
        self._new_dispatcher = functools.partial(
            Dispatcher,
            self._root,
            rule or SourceRule(),
            on_change=on_change,
            on_tick=on_tick,
            settle_time=settle_time,
            debounce_time=debounce_time,
            sweep_interval=sweep_interval,
            doubted=set() if doubted is None else doubted,
        )
        self._threads: Threads | None = None

    def start(self) -> None:
        """Begin to watch: no change after the return is missed; nothing happens if it has begun."""
        if self._threads is None:
            self._threads = Threads(self._root, self._hang, self._new_dispatcher, self._on_status)
            self._threads.start()

    def stop(self) -> None:
        """Stop watching; a call of ``on_change`` in progress may end after the return, no other begins."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.stop()

    def status(self) -> WatcherStatus:
        """Return whether it watches, and what is the trouble if not."""
        return WatcherStatus("off") if self._threads is None else self._threads.status()
