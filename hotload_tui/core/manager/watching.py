"""Changes while the manager runs: plugin files, installed packages and configuration tables."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic  # a plugin can replace it
from time import time as clock
from typing import Final, TypeAlias

from msgspec.structs import force_setattr, replace

from hotload_tui.core.checks import is_installed
from hotload_tui.core.compiled import has_room
from hotload_tui.core.config import Config
from hotload_tui.core.config_files import unmatched_entries
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import ConfigError, RefusedError, RuntimeDirError, near
from hotload_tui.core.events import WatcherChanged
from hotload_tui.core.interpreter import Interrupted
from hotload_tui.core.manager.engine import CommandLock, Engine
from hotload_tui.core.manager.pipeline import Pipeline
from hotload_tui.core.model import PluginState, WatcherStatus
from hotload_tui.core.module_names import installed_spec, look_again
from hotload_tui.core.native_build import COMPILER, c_compiler
from hotload_tui.core.watch.notifier import notifier_for
from hotload_tui.core.watch.scanner import PluginChange
from hotload_tui.core.watch.watcher import Watcher

_SIGHTS: Final = 2
"""Consecutive checks that must find a module unchanged before a plugin imports it."""

_CACHE: Final = "__pycache__"  # a failed import also writes to this folder

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
"""Seconds between two attempts to write an artifact that did not fit although the disk had some room."""

_Extent: TypeAlias = tuple[int, ...]


class Installs:
    """Finds missing modules, or programs, once their installation is complete.

    A half-installed module could not load, and would stay in the process.
    """

    def __init__(self, extent: Callable[[str], _Extent | None] | None = None) -> None:
        """``extent`` returns figures that change during an installation; by default, of a module."""
        self._extent = extent or _extent
        self._seen: dict[str, tuple[_Extent, int]] = {}  # extent of a module, and times found in a row

    def ready(self, lacking: Mapping[str, str]) -> list[str]:
        """Return the plugins to try again: once per module, and again each time the module has changed.

        ``lacking`` contains, for each failed plugin, the name of its missing module (or program).
        """
        before, self._seen = self._seen, {}
        if lacking:
            look_again()
        for module in set(lacking.values()):
            extent = self._extent(module)
            if extent is not None:
                seen, times = before.get(module, ((), 0))
                self._seen[module] = extent, times + 1 if seen == extent else 1
        return [name for name, module in lacking.items() if self._seen.get(module, ((), 0))[1] == _SIGHTS]


def _extent(module: str) -> _Extent | None:
    """Return figures that change while a module is being installed; ``None`` if it is missing.

    The entries beside the module count, because a package may have several folders, and its metadata comes
    last.
    """
    if not is_installed(module):
        return None
    try:
        spec = installed_spec(module)
        # A folder without ``__init__.py`` has no origin.
        roots = [*(spec.submodule_search_locations or ()), *filter(None, [spec.origin])] if spec else []
        sizes = [path.stat().st_size for root in roots for path in _files(Path(root))]
        beside = [path for path in Path(roots[0]).parent.iterdir() if path.name != _CACHE]
    except Exception:  # foreign code: an import finder; or files that vanish
        return ()
    return len(beside), len(sizes), sum(sizes)


def _extent_of_program(program: str) -> _Extent | None:
    """Return figures that change while a program is being installed; ``None`` if it is not on the PATH."""
    path = c_compiler() if program == COMPILER else shutil.which(program)
    try:
        facts = Path(path).stat() if path else None
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts else None


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each != _CACHE]
        yield from (Path(folder, name) for name in names)


class Watching:
    """Runs the watcher, and brings the plugins up to date with the changes that it reports."""

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline,
        command_lock: CommandLock,
    ) -> None:
        self._engine = engine
        self._config = engine.config
        self._store = engine.store
        self._pipeline = pipeline
        self._command_lock = command_lock
        self.doubted: set[str] = set()
        """Plugins that were enabled or disabled: the watcher looks at them again, and so misses no toggle."""
        self._watcher = self._new_watcher()
        self._is_on = False
        self._lock = threading.Lock()
        self._is_paused = False
        self._installs = Installs()
        self._programs = Installs(_extent_of_program)
        self._write_at, self._write_pause = 0.0, _FIRST_PAUSE
        self._waiting: dict[str, str] = {}  # digest of each changed plugin; empty: it has no source

    def start(self) -> None:
        """Start watching if the configuration enables it; no change after the return is missed."""
        self._is_on = True
        if self._config.enable_watch:
            self._watcher = self._new_watcher()
            self._watcher.start()

    def stop(self) -> None:
        """Stop watching, end a pause, and drop the collected changes."""
        self._is_on = False
        self._watcher.stop()
        with self._lock:
            self._is_paused = False
            self._waiting.clear()

    def status(self) -> WatcherStatus:
        """Return the watcher's status, with the plugins that wait for the end of a pause."""
        status, root = self._watcher.status(), self._engine.root
        if status.state == "off" and not root.is_dir() and not self._engine.rule.layout.packages:
            status = replace(status, trouble=f"no plugin directory {near(root)}")
        with self._lock:
            if not self._is_paused:
                return status
            waiting = sorted(self._waiting.items())
        names = tuple(name for name, digest in waiting if not self._is_known(name, digest))
        return replace(status, paused=True, waiting=names)

    def pause(self) -> WatcherStatus:
        """Collect changes from now on. Raises ``RefusedError`` if the configuration disables watching."""
        if not self._config.enable_watch:
            raise RefusedError("nothing is watched, so there is nothing to pause")
        with self._lock:
            was_paused, self._is_paused = self._is_paused, True
        if not was_paused:
            self.publish_status()
        return self.status()

    def resume(self) -> tuple[str, ...]:
        """End the pause, and bring the changed plugins up to date in one batch; return their names.

        Does nothing if the watching is not paused.
        """
        with self._command_lock.taken():
            names = self.status().waiting
            with self._lock:
                was_paused, self._is_paused = self._is_paused, False
                self._waiting.clear()
            if was_paused:
                self.publish_status()
            if names:
                self._pipeline.take(map(PluginChange, names))
            return names

    def publish_status(self) -> None:
        """Publish the watcher's status."""
        status = self.status()
        self._store.publish(
            WatcherChanged(clock(), status.state, status.trouble, status.paused, status.waiting)
        )

    def _new_watcher(self) -> Watcher:
        """Return a new watcher, because the threads of a stopped watcher may still be ending."""
        return Watcher(
            self._engine.root,
            self._noticed,
            on_status=self.publish_status,
            on_tick=self._try_failed,
            settle_time=self._config.settle_time,
            debounce_time=self._config.debounce_time,
            sweep_interval=self._config.sweep_interval,
            make_notifier=notifier_for(self._config.watch.notifier),
            rule=self._engine.rule,
            doubted=self.doubted,
        )

    def _noticed(self, changes: Sequence[PluginChange]) -> Collection[str]:
        """Bring changed plugins up to date; return those that the watcher must report again when settled."""
        with self._command_lock.taken():
            if not self._is_on:
                return ()  # stopped meanwhile
            if not self._keep(changes):
                return self._pipeline.take(changes)
        self.publish_status()
        return ()

    def _try_failed(self) -> None:
        """Try plugins again that lack nothing any more: a module, a program, or room for the artifact."""
        if self._is_paused:
            return
        self._try(self._installed(), "what it lacked is installed")
        self._try(self._programs.ready(self._store.lacking_programs()), "what it lacked is installed")
        self._try(self._engine.gates.to_repeat(), "its test has changed")
        unwritten = self._store.unwritten()
        if not unwritten:
            self._write_pause = _FIRST_PAUSE
        elif monotonic() >= self._write_at and has_room(Path(self._config.compiled_dir)):
            self._write_at = monotonic() + self._write_pause  # there may be room for a small one only
            self._write_pause = min(2 * self._write_pause, _LONGEST_PAUSE)
            self._try(unwritten, "there is room for it now")

    def _installed(self) -> list[str]:
        """Return the plugins whose missing module is installed now."""
        lacking = self._store.lacking()
        if not lacking:
            return self._installs.ready(lacking)
        try:
            with self._engine.loader.stall_watch.limited():
                return self._installs.ready(lacking)
        except (Exception, Interrupted):  # foreign code: an import finder; the next tick looks again
            return []

    def _try(self, names: Collection[str], reason: str) -> None:
        if names:
            with self._command_lock.taken():
                if self._is_on:
                    self._pipeline.try_again(names, reason)

    def _keep(self, changes: Sequence[PluginChange]) -> bool:
        """Collect the changes for the end of the pause; return false if there is no pause."""
        with self._lock:
            if self._is_paused:
                for change in changes:
                    self._waiting[change.name] = change.source.digest if change.source else ""
            return self._is_paused

    def _is_known(self, name: str, digest: str) -> bool:
        """Return whether the status store matches this change: a command loaded it, or it was reverted."""
        status = self._store.get(name)
        if digest:
            return status is not None and status.source_digest == digest
        return status is None or (status.state is PluginState.OFF and Path(status.path).exists())


