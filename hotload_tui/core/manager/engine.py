"""The engine: the parts of the manager with which every command works, and what they know of all plugins."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from time import time as clock  # a plugin can replace it
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import FaultRecord, Hold, Record, SourceIndex, restore
from hotload_tui.core.compiler import Build, Compiler
from hotload_tui.core.config import Config
from hotload_tui.core.directories import PluginDirectory, found_status
from hotload_tui.core.errors import (
    ArtifactError,
    CompileError,
    DiscoverError,
    HotloadError,
    LoadError,
    RefusedError,
    RegisterError,
    RequirementError,
)
from hotload_tui.core.events import ArtifactRejected, PluginCompiled, PluginReleased
from hotload_tui.core.faults import (
    LEFT_BEHIND,
    TextOf,
    claim_hint,
    fault_of,
    is_claimed_twice,
    message_of,
    raised_by,
)
from hotload_tui.core.interpreter import Interrupted
from hotload_tui.core.limits import StallWatch
from hotload_tui.core.manager.decide import depending_on, in_order
from hotload_tui.core.manager.gates import Gates
from hotload_tui.core.manager.outdated import Outdated
from hotload_tui.core.manager.retire_thread import RetireThread
from hotload_tui.core.manager.store import StatusStore, WorkMonitor
from hotload_tui.core.model import Fault, FileDigest, Phase, PluginState, PluginStatus, StepObserver
from hotload_tui.core.primitives import RLock, get_ident, time_ns
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.runtime.loader import Loader
from hotload_tui.core.runtime.resources import in_function
from hotload_tui.core.runtime.retirement import parts_of
from hotload_tui.core.source import Source, SourceRule, decoded
from hotload_tui.core.watch.scanner import PluginChange, Repositories


class Builds:
    """The manager's work in ``compiled_dir``: artifacts, and the record of good, held and barred versions.

    Only one thread may use it at a time.
    """

    def __init__(
        self,
        config: Config,
        store: StatusStore,
        rule: SourceRule,
        step_observer: StepObserver,
        stall_watch: StallWatch,
    ) -> None:
        folder = Path(config.compiled_dir).absolute()
        self._store = store
        self._stall_watch = stall_watch
        self._module_path = config.module_path
        self._keep = config.keep_generations
        plugins = Path(config.runtime_dir).absolute()
        self.compiler = Compiler(
            folder,
            config.module_path,
            plugins=plugins,
            rule=rule,
            max_file_size=config.max_file_size,
            step_observer=step_observer,
        )
        self.record = Record(folder)
        self.index = SourceIndex(folder, config.watch.ignore, config.layout)
        self._published: set[str] = set()  # plugins with new artifacts since the last pruning
        self._suspected: set[str] = set()  # plugins whose suspected version has gone live in this host
        self._unusable: set[tuple[str, str]] = set()  # last good artifacts that did not load in this host

    def compile(self, directory: PluginDirectory, source: Source, *, fresh: bool) -> Build:
        """Build the artifact of a source and publish the result; ``fresh`` reuses no earlier artifact.

        Raises the errors of ``Compiler.compile``.
        """
        build = self.compiler.compile(directory.path, source, fresh=fresh)
        self.index.note(source)
        now = clock()
        if build.rejected:
            self._store.publish(ArtifactRejected(now, source.name, build.rejected))
        if build.compiled or build.reused:
            self._published.add(source.name)
            self._store.publish(
                PluginCompiled(
                    now,
                    source.name,
                    source.digest,
                    build.compiled,
                    build.reused,
                    build.size,
                    build.seconds,
                    build.warnings,
                    build.steps,
                )
            )
            for warning in build.warnings:
                self._store.write("warning", source.name, warning)
        return build

    def known(self, directory: PluginDirectory) -> tuple[Source, Artifact] | None:
        """Return a plugin's source and artifact if neither needs to be read or built; else ``None``."""
        source = self.index.find(directory.name, directory.path)
        artifact = self.compiler.known(source.name, source.digest) if source else None
        return (source, artifact) if source and artifact else None

    def went_live(self, digests: Mapping[str, str]) -> None:
        """Record the digests that are live now as the last good digests of their plugins."""
        with self._warned():
            self.record.set_last_good(digests)

    def new_among(self, digests: Mapping[str, str]) -> list[Path]:
        """Return the paths of the artifacts in ``digests`` that were published since the last pruning."""
        return [self.compiler.path(name, digests[name]) for name in self._published & digests.keys()]

    def note_unusable(self, name: str, digest: str, error: HotloadError) -> None:
        """Record and log that the last good artifact does not load in this host."""
        self._unusable.add((name, digest))
        self._store.write("warning", name, f"the last good version does not load: {error}")

    def has_untried(self, name: str) -> bool:
        """Return whether there is a last good artifact that has not failed to load in this host."""
        digest = self.last_good(name)
        return digest != "" and (name, digest) not in self._unusable

    def last_good(self, name: str) -> str:
        """Return the last good digest; empty if there is none or it is barred."""
        digest = self.record.last_good(name)
        return "" if self.is_barred(name, digest) else digest

    def files(self, name: str, digest: str) -> tuple[FileDigest, ...]:
        """Return the files of an artifact; empty if it is missing or unusable."""
        try:
            members = self.compiler.open(name, digest).manifest.members
        except ArtifactError:
            return ()
        return tuple(FileDigest(member.path, member.sha256, member.size) for member in members)

    def hold(self, name: str, source: str) -> Hold | None:
        """Return the hold that keeps the plugin from following this source; ``None`` if there is none."""
        hold, barred = self.record.hold(name), self.record.barred(name)
        is_meant = hold is not None and (hold.source == source or hold.is_pinned)
        if hold is not None and is_meant and not self.is_barred(name, hold.digest):
            return hold
        if barred is None or source not in barred.digests:
            return None
        return Hold(source, self.last_good(name), barred.fault.message, barred.fault)

    def is_barred(self, name: str, source: str) -> bool:
        """Return whether this source is barred from loading."""
        barred = self.record.barred(name)
        return barred is not None and source in barred.digests

    def keep(self, name: str, hold: Hold) -> None:
        """Hold the plugin in this host and in later hosts."""
        with self._warned():
            self.record.keep(name, hold)

    def stay(self, name: str, hold: Hold, source: str) -> Hold:
        """Keep a plugin at the version that the user chose although its source changed; return the hold."""
        self._store.write(
            "warning",
            name,
            f"saved, but it stays as the user chose ({hold.reason}): 'hotload release {name}', or h in the "
            "console, lets it follow its source",
        )
        renewed = replace(hold, source=source)
        self.keep(name, renewed)
        return renewed

    def release(self, name: str, reason: str = "") -> None:
        """End the plugin's hold and publish the release; do nothing if the plugin has no hold.

        Without a ``reason``, nobody asked for it: the source changed, or the held version is barred.
        """
        hold = self.record.hold(name)
        if hold is not None:
            is_pinned = hold.is_pinned
            reason = reason or (
                "the version that the user chose ended its host" if is_pinned else "its source changed"
            )
            with self._warned():
                self.record.keep(name, None)
            self._store.publish(PluginReleased(clock(), name, reason))

    def unbar(self, name: str, reason: str) -> None:
        """Allow every version to load again and publish the release; do nothing if no version is barred."""
        if self.record.barred(name) is not None:
            with self._warned():
                self.record.unbar(name)
            self._store.publish(PluginReleased(clock(), name, reason))

    def suspicion(self, name: str, digest: str) -> str:
        """Return why a version that goes live may have ended an earlier host; empty if it is not suspected.

        The suspicion is forgotten when the version loads again, or another one goes live.
        """
        suspected, reason = self.record.suspicion(name)
        if not suspected:
            return ""
        if suspected == digest and name not in self._suspected:
            self._suspected.add(name)
            return reason
        with self._warned():
            self.record.unsuspect(name)
        return ""

    def prune(self, live_digest: Callable[[str], str]) -> None:
        """Remove old artifacts of the plugins that have new ones, including artifacts that failed to load.

        ``live_digest`` returns a plugin's live digest. The live, last good and held artifacts always stay.
        """
        published, self._published = self._published, set()
        if not published:
            return
        with self._warned():
            self.record.read()
            holds = {name: self.record.hold(name) for name in published}
            in_use = {
                name: {*self.record.good(name), live_digest(name), hold.digest if hold else ""}
                for name, hold in holds.items()
            }
            self.compiler.prune(self._keep, in_use)

    def clean(self, name: str | None = None) -> tuple[dict[str, int], Callable[[], None]]:
        """Remove the artifacts of one plugin or all plugins; return the number per plugin, and the undo.

        Live generations stay live. Raises ``ArtifactError``.
        """
        forgotten = self.record.forget(name)
        when = f"{time_ns():020d}"
        removed = self.compiler.clean(name, when)

        def undo() -> None:
            restore(self.compiler.folder, when)
            with self._warned():
                self.record.set_good(
                    {each: good for each, good in forgotten.items() if not self.record.good(each)}
                )

        return removed, undo

    @contextlib.contextmanager
    def _warned(self) -> Iterator[None]:
        """Log an ``ArtifactError``, or an error of code that a plugin has put in the way, and continue."""
        try:
            with self._stall_watch.limited(nested=1):
                yield
        except ArtifactError as error:
            self._store.write("warning", "", str(error))
        except (Exception, Interrupted) as error:
            culprit = raised_by(error, self._module_path)
            if not culprit and isinstance(error, Exception):
                raise
            problem = message_of(error) or "its code does not end"
            self._store.write("warning", culprit, f"it keeps hotload from writing: {problem}")


