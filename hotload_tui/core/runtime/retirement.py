"""Retire a generation: run its clean-up, drop its modules, and check whether its memory is freed."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.errors import near
from hotload_tui.core.faults import class_name, fault_of, message_of, trace_of
from hotload_tui.core.hooks.inflight import CallRecord
from hotload_tui.core.interpreter import collect_recent, collect_young, stacks, thread_stack
from hotload_tui.core.leaks import FREED, LivenessCheck, collect, forget
from hotload_tui.core.limits import BoundedCall
from hotload_tui.core.model import Fault, LedgerEntry, StepObserver, nobody
from hotload_tui.core.primitives import get_ident, sleep
from hotload_tui.core.runtime.context import LivePlugin, is_unfinished
from hotload_tui.core.runtime.following import FollowedContainers, Followers
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.runtime.old_calls import OldCalls
from hotload_tui.core.runtime.workers import Worker
from hotload_tui.core.undo.claims import Claimed
from hotload_tui.core.undo.containers import EMPTIED, LOST
from hotload_tui.core.undo.ledger import Ledger, is_resource

logger = logging.getLogger("hotload.engine")

_HELD_BY = ", held by "  # in a verdict
_ROUNDS = 5  # an object may have more holders than one search finds
_NAMED = 8  # maximum number of unfinished calls that a fault lists


class Retirement(Struct, frozen=True):
    """The result of retiring a generation."""

    plugin: str
    generation: int
    faults: tuple[Fault, ...]
    """The faults of calls that did not end, ``on_unload`` functions, threads, tasks and exit functions."""
    memory: str
    """``freed``, or what is left and what holds it."""
    ledger: tuple[LedgerEntry, ...] = ()
    """What the generation started or changed in the process, with the outcome ``undone`` or ``named``."""


@dataclass(eq=False, slots=True)
class Parting:
    """A dropped generation with its liveness check; holds nothing of the generation once it is closed."""

    plugin: str
    generation: int
    liveness: LivenessCheck
    ledger: Ledger
    calls: OldCalls
    faults: tuple[Fault, ...] = ()
    inside: str = ""
    """The calls that had not ended, and where they were; empty if all had ended."""
    entries: tuple[LedgerEntry, ...] = ()
    """The outcome of each thing that the generation started or changed."""
    is_failed: bool = False
    """Whether the load failed; the references to it are removed and reported with its error."""
    forgets: bool = False
    """Whether to remove the references to it from the containers of other code."""
    followed: frozenset[int] = frozenset()
    """The identities of containers whose objects wait for the next version, see ``following``."""
    claimed: Claimed | None = None
    """What the load created, of a plugin with ``reload = "replace"``, until it is removed."""

    def close(self) -> bool:
        """Close the generation's open resources and let go of it, unless other code holds it.

        Return whether this call let go of it.
        """
        things = self.liveness.garbage(is_resource)
        if things is None:
            return False
        self.entries += self.ledger.close(things)
        return self.liveness.let_go()

    def undo_patches(self) -> None:
        """Undo the patches of shared modules that the generation made after its load."""
        self.entries += self.ledger.undo_patches(forgets=self.forgets)

    def name_references(self) -> None:
        """Name the references from other code; remove them if the plugin's settings say so."""
        for _ in range(_ROUNDS):
            entries = self._references(remove=self.forgets)
            undone = tuple(entry for entry in entries if entry.outcome == "undone")
            self.entries += undone or entries
            if not undone:
                return
            self.close()
            self.liveness.cut()
            collect()
            if self.liveness.is_freed():
                return

    def remove_claims(self) -> None:
        """Remove what the load created, and the generation's own objects, from other code.

        This is for a version that leaves before the next one loads: that one claims the same.
        """
        if self.claimed is None:
            return
        self.forgets = True
        undone, named = self._remove_all()
        self.entries += (*undone, *(entry for entry in named if entry.category == "claim"))

    def remove_references(self, error: BaseException, live: Ledger | None) -> list[LedgerEntry]:
        """Remove the references to a failed load; return those that cannot be removed or restored.

        ``error`` ended the load; ``live`` is the ledger of the version that stays live.
        """
        undone, named = self._remove_all([*parts_of(error)], live)
        return [*named, *(entry for entry in undone if entry.what.endswith((EMPTIED, LOST)))]

    def _remove_all(
        self, frames: Sequence[object] = (), live: Ledger | None = None
    ) -> tuple[list[LedgerEntry], list[LedgerEntry]]:
        """Remove what the load created and the generation's own objects; return what is gone and what is not.

        A created object that has to stay leads to objects of the plugin. They are removed then, and perhaps
        the created object with them: so it is looked for once more.
        """
        undone: list[LedgerEntry] = []
        claimed, named = self.claimed, list[LedgerEntry]()
        inside = [*frames, claimed.things] if claimed is not None else frames  # no holder for the search
        for self.claimed in (claimed, None, claimed):
            for _ in range(_ROUNDS):
                named = [*self._references(remove=True, frames=inside, live=live)]
                some = [entry for entry in named if entry.outcome == "undone"]
                undone += some
                if not some:
                    break
            if self.claimed is claimed and all(entry.category != "claim" for entry in named):
                break
        self.claimed = None
        return undone, named

    def _references(
        self, *, remove: bool, frames: Sequence[object] = (), live: Ledger | None = None
    ) -> tuple[LedgerEntry, ...]:
        holds = self.liveness.holds(frames, self.claimed.things if self.claimed else ())
        if remove and self.followed:
            holds = [hold for hold in holds if self.followed.isdisjoint(map(id, hold.way))]
        return self.ledger.references(
            holds, self.liveness.named, remove=remove, live=live, claimed=self.claimed
        )

    def retirement(self) -> Retirement:
        """Check what is left in memory, and return the result."""
        memory = self._verdict()
        if memory != FREED and self.inside:
            memory = f"{memory} ({self.inside})"
        return Retirement(self.plugin, self.generation, self.faults, memory, self.entries)

    def still_called(self) -> str:
        """Return how the generation is still called and what holds it; empty if it is not called."""
        called = self.calls.describe()
        holder = self._verdict().partition(_HELD_BY)[2] if called else ""
        return f"{called}; kept by {holder}" if holder else called

    def _verdict(self) -> str:
        try:
            return self.liveness.verdict()
        except Exception as error:  # as in ``_each_alone``
            self.give_up(error)
            return self.liveness.verdict()

    def give_up(self, error: Exception) -> None:
        """Log that a search failed, and search no more: only note when the generation is freed."""
        logger.error(
            "%s: the search for what holds generation %d failed", self.plugin, self.generation, exc_info=error
        )
        self.liveness.give_up(f"{class_name(type(error))}: {message_of(error)}")


