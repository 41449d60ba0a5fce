"""The pipeline of a change: read, compile, publish, try, swap; then retire the previous version."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import Hold, make_durable
from hotload_tui.core.config import Config
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import DiscoverError, HotloadError, RefusedError, RequirementError
from hotload_tui.core.events import PluginFailed, PluginHeld
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.dependencies import DependencyGraph, in_order
from hotload_tui.core.manager.retire_thread import RetireThread
from hotload_tui.core.manager.staging import (
    Attempts,
    ProvenPlugin,
    SelfWriteGuard,
    StagedPlugin,
    Stager,
    again,
    is_same,
)
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import Fault, PluginState, PluginStatus
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.runtime.loader import Loader
from hotload_tui.core.runtime.trial import LivePlugin
from hotload_tui.core.source import Source, SourceRule, check_entry
from hotload_tui.core.watch.scanner import PluginChange

_RETRIED = (PluginState.FAIL, PluginState.STALE)


class Batch:
    """The candidates of one update; each batch is used once."""

    def __init__(
        self,
        store: StatusStore,
        loader: Loader,
        retire_thread: RetireThread,
        dependencies: DependencyGraph,
        stager: Stager,
    ) -> None:
        self._store = store
        self._loader = loader
        self._retire_thread = retire_thread
        self._dependencies = dependencies
        self._stager = stager
        self._candidates: dict[str, StagedPlugin] = {}
        self._given: set[str] = set()
        self._ready: dict[str, ProvenPlugin] = {}

    def add(self, name: str, candidate: StagedPlugin | None) -> None:
        """Add a plugin to the batch, with its candidate if there is one."""
        self._given.add(name)
        if candidate is not None:
            self._candidates[name] = candidate

    def add_tied(self) -> None:
        """Add the tied plugins, because an unloaded plugin may have kept them from loading."""
        for status in self._store.statuses():
            name = status.name
            if (
                name in self._dependencies.tied
                and name not in self._given
                and status.state is not PluginState.OFF
            ):
                self.add(name, self._stager.candidate(_directory(status), reload=True))

    def add_following(self, name: str) -> None:
        """Add the plugins that wait for ``name``, or that failed to load with another version of it."""
        for status in self._store.statuses():
            if status.state is not PluginState.OFF and self._is_retried(status, {name}):
                self.add(status.name, self._stager.candidate(_directory(status), reload=True))

    def prove(self) -> list[ProvenPlugin]:
        """Try all candidates; return those that may go live, each after the plugins that it requires."""
        self._widen()
        pending = self._in_order()
        self._stager.try_ahead([one for one in pending if not self._dependencies.of(one.name, one.artifact)])
        unmet: list[tuple[StagedPlugin, RequirementError]] = []
        while pending:
            before = len(self._ready)
            instead, unmet = self._prove(pending)
            has_gained = bool(instead) or len(self._ready) > before
            pending = [*instead, *(one for one, _ in unmet)] if has_gained else []
        for one, error in unmet:
            self._leave(one, error)
        self._keep_together()
        self._dependencies.tied -= self._ready.keys()
        return [self._ready[name] for name in in_order(self._ready, self._bound_now)]

    def prove_all(self) -> list[ProvenPlugin]:
        """Try the candidates and the live versions of their dependents; if one fails, change nothing.

        Raises:
            HotloadError: a plugin that was added to the batch does not load.
            RefusedError: a plugin that requires one of the added plugins does not load with it.

        """
        self._widen(with_failed=False)
        for one in self._in_order():
            name = one.name
            try:
                self._ready[name] = one.ready(self._stager.trial(one, self._required))
            except HotloadError as error:
                for ready in reversed(self._ready.values()):
                    self._retire_thread.discard(ready.trial, f"{name} does not load")
                self._retire_thread.ring()
                if name in self._given:
                    raise
                raise RefusedError(f"{name} requires it, and does not load with it: {error}") from error
        return list(self._ready.values())

    # ---- the members of the batch

    def _widen(self, *, with_failed: bool = True) -> None:
        """Add the plugins that must load again because of the candidates."""
        is_growing = True
        while is_growing and self._candidates:
            is_growing = False
            for name in sorted(self._dependencies.requiring() - self._candidates.keys()):
                status = self._store.get(name)
                if status is not None and (more := self._drawn_in(status, with_failed=with_failed)):
                    self._candidates[name] = more
                    is_growing = True

    def _drawn_in(self, status: PluginStatus, *, with_failed: bool) -> StagedPlugin | None:
        if status.state is PluginState.OFF:
            return None
        name, live = status.name, self._loader.live(status.name)
        found = None
        if with_failed and name not in self._given and self._is_retried(status, self._candidates.keys()):
            self._given.add(name)
            found = self._stager.candidate(_directory(status), reload=True)
        if (
            found is None
            and live is not None
            and not self._candidates.keys().isdisjoint(self._dependencies.bound(name))
        ):
            directory = _directory(status)
            found = again(directory, self._stager.status_of(directory), live)
        return found

    def _is_retried(self, status: PluginStatus, others: AbstractSet[str]) -> bool:
        """Return whether the newest version of a plugin may load now that ``others`` load."""
        requires_one = not others.isdisjoint(self._dependencies.wanted(status.name))
        if status.name in self._dependencies.tied:
            return requires_one or any(status.name in self._dependencies.wanted(name) for name in others)
        is_loading_at_fault = status.fault is not None and status.fault.phase in ("load", "register")
        return requires_one and (
            status.state is PluginState.WAIT or (status.state in _RETRIED and is_loading_at_fault)
        )

    # ---- one trial after the other

    def _prove(
        self, pending: list[StagedPlugin]
    ) -> tuple[list[StagedPlugin], list[tuple[StagedPlugin, RequirementError]]]:
        """Try the pending candidates; return the replacements of failed ones, and the unmet requirements."""
        instead, unmet = [], []
        for one in pending:
            try:
                found = self._stager.prove(one, self._required)
            except RequirementError as error:
                unmet.append((one, error))
                continue
            if isinstance(found, StagedPlugin):
                instead.append(found)
            elif found is not None:
                self._ready[one.name] = found
        return instead, unmet

    def _required(self, name: str, artifact: Artifact) -> list[Generation]:
        """Return the generations that a version of a plugin requires. Raises ``RequirementError``."""
        found = []
        one = self._candidates.get(name)
        is_new = one is not None and one.attempt is not None and one.artifact is artifact
        cycle = self._dependencies.cycle(name) if is_new else ""
        if cycle:
            raise RequirementError(name, f"it requires itself: {cycle}; one of these has to do without")
        for other in self._dependencies.of(name, artifact):
            if other in self._ready:
                found.append(self._ready[other].trial.generation)
                continue
            live = self._loader.live(other)
            if live is None:
                raise RequirementError(name, f"it requires {other}, but {self._dependencies.missing(other)}")
            if is_new and other in self._given and self._has_failed(other):
                raise RequirementError(name, f"it requires {other}, whose newest version does not load")
            found.append(live.generation)
        return found

    def _in_order(self) -> list[StagedPlugin]:
        """Return the candidates, each after the plugins that its own artifact requires."""

        def required(name: str) -> Collection[str]:
            return self._dependencies.of(name, self._candidates[name].artifact)

        return [self._candidates[name] for name in in_order(self._candidates, required)]

    def _bound_now(self, name: str) -> Collection[str]:
        return self._ready[name].trial.generation.peers.keys()

    def _has_failed(self, name: str) -> bool:
        status = self._store.get(name)
        is_behind = status is not None and status.state in (PluginState.STALE, PluginState.FAIL)
        return is_behind or name in self._stager.unproven

    # ---- all together, or not at all

    def _keep_together(self) -> None:
        """Remove the plugins whose swap would leave a plugin without the version that it was loaded with."""
        is_shrinking = True
        while is_shrinking:
            is_shrinking = False
            for name in reversed(list(self._ready)):
                reason = self._why_not(name)
                if reason:
                    trial = self._ready.pop(name).trial
                    self._retire_thread.discard(trial, reason)
                    self._leave(self._candidates[name], RequirementError(name, reason))
                    is_shrinking = True

    def _why_not(self, name: str) -> str:
        for other in self._loader.bound():
            if other not in self._ready and name in self._dependencies.bound(other):
                return f"{other} requires it, and does not load with it"
        for other, peer in self._ready[name].trial.generation.peers.items():
            ready = self._ready.get(other)
            live = ready.trial if ready is not None else self._loader.live(other)
            if live is None or live.generation is not peer.generation():
                return f"it requires {other}, whose newest version cannot be loaded"
        return ""

    def _leave(self, one: StagedPlugin, error: RequirementError) -> None:
        """Do not load a candidate: keep its plugin as it is, or make it wait or fail because of ``error``."""
        name = one.name
        if one.attempt is None and (one.fault is not None or self._loader.live(name) is not None):
            self._store.put(one.status)
            return
        self._dependencies.tied.add(name)
        source = one.attempt.source.digest if one.attempt else one.source_digest
        if not one.is_settled or any(
            other in self._stager.unproven for other in self._dependencies.wanted(name)
        ):
            self._stager.postpone(one.status)
        elif self._loader.live(name) is None and not self._dependencies.cycle(name):
            self._stager.put_waiting(replace(one.status, source_digest=source), str(error))
        else:
            self._stager.fail(one.status, self._stager.failure(error, name), source)


def _directory(status: PluginStatus) -> PluginDirectory:
    """Return the directory of an enabled plugin."""
    return PluginDirectory(status.name, Path(status.path), enabled=True)


class Pipeline:
    """Takes plugins from source to live.

    Only one thread at a time may use it, except for ``stop`` and the queries.
    """

    def __init__(
        self, loader: Loader, config: Config, store: StatusStore, builds: Builds, self_writes: SelfWriteGuard
    ) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._store = store
        self._builds = builds
        self._loader = loader
        self._retire_thread = RetireThread(self._loader, store)
        self._dependencies = DependencyGraph(config, store, loader)
        attempts = Attempts(config, builds, loader, self._retire_thread, self_writes)
        self._stager = Stager(
            config,
            store,
            builds=builds,
            loader=loader,
            retire_thread=self._retire_thread,
            attempts=attempts,
            dependencies=self._dependencies,
        )
        self._has_unloaded = False
        self._is_closed = False

    def start(self) -> None:
        """Start the retire thread, and remove the leftovers of a killed host."""
        self._is_closed = False
        self._retire_thread.start()
        self._builds.remove_leftovers()

    def close(self) -> None:
        """Refuse loads until ``stop`` has ended: no thread would retire a plugin that ``on_unload`` loads."""
        self._is_closed = True

    def stop(self) -> None:
        """Retire the queued generations, and stop the retire thread."""
        self._retire_thread.stop()
        if self._loader.unloading() is None:
            self._is_closed = False

    def is_inside_trial(self) -> bool:
        """Return whether the calling thread executes a plugin's modules or its ``register``."""
        return self._loader.is_inside_trial()

    def look_at_held(self) -> None:
        """Schedule a check for freed generations; do not wait for it."""
        self._retire_thread.ask()

    def live(self, name: str) -> LivePlugin | None:
        """Return the live version of a plugin, or ``None``."""
        return self._loader.live(name)

    def unload_all(self) -> list[str]:
        """Unload all plugins in one swap, last loaded and dependents first; return their names."""
        names = in_order(self._loader.names(), self._dependencies.bound)[::-1]
        self._loader.unload_together(names)
        self._has_unloaded = True
        self._retire_thread.ring()
        return names

    def update(
        self,
        directories: Iterable[PluginDirectory],
        seen: Mapping[str, PluginChange] = MappingProxyType({}),
        *,
        again: bool = False,
        fresh: bool = False,
    ) -> set[str]:
        """Bring plugins, and the plugins that require them, up to date with their sources in one swap.

        ``seen`` contains the changes that the watcher has read; ``again`` also loads unchanged plugins;
        ``fresh`` also compiles them. Returns the plugins whose failure is not reported yet, because their
        files may be half-written.
        """
        directories = list(directories)
        self._refuse_endless(directories, again=again)
        unproven = self._stager.unproven = set()
        batch = self._new_batch()
        for directory in directories:  # compile all before the first trial
            name = directory.name
            batch.add(name, self._stager.candidate(directory, seen.get(name), again=again, fresh=fresh))
        if self._has_unloaded:
            self._has_unloaded = False
            batch.add_tied()
        ready = batch.prove()
        if ready:
            self._swap(ready)
        self._builds.prune(self._stager.serving)
        if not seen and (keep := self._builds.what_is_known()):
            self._retire_thread.then(keep)
        return unproven

    def _refuse_endless(self, directories: list[PluginDirectory], *, again: bool) -> None:
        unloading = self._loader.unloading()
        if again and any(directory.name == unloading for directory in directories):
            raise RefusedError(f"{unloading} cannot ask for its own load in on_unload: that would never end")
        if self._is_closed and directories:
            raise RefusedError("the manager is being stopped; nothing is loaded any more")

    def look(self, directory: PluginDirectory) -> None:
        """Check whether a plugin that is not loaded has an entry; read no code."""
        status = self.status_of(directory)
        if status.state is not PluginState.NEW and (status.fault is None or status.fault.phase != "discover"):
            return
        try:
            check_entry(directory.name, directory.path)
        except DiscoverError as error:
            fault = self._stager.failure(error, directory.name)
            if not is_same(fault, status.fault):
                self._put_failed(status, fault)
        else:
            if status.state is PluginState.FAIL:
                self._store.put(replace(status, state=PluginState.NEW, fault=None))

    def build(self, directory: PluginDirectory) -> PluginStatus:
        """Compile only; return the status, with the fault if it failed. A live plugin keeps its status."""
        status = self.status_of(directory)
        source: Source | None = None
        try:
            source = self._stager.read(directory)
            build = self._builds.compile(directory, source, fresh=False)
        except HotloadError as error:
            return self._put_failed(status, self._stager.failure(error, directory.name, source))
        self._dependencies.note(directory.name, build.artifact)
        self._builds.prune(self._stager.serving)
        if status.generation:
            return replace(status, compile_seconds=build.seconds)
        state = PluginState.NEW if status.state is PluginState.FAIL else status.state
        built = replace(
            status, state=state, source_digest=source.digest, fault=None, compile_seconds=build.seconds
        )
        self._store.put(built)
        return built

    def _put_failed(self, status: PluginStatus, fault: Fault) -> PluginStatus:
        """Publish a failure; record it only if no version is live."""
        failed = replace(status, state=PluginState.FAIL, fault=fault)
        if not status.generation:
            self._store.put(failed)
        self._store.tell(PluginFailed(fault.at, status.name, fault, status.generation))
        return failed

    def unload(self, name: str) -> None:
        """Unload a plugin, and before it the plugins that require it, which then wait for it."""
        if self._loader.live(name) is None:
            return
        for other in self._dependencies.dependents(name):
            self._loader.unload(other)
            status = self._store.get(other)
            assert status is not None
            self._stager.put_waiting(status, f"it requires {name}, which has been unloaded")
        self._loader.unload(name)
        self._has_unloaded = True
        self._retire_thread.ring()

    def status_of(self, directory: PluginDirectory) -> PluginStatus:
        """Return the status of a plugin, with its present path."""
        return self._stager.status_of(directory)

    def requires(self, name: str) -> tuple[str, ...]:
        """Return the requirements of the newest known version of a plugin."""
        return tuple(self._dependencies.wanted(name))

    def forget(self, name: str) -> None:
        """Unload a plugin that is gone, and remove its records."""
        self.unload(name)
        self._dependencies.forget(name)

    # ---- holds

    def hold(self, directory: PluginDirectory, hold: Hold) -> None:
        """Make the held artifact live, or no version, and keep the hold until the source changes.

        Raises:
            PluginError: the artifact does not load; the live version stays live, and there is no hold.
            RefusedError: the artifact loads, but a plugin that requires it does not load with it.
            ArtifactError: the artifact is missing or unusable.

        """
        self._refuse_endless([directory], again=False)
        name = directory.name
        ready: list[ProvenPlugin] = []
        if not hold.digest:
            self.unload(name)
        elif self._stager.serving(name) != hold.digest:
            artifact, status = self._builds.open(name, hold.digest), self.status_of(directory)
            batch = self._new_batch()
            batch.add(name, StagedPlugin(directory, status, artifact, hold.source, hold=hold))
            ready = batch.prove_all()
        self._builds.keep(name, hold)
        if ready:
            self._swap(ready)
            self._follow(name)
        else:
            self._stager.put_held(self.status_of(directory), hold)

    def _follow(self, name: str) -> None:
        """Load the plugins that can load only with the version of ``name`` that is live now."""
        batch = self._new_batch()
        batch.add_following(name)
        if ready := batch.prove():
            self._swap(ready)

    # ---- swap and retire

    def _new_batch(self) -> Batch:
        return Batch(self._store, self._loader, self._retire_thread, self._dependencies, self._stager)

    def _swap(self, ready: list[ProvenPlugin]) -> None:
        with self._loader.reporting():
            began = time.perf_counter()
            self._loader.swap([one.trial for one in ready])
            seconds = time.perf_counter() - began
            time.sleep(0)  # let waiting threads call the new version before the reports
            for one in ready:
                self._report(one, seconds)
        self._retire_thread.ring()  # after the reports: the load is published before the retirement
        digests = {one.trial.name: one.digest for one in ready}
        self._builds.served(digests)
        # Do not wait for the disk: an artifact that a power failure damages is built again.
        self._retire_thread.then(make_durable, self._builds.new_among(digests))

    def _report(self, one: ProvenPlugin, seconds: float) -> None:
        """Report that a version is live after a swap that took ``seconds``."""
        before = self._store.get(one.trial.name)
        assert before is not None
        self._store.put(one.status(before))
        self._store.tell(one.event(seconds))
        if one.held:
            self._store.tell(PluginHeld(time.time(), before.name, one.trial.generation.number, one.held))
        elif one.fault is None:
            self._builds.unbar(before.name, "another version is live")
