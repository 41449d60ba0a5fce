"""The pipeline: from the plugin directories to the live plugins, and which plugins a change concerns.

``Holds`` goes the other way: it makes an earlier version of a plugin live again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from time import time as clock  # a plugin can replace it
from types import MappingProxyType

from msgspec.structs import replace

from hotload_tui.core.compiled import Hold, remove_leftovers
from hotload_tui.core.directories import PluginDirectory, find_plugin, find_plugins, unknown
from hotload_tui.core.errors import ArtifactError, DiscoverError, HotloadError, RefusedError
from hotload_tui.core.events import PluginDisabled, PluginDiscovered, PluginFailed, PluginRemoved
from hotload_tui.core.manager.decide import depending_on, in_order
from hotload_tui.core.manager.engine import Engine, is_same
from hotload_tui.core.manager.gates import GateRun
from hotload_tui.core.manager.staging import why_again
from hotload_tui.core.manager.update import Update
from hotload_tui.core.model import Fault, FileDigest, HistoryEntry, PluginState, PluginStatus
from hotload_tui.core.source import Source, check_entry, read_source
from hotload_tui.core.watch.scanner import PluginChange


class Pipeline:
    """Keeps the live plugins and the status store in step with the plugin directories.

    Only one thread at a time may use it, except for ``stop``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store
        self._builds = engine.builds
        self._loader = engine.loader
        self._dependencies = engine.dependencies
        self._retire_thread = engine.retire_thread
        self._has_unloaded = False
        self._is_closed = False

    def start(self) -> None:
        """Start the retire thread, and remove the leftovers of a killed host."""
        self._is_closed = False
        self._retire_thread.start()
        remove_leftovers(self._builds.compiler.folder)

    def close(self) -> None:
        """Refuse loads until ``stop`` has ended: no thread would retire a plugin that ``on_unload`` loads."""
        self._is_closed = True

    def stop(self) -> None:
        """Retire the queued generations, and stop the retire thread."""
        self._retire_thread.stop()
        if self._loader.unloading() is None:
            self._is_closed = False

    # ---- the plugins on the disk

    def find(self) -> dict[str, PluginDirectory]:
        """Return the plugins, and publish which were added or removed. Raises ``RuntimeDirError``."""
        found = find_plugins(self._engine.root, self._engine.rule.layout)
        self._forget(status.name for status in self._store.statuses() if status.name not in found)
        self._add_found(found)
        return found

    def _find_some(self, names: Collection[str]) -> dict[str, PluginDirectory]:
        """Return the named plugins, and publish which were added or removed, without listing all plugins."""
        root, layout = self._engine.root, self._engine.rule.layout
        if not root.is_dir():  # all plugins in it are gone with it
            statuses = self._store.statuses()
            self._forget(status.name for status in statuses if status.name not in layout.packages)
        found = {name: each for name in names if (each := find_plugin(root, name, layout))}
        self._forget(name for name in names if name not in found and self._store.get(name) is not None)
        self._add_found(found)
        return found

    def _add_found(self, found: Mapping[str, PluginDirectory]) -> None:
        for name, directory in found.items():
            if self._store.get(name) is None:
                self._store.put(self._engine.status_of(directory))
                self._store.publish(PluginDiscovered(clock(), name))

    def find_one(self, name: str) -> PluginDirectory:
        """Return the plugin's directory. Raises ``UnknownPluginError`` and ``RuntimeDirError``."""
        found = self.find()
        if name not in found:
            raise unknown(name, found)
        return found[name]

    def find_on(self, name: str) -> PluginDirectory:
        """Return the directory of an enabled plugin. Raises ``RefusedError`` if the plugin is disabled."""
        directory = self.find_one(name)
        if not self._engine.is_on(directory):
            raise RefusedError(f"{name} is disabled; enable it first")
        return directory

    def is_held(self, name: str) -> bool:
        """Return whether the plugin is HELD."""
        status = self._store.get(name)
        return status is not None and status.state is PluginState.HELD

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.unload(name)
            self._engine.gates.forget(name)
            self._dependencies.forget(name)
            self._store.drop(name)
            self._engine.self_writes.forget(name)
            self._store.publish(PluginRemoved(clock(), name))

    # ---- loading

    def take(self, changes: Iterable[PluginChange]) -> set[str]:
        """Bring changed plugins up to date; remove all plugins if the runtime directory is gone.

        Returns the plugins that the watcher must report again when settled.
        """
        changes = list(changes)
        found = self._find_some([change.name for change in changes])
        seen = {change.name: change for change in changes if change.name in found}
        verdicts = {name: self._engine.self_writes.judge(change) for name, change in seen.items()}
        for name, verdict in verdicts.items():
            if verdict == "ignore":
                self._warn_self_writes(found[name], seen[name])
        taken = sorted(name for name, verdict in verdicts.items() if verdict == "take")
        waiting = {name for name, verdict in verdicts.items() if verdict == "wait"}
        return waiting | self.update((found[name] for name in taken), seen)

    def rebuild(self, *, force: bool) -> None:
        """Load the plugins that changed or have a fault, or all plugins if there are none of these.

        ``force`` loads all plugins, and compiles every file again. A HELD plugin stays as after a save.
        """
        loaded, found = self._loaded(), self.find()
        on = [each for each in found.values() if self._engine.is_on(each) and not self.is_held(each.name)]
        reasons = {each.name: why_again(self._store.get(each.name)) for each in on}
        asked = {name: reason or "asked for" for name, reason in reasons.items() if reason or force}
        self.update(found.values(), asked=asked, fresh=force)
        if not asked and self._loaded() == loaded and not self._engine.gates.is_busy:
            self.update(on, asked=dict.fromkeys(reasons, "asked for"))

    def rebuild_some(self, names: Iterable[str], *, force: bool) -> list[str]:
        """Load the named plugins; return their names, then those of the other plugins that changed.

        ``force`` compiles every file again. Raises ``UnknownPluginError`` and ``RefusedError``.
        """
        asked = dict.fromkeys(names, "asked for")
        directories = [self.find_on(name) for name in asked]
        loaded = self._loaded()
        self.update(directories, asked=asked, fresh=force)
        changed = sorted(name for name, _ in self._loaded().items() - loaded.items())
        return list(dict.fromkeys([*asked, *changed]))

    def try_again(self, names: Iterable[str], reason: str) -> None:
        """Load the named plugins again, except those that are disabled or HELD."""
        found = self._find_some(list(names))
        on = [each for each in found.values() if self._engine.is_on(each) and not self.is_held(each.name)]
        self.update(on, asked={each.name: reason for each in on})

    def pass_gate(self, run: GateRun) -> None:
        """Load a version whose tests have passed, with the plugins that waited for it; else report the fault.

        If the plugin has changed meanwhile, its newest version is tested instead.
        """
        gates, builds = self._engine.gates, self._builds
        if self._is_closed or not gates.is_current(run):
            return
        gates.release(run)
        name = run.name
        found = self._find_some(
            [name, *depending_on([name], self._dependencies.requiring(), self._dependencies.newest)]
        )
        if name not in found:
            return
        is_meant = gates.is_as_tested(run) and builds.hold(name, run.source.digest) is None
        if not is_meant:
            gates.forget(name)
        self.update(found.values(), asked={name: "its tests have ended"} if is_meant else {})

    def _loaded(self) -> dict[str, tuple[PluginState, int, str]]:
        """Return each plugin's state, generation and source digest."""
        statuses = self._store.statuses()
        return {status.name: (status.state, status.generation, status.source_digest) for status in statuses}

    def _warn_self_writes(self, directory: PluginDirectory, change: PluginChange) -> None:
        live = self._loader.live(directory.name)
        members = live.generation.artifact.manifest.members if live else ()
        previous = {member.path: member.sha256 for member in members}
        files = change.source.files if change.source else ()
        own = ", ".join(file.path for file in files if previous.get(file.path) != file.sha256)
        self._store.write(
            "warning",
            directory.name,
            f"changes its own files at each load ({own}) and is left as it is until somebody edits it; "
            "what a plugin writes belongs elsewhere, or into [watch] ignore",
        )

    def unload_all(self) -> None:
        """Unload all plugins in one swap, last loaded and dependents first."""
        names = in_order(self._loader.names(), self._dependencies.bound)[::-1]
        self._loader.unload_together(names)
        self._has_unloaded = True
        self._retire_thread.schedule()
        for name in names:
            self._store.put_not_live(name, PluginState.NEW)

    def update(
        self,
        directories: Iterable[PluginDirectory],
        seen: Mapping[str, PluginChange] = MappingProxyType({}),
        *,
        asked: Mapping[str, str] = MappingProxyType({}),
        fresh: bool = False,
    ) -> set[str]:
        """Unload disabled plugins; bring the others up to date with their sources in one swap.

        The plugins that require them load with them.
        ``seen`` contains the changes that the watcher has read; the plugins in ``asked`` load even if they
        are unchanged, for the reason given there; ``fresh`` also compiles them. Returns the plugins whose
        failure is not reported yet, because their files may be half-written.
        """
        on: list[PluginDirectory] = []
        for directory in directories:
            if self._engine.is_on(directory):
                on.append(directory)
            else:
                self._switch_off(directory)
        self._refuse_endless(on, again=bool(asked))
        update = Update(self._engine, fresh=fresh)
        for directory in on:
            update.stage(directory, asked.get(directory.name, ""), seen.get(directory.name))
        update.stage_others()
        if self._has_unloaded:  # an unloaded plugin may have kept others from loading
            self._has_unloaded = False
            update.retry_tied()
        update.run()
        self._builds.prune(self.live_digest)
        if not seen and self._builds.index.is_new:
            self._retire_thread.then(self._builds.index.save)
        return update.unproven

    def _switch_off(self, directory: PluginDirectory) -> None:
        status = self._engine.status_of(directory)
        known = self._store.get(directory.name)
        if known is None or known.state is not PluginState.OFF or known.path != status.path:
            self._store.put(status)
            self._engine.gates.forget(directory.name)
            self.unload(directory.name)
            self._store.put_not_live(directory.name, PluginState.OFF)
            self._store.publish(PluginDisabled(clock(), directory.name))

    def _refuse_endless(self, directories: list[PluginDirectory], *, again: bool) -> None:
        unloading = self._loader.unloading()
        if again and any(directory.name == unloading for directory in directories):
            raise RefusedError(f"{unloading} cannot ask for its own load in on_unload: that would never end")
        if self._is_closed and directories:
            raise RefusedError("the manager is being stopped; nothing is loaded any more")

    def look(self, directory: PluginDirectory) -> None:
        """Check whether a plugin that is not loaded has an entry; read no code."""
        status = self._engine.status_of(directory)
        if status.state is not PluginState.NEW and (status.fault is None or status.fault.phase != "discover"):
            return
        try:
            check_entry(directory.name, directory.path, self._engine.rule.layout)
        except DiscoverError as error:
            fault = self._engine.failure(error, directory.name)
            if not is_same(fault, status.fault):
                self._put_failed(status, fault)
        else:
            if status.state is PluginState.FAIL:
                self._store.put(replace(status, state=PluginState.NEW, fault=None))

    def build(self, directory: PluginDirectory) -> PluginStatus:
        """Compile only; return the status, with the fault if it failed. A live plugin keeps its status."""
        status = self._engine.status_of(directory)
        source: Source | None = None
        try:
            source = read_source(directory.name, directory.path, self._engine.rule)
            build = self._builds.compile(directory, source, fresh=False)
        except HotloadError as error:
            return self._put_failed(status, self._engine.failure(error, directory.name, source))
        self._dependencies.note(directory.name, build.artifact.manifest.requires)
        self._builds.prune(self.live_digest)
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
        self._store.publish(PluginFailed(fault.at, status.name, fault, status.generation))
        return failed

    def unload(self, name: str) -> None:
        """Unload a plugin, and before it the plugins that require it, which then wait for it."""
        if self._loader.live(name) is None:
            return
        for other in self._dependencies.dependents(name):
            self._loader.unload(other)
            status = self._store.get(other)
            assert status is not None
            self._store.put_waiting(status, f"it requires {name}, which has been unloaded")
        self._loader.unload(name)
        self._has_unloaded = True
        self._retire_thread.schedule()

    # ---- holds

    def hold(self, directory: PluginDirectory, hold: Hold) -> None:
        """Make the held artifact live, or no version, and keep the hold.

        Raises:
            PluginError: the artifact does not load; the live version stays live, and there is no hold.
            RefusedError: the artifact loads, but a plugin that requires it does not load with it.
            ArtifactError: the artifact is missing or unusable.

        """
        self._refuse_endless([directory], again=False)
        name = directory.name
        if hold.digest and self.live_digest(name) != hold.digest:
            update = Update(self._engine)
            update.stage_held(directory, hold, self._builds.compiler.open(name, hold.digest))
            update.run()
            following = Update(self._engine)  # those that can load only with this version
            following.retry_tied(name)
            following.stage_others()
            following.run()
            return
        if not hold.digest:
            self.unload(name)
        self._builds.keep(name, hold)
        self._store.put_held(self._engine.status_of(directory), hold)

    def live_digest(self, name: str) -> str:
        """Return the digest of the live version; empty if there is none."""
        live = self._loader.live(name)
        return live.generation.artifact.manifest.digest if live else ""


