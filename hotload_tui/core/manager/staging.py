"""One staged plugin: compile its source, try it, and keep the trial for the swap of its batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import Hold
from hotload_tui.core.compiler import Build
from hotload_tui.core.config import Config
from hotload_tui.core.directories import PluginDirectory, found_status
from hotload_tui.core.errors import DiscoverError, HotloadError, LoadError, RegisterError, RequirementError
from hotload_tui.core.events import PluginFailed, PluginHeld, PluginLoaded, PluginMended, Step
from hotload_tui.core.faults import TextOf, fault_of
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.dependencies import DependencyGraph
from hotload_tui.core.manager.retire_thread import RetireThread
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import Fault, Phase, PluginState, PluginStatus
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.runtime.loader import Loader, Outcome, Wanted
from hotload_tui.core.runtime.trial import LivePlugin
from hotload_tui.core.source import Source, SourceFile, SourceRule, decoded, is_as_read, read_source
from hotload_tui.core.watch.scanner import PluginChange, Repositories


def failure(error: HotloadError, plugin: str, module_path: str, source: Source | None = None) -> Fault:
    """Return the fault of a plugin that cannot be built or loaded; ``source`` contains the files read."""
    return fault_of(
        error, phase=_phase(error), plugin=plugin, module_path=module_path, text_of=_texts(source)
    )


def is_same(fault: Fault, before: Fault | None) -> bool:
    """Return whether the fault equals the previous fault in everything but its time."""
    return before is not None and replace(before, at=fault.at) == fault


def _phase(error: HotloadError) -> Phase:
    match error:
        case DiscoverError():
            return "discover"
        case LoadError() | RequirementError():
            return "load"
        case RegisterError():
            return "register"
        case _:
            return "compile"


def _texts(source: Source | None) -> TextOf:
    """Return a function that returns the text of a source file by absolute path."""
    contents = {str(Path(source.root, file.path)): file.content for file in source.files} if source else {}

    def text_of(file: str) -> str | None:
        content = contents.get(file)
        return None if content is None else decoded(content)

    return text_of


_ROUNDS = 3
_GRAIN = 0.01  # seconds by which file times may be behind the clock


class _Loads(Struct):
    began: float = 0.0
    ended: float = 0.0
    rounds: int = 0


class SelfWriteGuard:
    """Counts, for each plugin, the consecutive changes that are made while the plugin loads."""

    def __init__(self) -> None:
        self._loads: dict[str, _Loads] = {}

    def loaded(self, name: str, began: float, ended: float) -> None:
        """Record when a load began and ended."""
        loads = self._loads.setdefault(name, _Loads())
        loads.began, loads.ended = began, ended

    def forget(self, name: str) -> None:
        """Remove the record of a plugin that is gone."""
        self._loads.pop(name, None)

    def is_running(self, name: str) -> bool:
        """Return whether the plugin's last change was made while the plugin loaded."""
        loads = self._loads.get(name)
        return loads is not None and loads.rounds > 0

    def count(self, change: PluginChange) -> int:
        """Return the number of consecutive changes during loads, including this change."""
        loads = self._loads.setdefault(change.name, _Loads())
        if change.modified and loads.began - _GRAIN <= change.modified <= loads.ended:
            loads.rounds += 1
        elif change.modified:
            loads.rounds = 0
        return loads.rounds

    @staticmethod
    def is_last(rounds: int) -> bool:
        """Return whether to take the change only when it is settled: the plugin may not have made it."""
        return rounds == _ROUNDS

    @staticmethod
    def is_over(rounds: int) -> bool:
        """Return whether to ignore the change."""
        return rounds > _ROUNDS


