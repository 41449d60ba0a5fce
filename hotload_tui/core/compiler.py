"""``Compiler``: a plugin's source becomes an artifact.

SHA-256 decides: an artifact of the same digest is used as it is, and of a changed plugin only the files whose
own digest changed are compiled.
"""

from __future__ import annotations

import contextlib
import io
import marshal
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

from msgspec import Struct

from hotload_tui.core.artifact import (
    Artifact,
    Entry,
    artifact_name,
    is_artifact_of,
    write_artifact,
)
from hotload_tui.core.errors import ArtifactError, CompileError, near
from hotload_tui.core.plugin import encodable
from hotload_tui.core.source import ENTRY, Source, SourceFile, decoded, read_source

_LARGEST = 4 << 20  # bytes of a Python file; compiling more stalls the whole process for seconds
_SMALL = 1 << 20  # bytes of a data file that is verified before each load; others when they are read
_STAR = ("*",)  # the constant that `from x import *` leaves in compiled code


class Build(Struct, frozen=True):
    """What compiling a plugin gave."""

    artifact: Artifact
    compiled: int
    """Python files compiled now; 0 with nothing reused: the artifact was there already."""
    reused: int
    size: int
    """Bytes written."""
    seconds: float
    warnings: tuple[str, ...]
    """Of all files, also of reused ones: ``file:line: text``."""
    rejected: str = ""
    """Why an artifact that should have served was not used; empty when all was well."""


class Compiler:
    """Builds artifacts in ``compiled_dir``."""

    def __init__(self, compiled_dir: Path) -> None:
        self._folder = compiled_dir

    def compile(self, path: Path, source: Source | None = None, *, fresh: bool = False) -> Build:
        """Build the artifact of the plugin at ``path`` (from ``source``, when it was read already).

        ``fresh`` takes nothing from earlier artifacts.

        Raises:
            DiscoverError: the directory cannot be read as a plugin.
            CompileError: a file does not compile, or ``plugin.py`` cannot define ``register``.
            ArtifactError: ``compiled_dir`` cannot be written.

        """
        started = time.perf_counter()
        source = source or read_source(path.name.removeprefix("_"), path)
        there, rejected = (None, "") if fresh else self._usable(source)
        if there is not None:
            return Build(there, 0, 0, 0, time.perf_counter() - started, _warnings_of(there))
        entries, compiled = _entries(source, None if fresh else self._earlier(source.name))
        description = _description(entries)
        written, size = write_artifact(self._folder, source.name, source.digest, description, entries)
        artifact = Artifact(written)
        reused = sum(1 for entry in entries if entry.code) - compiled
        seconds = time.perf_counter() - started
        return Build(artifact, compiled, reused, size, seconds, _warnings_of(artifact), rejected)

    def needs_recompile(self, path: Path, last_digest: str) -> bool:
        """Tell whether the plugin at ``path`` differs from ``last_digest``; raises ``DiscoverError``."""
        return read_source(path.name.removeprefix("_"), path).digest != last_digest

    def open(self, plugin: str, digest: str) -> Artifact:
        """Return the artifact of ``plugin`` at ``digest``.

        Raises:
            ArtifactError: it is not there or not usable.

        """
        return Artifact(self._folder / artifact_name(plugin, digest))

    def clean(self, plugin: str) -> int:
        """Remove all artifacts of the plugin; returns how many there were.

        Raises:
            ArtifactError: one cannot be removed.

        """
        return _remove(self.artifacts(plugin))

    def prune(self, plugin: str, keep: int, in_use: str) -> int:
        """Remove all but the newest ``keep`` artifacts, never the one with digest ``in_use``."""
        spared = artifact_name(plugin, in_use)
        return _remove([path for path in self.artifacts(plugin)[keep:] if path.name != spared])

    def artifacts(self, plugin: str) -> list[Path]:
        """Return the plugin's artifacts, newest first; raises ``ArtifactError`` if they cannot be listed."""
        found: list[tuple[int, Path]] = []
        try:
            own = [path for path in self._folder.iterdir() if is_artifact_of(plugin, path.name)]
            found = [(path.lstat().st_mtime_ns, path) for path in own]
        except (FileNotFoundError, NotADirectoryError):
            pass  # none made yet, or one removed meanwhile; that no folder can be made is said when writing
        except OSError as error:
            raise ArtifactError(f"cannot list {self._folder}: {error.strerror}") from error
        return [path for _, path in sorted(found, reverse=True)]

    def _usable(self, source: Source) -> tuple[Artifact | None, str]:
        """Return the artifact of this very source, or why the file of its name is not used."""
        path = self._folder / artifact_name(source.name, source.digest)
        try:
            artifact = Artifact(path)
            foreign = _foreign(artifact, source)
            if foreign:
                return None, f"{near(path)} is the artifact of {foreign}"
            for member in artifact.manifest.members:
                if member.code_size:
                    artifact.code(member.path)
                if member.code_size or member.size <= _SMALL:
                    artifact.source(member.path)
        except ArtifactError as error:
            return None, str(error) if os.path.lexists(path) else ""
        return artifact, ""

    def _earlier(self, plugin: str) -> Artifact | None:
        """Return the newest usable artifact, from which unchanged files are taken over."""
        with contextlib.suppress(ArtifactError):  # reuse only saves time; what is wrong is said when writing
            for path in self.artifacts(plugin):
                with contextlib.suppress(ArtifactError):  # the next older one will do
                    return Artifact(path)
        return None


