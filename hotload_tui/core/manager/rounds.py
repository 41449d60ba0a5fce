"""Rounds: plugins that write into their own files at each load, found before they run in circles."""

from __future__ import annotations

from msgspec import Struct

from hotload_tui.core.watcher import Change

_ROUNDS = 3
_GRAIN = 0.01  # seconds that the clock of the file system may be behind


class _Loads(Struct):
    began: float = 0.0
    ended: float = 0.0
    rounds: int = 0


class Rounds:
    """Counts, for each plugin, changes in a row that were made while it was being loaded."""

    def __init__(self) -> None:
        self._loads: dict[str, _Loads] = {}

    def loaded(self, name: str, began: float, ended: float) -> None:
        """Note when a plugin was loaded."""
        loads = self._loads.setdefault(name, _Loads())
        loads.began, loads.ended = began, ended

    def forget(self, name: str) -> None:
        """Drop what is known of a plugin that is gone."""
        self._loads.pop(name, None)

    def is_running(self, name: str) -> bool:
        """Tell whether the plugin's last change was made while it was being loaded."""
        loads = self._loads.get(name)
        return loads is not None and loads.rounds > 0

    def count(self, change: Change) -> int:
        """Return the number of rounds, with this change."""
        loads = self._loads.setdefault(change.name, _Loads())
        if change.modified and loads.began - _GRAIN <= change.modified <= loads.ended:
            loads.rounds += 1
        elif change.modified:
            loads.rounds = 0
        return loads.rounds

    @staticmethod
    def is_last(rounds: int) -> bool:
        """Tell whether the change is to be taken only once it has stood still: it may be somebody else's."""
        return rounds == _ROUNDS

    @staticmethod
    def is_over(rounds: int) -> bool:
        """Tell whether the change is not to be taken any more."""
        return rounds > _ROUNDS