class ProvenPlugin(Struct, frozen=True):
    """A successful trial, and the other values of the plugin's new status."""

    trial: LivePlugin
    compile_seconds: float
    source_digest: str
    fault: Fault | None = None
    """Why the newest source is not live; ``None`` if it is."""
    held: str = ""
    """Why the plugin does not follow its source; empty if it does."""

    @property
    def digest(self) -> str:
        """Digest of the trial's artifact."""
        return self.trial.generation.artifact.manifest.digest

    def status(self, before: PluginStatus) -> PluginStatus:
        """Return the plugin's status after the swap."""
        trial = self.trial
        state = PluginState.OK if self.fault is None else PluginState.STALE
        return replace(
            before,
            state=PluginState.HELD if self.held else state,
            digest=self.digest,
            source_digest=self.source_digest,
            generation=trial.generation.number,
            points=trial.places,
            compile_seconds=self.compile_seconds,
            load_seconds=trial.load_seconds,
            loaded_at=trial.loaded_at,
            reloads=before.reloads + (before.generation != 0),
            fault=self.fault,
            memory="",
            left=(),
            held=self.held,
            waits="",
        )

    def event(self, swap_seconds: float) -> PluginLoaded:
        """Return the event for the swap; ``swap_seconds`` is the duration for the whole batch."""
        trial = self.trial
        return PluginLoaded(
            trial.loaded_at,
            trial.name,
            trial.generation.number,
            self.digest,
            trial.places,
            trial.load_seconds,
            (*trial.steps, Step("swap", swap_seconds)),
        )


def unserved(status: PluginStatus) -> PluginStatus:
    """Return the status of a plugin without a live version; the caller sets the state and reason."""
    return replace(
        status,
        digest="",
        generation=0,
        points=(),
        loaded_at=0.0,
        load_seconds=0.0,
        fault=None,
        held="",
        waits="",
    )


Required: TypeAlias = Callable[[str, Artifact], Collection[Generation]]
"""Returns the generations that a version of a plugin requires. Raises ``RequirementError``."""


class Attempt(Struct):
    """The source that is tried; a newer source replaces it if the files change during the trial."""

    directory: PluginDirectory
    source: Source
    compile_seconds: float = 0.0


class Attempts:
    """Compiles and tries sources; only one thread may use it at a time."""

    def __init__(
        self,
        config: Config,
        builds: Builds,
        loader: Loader,
        retire_thread: RetireThread,
        self_writes: SelfWriteGuard,
    ) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._builds = builds
        self._loader = loader
        self._retire_thread = retire_thread
        self._self_writes = self_writes
        self._ahead: dict[str, Outcome] = {}
        self._repositories = Repositories(Path(config.runtime_dir).absolute(), config.debounce_time)

    def compile(self, attempt: Attempt, *, fresh: bool) -> Artifact:
        """Compile the source of an attempt. Raises ``PluginError`` and ``ArtifactError``."""
        build = self._builds.compile(attempt.directory, attempt.source, fresh=fresh)
        _note(attempt, build)
        return build.artifact

    def prove(self, attempt: Attempt, artifact: Artifact, required: Required) -> LivePlugin:
        """Try a new artifact; try again if a newer source is on disk after the trial, and compiles.

        Raises:
            HotloadError: the plugin does not load; ``attempt`` contains the source that was tried.

        """
        # Try at most twice: a plugin that writes its own files has a newer source after each trial.
        newer = None
        try:
            trial = self.run(attempt.directory, artifact, required)
        except HotloadError:
            newer = self._newer(attempt)
            if newer is None:
                raise
        else:
            newer = self._newer(attempt)
            if newer is None:
                return trial
            self._retire_thread.discard(trial, "a newer save overtook its load")
        return self.run(attempt.directory, newer.artifact, required)

    def run(self, directory: PluginDirectory, artifact: Artifact, required: Required) -> LivePlugin:
        """Try an artifact. Raises ``LoadError``, ``RegisterError`` and the errors of ``required``."""
        name, generations = directory.name, required(directory.name, artifact)
        outcome = self._ahead.pop(name, None)
        if outcome is None or outcome.load.wanted.artifact is not artifact:
            (outcome,) = self._loader.trial_each([self._wanted(directory, artifact, generations)])
        self._self_writes.loaded(name, outcome.load.began, outcome.load.ended)
        if outcome.trial is None:
            assert outcome.error is not None
            raise outcome.error
        return outcome.trial

    def run_ahead(self, several: Iterable[tuple[PluginDirectory, Artifact]]) -> None:
        """Try artifacts that require no other plugin, in as few threads as possible.

        ``run`` then returns or raises the result of each.
        """
        for left in self._ahead.values():  # an earlier call was interrupted
            if left.trial is not None:
                self._retire_thread.discard(left.trial, "its start was broken off")
        self._ahead = {}
        wanted = [self._wanted(directory, artifact) for directory, artifact in several]
        self._ahead = {outcome.load.name: outcome for outcome in self._loader.trial_each(wanted)}

    def _wanted(
        self, directory: PluginDirectory, artifact: Artifact, required: Iterable[Generation] = ()
    ) -> Wanted:
        configured = self._config.of(directory.name)
        return Wanted(
            directory.name,
            artifact,
            configured.hook_point,
            configured.priority,
            root_dir=directory.path.absolute(),
            required=tuple(required),
        )

    def _newer(self, attempt: Attempt) -> Build | None:
        """Return the build of the source on disk if it differs from the tried source and compiles."""
        directory = attempt.directory
        if is_as_read(attempt.source, self._rule) or self._self_writes.is_running(directory.name):
            return None
        try:
            mark = self._repositories.mark()
            source = read_source(directory.name, directory.path, self._rule)
            is_half = self._repositories.overtaken({directory.name: directory.path}, mark)
            if is_half or source.digest == attempt.source.digest:
                return None  # git is writing: the watcher reports its changes together
            build = self._builds.compile(directory, source, fresh=False)
        except HotloadError:
            return None  # perhaps half-written; the watcher reports the complete file
        attempt.source = source
        _note(attempt, build)
        return build