class DependencyGraph:
    """The requirements of plugins: from the configuration, the artifacts and the newest builds."""

    def __init__(self, config: Config, loader: Loader) -> None:
        self._config = config
        self._loader = loader
        self._newest: dict[str, tuple[str, ...]] = {}
        self._requiring: set[str] = set()  # the plugins whose entry in _newest is not empty

    def of(self, name: str, requires: Iterable[str]) -> tuple[str, ...]:
        """Return the requirements of a version: those that its artifact states, and the configured ones."""
        return tuple(dict.fromkeys([*requires, *self._config.of(name).requires]))

    def note(self, name: str, stated: Iterable[str]) -> None:
        """Record the requirements of the newest version of a plugin; its artifact states some of them."""
        self._newest[name] = requires = self.of(name, stated)
        (self._requiring.add if requires else self._requiring.discard)(name)

    def forget(self, name: str) -> None:
        """Remove the record of a plugin that is gone."""
        self._newest.pop(name, None)
        self._requiring.discard(name)

    def newest(self, name: str) -> tuple[str, ...]:
        """Return the requirements of the newest known version of a plugin."""
        found = self._newest.get(name)
        return self.of(name, self.bound(name)) if found is None else found

    def bound(self, name: str) -> tuple[str, ...]:
        """Return the plugins that the live generation of a plugin requires."""
        live = self._loader.live(name)
        return tuple(live.generation.peers) if live is not None else ()

    def requiring(self) -> list[str]:
        """Return the plugins whose live or newest known version requires a plugin, by name."""
        configured = (name for name, settings in self._config.plugins.items() if settings.requires)
        return sorted({*self._loader.bound(), *self._requiring, *configured})

    def dependents(self, name: str) -> list[str]:
        """Return the live plugins that require this plugin, each before the plugins that it requires."""
        live = self._loader.names()
        found = depending_on([name], live, self.bound)
        return in_order((each for each in live if each in found), self.bound)[::-1]


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

    def judge(self, change: PluginChange) -> Literal["take", "wait", "ignore"]:
        """Return what to do with a change; ``wait``: take it once it is settled.

        A plugin that changes its own files at each load would load without end. It may not have made the
        last change that is taken, so that one waits.
        """
        loads = self._loads.setdefault(change.name, _Loads())
        if change.modified:
            is_own = loads.began - _GRAIN <= change.modified <= loads.ended
            loads.rounds = loads.rounds + 1 if is_own else 0
        if loads.rounds > _ROUNDS:
            return "ignore"
        return "wait" if loads.rounds == _ROUNDS and change.modified else "take"


