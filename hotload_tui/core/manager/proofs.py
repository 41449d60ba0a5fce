"""The proofs: a source becomes a candidate, a candidate a trial, and a failure what its plugin shows."""

from __future__ import annotations

import time
from collections.abc import Collection

from msgspec.structs import replace

from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory, found_status
from hotload_tui.core.errors import HotloadError, RequirementError
from hotload_tui.core.events import PluginFailed, PluginHeld, PluginMended
from hotload_tui.core.history import Hold
from hotload_tui.core.loader import LivePlugin, Loader
from hotload_tui.core.manager.attempts import Attempt, Attempts, Required
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.bonds import Bonds
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.candidate import Candidate
from hotload_tui.core.manager.failures import failure, is_same
from hotload_tui.core.manager.ready import Ready, unserved
from hotload_tui.core.manager.retirer import Retirer
from hotload_tui.core.plugin import Fault, PluginState, PluginStatus
from hotload_tui.core.source import Source, SourceRule, read_source
from hotload_tui.core.watcher import Change

_BROKEN = (PluginState.FAIL, PluginState.STALE)
_BEHIND = (*_BROKEN, PluginState.HELD)


class Proofs:
    """Proves one plugin at a time, and notes on the board how each stands; nothing is swapped here."""

    def __init__(
        self,
        config: Config,
        board: Board,
        *,
        builds: Builds,
        loader: Loader,
        retirer: Retirer,
        attempts: Attempts,
        bonds: Bonds,
    ) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._board = board
        self._builds = builds
        self._loader = loader
        self._retirer = retirer
        self._attempts = attempts
        self._bonds = bonds
        self.unproven: set[str] = set()
        """Plugins whose failure is not told yet: they may be half-written."""

    def status_of(self, directory: PluginDirectory) -> PluginStatus:
        """Return how a plugin stands, at its present place on disk."""
        found, known = found_status(directory, self._config), self._board.get(directory.name)
        if known is None:
            return found
        return replace(
            known, state=found.state if known.state is PluginState.OFF else known.state, path=found.path
        )

    def failure(self, error: HotloadError, plugin: str, source: Source | None = None) -> Fault:
        """Return the fault of a plugin."""
        return failure(error, plugin, self._config.module_path, source)

    def read(self, directory: PluginDirectory, change: Change | None = None) -> Source:
        """Return what the watcher read of a plugin, or read it; raises ``DiscoverError``."""
        source = change.source if change is not None else None
        if source is not None and source.root == str(directory.path.absolute()):
            return source
        return read_source(directory.name, directory.path, self._rule)

    # ---- from source to candidate

    def candidate(
        self,
        directory: PluginDirectory,
        change: Change | None = None,
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
            self._board.put(replace(status, state=PluginState.BUILD))
            artifact = artifact or self._attempts.compile(attempt, fresh=fresh)
        except HotloadError as error:
            return self._not_compiled(directory, status, error, attempt, is_settled=is_settled, again=again)
        self._bonds.note(directory.name, artifact)
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
        if anew or status.name in self._bonds.tied:
            return False
        if status.state in _BEHIND and status.digest == digest and self._loader.live(status.name):
            # The source is back at what serves: nothing to load, and nothing is wrong any more.
            self._board.put(replace(status, state=PluginState.OK, source_digest=digest, fault=None, held=""))
            self._board.tell(PluginMended(time.time(), status.name))
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
        self._board.put(status)
        self.unproven.add(status.name)

    def fail(self, status: PluginStatus, fault: Fault, digest: str) -> None:
        """Note a failure; what served serves on."""
        live = self._loader.live(status.name)
        state = PluginState.STALE if live else PluginState.FAIL
        self._board.put(replace(status, state=state, source_digest=digest, fault=fault, held="", waits=""))
        self._board.tell(PluginFailed(fault.at, status.name, fault, live.generation.number if live else 0))
        self._retirer.ring()  # for the trial that failed

    def put_held(self, status: PluginStatus, hold: Hold) -> None:
        """Note that a plugin is held at what serves, or at nothing."""
        if not hold.digest:
            status = unserved(status)
        self._board.put(
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
            self._board.tell(PluginHeld(time.time(), status.name, status.generation, hold.reason))

    def put_waiting(self, status: PluginStatus, reason: str) -> None:
        """Note that nothing of a plugin serves, and what it waits for."""
        before = self._board.get(status.name)
        self._board.put(replace(unserved(status), state=PluginState.WAIT, waits=reason))
        if before is None or before.waits != reason:
            self._board.write("warning", status.name, f"waits: {reason}")
