"""The roster: which plugins there are on disk, which of them are on, and what follows when that changes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from hotload_tui.core import discovery
from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import RefusedError
from hotload_tui.core.events import PluginDisabled, PluginDiscovered, PluginRemoved
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.journey import Journey
from hotload_tui.core.manager.ready import unserved
from hotload_tui.core.manager.rounds import Rounds
from hotload_tui.core.plugin import PluginState
from hotload_tui.core.watcher import Change


class Roster:
    """Keeps the board and what serves in step with the directories; used by one thread at a time."""

    def __init__(self, root: Path, config: Config, board: Board, journey: Journey, rounds: Rounds) -> None:
        self._root = root
        self._config = config
        self._board = board
        self._journey = journey
        self._rounds = rounds

    def find(self) -> dict[str, PluginDirectory]:
        """List the plugins, and tell which came and went. Raises ``RuntimeDirError``."""
        found = discovery.find_plugins(self._root)
        self._forget(status.name for status in self._board.statuses() if status.name not in found)
        self._greet(found)
        return found

    def _find_some(self, names: Collection[str]) -> dict[str, PluginDirectory]:
        """List the plugins of these names, and tell which came and went: the cost of one is that of one."""
        if not self._root.is_dir():  # with the whole directory gone, all go
            self._forget(status.name for status in self._board.statuses())
            return {}
        found = {name: each for name in names if (each := discovery.find_plugin(self._root, name))}
        self._forget(name for name in names if name not in found and self._board.get(name) is not None)
        self._greet(found)
        return found

    def _greet(self, found: Mapping[str, PluginDirectory]) -> None:
        for name, directory in found.items():
            if self._board.get(name) is None:
                self._board.put(self._journey.status_of(directory))
                self._board.tell(PluginDiscovered(time.time(), name))

    def find_one(self, name: str) -> PluginDirectory:
        """Return the plugin's directory; raises ``UnknownPluginError`` and ``RuntimeDirError``."""
        found = self.find()
        if name not in found:
            raise discovery.unknown(name, found)
        return found[name]

    def find_on(self, name: str) -> PluginDirectory:
        """Return the directory of a plugin that may run; raises ``RefusedError`` for one that is off."""
        directory = self.find_one(name)
        if not self.is_on(directory):
            raise RefusedError(f"{name} is disabled; enable it first")
        return directory

    def look_at(self, names: Iterable[str]) -> None:
        """Bring the named plugins up to date with the disk; with the whole directory gone, all go."""
        self.take([Change(name) for name in names])

    def take(self, changes: Iterable[Change]) -> set[str]:
        """Bring changed plugins up to date; returns those to hear of again once they have stood still."""
        changes = list(changes)
        found = self._find_some([change.name for change in changes])
        rounds = {change.name: self._rounds.count(change) for change in changes}
        seen = {change.name: change for change in changes if change.name in found}
        waiting = {name for name in seen if self._rounds.is_last(rounds[name]) and seen[name].modified}
        over = {name for name in seen if self._rounds.is_over(rounds[name])}
        for name in over:
            self._say_left(found[name], seen[name])
        taken = sorted(seen.keys() - waiting - over)
        return waiting | self.apply((found[name] for name in taken), seen)

    def apply(
        self, directories: Iterable[PluginDirectory], seen: Mapping[str, Change] = MappingProxyType({})
    ) -> set[str]:
        """Load what is on, in one swap, and unload what is off; returns what ``Journey.update`` does."""
        on = []
        for directory in directories:
            if self.is_on(directory):
                on.append(directory)
            else:
                self._switch_off(directory)
        return self._journey.update(on, seen)

    def rebuild(self, *, force: bool) -> None:
        """Load what changed or fails, and all if nothing did; ``force`` compiles everything anew.

        Who is HELD stays so.
        """
        found, loaded = self.find(), self._loaded()
        on = [each for each in found.values() if self.is_on(each) and not self.is_held(each)]
        again = [each for each in on if force or self._fails(each)]
        self.apply(each for each in found.values() if each not in again)
        self._journey.update(again, again=True, fresh=force)
        if not again and self._loaded() == loaded:
            self._journey.update(on, again=True)

    def try_again(self, names: Iterable[str]) -> None:
        """Load plugins that failed, if they are still on."""
        found = self._find_some(list(names))
        on = [each for each in found.values() if self.is_on(each) and not self.is_held(each)]
        self._journey.update(on, again=True)

    def _loaded(self) -> dict[str, tuple[PluginState, int, str]]:
        """Return what a look at the sources may change of each plugin."""
        statuses = self._board.statuses()
        return {status.name: (status.state, status.generation, status.source_digest) for status in statuses}

    def _fails(self, directory: PluginDirectory) -> bool:
        status = self._board.get(directory.name)
        return status is not None and status.fault is not None

    def is_held(self, directory: PluginDirectory) -> bool:
        """Tell whether the plugin does not follow its source."""
        status = self._board.get(directory.name)
        return status is not None and status.state is PluginState.HELD

    def is_on(self, directory: PluginDirectory) -> bool:
        """Tell whether both the directory's name and the configuration let the plugin run."""
        return directory.enabled and self._config.of(directory.name).enabled

    def unload_all(self) -> None:
        """Take everything out of service, in one swap."""
        for name in self._journey.unload_all():
            status = self._board.get(name)
            if status is not None:
                self._board.put(replace(unserved(status), state=PluginState.NEW))

    def unload(self, name: str, state: PluginState) -> None:
        """Take a plugin out of service."""
        self._journey.unload(name)
        status = self._board.get(name)
        if status is not None:
            self._board.put(replace(unserved(status), state=state))

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._journey.forget(name)
            self._board.drop(name)
            self._rounds.forget(name)
            self._board.tell(PluginRemoved(time.time(), name))

    def _say_left(self, directory: PluginDirectory, change: Change) -> None:
        live = self._journey.live(directory.name)
        members = live.generation.artifact.manifest.members if live else ()
        served = {member.path: member.sha256 for member in members}
        files = change.source.files if change.source else ()
        own = ", ".join(file.path for file in files if served.get(file.path) != file.sha256)
        self._board.write(
            "warning",
            directory.name,
            f"changes its own files at each load ({own}) and is left as it is until somebody edits it; "
            "what a plugin writes belongs elsewhere, or into [watch] ignore",
        )

    def _switch_off(self, directory: PluginDirectory) -> None:
        status = self._journey.status_of(directory)
        known = self._board.get(directory.name)
        if known is None or known.state is not PluginState.OFF or known.path != status.path:
            self._board.put(status)
            self.unload(directory.name, PluginState.OFF)
            self._board.tell(PluginDisabled(time.time(), directory.name))
