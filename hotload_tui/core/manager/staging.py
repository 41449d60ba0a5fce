"""One staged plugin: its source is compiled and tried, and waits for the swap of its batch."""

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
    """Return the fault of a plugin that could not be built or loaded; ``source`` is what was read of it."""
    return fault_of(
        error, phase=_phase(error), plugin=plugin, module_path=module_path, text_of=_texts(source)
    )


def is_same(fault: Fault, before: Fault | None) -> bool:
    """Tell whether the fault differs from the one before in nothing but its time."""
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
    """Return the texts of a source that was read, by absolute path."""
    contents = {str(Path(source.root, file.path)): file.content for file in source.files} if source else {}

    def text_of(file: str) -> str | None:
        content = contents.get(file)
        return None if content is None else decoded(content)

    return text_of


_ROUNDS = 3
_GRAIN = 0.01  # seconds that the clock of the file system may be behind


class _Loads(Struct):
    began: float = 0.0
    ended: float = 0.0
    rounds: int = 0


class SelfWriteGuard:
    """Counts, for each plugin, changes in a row that were made while it was being loaded."""

    def __init__(self) -> None:
        self._loads: dict[str, _Loads] = {}

    def loaded(self, name: str, began: float, ended: float) -> None:
        """Note when a plugin was loaded."""
        loads = self._loads.setdefault(name, _Loads())
        loads.began, loads.ended = began, ended

    def forget(self, name: str) -> None:
        """Drop what is known of a plugin that is gone."""
        self._loads.pop(name, None)

    def is_running(self, name: str) -> bool:
        """Tell whether the plugin's last change was made while it was being loaded."""
        loads = self._loads.get(name)
        return loads is not None and loads.rounds > 0

    def count(self, change: PluginChange) -> int:
        """Return the number of rounds, with this change."""
        loads = self._loads.setdefault(change.name, _Loads())
        if change.modified and loads.began - _GRAIN <= change.modified <= loads.ended:
            loads.rounds += 1
        elif change.modified:
            loads.rounds = 0
        return loads.rounds

    @staticmethod
    def is_last(rounds: int) -> bool:
        """Tell whether the change is to be taken only once it has stood still: it may be somebody else's."""
        return rounds == _ROUNDS

    @staticmethod
    def is_over(rounds: int) -> bool:
        """Tell whether the change is not to be taken any more."""
        return rounds > _ROUNDS


class Ready(Struct, frozen=True):
    """A trial, and what the status needs besides it."""

    trial: LivePlugin
    compile_seconds: float
    source_digest: str
    fault: Fault | None = None
    """Why it is not the newest source that serves; ``None`` when it is."""
    held: str = ""
    """Why the plugin does not follow its source."""

    @property
    def digest(self) -> str:
        """Digest of its artifact."""
        return self.trial.generation.artifact.manifest.digest

    def status(self, before: PluginStatus) -> PluginStatus:
        """Return how the plugin stands once the trial serves."""
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
        """Return what is told once it serves; the swap is that of its whole batch."""
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
    """Return how a plugin stands of which nothing serves; why is for the caller to say."""
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
"""Returns the generations that a version of a plugin requires; raises ``RequirementError``."""


class Attempt(Struct):
    """What is tried of a plugin; newer than what was begun with, if that became stale."""

    directory: PluginDirectory
    source: Source
    compile_seconds: float = 0.0


class Attempts:
    """Makes them; used by one thread at a time."""

    def __init__(
        self,
        config: Config,
        builds: Builds,
        loader: Loader,
        retire_thread: RetireThread,
        rounds: SelfWriteGuard,
    ) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._builds = builds
        self._loader = loader
        self._retire_thread = retire_thread
        self._self_writes = rounds
        self._ahead: dict[str, Outcome] = {}
        self._repositories = Repositories(Path(config.runtime_dir).absolute(), config.debounce_time)

    def compile(self, attempt: Attempt, *, fresh: bool) -> Artifact:
        """Compile what was read; raises ``PluginError`` and ``ArtifactError``."""
        build = self._builds.compile(attempt.directory, attempt.source, fresh=fresh)
        _note(attempt, build)
        return build.artifact

    def prove(self, attempt: Attempt, artifact: Artifact, required: Required) -> LivePlugin:
        """Try a new artifact; once more with the newer source, if there is one by then and it compiles.

        Raises:
            HotloadError: it cannot be loaded; ``attempt`` says what was tried.

        """
        # A plugin that writes into its own files would be stale each time.
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
        """Try an artifact; raises ``LoadError`` and ``RegisterError``, and what ``required`` raises."""
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
        """Try artifacts that require no other plugin, in as few threads as may be.

        ``run`` returns or raises then what became of each.
        """
        for left in self._ahead.values():  # whoever asked for them was interrupted
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
        """Return the build of what is on disk by now, if it differs from what was tried and compiles."""
        directory = attempt.directory
        if is_as_read(attempt.source, self._rule) or self._self_writes.is_running(directory.name):
            return None
        try:
            mark = self._repositories.mark()
            source = read_source(directory.name, directory.path, self._rule)
            is_half = self._repositories.overtaken({directory.name: directory.path}, mark)
            if is_half or source.digest == attempt.source.digest:
                return None  # by git: the watcher tells what it changed, all together
            build = self._builds.compile(directory, source, fresh=False)
        except HotloadError:
            return None  # it may be half-written; the watcher tells when it is not
        attempt.source = source
        _note(attempt, build)
        return build


