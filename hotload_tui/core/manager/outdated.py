"""What runs although its source on disk has changed, and what no reload can bring up to date.

Two things: a native module that is older than the source beside it, and a module of the project outside the
plugins, which all plugins share and which is loaded once per process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from time import monotonic, time_ns  # a plugin can replace them
from types import ModuleType
from typing import NamedTuple

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.checks import foreign_packages
from hotload_tui.core.errors import near
from hotload_tui.core.model import Level
from hotload_tui.core.runtime import native
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.source import Source, SourceFile

_BEGAN = time_ns()
_SOURCES = (".c", ".cc", ".cpp", ".cxx", ".pyx", ".rs")
_FOREIGN = frozenset({"site-packages", "dist-packages"})
_KEPT = 1000  # artifacts whose imports are remembered
_MOST = 10_000  # artifacts without native modules that are remembered
_PAUSE = 0.25  # seconds between two looks at the files: a console asks much more often


def older_natives(root: Path, paths: Iterable[str], built: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each native module in ``paths`` below ``root`` that is older than its source.

    hotload itself builds the modules ``built`` again.
    """
    for path in paths:
        name = native.module_name(path)
        if not name or name in built:
            continue
        stamp = _stamp(root / path)
        stem = name.replace(".", "/")
        for suffix in _SOURCES:
            source = _stamp(root / f"{stem}{suffix}")
            if stamp and source and stamp[0] < source[0]:
                yield f"{path} is older than {stem}{suffix} beside it; build it again"
                break


class _Seen(NamedTuple):
    """A module of the project as it was imported."""

    spec: object
    """Another object after ``importlib.reload``."""
    file: str
    stamp: tuple[int, int]
    sha256: str
    """Empty if the file had changed before it was seen."""


class ProjectModules:
    """The imported modules of the project outside its plugins; any thread may use it."""

    def __init__(self, runtime_dir: Path, compiled_dir: Path, module_path: str) -> None:
        self._folders: dict[str, str] = {}
        self._plugins = self._real(f"{runtime_dir}{os.sep}")
        self._module_path = module_path
        self._project = self._real(f"{runtime_dir.parent}{os.sep}")
        self._others: tuple[str, ...] = (self._real(f"{compiled_dir}{os.sep}"),)
        if not self._project.startswith(f"{sys.prefix}{os.sep}"):
            self._others += (f"{sys.prefix}{os.sep}",)  # an environment inside the project
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._changed: dict[str, str] = {}
        self._looks_at = 0.0  # monotonic

    def note(self) -> None:
        """Record the modules that were imported since the last call; the sooner, the safer."""
        with self._lock:
            names = set(sys.modules)
            for name in names - self._known:  # a start looks at all modules of the process
                module = sys.modules.get(name)
                file = module.__dict__.get("__file__") if type(module) is ModuleType else None
                if type(file) is str and self._real(file).startswith(self._project):
                    self._note(name)
            self._known = names

    def _note(self, name: str) -> None:
        module = sys.modules.get(name)
        file = vars(module).get("__file__") if type(module) is ModuleType else None
        if module is None or type(file) is not str or not self._is_shared(name, self._real(file)):
            return
        file = self._real(file)
        stamp = _stamp(file)
        with contextlib.suppress(OSError):
            sha256 = "" if stamp and _was_changed(module, stamp) else _digest(file)
            self._seen[name] = _Seen(module.__spec__, file, stamp or (0, 0), sha256)

    def _real(self, file: str) -> str:
        """Return the path without symbolic links to folders: programs name the same one in several ways."""
        folder, name = os.path.split(file)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)  # noqa: PTH118 - for each module of a process

    def _is_shared(self, name: str, file: str) -> bool:
        if name.partition(".")[0] == self._module_path:
            return False
        if file.startswith(self._plugins):  # under its real name: a plugin shares it
            return True
        if not file.startswith(self._project) or file.startswith(self._others):
            return False
        parts = Path(file.removeprefix(self._project)).parts
        is_foreign = any(part in _FOREIGN or part.startswith(".") for part in parts)
        return not is_foreign and name.partition(".")[0] not in ("__main__", __name__.partition(".")[0])

    def changed(self) -> dict[str, str]:
        """Return a sentence for each module whose file differs from the imported one, by module name."""
        now = monotonic()
        if now < self._looks_at:
            return self._changed
        self.note()
        with self._lock:
            self._looks_at = now + _PAUSE
            self._changed = {
                name: f"{seen.file.removeprefix(self._project)} has changed since it was imported;"
                " restart the host to load it"
                for name in sorted(self._seen)
                if (seen := self._current(name)) is not None and self._has_changed(name, seen)
            }
            return self._changed

    def _current(self, name: str) -> _Seen | None:
        module, seen = sys.modules.get(name), self._seen[name]
        if module is None:
            del self._seen[name]
            return None
        if module.__spec__ is not seen.spec:  # imported again
            self._note(name)
        return self._seen[name]

    def _has_changed(self, name: str, seen: _Seen) -> bool:
        stamp = _stamp(seen.file)
        if stamp is None:
            return False  # no new version to load
        if stamp != seen.stamp and seen.sha256:
            with contextlib.suppress(OSError):
                if _digest(seen.file) != seen.sha256:
                    return True
                self._seen[name] = seen._replace(stamp=stamp)
        return not seen.sha256

    def used_by(self, live: LivePlugin, changed: Mapping[str, str]) -> Iterator[str]:
        """Yield the sentences of ``changed`` for a plugin that imports modules of the project.

        They may import each other, so each of them counts; but not the packages that other plugins share.
        """
        if not changed:
            return
        used = self._imported(live.name, live.generation.artifact) | live.generation.shared
        seen = self._seen.copy().items()
        beside = {_head(name) for name, each in seen if not each.file.startswith(self._plugins)}
        relevant = used if used.isdisjoint(beside) else used | beside
        relevant -= {*live.generation.entry.packages}  # of these it has the live version
        yield from (sentence for name, sentence in changed.items() if _head(name) in relevant)

    def _imported(self, plugin: str, artifact: Artifact) -> frozenset[str]:
        digest = artifact.manifest.digest
        found = self._imports.get(digest)
        if found is None:
            files = tuple(
                SourceFile(each.path, artifact.source(each.path), each.sha256)
                for each in artifact.manifest.members
                if each.path.endswith(".py")
            )
            if len(self._imports) >= _KEPT:
                self._imports.clear()
            found = self._imports[digest] = foreign_packages(Source(plugin, "", files, digest, {}))
        return found


