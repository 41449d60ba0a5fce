"""``GenerationLoader`` and the finder: how the import system reaches the modules of generations."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING

from hotload_tui.core.artifact import DIGITS
from hotload_tui.core.generation.distributions import find_distributions
from hotload_tui.core.generation.facade import calling_generation, facade_spec, place_parents, remove_parents
from hotload_tui.core.generation.names import Place
from hotload_tui.core.generation.resources import ArtifactResources

if TYPE_CHECKING:
    from hotload_tui.core.generation.modules import Generation

_NUMBERED = re.compile(rf"^g\d+_[0-9a-f]{{{DIGITS}}}x*(?:\.|$)")


class GenerationLoader(importlib.abc.InspectLoader):
    """Loads one module of a generation from its artifact."""

    def __init__(self, generation: Generation, place: Place) -> None:
        self._generation = generation
        self._path = place.path
        self._folder = place.folder
        self.file = generation.file_of(place.path)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:  # noqa: ARG002 - the import protocol's
        """Let the import system make an ordinary module."""
        return

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code with the generation's builtins."""
        self._generation.prepare(module)
        if self._path not in self._generation.artifact.members:
            return  # a folder without __init__.py
        artifact = self._generation.artifact
        code = artifact.code_object(self._path, self.file)
        self._generation.origin.adopt(self.file, artifact.source(self._path), code)
        exec(code, module.__dict__)  # noqa: S102 - our job

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002 - the import protocol's
        """Tell whether it is a package."""
        return self._folder is not None

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol's
        """Return the source file's path."""
        return self.file

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol's
        """Return the source as it was loaded."""
        if self._path not in self._generation.artifact.members:
            return ""
        return importlib.util.decode_source(self._generation.artifact.source(self._path))

    def get_data(self, path: str) -> bytes:
        """Return a file of the plugin as it was loaded; ``OSError`` where there is none."""
        try:
            relative = Path(path).relative_to(self._generation.root_dir)
            return self._generation.artifact.source(relative.as_posix())
        except (ValueError, KeyError):
            raise FileNotFoundError(f"{path} is no file of plugin {self._generation.plugin}") from None

    def get_resource_reader(self, fullname: str) -> ArtifactResources:  # noqa: ARG002 - the import protocol's
        """Return the package's files for ``importlib.resources``."""
        folder = self._folder if self._folder is not None else str(PurePosixPath(self._path).parent)
        return ArtifactResources(self._generation.artifact, "" if folder == "." else folder)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of all generations; stands first in ``sys.meta_path`` while there are any."""

    def __init__(self) -> None:
        self._generations: dict[str, Generation] = {}
        self._parents: dict[str, int] = {}
        self._lock = threading.RLock()

    def add(self, generation: Generation) -> None:
        """Find the modules of ``generation``."""
        with self._lock:
            if generation.root in self._generations:
                return
            self._generations[generation.root] = generation
            self._parents[generation.parent] = self._parents.get(generation.parent, 0) + 1
            place_parents(generation.parent)
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)

    def remove(self, generation: Generation) -> None:
        """Find them no more; with the last generation goes all that stood for its plugin."""
        with self._lock:
            if self._generations.pop(generation.root, None) is None:
                return
            self._parents[generation.parent] -= 1
            if not self._parents[generation.parent]:
                del self._parents[generation.parent]
                remove_parents(generation.parent, self._parents)
            if not self._generations and self in sys.meta_path:
                sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a generation's module or of a facade, ``None`` for all others."""
        parts = fullname.split(".", 3)
        generation = self._generations.get(".".join(parts[:3]))
        if generation is not None:
            return generation.find_spec(fullname)
        parent = ".".join(parts[:2])
        if parent not in self._parents:
            return None
        # The name of a generation that is gone means the same as the stable one.
        return facade_spec(parent, fullname, _NUMBERED.sub("", ".".join(parts[2:]), count=1))

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context
    ) -> Iterable[importlib.metadata.Distribution]:
        """Yield what is vendored beside ``plugin.py``, if it is the plugin that asks."""
        generation = calling_generation()
        return () if generation is None else find_distributions(generation, context.name)


finder = Finder()