def _note(attempt: Attempt, build: Build) -> None:
    attempt.compile_seconds = build.seconds if build.compiled or build.reused else 0.0


class Candidate(Struct):
    """An artifact, and how its plugin stood before."""

    directory: PluginDirectory
    status: PluginStatus
    artifact: Artifact
    source_digest: str
    attempt: Attempt | None = None
    """Of a new source; ``None`` for an artifact from before."""
    is_settled: bool = True
    """Whether a failure is to be told at once: the file is not half-written."""
    hold: Hold | None = None
    """Why it is this artifact."""
    fault: Fault | None = None
    """Why it is not the newest source."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.directory.name

    def source(self) -> Source | None:
        """Return the source that was tried, with its files; ``None`` for an artifact from before."""
        if self.attempt is None:
            return None
        if self.attempt.source.files:
            return self.attempt.source
        members = [member for member in self.artifact.manifest.members if member.code_size]
        files = (SourceFile(each.path, self.artifact.source(each.path), each.sha256) for each in members)
        return replace(self.attempt.source, files=tuple(files))

    def ready(self, trial: LivePlugin) -> Ready:
        """Return what waits for the swap."""
        if self.attempt is not None:
            return Ready(trial, self.attempt.compile_seconds, self.attempt.source.digest)
        held, fault = (self.hold.reason, self.hold.fault) if self.hold else ("", self.fault)
        return Ready(trial, 0.0, self.source_digest, fault, held)


def again(directory: PluginDirectory, status: PluginStatus, live: LivePlugin) -> Candidate:
    """Return what serves of a plugin, to be loaded once more with what it requires."""
    is_held = status.state is PluginState.HELD
    hold = Hold(status.source_digest, status.digest, status.held, status.fault) if is_held else None
    return Candidate(
        directory, status, live.generation.artifact, status.source_digest, hold=hold, fault=status.fault
    )


_BROKEN = (PluginState.FAIL, PluginState.STALE)
_BEHIND = (*_BROKEN, PluginState.HELD)


class Proofs:
    """Proves one plugin at a time, and notes on the board how each stands; nothing is swapped here."""

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
        """Plugins whose failure is not told yet: they may be half-written."""

    def status_of(self, directory: PluginDirectory) -> PluginStatus:
        """Return how a plugin stands, at its present place on disk."""
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
        """Return what the watcher read of a plugin, or read it; raises ``DiscoverError``."""
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
        anew: bool = False,
    ) -> Candidate | None:
        """Read and compile; ``None`` if there is nothing to try.

        ``again`` takes also what has not changed, or is held; ``fresh`` compiles it, too; ``anew`` takes what
        failed before.
        """
        status = self.status_of(directory)
        is_settled = change is None or change.is_settled
        attempt: Attempt | None = None
        try:
            known = None if again or anew or change is not None else self._builds.known(directory)
            source, artifact = known or (self.read(directory, change), None)
            attempt = Attempt(directory, source)
            if not again:
                is_held, held = self._held(directory, status, source.digest)
                if is_held:
                    return held
            self._builds.let_go(directory.name, "asked for" if again else "its source changed")
            if not again and self._is_current(status, source.digest, anew=anew):
                return None
            self._store.put(replace(status, state=PluginState.BUILD))
            artifact = artifact or self._attempts.compile(attempt, fresh=fresh)
        except HotloadError as error:
            return self._not_compiled(directory, status, error, attempt, is_settled=is_settled, again=again)
        self._dependencies.note(directory.name, artifact)
        return Candidate(directory, status, artifact, source.digest, attempt, is_settled)

    def _not_compiled(
        self,
        directory: PluginDirectory,
        status: PluginStatus,
        error: HotloadError,
        attempt: Attempt | None,
        *,
        is_settled: bool,
        again: bool,
    ) -> Candidate | None:
        if not is_settled:
            self.postpone(status)
            return None
        fault = self.failure(error, directory.name, attempt.source if attempt else None)
        is_known = fault.phase == "discover" and is_same(fault, status.fault)
        may_revive = self._loader.live(directory.name) is None and self._builds.has_untried(directory.name)
        if is_known and not again and not may_revive:
            return None  # still no plugin there, and said so before
        digest = attempt.source.digest if attempt else ""
        self.fail(status, fault, digest)
        return self._last_good(directory, fault, digest, "")

    def _held(
        self, directory: PluginDirectory, status: PluginStatus, digest: str
    ) -> tuple[bool, Candidate | None]:
        """Return whether the plugin stays held, and what it is held at, unless that serves."""
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
        return True, Candidate(directory, status, artifact, digest, hold=hold)

    def _cannot_hold(self, status: PluginStatus, hold: Hold, error: HotloadError) -> bool:
        """Tell whether the plugin stays held although what it is held at cannot serve."""
        if self._builds.is_barred(status.name, hold.source):  # it killed a host: then nothing serves
            self._builds.was_vain(status.name, hold.digest, error)
            self.put_held(status, replace(hold, digest=""))
            return True
        self._builds.let_go(status.name, f"what it was held at cannot serve ({error})")
        return False

    def _is_current(self, status: PluginStatus, digest: str, *, anew: bool) -> bool:
        """Tell whether there is nothing to do: this source serves, or is known to fail."""
        if anew or status.name in self._dependencies.tied:
            return False
        if status.state in _BEHIND and status.digest == digest and self._loader.live(status.name):
            # The source is back at what serves: nothing to load, and nothing is wrong any more.
            self._store.put(replace(status, state=PluginState.OK, source_digest=digest, fault=None, held=""))
            self._store.tell(PluginMended(time.time(), status.name))
            return True
        if status.state in _BROKEN:
            return status.source_digest == digest != ""
        return status.digest == digest

    def _last_good(
        self, directory: PluginDirectory, fault: Fault, digest: str, was_tried: str
    ) -> Candidate | None:
        """Return the artifact that served before this process, where nothing serves."""
        if self._loader.live(directory.name) is not None:
            return None
        artifact = self._builds.last_good(directory.name, was_tried)
        if artifact is None:
            return None
        return Candidate(directory, self.status_of(directory), artifact, digest, fault=fault)

    # ---- from candidate to trial

    def prove(self, one: Candidate, required: Required) -> Ready | Candidate | None:
        """Try a candidate; a failure is noted, and what there is to try in its place returned.

        Raises ``RequirementError`` where nothing was tried.
        """
        try:
            return one.ready(self.trial(one, required))
        except RequirementError:
            raise
        except HotloadError as error:
            return self._instead(one, error)

    def try_ahead(self, several: Collection[Candidate]) -> None:
        """Try candidates that require no other plugin together; ``prove`` tells then what became of each."""
        if len(several) > 1:
            self._attempts.run_ahead((one.directory, one.artifact) for one in several)

    def trial(self, one: Candidate, required: Required) -> LivePlugin:
        """Try a candidate; raises ``HotloadError``."""
        if one.attempt is not None:
            return self._attempts.prove(one.attempt, one.artifact, required)
        return self._attempts.run(one.directory, one.artifact, required)

    def _instead(self, one: Candidate, error: HotloadError) -> Candidate | None:
        """Note that a candidate failed, and return what to try in its place, if anything."""
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

    # ---- what a plugin shows

    def serving(self, name: str) -> str:
        """Return the digest of what serves; empty for nothing."""
        live = self._loader.live(name)
        return live.generation.artifact.manifest.digest if live else ""

    def postpone(self, status: PluginStatus) -> None:
        """Say nothing yet: the file may be half-written, and is told again once it stands still."""
        self._store.put(status)
        self.unproven.add(status.name)

    def fail(self, status: PluginStatus, fault: Fault, digest: str) -> None:
        """Note a failure; what served serves on."""
        live = self._loader.live(status.name)
        state = PluginState.STALE if live else PluginState.FAIL
        self._store.put(replace(status, state=state, source_digest=digest, fault=fault, held="", waits=""))
        self._store.tell(PluginFailed(fault.at, status.name, fault, live.generation.number if live else 0))
        self._retire_thread.ring()  # for the trial that failed

    def put_held(self, status: PluginStatus, hold: Hold) -> None:
        """Note that a plugin is held at what serves, or at nothing."""
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
        """Note that nothing of a plugin serves, and what it waits for."""
        before = self._store.get(status.name)
        self._store.put(replace(unserved(status), state=PluginState.WAIT, waits=reason))
        if before is None or before.waits != reason:
            self._store.write("warning", status.name, f"waits: {reason}")
