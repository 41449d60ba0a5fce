"""How a plugin's files become names of modules."""

from __future__ import annotations

import hashlib
import keyword
import re
from collections.abc import Iterator
from typing import NamedTuple

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.generation import native

_INIT = "__init__.py"


class Place(NamedTuple):
    """Where a module comes from."""

    path: str
    """Its file; of a folder without ``__init__.py``, where that would stand."""
    folder: str | None
    """The folder of a package, ``None`` for a plain module."""
    is_native: bool = False


def identifier(plugin: str) -> str:
    """Return a Python identifier that stands for a plugin's name, and for no other's."""
    if plugin.isidentifier() and not keyword.iskeyword(plugin):
        return plugin
    readable = re.sub(r"\W", "_", plugin)
    return f"p_{readable}_{hashlib.sha256(plugin.encode()).hexdigest()[:6]}"


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a file; the last is ``''``."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def module_places(artifact: Artifact) -> Iterator[tuple[str, Place]]:
    """Yield (dotted name, place) of each module; ``''`` is the plugin's directory itself.

    Folders without ``__init__.py`` are packages too, with the path at which it would stand.
    """
    natives = {path: name for path in artifact.members if (name := native.module_name(path))}
    modules = [path for path, member in artifact.members.items() if member.code_size]
    folders = {folder for path in [*natives, *modules] for folder in _above(path)}
    packages = {folder: Place(f"{folder}/{_INIT}".lstrip("/"), folder) for folder in folders}
    # Later ones win: a module beats a bare folder of its name, a native one beats that, a package with
    # __init__.py beats both. As Python has it.
    for folder, place in packages.items():
        yield folder.replace("/", "."), place
    for path in modules:
        yield path.removesuffix(".py").replace("/", "."), Place(path, None)
    for path, name in natives.items():
        yield name, Place(path, None, is_native=True)
    for folder, place in packages.items():
        if place.path in artifact.members:
            yield folder.replace("/", "."), place
