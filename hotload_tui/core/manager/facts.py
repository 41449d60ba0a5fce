"""What a console asks for: the state at this moment, and everything about one plugin."""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from hotload_tui.core import discovery
from hotload_tui.core.compiler import description_of
from hotload_tui.core.config import Config
from hotload_tui.core.errors import HotloadError, UnknownPluginError, near
from hotload_tui.core.hooks import HookHost
from hotload_tui.core.loader import LivePlugin
from hotload_tui.core.manager.board import Board
from hotload_tui.core.plugin import (
    FileDigest,
    HookPointStatus,
    HostStatus,
    Invocation,
    PluginDetail,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)
from hotload_tui.core.source import ENTRY, SourceFile, SourceRule, decoded, read_source

_LONGEST = 2000  # characters of a representation


class Facts:
    """Answers from the board, the host and what serves; never waits for a reload."""

    def __init__(
        self,
        host: HookHost,
        config: Config,
        board: Board,
        live: Callable[[str], LivePlugin | None],
    ) -> None:
        self._host = host
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._root = Path(config.runtime_dir).absolute()
        self._compiled = Path(config.compiled_dir).absolute()
        self._board = board
        self._live = live
        self._started_at = time.time()

    def snapshot(self, watcher: WatcherStatus, config_fault: str) -> Snapshot:
        """Return the whole state at this moment."""
        host = HostStatus(
            pid=os.getpid(),
            python=platform.python_version(),
            version=_version(),
            runtime_dir=str(self._root),
            compiled_dir=str(self._compiled),
            started_at=self._started_at,
            config_fault=config_fault,
        )
        return Snapshot(self._board.statuses(), self._host.points(), watcher, host)

    def watching(self, watcher: WatcherStatus) -> WatcherStatus:
        """Return the watcher's status; that there is no directory to watch is told also when it is off."""
        if watcher.state == "off" and not self._root.is_dir():
            return replace(watcher, trouble=f"no plugin directory {near(self._root)}")
        return watcher

    def status(self, name: str) -> PluginStatus:
        """Return how a plugin stands; raises ``UnknownPluginError``."""
        status = self._board.get(name)
        if status is None:
            raise discovery.unknown(name, (each.name for each in self._board.statuses()))
        return status

    def detail(self, name: str) -> PluginDetail:
        """Return everything known about one plugin: of what serves, else of its source."""
        status = self.status(name)
        live = self._live(name)
        if live is not None:
            manifest = live.generation.artifact.manifest
            description = manifest.description
            files = tuple(FileDigest(member.path, member.sha256, member.size) for member in manifest.members)
        else:
            source = _source_of(status, self._rule)
            description = next((description_of(f.content) for f in source if f.path == ENTRY), "")
            files = tuple(FileDigest(file.path, file.sha256, len(file.content)) for file in source)
        return PluginDetail(
            status=status,
            description=description,
            files=files,
            settings=self._config.of(name).settings,
            handlers=tuple(
                HookPointStatus(point.point, own, point.calls)
                for point in self._host.points()
                if (own := tuple(handler for handler in point.handlers if handler.plugin == name))
            ),
            ledger=(*(live.ledger.standing() if live else ()), *self._board.ledger_before(name)),
        )

    def source(self, name: str, file: str, generation: int | None) -> str:
        """Return a file's text: as the serving ``generation`` loaded it, or (``None``) as on disk.

        Raises:
            UnknownPluginError: there is no such plugin, file or generation.

        """
        status = self.status(name)
        live = self._live(name)
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

    def invoke(self, point: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Invocation:
        """Call a hook point; values come as JSON values, or as bounded representations."""
        found = self._host.invoke(point, *args, **kwargs)
        return replace(found, values=tuple(_plain(value) for value in found.values))


def _source_of(status: PluginStatus, rule: SourceRule) -> tuple[SourceFile, ...]:
    try:
        return read_source(status.name, Path(status.path), rule).files
    except HotloadError:
        return ()  # why it cannot be read is the plugin's fault, shown with its status


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
