"""The builds: build, report, prune and clean artifacts, and record each plugin's last good artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import time as clock  # a plugin can replace it

from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import Hold, Record, SourceIndex, restore
from hotload_tui.core.compiler import Build, Compiler
from hotload_tui.core.config import Config
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import ArtifactError, HotloadError
from hotload_tui.core.events import ArtifactRejected, PluginCompiled, PluginReleased
from hotload_tui.core.faults import message_of, raised_by
from hotload_tui.core.interpreter import Interrupted
from hotload_tui.core.limits import StallWatch
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import FileDigest, StepObserver
from hotload_tui.core.primitives import time_ns
from hotload_tui.core.source import Source, SourceRule


class Builds:
    """The manager's work in ``compiled_dir``; only one thread may use it at a time."""

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
