"""The journey of a change: read, compile, publish, trial, swap; then, in the background, drain and retire."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import DiscoverError, HotloadError, RefusedError
from hotload_tui.core.events import PluginFailed, PluginHeld, PluginMended
from hotload_tui.core.history import Hold
from hotload_tui.core.loader import LivePlugin, Loader
from hotload_tui.core.manager.attempts import Attempt, Attempts
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.failures import failure, is_same
from hotload_tui.core.manager.ready import Ready
from hotload_tui.core.manager.retirer import Retirer
from hotload_tui.core.manager.rounds import Rounds
from hotload_tui.core.plugin import Fault, PluginState, PluginStatus
from hotload_tui.core.source import Source, SourceRule, check_entry, read_source
from hotload_tui.core.watcher import Change

_BROKEN = (PluginState.FAIL, PluginState.STALE)
_BEHIND = (*_BROKEN, PluginState.HELD)


class Journey:
    """Brings plugins from source to serving; used by one thread at a time, but for ``start`` and ``stop``."""

    def __init__(self, loader: Loader, config: Config, board: Board, builds: Builds, rounds: Rounds) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._board = board
        self._builds = builds
        self._loader = loader
        self._retirer = Retirer(self._loader, board)
        self._attempts = Attempts(config, builds, self._loader, self._retirer, rounds)
        self._unproven: set[str] = set()
        self._is_closed = False

    def start(self) -> None:
        """Begin to retire in the background, and clear up after a host that was killed."""
        self._is_closed = False
        self._retirer.start()
        self._builds.remove_leftovers()

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
        self,
        directories: Iterable[PluginDirectory],
        seen: Mapping[str, Change] = MappingProxyType({}),
        *,
        again: bool = False,
        fresh: bool = False,
    ) -> set[str]:
        """Bring plugins up to date with their sources, all in one swap.

        ``seen`` has what was read already; ``again`` loads also what has not changed; ``fresh`` compiles it,
        too. Returns the plugins whose failure is not told yet: they may be half-written.
        """
        directories = list(directories)
        self._unproven = set()
        self._refuse_endless(directories, again=again)
        ready = []
        for directory in directories:
            one = self._prepare(directory, seen.get(directory.name), again=again, fresh=fresh)
            if one is not None:
                ready.append(one)
        if ready:
            self._swap(ready)
        self._builds.prune(self._serving)
        return self._unproven

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
            fault = self._failure(error, directory.name)
            if not is_same(fault, status.fault):
                self._put_failed(status, fault)
        else:
            if status.state is PluginState.FAIL:
                self._board.put(replace(status, state=PluginState.NEW, fault=None))

    def build(self, directory: PluginDirectory) -> PluginStatus:
        """Compile only; returns the status, with the fault if it failed. What serves keeps its own status."""
        status = self.status_of(directory)
        source: Source | None = None
        try:
            source = self._read(directory)
            build = self._builds.compile(directory, source, fresh=False)
        except HotloadError as error:
            return self._put_failed(status, self._failure(error, directory.name, source))
        self._builds.prune(self._serving)
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

    # ---- held at an artifact, or back

    def hold(self, directory: PluginDirectory, hold: Hold) -> None:
        """Let the held artifact serve, or nothing, and keep it so until the source changes.

        Raises:
            PluginError: the artifact does not load; what served serves on, and nothing is held.
            ArtifactError: it is not there.

        """
        self._refuse_endless([directory], again=False)
        name = directory.name
        trial = None
        if not hold.digest:
            self.unload(name)
        elif self._serving(name) != hold.digest:
            trial = self._attempts.run(directory, self._builds.open(name, hold.digest))
        self._builds.keep(name, hold)
        if trial is None:
            self._put_held(self.status_of(directory), hold)
        else:
            self._swap([Ready(trial, 0.0, hold.source, hold.fault, hold.reason)])

    def _held(
        self, directory: PluginDirectory, status: PluginStatus, digest: str
    ) -> tuple[bool, Ready | None]:
        """Return whether the plugin stays held, and the trial of what it is held at, unless that serves."""
        hold = self._builds.hold(directory.name, digest)
        if hold is None:
            return False, None
        if hold.digest == self._serving(directory.name):
            self._put_held(status, hold)
            return True, None
        try:
            trial = self._attempts.run(directory, self._builds.open(directory.name, hold.digest))
        except HotloadError as error:
            if hold.fault is not None:  # it killed a host: then nothing serves
                self._builds.was_vain(directory.name, hold.digest, error)
                self._put_held(status, replace(hold, digest=""))
                return True, None
            self._builds.let_go(directory.name, f"what it was held at cannot serve ({error})")
            return False, None
        return True, Ready(trial, 0.0, digest, hold.fault, hold.reason)

    def _put_held(self, status: PluginStatus, hold: Hold) -> None:
        if not hold.digest:
            status = replace(status, digest="", generation=0, points=(), loaded_at=0.0, load_seconds=0.0)
        self._board.put(
            replace(
                status,
                state=PluginState.HELD,
                source_digest=hold.source,
                fault=hold.fault,
                held=hold.reason,
            )
        )
        if status.state is not PluginState.HELD:
            self._board.tell(PluginHeld(time.time(), status.name, status.generation, hold.reason))

    # ---- read, compile, trial

    def _prepare(
        self, directory: PluginDirectory, change: Change | None, *, again: bool, fresh: bool
    ) -> Ready | None:
        status = self.status_of(directory)
        attempt: Attempt | None = None
        try:
            source = self._read(directory, change)
            attempt = Attempt(directory, source)
            if not again:
                is_held, one = self._held(directory, status, source.digest)
                if is_held:
                    return one
            self._builds.let_go(directory.name, "asked for" if again else "its source changed")
            if not again and self._is_current(status, source.digest):
                return None
            self._board.put(replace(status, state=PluginState.BUILD))
            trial = self._attempts.prove(attempt, fresh=fresh)
        except HotloadError as error:
            if change is not None and not change.is_settled:
                self._board.put(status)
                self._unproven.add(directory.name)
                return None
            fault = self._failure(error, directory.name, attempt.source if attempt else None)
            is_known = fault.phase == "discover" and is_same(fault, status.fault)
            may_revive = self._loader.live(directory.name) is None and self._builds.has_untried(
                directory.name
            )
            if is_known and not again and not may_revive:
                return None  # still no plugin there, and said so before
            return self._failed(directory, status, fault, attempt.source.digest if attempt else "")
        return Ready(trial, attempt.compile_seconds, attempt.source.digest)

    def _read(self, directory: PluginDirectory, change: Change | None = None) -> Source:
        """Return what the watcher read of a plugin, or read it."""
        source = change.source if change is not None else None
        if source is not None and source.root == str(directory.path.absolute()):
            return source
        return read_source(directory.name, directory.path, self._rule)

    def _is_current(self, status: PluginStatus, digest: str) -> bool:
        """Tell whether there is nothing to do: this source serves, or is known to fail."""
        if status.state in _BEHIND and status.digest == digest and self._loader.live(status.name):
            # The source is back at what serves: nothing to load, and nothing is wrong any more.
            self._board.put(replace(status, state=PluginState.OK, source_digest=digest, fault=None, held=""))
            self._board.tell(PluginMended(time.time(), status.name))
            return True
        if status.state in _BROKEN:
            return status.source_digest == digest != ""
        return status.digest == digest

    def _failed(
        self, directory: PluginDirectory, status: PluginStatus, fault: Fault, digest: str
    ) -> Ready | None:
        """Note a failure; where nothing serves yet, return the last good artifact's trial."""
        name = directory.name
        live = self._loader.live(name)
        was_tried = digest if fault.phase in ("load", "register") else ""
        revived = None if live else self._revive(directory, was_tried)
        serving = live or revived
        state = PluginState.STALE if serving else PluginState.FAIL
        self._board.put(replace(status, state=state, source_digest=digest, fault=fault, held=""))
        self._board.tell(PluginFailed(fault.at, name, fault, serving.generation.number if serving else 0))
        self._retirer.ring()  # for the trial that failed
        return None if revived is None else Ready(revived, 0.0, digest, fault)

    def _revive(self, directory: PluginDirectory, was_tried: str) -> LivePlugin | None:
        """Try the artifact that served last, before this process, unless it is the one that just failed."""
        artifact = self._builds.last_good(directory.name, was_tried)
        if artifact is None:
            return None
        try:
            return self._attempts.run(directory, artifact)
        except HotloadError as error:
            self._builds.was_vain(directory.name, artifact.manifest.digest, error)
            return None

    def _failure(self, error: HotloadError, plugin: str, source: Source | None = None) -> Fault:
        return failure(error, plugin, self._config.module_path, source)

    # ---- swap and retire

    def _swap(self, ready: list[Ready]) -> None:
        self._loader.swap([one.trial for one in ready])
        self._retirer.ring()
        for one in ready:
            before = self._board.get(one.trial.name)
            assert before is not None
            self._board.put(one.status(before))
            self._board.tell(one.event())
            if one.held:
                self._board.tell(PluginHeld(time.time(), before.name, one.trial.generation.number, one.held))
            elif one.fault is None:
                self._builds.unbar(before.name, "another version serves")
        self._builds.served({one.trial.name: one.digest for one in ready})

    def _serving(self, name: str) -> str:
        live = self._loader.live(name)
        return live.generation.artifact.manifest.digest if live else ""
