"""``pkgutil.iter_modules`` of a plugin's folders: the modules that were loaded, not what is on disk now."""

from __future__ import annotations

import importlib.machinery
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from hotload_tui.core.generation.modules import Generation

_OnError: TypeAlias = Callable[[str], object]


class Listing:
    """The functions of ``pkgutil`` that list modules, for one generation."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def iter_modules(
        self, path: Iterable[str] | None = None, prefix: str = ""
    ) -> Iterator[pkgutil.ModuleInfo]:
        """List the modules in folders as ``pkgutil.iter_modules`` does."""
        if path is None:
            yield from pkgutil.iter_modules(None, prefix)
            return
        for entry in path:
            try:
                folder = Path(entry).relative_to(self._generation.root_dir).as_posix().strip(".")
            except ValueError:
                yield from pkgutil.iter_modules([entry], prefix)
                continue
            finder = _FolderFinder(self._generation, folder)
            for name, is_package in self._generation.modules_in(folder):
                yield pkgutil.ModuleInfo(finder, f"{prefix}{name}", is_package)

    def walk_packages(
        self, path: Iterable[str] | None = None, prefix: str = "", onerror: _OnError | None = None
    ) -> Iterator[pkgutil.ModuleInfo]:
        """List the modules in folders and below as ``pkgutil.walk_packages`` does."""
        for info in self.iter_modules(path, prefix):
            yield info
            if info.ispkg:
                yield from self.walk_packages(self._path_of(info.name, onerror), f"{info.name}.", onerror)

    def _path_of(self, name: str, onerror: _OnError | None) -> list[str]:
        try:
            return list(self._generation.import_module(name).__path__)
        except Exception as error:  # foreign code: the caller has said what to do about packages that fail
            if onerror is not None:
                onerror(name)
            elif not isinstance(error, ImportError):
                raise
            return []


class _FolderFinder:
    """What ``pkgutil`` says has found a module."""

    def __init__(self, generation: Generation, folder: str) -> None:
        self._generation = generation
        self._folder = folder

    def find_spec(
        self,
        fullname: str,
        target: ModuleType | None = None,  # noqa: ARG002 - the protocol's
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module in this folder."""
        above = ".".join([self._generation.root, *filter(None, self._folder.split("/"))])
        return self._generation.find_spec(f"{above}.{fullname.rpartition('.')[2]}")
