"""The journey of a change: read, compile, publish, trial, swap; then, in the background, drain and retire."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiler import Build, Compiler
from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import (
    ArtifactError,
    DiscoverError,
    HotloadError,
    LoadError,
    RefusedError,
    RegisterError,
)
from hotload_tui.core.events import (
    ArtifactRejected,
    PluginCompiled,
    PluginFailed,
    PluginLoaded,
    PluginRetired,
)
from hotload_tui.core.faults import TextOf, fault_of
from hotload_tui.core.history import LastGood
from hotload_tui.core.hooks import HookHost
from hotload_tui.core.loader import LivePlugin, Loader
from hotload_tui.core.manager.board import Board
from hotload_tui.core.plugin import Fault, Phase, PluginState, PluginStatus
from hotload_tui.core.source import Source, decoded, read_source

_BROKEN = (PluginState.FAIL, PluginState.STALE)


class _Ready(Struct, frozen=True):
    """A proven trial that waits for the swap of its batch."""

    trial: LivePlugin
    compile_seconds: float
    source_digest: str
    fault: Fault | None = None
    """Why it is not the newest source that serves; ``None`` when it is."""


class Journey:
    """Brings plugins from source to serving; used by one thread at a time, but for ``start`` and ``stop``."""

    def __init__(self, host: HookHost, config: Config, board: Board) -> None:
        self._host = host
        self._config = config
        self._board = board
        self._compiler = Compiler(Path(config.compiled_dir).absolute())
        self._loader = Loader(host, config)
        self._last_good = LastGood(Path(config.compiled_dir).absolute())
        self._retirer = Retirer(self._loader, board)
        self._published: set[str] = set()
        self._vain: set[tuple[str, str]] = set()  # last good artifacts that did not load in this host

    def start(self) -> None:
        """Begin to retire old generations in the background, and clear up after a host that was killed."""
        self._compiler.remove_leftovers()
        self._retirer.start()

    def stop(self, *, wait: bool = True) -> None:
        """Retire what is queued, and end; without ``wait`` that goes on after the return."""
        self._retirer.stop(wait=wait)

    def is_inside_trial(self) -> bool:
        """Tell whether the calling thread is executing a plugin's modules or its ``register``."""
        return self._loader.is_inside_trial()

    def live(self, name: str) -> LivePlugin | None:
        """Return what serves of a plugin, or ``None``."""
        return self._loader.live(name)

    def live_names(self) -> tuple[str, ...]:
        """Return the plugins that serve, in order of loading."""
        return self._loader.names()

    def update(
        self, directories: Iterable[PluginDirectory], *, again: bool = False, fresh: bool = False
    ) -> None:
        """Bring plugins up to date with their sources, all in one swap.

        ``again`` loads also what has not changed; ``fresh`` compiles it, too.
        """
        directories = list(directories)
        self._refuse_endless(directories)
        ready = []
        for directory in directories:
            one = self._prepare(directory, again=again, fresh=fresh)
            if one is not None:
                ready.append(one)
        if ready:
            self._swap(ready)

    def _refuse_endless(self, directories: list[PluginDirectory]) -> None:
        unloading = self._loader.unloading()
        if any(directory.name == unloading for directory in directories):
            raise RefusedError(f"{unloading} cannot ask for its own load in on_unload: that would never end")
        if self._is_closed and directories:
            raise RefusedError("the manager is being stopped; nothing is loaded any more")

    def build(self, directory: PluginDirectory) -> PluginStatus:
        """Compile only; returns the status, with the fault if it failed."""
        status = self.status_of(directory)
        source: Source | None = None
        try:
            source = read_source(directory.name, directory.path)
            build = self._compile(directory, source, fresh=False)
        except HotloadError as error:
            fault = self._fault(error, directory.name, source)
            self._board.tell(PluginFailed(fault.at, directory.name, fault, status.generation))
            status = replace(status, state=PluginState.FAIL, fault=fault)
        else:
            status = replace(status, source_digest=source.digest, fault=None, compile_seconds=build.seconds)
        self._board.put(status)
        return status

    def unload(self, name: str) -> None:
        """Take a plugin out of service; it is retired in the background."""
        if self._loader.live(name) is not None:
            self._loader.unload(name)
            self._retirer.ring()

    def clean(self, name: str) -> int:
        """Remove a plugin's artifacts; what serves goes on serving. Raises ``ArtifactError``."""
        removed = self._compiler.clean(name)
        self._last_good.record({name: ""})
        return removed

    def status_of(self, directory: PluginDirectory) -> PluginStatus:
        """Return how a plugin stands, at its present place on disk."""
        enabled = directory.enabled and self._config.of(directory.name).enabled
        state = PluginState.NEW if enabled else PluginState.OFF
        known = self._board.get(directory.name)
        if known is None:
            return PluginStatus(directory.name, state, str(directory.path))
        if known.state is PluginState.OFF:
            known = replace(known, state=state)
        return replace(known, path=str(directory.path))

    # ---- read, compile, trial

    def _prepare(self, directory: PluginDirectory, *, again: bool, fresh: bool) -> _Ready | None:
        status = self.status_of(directory)
        digest = ""
        source: Source | None = None
        try:
            source = read_source(directory.name, directory.path)
            digest = source.digest
            if not again and self._is_current(status, digest):
                return None
            self._board.put(replace(status, state=PluginState.BUILD))
            build = self._compile(directory, source, fresh=fresh)
            trial = self._trial(directory, build.artifact)
        except HotloadError as error:
            fault = self._fault(error, directory.name, source)
            if not again and fault.phase == "discover" and _is_same(fault, status.fault):
                return None  # still no plugin there, and said so before
            return self._failed(directory, status, fault, digest)
        seconds = build.seconds if build.compiled or build.reused else 0.0
        return _Ready(trial, seconds, digest)

    def _is_current(self, status: PluginStatus, digest: str) -> bool:
        """Tell whether there is nothing to do: this source serves, or is known to fail."""
        if status.state in _BROKEN and status.digest == digest and self._loader.live(status.name):
            # The source is back at what serves: nothing to load, and nothing is wrong any more.
            self._board.put(replace(status, state=PluginState.OK, source_digest=digest, fault=None))
            return True
        if status.state in _BROKEN:
            return status.source_digest == digest != ""
        return status.digest == digest

    def _compile(self, directory: PluginDirectory, source: Source, *, fresh: bool) -> Build:
        build = self._compiler.compile(directory.path, source, fresh=fresh)
        now = time.time()
        if build.rejected:
            self._board.tell(ArtifactRejected(now, source.name, build.rejected))
        if build.compiled or build.reused:
            self._board.tell(
                PluginCompiled(
                    now,
                    source.name,
                    source.digest,
                    build.compiled,
                    build.reused,
                    build.size,
                    build.seconds,
                    build.warnings,
                )
            )
            for warning in build.warnings:
                self._board.write("warning", source.name, warning)
        return build

    def _trial(self, directory: PluginDirectory, artifact: Artifact) -> LivePlugin:
        configured = self._config.of(directory.name)
        return self._loader.trial(
            directory.name,
            artifact,
            configured.hook_point,
            configured.priority,
            root_dir=directory.path.absolute(),
        )

    def _failed(
        self, directory: PluginDirectory, status: PluginStatus, fault: Fault, digest: str
    ) -> _Ready | None:
        """Note a failure; where nothing serves yet, return the last good artifact's trial."""
        name = directory.name
        live = self._loader.live(name)
        revived = None if live else self._revive(directory)
        serving = live or revived
        state = PluginState.STALE if serving else PluginState.FAIL
        self._board.put(replace(status, state=state, source_digest=digest, fault=fault))
        self._board.tell(PluginFailed(fault.at, name, fault, serving.generation.number if serving else 0))
        return None if revived is None else _Ready(revived, 0.0, digest, fault)

    def _revive(self, directory: PluginDirectory) -> LivePlugin | None:
        """Try the artifact that served last, before this process."""
        digest = self._last_good.of(directory.name)
        if not digest:
            return None
        try:
            return self._trial(directory, self._compiler.open(directory.name, digest))
        except HotloadError as error:
            self._board.write("warning", directory.name, f"the last good version does not load: {error}")
            return None

    def _fault(self, error: HotloadError, plugin: str, source: Source | None = None) -> Fault:
        texts = _texts(source)
        return fault_of(
            error,
            phase=_phase(error),
            plugin=plugin,
            module_path=self._config.module_path,
            text_of=texts,
        )

    # ---- swap and retire

    def _swap(self, ready: list[_Ready]) -> None:
        self._loader.swap([one.trial for one in ready])
        self._retirer.ring()
        for one in ready:
            self._serve(one)
        digests = {one.trial.name: one.trial.generation.artifact.manifest.digest for one in ready}
        try:
            self._last_good.record(digests)
            for name, digest in digests.items():
                self._compiler.prune(name, self._config.keep_generations, in_use=digest)
        except ArtifactError as error:
            self._board.write("warning", "", str(error))

    def _serve(self, one: _Ready) -> None:
        trial = one.trial
        status = self._board.get(trial.name)
        assert status is not None
        digest = trial.generation.artifact.manifest.digest
        self._board.put(
            replace(
                status,
                state=PluginState.OK if one.fault is None else PluginState.STALE,
                digest=digest,
                source_digest=one.source_digest,
                generation=trial.generation.number,
                points=trial.places,
                compile_seconds=one.compile_seconds,
                load_seconds=trial.load_seconds,
                loaded_at=trial.loaded_at,
                reloads=status.reloads + (status.generation != 0),
                fault=one.fault,
                memory="",
            )
        )
        self._board.tell(
            PluginLoaded(
                trial.loaded_at,
                trial.name,
                trial.generation.number,
                digest,
                trial.places,
                trial.load_seconds,
            )
        )


def _phase(error: HotloadError) -> Phase:
    match error:
        case DiscoverError():
            return "discover"
        case LoadError():
            return "load"
        case RegisterError():
            return "register"
        case _:
            return "compile"


def _is_same(fault: Fault, before: Fault | None) -> bool:
    return before is not None and replace(before, at=fault.at) == fault


def _texts(source: Source | None) -> TextOf:
    """Return the texts of a source that was read, by absolute path."""
    contents = {str(Path(source.root, file.path)): file.content for file in source.files} if source else {}

    def text_of(file: str) -> str | None:
        content = contents.get(file)
        return None if content is None else decoded(content)

    return text_of
