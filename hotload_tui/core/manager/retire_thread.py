"""Retire old generations in the background, and roll back a new version that fails too often."""

from __future__ import annotations

import functools
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from time import time as clock  # a plugin can replace it
from typing import Final

from msgspec.structs import replace

from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.interpreter import Interrupted
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import Fault, PluginState
from hotload_tui.core.primitives import Event, Lock, Thread, current_thread
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.runtime.loader import Loader
from hotload_tui.core.runtime.retirement import Retirement

logger = logging.getLogger("hotload.engine")

_STEP = 0.05  # seconds between two looks whether the thread waits for its caller
_TICK = 1.0  # seconds between two looks for calls of a version that is still in memory
_MOST: Final = 1000  # waiting chores
_RETRIES: Final = 50  # after interruptions


class RetireThread:
    """A thread that retires the generations that the loader replaced or dropped, and reports the results."""

    def __init__(self, loader: Loader, store: StatusStore) -> None:
        self._loader = loader
        self._store = store
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        """The thread that the last ``stop`` ends."""
        self._changing = Lock()
        self._is_check_scheduled = False
        self._discarded: dict[tuple[str, int], str] = {}
        self._called: dict[str, str] = {}
        self._retired: list[Retirement] = []
        """What is to be reported; an interruption leaves some."""

    def start(self) -> None:
        """Start before plugins load: a thread keeps the hooks that are set when it starts.

        Another thread may be in ``stop``: the thread that it ends gets a successor.
        """
        with self._changing:
            if self._thread is None or self._thread is self._ending:
                self._begin()

    def _begin(self) -> None:
        thread = Thread(functools.partial(self._work, self._queue), "hotload-retire")
        self._loader.stall_watch.begin()
        thread.start()
        self._thread = thread

    def discard(self, trial: LivePlugin, reason: str) -> None:
        """Retire a trial that never goes live, and log ``reason``."""
        self._discarded[trial.name, trial.generation.number] = reason
        for fault in self._loader.discard(trial):
            self._store.put_incomplete(fault)
        self.schedule()

    def schedule(self) -> None:
        """Schedule a retirement; only one thread at a time may call this."""
        self.then(self._retire)

    def retire_now(self) -> None:
        """Retire the queued generations, and wait for that; not to be called in an ``on_unload`` function."""
        done = Event()
        self.schedule()
        self.then(done.set)
        with self._loader.step_aside():
            while not done.wait(_STEP):
                if self._waits_for_caller():
                    self._run(self._retire)
                    return

    def _waits_for_caller(self) -> bool:
        """Return whether the thread runs a subscriber that gives the calling command, or waits for it."""
        thread = self._thread
        return thread is not None and (
            thread is threading.current_thread() or self._loader.is_blocked(thread.ident)
        )

    def then(self, chore: Callable[[], None]) -> None:
        """Run ``chore`` in the background, after the retirements in the queue."""
        with self._changing:
            if self._thread is None:
                self._begin()
            self._queue.put(chore)

    def later(self, chore: Callable[[], None]) -> None:
        """Run ``chore`` in the background, unless very many wait; any thread may call this, with any lock.

        Without a thread, it runs when the thread starts again.
        """
        if self._queue.qsize() < _MOST:
            self._queue.put(chore)

    def check_held(self) -> None:
        """Schedule a check for freed generations, if any retired generation is still in memory."""
        if self._loader.held and not self._is_check_scheduled:
            self._is_check_scheduled = True
            self._queue.put(self._retire)

    def stop(self, *, wait: bool = True) -> None:
        """Retire the queued generations and end the thread; without ``wait``, return before that.

        The thread does not wait for hook calls of the calling thread. An ``on_unload`` function never waits
        for the thread, because the thread waits for that function.
        """
        wait = wait and self._loader.unloading() is None
        with self._changing:
            self._ending = thread = self._thread
            if thread is not None:
                self._queue.put(None)
                self._queue = queue.SimpleQueue()  # the next thread must not take the end marker
        if thread is not None and wait and thread is not current_thread():
            with self._loader.step_aside():
                thread.join()
        with self._changing:
            if self._thread is thread:
                self._thread = None

    def _work(self, chores: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        while True:
            try:
                chore = chores.get(timeout=_TICK if self._loader.held or self._called else None)
            except queue.Empty:
                chore = self._look_for_calls_and_end
            if chore is None:
                self._loader.held.end_watch()
                if self._thread in (None, current_thread()):  # else the next thread needs it
                    self._loader.stall_watch.end()
                return
            self._run(chore)

    def _run(self, chore: Callable[[], None]) -> None:
        """Run a chore; after an interruption of code of a plugin, also retire what is left of the batch."""
        for each in (chore, *itertools.repeat(self._retire, _RETRIES)):
            try:
                with self._loader.stall_watch.limited():
                    each()
            except Interrupted:
                logger.exception("code of a plugin stopped what follows a reload")
            except BaseException:  # foreign code: later generations must still retire
                logger.exception("what follows a reload failed")
                return
            else:
                return

    def _retire(self) -> None:
        self._is_check_scheduled = False
        self._retired += self._loader.retire()
        while self._retired:
            gone = self._retired.pop(0)
            name, number = gone.plugin, gone.generation
            for fault in gone.faults:
                self._store.running_failed(fault, number)
            self._store.remember(name, number, self._loader.held.memory_of(name), gone.ledger)
            reason = self._discarded.pop((name, number), None)
            if reason is not None:
                self._store.write("info", name, f"generation {number} never was live: {reason}")
            else:
                if not gone.faults:
                    self._store.retired_well(name, number)
                self._store.publish(PluginRetired(clock(), name, number, gone.memory, gone.ledger))
        for name, number in self._loader.held.look_again():
            self._store.remember(name, number, self._loader.held.memory_of(name))
            self._store.write("info", name, f"generation {number} is freed now")
        self._look_for_calls()

    def _look_for_calls_and_end(self) -> None:
        self._look_for_calls()
        if self._loader.held.may_be_let_go():
            self._retire()

    def _look_for_calls(self) -> None:
        """Record which plugins have an earlier version that is still called."""
        called = self._loader.held.still_called()
        for name in {**self._called, **called}:
            self._store.put_old(name, called.get(name, ""))
        self._called = called


FEWEST: Final = 3
"""Least number of faults for a rollback: one bad argument does not make a version bad."""


class Probation:
    """Rolls back a new version whose handlers fail too often."""

    def __init__(
        self, config: Config, store: StatusStore, host: HookHost, go_back: Callable[[str, int, Fault], None]
    ) -> None:
        """Call ``go_back`` in a new thread with the plugin, the generation to leave, and the fault."""
        self._config = config
        self._store = store
        self._host = host
        self._go_back = go_back
        self._judged: set[tuple[str, int]] = set()

    def handler_failed(self, fault: Fault, generation: int) -> None:
        """Decide whether to roll back after a fault; runs in the thread that called the handler."""
        limit = self._config.max_error_rate
        status = self._store.get(fault.plugin)
        if limit is None or status is None or status.generation != generation:
            return
        if (
            status.state not in (PluginState.OK, PluginState.OLD)
            or (fault.plugin, generation) in self._judged
        ):
            return
        age = clock() - status.loaded_at
        figures = [each.status() for each in self._host.handlers_of(fault.plugin)]
        faults, calls = sum(each.faults for each in figures), sum(each.calls for each in figures)
        if age > self._config.probation or faults < FEWEST or faults <= limit * calls:
            return
        self._judged.add((fault.plugin, generation))
        first = status.fault if status.fault and status.fault.generation == generation else fault
        reason = f"{faults} of {calls} calls of generation {generation} failed within {age:.1f} s of its swap"
        causes = tuple(replace(each, relation="member") for each in dict.fromkeys([first, fault]))
        why = Fault("hook", fault.plugin, "ErrorRate", reason, fault.at, causes=causes)
        leave = functools.partial(self._leave, fault.plugin, generation, why)
        Thread(leave, "hotload-probation").start()

    def _leave(self, plugin: str, generation: int, why: Fault) -> None:
        try:
            self._go_back(plugin, generation, why)
        except HotloadError as error:
            self._store.write("warning", plugin, f"{why.message}; it stays live: {error}")
