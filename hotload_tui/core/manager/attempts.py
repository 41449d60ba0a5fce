"""Attempts: a source is compiled and tried, and tried anew if it changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiler import Build
from hotload_tui.core.config import Config
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.generation import Generation
from hotload_tui.core.loader import LivePlugin, Loader, Outcome, Wanted
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.retirer import Retirer
from hotload_tui.core.manager.rounds import Rounds
from hotload_tui.core.source import Source, SourceRule, is_as_read, read_source
from hotload_tui.core.watcher import Repositories

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
        retirer: Retirer,
        rounds: Rounds,
    ) -> None:
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._builds = builds
        self._loader = loader
        self._retirer = retirer
        self._rounds = rounds
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
            self._retirer.discard(trial, "a newer save overtook its load")
        return self.run(attempt.directory, newer.artifact, required)

    def run(self, directory: PluginDirectory, artifact: Artifact, required: Required) -> LivePlugin:
        """Try an artifact; raises ``LoadError`` and ``RegisterError``, and what ``required`` raises."""
        name, generations = directory.name, required(directory.name, artifact)
        outcome = self._ahead.pop(name, None)
        if outcome is None or outcome.load.wanted.artifact is not artifact:
            (outcome,) = self._loader.trial_each([self._wanted(directory, artifact, generations)])
        self._rounds.loaded(name, outcome.load.began, outcome.load.ended)
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
                self._retirer.discard(left.trial, "its start was broken off")
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
        if is_as_read(attempt.source, self._rule) or self._rounds.is_running(directory.name):
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
