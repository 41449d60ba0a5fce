"""Where the packages are that the setting ``packages`` makes plugins: anywhere on the import path."""

from __future__ import annotations

import keyword
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from hotload_tui.core.errors import near
from hotload_tui.core.module_names import spec_on_path

_OWN = __name__.partition(".")[0]


def locate(name: str) -> str:
    """Return the folder of a package, or the file of a module, that ``import name`` would find.

    If there is none, return the place where pip would install the package. No code of the package runs.
    """
    spec = spec_on_path(name)
    if spec is not None:
        places = [*(spec.submodule_search_locations or ())]
        if places:  # the first one of a package without __init__.py
            return os.path.abspath(str(places[0]))  # noqa: PTH100 - as text, with its links
        if spec.origin is not None and spec.origin.endswith(".py"):
            return os.path.abspath(spec.origin)  # noqa: PTH100 - as above
    return str(Path(sysconfig.get_paths()["purelib"], name))


def name_of(place: str) -> str:
    """Return the name by which an import finds the file or folder ``place``."""
    return Path(place).name.removesuffix(".py")


def problem_with(settings: Iterable[tuple[str, str, str]]) -> str:
    """Return why a name cannot be a plugin, as a message says it; empty if all can.

    Each of ``settings`` is the key, the value as written, and the name that it means.
    """
    seen: set[str] = set()
    for key, value, name in settings:
        written = f'{key} = ["{value}"]'
        if not name.isidentifier() or keyword.iskeyword(name):
            example = '"llm_foo", without dots' if key == "packages" else '"prices.py" or "lib"'
            return f"{written}: must have a name that an import can use, such as {example}"
        if name in sys.stdlib_module_names or name == _OWN:
            owner = "hotload" if name == _OWN else "Python"
            return f"{written}: {name} is a part of {owner} itself, which cannot be reloaded"
        if name in seen:
            return f"{written}: another entry has the name {name}, too; remove or rename one of them"
        seen.add(name)
    return ""


def clash(place: str, folders: Iterable[str], beside: Iterable[str]) -> str:
    """Return why the package at ``place`` cannot be a plugin of a project; empty if it can.

    ``folders`` are that of the plugins and that of the artifacts. ``beside``: the names that a plugin of this
    name would have in the first one.
    """
    root, compiled = (Path(folder).absolute() for folder in folders)
    for folder in (root, compiled):
        if folder.is_relative_to(place):
            return f"{near(place)} contains {near(folder)}, which cannot be a part of a plugin"
    other = next((root / each for each in beside if os.path.lexists(root / each)), None)
    if other is None or str(other) == place:
        return ""
    return f"{near(other)} is a plugin of the same name; rename it, or remove this entry"


def missing(name: str, place: str, *, is_shared: bool) -> str:
    """Return what to do about a package that is not on the import path, or a shared module that is gone."""
    if is_shared:
        return f"no file or folder {near(place)}: create it, or correct shared in hotload.toml"
    return (
        f'no package "{name}" on the import path of {sys.executable}: install it there (pip install -e '
        "FOLDER) and start the host again, or correct the name in packages in hotload.toml"
    )
