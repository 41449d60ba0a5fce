"""``Watcher``: file-system noise becomes the names of plugins that may have changed.

The notification is only a doorbell. It says where to look; its kinds are never trusted, and whoever is told
a name asks the disk. What the system does not report (writes through mmap, hard links, a deleted root …) is
found by a sweep that compares the signatures of all plugins.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from hotload_tui.core.discovery import name_of, plugin_at
from hotload_tui.core.errors import near
from hotload_tui.core.plugin import WatcherStatus
from hotload_tui.core.source import is_noise, signature

logger = logging.getLogger("hotload.engine")

_STEP = 5  # ms between two looks at the system's queue: 8 ms from save to ring at 0.5 % of a core
_POLL_DELAY = 300  # ms; unused: polling compares whole seconds and misses saves
_ROOT_CHECK = 0.25  # s between two looks whether the root is still the same directory
_NO_DEBOUNCE, _NO_TIMEOUT = 0, 0  # quiet is decided here, and a timeout can lose events

_Signature: TypeAlias = frozenset[tuple[str, int, int, int, int]]

OnChange: TypeAlias = Callable[[frozenset[str]], None]


class Watcher:
    """Calls ``on_change`` with the names of plugins whose files, or existence, may have changed.

    The call comes from a thread of the watcher's; what changes meanwhile is told in the next call.
    """

    def __init__(
        self,
        root: Path,
        on_change: OnChange,
        *,
        on_status: Callable[[], None] = lambda: None,
        settle_time: float,
        debounce_time: float,
        sweep_interval: float,
    ) -> None:
        """Watch ``root`` once started; a burst ends after ``settle_time`` s, or ``debounce_time`` s."""
        # Absolute and resolved: a path that the system reports is compared with this one.
        self._root = root.resolve()
        self._on_change = on_change
        self._on_status = on_status
        self._settle_time = settle_time
        self._debounce_time = debounce_time
        self._sweep_interval = sweep_interval
        self._rings: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._disarm = threading.Event()
        self._threads: list[threading.Thread] = []
        self._known: dict[str, _Signature] = {}
        self._trouble = ""

    def start(self) -> None:
        """Begin to watch; nothing happens if it has begun."""
        if self._threads:
            return
        self._stopped.clear()
        self._known = self._signatures()
        self._threads = [
            threading.Thread(target=self._ring, name="hotload-bell", daemon=True),
            threading.Thread(target=self._dispatch, name="hotload-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop watching; a call of ``on_change`` in progress ends first."""
        self._stopped.set()
        self._disarm.set()
        self._rings.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._threads = []

    def status(self) -> WatcherStatus:
        """Return whether it watches, and what is the trouble if not."""
        if not self._threads:
            return WatcherStatus("off")
        return WatcherStatus("failed" if self._trouble else "watching", self._trouble)

    # ---- the bell: puts paths into the queue, nothing else

    def _ring(self) -> None:
        from watchfiles._rust_notify import RustNotify  # 9 ms, for those only who watch

        while not self._stopped.is_set():
            self._disarm.clear()
            if self._stopped.is_set():
                return  # set between the two lines above, and nobody would set it again
            try:
                bell = RustNotify([str(self._root)], False, False, _POLL_DELAY, True, False)
                self._report("")
                self._rings.put(str(self._root))  # what changed while nobody listened
                while not self._disarm.is_set():
                    batch = bell.watch(_NO_DEBOUNCE, _STEP, _NO_TIMEOUT, self._disarm)
                    if isinstance(batch, set):
                        for _, path in batch:
                            self._rings.put(path)
            except FileNotFoundError:
                self._report(f"no plugin directory {near(self._root)}; it is watched for")
            except Exception as error:
                # Whatever the notifier meets (a limit, a name that is not UTF-8), the sweep goes on.
                self._report(
                    f"no notification of changes ({error}); looking every {self._sweep_interval:g} s"
                )
            self._disarm.wait(_ROOT_CHECK)

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_status()

    # ---- the dispatcher: waits for quiet, sweeps, calls

    def _dispatch(self) -> None:
        root, swept, checked = self._identity(), time.monotonic(), time.monotonic()
        while not self._stopped.is_set():
            names = self._collect(_ROOT_CHECK)
            now = time.monotonic()
            if now - checked >= _ROOT_CHECK:
                checked = now
                if self._identity() != root:
                    root = self._identity()
                    self._disarm.set()
                    swept = 0.0
            if now - swept >= self._sweep_interval:
                names |= self._sweep()
                swept = time.monotonic()
            if names and not self._stopped.is_set():
                self._call(frozenset(names))

    def _collect(self, patience: float) -> set[str]:
        """Wait ``patience`` seconds for a first ring, then until it is quiet; return the plugins' names."""
        try:
            names = self._names(self._rings.get(timeout=patience))
        except queue.Empty:
            return set()
        deadline = time.monotonic() + self._debounce_time
        while not self._stopped.is_set():
            remaining = deadline - time.monotonic()
            try:
                names |= self._names(self._rings.get(timeout=max(0.0, min(self._settle_time, remaining))))
            except queue.Empty:
                break
            if remaining <= 0:
                break
        for name in names:
            self._known.pop(name, None)
            now = self._signature_of(name)
            if now:
                self._known[name] = now
        return names

    def _sweep(self) -> set[str]:
        """Return the plugins whose files changed in silence; then the bell was deaf, and is armed anew."""
        before, self._known = self._known, self._signatures()
        names = {
            name for name in before.keys() | self._known.keys() if before.get(name) != self._known.get(name)
        }
        if names:
            self._disarm.set()
        return names

    def _call(self, names: frozenset[str]) -> None:
        try:
            self._on_change(names)
        except Exception:  # foreign code: one failing call must not end the watching
            logger.exception("handling changes of %s failed", ", ".join(sorted(names)))

    def _names(self, path: str | None) -> set[str]:
        """Return the plugin to which a changed path belongs, none for noise, all for the root itself."""
        if path is None:
            return set()
        try:
            parts = Path(path).relative_to(self._root).parts
        except ValueError:
            return set()
        if not parts:
            return self._known.keys() | self._signatures().keys()
        if any(is_noise(part) for part in parts[1:]):
            return set()
        name = name_of(parts[0])
        return set() if name is None else {name}

    def _signatures(self) -> dict[str, _Signature]:
        try:
            directories = os.listdir(self._root)  # noqa: PTH208 - names are all that is wanted
        except OSError:
            return {}
        found = {plugin.name for name in directories if (plugin := plugin_at(self._root / name))}
        return {name: self._signature_of(name) for name in found}

    def _signature_of(self, name: str) -> _Signature:
        """Return the signature of a plugin's files, with the name of its directory; empty: it has none."""
        for directory in (self._root / name, self._root / f"_{name}"):
            if directory.is_dir():
                return signature(directory) | {(f"./{directory.name}", 0, 0, 0, 0)}
        return frozenset()

    def _identity(self) -> tuple[int, int] | None:
        try:
            facts = self._root.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino
