"""``Load``: an artifact on its way to a live generation, and what is undone if it does not get there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.config import Config
from hotload_tui.core.context import KeptState, PluginContext, PluginState
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.generation import Generation, Peer
from hotload_tui.core.ledger import Ledger, Process
from hotload_tui.core.loader.live import LivePlugin
from hotload_tui.core.loader.proof import prove
from hotload_tui.core.loader.retirement import Parting, Undertaker
from hotload_tui.core.witness import Witness


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
        witness: Witness,
    ) -> None:
        """Prepare generation ``number``; nothing happens yet."""
        self.wanted = wanted
        self.began = self.ended = 0.0
        """Seconds since the epoch; 0 before that."""
        self._number = number
        self._kept = kept
        self._config = config
        self._process = process
        self._witness = witness

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
        self._state = PluginState(self._kept)
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
        with self._witness("load", self.name, self.wanted.artifact.manifest.digest):
            return prove(self._generation, self._context, self._state, self._ledger)

    def end(self) -> None:
        """Note what it changed; the caller has the process's lock."""
        self._ledger.end(self._generation.origin.codes(), self._generation.exit_calls)
        self.ended = time.time()

    def clear_up(self, error: BaseException, undertaker: Undertaker) -> Parting:
        """Leave nothing of a load that failed; what cannot be undone is noted on its ``error``."""
        generation, ledger = self._generation, self._ledger
        for fault in undertaker.call_endings(generation, ledger):
            error.add_note(f"cleaning up failed: {fault.type}: {fault.message}")
        generation.release()
        for entry in ledger.undo():
            if entry.outcome == "named":
                error.add_note(f"left behind: {entry.describe()}")
        return undertaker.bury(generation, ledger, self._context)

    def abandon(self) -> None:
        """Forget what ``register`` asked for."""
        self._context.abandon()


class Outcome(NamedTuple):
    """What became of a load."""

    load: Load
    trial: LivePlugin | None
    error: HotloadError | None
    """Why there is no trial."""
