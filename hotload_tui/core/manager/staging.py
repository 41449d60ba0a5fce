"""Staged plugins: the facts about the plugins of an update or a plan, collected as ``decide`` needs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact, Manifest
from hotload_tui.core.compiled import Hold
from hotload_tui.core.compiler import Preview
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import HotloadError, RequirementError, nearest
from hotload_tui.core.events import PluginLoaded, Step
from hotload_tui.core.faults import TWICE, is_claimed_twice
from hotload_tui.core.manager.decide import BROKEN, LEFT, Decision, Facts, Retry, decide
from hotload_tui.core.manager.engine import Engine, is_same
from hotload_tui.core.model import Fault, PluginState, PluginStatus
from hotload_tui.core.primitives import perf_counter
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.source import Source, SourceFile, read_source
from hotload_tui.core.watch.scanner import PluginChange


class LeftVersion(Struct, frozen=True):
    """A version that has left before its successor is tried (``reload = "replace"``)."""

    artifact: Artifact
    status: PluginStatus
    """The plugin's status while it was live."""
    at: float
    """When it left, in seconds of ``time.perf_counter``."""


class StagedPlugin(Struct):
    """One plugin on its way through a plan or an update."""

    directory: PluginDirectory
    status: PluginStatus
    """The status before the update."""
    facts: Facts
    source: Source | None = None
    """The source on disk; ``None`` if it is not read."""
    hold: Hold | None = None
    """The hold that keeps the plugin from following its source."""
    fault: Fault | None = None
    """Why the source, or the live version that was loaded again, does not load."""
    artifacts: dict[str, Artifact] = {}
    """The artifacts at hand, by digest."""
    compile_seconds: float = 0.0
    """Duration of the build; 0 if the artifact existed already."""
    preview: Preview | None = None
    """What a build would do; only in a plan."""
    decision: Decision | None = None
    """The decision, when it is final."""
    left: LeftVersion | None = None
    """The version that was live until it left so that another one can be tried."""
    trial: LivePlugin | None = None
    """The successful trial, which goes live if the decision loads this plugin."""
    previous: int = 0
    """The number of the generation that the trial replaces; 0 if none is live."""
    changed: int = 0
    """Number of files of the trial that differ from those of the replaced generation."""

    @property
    def name(self) -> str:
        """Name of the plugin."""
        return self.directory.name

    def compiled_source(self) -> Source | None:
        """Return the source with its files; if they were not read, with those of the artifact."""
        if self.source is None or self.source.files:
            return self.source
        artifact = self.artifacts[self.source.digest]
        members = [member for member in artifact.manifest.members if member.code_size]
        files = (SourceFile(each.path, artifact.source(each.path), each.sha256) for each in members)
        return replace(self.source, files=tuple(files))

    def fail(self, digest: str) -> None:
        """Add the fact that a version does not load."""
        self.facts = replace(self.facts, failed=self.facts.failed | {digest})

    def live_status(self, before: PluginStatus) -> PluginStatus:
        """Return the plugin's status after the swap of its trial."""
        trial, decision = self.trial, self.decision
        assert trial is not None
        assert decision is not None
        is_behind = before.state in (*BROKEN, PluginState.HELD)
        source, held, fault = before.source_digest, before.held, before.fault if is_behind else None
        if decision.version == "newest" and self.source is not None:
            source, held, fault = self.source.digest, "", None
        elif decision.version == "held" and self.hold is not None:
            source, held, fault = self.hold.source, self.hold.reason, self.hold.fault
        state = PluginState.OK if fault is None else PluginState.STALE
        return replace(
            before,
            state=PluginState.HELD if held else state,
            digest=decision.digest,
            source_digest=source,
            generation=trial.generation.number,
            points=trial.places,
            compile_seconds=self.compile_seconds if decision.version == "newest" else 0.0,
            load_seconds=trial.load_seconds,
            loaded_at=trial.loaded_at,
            reloads=before.reloads + (before.generation != 0 or self.left is not None),
            fault=fault,
            memory=before.memory if self.left else "",  # with a gap, the old version has retired before
            left=before.left if self.left else (),
            held=held,
            waits="",
            reload="replace" if self.facts.is_replaced else "",
            gap_seconds=perf_counter() - self.left.at if self.left else 0.0,
        )

    def compare(self, live: LivePlugin | None) -> None:
        """Compare the trial with the version that it replaces, before the swap.

        Only figures are kept: a reference to the replaced version would keep it in memory.
        """
        assert self.trial is not None
        replaced = live.generation.artifact if live else None
        self.previous = live.generation.number if live else 0
        if self.left:
            self.previous, replaced = self.left.status.generation, self.left.artifact
        differing = _files(self.trial.generation.artifact) ^ (_files(replaced) if replaced else set())
        self.changed = len({path for path, _ in differing})

    def event(self, swap_seconds: float, status: PluginStatus) -> PluginLoaded:
        """Return the event for the swap after which the plugin has ``status``.

        ``swap_seconds`` is the duration for the whole batch.
        """
        trial = self.trial
        assert trial is not None
        gap = (Step("gap", status.gap_seconds),) if self.left else ()
        return PluginLoaded(
            trial.loaded_at,
            trial.name,
            trial.generation.number,
            trial.generation.artifact.manifest.digest,
            trial.places,
            trial.load_seconds,
            (*trial.steps, Step("swap", swap_seconds), *gap),
            self.previous,
            self.changed,
            status.compile_seconds,
        )


