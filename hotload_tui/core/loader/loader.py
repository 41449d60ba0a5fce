"""``Loader``: an artifact becomes a live generation, a live one a retired one.

Prove, then swap: a trial executes the modules and runs ``register`` against a staging table; only when all of
it succeeded does the hook table change, in one assignment. A failed trial leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.config import Config
from hotload_tui.core.context import KeptState, PluginContext, PluginState
from hotload_tui.core.errors import UnknownPluginError
from hotload_tui.core.generation import Generation
from hotload_tui.core.hooks import HookHost
from hotload_tui.core.loader.held import HeldGenerations
from hotload_tui.core.loader.live import LivePlugin
from hotload_tui.core.loader.proof import prove
from hotload_tui.core.loader.retirement import Retirement, Undertaker
from hotload_tui.core.loader.trials import Trials, WorkerTrials
from hotload_tui.core.witness import Witness, nobody


class Loader:
    """Loads plugins into a ``HookHost``; used by one thread at a time."""

    def __init__(
        self, host: HookHost, config: Config, *, trials: Trials | None = None, witness: Witness = nobody
    ) -> None:
        self._host = host
        self._config = config
        self._trials = trials or WorkerTrials()
        self._witness = witness
        self._live: dict[str, LivePlugin] = {}
        self._order: list[str] = []
        self._numbers: dict[str, int] = {}
        self._states: dict[str, KeptState] = {}
        self._parting: queue.SimpleQueue[LivePlugin] = queue.SimpleQueue()
        self._undertaker = Undertaker(config.drain_timeout, config.module_path, witness)
        self._held = HeldGenerations()

    def live(self, name: str) -> LivePlugin | None:
        """Return what serves of the plugin, or ``None``."""
        return self._live.get(name)

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
        self._host.swap({name: ()})
        del self._live[name]
        self._order.remove(name)
        self._parting.put(live)

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
    ) -> LivePlugin:
        """Execute the modules and run ``register``, within ``load_timeout``, where the trials run.

        Nothing of the result serves yet, and nothing is left behind on failure.

        Raises:
            LoadError: a module raised (the cause is chained), or time ran out.
            RegisterError: ``register`` is missing, has another shape, or raised.

        """
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        generation = Generation(
            artifact,
            root_dir=root_dir or Path(self._config.runtime_dir, name).absolute(),
            module_path=self._config.module_path,
            number=number,
        )
        settings = self._config.of(name).settings
        state = PluginState(self._states.setdefault(name, KeptState()))
        context = PluginContext(
            name, number, state=state, settings=settings, hook_point=hook_point, priority=priority
        )
        try:
            limit = self._config.load_timeout
            with self._witness("load", name, artifact.manifest.digest, limit):
                return self._trials.run(name, lambda: prove(generation, context, state), limit)
        except BaseException:
            context.seal()
            context.staged.clear()
            context.unloaders.clear()
            generation.release()
            raise

    def swap(self, trials: Sequence[LivePlugin]) -> None:
        """Let proven trials serve, all in one assignment; what they replace waits for ``retire``."""
        now = time.time()
        for trial in trials:
            trial.state.commit()  # before the swap: what a new handler wrote meanwhile would be lost
            trial.generation.confirm()
        self._host.swap({trial.name: trial.handlers for trial in trials})
        for trial in trials:
            trial.loaded_at = now
            if trial.name in self._live:
                self._parting.put(self._live[trial.name])
            else:
                self._order.append(trial.name)
            self._live[trial.name] = trial

    def retire(self) -> list[Retirement]:
        """Part with every generation that was replaced or unloaded.

        Waits for calls in flight, runs ``on_unload``, drops the modules and looks whether they are freed.
        May run in another thread than the loads.
        """
        parting = []
        with contextlib.suppress(queue.Empty):
            while True:
                parting.append(self._parting.get_nowait())
        if not parting:
            return []
        leaving = {(live.name, live.generation.number) for live in parting}
        calls = self._host.drain(self._config.drain_timeout, leaving)
        parted = []
        while parting:  # nothing here may keep a reference: it would be the leak that is looked for
            parted.append(self._undertaker.part(parting.pop(0), calls))
        del calls
        self._held.free(parted)
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

    def step_aside(self) -> AbstractContextManager[None]:
        """Have a ``retire`` in another thread not wait for the calls that the calling thread is part of."""
        return self._host.step_aside()

    def unloading(self) -> str | None:
        """Return the plugin whose ``on_unload`` function the calling thread runs; ``None`` for others."""
        return self._undertaker.unloading()

    def is_inside_trial(self) -> bool:
        """Tell whether the calling thread is executing a plugin's modules or its ``register``."""
        return self._trials.is_inside()
