"""Commands of the manager, one at a time: find, load and unload plugins, hold them, and roll them back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from msgspec.structs import replace

from hotload_tui.core import directories
from hotload_tui.core.compiled import Hold
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import ArtifactError, DiscoverError, RefusedError
from hotload_tui.core.events import (
    PluginDisabled,
    PluginDiscovered,
    PluginRemoved,
)
from hotload_tui.core.manager.pipeline import Pipeline
from hotload_tui.core.manager.staging import Engine, why_again
from hotload_tui.core.manager.store import History
from hotload_tui.core.model import Fault, FileDigest, HistoryEntry, PluginState
from hotload_tui.core.source import read_source
from hotload_tui.core.watch.scanner import PluginChange


class CommandLock:
    """Makes the commands of the manager run one at a time."""

    def __init__(self, is_inside_trial: Callable[[], bool]) -> None:
        self._is_inside_trial = is_inside_trial
        self._lock = threading.RLock()
        self._holder = 0  # identifier of the thread whose command runs; 0: none
        self._afterwards: Callable[[], None] | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the lock and hold it; a thread that holds it may take it again.

        Raises ``RefusedError`` in a plugin that is being loaded: the command that loads it holds the lock.
        """
        self.refuse_inside_trial()
        afterwards = None
        with self._lock:
            before, self._holder = self._holder, threading.get_ident()
            try:
                yield
            finally:
                self._holder = before
                if not before:
                    afterwards, self._afterwards = self._afterwards, None
        if afterwards is not None:
            afterwards()

    def put_off(self, call: Callable[[], None]) -> bool:
        """Run ``call`` after the calling thread's command ends; return false if the thread runs none."""
        if self._holder != threading.get_ident():
            return False
        self._afterwards = call
        return True

    def refuse_inside_trial(self) -> None:
        """Raise ``RefusedError`` if the calling thread executes a plugin's modules or its ``register``."""
        if self._is_inside_trial():
            raise RefusedError(
                "a plugin cannot command its manager while it is being loaded; do it in a handler"
            )


