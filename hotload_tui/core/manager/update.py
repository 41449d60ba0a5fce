"""One update: build and try the staged plugins until ``decide`` has nothing left to do."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from time import time as clock  # a plugin can replace it

from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import Hold, make_durable
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import HotloadError, RefusedError, RequirementError
from hotload_tui.core.events import PluginMended
from hotload_tui.core.manager.decide import Decision, in_order
from hotload_tui.core.manager.engine import Engine
from hotload_tui.core.manager.outdated import imported_before
from hotload_tui.core.manager.staging import LeftVersion, StagedPlugin, Stager
from hotload_tui.core.manager.store import not_live
from hotload_tui.core.model import Fault, PluginState
from hotload_tui.core.primitives import perf_counter, sleep
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.runtime.trial import Outcome, Wanted
from hotload_tui.core.source import Source, is_as_read, read_source
from hotload_tui.core.watch.debounce import SETTLED
from hotload_tui.core.watch.scanner import PluginChange


class Update(Stager):
    """Carries out what ``decide`` decides; a trial that fails is a new fact, after which it decides again."""

    def __init__(self, engine: Engine, *, fresh: bool = False, is_return: bool = False) -> None:
        """``fresh``: compile every file of the plugins that somebody asked for.

        ``is_return``: bring versions back that have left for another update.
        """
        super().__init__(engine)
        self._is_return = is_return
        self._fresh = fresh
        self._held = ""
        self._overtaken: set[str] = set()
        self.unproven: set[str] = set()
        """Plugins whose failure is not reported yet, because their files may be half-written."""

    def stage_held(self, directory: PluginDirectory, hold: Hold, artifact: Artifact) -> None:
        """Stage a plugin that is to be HELD at another version; then all must load, or nothing changes."""
        self._held = directory.name
        one = self._add(directory, self.engine.status_of(directory), "on")
        one.facts = replace(one.facts, given=True, source=hold.source)
        self._have(one, artifact)
        self._held_at(one, hold)
        self.stage_others()
        for each in self.staged.values():
            each.facts = replace(each.facts, retry="")

    def run(self) -> None:
        """Build and try the plugins; then make those that load live in one swap.

        Raises:
            HotloadError: the plugin that is to be HELD does not load; nothing changes.
            RefusedError: a plugin that requires it does not load with it; nothing changes.

        """
        try:
            decisions = self._settle()
            if self._held and (hold := self.staged[self._held].hold):
                self.engine.builds.keep(self._held, hold)
        except BaseException as error:
            self._discard((one for one in self.staged.values() if one.trial), f"the update ended: {error}")
            self._bring_back()
            raise
        ready: list[str] = []
        for one in self.staged.values():
            one.decision = decisions[one.name]
            self._conclude(one, one.decision)
            if one.trial is not None:
                ready.append(one.name)
        if ready:
            self._swap([self.staged[name] for name in in_order(ready, lambda name: decisions[name].requires)])
        self._bring_back()

    def stage_former(self, former: StagedPlugin) -> None:
        """Stage a plugin whose live version has left, so that this version becomes live again."""
        left = former.left
        assert left is not None
        digest = left.artifact.manifest.digest
        one = self._add(former.directory, self.engine.status_of(former.directory), "on")
        one.facts = replace(one.facts, given=True, source=digest)
        one.left = left
        self._have(one, left.artifact)
        fault, decision = former.fault or left.status.fault, former.decision
        if decision is not None and decision.unmet:
            fault = self.engine.failure(RequirementError(one.name, decision.unmet), one.name)
        self._held_at(one, Hold(left.status.source_digest, digest, left.status.held, fault))

    def _bring_back(self) -> None:
        """Load the versions that have left again, where no other version has gone live."""
        loader = self.engine.loader
        gone = [one for one in self.staged.values() if one.left and not loader.live(one.name)]
        if not gone:
            return
        back = Update(self.engine, is_return=True)
        for one in filter(self._returns, gone):
            back.stage_former(one)
        if back.staged:
            back.stage_others()
            back.run()
        for one in gone:
            if not loader.live(one.name):
                loader.close_sockets(one.name)

    def _returns(self, one: StagedPlugin) -> bool:
        """Return whether the version that has left is loaded again if no other one goes live."""
        left = one.left
        return bool(left and not self._is_return and left.artifact.manifest.digest not in one.facts.failed)

    def _settle(self) -> dict[str, Decision]:
        """Try plugins, and decide again after each failure, until every plugin that loads has been tried."""
        while True:
            decisions = self.decide()
            self._discard_outdated(decisions)
            self._publish_failures(decisions)
            loads = [each for each in decisions.values() if each.digest]
            pending = {each.name: each for each in loads if self.staged[each.name].trial is None}
            if self._held and not decisions[self._held].digest:
                raise RequirementError(self._held, decisions[self._held].unmet)
            if self._try(pending) and self._hand_over(loads):
                return decisions

    # ---- builds

    def read(self, one: StagedPlugin, change: PluginChange | None = None) -> None:
        """Read the source of a plugin, unless its files are known since an earlier start."""
        known = None
        if change is None and not one.facts.asked and not one.facts.is_retried:
            known = self.engine.builds.known(one.directory)
        if known is None:
            super().read(one, change)
        else:
            source, artifact = known
            self._follow(one, source)
            self._have_newest(one, source, artifact)
        self.engine.gates.overtake(one.name, one.source.digest if one.source else "")
        if one.source is None:
            return
        if one.hold is None:
            self.engine.builds.release(one.name, "asked for" if one.facts.asked else "")
        elif one.hold.is_pinned and one.hold.source != one.source.digest:
            one.hold = self.engine.builds.stay(one.name, one.hold, one.source.digest)

    def build(self, one: StagedPlugin, source: Source) -> None:
        """Compile a source, and publish the result."""
        self._show_build(one)
        fresh = self._fresh and bool(one.facts.asked)
        build = self.engine.builds.compile(one.directory, source, fresh=fresh)
        one.compile_seconds = build.seconds if build.compiled or build.reused else 0.0
        if build.compiled or build.reused:
            self.engine.gates.check(one.directory)
        self._have_newest(one, source, build.artifact)

    def _have_newest(self, one: StagedPlugin, source: Source, artifact: Artifact) -> None:
        self._have(one, artifact, is_newest=True)
        self.engine.dependencies.note(one.name, artifact.manifest.requires)
        gates, seconds = self.engine.gates, one.compile_seconds
        found = gates.judge(one.directory, source, seconds, again=bool(one.facts.asked))
        one.compile_seconds = seconds or gates.build_seconds(one.name)
        one.facts = replace(one.facts, is_at_gate=found == "running")
        if isinstance(found, Fault):
            one.fault = found
            one.facts = replace(one.facts, is_broken=True)

    def gave_up(self, one: StagedPlugin, decision: Decision, error: HotloadError) -> None:
        """Log that an earlier version does not load; end the hold at it, unless the source is barred."""
        builds = self.engine.builds
        if decision.version == "last good" or (decision.version == "held" and one.facts.is_barred):
            builds.note_unusable(one.name, decision.digest, error)
        elif decision.version == "held":
            builds.release(one.name, f"the held version cannot be loaded ({error})")

    def _show_build(self, one: StagedPlugin) -> None:
        self.engine.store.put(replace(one.status, state=PluginState.BUILD))

    # ---- trials

    def _try(self, pending: dict[str, Decision]) -> bool:
        """Try plugins, each after the plugins that it requires; return false at once if one fails."""
        while pending:
            names = [name for name, each in pending.items() if pending.keys().isdisjoint(each.requires)]
            for name in names:
                if pending[name].version == "newest":
                    self._show_build(self.staged[name])
            self._leave([name for name in names if pending[name].leaves])
            if any(self._needs_room(self.staged[name]) for name in names):
                self._end_retirements()
            with self.engine.work.counting("load", len(names)):
                outcomes = self.engine.loader.trial_each([self._wanted(pending[name]) for name in names])
            results = [
                self._take(self.staged[name], pending.pop(name), outcome)
                for name, outcome in zip(names, outcomes, strict=True)
            ]
            if not all(results):
                return False
        return True

    def _leave(self, names: Iterable[str]) -> None:
        """Let live versions leave before others are tried, each after the plugins that require it."""
        loader, dependents = self.engine.loader, self.engine.dependencies.dependents
        leaving = list(dict.fromkeys(each for name in names for each in (*dependents(name), name)))
        leaving = [each for each in leaving if (live := loader.live(each))]
        if not leaving:
            return
        if (unloading := loader.unloading()) is not None:  # the retirement waits for that function
            raise RefusedError(f'on_unload of {unloading} cannot load a plugin with reload = "replace"')
        began = perf_counter()
        for name in leaving:
            one, live = self.staged[name], loader.live(name)
            assert live is not None
            one.left = LeftVersion(live.generation.artifact, one.status, began)
            is_retried = not one.facts.given
            one.facts = replace(
                one.facts, live="", generation=0, bound=(), has_left=True, is_retried=is_retried
            )
        loader.unload_together(leaving, is_replaced=True)
        for name in leaving:
            self.engine.store.put_not_live(name, PluginState.BUILD)
            self.staged[name].status = not_live(self.staged[name].status)

    def _wanted(self, decision: Decision) -> Wanted:
        one, configured = self.staged[decision.name], self.engine.config.of(decision.name)
        return Wanted(
            one.name,
            one.artifacts[decision.digest],
            configured.hook_point,
            configured.priority,
            root_dir=self.engine.rule.layout.folder_of(one.directory.path).absolute(),
            required=tuple(filter(None, map(self._generation, decision.requires))),
            is_alone=self._is_alone(one),
            is_replaced=one.facts.is_replaced,
        )

    def _is_alone(self, one: StagedPlugin) -> bool:
        """Return whether no other version of a plugin is there while one is tried."""
        return one.left is not None or (one.facts.is_replaced and not one.facts.live)

    def _needs_room(self, one: StagedPlugin) -> bool:
        """Return whether what is retired now may hold what a plugin claims."""
        return self._is_alone(one) or (one.facts.is_retried and one.facts.retry == "claim")

    def _end_retirements(self) -> None:
        """Wait until what was there before is undone: of a version that has left, or was just disabled."""
        if self.engine.loader.unloading() is None:  # else the retirement waits for the calling function
            self.engine.retire_thread.retire_now()

    def _generation(self, name: str) -> Generation | None:
        """Return the generation of a plugin to which a plugin that requires it is bound."""
        trial = self.staged[name].trial or self.engine.loader.live(name)
        return trial.generation if trial is not None else None

    def _take(self, one: StagedPlugin, decision: Decision, outcome: Outcome) -> bool:
        """Take the result of a trial; return whether the decisions still hold."""
        self.engine.self_writes.loaded(one.name, outcome.load.began, outcome.load.ended)
        if decision.version == "newest" and self._is_overtaken(one):
            if outcome.trial is not None:
                self.engine.retire_thread.discard(outcome.trial, "a newer save overtook its load")
            return False
        if outcome.trial is not None:
            one.trial = outcome.trial
            if outcome.trial.generation.number == 1:
                for text in imported_before(outcome.trial):
                    self.engine.store.write("warning", one.name, text)
            if share := self.engine.config.of(one.name).share:
                for level, text in self.engine.outdated.shares(outcome.trial, share):
                    self.engine.store.write(level, one.name, text)
            return True
        assert outcome.error is not None
        self._fail(one, decision, outcome.error)
        return False

    def _hand_over(self, loads: Iterable[Decision]) -> bool:
        """Hand resources and workers over to the trials; return whether the decisions still hold."""
        requires = {each.name: each.requires for each in loads}
        trials = [self.staged[name].trial for name in in_order(requires, requires.__getitem__)]
        failed = self.engine.loader.hand_over(filter(None, trials))
        for trial in failed:
            self.staged[trial.name].trial = None
            self.engine.retire_thread.discard(trial, "its hand-over failed")
        decisions = {each.name: each for each in loads}
        for trial, error in failed.items():
            self._fail(self.staged[trial.name], decisions[trial.name], error)
        return not failed

    def _fail(self, one: StagedPlugin, decision: Decision, error: HotloadError) -> None:
        """Note that a version does not load; raises if a plugin that is to be HELD needs that version."""
        if self._held == one.name:
            raise error
        if self._held:
            reason = f"{one.name} requires it, and does not load with it: {error}"
            raise RefusedError(reason) from error
        one.fail(decision.digest)
        if not one.facts.is_settled and self._is_quiet(one):
            one.facts = replace(one.facts, is_settled=True)
        trials = [other.trial for other in self.staged.values() if other.trial is not None]
        fault = self.engine.failure(error, one.name, one.compiled_source(), trials)
        if self._is_return and one.hold is not None and one.hold.fault is not None:
            one.fault = fault = _both(one.hold.fault, fault)
            one.hold = replace(one.hold, fault=fault)
        elif decision.version in ("newest", "live") or self._is_return:
            one.fault = fault
        elif decision.version == "last good" and one.fault is not None:
            one.fault = _both(one.fault, fault)
        self.gave_up(one, decision, error)

    def _is_quiet(self, one: StagedPlugin) -> bool:
        """Return whether the files did not change for so long that the watcher would accept them."""
        source = one.source
        if source is None or clock() - source.read_at / 1e9 < SETTLED:
            return False
        return is_as_read(source, self.engine.rule)

    def _is_overtaken(self, one: StagedPlugin) -> bool:
        """Take a newer source that is on disk after the trial, and compiles; return whether there is one."""
        # Once per update: a plugin that writes its own files has a newer source after each trial.
        assert one.source is not None
        rule, directory = self.engine.rule, one.directory
        if (
            one.name in self._overtaken
            or is_as_read(one.source, rule)
            or self.engine.self_writes.is_running(one.name)
        ):
            return False
        try:
            mark = self.engine.repositories.mark()
            source = read_source(one.name, directory.path, rule)
            is_half = self.engine.repositories.overtaken({one.name: directory.path}, mark)
            if is_half or source.digest == one.source.digest:
                return False  # git is writing: the watcher reports its changes together
            self.build(one, source)
        except HotloadError:
            return False  # perhaps half-written; the watcher reports the complete file
        one.source = source
        one.facts = replace(one.facts, source=source.digest)
        self._stage_required(one)
        self._overtaken.add(one.name)
        return True

    def _discard_outdated(self, decisions: Mapping[str, Decision]) -> None:
        """Discard the trials of versions that do not load now, or that are bound to such versions."""
        tried = [name for name, one in self.staged.items() if one.trial is not None]
        outdated: list[tuple[LivePlugin, str]] = []
        for name in in_order(tried, lambda each: decisions[each].requires):
            one, decision = self.staged[name], decisions[name]
            assert one.trial is not None
            peers = one.trial.generation.peers
            is_bound = all(peer.generation() is self._generation(other) for other, peer in peers.items())
            if one.trial.generation.artifact.manifest.digest != decision.digest or not is_bound:
                outdated.append((one.trial, decision.unmet or "what it requires does not load"))
                one.trial = None
        for trial, reason in reversed(outdated):
            self.engine.retire_thread.discard(trial, reason)

    # ---- the swap

    def _swap(self, ready: list[StagedPlugin]) -> None:
        """Make the trials live, each after the plugins that it requires."""
        trials = [one.trial for one in ready if one.trial is not None]
        loader, builds = self.engine.loader, self.engine.builds
        for one in ready:
            one.compare(loader.live(one.name))
        with loader.reporting():
            began = perf_counter()
            loader.swap(trials)
            seconds = perf_counter() - began
            sleep(0)  # let waiting threads call the new version before the reports
            for one in ready:
                self._report(one, seconds)
        self.engine.retire_thread.schedule()  # after the reports: the load is published before the retirement
        digests = {trial.name: trial.generation.artifact.manifest.digest for trial in trials}
        builds.went_live(digests)
        # Do not wait for the disk: an artifact that a power failure damages is built again.
        self.engine.retire_thread.then(functools.partial(make_durable, builds.new_among(digests)))

    def _report(self, one: StagedPlugin, seconds: float) -> None:
        """Report that a version is live after a swap that took ``seconds``."""
        before = self.engine.store.get(one.name)
        assert before is not None
        status = one.live_status(before)
        suspected = self.engine.builds.suspicion(one.name, status.digest)
        if suspected != status.suspected:
            status = replace(status, suspected=suspected)
        self.engine.store.put(status)
        self.engine.store.publish(one.event(seconds, status))
        if status.held:
            self.engine.store.publish_hold(status)
        elif status.fault is None:
            self.engine.builds.unbar(one.name, "another version is live")

    # ---- reports

    def _publish_failures(self, decisions: Mapping[str, Decision]) -> None:
        """Report the plugins whose source does not compile or load, before others are tried."""
        for one in self.staged.values():
            decision = decisions[one.name]
            if decision.action == "fail" and not decision.unmet:
                self._publish_failure(one)

    def _publish_failure(self, one: StagedPlugin) -> None:
        """Report the fault of a plugin, unless it has been reported."""
        known = self.engine.store.get(one.name)
        if one.fault is not None and (known is None or known.fault is not one.fault):
            left = one.left.status.generation if one.left and self._returns(one) else 0
            self.engine.store.put_failed(one.status, one.fault, _tried(one), one.facts.generation, left)
            self.engine.retire_thread.schedule()  # for the failed trial

    def _conclude(self, one: StagedPlugin, decision: Decision) -> None:
        """Set the status of a plugin as far as no swap does."""
        store, known = self.engine.store, self.engine.store.get(one.name)
        if decision.is_postponed:
            store.put(one.status)
            self.unproven.add(one.name)
        elif decision.unmet and decision.action == "wait":
            store.put_waiting(replace(one.status, source_digest=_tried(one)), decision.unmet)
        elif decision.unmet:
            one.fault = self.engine.failure(RequirementError(one.name, decision.unmet), one.name)
            self._publish_failure(one)
        elif decision.version == "held" and not decision.digest and one.hold is not None:
            is_live = one.hold.digest == one.facts.live
            store.put_held(one.status, one.hold if is_live else replace(one.hold, digest=""))
        elif decision.is_mended:
            digest, state = _tried(one), PluginState.OK
            store.put(replace(one.status, state=state, source_digest=digest, fault=None, held="", waits=""))
            store.publish(PluginMended(clock(), one.name))
        elif decision.action == "keep" and known is not None and known.state is PluginState.BUILD:
            store.put(one.status)

    def _discard(self, staged: Iterable[StagedPlugin], reason: str) -> None:
        """Discard trials, each before those of the plugins that it requires."""
        for one in reversed(list(staged)):
            assert one.trial is not None
            self.engine.retire_thread.discard(one.trial, reason)
            one.trial = None
        self.engine.retire_thread.schedule()


def _both(fault: Fault, again: Fault) -> Fault:
    """Return the fault of a version, with that of the last good version, which does not load either."""
    note = f"the last good version does not load either: {again.type}: {again.message}"
    causes = (*fault.causes, replace(again, relation="member"))
    return replace(fault, notes=(*fault.notes, note), causes=causes)


def _tried(one: StagedPlugin) -> str:
    """Return the digest of the source that a status is about; empty if it cannot be read."""
    if one.source is not None:
        return one.source.digest
    return "" if one.facts.is_broken else one.status.source_digest
