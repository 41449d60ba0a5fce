"""The plan of a rebuild: read and compile the sources in memory, and change nothing."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from msgspec import Struct

from hotload_tui.core import directories
from hotload_tui.core.artifact import Manifest
from hotload_tui.core.checks import foreign_packages, named_points, unresolved_imports
from hotload_tui.core.compiler import Preview
from hotload_tui.core.config import Config
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import HotloadError, RefusedError, RuntimeDirError
from hotload_tui.core.manager.builds import Builds
from hotload_tui.core.manager.dependencies import cycle_of, in_order
from hotload_tui.core.manager.staging import failure
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import Action, Fault, FileChange, Plan, PluginPlan, PluginState
from hotload_tui.core.runtime import native
from hotload_tui.core.runtime.trial import LivePlugin
from hotload_tui.core.source import Source, SourceRule, read_source

_BEGAN = time.time()
_BROKEN = (PluginState.FAIL, PluginState.STALE)


class _Draft(Struct):
    """The plan of one plugin while the planner works on it."""

    name: str
    live: LivePlugin | None = None
    action: Action = "keep"
    reasons: list[str] = []
    requires: tuple[str, ...] = ()
    source: Source | None = None
    preview: Preview | None = None
    fault: Fault | None = None

    @property
    def loads(self) -> bool:
        """Whether the plugin would be loaded, for the first time or again."""
        return self.action in ("load", "reload")

    def decide(self, action: Action, reason: str) -> None:
        """Set the action, and replace all earlier reasons by ``reason``."""
        self.action, self.reasons = action, [reason]


class Planner:
    """Makes plans; only one thread may use it at a time."""

    def __init__(
        self,
        root: Path,
        config: Config,
        store: StatusStore,
        builds: Builds,
        *,
        live: Callable[[str], LivePlugin | None],
        requires: Callable[[str], Collection[str]],
    ) -> None:
        """Plan for ``root``; ``requires`` returns the requirements of a plugin's newest known version."""
        self._root = root
        self._config = config
        self._rule = SourceRule(config.watch.ignore)
        self._store = store
        self._builds = builds
        self._live = live
        self._requires = requires

    def plan(self, name: str | None) -> Plan:
        """Return the actions that ``rebuild`` would take now.

        Raises:
            RuntimeDirError: the runtime directory is missing or unreadable, and no plugin is known.
            UnknownPluginError: there is no plugin ``name``.
            RefusedError: the plugin is disabled.

        """
        found = self._found()
        if name is not None and name not in found:
            raise directories.unknown(name, found)
        if name is not None and not self._is_on(found[name]):
            raise RefusedError(f"{name} is disabled; enable it first")
        drafts: dict[str, _Draft] = {}
        for each in sorted({*found, *(status.name for status in self._store.statuses())}):
            drafts[each] = _Draft(each, self._live(each), requires=tuple(self._requires(each)))
            if name in (None, each):
                self._look(drafts[each], found.get(each), is_asked_for=name is not None)
        _Family(drafts, self._reason_for(found)).settle()
        concerned = [each for each in _ordered(drafts) if name in (None, each.name) or each.action != "keep"]
        return Plan(tuple(map(self._described, concerned)))

    def _found(self) -> dict[str, PluginDirectory]:
        try:
            return directories.find_plugins(self._root)
        except RuntimeDirError:
            if not self._store.statuses():
                raise
            return {}  # all plugins are gone with it

    def _is_on(self, directory: PluginDirectory) -> bool:
        return directory.enabled and self._config.of(directory.name).enabled

    def _reason_for(self, found: dict[str, PluginDirectory]) -> Callable[[str], str]:
        """Return a function that explains why a required plugin would not be live."""

        def reason(name: str) -> str:
            if name not in found:
                near = directories.nearest(name, found)
                return f"there is no plugin {name}" + (f"; {near}" if near else "")
            return (
                f"{name} is disabled"
                if not self._is_on(found[name])
                else f"no version of {name} would be live"
            )

        return reason

    # ---- each plugin by itself

    def _look(self, draft: _Draft, directory: PluginDirectory | None, *, is_asked_for: bool) -> None:
        """Decide the action for a plugin, without regard to the other plugins."""
        if directory is None or not self._is_on(directory):
            if draft.live is not None:
                draft.decide("unload", "it is disabled" if directory else "its directory is gone")
            return
        try:
            draft.source = read_source(draft.name, directory.path, self._rule)
            reason = "asked for" if is_asked_for else self._reason(draft, draft.source.digest)
            if not reason:
                return
            draft.decide("reload" if draft.live else "load", reason)
            if not is_asked_for and self._builds.hold(draft.name, draft.source.digest):
                return  # the held artifact is loaded, so there is nothing to compile
            draft.preview = self._builds.preview(draft.source)
            configured = self._config.of(draft.name).requires
            draft.requires = tuple(dict.fromkeys([*draft.preview.requires, *configured]))
        except HotloadError as error:
            draft.fault = failure(error, draft.name, self._config.module_path, draft.source)
            draft.decide("fail", _stays(draft) or self._last_good(draft.name))

    def _reason(self, draft: _Draft, digest: str) -> str:
        """Return why the plugin would be loaded; empty if it would not."""
        status, served = self._store.get(draft.name), _manifest(draft)
        hold = self._builds.hold(draft.name, digest)
        if hold is not None:
            if draft.live is None and hold.digest:
                return f"the version it is held at is loaded ({hold.reason})"
            draft.reasons = [f"held: {hold.reason}; 'hotload release {draft.name}' lets it follow its source"]
            return ""
        if served is not None and served.digest == digest:
            return ""
        if status is not None and status.state in _BROKEN and status.source_digest == digest:
            return "it failed before, and is tried again"
        return "its source changed" if draft.live else "no version of it is live"

    def _last_good(self, name: str) -> str:
        if self._builds.has_untried(name):
            return "the last good version is loaded in its place"
        return "no version of it is live"

    # ---- the result

    def _described(self, draft: _Draft) -> PluginPlan:
        source, preview, live = draft.source, draft.preview, draft.live
        told = PluginPlan(
            draft.name,
            draft.action,
            tuple(draft.reasons),
            generation=live.generation.number if live else 0,
            requires=draft.requires,
            fault=draft.fault,
        )
        if source is None or preview is None or not draft.loads:
            return told
        comes, goes, is_all_known = self._points(draft, source)
        return PluginPlan(
            told.name,
            told.action,
            told.reasons,
            told.generation,
            files=tuple(_changes(source, _manifest(draft))),
            compiles=preview.compiled,
            reuses=preview.reused,
            requires=told.requires,
            comes=comes,
            goes=goes,
            is_all_known=is_all_known,
            obstacles=tuple(_obstacles(source)),
            notes=(*preview.warnings, *_remains(source, _manifest(draft))),
        )

    def _points(self, draft: _Draft, source: Source) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """Return the hook points that the source adds and removes, and whether it names all of its points."""
        default = self._config.of(draft.name).hook_point
        new = named_points({file.path: file.content for file in source.files}, default)
        if draft.live is None:
            return tuple(sorted(new.points)), (), new.is_all
        artifact = draft.live.generation.artifact
        texts = {path: artifact.source(path) for path in artifact.members if path.endswith(".py")}
        old = named_points(texts, default).points
        there = {handler.point for handler in draft.live.handlers}
        # A point in both sources without a live handler: the code decides at run time whether to register it.
        comes, goes = new.points - there - old, (old - new.points) & there
        return tuple(sorted(comes)), tuple(sorted(goes)), new.is_all


