"""The tables of plugins in the configuration, which may change while the manager runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import force_setattr

from hotload_tui.core.config import Config
from hotload_tui.core.config_loader import unmatched_entries
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import ConfigError, RuntimeDirError
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.journey import Journey
from hotload_tui.core.manager.roster import Roster

_UNHEEDED: Final = {"keys": "a console takes it when it is opened anew"}
_RESTART: Final = "it takes effect when the host is restarted"


class Tables:
    """Takes tables anew; used by one thread at a time.

    ``config.plugins`` is exchanged, for all parts of the manager look there when they load.
    """

    def __init__(self, config: Config, board: Board, roster: Roster, journey: Journey) -> None:
        self._config = config
        self._board = board
        self._roster = roster
        self._journey = journey
        self._read: Config | None = None  # what was read last
        self.fault = ""
        """What is wrong with what should have been read last; empty if nothing is."""

    def take(self, read: Callable[[], Config], *, is_running: bool) -> tuple[str, ...]:
        """Read a configuration and take its tables; returns the plugins that they touch.

        They are loaded anew if the manager ``is_running``.

        Raises:
            ConfigError: it cannot be read; nothing has changed.

        """
        try:
            config = read()
        except ConfigError as error:
            if self.fault != str(error):
                self.fault = str(error)
                self._board.write("error", "", f"the configuration stays as it was: {error}")
            raise
        if self.fault:
            self.fault = ""
            self._board.write("info", "", "the configuration is mended")
        self._tell_unheeded(config)
        self._read = config
        names = {*self._config.plugins, *config.plugins}
        touched = sorted(name for name in names if self._config.of(name) != config.of(name))
        if touched:
            # One assignment: a thread that reads meanwhile sees all tables as they were, or all as they are.
            force_setattr(self._config, "plugins", dict(config.plugins))
            self._board.write("info", "", f"the configuration of {', '.join(touched)} has changed")
            if is_running:
                self._reload(touched)
        return tuple(touched)

    def _reload(self, names: list[str]) -> None:
        try:
            found = self._roster.find()
        except RuntimeDirError:
            return  # what comes later is loaded with the tables as they are then
        for warning in unmatched_entries(self._config, found):
            self._board.write("warning", "", warning)
        touched = [found[name] for name in names if name in found]
        again = [each for each in touched if self._follows(each)]
        self._roster.apply(each for each in touched if each not in again)
        self._journey.update(again, again=True)

    def _follows(self, directory: PluginDirectory) -> bool:
        """Tell whether a plugin runs, and goes on to: it takes its new table by a reload."""
        is_live = self._journey.live(directory.name) is not None
        return is_live and self._roster.is_on(directory) and not self._roster.is_held(directory)

    def _tell_unheeded(self, config: Config) -> None:
        if self._read is None:
            return
        for key in config.__struct_fields__:
            before: object = getattr(self._read, key)
            after: object = getattr(config, key)
            if key != "plugins" and before != after:
                self._board.write("warning", "", f"{key} has changed: {_UNHEEDED.get(key, _RESTART)}")
