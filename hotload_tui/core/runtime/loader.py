"""``Loader``: an artifact becomes a live generation, a live one a retired one.

Prove, then swap: a trial executes the modules and runs ``register`` against a staging table; only when all of
it succeeded does the hook table change, in one assignment. A failed trial leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeVar

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError, UnknownPluginError
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.model import StepObserver, nobody
from hotload_tui.core.runtime.context import KeptState, PluginContext, StateMapping
from hotload_tui.core.runtime.generation import Generation, Peer
from hotload_tui.core.runtime.retirement import HeldGenerations, Parting, Retirement, Retirer
from hotload_tui.core.runtime.threads import Trials, WorkerTrials
from hotload_tui.core.runtime.trial import LivePlugin, prove
from hotload_tui.core.runtime.workers import current_worker
from hotload_tui.core.undo.ledger import Ledger, Process


class Wanted(NamedTuple):
    """What is to be loaded, and with what defaults of ``ctx.hook(handler)``."""

    name: str
    artifact: Artifact
    hook_point: str | None = None
    priority: int | None = None
    root_dir: Path | None = None
    """Where its source lies; ``None``: where plugins do."""
    required: tuple[Generation, ...] = ()
    """Of other plugins, to which it belongs: they are to serve when it does."""


class Load:
    """One load of one artifact."""

    def __init__(
        self,
        wanted: Wanted,
        number: int,
        kept: KeptState,
        *,
        config: Config,
        process: Process,
        step_observer: StepObserver,
    ) -> None:
        """Prepare generation ``number``; nothing happens yet."""
        self.wanted = wanted
        self.began = self.ended = 0.0
        """Seconds since the epoch; 0 before that."""
        self._number = number
        self._kept = kept
        self._config = config
        self._process = process
        self._step_observer = step_observer

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.wanted.name

    def begin(self, *, follows: bool) -> None:
        """Make the generation, and look at what it may change; the caller has the process's lock.

        ``follows``: the ``end`` of another load was just now.
        """
        name, artifact, hook_point, priority, root_dir, required = self.wanted
        began = time.time()
        self._generation = generation = Generation(
            artifact,
            root_dir=root_dir or Path(self._config.runtime_dir, name).absolute(),
            module_path=self._config.module_path,
            number=self._number,
        )
        generation.peers = {other.plugin: Peer(other) for other in required}
        self._state = StateMapping(self._kept)
        self._context = PluginContext(
            name,
            self._number,
            state=self._state,
            settings=self._config.of(name).settings,
            hook_point=hook_point,
            priority=priority,
            peers=generation.peers,
        )
        self._ledger = Ledger(generation.root, self._number, self._process)
        self._ledger.begin(artifact, follows=follows)
        self.began = began

    def prove(self) -> LivePlugin:
        """Execute the modules and run ``register``; raises ``LoadError`` and ``RegisterError``."""
        with self._step_observer("load", self.name, self.wanted.artifact.manifest.digest):
            return prove(self._generation, self._context, self._state, self._ledger)

    def end(self) -> None:
        """Note what it changed; the caller has the process's lock."""
        self._ledger.end(self._generation.origin.codes(), self._generation.exit_calls)
        self.ended = time.time()

    def clear_up(self, error: BaseException, retirer: Retirer) -> Parting:
        """Leave nothing of a load that failed; what cannot be undone is noted on its ``error``."""
        generation, ledger = self._generation, self._ledger
        for fault in retirer.call_endings(generation, ledger):
            error.add_note(f"cleaning up failed: {fault.type}: {fault.message}")
        generation.release()
        for entry in ledger.undo():
            if entry.outcome == "named":
                error.add_note(f"left behind: {entry.describe()}")
        return retirer.bury(generation, ledger, self._context)

    def abandon(self) -> None:
        """Forget what ``register`` asked for."""
        self._context.abandon()


class Outcome(NamedTuple):
    """What became of a load."""

    load: Load
    trial: LivePlugin | None
    error: HotloadError | None
    """Why there is no trial."""


_T = TypeVar("_T")