class _Family:
    """Adjusts the actions of plugins that require each other."""

    def __init__(self, drafts: dict[str, _Draft], missing: Callable[[str], str]) -> None:
        self._drafts = drafts
        self._missing = missing

    def settle(self) -> None:
        """Adjust until nothing changes: first keep plugins out, then reload plugins together with others."""
        for step in (self._keep_out, self._draw_in):
            while [draft for draft in self._drafts.values() if step(draft)]:
                pass

    def _draw_in(self, draft: _Draft) -> bool:
        """Reload a live plugin together with a plugin that it requires; return whether the action changed."""
        if draft.action != "keep":
            return False
        for other in _peers(draft):
            beside = self._drafts[other]
            if beside.loads:
                draft.decide("reload", f"it requires {other}, which is {beside.action}ed")
                return True
        return False

    def _keep_out(self, draft: _Draft) -> bool:
        """Make a plugin wait or fail if a plugin that it requires cannot load; return whether this is new."""
        if draft.action == "keep":
            gone = [other for other in _peers(draft) if self._drafts[other].action == "unload"]
            if gone:
                draft.decide("wait", f"it requires {gone[0]}, which is unloaded")
            return bool(gone)
        reason = self._why_not(draft) if draft.loads else ""
        if reason:
            is_cycle = bool(cycle_of(draft.name, self._required))
            draft.decide("fail" if draft.live or is_cycle else "wait", reason)
            draft.reasons += filter(None, [_stays(draft)])
        return bool(reason)

    def _why_not(self, draft: _Draft) -> str:
        if cycle := cycle_of(draft.name, self._required):
            return f"it requires itself: {' → '.join(cycle)}; one of these has to do without"
        for other in draft.requires:
            beside = self._drafts.get(other)
            if beside is not None and beside.action == "fail":
                return f"it requires {other}, whose newest version cannot be loaded"
            if beside is None or not (beside.loads or (beside.action == "keep" and beside.live)):
                return f"it requires {other}, but {self._missing(other)}"
        return ""

    def _required(self, name: str) -> Collection[str]:
        return self._drafts[name].requires if name in self._drafts else ()