class Inventory:
    """Keeps the status store and the live plugins in step with the plugin directories.

    Only one thread may use it at a time.
    """

    def __init__(self, engine: Engine, pipeline: Pipeline) -> None:
        self._engine = engine
        self._root = engine.root
        self._store = engine.store
        self._pipeline = pipeline
        self._self_writes = engine.self_writes

    def find(self) -> dict[str, PluginDirectory]:
        """Return the plugins, and publish which were added or removed. Raises ``RuntimeDirError``."""
        found = directories.find_plugins(self._root)
        self._forget(status.name for status in self._store.statuses() if status.name not in found)
        self._add_found(found)
        return found

    def _find_some(self, names: Collection[str]) -> dict[str, PluginDirectory]:
        """Return the named plugins, and publish which were added or removed, without listing all plugins."""
        if not self._root.is_dir():  # all plugins are gone with it
            self._forget(status.name for status in self._store.statuses())
            return {}
        found = {name: each for name in names if (each := directories.find_plugin(self._root, name))}
        self._forget(name for name in names if name not in found and self._store.get(name) is not None)
        self._add_found(found)
        return found

    def _add_found(self, found: Mapping[str, PluginDirectory]) -> None:
        for name, directory in found.items():
            if self._store.get(name) is None:
                self._store.put(self._engine.status_of(directory))
                self._store.publish(PluginDiscovered(time.time(), name))

    def find_one(self, name: str) -> PluginDirectory:
        """Return the plugin's directory. Raises ``UnknownPluginError`` and ``RuntimeDirError``."""
        found = self.find()
        if name not in found:
            raise directories.unknown(name, found)
        return found[name]

    def find_on(self, name: str) -> PluginDirectory:
        """Return the directory of an enabled plugin. Raises ``RefusedError`` if the plugin is disabled."""
        directory = self.find_one(name)
        if not self._engine.is_on(directory):
            raise RefusedError(f"{name} is disabled; enable it first")
        return directory

    def take(self, changes: Iterable[PluginChange]) -> set[str]:
        """Bring changed plugins up to date; remove all plugins if the runtime directory is gone.

        Returns the plugins that the watcher must report again when settled.
        """
        changes = list(changes)
        found = self._find_some([change.name for change in changes])
        seen = {change.name: change for change in changes if change.name in found}
        verdicts = {name: self._self_writes.judge(change) for name, change in seen.items()}
        for name, verdict in verdicts.items():
            if verdict == "ignore":
                self._warn_self_writes(found[name], seen[name])
        taken = sorted(name for name, verdict in verdicts.items() if verdict == "take")
        waiting = {name for name, verdict in verdicts.items() if verdict == "wait"}
        return waiting | self.apply((found[name] for name in taken), seen)

    def apply(
        self,
        directories: Iterable[PluginDirectory],
        seen: Mapping[str, PluginChange] = MappingProxyType({}),
        *,
        asked: Mapping[str, str] = MappingProxyType({}),
        fresh: bool = False,
    ) -> set[str]:
        """Unload disabled plugins, load the others in one swap; see ``Pipeline.update``."""
        on: list[PluginDirectory] = []
        for directory in directories:
            if self._engine.is_on(directory):
                on.append(directory)
            else:
                self._switch_off(directory)
        return self._pipeline.update(on, seen, asked=asked, fresh=fresh)

    def rebuild(self, *, force: bool) -> None:
        """Load the plugins that changed or have a fault, or all plugins if there are none of these.

        ``force`` loads all plugins, and compiles every file again. HELD plugins stay HELD.
        """
        loaded, found = self._loaded(), self.find()
        on = [each for each in found.values() if self._engine.is_on(each) and not self.is_held(each.name)]
        reasons = {each.name: why_again(self._store.get(each.name)) for each in on}
        asked = {name: reason or "asked for" for name, reason in reasons.items() if reason or force}
        self.apply(found.values(), asked=asked, fresh=force)
        if not asked and self._loaded() == loaded:
            self._pipeline.update(on, asked=dict.fromkeys(reasons, "asked for"))

    def try_again(self, names: Iterable[str]) -> None:
        """Load the named plugins again, except those that are disabled or HELD."""
        found = self._find_some(list(names))
        on = [each for each in found.values() if self._engine.is_on(each) and not self.is_held(each.name)]
        self._pipeline.update(on, asked={each.name: "what it lacked is installed" for each in on})

    def _loaded(self) -> dict[str, tuple[PluginState, int, str]]:
        """Return each plugin's state, generation and source digest."""
        statuses = self._store.statuses()
        return {status.name: (status.state, status.generation, status.source_digest) for status in statuses}

    def is_held(self, name: str) -> bool:
        """Return whether the plugin is HELD."""
        status = self._store.get(name)
        return status is not None and status.state is PluginState.HELD

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._pipeline.unload(name)
            self._engine.dependencies.forget(name)
            self._store.drop(name)
            self._self_writes.forget(name)
            self._store.publish(PluginRemoved(time.time(), name))

    def _warn_self_writes(self, directory: PluginDirectory, change: PluginChange) -> None:
        live = self._engine.loader.live(directory.name)
        members = live.generation.artifact.manifest.members if live else ()
        served = {member.path: member.sha256 for member in members}
        files = change.source.files if change.source else ()
        own = ", ".join(file.path for file in files if served.get(file.path) != file.sha256)
        self._store.write(
            "warning",
            directory.name,
            f"changes its own files at each load ({own}) and is left as it is until somebody edits it; "
            "what a plugin writes belongs elsewhere, or into [watch] ignore",
        )

    def _switch_off(self, directory: PluginDirectory) -> None:
        status = self._engine.status_of(directory)
        known = self._store.get(directory.name)
        if known is None or known.state is not PluginState.OFF or known.path != status.path:
            self._store.put(status)
            self._pipeline.unload(directory.name)
            self._store.put_not_live(directory.name, PluginState.OFF)
            self._store.publish(PluginDisabled(time.time(), directory.name))


class Holds:
    """Rolls plugins back, holds them, and keeps their history; only one thread may use it at a time."""

    def __init__(self, engine: Engine, pipeline: Pipeline) -> None:
        self._rule = engine.rule
        self._builds = engine.builds
        self._pipeline = pipeline
        self._history = History()
        engine.store.subscribe(self._history.note)

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
        that causes the rollback, if any.

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
            hold = Hold(self._source_digest(directory), chosen[0].digest, reason, why)
            self._pipeline.hold(directory, hold)
        except ArtifactError as error:
            reason = f"the artifact of {directory.name}'s generation {generation} cannot be used: {error}"
            raise RefusedError(f"{reason}; {_choices(entries)}") from error

    def hold_back(self, directory: PluginDirectory, reason: str) -> None:
        """Bar the present source from loading, and hold the plugin.

        The last good version becomes live, if it is another version; otherwise no version is live. Raises
        ``DiscoverError``, ``ArtifactError`` and the errors of ``Pipeline.hold``.
        """
        source = read_source(directory.name, directory.path, self._rule).digest
        fault = Fault("host", directory.name, "Held", reason, time.time())
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