class Loader:
    """Loads plugins into a ``HookHost``; used by one thread at a time."""

    def __init__(
        self,
        host: HookHost,
        config: Config,
        *,
        trials: Trials | None = None,
        step_observer: StepObserver = nobody,
    ) -> None:
        self._host = host
        self._config = config
        self._trials = trials or WorkerTrials()
        self._reporting = threading.RLock()
        self._step_observer = step_observer
        self._live: dict[str, LivePlugin] = {}
        self._bound: set[str] = set()
        self._order: list[str] = []
        self._numbers: dict[str, int] = {}
        self._states: dict[str, KeptState] = {}
        self._parting: queue.SimpleQueue[LivePlugin] = queue.SimpleQueue()
        self._retirer = Retirer(config.drain_timeout, config.module_path, step_observer)
        self._aborted: queue.SimpleQueue[Parting] = queue.SimpleQueue()
        self._held = HeldGenerations()
        self._process = Process(config.module_path)

    def live(self, name: str) -> LivePlugin | None:
        """Return what serves of the plugin, or ``None``."""
        return self._live.get(name)

    def bound(self) -> list[str]:
        """Return the names of the live plugins that were loaded with others that they require."""
        return sorted(self._bound)  # kept, not looked for: many plugins require none

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
        """Load an artifact and let it serve; what served before waits for ``retire``.

        ``hook_point`` and ``priority`` are the defaults of ``ctx.hook(handler)``.

        Raises:
            PluginError: as ``trial``; what served before serves on.

        """
        trial = self.trial(name, artifact, hook_point, priority, root_dir=root_dir)
        self.swap([trial])

    def unload(self, name: str, hook_point: str | None = None) -> None:
        """Take a plugin out of one hook point, or of all; then it waits for ``retire``.

        Raises:
            UnknownPluginError: nothing of that name serves.

        """
        live = self._live.get(name)
        if live is None:
            raise UnknownPluginError(f'no plugin "{name}" is loaded')
        if hook_point is not None:
            live.handlers = tuple(handler for handler in live.handlers if handler.point != hook_point)
            self._host.swap({name: live.handlers})
            return
        self.unload_together([name])

    def unload_together(self, names: Sequence[str]) -> None:
        """Take plugins that serve out of service, in one assignment; then they wait for ``retire``."""
        _spare_caller()
        self._host.swap(dict.fromkeys(names, ()))
        for name in names:
            self._order.remove(name)
            self._bound.discard(name)
            self._parting.put(self._live.pop(name))

    def reload(self, name: str, hook_point: str | None = None, priority: int | None = None) -> None:
        """Load the artifact that serves once more; as ``load``, and raises ``UnknownPluginError``."""
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
        """Execute the modules and run ``register``, within ``load_timeout``, where the trials run.

        Nothing of the result serves yet, and nothing is left behind on failure. ``required`` are the
        generations of other plugins that it belongs to: they are to serve when it does.

        Raises:
            LoadError: a module raised (the cause is chained), or time ran out.
            RegisterError: ``register`` is missing, has another shape, or raised.

        """
        wanted = Wanted(name, artifact, hook_point, priority, root_dir, tuple(required))
        (outcome,) = self.trial_each([wanted])
        if outcome.trial is None:
            assert outcome.error is not None
            raise outcome.error
        return outcome.trial

    def trial_each(self, wanted: Sequence[Wanted]) -> list[Outcome]:
        """As ``trial``, of plugins that require none of each other; who fails keeps nobody else from it."""
        loads = [self._load(each) for each in wanted]
        outcomes: list[Outcome] = []
        while len(outcomes) < len(loads):
            outcomes += self._first(loads[len(outcomes) :])
        return outcomes

    def _first(self, loads: Sequence[Load]) -> list[Outcome]:
        """Try the first, and as many more as may follow it in its thread; only the last may have failed."""
        trials: list[LivePlugin] = []
        error: HotloadError | None = None
        try:
            with self._process.lock:
                self._trials.run(loads, self._config.load_timeout, trials)
        except BaseException as failure:
            for load in loads[len(trials) :][:1]:
                self._clear_up(load, failure)
            if not isinstance(failure, HotloadError):
                for trial in trials:
                    self.discard(trial)
                raise
            error = failure
        outcomes = [Outcome(load, trial, None) for load, trial in zip(loads, trials, strict=False)]
        return outcomes if error is None else [*outcomes, Outcome(loads[len(trials)], None, error)]

    def _load(self, wanted: Wanted) -> Load:
        number = self._numbers[wanted.name] = self._numbers.get(wanted.name, 0) + 1
        kept = self._states.setdefault(wanted.name, KeptState())
        return Load(
            wanted,
            number,
            kept,
            config=self._config,
            process=self._process,
            step_observer=self._step_observer,
        )

    def _clear_up(self, load: Load, error: BaseException) -> None:
        """Leave nothing of a load that failed."""
        if load.began:
            load.abandon()
            with self._process.lock:
                load.end()
            self._aborted.put(load.clear_up(error, self._retirer))

    def swap(self, trials: Sequence[LivePlugin]) -> None:
        """Let proven trials serve, all in one assignment; what they replace waits for ``retire``.

        Each comes after those that it requires.
        """
        _spare_caller()
        now = time.time()
        for trial in trials:
            trial.state.commit()  # before the swap: what a new handler wrote meanwhile would be lost
            trial.generation.confirm()
        self._host.swap({trial.name: trial.handlers for trial in trials})
        for trial in reversed(trials):  # who requires another leaves before it
            if trial.name in self._live:
                self._parting.put(self._live[trial.name])
        for trial in trials:
            trial.loaded_at = now
            if trial.name not in self._live:
                self._order.append(trial.name)
            self._live[trial.name] = trial
            (self._bound.add if trial.generation.peers else self._bound.discard)(trial.name)
            trial.context.begin()
        self._process.let_go()

    def discard(self, trial: LivePlugin) -> None:
        """Have a trial that is not to serve wait for ``retire``: what it started must end."""
        self._parting.put(trial)

    def reporting(self) -> AbstractContextManager[object]:
        """Keep ``retire`` in another thread from what is replaced meanwhile until the caller has reported it.

        A retirement that is already under way would take it at once, and report its end first.
        """
        return self._reporting

    def retire(self) -> list[Retirement]:
        """Part with every generation that was replaced or unloaded.

        Waits for calls in flight, runs ``on_unload``, drops the modules and looks whether they are freed.
        May run in another thread than the loads.
        """
        self._process.let_go()
        with self._reporting:
            aborted, parting = list(_drained(self._aborted)), list(_drained(self._parting))
        if not parting:
            self._held.free(aborted)
            return []
        leaving = {(live.name, live.generation.number) for live in parting}
        calls = self._host.drain(self._config.drain_timeout, leaving)
        parted = []
        while parting:  # nothing here may keep a reference: it would be the leak that is looked for
            successor = self._live.get(parting[0].name)
            ledger = successor.ledger if successor else None
            del successor
            parted.append(self._retirer.part(parting.pop(0), calls, ledger))
        del calls
        self._held.free([*aborted, *parted])
        return [gone.retirement() for gone in parted]

    def is_held(self) -> bool:
        """Tell whether a retired generation was still in memory when it was last looked at."""
        return bool(self._held)

    def look_again(self) -> list[tuple[str, int]]:
        """Return plugin and number of the generations that were held and are freed by now."""
        return [(gone.plugin, gone.generation) for gone in self._held.look_again()]

    def memory_of(self, name: str) -> str:
        """Return ``freed``, or what is left of a plugin's retired generations."""
        return self._held.memory_of(name)

    @contextlib.contextmanager
    def step_aside(self) -> Iterator[None]:
        """Have a ``retire`` in another thread not wait for this one, nor for calls that it is part of."""
        with self._host.step_aside(), self._retirer.not_waiting_for(threading.get_ident()):
            yield

    def unloading(self) -> str | None:
        """Return the plugin whose ``on_unload`` function the calling thread runs; ``None`` for others."""
        return self._retirer.unloading()

    def is_inside_trial(self) -> bool:
        """Tell whether the calling thread is executing a plugin's modules or its ``register``."""
        return self._trials.is_inside()


def _spare_caller() -> None:
    """Have the task that asks for a reload not cancelled inside of it."""
    worker = current_worker()
    if worker is not None:
        worker.is_spared = True


def _drained(waiting: queue.SimpleQueue[_T]) -> Iterator[_T]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield waiting.get_nowait()
