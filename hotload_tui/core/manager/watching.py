"""The watching: it begins, pauses, goes on and ends; what changes during a pause is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from msgspec.structs import replace

from hotload_tui.core.config import Config
from hotload_tui.core.errors import RefusedError
from hotload_tui.core.events import WatcherChanged
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.installs import Installs
from hotload_tui.core.manager.roster import Roster
from hotload_tui.core.manager.turns import Turns
from hotload_tui.core.plugin import PluginState, WatcherStatus
from hotload_tui.core.source import SourceRule
from hotload_tui.core.watcher import Change, Watcher, hang_for


class Watching:
    """One watcher after the other, and what to do with what they notice."""

    def __init__(
        self,
        config: Config,
        board: Board,
        roster: Roster,
        turns: Turns,
        examined: Callable[[WatcherStatus], WatcherStatus],
        *,
        doubted: set[str],
    ) -> None:
        self._doubted = doubted
        self._root = Path(config.runtime_dir).absolute()
        self._config = config
        self._board = board
        self._roster = roster
        self._turns = turns
        self._examined = examined
        self._watcher = self._new_watcher()
        self._is_on = False
        self._lock = threading.Lock()
        self._is_paused = False
        self._installs = Installs()
        self._waiting: dict[str, str] = {}  # the digest of each that changed; empty if it has no source now

    def start(self) -> None:
        """Begin, if the configuration wants it: no change after the return is missed."""
        self._is_on = True
        if self._config.enable_watch:
            self._watcher = self._new_watcher()
            self._watcher.start()

    def stop(self) -> None:
        """End, and with it a pause; what waited is told to nobody."""
        self._is_on = False
        self._watcher.stop()
        with self._lock:
            self._is_paused = False
            self._waiting.clear()

    def status(self) -> WatcherStatus:
        """Return how it stands, and what waits for the end of a pause."""
        status = self._examined(self._watcher.status())
        with self._lock:
            if not self._is_paused:
                return status
            waiting = sorted(self._waiting.items())
        names = tuple(name for name, digest in waiting if not self._is_known(name, digest))
        return replace(status, paused=True, waiting=names)

    def pause(self) -> WatcherStatus:
        """Keep what changes from now on, if it is not kept already; raises ``RefusedError``."""
        if not self._config.enable_watch:
            raise RefusedError("nothing is watched, so there is nothing to pause")
        with self._lock:
            was_paused, self._is_paused = self._is_paused, True
        if not was_paused:
            self.tell()
        return self.status()

    def resume(self) -> tuple[str, ...]:
        """Bring what changed meanwhile up to date, in one batch, and go on; returns the names.

        Nothing happens if it is not paused.
        """
        with self._turns.taken():
            names = self.status().waiting
            with self._lock:
                was_paused, self._is_paused = self._is_paused, False
                self._waiting.clear()
            if was_paused:
                self.tell()
            if names:
                self._roster.look_at(names)
            return names

    def tell(self) -> None:
        """Publish how it stands."""
        status = self.status()
        self._board.tell(
            WatcherChanged(time.time(), status.state, status.trouble, status.paused, status.waiting)
        )

    def _new_watcher(self) -> Watcher:
        """Return a watcher that has not begun: one that was stopped may still be ending."""
        return Watcher(
            self._root,
            self._noticed,
            on_status=self.tell,
            on_tick=self._try_installed,
            settle_time=self._config.settle_time,
            debounce_time=self._config.debounce_time,
            sweep_interval=self._config.sweep_interval,
            hang=hang_for(self._config.watch.notifier),
            rule=SourceRule(self._config.watch.ignore),
            doubted=self._doubted,
        )

    def _noticed(self, changes: Sequence[Change]) -> Collection[str]:
        """Bring changed plugins up to date; returns those whose failure may be of a half-written file."""
        with self._turns.taken():
            if not self._is_on:
                return ()  # stopped meanwhile
            if not self._keep(changes):
                return self._roster.take(changes)
        self.tell()
        return ()

    def _try_installed(self) -> None:
        """Try those again that failed for want of a module which can be found by now."""
        names = () if self._is_paused else self._installs.ready(self._board.lacking())
        if names:
            with self._turns.taken():
                if self._is_on:
                    self._roster.try_again(names)

    def _keep(self, changes: Sequence[Change]) -> bool:
        """Keep the changes for the end of the pause; false if there is none."""
        with self._lock:
            if self._is_paused:
                for change in changes:
                    self._waiting[change.name] = change.source.digest if change.source else ""
            return self._is_paused

    def _is_known(self, name: str, digest: str) -> bool:
        """Tell whether the board has this change already: by a command, or as it was taken back."""
        status = self._board.get(name)
        if digest:
            return status is not None and status.source_digest == digest
        return status is None or (status.state is PluginState.OFF and Path(status.path).is_dir())