def parts_of(error: BaseException) -> Iterator[object]:
    """Yield the exceptions that an error leads to, and the frames of their tracebacks."""
    found, waiting = set[int](), [error]
    while waiting:
        one = waiting.pop()
        if id(one) in found:
            continue
        found.add(id(one))
        yield one
        trace = one.__traceback__
        while trace is not None:
            yield trace
            yield trace.tb_frame
            trace = trace.tb_next
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


class Retirer:
    """Retires generations, after the wait for their calls."""

    def __init__(self, limit: float, module_path: str, step_observer: StepObserver = nobody) -> None:
        """Give each function and worker ``limit`` seconds; plugins' modules are below ``module_path``."""
        self._limit = limit
        self._module_path = module_path
        self._step_observer = step_observer
        self._unloading: dict[int, str] = {}
        self._aside: set[int] = set()
        self._spared: list[Worker] = []

    def unloading(self) -> str | None:
        """Return the plugin whose ``on_unload`` function the calling thread runs; ``None`` if none."""
        return self._unloading.get(get_ident())

    @contextlib.contextmanager
    def not_waiting_for(self, thread: int) -> Iterator[None]:
        """Do not wait for workers of plugins that run in ``thread``, which waits for the retirement."""
        self._aside.add(thread)
        try:
            yield
        finally:
            self._aside.discard(thread)

    def part(self, live: LivePlugin, calls: Iterable[CallRecord], successor: Ledger | None = None) -> Parting:
        """Clean up after a generation and drop its modules; ``calls`` did not end in time.

        ``successor`` is the ledger of the live generation, if there is one.
        """
        number = live.generation.number
        own = [call for call in calls if call.table.reaches({(live.name, number)})]
        stuck, inside = self._still_inside(live.name, own)
        faults = (
            *live.faults,
            *stuck,
            *self._unload(live),
            *self.call_endings(live.generation, live.ledger, successor),
        )
        live.generation.release()
        entries = live.ledger.undo()
        functions = [handler.call for handler in live.handlers]
        claimed = None
        if live.ledger.claims is not None:
            claimed = live.ledger.claims.found(live.generation.own_modules().values(), functions)
        gone = self.drop(live.generation, live.ledger, live.context, *functions)
        gone.faults = tuple(replace(fault, generation=number) for fault in faults)
        gone.inside, gone.entries, gone.claimed = inside, entries, claimed
        return gone

    def follow(self, live: LivePlugin, successor: LivePlugin, containers: FollowedContainers) -> None:
        """Let objects that calls of ``live`` have left since the swap follow ``successor``."""
        late, version = live.context.version, successor.context.version
        assert version is not None
        everywhere = successor.follows_everywhere

        def follow() -> None:
            Followers(live.state, version, containers, everywhere=everywhere, late=late).follow()

        error = self._error_of(successor.generation, follow, "adopt of a kept object")
        if error is not None:
            live.faults += (self._fault_of(live.name, error),)

    def call_endings(
        self, generation: Generation, ledger: Ledger, successor: Ledger | None = None
    ) -> list[Fault]:
        """Call the functions that the generation registered for the program's end; return their faults."""
        plugin = generation.plugin
        errors = (
            self._error_of(generation, ending.call, f"the function {ending.name} for the program's end")
            for ending in ledger.leave(generation.exit_calls, successor)
        )
        return [self._fault_of(plugin, error) for error in errors if error is not None]

    def drop(self, generation: Generation, ledger: Ledger, *others: object) -> Parting:
        """Prepare the liveness check of a generation that has left ``sys.modules``.

        ``others`` are objects of the generation that its modules do not always refer to.
        """
        forget(generation.root)
        liveness = LivenessCheck(generation.plugin, generation.root, generation.own_modules(), others)
        return Parting(generation.plugin, generation.number, liveness, ledger, OldCalls(generation))

    # ---- calls that did not end

    def _still_inside(self, plugin: str, calls: Sequence[CallRecord]) -> tuple[tuple[Fault, ...], str]:
        """Return a fault that shows where the calls are, and the same as text; both empty without calls."""
        if not calls:
            return (), ""
        places, faults = [], []
        for call in calls[:_NAMED]:
            error = TimeoutError().with_traceback(trace_of(call.stack()))
            fault = fault_of(error, phase="unload", plugin=plugin, module_path=self._module_path)
            place = fault.place
            line = f", {near(place.file)}:{place.line} in {place.function}" if place else ""
            places.append(f"{call.what} in {call.where()}{line}")
            faults.append(replace(fault, message=f"still inside {places[-1]}", relation="member"))
        if len(calls) > _NAMED:
            places.append(f"and {len(calls) - _NAMED} more")
        count = "1 call is" if len(calls) == 1 else f"{len(calls)} calls are"
        inside = f"{count} still inside: {'; '.join(places)}"
        limit = f"drain_timeout = {self._limit:g} s"
        first = replace(faults[0], message=f"after {limit} {inside}", causes=tuple(faults[1:]), relation="")
        return (first,), inside

    # ---- on_unload

    def run(self, generation: Generation, unloaders: Sequence[Callable[[], object]]) -> Iterator[Fault]:
        """Run ``on_unload`` functions, the newest first; yield their faults."""
        for function in reversed(unloaders):
            error = self._error_of(generation, function, f"on_unload function {_name_of(function)}")
            if error is not None:
                yield self._fault_of(generation.plugin, error)

    def faults_of(self, plugin: str, errors: Iterable[BaseException]) -> tuple[Fault, ...]:
        """Return the faults of a version that ends for ``errors``."""
        return tuple(self._fault_of(plugin, error) for error in errors)

    def _unload(self, live: LivePlugin) -> Iterator[Fault]:
        """Run ``on_unload`` functions and end threads and tasks, the newest first, each within the limit."""
        live.context.end()
        spared, self._spared = self._spared, []
        live.context.unloaders += spared  # the reload that they asked for has ended
        while live.context.unloaders:
            unloader = live.context.unloaders.pop()
            error = (
                self._end(unloader)
                if isinstance(unloader, Worker)
                else self._error_of(live.generation, unloader, f"on_unload function {_name_of(unloader)}")
            )
            if error is not None:
                yield self._fault_of(live.name, error)
        live.context.close_sockets()

    def _fault_of(self, plugin: str, error: BaseException) -> Fault:
        return fault_of(error, phase="unload", plugin=plugin, module_path=self._module_path)

    def _end(self, worker: Worker) -> BaseException | None:
        error = worker.end(self._limit, self._aside)
        if worker.is_spared:
            worker.is_spared = False
            self._spared.append(worker)
        else:
            worker.forget()  # even if it runs on: a thread keeps its Worker, which would keep the function
        return error

    def _error_of(
        self, generation: Generation, function: Callable[[], object], what: str
    ) -> BaseException | None:
        plugin, digest = generation.plugin, generation.artifact.manifest.digest

        def run() -> None:
            thread = get_ident()
            self._unloading[thread] = plugin
            try:
                with self._step_observer("unload", plugin, digest):
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
    if type(function) in (FunctionType, MethodType):
        return str(cast("FunctionType", function).__qualname__)
    return class_name(type(function))  # the attributes of other objects may run code of a plugin


