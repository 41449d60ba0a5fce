"""Changes that arrive while the manager runs: files of plugins, installed packages, configuration tables."""

from __future__ import annotations

import importlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from msgspec.structs import force_setattr, replace

from hotload_tui.core.checks import is_installed
from hotload_tui.core.config import Config
from hotload_tui.core.config_files import unmatched_entries
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import ConfigError, RefusedError, RuntimeDirError
from hotload_tui.core.events import WatcherChanged
from hotload_tui.core.manager.commands import CommandLock, Inventory
from hotload_tui.core.manager.pipeline import Pipeline
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import PluginState, WatcherStatus
from hotload_tui.core.source import SourceRule
from hotload_tui.core.watch.notifier import notifier_for
from hotload_tui.core.watch.scanner import PluginChange
from hotload_tui.core.watch.watcher import Watcher

_SIGHTS: Final = 2
"""Looks in a row that find the same of a module before it is imported."""

_CACHE: Final = "__pycache__"  # an import that fails writes there, too

_Extent: TypeAlias = tuple[int, ...]


class Installs:
    """Looks for missing modules; half of one could not be loaded, and would stay in the process."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[_Extent, int]] = {}  # what was found of a module, how often in a row

    def ready(self, lacking: Mapping[str, str]) -> list[str]:
        """Return the plugins to be tried again: once, and anew when what was found has changed.

        ``lacking`` has the module that each of them failed for want of.
        """
        before, self._seen = self._seen, {}
        if lacking:
            importlib.invalidate_caches()
        for module in set(lacking.values()):
            extent = _extent(module)
            if extent is not None:
                seen, times = before.get(module, ((), 0))
                self._seen[module] = extent, times + 1 if seen == extent else 1
        return [name for name, module in lacking.items() if self._seen.get(module, ((), 0))[1] == _SIGHTS]


def _extent(module: str) -> _Extent | None:
    """Return figures that change while a module is being installed; ``None`` if there is none.

    What lies beside it counts: a package may come in several folders, and its metadata comes last.
    """
    if not is_installed(module):
        return None
    try:
        spec = importlib.util.find_spec(module)
        roots = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []
        sizes = [path.stat().st_size for root in roots for path in _files(Path(root))]
        beside = [path for path in Path(roots[0]).parent.iterdir() if path.name != _CACHE]
    except Exception:  # foreign code: a finder of somebody else's; or files that come and go
        return ()
    return len(beside), len(sizes), sum(sizes)


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each != _CACHE]
        yield from (Path(folder, name) for name in names)


class Watching:
    """One watcher after the other, and what to do with what they notice."""

    def __init__(
        self,
        config: Config,
        store: StatusStore,
        inventory: Inventory,
        command_lock: CommandLock,
        examined: Callable[[WatcherStatus], WatcherStatus],
        *,
        doubted: set[str],
    ) -> None:
        self._doubted = doubted
        self._root = Path(config.runtime_dir).absolute()
        self._config = config
        self._store = store
        self._inventory = inventory
        self._command_lock = command_lock
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
        with self._command_lock.taken():
            names = self.status().waiting
            with self._lock:
                was_paused, self._is_paused = self._is_paused, False
                self._waiting.clear()
            if was_paused:
                self.tell()
            if names:
                self._inventory.look_at(names)
            return names

    def tell(self) -> None:
        """Publish how it stands."""
        status = self.status()
        self._store.tell(
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
            make_notifier=notifier_for(self._config.watch.notifier),
            rule=SourceRule(self._config.watch.ignore),
            doubted=self._doubted,
        )

    def _noticed(self, changes: Sequence[PluginChange]) -> Collection[str]:
        """Bring changed plugins up to date; returns those whose failure may be of a half-written file."""
        with self._command_lock.taken():
            if not self._is_on:
                return ()  # stopped meanwhile
            if not self._keep(changes):
                return self._inventory.take(changes)
        self.tell()
        return ()

    def _try_installed(self) -> None:
        """Try those again that failed for want of a module which can be found by now."""
        names = () if self._is_paused else self._installs.ready(self._store.lacking())
        if names:
            with self._command_lock.taken():
                if self._is_on:
                    self._inventory.try_again(names)

    def _keep(self, changes: Sequence[PluginChange]) -> bool:
        """Keep the changes for the end of the pause; false if there is none."""
        with self._lock:
            if self._is_paused:
                for change in changes:
                    self._waiting[change.name] = change.source.digest if change.source else ""
            return self._is_paused

    def _is_known(self, name: str, digest: str) -> bool:
        """Tell whether the board has this change already: by a command, or as it was taken back."""
        status = self._store.get(name)
        if digest:
            return status is not None and status.source_digest == digest
        return status is None or (status.state is PluginState.OFF and Path(status.path).is_dir())


_UNHEEDED: Final = {"keys": "a console takes it when it is opened anew"}
_RESTART: Final = "it takes effect when the host is restarted"


class ConfigReload:
    """Takes tables anew; used by one thread at a time.

    ``config.plugins`` is exchanged, for all parts of the manager look there when they load.
    """

    def __init__(self, config: Config, store: StatusStore, inventory: Inventory, pipeline: Pipeline) -> None:
        self._config = config
        self._store = store
        self._inventory = inventory
        self._pipeline = pipeline
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
                self._store.write("error", "", f"the configuration stays as it was: {error}")
            raise
        if self.fault:
            self.fault = ""
            self._store.write("info", "", "the configuration is mended")
        self._tell_unheeded(config)
        self._read = config
        names = {*self._config.plugins, *config.plugins}
        touched = sorted(name for name in names if self._config.of(name) != config.of(name))
        if touched:
            # One assignment: a thread that reads meanwhile sees all tables as they were, or all as they are.
            force_setattr(self._config, "plugins", dict(config.plugins))
            self._store.write("info", "", f"the configuration of {', '.join(touched)} has changed")
            if is_running:
                self._reload(touched)
        return tuple(touched)

    def _reload(self, names: list[str]) -> None:
        try:
            found = self._inventory.find()
        except RuntimeDirError:
            return  # what comes later is loaded with the tables as they are then
        for warning in unmatched_entries(self._config, found):
            self._store.write("warning", "", warning)
        touched = [found[name] for name in names if name in found]
        again = [each for each in touched if self._follows(each)]
        self._inventory.apply(each for each in touched if each not in again)
        self._pipeline.update(again, again=True)

    def _follows(self, directory: PluginDirectory) -> bool:
        """Tell whether a plugin runs, and goes on to: it takes its new table by a reload."""
        is_live = self._pipeline.live(directory.name) is not None
        return is_live and self._inventory.is_on(directory) and not self._inventory.is_held(directory)

    def _tell_unheeded(self, config: Config) -> None:
        if self._read is None:
            return
        for key in config.__struct_fields__:
            before: object = getattr(self._read, key)
            after: object = getattr(config, key)
            if key != "plugins" and before != after:
                self._store.write("warning", "", f"{key} has changed: {_UNHEEDED.get(key, _RESTART)}")
