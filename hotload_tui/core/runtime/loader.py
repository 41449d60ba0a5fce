"""``Loader`` loads an artifact as a live generation and retires the generation that it replaces.

Prove, then swap: a trial executes the modules and runs ``register`` against a staging table. Only if all of
this succeeds does the hook table change, in one assignment. A failed trial leaves nothing behind except
changes that cannot be undone, which its error lists.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import time as clock  # a plugin can replace it
from typing import TypeVar

from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError, LoadError, PluginError, RegisterError, UnknownPluginError
from hotload_tui.core.events import Step
from hotload_tui.core.faults import fault_of, raised_by
from hotload_tui.core.hooks.host import FaultObserver, HookHost
from hotload_tui.core.hooks.inflight import CallRecord
from hotload_tui.core.hooks.live import LiveVersion
from hotload_tui.core.interpreter import Interrupted
from hotload_tui.core.limits import StallWatch
from hotload_tui.core.model import Fault, Phase, StepObserver, nobody
from hotload_tui.core.primitives import get_ident
from hotload_tui.core.runtime.context import KeptState, LivePlugin
from hotload_tui.core.runtime.following import FollowedContainers
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.runtime.hand_over import HandOver, enter_all
from hotload_tui.core.runtime.resources import KeptPorts, ResourceCalls, explain_taken, keep
from hotload_tui.core.runtime.retirement import HeldGenerations, Parting, Retirement, Retirer
from hotload_tui.core.runtime.threads import Trials, WorkerTrials
from hotload_tui.core.runtime.trial import Load, Outcome, Wanted
from hotload_tui.core.runtime.workers import current_worker
from hotload_tui.core.undo.ledger import Process

_T = TypeVar("_T")
_TRIES = 3  # after interruptions


class Loader:
    """Loads plugins into a ``HookHost``; used by one thread at a time."""

    def __init__(
        self,
        host: HookHost,
        config: Config | None = None,
        *,
        trials: Trials | None = None,
        step_observer: StepObserver = nobody,
        fault_observer: FaultObserver = lambda *_: None,
        acquires: bool = True,
        stall_watch: StallWatch | None = None,
    ) -> None:
        """Report the faults of threads and tasks to ``fault_observer``.

        Without ``acquires``, plugins only load and register: they acquire nothing, and start no worker.
        """
        config = config or Config()
        self._acquires = acquires
        self._host = host
        self._config = config
        self._trials = trials or WorkerTrials()
        self._step_observer = step_observer
        self._fault_observer = fault_observer
        self._live: dict[str, LivePlugin] = {}
        self._bound: set[str] = set()
        self._order: list[str] = []
        self._numbers: dict[str, int] = {}
        self._states: dict[str, KeptState] = {}
        self._ports: dict[str, KeptPorts] = {}
        self._parting: queue.SimpleQueue[LivePlugin] = queue.SimpleQueue()
        self._replaced: list[LivePlugin] = []  # they follow when they are reported
        self._reports = 0
        self._retirer = Retirer(config.drain_timeout, config.module_path, step_observer)
        self._aborted: queue.SimpleQueue[Parting] = queue.SimpleQueue()
        # What an interrupted ``retire`` leaves is there for the next one.
        self._leaving: list[LivePlugin] = []
        self._unchecked: list[Parting] = []
        self.held = HeldGenerations()
        """The retired generations that were still in memory at the last check."""
        self.containers = FollowedContainers()
        """The containers of the program in which objects of plugins follow a reload."""
        self._process = Process(config.module_path)
        self._hand_overs: dict[LivePlugin, HandOver] = {}  # those that can still be taken back
        self._blocked: set[int] = set()  # the threads that wait for a command
        self.stall_watch = stall_watch or StallWatch(config.drain_timeout)
        """Limits code of plugins, such as ``__del__``, in threads that retire versions or undo loads."""
        self._resource_calls = ResourceCalls(self._trials, config.load_timeout, step_observer)

    def live(self, name: str) -> LivePlugin | None:
        """Return the live version of the plugin, or ``None``."""
        return self._live.get(name)

    def starter_of(self, thread: threading.Thread) -> tuple[str, int] | None:
        """Return the plugin and the number of the live generation whose load started a thread."""
        for live in list(self._live.values()):
            if live.ledger.has_started(thread):
                return live.name, live.generation.number
        return None

    def next_number(self, name: str) -> int:
        """Return the number of the plugin's next generation; a trial that fails uses up no number."""
        return self._numbers.get(name, 0) + 1

    def bound(self) -> list[str]:
        """Return the sorted names of the live plugins that require other plugins."""
        return sorted(self._bound)  # no search through all plugins: many require none

    def names(self) -> tuple[str, ...]:
        """Return the names of all live plugins in the order in which they were first loaded."""
        return tuple(self._order)

    def load(
        self,
        name: str,
        artifact: Artifact,
        hook_point: str | None = None,
        priority: int | None = None,
        *,
        root_dir: Path | None = None,
    ) -> None:
        """Load an artifact and make it live; the previous generation then waits for ``retire``.

        ``hook_point`` and ``priority`` are the defaults of ``ctx.hook(handler)``.

        Raises:
            PluginError: as ``trial``; the previous generation stays live.

        """
        trial = self.trial(name, artifact, hook_point, priority, root_dir=root_dir)
        try:
            self.swap([trial])
        except HotloadError:
            self.discard(trial)
            raise

    def unload(self, name: str, hook_point: str | None = None) -> None:
        """Remove a plugin from one hook point, or unload it; an unloaded plugin waits for ``retire``.

        Raises:
            UnknownPluginError: no plugin of that name is live.

        """
        live = self._live.get(name)
        if live is None:
            raise UnknownPluginError(f'no plugin "{name}" is loaded')
        if hook_point is not None:
            live.handlers = tuple(handler for handler in live.handlers if handler.point != hook_point)
            self._host.swap({name: live.handlers}, _versions([live]))
            return
        self.unload_together([name])

    def unload_together(self, names: Sequence[str], *, is_replaced: bool = False) -> None:
        """Unload live plugins in one assignment; they then wait for ``retire``.

        They release what they own at once. ``is_replaced``: before that, wait for the calls in flight, and
        let the sockets of ``ctx.listen`` collect connections for the next version, until ``close_sockets``.
        """
        _spare_caller()
        self._host.swap(dict.fromkeys(names, ()))
        for name in names:
            self._order.remove(name)
            self._bound.discard(name)
            live = self._live.pop(name)
            if live.context.owned or live.context.listening:
                if is_replaced:
                    leaving = {(name, live.generation.number)}
                    with self.step_aside():  # a hook of pluggy may have called what asks for this
                        self._host.drain(self._config.drain_timeout, leaving)
                hand_over = HandOver(live, None, self._resource_calls, self.containers)
                with self.blocked():
                    hand_over.leave(self._config.drain_timeout, self._blocked)
                self._blame(live, hand_over.endings)
            live.context.close_sockets()
            if not is_replaced:
                self.close_sockets(name)
            self._parting.put(live)

    def close_sockets(self, name: str) -> None:
        """Close the sockets that are kept for the next version of a plugin."""
        keep(self._ports.get(name, {}), {})

    def explain_taken(self, name: str, message: str) -> tuple[str, ...]:
        """Return what to do if a load failed because the sockets that are kept for the plugin have a port."""
        return explain_taken(message, self._ports.get(name, {}))

    def reload(self, name: str, hook_point: str | None = None, priority: int | None = None) -> None:
        """Load the live artifact again, as ``load``; raises ``UnknownPluginError`` if there is none."""
        live = self._live.get(name)
        if live is None:
            raise UnknownPluginError(f'no plugin "{name}" is loaded')
        root_dir = live.generation.root_dir
        self.load(name, live.generation.artifact, hook_point, priority, root_dir=root_dir)

    def trial(
        self,
        name: str,
        artifact: Artifact,
        hook_point: str | None = None,
        priority: int | None = None,
        *,
        root_dir: Path | None = None,
        required: Iterable[Generation] = (),
    ) -> LivePlugin:
        """Execute the modules and run ``register``, within ``load_timeout``, in the thread for trials.

        The result is not live yet, and a failed trial is undone. ``required`` are the generations of the
        required plugins; they must be live when the result goes live.

        Raises:
            LoadError: a module raised (the cause is chained), the state cannot be migrated, or time ran out.
            RegisterError: ``register`` is missing, does not take one argument, or raised.

        """
        wanted = Wanted(name, artifact, hook_point, priority, root_dir, tuple(required))
        (outcome,) = self.trial_each([wanted])
        if outcome.trial is None:
            assert outcome.error is not None
            raise outcome.error
        return outcome.trial

    def trial_each(self, wanted: Sequence[Wanted]) -> list[Outcome]:
        """Run ``trial`` for plugins that do not require each other; a failure does not stop the others."""
        loads = [self._load(each) for each in wanted]
        outcomes: list[Outcome] = []
        while len(outcomes) < len(loads):
            outcomes += self._first(loads[len(outcomes) :])
        return outcomes

    def _first(self, loads: Sequence[Load]) -> list[Outcome]:
        """Try the first load and those that can share its thread; only the last outcome may be a failure."""
        trials: list[LivePlugin] = []
        error: HotloadError | None = None
        try:
            with self._process.lock:
                self._trials.run(loads, self._config.load_timeout, trials)
        except BaseException as raised:
            failure = self._as_fault(raised, loads[len(trials) :])
            for load in loads[len(trials) :][:1]:
                self._clear_up(load, failure)
            if not isinstance(failure, HotloadError):
                for trial in trials:
                    self.discard(trial)
                raise
            error = failure
        outcomes = [Outcome(load, trial, None) for load, trial in zip(loads, trials, strict=False)]
        return outcomes if error is None else [*outcomes, Outcome(loads[len(trials)], None, error)]

    def _as_fault(self, raised: BaseException, left: Sequence[Load]) -> BaseException:
        """Return the error of the next load if code that a plugin has put in the engine's way raised."""
        culprit = raised_by(raised, self._config.module_path) if isinstance(raised, Exception) else ""
        if isinstance(raised, HotloadError) or not culprit or not left:
            return raised
        failure = LoadError(left[0].name, f"plugin {culprit} has changed a function that hotload needs")
        failure.__cause__ = raised
        return failure

    def _load(self, wanted: Wanted) -> Load:
        kept = self._states.setdefault(wanted.name, KeptState(plugin=wanted.name))
        ports = self._ports.setdefault(wanted.name, {})
        number = self.next_number(wanted.name)
        failed = functools.partial(self._failed, plugin=wanted.name, generation=number)
        live = self._live.get(wanted.name)
        return Load(
            wanted,
            number,
            kept,
            ports,
            self._config,
            self._process,
            self._step_observer,
            failed,
            self._host,
            self.containers,
            live.generation if live else None,
        )

    def _failed(self, error: BaseException, phase: Phase, what: str, *, plugin: str, generation: int) -> None:
        module_path = self._config.module_path
        fault = fault_of(error, phase=phase, plugin=plugin, module_path=module_path, generation=generation)
        self._fault_observer(replace(fault, notes=(f"in {what}", *fault.notes)), generation)

    def _clear_up(self, load: Load, error: BaseException) -> None:
        """Undo a failed load, if it began."""
        if not load.began:
            load.show_previous()
            return
        end, undo = (functools.partial(step, load, error) for step in (self._end, self._undo))
        results = [self._limited(load.abandon), self._limited(end)]
        for _ in range(_TRIES):
            results.append(self._limited(undo))
            if results[-1]:
                break
        if not all(results):
            limit = f"drain_timeout = {self._config.drain_timeout:g} s"
            error.add_note(f"cleaning up was interrupted after {limit}: code of the plugin did not end in it")

    def _limited(self, step: Callable[[], None]) -> bool:
        """Limit code of the plugin in a step after its failure; return whether it was not interrupted."""
        try:
            with self.stall_watch.limited():
                step()
        except Interrupted:
            return False
        return True

    def _end(self, load: Load, error: BaseException) -> None:
        with self._process.lock:
            load.end(error)
            self._process.let_go()  # what the undo changes now; it would hold the failed version

    def _undo(self, load: Load, error: BaseException) -> None:
        live = self._live.get(load.name)
        self._aborted.put(load.clear_up(error, self._retirer, live.ledger if live else None))

    def hand_over(self, trials: Iterable[LivePlugin]) -> dict[LivePlugin, PluginError]:
        """Hand workers and exclusive resources over to the trials, each after the trials that it requires.

        The trials are not live yet, and ``discard`` gives everything back. Return the errors of the trials
        that fail; call this again for the others, because some may have given back what they had.
        """
        _spare_caller()
        new = {
            trial: HandOver(self._live.get(trial.name), trial, self._resource_calls, self.containers)
            for trial in trials
            if trial not in self._hand_overs and self._acquires and self._is_exclusive(trial)
        }
        try:
            with self.blocked():
                for each in reversed(new.values()):
                    each.leave(self._config.drain_timeout, self._blocked)
                failed = enter_all(new, self._hand_overs)
        except BaseException:  # the wait was interrupted, as by Ctrl-C
            for trial, each in reversed(new.items()):
                self._hand_overs.pop(trial, None)
                each.take_back()
            raise
        for trial in new.keys() & self._hand_overs.keys():
            trial.steps += (Step("hand over", new[trial].seconds),)
        return failed

    def _is_exclusive(self, trial: LivePlugin) -> bool:
        """Return whether a trial, or the version that it replaces, has anything to hand over."""
        old = self._live.get(trial.name)
        context = trial.context
        is_claiming = bool(
            context.owned or context.listening or self._ports[trial.name] or trial.has_followers
        )
        return is_claiming or (old is not None and old.context.is_exclusive())

    def swap(self, trials: Sequence[LivePlugin]) -> None:
        """Make proven trials live in one assignment; the generations that they replace wait for ``retire``.

        Each trial comes after the trials that it requires. Workers and exclusive resources are handed over
        first, unless ``hand_over`` has done it.

        Raises:
            PluginError: a trial could not acquire what it owns; no hook has changed.

        """
        _spare_caller()
        for error in self.hand_over(trials).values():
            raise error
        now = clock()
        for trial in trials:
            trial.state.commit()  # before the swap: new handlers must write to the shared mapping
            trial.generation.confirm()
        self._host.swap({trial.name: trial.handlers for trial in trials}, _versions(trials))
        for trial in reversed(trials):  # a plugin retires before the plugins that it requires
            if trial.name in self._live:
                old = self._live[trial.name]
                if hand_over := self._hand_overs.get(trial):
                    self._blame(old, hand_over.endings)
                self._replaced.append(old)
            self._hand_overs.pop(trial, None)
        for trial in trials:
            trial.loaded_at = now
            if trial.name not in self._live:
                self._order.append(trial.name)
            self._live[trial.name] = trial
            self._numbers[trial.name] = trial.generation.number
            trial.context.listening.commit()
            (self._bound.add if trial.generation.peers else self._bound.discard)(trial.name)
            if self._acquires:
                trial.context.begin()
        self._process.let_go()
        self._let_part()

    def discard(self, trial: LivePlugin) -> list[Fault]:
        """Let a trial that does not go live wait for ``retire``, which ends what the trial started.

        Return what went wrong when the live version took back what it had handed over to the trial.
        """
        errors: list[PluginError] = []
        if hand_over := self._hand_overs.pop(trial, None):
            errors = hand_over.take_back()
            errors += [RegisterError(trial.name, each) for each in hand_over.not_started]
        if (live := self._live.get(trial.name)) is not None:
            live.generation.show()
        trial.context.close_sockets()
        self._numbers[trial.name] = trial.generation.number
        self._parting.put(trial)
        name, module_path = trial.name, self._config.module_path
        return [fault_of(each, phase="register", plugin=name, module_path=module_path) for each in errors]

    def _blame(self, version: LivePlugin, errors: Iterable[BaseException]) -> None:
        """Record what went wrong at the end of a version, for its retirement."""
        version.faults += self._retirer.faults_of(version.name, errors)

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Keep replaced generations from ``retire`` until the caller has reported their replacements.

        Otherwise a running ``retire`` in another thread could report the end of a generation first. This is
        no lock: a subscriber may give a command meanwhile that waits for ``retire``.
        """
        self._reports += 1
        try:
            yield
        finally:
            self._reports -= 1
            self._let_part()

    def _let_part(self) -> None:
        while self._replaced and not self._reports:
            self._parting.put(self._replaced.pop(0))

    def retire(self) -> list[Retirement]:
        """Retire every generation that was replaced, unloaded or discarded.

        Wait for calls in flight, run ``on_unload``, drop the modules and check whether they are freed. This
        can run in another thread than the loads.
        """
        self._process.let_go()
        self._unchecked += _drained(self._aborted)
        self._leaving += _drained(self._parting)
        if self._leaving:
            leaving = {(live.name, live.generation.number) for live in self._leaving}
            self._part_sources(self._leaving)
            calls = self._host.drain(self._config.drain_timeout, leaving)
            while self._leaving:  # keep no reference here: the liveness check would report it as a leak
                self._unchecked.append(self._part(self._leaving.pop(0), calls))
            del calls
        self.held.free(self._unchecked)
        found = [gone.retirement() for gone in self._unchecked if not gone.is_failed]
        self._unchecked.clear()
        return found

    def _part(self, live: LivePlugin, calls: Iterable[CallRecord]) -> Parting:
        successor = self._live.get(live.name)
        if successor is not None and successor.has_followers:
            self._retirer.follow(live, successor, self.containers)
        gone = self._retirer.part(live, calls, successor.ledger if successor else None)
        gone.forgets = self._config.of(gone.plugin).forget
        gone.followed = self.containers.ids()
        return gone

    def _part_sources(self, parting: Iterable[LivePlugin]) -> None:
        """Give replaced versions their own source lines: their calls in flight may ask for them."""
        for live in parting:
            if live.generation.is_live and live.name in self._live:
                live.generation.origin.retire()

    @contextlib.contextmanager
    def step_aside(self) -> Iterator[None]:
        """Keep ``retire`` in another thread from waiting for this thread and the calls that it is part of."""
        with self._host.step_aside(), self._retirer.not_waiting_for(get_ident()):
            yield

    @contextlib.contextmanager
    def blocked(self) -> Iterator[None]:
        """Keep hand-overs from waiting for workers that run in this thread, which waits for the loader."""
        thread = get_ident()
        self._blocked.add(thread)
        try:
            yield
        finally:
            self._blocked.discard(thread)

    def is_blocked(self, thread: int | None) -> bool:
        """Return whether a thread waits for the loader, as in ``blocked``."""
        return thread in self._blocked

    def unloading(self) -> str | None:
        """Return the plugin whose ``on_unload`` function the calling thread runs; ``None`` if none."""
        return self._retirer.unloading()

    def is_inside_trial(self) -> bool:
        """Return whether the calling thread is executing a plugin's modules or its ``register``."""
        return self._trials.is_inside()


def _versions(plugins: Iterable[LivePlugin]) -> list[LiveVersion]:
    return [each.context.version for each in plugins if each.context.version is not None]


def _spare_caller() -> None:
    """Protect the calling task from being cancelled by the reload that it asks for."""
    worker = current_worker()
    if worker is not None:
        worker.is_spared = True


def _drained(waiting: queue.SimpleQueue[_T]) -> Iterator[_T]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield waiting.get_nowait()