def _foreign(artifact: Artifact, source: Source) -> str:
    """Say whose artifact it is if it is not that of ``source``; empty when it is."""
    manifest = artifact.manifest
    if manifest.plugin != source.name:
        return f"plugin {manifest.plugin}"
    held = [(member.path, member.sha256) for member in manifest.members]
    is_same = manifest.digest == source.digest and held == [(file.path, file.sha256) for file in source.files]
    return "" if is_same else "another source"


def _entries(source: Source, earlier: Artifact | None) -> tuple[list[Entry], int]:
    """Return what goes into the artifact, and how many files were compiled for it."""
    entries, compiled = [], 0
    for file in source.files:
        if not is_module(file.path):
            entries.append(Entry(file.path, file.content, file.sha256))
            continue
        entry = _reused(file, earlier)
        if entry is None:
            entry = _compiled(source, file)
            compiled += 1
        entries.append(entry)
    return entries, compiled


def is_module(path: str) -> bool:
    """Tell whether a file of a plugin can be imported: Python source whose path is made of identifiers."""
    stem, dot, suffix = path.rpartition(".")
    return bool(dot) and suffix == "py" and all(part.isidentifier() for part in stem.split("/"))


def _reused(file: SourceFile, earlier: Artifact | None) -> Entry | None:
    member = earlier.members.get(file.path) if earlier else None
    if earlier is None or member is None or member.sha256 != file.sha256 or not member.code_size:
        return None
    try:
        code = earlier.code(file.path)
    except ArtifactError:
        return None
    return Entry(file.path, file.content, file.sha256, code, member.warnings)


def _compiled(source: Source, file: SourceFile) -> Entry:
    file_name = str(Path(source.root, file.path))
    problem, line = _unfit(file)
    if problem:
        raise CompileError(source.name, f"{file.path} {problem}", file=file_name, line=line)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code = _code(source.name, file, file_name)
    if file.path == ENTRY and not _may_bind(code, "register"):
        message = f"{ENTRY} defines no register; add: def register(ctx) -> None: ..."
        raise CompileError(source.name, message, file=file_name, line=1)
    said = [f"{file.path}:{w.lineno}: {w.category.__name__}: {w.message}" for w in caught]
    said += _shadowing(file.path)
    return Entry(file.path, file.content, file.sha256, marshal.dumps(code), tuple(said))


def _unfit(file: SourceFile) -> tuple[str, int]:
    """Say what keeps a Python file from being compiled at all, and in which line; empty when nothing does."""
    if len(file.content) > _LARGEST:
        size = f"has {len(file.content):,} bytes"
        return f"{size}; Python files over {_LARGEST:,} are not compiled: move its data to a data file", 0
    if file.path == ENTRY and not file.content.strip():
        # A file caught in mid-save is empty for a moment, and compiles without complaint.
        return "is empty; define register(ctx) in it", 1
    if b"\0" in file.content:
        line = file.content.partition(b"\0")[0].count(b"\n") + 1
        return f"has a NUL byte in line {line}; save it as UTF-8 text", line
    return "", 0


def _code(plugin: str, file: SourceFile, file_name: str) -> CodeType:
    try:
        return compile(file.content, file_name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CompileError(plugin, f"{file.path} does not compile", file=file_name) from _placed(
            error, file, file_name
        )
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise CompileError(plugin, f"{file.path} does not compile", file=file_name) from error


def _placed(error: SyntaxError, file: SourceFile, file_name: str) -> SyntaxError:
    """Return the error with columns in characters of the line that was compiled.

    The interpreter takes the line from the disk, where another may stand by now, and counts bytes where it
    finds none; so it is asked again, with the text, under a name that no file has.
    """
    try:
        compile(decoded(file.content), f"<{file.path}>", "exec", dont_inherit=True)
    except SyntaxError as again:
        if again.msg == error.msg:
            error = again
    line = error.lineno = max(1, error.lineno or 1)  # a wrong coding cookie is said to be in line 0
    error.filename = file_name
    if error.text is None:  # found after parsing: columns are bytes then
        text = io.StringIO(decoded(file.content)).readlines()[line - 1 : line]
        raw = "".join(text).encode()
        for name in ("offset", "end_offset"):
            column = getattr(error, name)
            if column:
                setattr(error, name, len(raw[: max(0, column - 1)].decode(errors="replace")) + 1)
    return error.with_traceback(None)


def _may_bind(code: CodeType, name: str) -> bool:
    """Tell whether running ``code`` can bind ``name`` by a definition, assignment, import or ``*``.

    Also true for code that only reads the name: that is found out when it has run.
    """
    return (
        name in code.co_names
        or _STAR in code.co_consts
        or any(_may_bind(inner, name) for inner in code.co_consts if isinstance(inner, CodeType))
    )


def _shadowing(path: str) -> Iterator[str]:
    name = path.removesuffix(".py").removesuffix("/__init__")
    if name in sys.stdlib_module_names:
        yield f"{path}: `import {name}` is the standard library's; `from . import {name}` is this one"


def _description(entries: list[Entry]) -> str:
    """Return the first line of the entry's docstring; empty when it has none."""
    for entry in entries:
        if entry.path == ENTRY:
            code = marshal.loads(entry.code)  # noqa: S302 - compiled just now, or verified when it was read
            first = code.co_consts[0] if code.co_consts else None
            if "__doc__" in code.co_names and isinstance(first, str):
                return encodable(next(iter(first.strip().splitlines()), ""))
    return ""


def _warnings_of(artifact: Artifact) -> tuple[str, ...]:
    return tuple(text for member in artifact.manifest.members for text in member.warnings)


def _remove(paths: list[Path]) -> int:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ArtifactError(f"cannot remove {near(path)}: {error.strerror}") from error
    return len(paths)