def _note(attempt: Attempt, build: Build) -> None:
    attempt.compile_seconds = build.seconds if build.compiled or build.reused else 0.0


class StagedPlugin(Struct):
    """An artifact to try, and the status of its plugin before the trial."""

    directory: PluginDirectory
    status: PluginStatus
    artifact: Artifact
    source_digest: str
    attempt: Attempt | None = None
    """The attempt with a new source; ``None`` for an earlier artifact."""
    is_settled: bool = True
    """Whether to report a failure at once, because no file is half-written."""
    hold: Hold | None = None
    """The hold that selects this artifact."""
    fault: Fault | None = None
    """Why the newest source is not tried."""

    @property
    def name(self) -> str:
        """Name of the plugin."""
        return self.directory.name

    def source(self) -> Source | None:
        """Return the source that was tried, with its files; ``None`` for an earlier artifact."""
        if self.attempt is None:
            return None
        if self.attempt.source.files:
            return self.attempt.source
        members = [member for member in self.artifact.manifest.members if member.code_size]
        files = (SourceFile(each.path, self.artifact.source(each.path), each.sha256) for each in members)
        return replace(self.attempt.source, files=tuple(files))

    def ready(self, trial: LivePlugin) -> ProvenPlugin:
        """Return the trial and its values, ready for the swap."""
        if self.attempt is not None:
            return ProvenPlugin(trial, self.attempt.compile_seconds, self.attempt.source.digest)
        held, fault = (self.hold.reason, self.hold.fault) if self.hold else ("", self.fault)
        return ProvenPlugin(trial, 0.0, self.source_digest, fault, held)


def again(directory: PluginDirectory, status: PluginStatus, live: LivePlugin) -> StagedPlugin:
    """Return a candidate that loads the live version again with the plugins that it requires."""
    is_held = status.state is PluginState.HELD
    hold = Hold(status.source_digest, status.digest, status.held, status.fault) if is_held else None
    return StagedPlugin(
        directory, status, live.generation.artifact, status.source_digest, hold=hold, fault=status.fault
    )


_BROKEN = (PluginState.FAIL, PluginState.STALE)
_BEHIND = (*_BROKEN, PluginState.HELD)


