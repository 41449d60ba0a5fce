"""``Compiler``: makes an artifact from a plugin's source.

SHA-256 decides what is compiled: an artifact with the same digest is used as it is, and for a changed plugin
only the files whose own digest changed are compiled.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from hotload_tui.core.artifact import Artifact, Entry, write_artifact
from hotload_tui.core.checks import (
    compiled,
    description_of,
    foreign_packages,
    is_module,
    reload_of,
    requires_of,
    unresolved_imports,
)
from hotload_tui.core.compiled import (
    artifact_name,
    discard,
    find_artifacts,
    locked,
    remove,
    remove_leftovers,
)
from hotload_tui.core.errors import ArtifactError, CompileError, near
from hotload_tui.core.events import Step
from hotload_tui.core.model import StepObserver, nobody
from hotload_tui.core.native_build import NativeBuilder, built_modules, mismatch, obstacles
from hotload_tui.core.primitives import perf_counter, time_ns
from hotload_tui.core.source import Source, SourceFile, SourceRule, digest_of, read_source

_SMALL = 1 << 20  # bytes; a larger data file is not verified before each load, but when it is read


class Build(Struct, frozen=True):
    """The result of compiling a plugin."""

    artifact: Artifact
    compiled: int
    """Python files and native modules compiled now; if this and ``reused`` are 0, the artifact existed."""
    reused: int
    size: int
    """Number of bytes written."""
    seconds: float
    warnings: tuple[str, ...]
    """The warnings about all files, including reused ones, as ``file:line: text``."""
    steps: tuple[Step, ...] = ()
    """Duration of each step. If the source was read before, ``seconds`` does not include the reading."""
    rejected: str = ""
    """Why the existing artifact of this source was not used; empty if there was none or it was used."""


class Preview(Struct, frozen=True):
    """What compiling a source would do."""

    compiled: tuple[str, ...]
    """Paths of the files that would be compiled; if empty and ``reused`` is 0, the artifact exists."""
    reused: int
    requires: tuple[str, ...]
    reload: str
    """The value of ``RELOAD`` in ``plugin.py``; empty if there is none."""
    warnings: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    """Why native modules cannot be built here."""


class Compiler:
    """Builds artifacts in ``compiled_dir`` of plugins whose modules appear below ``module_path``."""

    def __init__(
        self,
        compiled_dir: Path,
        module_path: str = "hotplug",
        *,
        plugins: Path | None = None,
        rule: SourceRule | None = None,
        max_file_size: float = 64.0,
        step_observer: StepObserver = nobody,
    ) -> None:
        """Refuse plugins with a file of more than ``max_file_size`` MiB.

        The owner of the folder ``plugins`` may own artifacts too. ``rule`` says which files a source that the
        compiler reads has. ``step_observer`` is called for each
        compilation: a source can crash the interpreter that compiles it.
        """
        self.folder = compiled_dir
        self._step_observer = step_observer
        self._plugins = plugins
        self._rule = rule or SourceRule()
        self._module_path = module_path
        self._max_file_size = max_file_size
        self._natives = NativeBuilder()
        self._newest: dict[str, Path] = {}  # by plugin: the artifact written last, found without a search

    def compile(self, path: Path, source: Source | None = None, *, fresh: bool = False) -> Build:
        """Build the artifact of the plugin at ``path`` (from ``source``, if it was read already).

        ``fresh`` reuses nothing from earlier artifacts.

        Raises:
            DiscoverError: the directory cannot be read as a plugin.
            CompileError: a file does not compile, or what compiles it is missing; or the entry cannot define
                ``register``.
            ArtifactError: ``compiled_dir`` cannot be written.

        """
        started = perf_counter()
        source = source or self._read(path)
        there, rejected = (None, "") if fresh else self._usable(source)
        if there is not None:
            return Build(there, 0, 0, 0, perf_counter() - started, _warnings_of(there))
        self._check_sizes(source)
        earlier = self._earlier(source)
        with self._step_observer("compile", source.name, source.digest):
            entries, changed = _entries(source, None if fresh else earlier)
            about = _about(source)
            building = perf_counter()
            natives = self._natives.build(source, earlier, fresh=fresh)
        writing = perf_counter()
        with locked(self.folder, is_shared=True):  # no process removes the artifact before it is open
            written, size = write_artifact(
                self.folder,
                source.name,
                source.digest,
                entries,
                description=about.description,
                requires=about.requires,
                reload=about.reload,
                entry=source.entry,
                natives=natives.modules,
            )
            artifact = Artifact(written, self._plugins)
        self._newest[source.name] = written
        written_at = perf_counter()
        count = len(changed) + len(natives.built)
        reused = sum(1 for entry in entries if entry.code) + len(natives.modules) - count
        # Not stored in the artifact: these warnings depend on the installed packages, not on the source.
        unresolved = unresolved_imports(source, self._module_path, built_modules(source))
        missing = tuple(each.describe() for each in unresolved)
        seconds = perf_counter() - started
        warnings = _warnings_of(artifact) + missing
        steps = (
            Step("read", source.seconds),
            Step("compile", building - started),
            *((Step("native", writing - building),) if natives.modules else ()),
            Step("write", written_at - writing),
        )
        return Build(artifact, count, reused, size, seconds, warnings, steps, rejected)

    def cancelled(self) -> AbstractContextManager[None]:
        """End the builds of native modules in other threads until the end of the block."""
        return self._natives.cancelled()

    def preview(self, source: Source) -> Preview:
        """Compile a source without writing, and return what ``compile`` would do. Raises ``CompileError``."""
        there, _ = self._usable(source)
        if there is not None:
            manifest = there.manifest
            return Preview((), 0, manifest.requires, manifest.reload, _warnings_of(there))
        self._check_sizes(source)
        earlier = self._earlier(source)
        with self._step_observer("compile", source.name, source.digest):
            entries, changed = _entries(source, earlier)
            about = _about(source)
        natives = self._natives.pending(source, earlier)
        reused = sum(1 for entry in entries if entry.code) - len(changed)
        said = tuple(text for entry in entries for text in entry.warnings)
        compiled = (*changed, *(unit.source for unit in natives))
        lacks = tuple(obstacles(source, natives))
        return Preview(compiled, reused, about.requires, about.reload, said, lacks)

    def needs_recompile(self, path: Path, last_digest: str) -> bool:
        """Return whether the plugin at ``path`` differs from ``last_digest``; raises ``DiscoverError``."""
        return self._read(path).digest != last_digest

    def open(self, plugin: str, digest: str) -> Artifact:
        """Return the artifact of ``plugin`` at ``digest``.

        Raises:
            ArtifactError: the artifact is missing or not usable.

        """
        artifact = Artifact(self.path(plugin, digest), self._plugins)
        if (artifact.manifest.plugin, artifact.manifest.digest) != (plugin, digest):
            raise ArtifactError(f"{near(artifact.path)} is the artifact of another plugin or source")
        return artifact

    def known(self, plugin: str, digest: str) -> Artifact | None:
        """Return the verified artifact of a source that was not read; ``None`` if it cannot be used."""
        try:
            artifact = self.open(plugin, digest)
            _verify(artifact)
            is_stale = mismatch(artifact) != ""
        except ArtifactError:
            return None
        manifest = artifact.manifest
        found = digest_of(((each.path, each.sha256) for each in manifest.members), manifest.entry)
        return artifact if found == digest and not is_stale else None

    def path(self, plugin: str, digest: str) -> Path:
        """Return the path of the artifact of ``plugin`` at ``digest``, which need not exist."""
        return self.folder / artifact_name(plugin, digest)

    def clean(self, plugin: str | None, when: str = "") -> dict[str, int]:
        """Move all artifacts of the plugin to the trash; return the number for each plugin that had any.

        ``None`` means every plugin, also those that are removed. ``when`` names the command for ``restore``;
        the default is the time.

        Raises:
            ArtifactError: an artifact cannot be moved, or the folder cannot be listed.

        """
        found = find_artifacts(self.folder, None if plugin is None else [plugin])
        if plugin is None:
            remove_leftovers(self.folder)
        when = when or f"{time_ns():020d}"
        return {name: discard(self.folder, paths, when) for name, paths in sorted(found.items())}

    def prune(self, keep: int, in_use: Mapping[str, Collection[str]]) -> int:
        """Remove old artifacts of the plugins in ``in_use``; return their number.

        The newest ``keep`` artifacts of each plugin stay, and so do the digests that ``in_use`` names.

        Raises:
            ArtifactError: an artifact cannot be removed, or the folder cannot be listed.

        """
        old = []
        for plugin, paths in find_artifacts(self.folder, in_use).items():
            spared = {artifact_name(plugin, digest) for digest in in_use[plugin]}
            old += [path for path in paths[keep:] if path.name not in spared]
        return remove(self.folder, old) if old else 0

    def artifacts(self, plugin: str) -> list[Path]:
        """Return the plugin's artifacts, newest first; raises ``ArtifactError`` if listing fails."""
        return find_artifacts(self.folder, [plugin]).get(plugin, [])

    def _read(self, path: Path) -> Source:
        return read_source(self._rule.layout.plugin_at(path, path.parent) or path.name, path, self._rule)

    def _check_sizes(self, source: Source) -> None:
        """Raise ``CompileError`` if a file is too large for an artifact."""
        limit = self._max_file_size
        for file in source.files:
            size = file.size / (1 << 20)
            if size > limit:
                problem = f"{file.path} has {size:.4g} MiB, more than max_file_size = {limit:g} MiB allows"
                advice = "keep it elsewhere, leave it out with [watch] ignore, or raise max_file_size"
                place = str(Path(source.root, file.path))
                raise CompileError(source.name, f"{problem}; {advice} in hotload.toml", file=place)

    def _usable(self, source: Source) -> tuple[Artifact | None, str]:
        """Return the artifact of exactly this source; if its file cannot be used, return the reason."""
        path = self.path(source.name, source.digest)
        if not os.path.lexists(path):  # the usual case after a change; a failing open takes longer
            return None, ""
        try:
            artifact = Artifact(path, self._plugins)
            foreign = _foreign(artifact, source)
            if foreign:
                return None, f"{near(path)} is the artifact of {foreign}"
            _verify(artifact)
            if other := mismatch(artifact):
                return None, f"{near(path)} {other}"
        except ArtifactError as error:
            return None, str(error) if os.path.lexists(path) else ""
        return artifact, ""

    def _earlier(self, source: Source) -> Artifact | None:
        """Return the newest usable artifact, from which unchanged files are reused."""
        if len(source.files) == 1:  # the only file has changed, or its artifact would have been used
            return None
        plugin = source.name
        if plugin in self._newest:
            with contextlib.suppress(ArtifactError):  # removed or replaced by another process
                return Artifact(self._newest[plugin], self._plugins)
        with contextlib.suppress(ArtifactError):  # reuse only saves time; the write reports the error
            for path in self.artifacts(plugin):
                with contextlib.suppress(ArtifactError):  # try the next older artifact
                    return Artifact(path, self._plugins)
        return None