def _files(artifact: Artifact) -> set[tuple[str, str]]:
    """Return the path and the SHA-256 of each file."""
    return {(member.path, member.sha256) for member in artifact.manifest.members}


class Stager(ABC):
    """Stages plugins, and collects the facts on which ``decide`` decides; used once.

    A plan and an update stage the same plugins, read the same sources and open the same artifacts. They
    differ in how they build an artifact.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._names: Iterable[str] | None = None  # names of all plugins; ``None``: those in the status store
        self.staged: dict[str, StagedPlugin] = {}

    @abstractmethod
    def build(self, one: StagedPlugin, source: Source) -> None:
        """Build the artifact of a source, and add it to the facts of its plugin. Raises ``HotloadError``."""

    @abstractmethod
    def gave_up(self, one: StagedPlugin, decision: Decision, error: HotloadError) -> None:
        """Take note that an artifact that exists already does not load."""

    # ---- staging

    def stage(
        self, directory: PluginDirectory, asked: str = "", change: PluginChange | None = None
    ) -> StagedPlugin:
        """Stage a plugin that is to be brought up to date with its source.

        ``asked``: why it loads although it may be unchanged or HELD. ``change``: what the watcher has read.
        """
        is_on = self.engine.is_on(directory)
        one = self._add(directory, self.engine.status_of(directory), "on" if is_on else "off")
        is_settled = change is None or change.is_settled
        one.facts = replace(one.facts, given=True, asked=asked, is_settled=is_settled)
        if is_on:
            self.read(one, change)
        return one

    def stage_gone(self, name: str) -> None:
        """Stage a plugin whose directory is gone, or a name without a plugin."""
        names = self._names
        if names is None:
            names = [each.name for each in self.engine.store.statuses()]
        status = self.engine.store.get(name) or PluginStatus(name, PluginState.NEW, "")
        self._add(
            PluginDirectory(name, Path(status.path), enabled=False), status, "gone", nearest(name, names)
        )

    def stage_others(self) -> None:
        """Stage the plugins that may have to load with the staged ones."""
        for name in self.engine.dependencies.requiring():
            self.stage_known(name)
        for one in list(self.staged.values()):
            self._stage_required(one)

    def retry_tied(self, name: str = "") -> None:
        """Try the plugins again that wait for a change of other plugins (of ``name``, if it is given)."""
        newest = self.engine.dependencies.newest
        for status in self.engine.store.statuses():
            retry, other = _retry_of(status), status.name
            if not retry or status.state is PluginState.OFF:
                continue
            is_meant = retry == "tied" and other in newest(name) if name else retry in LEFT
            if is_meant or (name and name in newest(other)):
                self.stage_known(other)
                one = self.staged[other]
                one.facts = replace(one.facts, is_retried=retry == "claim" or not one.facts.given)

    def stage_known(self, name: str, directory: PluginDirectory | None = None) -> None:
        """Stage a plugin that stays as the status store knows it, unless another plugin concerns it.

        ``directory``: where the plugin is, if the status store may not know it.
        """
        if name in self.staged:
            return
        status = self.engine.store.get(name)
        if status is None and directory is not None:
            status = self.engine.status_of(directory)
        if status is None:
            self.stage_gone(name)
        else:
            directory = PluginDirectory(name, Path(status.path), enabled=True)
            self._add(directory, status, "off" if status.state is PluginState.OFF else "on")

    def _stage_required(self, one: StagedPlugin) -> None:
        """Stage the plugins that a staged plugin requires, and those that they require."""
        for requires in (one.facts.requires, *one.facts.versions.values()):
            for name in requires:
                if name not in self.staged:
                    self.stage_known(name)
                    self._stage_required(self.staged[name])

    def _add(
        self,
        directory: PluginDirectory,
        status: PluginStatus,
        disk: Literal["on", "off", "gone"],
        near: str = "",
    ) -> StagedPlugin:
        engine, name = self.engine, directory.name
        facts = Facts(
            name,
            disk,
            near,
            status.state,
            tried=status.source_digest,
            retry=_retry_of(status),
            requires=engine.dependencies.newest(name) if disk == "on" else (),
            last_good=engine.builds.last_good(name),
        )
        one = self.staged[name] = StagedPlugin(directory, status, facts)
        if (live := engine.loader.live(name)) is not None:
            artifact = live.generation.artifact
            one.facts = replace(
                facts,
                live=artifact.manifest.digest,
                generation=live.generation.number,
                bound=tuple(live.generation.peers),
            )
            self._have(one, artifact)
        return one

    def _have(self, one: StagedPlugin, artifact: Artifact, *, is_newest: bool = False) -> None:
        """Add the fact that an artifact is at hand."""
        digest = artifact.manifest.digest
        one.artifacts[digest] = artifact
        self._know(one, digest, artifact.manifest, is_newest=is_newest)

    def _know(self, one: StagedPlugin, digest: str, version: Manifest | Preview, *, is_newest: bool) -> None:
        """Add the facts that a version states: what it requires, and whether it leaves before another."""
        engine, facts = self.engine, one.facts
        requires = engine.dependencies.of(one.name, version.requires)
        is_replaced = (engine.config.of(one.name).reload or version.reload) == "replace" or facts.is_replaced
        one.facts = replace(facts, versions={**facts.versions, digest: requires}, is_replaced=is_replaced)
        if is_newest:
            one.facts = replace(one.facts, is_built=True, requires=requires)

    # ---- the facts that a decision needs

    def decide(self) -> dict[str, Decision]:
        """Return what happens to each staged plugin; read, build and open all that this depends on."""
        while True:
            decisions = decide({name: one.facts for name, one in self.staged.items()})
            needed = [each for each in decisions.values() if each.needs]
            if not needed:
                return decisions
            with self.engine.work.counting("compile", sum(each.version == "newest" for each in needed)):
                for decision in needed:
                    one = self.staged[decision.name]
                    if decision.needs == "source":
                        one.facts = replace(one.facts, is_retried=True)
                        self.read(one)
                    else:
                        self._provide(one, decision)
                    self._stage_required(one)

    def read(self, one: StagedPlugin, change: PluginChange | None = None) -> None:
        """Read the source of a plugin, if the watcher has not read it, and find out whether it is HELD."""
        directory, source = one.directory, change.source if change is not None else None
        try:
            with self.engine.blaming(one.name):
                if source is None or source.path != directory.path.absolute():
                    source = read_source(one.name, directory.path, self.engine.rule)
        except HotloadError as error:
            self._broke(one, error)
            one.facts = replace(one.facts, source="")
        else:
            self._follow(one, source)

    def _follow(self, one: StagedPlugin, source: Source) -> None:
        """Take a source as the newest of a plugin."""
        one.source = source
        hold = None if one.facts.asked else self.engine.builds.hold(one.name, source.digest)
        one.facts = replace(one.facts, source=source.digest)
        self._held_at(one, hold, is_barred=self.engine.builds.is_barred(one.name, source.digest))

    def _held_at(self, one: StagedPlugin, hold: Hold | None, *, is_barred: bool = False) -> None:
        """Take a hold as that of a plugin."""
        one.hold = hold
        if hold is not None:
            one.facts = replace(
                one.facts,
                hold=hold.digest,
                reason=hold.reason,
                is_pinned=hold.is_pinned,
                is_barred=is_barred,
            )

    def _provide(self, one: StagedPlugin, decision: Decision) -> None:
        """Build the newest version, or open the artifact of another one."""
        try:
            if decision.version == "newest":
                assert one.source is not None
                with self.engine.blaming(one.name):
                    self.build(one, one.source)
            else:
                self._have(one, self.engine.builds.compiler.open(one.name, decision.digest))
        except HotloadError as error:
            if decision.version == "newest":
                self._broke(one, error)
            else:
                one.fail(decision.digest)
                self.gave_up(one, decision, error)

    def _broke(self, one: StagedPlugin, error: HotloadError) -> None:
        """Add the fact that the source cannot be read or compiled."""
        one.fault = fault = self.engine.failure(error, one.name, one.source)
        is_known = fault.phase == "discover" and is_same(fault, one.status.fault)
        may_revive = not one.facts.live and self.engine.builds.has_untried(one.name)
        one.facts = replace(one.facts, is_broken=True, is_news=not is_known or may_revive)


def _retry_of(status: PluginStatus) -> Retry:
    """Return when to try a plugin again although it did not change."""
    if status.state is PluginState.WAIT:
        return "tied"
    if status.state not in BROKEN or status.fault is None:
        return ""
    if status.fault.type == RequirementError.__name__:
        return "tied"
    if status.fault.phase not in ("load", "register"):
        return ""
    is_claim = is_claimed_twice(status.fault) and TWICE not in status.fault.notes
    return "claim" if is_claim else "required"


def why_again(status: PluginStatus | None) -> str:
    """Return why a rebuild of all plugins loads an unchanged plugin again; empty if it does not."""
    if status is None or status.fault is None or status.state is PluginState.HELD:
        return ""
    if status.fault.is_running:
        what = "a handler" if status.fault.phase == "hook" else f"its {status.fault.step(status.generation)}"
        return f"{what} failed, and the plugin is loaded again"
    return "it failed before, and is tried again"