class Outdated:
    """Finds what the live version of a plugin uses that is older than its source on disk."""

    def __init__(self, runtime_dir: Path, compiled_dir: Path, module_path: str) -> None:
        self.shared = ProjectModules(runtime_dir, compiled_dir, module_path)
        self._plain = {""}
        """Digests of artifacts without native modules and shared packages; the empty one: of no artifact."""

    def may_be(self, digests: Iterable[str], changed: Mapping[str, str]) -> bool:
        """Return whether ``of`` can find something for a plugin with one of these artifacts."""
        return bool(changed) or not all(map(self._plain.__contains__, digests))

    def of(self, live: LivePlugin | None, changed: Mapping[str, str]) -> tuple[str, ...]:
        """Return a sentence for each such thing; ``changed`` comes from ``shared.changed()``."""
        if live is None:
            return ()
        manifest = live.generation.artifact.manifest
        natives: list[str] = []
        built = [str(native.module_name(each.path)) for each in manifest.natives]
        if manifest.digest not in self._plain:
            natives = [each.path for each in manifest.members if native.module_name(each.path)]
            is_package = live.name in live.generation.entry.packages
            if not natives and not live.generation.shared and not is_package:
                self._note_plain(manifest.digest)
        return (
            *older_natives(live.generation.root_dir, natives, built),
            *_shared_from_elsewhere(live),
            *imported_before(live),
            *self.shared.used_by(live, changed),
        )

    def _note_plain(self, digest: str) -> None:
        if len(self._plain) > _MOST:
            self._plain = {""}
        self._plain.add(digest)

    def shares(self, live: LivePlugin, names: Iterable[str]) -> Iterator[tuple[Level, str]]:
        """Yield the lines for the log about the packages ``names``, which a plugin is to share."""
        generation = live.generation
        for name in names:
            if name not in generation.shared:
                yield "warning", f'share = ["{name}"]: there is no such package in its directory'
        if generation.shared:
            shared = ", ".join(sorted(generation.shared))
            yield "info", f"shares {shared}: imported once, under the real name; a change needs a new host"
            for sentence in self.of(live, self.shared.changed()):
                yield "warning", sentence


def _shared_from_elsewhere(live: LivePlugin) -> Iterator[str]:
    """Yield a sentence for each shared package of the plugin that was imported from another place."""
    folder = f"{live.generation.root_dir}{os.sep}"
    for name in sorted(live.generation.shared):
        module = sys.modules.get(name)
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if module is not None and not any(str(place).startswith(folder) for place in places):
            yield f"the shared package {name} was already imported from {places[0]}; the plugin uses that one"


def imported_before(live: LivePlugin) -> Iterator[str]:
    """Yield a sentence if the plugin is a package that the program has imported as an ordinary one."""
    if file := live.generation.copy_in_program():
        yield (
            f"the program imported {live.name} before hotload loaded it: that copy ({near(file)}) never"
            f" reloads; import it after the start, or as {live.generation.parent}"
        )


def _head(name: str) -> str:
    return name.partition(".")[0]


def _stamp(path: str | Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - a Path of each of many files takes longer than the call
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _was_changed(module: ModuleType, stamp: tuple[int, int]) -> bool:
    """Return whether the file of a module changed between its import and now.

    The import has left the time and size of the file that it read in the ``.pyc``.
    """
    cached = vars(module).get("__cached__")
    if stamp[0] < _BEGAN or sys.dont_write_bytecode or type(cached) is not str:
        return False
    with contextlib.suppress(OSError), open(cached, "rb") as file:  # noqa: PTH123 - as the import system
        head = file.read(16)
        if len(head) == 16 and head[4:8] == bytes(4):  # noqa: PLR2004 - PEP 552: not checked by hash
            found = head[8:12], head[12:]
            words = (stamp[0] // 10**9, stamp[1])
            return found != tuple((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words)
    return False
