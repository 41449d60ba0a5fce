"""The builds: artifacts made, told, pruned and cleaned, and the one of each plugin that served last."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiler import Build, Compiler
from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import ArtifactError, HotloadError
from hotload_tui.core.events import ArtifactRejected, PluginCompiled
from hotload_tui.core.history import LastGood
from hotload_tui.core.manager.board import Board
from hotload_tui.core.plugin import Fault
from hotload_tui.core.source import Source


class Builds:
    """What the manager does in ``compiled_dir``; used by one thread at a time."""

    def __init__(self, config: Config, board: Board) -> None:
        folder = Path(config.compiled_dir).absolute()
        self._board = board
        self._keep = config.keep_generations
        self._compiler = Compiler(folder)
        self._last_good = LastGood(folder)
        self._published: set[str] = set()  # plugins with new artifacts since the last pruning
        self._vain: set[tuple[str, str]] = set()  # last good artifacts that did not load in this host

    def remove_leftovers(self) -> None:
        """Remove what a killed host left half-written."""
        self._compiler.remove_leftovers()

    def compile(self, directory: PluginDirectory, source: Source, *, fresh: bool) -> Build:
        """Build the artifact of a source, and tell; ``fresh`` takes nothing from earlier ones.

        Raises what ``Compiler.compile`` raises.
        """
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

    def served(self, digests: Mapping[str, str]) -> None:
        """Remember the digests that serve now as each plugin's last good."""
        try:
            self._last_good.record(digests)
        except ArtifactError as error:
            self._board.write("warning", "", str(error))

    def last_good(self, name: str, was_tried: str) -> Artifact | None:
        """Return the artifact that served last, unless it is ``was_tried`` or cannot be used."""
        digest = self._last_good.of(name)
        if not digest or digest == was_tried or self.is_held(name, digest):
            return None
        try:
            return self._compiler.open(name, digest)
        except ArtifactError as error:
            self.was_vain(name, digest, error)
            return None

    def was_vain(self, name: str, digest: str, error: HotloadError) -> None:
        """Note that the last good artifact does not load in this host."""
        self._vain.add((name, digest))
        self._board.write("warning", name, f"the last good version does not load: {error}")

    def has_untried(self, name: str) -> bool:
        """Tell whether there is a last good artifact that has not failed to load in this host."""
        digest = self._last_good.of(name)
        return digest != "" and (name, digest) not in self._vain and not self.is_held(name, digest)

    def is_held(self, name: str, digest: str) -> bool:
        """Tell whether this artifact of a plugin must not be loaded, because it killed a host."""
        return digest in self._last_good.held(name)[0]

    def held_fault(self, name: str) -> Fault:
        """Return why a plugin is held back."""
        fault = self._last_good.held(name)[1]
        return fault or Fault("host", name, "Held", "it was held back, and the reason is lost", time.time())

    def hold(self, name: str, digest: str, fault: Fault) -> None:
        """Have this artifact not loaded, in this host and the next ones; raises ``ArtifactError``."""
        self._last_good.hold(name, digest, fault)

    def release(self, name: str) -> None:
        """Hold nothing of a plugin back any more; a failure is told in the log."""
        try:
            self._last_good.release(name)
        except ArtifactError as error:
            self._board.write("warning", name, str(error))

    def prune(self, serving: Callable[[str], str]) -> None:
        """Remove old artifacts of the plugins that have new ones: what fails to load piles up, too.

        ``serving`` returns the digest that serves of a plugin; neither that nor the last good is removed.
        """
        published, self._published = self._published, set()
        if not published:
            return
        self._last_good.read()
        in_use = {name: {self._last_good.of(name), serving(name)} for name in published}
        try:
            self._compiler.prune(self._keep, in_use)
        except ArtifactError as error:
            self._board.write("warning", "", str(error))

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
