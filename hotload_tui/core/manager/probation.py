"""Probation: a version whose handlers fail too often soon after its swap goes back to the one before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.hooks import HookHost
from hotload_tui.core.manager.board import Board
from hotload_tui.core.plugin import Fault, PluginState

FEWEST: Final = 3
"""Faults below which no version is judged: one bad argument is no bad version."""


class Probation:
    """Hears of every fault of a handler, in the thread that called it."""

    def __init__(
        self, config: Config, board: Board, host: HookHost, go_back: Callable[[str, int, Fault], None]
    ) -> None:
        """``go_back`` is called in a thread of its own, with plugin, generation, and why."""
        self._config = config
        self._board = board
        self._host = host
        self._go_back = go_back
        self._judged: set[tuple[str, int]] = set()

    def handler_failed(self, fault: Fault, generation: int) -> None:
        """Note a fault, and judge the version."""
        limit = self._config.max_error_rate
        status = self._board.get(fault.plugin)
        if limit is None or status is None or status.generation != generation:
            return
        if status.state is not PluginState.OK or (fault.plugin, generation) in self._judged:
            return
        age = time.time() - status.loaded_at
        figures = [each.status() for each in self._host.handlers_of(fault.plugin)]
        faults, calls = sum(each.faults for each in figures), sum(each.calls for each in figures)
        if age > self._config.probation or faults < FEWEST or faults <= limit * calls:
            return
        self._judged.add((fault.plugin, generation))
        first = status.fault or fault
        reason = f"{faults} of {calls} calls of generation {generation} failed within {age:.1f} s of its swap"
        causes = tuple(replace(each, relation="member") for each in dict.fromkeys([first, fault]))
        why = Fault("hook", fault.plugin, "ErrorRate", reason, fault.at, causes=causes)
        threading.Thread(
            target=self._leave, args=(fault.plugin, generation, why), name="hotload-probation", daemon=True
        ).start()

    def _leave(self, plugin: str, generation: int, why: Fault) -> None:
        try:
            self._go_back(plugin, generation, why)
        except HotloadError as error:
            self._board.write("warning", plugin, f"{why.message}; it serves on: {error}")
