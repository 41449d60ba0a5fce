"""The journey of a change: read, compile, publish, trial, swap; then, in the background, drain and retire."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from hotload_tui.core.artifact import make_durable
from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import DiscoverError, HotloadError, RefusedError
from hotload_tui.core.events import PluginFailed, PluginHeld
from hotload_tui.core.history import Hold
from hotload_tui.core.loader import LivePlugin, Loader
from hotload_tui.core.manager.attempts import Attempts
from hotload_tui.core.manager.batch import Batch
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.bonds import Bonds
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.candidate import Candidate
from hotload_tui.core.manager.failures import is_same
from hotload_tui.core.manager.proofs import Proofs
from hotload_tui.core.manager.ready import Ready
from hotload_tui.core.manager.retirer import Retirer
from hotload_tui.core.manager.rounds import Rounds
from hotload_tui.core.plugin import Fault, PluginState, PluginStatus
from hotload_tui.core.requirements import in_order
from hotload_tui.core.source import Source, SourceRule, check_entry
from hotload_tui.core.watcher import Change


class Journey:
    """Brings plugins from source to serving; used by one thread at a time, but for ``start`` and ``stop``."""

    def __init__(self, loader: Loader, config: Config, board: Board, builds: Builds, rounds: Rounds) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._board = board
        self._builds = builds
        self._loader = loader
        self._retirer = Retirer(self._loader, board)
        self._bonds = Bonds(config, board, loader)
        attempts = Attempts(config, builds, loader, self._retirer, rounds)
        self._proofs = Proofs(
            config,
            board,
            builds=builds,
            loader=loader,
            retirer=self._retirer,
            attempts=attempts,
            bonds=self._bonds,
        )
        self._has_unloaded = False
        self._is_closed = False

    def start(self) -> None:
        """Begin to retire in the background, and clear up after a host that was killed."""
        self._is_closed = False
        self._retirer.start()
        self._builds.remove_leftovers()

    def close(self) -> None:
        """Refuse loads until ``stop`` has ended: nobody would retire what an ``on_unload`` loads now."""
        self._is_closed = True

    def stop(self) -> None:
        """Retire what is queued, and end."""
        self._retirer.stop()
        if self._loader.unloading() is None:
            self._is_closed = False

    def is_inside_trial(self) -> bool:
        """Tell whether the calling thread is executing a plugin's modules or its ``register``."""
        return self._loader.is_inside_trial()

    def look_at_held(self) -> None:
        """Have somebody look whether old generations that were held are freed by now; does not wait."""
        self._retirer.ask()

    def live(self, name: str) -> LivePlugin | None:
        """Return what serves of a plugin, or ``None``."""
        return self._loader.live(name)

    def unload_all(self) -> list[str]:
        """Take everything out of service: who was loaded last, or requires another, leaves first."""
        names = in_order(self._loader.names(), self._bonds.bound)[::-1]
        self._loader.unload_together(names)
        self._has_unloaded = True
        self._retirer.ring()
        return names

    def update(
        self,
        directories: Iterable[PluginDirectory],
        seen: Mapping[str, Change] = MappingProxyType({}),
        *,
        again: bool = False,
        fresh: bool = False,
    ) -> set[str]:
        """Bring plugins up to date with their sources, and those that require them, all in one swap.

        ``seen`` has what was read already; ``again`` loads also what has not changed; ``fresh`` compiles it,
        too. Returns the plugins whose failure is not told yet: they may be half-written.
        """
        directories = list(directories)
        self._refuse_endless(directories, again=again)
        unproven = self._proofs.unproven = set()
        batch = self._new_batch()
        for directory in directories:  # all are compiled before one is tried
            name = directory.name
            batch.add(name, self._proofs.candidate(directory, seen.get(name), again=again, fresh=fresh))
        if self._has_unloaded:
            self._has_unloaded = False
            batch.add_tied()
        ready = batch.prove()
        if ready:
            self._swap(ready)
        self._builds.prune(self._proofs.serving)
        if not seen and (keep := self._builds.what_is_known()):
            self._retirer.then(keep)
        return unproven

    def _refuse_endless(self, directories: list[PluginDirectory], *, again: bool) -> None:
        unloading = self._loader.unloading()
        if again and any(directory.name == unloading for directory in directories):
            raise RefusedError(f"{unloading} cannot ask for its own load in on_unload: that would never end")
        if self._is_closed and directories:
            raise RefusedError("the manager is being stopped; nothing is loaded any more")

    def look(self, directory: PluginDirectory) -> None:
        """Say of a plugin that is not loaded whether it has an entry; no code is read."""
        status = self.status_of(directory)
        if status.state is not PluginState.NEW and (status.fault is None or status.fault.phase != "discover"):
            return
        try:
            check_entry(directory.name, directory.path)
        except DiscoverError as error:
            fault = self._proofs.failure(error, directory.name)
            if not is_same(fault, status.fault):
                self._put_failed(status, fault)
        else:
            if status.state is PluginState.FAIL:
                self._board.put(replace(status, state=PluginState.NEW, fault=None))

    def build(self, directory: PluginDirectory) -> PluginStatus:
        """Compile only; returns the status, with the fault if it failed. What serves keeps its own status."""
        status = self.status_of(directory)
        source: Source | None = None
        try:
            source = self._proofs.read(directory)
            build = self._builds.compile(directory, source, fresh=False)
        except HotloadError as error:
            return self._put_failed(status, self._proofs.failure(error, directory.name, source))
        self._bonds.note(directory.name, build.artifact)
        self._builds.prune(self._proofs.serving)
        if status.generation:
            return replace(status, compile_seconds=build.seconds)
        state = PluginState.NEW if status.state is PluginState.FAIL else status.state
        built = replace(
            status, state=state, source_digest=source.digest, fault=None, compile_seconds=build.seconds
        )
        self._board.put(built)
        return built

    def _put_failed(self, status: PluginStatus, fault: Fault) -> PluginStatus:
        """Note a failure that changes nothing for what serves."""
        failed = replace(status, state=PluginState.FAIL, fault=fault)
        if not status.generation:
            self._board.put(failed)
        self._board.tell(PluginFailed(fault.at, status.name, fault, status.generation))
        return failed

    def unload(self, name: str) -> None:
        """Take a plugin out of service, and before it those that require it; they wait for it then."""
        if self._loader.live(name) is None:
            return
        for other in self._bonds.dependents(name):
            self._loader.unload(other)
            status = self._board.get(other)
            assert status is not None
            self._proofs.put_waiting(status, f"it requires {name}, which has been unloaded")
        self._loader.unload(name)
        self._has_unloaded = True
        self._retirer.ring()

    def status_of(self, directory: PluginDirectory) -> PluginStatus:
        """Return how a plugin stands, at its present place on disk."""
        return self._proofs.status_of(directory)

    def requires(self, name: str) -> tuple[str, ...]:
        """Return what the newest version of a plugin requires that was seen."""
        return tuple(self._bonds.wanted(name))

    def forget(self, name: str) -> None:
        """Take a plugin that is gone out of service, and drop what is known of it."""
        self.unload(name)
        self._bonds.forget(name)

    # ---- held at an artifact

    def hold(self, directory: PluginDirectory, hold: Hold) -> None:
        """Let the held artifact serve, or nothing, and keep it so until the source changes.

        Raises:
            PluginError: the artifact does not load; what served serves on, and nothing is held.
            RefusedError: it loads, but a plugin that requires it does not load with it.
            ArtifactError: it is not there.

        """
        self._refuse_endless([directory], again=False)
        name = directory.name
        ready: list[Ready] = []
        if not hold.digest:
            self.unload(name)
        elif self._proofs.serving(name) != hold.digest:
            artifact, status = self._builds.open(name, hold.digest), self.status_of(directory)
            batch = self._new_batch()
            batch.add(name, Candidate(directory, status, artifact, hold.source, hold=hold))
            ready = batch.prove_all()
        self._builds.keep(name, hold)
        if ready:
            self._swap(ready)
            self._follow(name)
        else:
            self._proofs.put_held(self.status_of(directory), hold)

    def _follow(self, name: str) -> None:
        """Load what can load only now that this version of a plugin serves."""
        batch = self._new_batch()
        batch.add_following(name)
        if ready := batch.prove():
            self._swap(ready)

    # ---- swap and retire

    def _new_batch(self) -> Batch:
        return Batch(self._board, self._loader, self._retirer, self._bonds, self._proofs)

    def _swap(self, ready: list[Ready]) -> None:
        with self._loader.reporting():
            began = time.perf_counter()
            self._loader.swap([one.trial for one in ready])
            seconds = time.perf_counter() - began
            time.sleep(0)  # who waits for the interpreter calls the new version now, not behind what follows
            for one in ready:
                self._report(one, seconds)
        self._retirer.ring()  # now: that it is retired is told after what serves instead
        digests = {one.trial.name: one.digest for one in ready}
        self._builds.served(digests)
        # Nobody waits for the disk: an artifact that a power failure damages before is built once again.
        self._retirer.then(make_durable, self._builds.new_among(digests))

    def _report(self, one: Ready, seconds: float) -> None:
        """Report that a version is live since a swap that took ``seconds``."""
        before = self._board.get(one.trial.name)
        assert before is not None
        self._board.put(one.status(before))
        self._board.tell(one.event(seconds))
        if one.held:
            self._board.tell(PluginHeld(time.time(), before.name, one.trial.generation.number, one.held))
        elif one.fault is None:
            self._builds.unbar(before.name, "another version serves")
