"""Commands of the manager: the lock that runs one at a time, and the holds and rollbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import time as clock  # a plugin can replace it

from msgspec.structs import replace

from hotload_tui.core.compiled import Hold
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import ArtifactError, DiscoverError, RefusedError
from hotload_tui.core.manager.engine import Engine
from hotload_tui.core.manager.pipeline import Pipeline
from hotload_tui.core.model import Fault, FileDigest, HistoryEntry
from hotload_tui.core.primitives import RLock, get_ident
from hotload_tui.core.source import read_source


class CommandLock:
    """Makes the commands of the manager run one at a time."""

    def __init__(
        self, is_inside_trial: Callable[[], bool], blocked: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """``blocked`` keeps the running command from waiting for the calling thread, which waits for it."""
        self._is_inside_trial = is_inside_trial
        self._blocked = blocked
        self._lock = RLock()
        self._holder = 0  # identifier of the thread whose command runs; 0: none
        self._afterwards: Callable[[], None] | None = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the lock and hold it; a thread that holds it may take it again.

        Raises ``RefusedError`` in a plugin that is being loaded: the command that loads it holds the lock.
        """
        self.refuse_inside_trial()
        afterwards = None
        if not self._lock.acquire(blocking=False):
            with self._blocked():
                self._lock.acquire()
        try:
            before, self._holder = self._holder, get_ident()
            try:
                yield
            finally:
                self._holder = before
                if not before:
                    afterwards, self._afterwards = self._afterwards, None
        finally:
            self._lock.release()
        if afterwards is not None:
            afterwards()

    def put_off(self, call: Callable[[], None]) -> bool:
        """Run ``call`` after the calling thread's command ends; return false if the thread runs none."""
        if self._holder != get_ident():
            return False
        self._afterwards = call
        return True

    def refuse_inside_trial(self) -> None:
        """Raise ``RefusedError`` if the calling thread executes a plugin's modules or its ``register``."""
        if self._is_inside_trial():
            raise RefusedError(
                "a plugin cannot command its manager while it is being loaded; do it in a handler"
            )


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
