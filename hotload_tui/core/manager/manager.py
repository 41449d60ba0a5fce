"""``HotloadManager``: the commands, the watching, and the facts that a console asks for."""

from __future__ import annotations

import functools
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec.structs import replace

from hotload_tui.core import discovery
from hotload_tui.core.config import Config
from hotload_tui.core.config_loader import unmatched_entries
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import HotloadError, RefusedError, RuntimeDirError, UnknownPluginError, near
from hotload_tui.core.events import (
    PluginCleaned,
    PluginDisabled,
    PluginDiscovered,
    PluginEnabled,
    PluginRemoved,
    Subscriber,
    WatcherChanged,
)
from hotload_tui.core.generation import identifier
from hotload_tui.core.hooks import HookHost
from hotload_tui.core.log import LogCollector
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.journey import Journey
from hotload_tui.core.plugin import (
    FileDigest,
    HookPointStatus,
    HostStatus,
    Invocation,
    LogLine,
    PluginDetail,
    PluginState,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)
from hotload_tui.core.source import decoded, read_source
from hotload_tui.core.watcher import Watcher

_LONGEST = 2000  # characters of a representation


class HotloadManager:
    """Compiles, loads, watches and reloads the plugins of ``config.runtime_dir`` into ``host``.

    Safe to use from any thread; one command runs at a time. As a context manager it starts and stops.
    """

    def __init__(self, host: HookHost, config: Config | None = None) -> None:
        self._host = host
        self._config = config or Config()
        self._root = Path(self._config.runtime_dir).absolute()
        self._board = Board()
        self._journey = Journey(host, self._config, self._board)
        self._watcher = Watcher(
            self._root,
            self._changed,
            on_status=self._watcher_changed,
            settle_time=self._config.settle_time,
            debounce_time=self._config.debounce_time,
            sweep_interval=self._config.sweep_interval,
        )
        self._lock = threading.RLock()
        self._started_at = time.time()
        self._undo: list[Callable[[], None]] = []

    # ---- life

    def start(self) -> None:
        """Scan, compile and load everything, then watch; nothing happens if it runs.

        A runtime directory that does not exist yet is waited for: ``snapshot().watcher.trouble`` says so.
        """
        with self._exclusive():
            if self._undo:
                return
            self._undo = [
                self._host.observe(self._board.handler_failed, self._config.module_path),
                LogCollector(self._config.module_path, self._board.write, self._plugin_of).attach(),
            ]
            self._journey.start()
            # The watcher first: a change between the scan and the first look would be missed.
            if self._config.enable_watch:
                self._watcher.start()
            try:
                self.scan_and_load_all()
            except RuntimeDirError as error:
                self._board.write("error", "", str(error))
            self._watcher_changed()

    def stop(self, *, unload: bool = True) -> None:
        """Stop watching and, unless told otherwise, unload everything in reverse order of loading."""
        self._refuse_inside_trial()  # before the watcher, which may be waiting for this very load
        self._watcher.stop()
        with self._exclusive():
            if unload:
                for name in reversed(self._journey.live_names()):
                    self._unload(name, PluginState.NEW)
        self._journey.stop()
        for undo in reversed(self._undo):
            undo()
        self._undo = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ---- commands

    def scan(self) -> tuple[PluginStatus, ...]:
        """Look which plugins there are; nothing of them is run. Raises ``RuntimeDirError``."""
        with self._exclusive():
            self._find()
            return self._board.statuses()

    def scan_and_load_all(self) -> tuple[PluginStatus, ...]:
        """Bring every plugin up to date with its source. Raises ``RuntimeDirError``."""
        with self._exclusive():
            found = self._find()
            for warning in unmatched_entries(self._config, found):
                self._board.write("warning", "", warning)
            self._apply(found.values())
            return self._board.statuses()

    def load_plugin(self, path: Path) -> PluginStatus:
        """Bring the plugin in the directory ``path`` up to date; raises ``UnknownPluginError`` for none."""
        with self._exclusive():
            directory = self._known(Path(path).name.removeprefix("_"), self._find())
            self._apply([directory])
            return self._status(directory.name)

    def handle_file_change(self, path: Path) -> None:
        """Look at the plugin to which a changed file belongs; nothing happens for other files."""
        try:
            relative = Path(path).absolute().relative_to(self._root.absolute())
        except ValueError:
            return
        name = discovery.name_of(relative.parts[0]) if relative.parts else None
        if name is not None:
            self._changed(frozenset({name}))

    def build(self, name: str | None = None) -> tuple[PluginStatus, ...]:
        """Compile one plugin, or all that are enabled, without loading; faults are in the statuses."""
        with self._exclusive():
            found = self._find()
            chosen = [self._known(name, found)] if name is not None else list(found.values())
            return tuple(
                self._journey.build(each) for each in chosen if name is not None or self._is_on(each)
            )

    def rebuild(self, name: str | None = None, *, force: bool = False) -> tuple[PluginStatus, ...]:
        """Build and load one plugin, or all that changed or fail (all, if none did).

        ``force`` compiles everything anew. Returns the statuses after the swap.
        """
        with self._exclusive():
            found = self._find()
            if name is not None:
                directory = self._known(name, found)
                if not self._is_on(directory):
                    raise RefusedError(f"{name} is disabled; enable it first")
                self._journey.update([directory], again=True, fresh=force)
                return (self._status(name),)
            loaded = self._loaded()
            failing = [d for d in found.values() if self._is_on(d) and self._status(d.name).fault]
            self._apply(directory for directory in found.values() if directory not in failing)
            self._journey.update(failing, again=True, fresh=force)
            if force or (self._loaded() == loaded and not failing):
                self._journey.update(filter(self._is_on, found.values()), again=True, fresh=force)
            return self._board.statuses()

    def _loaded(self) -> dict[str, tuple[PluginState, int, str]]:
        """Return what a look at the sources may change of each plugin."""
        statuses = self._board.statuses()
        return {status.name: (status.state, status.generation, status.source_digest) for status in statuses}

    def enable(self, name: str) -> PluginStatus:
        """Rename ``_name`` to ``name`` and load it; nothing happens if it is on."""
        with self._exclusive():
            directory = self._known(name, self._find())
            if directory.enabled and not self._config.of(name).enabled:
                raise RefusedError(
                    f"{name} is switched off by enabled = false in hotload.toml; change it there"
                )
            if not directory.enabled:
                directory = discovery.enable(directory)
                self._board.tell(PluginEnabled(time.time(), name))
                self._apply([directory])
            return self._status(name)

    def disable(self, name: str) -> PluginStatus:
        """Unload a plugin and rename ``name`` to ``_name``; nothing happens if it is off."""
        with self._exclusive():
            directory = self._known(name, self._find())
            if directory.enabled:
                self._apply([discovery.disable(directory)])
            return self._status(name)

    def clean(self, name: str | None = None) -> int:
        """Remove the artifacts of one plugin, or of all; returns how many. What serves goes on serving."""
        with self._exclusive():
            found = self._find()
            names = [self._known(name, found).name] if name is not None else sorted(found)
            removed = 0
            for each in names:
                count = self._journey.clean(each)
                removed += count
                if count:
                    self._board.tell(PluginCleaned(time.time(), each, count))
            return removed

    def new(self, name: str) -> PluginStatus:
        """Make a plugin from the template and load it; raises ``UsageError`` for a name it cannot have."""
        with self._exclusive():
            self._apply([discovery.create(self._root, name)])
            return self._status(name)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point; values come as JSON values, or as bounded representations."""
        found = self._host.invoke(point, *args, **kwargs)
        return replace(found, values=tuple(_plain(value) for value in found.values))

    # ---- facts

    def snapshot(self) -> Snapshot:
        """Return the whole state at this moment; never waits for a reload."""
        host = HostStatus(
            pid=os.getpid(),
            python=platform.python_version(),
            version=_version(),
            runtime_dir=str(self._root),
            compiled_dir=str(Path(self._config.compiled_dir).absolute()),
            started_at=self._started_at,
        )
        return Snapshot(self._board.statuses(), self._host.points(), self._watcher_status(), host)

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Hear every event, in the thread where it happens; returns the undo."""
        return self._board.subscribe(subscriber)

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return self._board.log(since)

    def detail(self, name: str) -> PluginDetail:
        """Return everything known about one plugin."""
        status = self._status(name)
        live = self._journey.live(name)
        return PluginDetail(
            status=status,
            description=live.generation.artifact.manifest.description if live else "",
            files=self._files(status),
            settings=self._config.of(name).settings,
            handlers=tuple(
                HookPointStatus(point.point, own, point.calls)
                for point in self._host.points()
                if (own := tuple(handler for handler in point.handlers if handler.plugin == name))
            ),
        )

    def source(self, name: str, file: str, generation: int | None = None) -> str:
        """Return a file's text: as the serving ``generation`` loaded it, or (``None``) as on disk.

        Raises:
            UnknownPluginError: there is no such plugin, file or generation.

        """
        status = self._status(name)
        live = self._journey.live(name)
        try:
            if generation is None:
                content = _own_file(Path(status.path), file).read_bytes()
            elif live is not None and live.generation.number == generation:
                content = live.generation.artifact.source(file)
            else:
                raise UnknownPluginError(f"{name} has no generation {generation} in this host")
        except (OSError, KeyError) as error:
            raise UnknownPluginError(f"{name} has no file {file}") from error
        return decoded(content) if file.endswith(".py") else content.decode("utf-8", "replace")

    def _files(self, status: PluginStatus) -> tuple[FileDigest, ...]:
        live = self._journey.live(status.name)
        if live is not None:
            members = live.generation.artifact.manifest.members
            return tuple(FileDigest(member.path, member.sha256, member.size) for member in members)
        try:
            source = read_source(status.name, Path(status.path))
        except HotloadError:
            return ()  # why it cannot be read is the plugin's fault, shown with its status
        return tuple(FileDigest(file.path, file.sha256, len(file.content)) for file in source.files)

    def _watcher_status(self) -> WatcherStatus:
        status = self._watcher.status()
        if status.state == "off" and not self._root.is_dir():
            return replace(status, trouble=f"no plugin directory {near(self._root)}")
        return status

    def _plugin_of(self, module_name: str) -> str:
        """Return the plugin whose modules go by ``module_name``."""
        names = (status.name for status in self._board.statuses())
        return next((name for name in names if identifier(name) == module_name), module_name)

    def _watcher_changed(self) -> None:
        status = self._watcher_status()
        self._board.tell(WatcherChanged(time.time(), status.state, status.trouble))

    # ---- what the disk says

    def _changed(self, names: frozenset[str]) -> None:
        """Bring the named plugins up to date with the disk; the watcher calls this."""
        with self._exclusive():
            try:
                found = self._find()
            except RuntimeDirError:
                found = {}
                self._forget(status.name for status in self._board.statuses())
            self._apply(found[name] for name in sorted(names & found.keys()))

    def _find(self) -> dict[str, PluginDirectory]:
        """List the plugins, and tell which came and went. Raises ``RuntimeDirError``."""
        found = discovery.find_plugins(self._root)
        self._forget(status.name for status in self._board.statuses() if status.name not in found)
        for name, directory in found.items():
            if self._board.get(name) is None:
                self._board.put(self._journey.status_of(directory))
                self._board.tell(PluginDiscovered(time.time(), name))
        return found

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._journey.unload(name)
            self._board.drop(name)
            self._board.tell(PluginRemoved(time.time(), name))

    def _apply(self, directories: Iterable[PluginDirectory]) -> None:
        """Load what is on, in one swap, and unload what is off."""
        on = []
        for directory in directories:
            if self._is_on(directory):
                on.append(directory)
            else:
                self._switch_off(directory)
        self._journey.update(on)

    def _switch_off(self, directory: PluginDirectory) -> None:
        status = self._status(directory.name)
        if status.state is not PluginState.OFF or status.path != str(directory.path):
            self._unload(directory.name, PluginState.OFF)
            self._board.put(replace(self._status(directory.name), path=str(directory.path)))
            self._board.tell(PluginDisabled(time.time(), directory.name))

    def _unload(self, name: str, state: PluginState) -> None:
        self._journey.unload(name)
        status = self._status(name)
        self._board.put(
            replace(
                status,
                state=state,
                digest="",
                generation=0,
                points=(),
                loaded_at=0.0,
                load_seconds=0.0,
                fault=None,
            )
        )

    def _is_on(self, directory: PluginDirectory) -> bool:
        return directory.enabled and self._config.of(directory.name).enabled

    def _known(self, name: str, found: dict[str, PluginDirectory]) -> PluginDirectory:
        if name not in found:
            raise discovery.unknown(name, found)
        return found[name]

    def _status(self, name: str) -> PluginStatus:
        status = self._board.get(name)
        if status is None:
            raise discovery.unknown(name, (each.name for each in self._board.statuses()))
        return status

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One command at a time; a plugin that is being loaded cannot give any: its load holds the lock."""
        self._refuse_inside_trial()
        with self._lock:
            yield

    def _refuse_inside_trial(self) -> None:
        if self._journey.is_inside_trial():
            raise RefusedError(
                "a plugin cannot command its manager while it is being loaded; do it in a handler"
            )


def _own_file(root: Path, file: str) -> Path:
    """Return the path of a plugin's file; ``KeyError`` for one that lies elsewhere."""
    parts = Path(file).parts
    if ".." in parts or Path(file).is_absolute():
        raise KeyError(file)
    return root / file


@functools.cache
def _version() -> str:
    from importlib.metadata import version  # 20 ms, which no command pays that asks for no snapshot

    return version("hotload-tui")


def _plain(value: object) -> object:
    """Return ``value`` as JSON values; where it has none, a bounded representation."""
    try:
        plain: object = msgspec.json.decode(msgspec.json.encode(value))
    except Exception:  # foreign code: the value is the plugin's
        return _bounded(value)
    return plain


def _bounded(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # foreign code, as above
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