def _verify(artifact: Artifact) -> None:
    """Raise ``ArtifactError`` if a part of the artifact that a load needs is damaged."""
    for member in artifact.manifest.members:
        if member.code_size:
            artifact.code(member.path)
        if member.code_size or member.size <= _SMALL:
            artifact.source(member.path)
    for native in artifact.manifest.natives:
        artifact.source(native.path)


def _foreign(artifact: Artifact, source: Source) -> str:
    """Return what the artifact belongs to if it does not belong to ``source``; else an empty text."""
    manifest = artifact.manifest
    if manifest.plugin != source.name:
        return f"plugin {manifest.plugin}"
    held = [(member.path, member.sha256) for member in manifest.members]
    is_same = manifest.digest == source.digest and held == [(file.path, file.sha256) for file in source.files]
    return "" if is_same else "another source"


def _entries(source: Source, earlier: Artifact | None) -> tuple[list[Entry], tuple[str, ...]]:
    """Return the entries of the artifact, and the paths of the files that were compiled for it."""
    entries, changed = [], []
    for file in source.files:
        if not is_module(file.path) and file.path != source.entry.file:
            entries.append(Entry(file.path, file.content, file.sha256, place=file.place))
            continue
        entry = _reused(source, file, earlier)
        if entry is None:
            entry = compiled(source, file)
            changed.append(file.path)
        entries.append(entry)
    return entries, tuple(changed)


