"""The holds: a plugin kept at a generation chosen by hand, or held back; and what there is to go back to."""

from __future__ import annotations

import time

from msgspec.structs import replace

from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import ArtifactError, DiscoverError, RefusedError
from hotload_tui.core.history import Hold
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.chronicle import Chronicle
from hotload_tui.core.manager.journey import Journey
from hotload_tui.core.plugin import Fault, FileDigest, HistoryEntry
from hotload_tui.core.source import SourceRule, read_source


class Holds:
    """Rolls back, holds and releases; used by one thread at a time."""

    def __init__(self, config: Config, board: Board, builds: Builds, journey: Journey) -> None:
        self._rule = SourceRule(config.watch.ignore)
        self._builds = builds
        self._journey = journey
        self._chronicle = Chronicle()
        board.subscribe(self._chronicle.note)

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return what happened to a plugin in this host, the oldest first."""
        return tuple(
            replace(entry, can_return=bool(entry.generation) and self._builds.is_there(name, entry.digest))
            for entry in self._chronicle.of(name)
        )

    def files_before(self, name: str, digest: str) -> tuple[FileDigest, ...]:
        """Return the files of what served before the artifact ``digest``; empty if that is gone."""
        others = (entry.digest for entry in reversed(self._chronicle.of(name)) if entry.generation)
        before = next((other for other in others if other != digest), "")
        return self._builds.files(name, before) if before else ()

    def go_back(self, directory: PluginDirectory, generation: int, why: Fault) -> None:
        """Let what served before ``generation`` serve again, and hold the plugin there, because of a fault.

        Raises what ``rollback`` raises.
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
        """Let what served as ``generation`` serve again, as a new one, and hold the plugin there.

        ``why`` is the fault of the source, if that is the reason.

        Raises:
            RefusedError: there was no such generation, or its artifact is gone.
            PluginError: it does not load any more; what served serves on.

        """
        entries = self.history(directory.name)
        chosen = [entry for entry in entries if entry.generation == generation != 0]
        if not chosen:
            raise RefusedError(f"{directory.name} has no generation {generation}; {_choices(entries)}")
        try:
            reason = f"rolled back to generation {generation}" + (f": {why.message}" if why else "")
            hold = Hold(self._source_digest(directory), chosen[0].digest, reason, why)
            self._journey.hold(directory, hold)
        except ArtifactError as error:
            reason = f"the artifact of {directory.name}'s generation {generation} cannot be used: {error}"
            raise RefusedError(f"{reason}; {_choices(entries)}") from error

    def hold_back(self, directory: PluginDirectory, reason: str) -> None:
        """Keep the present source from being loaded; the last good serves, if that is another.

        Raises ``DiscoverError`` and ``ArtifactError``.
        """
        source = read_source(directory.name, directory.path, self._rule).digest
        fault = Fault("host", directory.name, "Held", reason, time.time())
        self._builds.bar(directory.name, source, fault)
        hold = self._builds.hold(directory.name, source)
        assert hold is not None
        self._journey.hold(directory, hold)

    def _source_digest(self, directory: PluginDirectory) -> str:
        try:
            return read_source(directory.name, directory.path, self._rule).digest
        except DiscoverError:
            return ""


def _choices(entries: tuple[HistoryEntry, ...]) -> str:
    numbers = [str(entry.generation) for entry in entries if entry.can_return]
    return f"there are {', '.join(numbers)}" if numbers else "there is none to go back to"
