"""The end of a generation: its calls leave, its clean-up runs, its memory is checked."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.errors import near
from hotload_tui.core.faults import fault_of, trace_of
from hotload_tui.core.hooks.inflight import CallRecord
from hotload_tui.core.interpreter import collect_young, thread_stack
from hotload_tui.core.leaks import FREED, LivenessCheck, collect, forget
from hotload_tui.core.model import Fault, LedgerEntry, StepObserver, nobody
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.runtime.threads import BoundedCall
from hotload_tui.core.runtime.trial import LivePlugin, is_unfinished
from hotload_tui.core.runtime.workers import Worker
from hotload_tui.core.undo.ledger import Ledger, is_resource

_NAMED = 8  # calls that are still inside and told one by one


class Retirement(Struct, frozen=True):
    """How a generation went."""

    plugin: str
    generation: int
    faults: tuple[Fault, ...]
    """Of calls that did not leave, and of its ``on_unload`` functions."""
    memory: str
    """``freed``, or what is left and who holds it."""
    ledger: tuple[LedgerEntry, ...] = ()
    """What it had started or changed in the process: undone, or named."""


@dataclass(eq=False, slots=True)
class Parting:
    """A generation that is gone, and what tells whether its memory is; holds nothing once it is closed."""

    plugin: str
    generation: int
    liveness: LivenessCheck
    ledger: Ledger
    faults: tuple[Fault, ...] = ()
    inside: str = ""
    """Which calls had not left it, and where they were; empty if all had."""
    entries: tuple[LedgerEntry, ...] = ()
    """What became of what it had started or changed."""

    def close(self) -> bool:
        """Close what it left open, and let go of it, if nobody else holds it; tell whether it did so now."""
        things = self.liveness.garbage(is_resource)
        if things is None:
            return False
        self.entries += self.ledger.close(things)
        return self.liveness.let_go()

    def undo_patches(self) -> None:
        """Undo patches of shared modules that it made while it served."""
        self.entries += self.ledger.undo_patches()

    def retirement(self) -> Retirement:
        """Look at what is left, and tell how it went."""
        memory = self.liveness.verdict()
        if memory != FREED and self.inside:
            memory = f"{memory} ({self.inside})"
        return Retirement(self.plugin, self.generation, self.faults, memory, self.entries)


class Retirer:
    """Parts with generations whose calls have been waited for."""

    def __init__(self, limit: float, module_path: str, step_observer: StepObserver = nobody) -> None:
        """Give each ``on_unload`` function ``limit`` seconds; modules below ``module_path`` are plugins'."""
        self._limit = limit
        self._module_path = module_path
        self._step_observer = step_observer
        self._unloading: dict[int, str] = {}
        self._aside: set[int] = set()
        self._spared: list[Worker] = []

    def unloading(self) -> str | None:
        """Return the plugin whose ``on_unload`` function the calling thread runs; ``None`` for others."""
        return self._unloading.get(threading.get_ident())

    @contextlib.contextmanager
    def not_waiting_for(self, thread: int) -> Iterator[None]:
        """Wait for no thread or task of plugins' that runs in this one: it waits for the retirement."""
        self._aside.add(thread)
        try:
            yield
        finally:
            self._aside.discard(thread)

    def part(self, live: LivePlugin, calls: Iterable[CallRecord], successor: Ledger | None = None) -> Parting:
        """Clean up after a generation and drop its modules; ``calls`` have not left in time.

        ``successor`` is the ledger of the generation that serves now, if one does.
        """
        number = live.generation.number
        own = [call for call in calls if call.table.reaches({(live.name, number)})]
        stuck, inside = self._still_inside(live.name, own)
        faults = (*stuck, *self._unload(live), *self.call_endings(live.generation, live.ledger, successor))
        live.generation.release()
        live.generation.leave_remnants()
        entries = live.ledger.undo()
        functions = [handler.function for handler in live.handlers]
        gone = self.bury(live.generation, live.ledger, live.context, *functions)
        gone.faults, gone.inside, gone.entries = faults, inside, entries
        return gone

    def call_endings(
        self, generation: Generation, ledger: Ledger, successor: Ledger | None = None
    ) -> list[Fault]:
        """Call what was to be called when the program ends; return what failed."""
        plugin = generation.plugin
        errors = (
            self._error_of(plugin, ending.call, f"the function {ending.name} for the program's end")
            for ending in ledger.leave(generation.exit_calls, successor)
        )
        return [self._fault_of(plugin, error) for error in errors if error is not None]

    def bury(self, generation: Generation, ledger: Ledger, *others: object) -> Parting:
        """Prepare for the look whether a generation is freed that has left ``sys.modules``.

        ``others`` is what it had that its modules need not lead to.
        """
        forget(generation.root)
        liveness = LivenessCheck(generation.plugin, generation.root, generation.modules, others)
        return Parting(generation.plugin, generation.number, liveness, ledger)

    # ---- calls that did not leave

    def _still_inside(self, plugin: str, calls: Sequence[CallRecord]) -> tuple[tuple[Fault, ...], str]:
        """Return the fault that tells where the calls are, and that in words; nothing if there are none."""
        if not calls:
            return (), ""
        places, faults = [], []
        for call in calls[:_NAMED]:
            error = TimeoutError().with_traceback(trace_of(call.stack()))
            fault = fault_of(error, phase="unload", plugin=plugin, module_path=self._module_path)
            place = fault.place
            line = f", {near(place.file)}:{place.line} in {place.function}" if place else ""
            places.append(f"hook point '{call.point}' in {call.where()}{line}")
            faults.append(replace(fault, message=f"still inside {places[-1]}", relation="member"))
        if len(calls) > _NAMED:
            places.append(f"and {len(calls) - _NAMED} more")
        count = "1 call is" if len(calls) == 1 else f"{len(calls)} calls are"
        inside = f"{count} still inside: {'; '.join(places)}"
        limit = f"drain_timeout = {self._limit:g} s"
        first = replace(faults[0], message=f"after {limit} {inside}", causes=tuple(faults[1:]), relation="")
        return (first,), inside

    # ---- on_unload

    def _unload(self, live: LivePlugin) -> Iterator[Fault]:
        """Run ``on_unload`` functions and end threads and tasks, the newest first, each bounded in time."""
        live.context.end()
        spared, self._spared = self._spared, []
        live.context.unloaders += spared  # they have left the reload that they asked for
        while live.context.unloaders:
            unloader = live.context.unloaders.pop()
            error = (
                self._end(unloader)
                if isinstance(unloader, Worker)
                else self._error_of(live.name, unloader, f"on_unload function {_name_of(unloader)}")
            )
            if error is not None:
                yield self._fault_of(live.name, error)

    def _fault_of(self, plugin: str, error: BaseException) -> Fault:
        return fault_of(error, phase="unload", plugin=plugin, module_path=self._module_path)

    def _end(self, worker: Worker) -> BaseException | None:
        error = worker.end(self._limit, self._aside)
        if worker.is_spared:
            worker.is_spared = False
            self._spared.append(worker)
        return error

    def _error_of(self, plugin: str, function: Callable[[], object], what: str) -> BaseException | None:
        def run() -> None:
            thread = threading.get_ident()
            self._unloading[thread] = plugin
            try:
                with self._step_observer("unload", plugin):
                    _refuse_unfinished(function(), what)
            finally:
                del self._unloading[thread]

        call = BoundedCall(run, f"hotload-unload-{plugin}")
        if call.ends_within(self._limit):
            return call.error
        trace = trace_of(thread_stack(call.thread.ident or 0))
        ending = (
            "was interrupted" if call.interrupt() else f"goes on in thread '{call.thread.name}', left behind"
        )
        message = f"{what} did not end within drain_timeout = {self._limit:g} s and {ending}"
        return TimeoutError(message).with_traceback(trace)