class Stager:
    """Tries one plugin at a time, and sets its status in the status store; swaps nothing."""

    def __init__(
        self,
        config: Config,
        store: StatusStore,
        *,
        builds: Builds,
        loader: Loader,
        retire_thread: RetireThread,
        attempts: Attempts,
        dependencies: DependencyGraph,
    ) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._store = store
        self._builds = builds
        self._loader = loader
        self._retire_thread = retire_thread
        self._attempts = attempts
        self._dependencies = dependencies
        self.unproven: set[str] = set()
        """Plugins whose failure is not reported yet, because their files may be half-written."""

    def status_of(self, directory: PluginDirectory) -> PluginStatus:
        """Return the status of a plugin, with its present path."""
        found, known = found_status(directory, self._config), self._store.get(directory.name)
        if known is None:
            return found
        return replace(
            known, state=found.state if known.state is PluginState.OFF else known.state, path=found.path
        )

    def failure(self, error: HotloadError, plugin: str, source: Source | None = None) -> Fault:
        """Return the fault of a plugin."""
        return failure(error, plugin, self._config.module_path, source)

    def read(self, directory: PluginDirectory, change: PluginChange | None = None) -> Source:
        """Return the source that the watcher has read, or read it. Raises ``DiscoverError``."""
        source = change.source if change is not None else None
        if source is not None and source.root == str(directory.path.absolute()):
            return source
        return read_source(directory.name, directory.path, self._rule)

    # ---- from source to candidate

    def candidate(
        self,
        directory: PluginDirectory,
        change: PluginChange | None = None,
        *,
        again: bool = False,
        fresh: bool = False,
        reload: bool = False,
    ) -> StagedPlugin | None:
        """Read and compile a plugin; return ``None`` if there is nothing to try.

        ``again`` also takes a plugin that is unchanged or HELD; ``fresh`` also compiles it; ``reload``
        also takes a source that failed before.
        """
        status = self.status_of(directory)
        is_settled = change is None or change.is_settled
        attempt: Attempt | None = None
        try:
            known = None if again or reload or change is not None else self._builds.known(directory)
            source, artifact = known or (self.read(directory, change), None)
            attempt = Attempt(directory, source)
            if not again:
                is_held, held = self._held(directory, status, source.digest)
                if is_held:
                    return held
            self._builds.let_go(directory.name, "asked for" if again else "its source changed")
            if not again and self._is_current(status, source.digest, reload=reload):
                return None
            self._store.put(replace(status, state=PluginState.BUILD))
            artifact = artifact or self._attempts.compile(attempt, fresh=fresh)
        except HotloadError as error:
            return self._not_compiled(directory, status, error, attempt, is_settled=is_settled, again=again)
        self._dependencies.note(directory.name, artifact)
        return StagedPlugin(directory, status, artifact, source.digest, attempt, is_settled)

    def _not_compiled(
        self,
        directory: PluginDirectory,
        status: PluginStatus,
        error: HotloadError,
        attempt: Attempt | None,
        *,
        is_settled: bool,
        again: bool,
    ) -> StagedPlugin | None:
        if not is_settled:
            self.postpone(status)
            return None
        fault = self.failure(error, directory.name, attempt.source if attempt else None)
        is_known = fault.phase == "discover" and is_same(fault, status.fault)
        may_revive = self._loader.live(directory.name) is None and self._builds.has_untried(directory.name)
        if is_known and not again and not may_revive:
            return None  # the same fault has been reported
        digest = attempt.source.digest if attempt else ""
        self.fail(status, fault, digest)
        return self._last_good(directory, fault, digest, "")

    def _held(
        self, directory: PluginDirectory, status: PluginStatus, digest: str
    ) -> tuple[bool, StagedPlugin | None]:
        """Return whether the plugin stays HELD, and a candidate of the held artifact if it is not live."""
        hold = self._builds.hold(directory.name, digest)
        if hold is None:
            return False, None
        if hold.digest == self.serving(directory.name):
            self.put_held(status, hold)
            return True, None
        try:
            artifact = self._builds.open(directory.name, hold.digest)
        except HotloadError as error:
            return self._cannot_hold(status, hold, error), None
        return True, StagedPlugin(directory, status, artifact, digest, hold=hold)

    def _cannot_hold(self, status: PluginStatus, hold: Hold, error: HotloadError) -> bool:
        """Return whether the plugin stays HELD although the held artifact does not load."""
        if self._builds.is_barred(status.name, hold.source):  # no version is live then
            self._builds.was_vain(status.name, hold.digest, error)
            self.put_held(status, replace(hold, digest=""))
            return True
        self._builds.let_go(status.name, f"the held version cannot be loaded ({error})")
        return False

    def _is_current(self, status: PluginStatus, digest: str, *, reload: bool) -> bool:
        """Return whether there is nothing to do: this source is live, or is known to fail."""
        if reload or status.name in self._dependencies.tied:
            return False
        if status.state in _BEHIND and status.digest == digest and self._loader.live(status.name):
            # The source is the live version again, so the plugin is ok without a load.
            self._store.put(replace(status, state=PluginState.OK, source_digest=digest, fault=None, held=""))
            self._store.tell(PluginMended(time.time(), status.name))
            return True
        if status.state in _BROKEN:
            return status.source_digest == digest != ""
        return status.digest == digest

    def _last_good(
        self, directory: PluginDirectory, fault: Fault, digest: str, was_tried: str
    ) -> StagedPlugin | None:
        """Return a candidate of the last good artifact if no version is live."""
        if self._loader.live(directory.name) is not None:
            return None
        artifact = self._builds.last_good(directory.name, was_tried)
        if artifact is None:
            return None
        return StagedPlugin(directory, self.status_of(directory), artifact, digest, fault=fault)

    # ---- from candidate to trial

    def prove(self, one: StagedPlugin, required: Required) -> ProvenPlugin | StagedPlugin | None:
        """Try a candidate; if it fails, record the failure and return the replacement to try, if any.

        Raises ``RequirementError`` if a requirement is not met; then nothing is recorded.
        """
        try:
            return one.ready(self.trial(one, required))
        except RequirementError:
            raise
        except HotloadError as error:
            return self._instead(one, error)

    def try_ahead(self, several: Collection[StagedPlugin]) -> None:
        """Try candidates that require no other plugin together; ``prove`` then returns each result."""
        if len(several) > 1:
            self._attempts.run_ahead((one.directory, one.artifact) for one in several)

    def trial(self, one: StagedPlugin, required: Required) -> LivePlugin:
        """Try a candidate. Raises ``HotloadError``."""
        if one.attempt is not None:
            return self._attempts.prove(one.attempt, one.artifact, required)
        return self._attempts.run(one.directory, one.artifact, required)

    def _instead(self, one: StagedPlugin, error: HotloadError) -> StagedPlugin | None:
        """Record that a candidate failed, and return the replacement to try, if any."""
        if one.hold is not None and not self._loader.live(one.name):
            is_held = self._cannot_hold(one.status, one.hold, error)
            return None if is_held else self.candidate(one.directory)
        if one.fault is not None and one.attempt is None and not self._loader.live(one.name):
            self._builds.was_vain(one.name, one.artifact.manifest.digest, error)
            return None
        if not one.is_settled:
            self.postpone(one.status)
            return None
        source = one.source()
        fault = self.failure(error, one.name, source)
        digest = source.digest if source else one.source_digest
        self.fail(one.status, fault, digest)
        return self._last_good(one.directory, fault, digest, one.artifact.manifest.digest)

    # ---- the status of a plugin

    def serving(self, name: str) -> str:
        """Return the digest of the live version; empty if there is none."""
        live = self._loader.live(name)
        return live.generation.artifact.manifest.digest if live else ""

    def postpone(self, status: PluginStatus) -> None:
        """Report no failure yet: a file may be half-written, and the watcher reports it when settled."""
        self._store.put(status)
        self.unproven.add(status.name)

    def fail(self, status: PluginStatus, fault: Fault, digest: str) -> None:
        """Record and publish a failure; the live version stays live."""
        live = self._loader.live(status.name)
        state = PluginState.STALE if live else PluginState.FAIL
        self._store.put(replace(status, state=state, source_digest=digest, fault=fault, held="", waits=""))
        self._store.tell(PluginFailed(fault.at, status.name, fault, live.generation.number if live else 0))
        self._retire_thread.ring()  # for the failed trial

    def put_held(self, status: PluginStatus, hold: Hold) -> None:
        """Record that a plugin is HELD at the live version, or without a live version."""
        if not hold.digest:
            status = unserved(status)
        self._store.put(
            replace(
                status,
                state=PluginState.HELD,
                source_digest=hold.source,
                fault=hold.fault,
                held=hold.reason,
                waits="",
            )
        )
        if status.state is not PluginState.HELD:
            self._store.tell(PluginHeld(time.time(), status.name, status.generation, hold.reason))

    def put_waiting(self, status: PluginStatus, reason: str) -> None:
        """Record that a plugin has no live version, and why it waits."""
        before = self._store.get(status.name)
        self._store.put(replace(unserved(status), state=PluginState.WAIT, waits=reason))
        if before is None or before.waits != reason:
            self._store.write("warning", status.name, f"waits: {reason}")