class CommandLock:
    """Makes the commands of the manager run one at a time."""

    def __init__(
        self, is_inside_trial: Callable[[], bool], blocked: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """``blocked`` keeps the running command from waiting for the calling thread, which waits for it."""
        self._is_inside_trial = is_inside_trial
        self._blocked = blocked
        self._lock = RLock()
        self._holder = 0  # identifier of the thread whose command runs; 0: none
        self._afterwards: Callable[[], None] | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[bool]:
        """Wait for the lock and hold it; a thread that holds it may take it again.

        Yields whether the thread did not hold it before.

        Raises ``RefusedError`` in a plugin that is being loaded: the command that loads it holds the lock.
        """
        self.refuse_inside_trial()
        afterwards = None
        if not self._lock.acquire(blocking=False):
            with self._blocked():
                self._lock.acquire()
        try:
            before, self._holder = self._holder, get_ident()
            try:
                yield not before
            finally:
                self._holder = before
                if not before:
                    afterwards, self._afterwards = self._afterwards, None
        finally:
            self._lock.release()
        if afterwards is not None:
            afterwards()

    def put_off(self, call: Callable[[], None]) -> bool:
        """Run ``call`` after the calling thread's command ends; return false if the thread runs none."""
        if self._holder != get_ident():
            return False
        self._afterwards = call
        return True

    def refuse_inside_trial(self) -> None:
        """Raise ``RefusedError`` if the calling thread executes a plugin's modules or its ``register``."""
        if self._is_inside_trial():
            raise RefusedError(
                "a plugin cannot command its manager while it is being loaded; do it in a handler"
            )


class Engine:
    """The parts of the manager with which every command works."""

    def __init__(self, config: Config, store: StatusStore, loader: Loader, work: WorkMonitor) -> None:
        self.config = config
        self.store = store
        self.loader = loader
        self.work = work
        self.root = Path(config.runtime_dir).absolute()
        self.rule = SourceRule(config.watch.ignore, config.layout)
        self.builds = Builds(config, store, self.rule, work, loader.stall_watch)
        self.gates = Gates(config, store, self.rule, self.builds.record.good)
        self.dependencies = DependencyGraph(config, loader)
        self.self_writes = SelfWriteGuard()
        self.repositories = Repositories(self.root, config.debounce_time)
        self.retire_thread = RetireThread(loader, store)
        self.outdated = Outdated(self.root, Path(config.compiled_dir).absolute(), config.module_path)
        store.history.keep_in(FaultRecord(self.builds.compiler.folder), self.retire_thread.later)

    def failure(
        self,
        error: HotloadError,
        plugin: str,
        source: Source | None = None,
        trials: Iterable[LivePlugin] = (),
    ) -> Fault:
        """Return the fault of a plugin, and drop the tracebacks of ``error``: their frames keep its version.

        ``source`` contains the files that were compiled. ``trials``: versions of other plugins that are about
        to go live.
        """
        fault = self._explained(error, plugin, source, trials)
        for part in parts_of(error):
            if isinstance(part, BaseException):
                BaseException.with_traceback(part, None)
        return fault

    def _explained(
        self, error: HotloadError, plugin: str, source: Source | None, trials: Iterable[LivePlugin]
    ) -> Fault:
        fault = fault_of(
            error,
            phase=_phase(error),
            plugin=plugin,
            module_path=self.config.module_path,
            text_of=_texts(source),
        )
        if explained := self.loader.explain_taken(plugin, fault.message):
            return replace(fault, notes=(*fault.notes, *explained))
        if fault.phase in ("load", "register") and is_claimed_twice(fault):
            files = (file for file in (source.files if source else ()) if file.path.endswith(".py"))
            failed = "\n".join(decoded(file.content) for file in files)
            live = filter(None, map(self.loader.live, self.loader.names()))
            others = {each.name: each for each in (*trials, *live) if each.name != plugin}
            texts = ((name, _text(other)) for name, other in others.items())
            hint = claim_hint(fault, failed, self._holding(plugin, fault), texts)
            known = self.store.get(plugin)
            if (
                not hint
                and known is not None
                and any(line.startswith(("claim ", "reference ")) for line in known.left)
            ):
                hint = LEFT_BEHIND
            return replace(fault, notes=(*fault.notes, hint)) if hint else fault
        return fault

    def _holding(self, plugin: str, fault: Fault) -> str:
        """Return the source of the live version; empty if it had released what the next one did not get."""
        live = self.loader.live(plugin)
        if live is None:
            return ""
        released = {in_function("acquire", owned.key) for owned in live.context.owned}
        return _text(live) if released.isdisjoint(fault.notes) else ""

    @contextlib.contextmanager
    def blaming(self, plugin: str) -> Iterator[None]:
        """Turn what code does that another plugin has put into the engine's way into a fault; limit it."""
        try:
            with self.loader.stall_watch.limited(nested=1):
                yield
        except HotloadError:
            raise
        except Interrupted as error:
            problem = f"code of a plugin did not end within drain_timeout = {self.config.drain_timeout:g} s"
            cause = TimeoutError(f"{problem}; it was interrupted here").with_traceback(error.__traceback__)
            raise CompileError(plugin, problem) from cause
        except Exception as error:
            culprit = raised_by(error, self.config.module_path)
            if not culprit:
                raise
            problem = f"plugin {culprit} has changed a function that hotload needs"
            raise CompileError(plugin, problem) from error

    def is_on(self, directory: PluginDirectory) -> bool:
        """Return whether both the directory's name and the configuration enable the plugin."""
        return directory.enabled and self.config.of(directory.name).enabled

    def status_of(self, directory: PluginDirectory) -> PluginStatus:
        """Return the status of a plugin, with its present path."""
        found, known = found_status(directory, self.config, self.rule.layout), self.store.get(directory.name)
        if known is None:
            return found
        return replace(
            known,
            state=found.state if known.state is PluginState.OFF else known.state,
            path=found.path,
            entry=found.entry,
        )


def is_same(fault: Fault, before: Fault | None) -> bool:
    """Return whether the fault equals the previous fault in everything but its time."""
    return before is not None and replace(before, at=fault.at) == fault


def _text(version: LivePlugin) -> str:
    """Return the source of a version; empty if its artifact is damaged."""
    artifact = version.generation.artifact
    paths = [member.path for member in artifact.manifest.members if member.code_size]
    with contextlib.suppress(ArtifactError):
        return "\n".join(decoded(artifact.source(path)) for path in paths)
    return ""


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
    contents = (
        {str(Path(source.root, file.path)): file.content for file in source.files if not file.place}
        if source
        else {}
    )

    def text_of(file: str) -> str | None:
        content = contents.get(file)
        return None if content is None else decoded(content)

    return text_of