def _refuse_unfinished(value: object, what: str) -> None:
    if is_unfinished(value):
        raise TypeError(f"{what} returned a coroutine or generator, which nobody would run")


# A caller that is entering or leaving holds the old hook table for an instant, and a thread that reports a
# failed load holds its error, whose frames are not among the generation's objects.
_AFTER_AN_INSTANT = ((0.01, collect_recent),)
_SECOND_LOOKS = ((0.0, collect), (0.1, collect_young))
"""The repeated checks of a generation that is not freed: seconds to wait, and the collection to run."""


class HeldGenerations:
    """Frees retired generations, and remembers those that are not freed without holding them."""

    def __init__(self) -> None:
        self._held: list[Parting] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def free(self, parted: Sequence[Parting]) -> None:
        """Run the collector to free newly retired generations, and remember those that stay in memory."""
        _each_alone(_free, parted)
        self._held += [gone for gone in parted if not gone.liveness.is_freed()]

    def look_again(self) -> list[tuple[str, int]]:
        """Return plugin and number of those that are freed now; collect only if something let go of one."""
        _each_alone(_look_again, self._held)
        freed = [gone for gone in self._held if gone.liveness.is_freed()]
        self._held = [gone for gone in self._held if gone not in freed]
        for gone in freed:
            forget(gone.liveness.root)
            gone.calls.end()
        return [(gone.plugin, gone.generation) for gone in freed]

    def still_called(self) -> dict[str, str]:
        """Return how old generations are still called, by plugin; the newest generation of a plugin first.

        This looks at the stacks of all threads, and does not run the collector.
        """
        if not self._held:
            return {}  # the usual case
        running = stacks()
        for gone in self._held:
            gone.calls.look(running)
        running.clear()  # else it would be part of a cycle through this frame
        found: dict[str, list[str]] = {}
        for gone in reversed(self._held):
            if not gone.liveness.is_freed() and (called := gone.still_called()):
                found.setdefault(gone.plugin, []).append(called)
        return {plugin: "; also ".join(texts) for plugin, texts in found.items()}

    def may_be_let_go(self) -> bool:
        """Return whether to look again: calls of a generation have ended, or what held it seems gone."""
        return any(gone.calls.has_paused or gone.liveness.may_be_let_go() for gone in self._held)

    def end_watch(self) -> None:
        """Stop watching the calls of held generations."""
        for gone in self._held:
            gone.calls.end()

    def counts(self) -> dict[str, int]:
        """Return the number of generations of each plugin that are not freed; any thread may ask."""
        return Counter(gone.plugin for gone in self._held)

    def memory_of(self, plugin: str) -> str:
        """Return ``freed``, or what is left of the newest held generation and the number of older ones."""
        held = [gone for gone in self._held if gone.plugin == plugin]
        if not held:
            return FREED
        newest = held[-1].retirement()
        others = f", and {len(held) - 1} older" if len(held) > 1 else ""
        return f"{newest.memory} (generation {newest.generation}{others})"