class Holds:
    """Rolls plugins back, holds them, and keeps their history; only one thread may use it at a time."""

    def __init__(self, engine: Engine, pipeline: Pipeline) -> None:
        self._rule = engine.rule
        self._builds = engine.builds
        self._pipeline = pipeline
        self._history = engine.store.history

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return the history of a plugin in this host, oldest entry first."""
        path = self._builds.compiler.path
        return tuple(
            replace(entry, can_return=bool(entry.generation) and path(name, entry.digest).is_file())
            for entry in self._history.of(name)
        )

    def files_before(self, name: str, digest: str) -> tuple[FileDigest, ...]:
        """Return the files of the artifact that was live before ``digest``; empty if it is gone."""
        others = (entry.digest for entry in reversed(self._history.of(name)) if entry.generation)
        before = next((other for other in others if other != digest), "")
        return self._builds.files(name, before) if before else ()

    def go_back(self, directory: PluginDirectory, generation: int, why: Fault) -> None:
        """Roll back to the last generation before ``generation`` with another artifact, because of a fault.

        Raises ``RefusedError`` if there is none, and the errors of ``rollback``.
        """
        entries = self.history(directory.name)
        failing = next((entry.digest for entry in entries if entry.generation == generation), "")
        before = [
            e for e in entries if 0 < e.generation < generation and e.digest != failing and e.can_return
        ]
        if not before:
            raise RefusedError("there is no version before it")
        self.rollback(directory, before[-1].generation, why)

    def rollback(self, directory: PluginDirectory, generation: int, why: Fault | None = None) -> None:
        """Make the artifact of ``generation`` live again, and hold the plugin there.

        The artifact loads as a new generation, unless it is live already. ``why`` is the fault of the source
        that causes the rollback, if any; without it, the user chose the generation, and a changed source does
        not end the hold.

        Raises:
            RefusedError: there is no such generation, its artifact is gone, or a plugin that requires this
                plugin does not load with it.
            PluginError: the artifact does not load; the live version stays live.

        """
        entries = self.history(directory.name)
        chosen = [entry for entry in entries if entry.generation == generation != 0]
        if not chosen:
            raise RefusedError(f"{directory.name} has no generation {generation}; {_choices(entries)}")
        try:
            reason = f"rolled back to generation {generation}" + (f": {why.message}" if why else "")
            source = self._source_digest(directory)
            hold = Hold(source, chosen[0].digest, reason, why, is_pinned=why is None)
            self._pipeline.hold(directory, hold)
        except ArtifactError as error:
            reason = f"the artifact of {directory.name}'s generation {generation} cannot be used: {error}"
            raise RefusedError(f"{reason}; {_choices(entries)}") from error

    def way_back(self, name: str) -> Callable[[], None]:
        """Return the undo of a rollback that follows: the present version is live again, and held as now.

        It raises ``RefusedError`` if the plugin is disabled or the artifact of that version is gone, and the
        errors of ``Pipeline.hold``.
        """
        digest, hold = self._pipeline.live_digest(name), self._builds.record.hold(name)

        def undo() -> None:
            directory = self._pipeline.find_on(name)
            source = self._source_digest(directory)
            kept = hold
            if hold is None and digest not in ("", source):  # else the update below loads the version
                kept = Hold(source, digest, "a rollback is undone", is_pinned=True)
            try:
                if kept is not None:
                    self._pipeline.hold(directory, kept)
            except ArtifactError as error:
                raise RefusedError(f"the version of {name} before the rollback is gone: {error}") from error
            if hold is None:
                self._builds.release(name, "the rollback is undone")
                self._pipeline.update([directory])

        return undo

    def hold_back(self, directory: PluginDirectory, reason: str) -> None:
        """Bar the present source from loading, and hold the plugin.

        The last other good version becomes live; if there is none, no version is live. Raises
        ``DiscoverError``, ``ArtifactError`` and the errors of ``Pipeline.hold``.
        """
        source = read_source(directory.name, directory.path, self._rule).digest
        fault = Fault("host", directory.name, "Held", reason, clock())
        self._builds.record.bar(directory.name, source, fault)
        hold = self._builds.hold(directory.name, source)
        assert hold is not None
        self._pipeline.hold(directory, hold)

    def _source_digest(self, directory: PluginDirectory) -> str:
        try:
            return read_source(directory.name, directory.path, self._rule).digest
        except DiscoverError:
            return ""


def _choices(entries: tuple[HistoryEntry, ...]) -> str:
    numbers = [str(entry.generation) for entry in entries if entry.can_return]
    return f"there are {', '.join(numbers)}" if numbers else "there is none to go back to"
