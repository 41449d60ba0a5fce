"""The switches: enable, disable and clean, each of which can be taken back."""

from __future__ import annotations

import time

from hotload_tui.core import discovery
from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import RefusedError
from hotload_tui.core.events import PluginCleaned, PluginEnabled
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.roster import Roster
from hotload_tui.core.manager.undo import Undo


class Switches:
    """Carries out commands that can be taken back; used by one thread at a time."""

    def __init__(
        self, config: Config, board: Board, builds: Builds, roster: Roster, doubted: set[str]
    ) -> None:
        """Put who is switched into ``doubted``: it may be switched back before the watcher has looked."""
        self._doubted = doubted
        self._config = config
        self._board = board
        self._builds = builds
        self._roster = roster
        self._undo = Undo()

    def enable(self, name: str) -> None:
        """Rename ``_name`` to ``name`` and load it, or release it if it is HELD; else nothing happens."""
        directory = self._roster.find_one(name)
        if directory.enabled and not self._config.of(name).enabled:
            raise RefusedError(f"{name} is switched off by enabled = false in hotload.toml; change it there")
        if self._switch_on(directory):
            self._undo.add(f"enable {name}", lambda: self._switch_off(self._roster.find_one(name)))
        elif self._roster.is_held(directory):
            self.release(name)

    def disable(self, name: str) -> None:
        """Unload a plugin and rename ``name`` to ``_name``; nothing happens if it is off."""
        if self._switch_off(self._roster.find_one(name)):
            self._undo.add(f"disable {name}", lambda: self._switch_on(self._roster.find_one(name)))

    def release(self, name: str) -> None:
        """Let a HELD plugin follow its source again; nothing happens to another."""
        directory = self._roster.find_one(name)
        self._builds.let_go(name, "asked for")
        self._builds.unbar(name, "asked for")
        self._roster.apply([directory])

    def clean(self, name: str | None) -> int:
        """Remove the artifacts of one plugin, or all, also of plugins that are gone; returns how many."""
        if name is not None:
            name = self._roster.find_one(name).name
        else:
            self._roster.find()
        removed, undo = self._builds.clean(name)
        if removed:
            self._undo.add(f"clean {name}" if name else "clean of all", undo)
        for each, count in removed.items():
            self._board.tell(PluginCleaned(time.time(), each, count))
        return sum(removed.values())

    def undo(self) -> str:
        """Take back the last of these, and return what it was; raises ``RefusedError``."""
        command = self._undo.last()
        self._board.write("info", "", f"undone: {command}")
        return command

    def _switch_on(self, directory: PluginDirectory) -> bool:
        self._doubted.add(directory.name)
        enabled = discovery.enable(directory)
        if enabled is not directory:
            self._board.tell(PluginEnabled(time.time(), enabled.name))
            self._roster.apply([enabled])
        return enabled is not directory

    def _switch_off(self, directory: PluginDirectory) -> bool:
        if directory.enabled:
            self._doubted.add(directory.name)
            self._roster.apply([discovery.disable(directory)])
        return directory.enabled
