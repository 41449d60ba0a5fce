"""The journey of a change: read, compile, publish, trial, swap; then, in the background, drain and retire."""

from __future__ import annotations

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
    PluginMended,
)
from hotload_tui.core.faults import TextOf, fault_of
from hotload_tui.core.history import LastGood
from hotload_tui.core.hooks import HookHost
from hotload_tui.core.loader import LivePlugin, Loader
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.retirer import Retirer
from hotload_tui.core.plugin import Fault, Phase, PluginState, PluginStatus
from hotload_tui.core.source import Source, check_entry, decoded, read_source

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
        self._config = config
        self._board = board
        self._compiler = Compiler(Path(config.compiled_dir).absolute())
        self._loader = Loader(host, config)
        self._last_good = LastGood(Path(config.compiled_dir).absolute())
        self._retirer = Retirer(self._loader, board)
        self._is_closed = False
        self._published: set[str] = set()  # plugins with new artifacts since the last pruning
        self._vain: set[tuple[str, str]] = set()  # last good artifacts that did not load in this host

    def start(self) -> None:
        """Begin to retire old generations in the background, and clear up after a host that was killed."""
        self._is_closed = False
        self._compiler.remove_leftovers()
        self._retirer.start()

    def close(self) -> None:
        """Refuse loads until ``stop`` has ended: nobody would retire what an ``on_unload`` loads now."""
        self._is_closed = True

    def stop(self) -> None:
        """Retire what is queued, and end."""
        self._retirer.stop()
        if self._loader.unloading() is None:
            self._is_closed = False

    def is_inside_trial(self) -> bool:
        """Tell whether the calling thread is executing a plugin's modules or its ``register``."""
        return self._loader.is_inside_trial()

    def look_at_held(self) -> None:
        """Have somebody look whether old generations that were held are freed by now; does not wait."""
        self._retirer.ask()

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
        self._refuse_endless(directories, again=again)
        ready = []
        for directory in directories:
            one = self._prepare(directory, again=again, fresh=fresh)
            if one is not None:
                ready.append(one)
        if ready:
            self._swap(ready)
        self._prune()

    def _refuse_endless(self, directories: list[PluginDirectory], *, again: bool) -> None:
        unloading = self._loader.unloading()
        if again and any(directory.name == unloading for directory in directories):
            raise RefusedError(f"{unloading} cannot ask for its own load in on_unload: that would never end")
        if self._is_closed and directories:
            raise RefusedError("the manager is being stopped; nothing is loaded any more")

    def look(self, directory: PluginDirectory) -> None:
        """Say of a plugin that is not loaded whether it has an entry; no code is read."""
        status = self.status_of(directory)
        if status.state is not PluginState.NEW and (status.fault is None or status.fault.phase != "discover"):
            return
        try:
            check_entry(directory.name, directory.path)
        except DiscoverError as error:
            fault = self._fault(error, directory.name)
            if not _is_same(fault, status.fault):
                self._put_failed(status, fault)
        else:
            if status.state is PluginState.FAIL:
                self._board.put(replace(status, state=PluginState.NEW, fault=None))

    def build(self, directory: PluginDirectory) -> PluginStatus:
        """Compile only; returns the status, with the fault if it failed. What serves keeps its own status."""
        status = self.status_of(directory)
        source: Source | None = None
        try:
            source = read_source(directory.name, directory.path)
            build = self._compile(directory, source, fresh=False)
        except HotloadError as error:
            return self._put_failed(status, self._fault(error, directory.name, source))
        self._prune()
        if status.generation:
            return replace(status, compile_seconds=build.seconds)
        state = PluginState.NEW if status.state is PluginState.FAIL else status.state
        built = replace(
            status, state=state, source_digest=source.digest, fault=None, compile_seconds=build.seconds
        )
        self._board.put(built)
        return built

    def _put_failed(self, status: PluginStatus, fault: Fault) -> PluginStatus:
        """Note a failure that changes nothing for what serves."""
        failed = replace(status, state=PluginState.FAIL, fault=fault)
        if not status.generation:
            self._board.put(failed)
        self._board.tell(PluginFailed(fault.at, status.name, fault, status.generation))
        return failed

    def unload(self, name: str) -> None:
        """Take a plugin out of service; it is retired in the background."""
        if self._loader.live(name) is not None:
            self._loader.unload(name)
            self._retirer.ring()

    def clean(self, name: str | None = None) -> dict[str, int]:
        """Remove the artifacts of a plugin, or all there are; returns how many of each.

        What serves goes on serving. Raises ``ArtifactError``.
        """
        if name is None:
            self._last_good.forget()
            return self._compiler.clean_all()
        self._last_good.forget(name)
        removed = self._compiler.clean(name)
        return {name: removed} if removed else {}

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
            is_known = fault.phase == "discover" and _is_same(fault, status.fault)
            if is_known and not again and not self._may_revive(directory.name):
                return None  # still no plugin there, and said so before
            return self._failed(directory, status, fault, digest)
        seconds = build.seconds if build.compiled or build.reused else 0.0
        return _Ready(trial, seconds, digest)

    def _is_current(self, status: PluginStatus, digest: str) -> bool:
        """Tell whether there is nothing to do: this source serves, or is known to fail."""
        if status.state in _BROKEN and status.digest == digest and self._loader.live(status.name):
            # The source is back at what serves: nothing to load, and nothing is wrong any more.
            self._board.put(replace(status, state=PluginState.OK, source_digest=digest, fault=None))
            self._board.tell(PluginMended(time.time(), status.name))
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
            self._published.add(source.name)
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
        was_tried = digest if fault.phase in ("load", "register") else ""
        revived = None if live else self._revive(directory, was_tried)
        serving = live or revived
        state = PluginState.STALE if serving else PluginState.FAIL
        self._board.put(replace(status, state=state, source_digest=digest, fault=fault))
        self._board.tell(PluginFailed(fault.at, name, fault, serving.generation.number if serving else 0))
        return None if revived is None else _Ready(revived, 0.0, digest, fault)

    def _may_revive(self, name: str) -> bool:
        """Tell whether a last good artifact of a plugin that does not serve has not been tried yet."""
        digest = self._last_good.of(name)
        return digest != "" and self._loader.live(name) is None and (name, digest) not in self._vain

    def _revive(self, directory: PluginDirectory, was_tried: str) -> LivePlugin | None:
        """Try the artifact that served last, before this process, unless it is the one that just failed."""
        digest = self._last_good.of(directory.name)
        if not digest or digest == was_tried:
            return None
        try:
            return self._trial(directory, self._compiler.open(directory.name, digest))
        except HotloadError as error:
            self._vain.add((directory.name, digest))
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
        except ArtifactError as error:
            self._board.write("warning", "", str(error))

    def _prune(self) -> None:
        """Remove old artifacts of the plugins that have new ones: what fails to load piles up, too."""
        published, self._published = self._published, set()
        if not published:
            return
        self._last_good.read()
        in_use = {name: {self._last_good.of(name), self._serving(name)} for name in published}
        try:
            self._compiler.prune(self._config.keep_generations, in_use)
        except ArtifactError as error:
            self._board.write("warning", "", str(error))

    def _serving(self, name: str) -> str:
        live = self._loader.live(name)
        return live.generation.artifact.manifest.digest if live else ""

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