def _reused(source: Source, file: SourceFile, earlier: Artifact | None) -> Entry | None:
    if earlier is not None and earlier.manifest.entry != source.entry:
        return None  # the check of the entry depends on it
    member = earlier.members.get(file.path) if earlier else None
    if earlier is None or member is None or member.sha256 != file.sha256 or not member.code_size:
        return None
    try:
        code = earlier.code(file.path)
    except ArtifactError:
        return None
    return Entry(file.path, file.content, file.sha256, code, member.warnings)


class _About(NamedTuple):
    description: str
    requires: tuple[str, ...]
    reload: str


def _about(source: Source) -> _About:
    """Return what the entry says about the plugin; raises ``CompileError``."""
    entry = source.entry_content
    packages = source.entry.packages
    imported = foreign_packages(source) if packages else frozenset()
    required = (each for each in packages if each in imported)
    name, file_name = source.name, str(Path(source.root, source.entry.file))
    requires = dict.fromkeys([*requires_of(name, entry, file_name), *required])
    return _About(description_of(entry), tuple(requires), reload_of(name, entry, file_name))


def _warnings_of(artifact: Artifact) -> tuple[str, ...]:
    members = (*artifact.manifest.members, *artifact.manifest.natives)
    return tuple(text for member in members for text in member.warnings)
