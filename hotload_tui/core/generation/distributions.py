"""``importlib.metadata`` for packages that are vendored with their ``*.dist-info`` beside ``plugin.py``."""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotload_tui.core.generation.modules import Generation

_FOLDER = re.compile(r"([^/]+)\.(?:dist|egg)-info/(?:METADATA|PKG-INFO)")


class VendoredDistribution(importlib.metadata.Distribution):
    """One distribution inside an artifact."""

    def __init__(self, generation: Generation, folder: str) -> None:
        """Read ``folder``, such as ``Jinja2-3.1.6.dist-info``."""
        self._generation = generation
        self._folder = folder

    def read_text(self, filename: str) -> str | None:
        """Return a file of the folder, ``None`` if there is none."""
        path = f"{self._folder}/{filename}"
        if path not in self._generation.artifact.members:
            return None
        return self._generation.artifact.source(path).decode()

    def locate_file(self, path: object) -> Path:
        """Return where the author has a file of the distribution."""
        return self._generation.root_dir / str(path)

    @property
    def entry_points(self) -> importlib.metadata.EntryPoints:
        """Return the entry points, which load from the generation."""
        generation = self._generation
        return importlib.metadata.EntryPoints(
            _EntryPoint(point.name, point.value, point.group).of(self, generation.import_module)
            for point in super().entry_points
        )


class _EntryPoint(importlib.metadata.EntryPoint):
    """Loads what its author's names mean inside the plugin."""

    def of(self, distribution: VendoredDistribution, load: Callable[[str], ModuleType]) -> _EntryPoint:
        """Bind it to its distribution; instances refuse to be changed in other ways."""
        vars(self).update(dist=distribution, _load=load)
        return self

    def load(self) -> object:
        """Import the module and return the object that is named in it."""
        load: Callable[[str], ModuleType] = vars(self)["_load"]
        parts = filter(None, self.attr.split("."))
        return functools.reduce(getattr, parts, load(self.module))


def find_distributions(generation: Generation, name: str | None) -> Iterator[VendoredDistribution]:
    """Yield the distributions beside ``plugin.py``; all without a ``name``."""
    members: Mapping[str, object] = generation.artifact.members
    for path in members:
        match = _FOLDER.fullmatch(path)
        if match and (name is None or _normal(match[1].partition("-")[0]) == _normal(name)):
            yield VendoredDistribution(generation, path.partition("/")[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