def _ordered(drafts: dict[str, _Draft]) -> Iterator[_Draft]:
    busy = [name for name, draft in drafts.items() if draft.action != "keep"]
    for name in in_order(busy, lambda each: drafts[each].requires):
        yield drafts[name]
    yield from (draft for draft in drafts.values() if draft.action == "keep")


def _stays(draft: _Draft) -> str:
    return f"generation {draft.live.generation.number} stays live" if draft.live else ""


def _peers(draft: _Draft) -> Collection[str]:
    """Return the plugins that the live generation requires."""
    return draft.live.generation.peers.keys() if draft.live else ()


def _manifest(draft: _Draft) -> Manifest | None:
    return draft.live.generation.artifact.manifest if draft.live else None


def _changes(source: Source, served: Manifest | None) -> Iterator[FileChange]:
    """Yield the files that differ from the live version; nothing if no version is live."""
    if served is None:
        return
    before = {member.path: member for member in served.members}
    for file in source.files:
        member = before.pop(file.path, None)
        if member is None:
            yield FileChange(file.path, "added", len(file.content))
        elif member.sha256 != file.sha256:
            yield FileChange(file.path, "changed", len(file.content), member.size)
    yield from (FileChange(path, "removed", 0, member.size) for path, member in before.items())


def _obstacles(source: Source) -> Iterator[str]:
    """Yield the reasons why a source would not work in the running process."""
    yield from (missing.obstacle() for missing in unresolved_imports(source))
    for path in native.foreign(file.path for file in source.files):
        yield f"{path} is a native module for another Python or system; build it for this one"
    for package in sorted(foreign_packages(source)):
        if changed := _changed_package(package):
            yield (
                f"{package} changed on disk after this process began ({changed}), and what is loaded may be"
                " from before: restart to have the new one"
            )


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


def _remains(source: Source, served: Manifest | None) -> Iterator[str]:
    """Yield a note for each changed native module, because its live code stays in memory."""
    before = {member.path: member.sha256 for member in served.members} if served else {}
    for file in source.files:
        if native.module_name(file.path) and before.get(file.path, file.sha256) != file.sha256:
            yield f"{file.path}: the code of the previous version stays in memory until the process ends"
