"""Load the native modules of a plugin, each load from a new copy of the file.

The dynamic linker identifies a library by its path and its inode: loading either again returns the old code,
and writing to a mapped file crashes the process. So each load gets a new file, in a folder that is removed
only when the process ends, because the inode of a deleted file is soon reused.
"""

from __future__ import annotations

import atexit
import functools
import importlib.abc
import importlib.machinery
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType

from hotload_tui.core.artifact import Artifact, NativeMember
from hotload_tui.core.model import LedgerEntry

SUFFIXES = tuple(importlib.machinery.EXTENSION_SUFFIXES)
"""The suffixes of the native modules that this Python can load."""

_OTHERS = (".so", ".pyd", ".dylib")
_SOURCES = (".c", ".cc", ".cpp", ".cxx", ".rs")
_loaded: Counter[str] = Counter()
"""How many versions of each native module this process has loaded, by the source path."""


def module_name(path: str) -> str | None:
    """Return the dotted name of the native module at ``path``; ``None`` if this Python cannot load it."""
    for suffix in SUFFIXES:  # longest first: ``.so`` alone would leave the tag in the name
        if path.endswith(suffix):
            return path.removesuffix(suffix).replace("/", ".")
    return None


def foreign(paths: Iterable[str]) -> list[str]:
    """Return the native modules in ``paths`` that are built only for another Python or system."""
    natives = [path for path in paths if path.endswith(_OTHERS)]
    named = {path: module_name(path) or "" for path in natives}
    # The tag of another Python stays in the name, and no import statement can name such a module.
    usable = {path.partition(".")[0] for path in natives if named[path].replace(".", "_").isidentifier()}
    return [path for path in natives if path.partition(".")[0] not in usable]


def refusal(artifact: Artifact, module: str) -> ImportError | None:
    """Return the error for a module built for another Python or system, or not built; else ``None``."""
    stem = module.replace(".", "/")
    found = [path for path in artifact.members if path.startswith(f"{stem}.")]
    other = next((path for path in found if path.endswith(_OTHERS)), "")
    source = next((path for path in found if path.endswith(_SOURCES)), "")
    if not other and not source:
        return None
    reason = (
        f"is a native module for another Python or system; this one loads files that end in {SUFFIXES[0]}"
    )
    if not other:
        what = (
            "belongs to no crate with a Cargo.toml" if source.endswith(".rs") else "is neither C nor Cython"
        )
        if source.endswith(".c"):
            what = f"defines no PyInit_{module.rpartition('.')[2]}, and no native.toml declares it"
        reason = f"{what}, so hotload builds no module from it"
    # Not ModuleNotFoundError: `from . import x` would ignore it and hide the reason.
    return ImportError(f"{other or source} of plugin {artifact.manifest.plugin} {reason}", name=module)


def loader_for(artifact: Artifact, path: str, file: str) -> NativeLoader | LibraryLoader:
    """Return the loader of the native module ``path`` in an artifact; ``file`` is the path of its source."""
    member = artifact.members[path]
    is_library = type(member) is NativeMember and member.is_library
    return (LibraryLoader if is_library else NativeLoader)(artifact, path, file)


def excess(artifact: Artifact, file_of: Callable[[str], str], limit: int) -> str:
    """Return why the process must not load an artifact; empty if fewer versions than ``limit`` are in memory.

    ``file_of`` returns the source path of a file in the artifact.
    """
    for path in filter(module_name, artifact.members):
        if _loaded[file_of(path)] >= limit:
            return (
                f"{limit} versions of the native module {path} are in memory (native_limit = {limit}), "
                "because no Python unmaps one: restart the host to get this version"
            )
    return ""


def standing(artifact: Artifact, number: int, file_of: Callable[[str], str]) -> Iterator[LedgerEntry]:
    """Yield how many versions of each native module of a live generation are in memory.

    ``file_of`` returns the source path of a file in the artifact.
    """
    for path in filter(module_name, artifact.members):
        if count := _loaded[file_of(path)]:
            versions = "1 version" if count == 1 else f"{count} versions"
            yield LedgerEntry("native module", f"{path} ({versions} in memory)", number, "stands")


class LibraryLoader(importlib.abc.Loader):
    """Loads a library for ctypes from a new file; the module has it as ``library``."""

    def __init__(self, artifact: Artifact, path: str, file: str) -> None:
        """Load ``path`` of the artifact; ``file`` is the path of its source."""
        self._content = artifact.source(path)
        self._path = path
        self.file = file

    def exec_module(self, module: ModuleType) -> None:
        """Load the library; raises ``ImportError`` if it cannot be loaded."""
        import ctypes  # only for such a module

        copy = _fresh_file(self._path)
        copy.write_bytes(self._content)
        self._content = b""
        try:
            vars(module)["library"] = ctypes.CDLL(str(copy))
        except OSError as error:
            reason = str(error).replace(str(copy), self.file)
            raise ImportError(f"library {self._path} cannot be loaded: {reason}", name=self._path) from error
        _loaded[self.file] += 1


class NativeLoader(importlib.abc.Loader):
    """Loads one native module from a new file."""

    def __init__(self, artifact: Artifact, path: str, file: str) -> None:
        """Load ``path`` of the artifact; ``file`` is the path of its source."""
        # Some native modules live forever, and so do their loaders: hold no reference to the generation.
        self._content = artifact.source(path)
        self._plugin = artifact.manifest.plugin
        self._path = path
        self._extension: importlib.machinery.ExtensionFileLoader | None = None
        self.file = file

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Load the library.

        Raises:
            ImportError: the library cannot be loaded, or not a second time in this process.

        """
        copy = _fresh_file(self._path)
        copy.write_bytes(self._content)
        self._content = b""
        self._extension = importlib.machinery.ExtensionFileLoader(spec.name, str(copy))
        own = importlib.machinery.ModuleSpec(spec.name, self._extension, origin=str(copy))
        try:
            module = self._extension.create_module(own)
        except (ImportError, SystemError) as error:
            raise self._explained(error, copy) from error
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's initialisation; raises ``ImportError`` as ``create_module`` does."""
        assert self._extension is not None, "the import system creates a module first"
        try:
            self._extension.exec_module(module)
        except (ImportError, SystemError) as error:
            raise self._explained(error, Path(self._extension.path)) from error
        module.__file__ = self.file
        _loaded[self.file] += 1

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol
        """Return the path of the module's source."""
        return self.file

    def _explained(self, error: Exception, copy: Path) -> ImportError:
        reason = str(error).replace(str(copy), self.file)
        text = f"native module {self._path} of plugin {self._plugin} cannot be loaded"
        is_refusal = getattr(error, "path", None) != str(copy)  # the linker's own errors name the file
        if is_refusal and _loaded[self.file]:
            text += " a second time in one process; restart the host to get this version"
        return ImportError(f"{text}: {reason}", name=self._path)


def _fresh_file(path: str) -> Path:
    # Keep the file's name: on some systems the linker or the module reads it.
    return Path(tempfile.mkdtemp(dir=_folder(os.getpid())), PurePosixPath(path).name)


@functools.cache
def _folder(process: int) -> str:
    """Return the folder for the copies of this process; a forked process gets another folder."""
    folder = tempfile.mkdtemp(prefix="hotload-native-")
    atexit.register(_remove, folder, process)
    return folder


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # a forked process inherits this exit function: keep its parent's files
        shutil.rmtree(folder, ignore_errors=True)