def _each_alone(work: Callable[[Sequence[Parting]], None], parted: Sequence[Parting]) -> None:
    """Do ``work`` for generations together; if that fails, for each alone, and give up those that fail."""
    try:
        work(parted)
    except Exception as error:  # for lack of memory, or of foreign code that a search or an undo has run
        if len(parted) == 1:
            parted[0].give_up(error)
            return
    else:
        return
    for gone in parted:
        _each_alone(work, [gone])


def _free(parted: Sequence[Parting]) -> None:
    """Run the collector, and let other code release the generations."""
    for gone in parted:
        gone.remove_claims()
    left = [gone for gone in parted if not gone.liveness.is_freed()]
    left = _still_there(left, collect_young)
    # Again: the first pass still counts an older object as a holder, even if it frees that object.
    left = _still_there(left, collect_young)
    left = _look_later(left, _AFTER_AN_INSTANT)
    for gone in left:
        gone.undo_patches()
        gone.liveness.cut()
    left = _look_later(left, _SECOND_LOOKS)
    for gone in left:
        gone.liveness.let_go()
    if left:
        collect()  # for objects that are held in ways that only the collector can follow
    left = [gone for gone in left if not gone.liveness.is_freed()]
    for gone in left:
        if not gone.is_failed:
            gone.name_references()
    left = [gone for gone in left if not gone.liveness.is_freed()]
    for gone in left:
        gone.calls.begin()


def _look_later(left: list[Parting], looks: Iterable[tuple[float, Callable[[], None]]]) -> list[Parting]:
    """Return the generations that are not freed after each wait and collection."""
    for pause, collect_some in looks:
        if left:
            sleep(pause)
            left = _still_there(left, collect_some)
    return left


def _look_again(held: Sequence[Parting]) -> None:
    """Run the collector for the generations that something has let go of."""
    let_go = [gone for gone in held if gone.liveness.is_let_go()]
    for gone in let_go:
        forget(gone.liveness.root)  # a call after the retirement may have added entries
        gone.close()
        gone.liveness.cut()
    _still_there(_still_there(let_go, collect_young), collect)


def _still_there(parted: list[Parting], collect_some: Callable[[], None]) -> list[Parting]:
    """Close the open resources of generations, collect, and return the generations that are not freed."""
    for gone in parted:
        gone.close()
    is_closing = True
    while parted and is_closing:
        collect_some()
        parted = [gone for gone in parted if not gone.liveness.is_freed()]
        # The collection may have freed an object that held a generation: close each generation.
        is_closing = any([gone.close() for gone in parted])  # noqa: C419 - any() must not stop at the first
    return parted