_UNHEEDED: Final = {"keys": "a console reads it when it is opened again"}
_RESTART: Final = "it takes effect when the host is restarted"


class ConfigReload:
    """Applies changed configuration tables to the plugins; only one thread may use it at a time.

    It replaces ``config.plugins``, because all parts of the manager read the tables there at each load.
    """

    def __init__(self, engine: Engine, pipeline: Pipeline) -> None:
        self._engine = engine
        self._config = engine.config
        self._store = engine.store
        self._pipeline = pipeline
        self._read: Config | None = None  # the configuration that was read last
        self.fault = ""
        """The error of the last read; empty if there is none."""

    def take(self, read: Callable[[], Config], *, is_running: bool) -> tuple[str, ...]:
        """Read a configuration and apply its plugin tables; return the plugins whose tables changed.

        These plugins reload if the manager ``is_running``.

        Raises:
            ConfigError: the configuration is invalid; no table changes.

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
            self._store.write("info", "", "the configuration is fixed")
        self._warn_unheeded(config)
        self._read = config
        names = {*self._config.plugins, *config.plugins}
        touched = sorted(name for name in names if self._config.of(name) != config.of(name))
        if touched:
            # One assignment: another thread sees either all old tables or all new tables.
            force_setattr(self._config, "plugins", dict(config.plugins))
            self._store.write("info", "", f"the configuration of {', '.join(touched)} has changed")
            if is_running:
                self._reload(touched)
        return tuple(touched)

    def _reload(self, names: list[str]) -> None:
        try:
            found = self._pipeline.find()
        except RuntimeDirError:
            return  # plugins found later load with the tables of that time
        for warning in unmatched_entries(self._config, found):
            self._store.write("warning", "", warning)
        touched = [found[name] for name in names if name in found]
        again = [each.name for each in touched if self._follows(each)]
        self._pipeline.update(touched, asked=dict.fromkeys(again, "its configuration changed"))

    def _follows(self, directory: PluginDirectory) -> bool:
        """Return whether a plugin is live, enabled and not HELD, so that a reload applies its table."""
        is_live = self._engine.loader.live(directory.name) is not None
        return is_live and self._engine.is_on(directory) and not self._pipeline.is_held(directory.name)

    def _warn_unheeded(self, config: Config) -> None:
        if self._read is None:
            return
        for key in config.__struct_fields__:
            before: object = getattr(self._read, key)
            after: object = getattr(config, key)
            if key not in ("plugins", "database") and before != after:
                self._store.write("warning", "", f"{key} has changed: {_UNHEEDED.get(key, _RESTART)}")
