"""``Batch``: what changes together is tried in order of requirement, and goes live together or not at all."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from pathlib import Path

from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import HotloadError, RefusedError, RequirementError
from hotload_tui.core.generation import Generation
from hotload_tui.core.loader import Loader
from hotload_tui.core.manager.board import Board
from hotload_tui.core.manager.bonds import Bonds
from hotload_tui.core.manager.candidate import Candidate, again
from hotload_tui.core.manager.proofs import Proofs
from hotload_tui.core.manager.ready import Ready
from hotload_tui.core.manager.retirer import Retirer
from hotload_tui.core.plugin import PluginState, PluginStatus
from hotload_tui.core.requirements import in_order

_RETRIED = (PluginState.FAIL, PluginState.STALE)


class Batch:
    """The candidates of one update; used once."""

    def __init__(self, board: Board, loader: Loader, retirer: Retirer, bonds: Bonds, proofs: Proofs) -> None:
        self._board = board
        self._loader = loader
        self._retirer = retirer
        self._bonds = bonds
        self._proofs = proofs
        self._candidates: dict[str, Candidate] = {}
        self._given: set[str] = set()
        self._ready: dict[str, Ready] = {}

    def add(self, name: str, candidate: Candidate | None) -> None:
        """Take a plugin into the batch, with what is to be tried of it, if anything."""
        self._given.add(name)
        if candidate is not None:
            self._candidates[name] = candidate

    def add_tied(self) -> None:
        """Take in who waits for another plugin's version: something was unloaded, which may have been it."""
        for status in self._board.statuses():
            name = status.name
            if name in self._bonds.tied and name not in self._given and status.state is not PluginState.OFF:
                self.add(name, self._proofs.candidate(_directory(status), anew=True))

    def add_following(self, name: str) -> None:
        """Take in who waits for ``name``, or failed to load beside another version of it."""
        for status in self._board.statuses():
            if status.state is not PluginState.OFF and self._is_retried(status, {name}):
                self.add(status.name, self._proofs.candidate(_directory(status), anew=True))

    def prove(self) -> list[Ready]:
        """Try everything; returns what may serve, each after those that it requires."""
        self._widen()
        pending = self._in_order()
        self._proofs.try_ahead([one for one in pending if not self._bonds.of(one.name, one.artifact)])
        unmet: list[tuple[Candidate, RequirementError]] = []
        while pending:
            before = len(self._ready)
            instead, unmet = self._prove(pending)
            has_gained = bool(instead) or len(self._ready) > before
            pending = [*instead, *(one for one, _ in unmet)] if has_gained else []
        for one, error in unmet:
            self._leave(one, error)
        self._keep_together()
        self._bonds.tied -= self._ready.keys()
        return [self._ready[name] for name in in_order(self._ready, self._bound_now)]

    def prove_all(self) -> list[Ready]:
        """Try everything, with what serves now; if any of it fails nothing has changed.

        Raises:
            HotloadError: what was given does not load.
            RefusedError: somebody who requires it does not load with it.

        """
        self._widen(with_failed=False)
        for one in self._in_order():
            name = one.name
            try:
                self._ready[name] = one.ready(self._proofs.trial(one, self._required))
            except HotloadError as error:
                for ready in reversed(self._ready.values()):
                    self._retirer.discard(ready.trial, f"{name} does not load")
                self._retirer.ring()
                if name in self._given:
                    raise
                raise RefusedError(f"{name} requires it, and does not load with it: {error}") from error
        return list(self._ready.values())

    # ---- who belongs to it

    def _widen(self, *, with_failed: bool = True) -> None:
        """Take in who is to be loaded again because of those that are in."""
        is_growing = True
        while is_growing and self._candidates:
            is_growing = False
            for name in sorted(self._bonds.requiring() - self._candidates.keys()):
                status = self._board.get(name)
                if status is not None and (more := self._drawn_in(status, with_failed=with_failed)):
                    self._candidates[name] = more
                    is_growing = True

    def _drawn_in(self, status: PluginStatus, *, with_failed: bool) -> Candidate | None:
        if status.state is PluginState.OFF:
            return None
        name, live = status.name, self._loader.live(status.name)
        found = None
        if with_failed and name not in self._given and self._is_retried(status, self._candidates.keys()):
            self._given.add(name)
            found = self._proofs.candidate(_directory(status), anew=True)
        if (
            found is None
            and live is not None
            and not self._candidates.keys().isdisjoint(self._bonds.bound(name))
        ):
            directory = _directory(status)
            found = again(directory, self._proofs.status_of(directory), live)
        return found

    def _is_retried(self, status: PluginStatus, others: AbstractSet[str]) -> bool:
        """Tell whether the newest version of a plugin may load now that ``others`` do."""
        requires_one = not others.isdisjoint(self._bonds.wanted(status.name))
        if status.name in self._bonds.tied:
            return requires_one or any(status.name in self._bonds.wanted(name) for name in others)
        is_loading_at_fault = status.fault is not None and status.fault.phase in ("load", "register")
        return requires_one and (
            status.state is PluginState.WAIT or (status.state in _RETRIED and is_loading_at_fault)
        )

    # ---- one after the other

    def _prove(
        self, pending: list[Candidate]
    ) -> tuple[list[Candidate], list[tuple[Candidate, RequirementError]]]:
        """Try some; returns what is to be tried in place of those that failed, and what lacks another."""
        instead, unmet = [], []
        for one in pending:
            try:
                found = self._proofs.prove(one, self._required)
            except RequirementError as error:
                unmet.append((one, error))
                continue
            if isinstance(found, Candidate):
                instead.append(found)
            elif found is not None:
                self._ready[one.name] = found
        return instead, unmet

    def _required(self, name: str, artifact: Artifact) -> list[Generation]:
        """Return the generations that a version of a plugin belongs to; raises ``RequirementError``."""
        found = []
        one = self._candidates.get(name)
        is_new = one is not None and one.attempt is not None and one.artifact is artifact
        cycle = self._bonds.cycle(name) if is_new else ""
        if cycle:
            raise RequirementError(name, f"it requires itself: {cycle}; one of these has to do without")
        for other in self._bonds.of(name, artifact):
            if other in self._ready:
                found.append(self._ready[other].trial.generation)
                continue
            live = self._loader.live(other)
            if live is None:
                raise RequirementError(name, f"it requires {other}, but {self._bonds.missing(other)}")
            if is_new and other in self._given and self._has_failed(other):
                raise RequirementError(name, f"it requires {other}, whose newest version does not load")
            found.append(live.generation)
        return found

    def _in_order(self) -> list[Candidate]:
        """Return the candidates, each after those that it, and not another version of it, requires."""

        def required(name: str) -> Collection[str]:
            return self._bonds.of(name, self._candidates[name].artifact)

        return [self._candidates[name] for name in in_order(self._candidates, required)]

    def _bound_now(self, name: str) -> Collection[str]:
        return self._ready[name].trial.generation.peers.keys()

    def _has_failed(self, name: str) -> bool:
        status = self._board.get(name)
        is_behind = status is not None and status.state in (PluginState.STALE, PluginState.FAIL)
        return is_behind or name in self._proofs.unproven

    # ---- together, or not at all

    def _keep_together(self) -> None:
        """Take out what would leave somebody that goes on serving without the version it was loaded with."""
        is_shrinking = True
        while is_shrinking:
            is_shrinking = False
            for name in reversed(list(self._ready)):
                reason = self._why_not(name)
                if reason:
                    trial = self._ready.pop(name).trial
                    self._retirer.discard(trial, reason)
                    self._leave(self._candidates[name], RequirementError(name, reason))
                    is_shrinking = True

    def _why_not(self, name: str) -> str:
        for other in self._loader.bound():
            if other not in self._ready and name in self._bonds.bound(other):
                return f"{other} requires it, and does not load with it"
        for other, peer in self._ready[name].trial.generation.peers.items():
            ready = self._ready.get(other)
            live = ready.trial if ready is not None else self._loader.live(other)
            if live is None or live.generation is not peer.generation():
                return f"it requires {other}, whose newest version cannot serve"
        return ""

    def _leave(self, one: Candidate, error: RequirementError) -> None:
        """Have a plugin stay as it is, or wait, until what it belongs to can serve."""
        name = one.name
        if one.attempt is None and (one.fault is not None or self._loader.live(name) is not None):
            self._board.put(one.status)
            return
        self._bonds.tied.add(name)
        source = one.attempt.source.digest if one.attempt else one.source_digest
        if not one.is_settled or any(other in self._proofs.unproven for other in self._bonds.wanted(name)):
            self._proofs.postpone(one.status)
        elif self._loader.live(name) is None and not self._bonds.cycle(name):
            self._proofs.put_waiting(replace(one.status, source_digest=source), str(error))
        else:
            self._proofs.fail(one.status, self._proofs.failure(error, name), source)


def _directory(status: PluginStatus) -> PluginDirectory:
    """Return the directory of a plugin that is on."""
    return PluginDirectory(status.name, Path(status.path), enabled=True)
