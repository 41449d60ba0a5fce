"""The plan of a rebuild: stage all plugins, build in memory, and describe the decisions; change nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import time as clock  # a plugin can replace it

from msgspec.structs import replace

from hotload_tui.core import directories
from hotload_tui.core.artifact import Artifact, Manifest
from hotload_tui.core.checks import foreign_packages, named_points, state_obstacle, unresolved_imports
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import HotloadError, RefusedError, RuntimeDirError
from hotload_tui.core.manager.decide import GATE, Decision, ordered, unloaded
from hotload_tui.core.manager.outdated import older_natives
from hotload_tui.core.manager.staging import StagedPlugin, Stager, why_again
from hotload_tui.core.model import FileChange, Plan, PluginPlan
from hotload_tui.core.native_build import built_modules
from hotload_tui.core.runtime import native
from hotload_tui.core.source import Source

_BEGAN = clock()


class Planner(Stager):
    """Stages plugins as an update does, but builds in memory; makes one plan."""

    def build(self, one: StagedPlugin, source: Source) -> None:
        """Find out what a build would do."""
        one.preview = self.engine.builds.compiler.preview(source)
        self._know(one, source.digest, one.preview, is_newest=True)

    def gave_up(self, one: StagedPlugin, decision: Decision, error: HotloadError) -> None:
        """Do nothing: an update reports this."""

    def plan(self, name: str | None) -> Plan:
        """Return the actions that ``rebuild`` would take now.

        Raises:
            RuntimeDirError: the runtime directory is missing or unreadable, and no plugin is known.
            UnknownPluginError: there is no plugin ``name``.
            RefusedError: the plugin is disabled.

        """
        found = self._names = self._found()
        if name is not None and name not in found:
            raise directories.unknown(name, found)
        if name is not None and not self.engine.is_on(found[name]):
            raise RefusedError(f"{name} is disabled; enable it first")
        store = self.engine.store
        for each in sorted({*found, *(status.name for status in store.statuses())}):
            if each not in found:
                self.stage_gone(each)
            elif name == each:
                self.stage(found[each], "asked for")
            elif name is None:
                self.stage(found[each], why_again(store.get(each)))
            else:
                self.stage_known(each, found[each])
        self.stage_others()
        decisions = self.decide()
        self._changed = self.engine.outdated.shared.changed()
        gone = unloaded({each: one.facts for each, one in self.staged.items()})
        described = (
            self._described(self.staged[each.name], each, is_unloaded=each.name in gone)
            for each in ordered(decisions, lambda other: self.staged[other].facts.requires)
            if each.name in found or each.action != "keep"
            if name in (None, each.name) or each.action != "keep"
        )
        return Plan(tuple(described))

    def _found(self) -> dict[str, PluginDirectory]:
        try:
            return directories.find_plugins(self.engine.root, self.engine.rule.layout)
        except RuntimeDirError:
            if not self.engine.store.statuses():
                raise
            return {}  # all plugins are gone with it

    def _described(self, one: StagedPlugin, decision: Decision, *, is_unloaded: bool) -> PluginPlan:
        source, preview, facts = one.source, one.preview, one.facts
        stays = 0 if is_unloaded else facts.generation
        shown = PluginPlan(
            one.name,
            decision.action,
            decision.reasons,
            generation=facts.generation,
            becomes=self.engine.loader.next_number(one.name) if decision.digest else stays,
            requires=facts.requires,
            fault=one.fault if decision.action == "fail" else None,
            notes=tuple(self._outdated(one)),
        )
        if source is None or preview is None or decision.version != "newest" or not decision.digest:
            return shown
        previous = one.artifacts.get(facts.live)
        comes, goes, is_all_known = self._points(one, source, previous)
        manifest = previous.manifest if previous else None
        return replace(
            shown,
            files=tuple(_changes(source, manifest)),
            compiles=preview.compiled,
            reuses=preview.reused,
            comes=comes,
            goes=goes,
            is_all_known=is_all_known,
            obstacles=(*self._obstacles(source), *preview.lacks),
            notes=(*preview.warnings, *_remains(source, manifest), *self._gate(one, source), *shown.notes),
        )

    def _outdated(self, one: StagedPlugin) -> Iterator[str]:
        """Yield what the plugin uses that is older than its source on disk, and that a reload keeps."""
        live = self.engine.loader.live(one.name)
        if live is not None:
            yield from self.engine.outdated.of(live, self._changed)
        elif one.source is not None:
            built = built_modules(one.source)
            paths = (file.path for file in one.source.files)
            yield from older_natives(Path(one.source.root), paths, built)

    def _gate(self, one: StagedPlugin, source: Source) -> Iterator[str]:
        if self.engine.gates.jobs(one.directory, source):
            yield GATE

    def _points(
        self, one: StagedPlugin, source: Source, previous: Artifact | None
    ) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """Return the hook points that the source adds and removes, and whether it names all of its points."""
        default = self.engine.config.of(one.name).hook_point
        new = named_points({file.path: file.content for file in source.files}, default)
        live = self.engine.loader.live(one.name)
        if live is None or previous is None:
            return tuple(sorted(new.points)), (), new.is_all
        texts = {path: previous.source(path) for path in previous.members if path.endswith(".py")}
        old = named_points(texts, default).points
        there = {handler.point for handler in live.handlers}
        # A point in both sources without a live handler: the code decides at run time whether to register it.
        comes, goes = new.points - there - old, (old - new.points) & there
        return tuple(sorted(comes)), tuple(sorted(goes)), new.is_all

    def _obstacles(self, source: Source) -> Iterator[str]:
        """Yield the reasons why a source would not work in the running process."""
        path, built = self.engine.config.module_path, built_modules(source)
        yield from (missing.obstacle() for missing in unresolved_imports(source, path, built))
        live = self.engine.loader.live(source.name)
        if live is not None and (problem := state_obstacle(source.entry_content, live.state.kept_version)):
            yield problem
        for path in native.foreign(file.path for file in source.files):
            if path.partition(".")[0].replace("/", ".") in built:
                continue
            yield f"{path} is a native module for another Python or system; build it for this one"
        for package in sorted(foreign_packages(source)):
            if changed := _changed_package(package):
                yield (
                    f"{package} changed on disk after this process began ({changed}), and what is loaded"
                    " may be from before: restart to have the new one"
                )


def _changes(source: Source, previous: Manifest | None) -> Iterator[FileChange]:
    """Yield the files that differ from the live version; nothing if no version is live."""
    if previous is None:
        return
    before = {member.path: member for member in previous.members}
    for file in source.files:
        member = before.pop(file.path, None)
        if member is None:
            yield FileChange(file.path, "added", file.size)
        elif member.sha256 != file.sha256:
            yield FileChange(file.path, "changed", file.size, member.size)
    yield from (FileChange(path, "removed", 0, member.size) for path, member in before.items())


def _changed_package(package: str) -> str:
    """Return a file of a loaded package that is newer than this process, shortened; empty if none is."""
    for name, module in sys.modules.copy().items():
        if name != package and not name.startswith(f"{package}."):
            continue
        file = getattr(module, "__file__", None) if type(module) is type(sys) else None
        with contextlib.suppress(OSError, TypeError, ValueError):
            if file and os.stat(file).st_mtime > _BEGAN:  # noqa: PTH116 - called for thousands of modules
                return "/".join(Path(file).parts[-2:])
    return ""


def _remains(source: Source, previous: Manifest | None) -> Iterator[str]:
    """Yield a note for each changed native module, because its live code stays in memory."""
    before = {member.path: member.sha256 for member in previous.members} if previous else {}
    for file in source.files:
        if native.module_name(file.path) and before.get(file.path, file.sha256) != file.sha256:
            yield f"{file.path}: the code of the previous version stays in memory until the process ends"
