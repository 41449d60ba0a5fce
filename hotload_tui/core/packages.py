"""The packages on the import path that the settings ``packages`` and ``entry_points`` make plugins."""

from __future__ import annotations

import keyword
import os
import sys
import sysconfig
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from hotload_tui.core.errors import near, nearest
from hotload_tui.core.module_names import spec_on_path

_OWN = __name__.partition(".")[0]
_INIT = "__init__.py"


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


def shared_place(written: str) -> str:
    """Return the path of a shared module; if nothing is there, that of the package of that name, if any."""
    path = os.path.abspath(written)  # noqa: PTH100 - as text, with its links
    found = "" if os.path.lexists(path) else locate(name_of(written))
    return found if os.path.lexists(found) else path


class Point(NamedTuple):
    """An entry point of an installed package."""

    group: str
    name: str
    module: str
    """The name of the module, by which an import finds it."""
    object: str
    """The name of the function or object in the module; empty for the module itself."""

    @property
    def package(self) -> str:
        """The package at the top, whose folder is the plugin."""
        return self.module.partition(".")[0]


def entry_points(groups: Collection[str]) -> list[Point]:
    """Return the entry points in these groups on the import path, in order of package and name."""
    if not groups:
        return []
    from importlib import metadata  # takes 20 ms, so it is imported only for groups

    found = {
        Point(group, each.name, each.module, each.attr or "")
        for group in groups
        for each in metadata.entry_points(group=group)
    }
    return sorted(found, key=lambda point: (point.package, point.name, point))


def empty_group(group: str) -> str:
    """Return why a group of entry points makes no package a plugin, and what to do; empty if it makes one."""
    if entry_points([group]):
        return ""
    from importlib import metadata  # as above

    known = [each for each in metadata.entry_points().groups if "scripts" not in each]
    return (
        f'entry_points = ["{group}"]: no package on the import path of {sys.executable} has an entry point of'
        f" this group; {nearest(group, known) or 'no package has any'}; install one and start the host again"
    )


def file_of(place: str, module: str) -> str:
    """Return the file of a module of the package at ``place``, relative to the package; it need not exist."""
    path = module.partition(".")[2].replace(".", "/")
    if not path:
        return Path(place).name if place.endswith(".py") else _INIT
    return f"{path}/{_INIT}" if Path(place, path, _INIT).is_file() else f"{path}.py"


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
            advice = "; list the other packages in packages instead" if key == "entry_points" else ""
            return f"{written}: {name} is a part of {owner} itself, which cannot be reloaded{advice}"
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


def missing(name: str, place: str, *, is_shared: bool, is_found: bool) -> str:
    """Return what to do about a package that is not on the import path, or a shared module that is gone.

    ``is_found``: an entry point names the package.
    """
    if is_shared:
        return f"no file or folder {near(place)}: create it, or correct shared in hotload.toml"
    if is_found:
        return (
            f'no package "{name}" on the import path of {sys.executable}, although an installed entry point'
            " names it: install it again (pip install --force-reinstall) and start the host again"
        )
    return (
        f'no package "{name}" on the import path of {sys.executable}: install it there (pip install -e '
        "FOLDER) and start the host again, or correct the name in packages in hotload.toml"
    )