def _name_of(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _refuse_unfinished(value: object, what: str) -> None:
    if is_unfinished(value):
        raise TypeError(f"{what} returned a coroutine or generator, which nobody would run")


_SECOND_LOOKS = ((0.01, collect_young), (0.0, collect), (0.1, collect_young))
"""Seconds until a generation that is not freed is looked at again, and how."""


class HeldGenerations:
    """Frees what has retired, and remembers what could not be freed; holds nothing of it."""

    def __init__(self) -> None:
        self._held: list[Parting] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def free(self, parted: Iterable[Parting]) -> None:
        """Have the collector free generations that have just retired, as far as it can."""
        left = [gone for gone in parted if not gone.liveness.is_freed()]
        left = _still_there(left, collect_young)
        # The first collection may free an older object that held a generation, and counts it as a holder.
        left = _still_there(left, collect_young)
        for gone in left:
            gone.undo_patches()
            gone.liveness.cut()
        # A caller that was just entering, or just leaving, holds the old table for an instant more.
        for pause, collect_some in _SECOND_LOOKS:
            if not left:
                return
            time.sleep(pause)
            left = _still_there(left, collect_some)
        for gone in left:
            gone.liveness.let_go()
        if left:
            collect()  # of what is held in ways that only the collector can follow
        self._held += [gone for gone in left if not gone.liveness.is_freed()]

    def look_again(self) -> list[Parting]:
        """Return those that have been let go since, and are freed; collects only if there is one."""
        let_go = [gone for gone in self._held if gone.liveness.is_let_go()]
        for gone in let_go:
            gone.close()
            gone.liveness.cut()
        _still_there(_still_there(let_go, collect_young), collect)
        freed = [gone for gone in self._held if gone.liveness.is_freed()]
        self._held = [gone for gone in self._held if gone not in freed]
        for gone in freed:
            forget(gone.liveness.root)
        return freed

    def memory_of(self, plugin: str) -> str:
        """Return ``freed``, or what is left of the newest generation that is held, and how many more are."""
        held = [gone for gone in self._held if gone.plugin == plugin]
        if not held:
            return FREED
        newest = held[-1].retirement()
        others = f", and {len(held) - 1} older" if len(held) > 1 else ""
        return f"{newest.memory} (generation {newest.generation}{others})"


def _still_there(parted: list[Parting], collect_some: Callable[[], None]) -> list[Parting]:
    """Close what they left open, collect, and return those that are not freed by that."""
    for gone in parted:
        gone.close()
    is_closing = True
    while parted and is_closing:
        collect_some()
        parted = [gone for gone in parted if not gone.liveness.is_freed()]
        # What had held some may have been garbage, too: each is to be closed.
        is_closing = any([gone.close() for gone in parted])  # noqa: C419 - each
    return parted
