"""``Layout``: how the plugins of a project look on disk. The one place that knows a plugin's entry.

A project may name another entry file than ``plugin.py`` and another function than ``register``, and a single
file, or a package on the import path, may be a plugin.
"""

from __future__ import annotations

import keyword
import os
import re
from pathlib import Path
from typing import Final

from msgspec import Struct

_PLUGIN: Final = "plugin.py"
_INIT: Final = "__init__.py"
_NO_PLUGIN: Final = re.compile(r"TEMPLATE\.py|conftest\.py|test_.*\.py")
"""Python files beside the plugins that are not plugins."""

_PYTHON_FILE: Final = re.compile(r"[^\W\d]\w*\.py")


class EntryPoint(Struct, frozen=True):
    """An entry point of an installed package: what a program loads of it as a plugin."""

    name: str
    """The program's name for the plugin."""
    module: str
    """The name of the module, by which an import finds it."""
    file: str
    """The file of the module, relative to the plugin's folder."""
    object: str = ""
    """The name of the function or object in the module; empty for the module itself."""


class PluginEntry(Struct, frozen=True):
    """The file of a plugin that runs, and the function in it that registers the plugin."""

    file: str = _PLUGIN
    """Relative to the plugin's folder."""
    function: str = "register"
    """Empty for a shared module, which registers nothing."""
    is_alone: bool = False
    """Whether the file is the whole plugin; its folder is then that of all plugins."""
    packages: tuple[str, ...] = ()
    """The plugins of the project that are packages: who imports one of them by its name requires it."""
    points: tuple[EntryPoint, ...] = ()
    """The entry points that make a package a plugin; ``file`` is that of the first one."""

    @property
    def module(self) -> str:
        """The name of the file's module below the plugin's package; empty for the package itself."""
        if self.is_alone:  # not the file's name: greet.py may define greet
            return _PLUGIN.removesuffix(".py")
        return self.file.removesuffix(".py").removesuffix("__init__").strip("/").replace("/", ".")

    @property
    def example(self) -> str:
        """The first line of the function, as a message suggests it."""
        return example_of(self.function)


def example_of(function: str) -> str:
    """Return the first line of a function that registers a plugin."""
    return f"def {function}(ctx) -> None: ..."


class Layout(Struct, frozen=True):
    """What a plugin looks like in a project; the default is a directory with a ``plugin.py``."""

    entry: str = _PLUGIN
    """The name of the entry file."""
    register: str = "register"
    """The name of the function that registers a plugin."""
    files: bool = False
    """Whether a Python file beside the directories is a plugin, too."""
    packages: dict[str, str] = {}
    """The packages that are plugins, too, wherever they are: each with its folder, or file of a module."""
    shared: tuple[str, ...] = ()
    """The packages that are shared modules: they register nothing."""
    entry_points: tuple[str, ...] = ()
    """The groups of entry points whose packages are plugins, too."""
    points: dict[str, tuple[EntryPoint, ...]] = {}
    """The entry points in these groups, by the package that they belong to."""

    def describe(self) -> str:
        """Return what a plugin is in this project, as a sentence."""
        files = ", and each Python file beside them is a plugin" if self.files else ""
        named = ", ".join(name for name in self.packages if name not in self.shared)
        packages = f"; so is each of the packages {named}" if named else ""
        shared = f"; the plugins share {', '.join(self.shared)}" if self.shared else ""
        what = f"a plugin is a directory with {self.entry}, which defines {self.register}(ctx)"
        return f"{what}{files}{packages}{shared}"

    def problem(self) -> str:
        """Return what is wrong with a setting, as a message says it; empty if nothing is."""
        if not _PYTHON_FILE.fullmatch(self.entry) or keyword.iskeyword(self.entry.removesuffix(".py")):
            return f'entry = "{self.entry}": must be the name of a Python file, such as "__init__.py"'
        if not self.register.isidentifier() or keyword.iskeyword(self.register):
            return f'register = "{self.register}": must be the name of a function, such as "setup"'
        return ""

    def arguments(self) -> str:
        """Return the settings that differ from the defaults as arguments that follow others in a call."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        values = {name: value for name, value in values.items() if value != getattr(DEFAULT, name)}
        if self.packages:
            named = [name for name in self.packages if name not in self.shared and name not in self.points]
            values["packages"] = tuple(named)
            values["shared"] = tuple(self.packages[name] for name in self.shared)
        values.pop("points", None)  # entry_points finds them
        return "".join(f", {name}={value!r}" for name, value in values.items())

    def is_file(self, path: Path | str) -> bool:
        """Return whether the plugin with this path or file name is a single file."""
        place = os.fspath(path)
        return place.endswith(".py") and (self.files or place in self.packages.values())

    def package_at(self, path: Path) -> str:
        """Return the name of the package in which ``path`` is, or which it is; empty if it is in none."""
        return next((name for name, place in self.packages.items() if path.is_relative_to(place)), "")

    def plugin_at(self, path: Path, root: Path) -> str | None:
        """Return the name of the plugin to which ``path`` belongs; ``root`` contains the directories."""
        if package := self.package_at(path):
            return package
        parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
        return self.name_of(parts[0]) if parts else None

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of all entry files."""
        points = (point.file for each in self.points.values() for point in each)
        return (self.entry, _INIT, *points) if self.packages else (self.entry,)

    def entry_of(self, path: Path) -> PluginEntry:
        """Return the entry of the plugin at ``path``."""
        packages, name = tuple(self.packages), self.package_at(path)
        function = "" if name in self.shared else self.register
        points = self.points.get(name, ())
        if self.is_file(path):
            return PluginEntry(path.name, function, is_alone=True, packages=packages, points=points)
        if points:
            return PluginEntry(points[0].file, function, packages=packages, points=points)
        is_init = name and (self.entry == _PLUGIN or not function)
        return PluginEntry(_INIT if is_init else self.entry, function, packages=packages)

    def folder_of(self, path: Path) -> Path:
        """Return the folder to which the paths of the files of the plugin at ``path`` are relative."""
        return path.parent if self.is_file(path) else path

    def other_entry(self, path: Path) -> str:
        """Return the file in the directory of a plugin without an entry that may be meant; empty for none."""
        names = [name for name in (_PLUGIN, _INIT) if (path / name).is_file()]
        return names[0] if names else ""

    def name_of(self, file_name: str) -> str | None:
        """Return the plugin name for the name of a directory or file; ``None`` if that is no plugin."""
        if file_name.startswith((".", "__")) or file_name in ("", "_"):
            return None
        name = os.fsencode(file_name).decode("utf-8", "backslashreplace").removeprefix("_")
        if not self.is_file(file_name):
            return name
        return None if _NO_PLUGIN.fullmatch(name) else name.removesuffix(".py") or None

    def file_names(self, name: str) -> tuple[str, ...]:
        """Return the names that a plugin may have on the disk, in the order in which they count."""
        return (name, f"{name}.py", f"_{name}", f"_{name}.py") if self.files else (name, f"_{name}")

    def rival_of(self, path: Path) -> Path | None:
        """Return the directory or file that has the same plugin name as ``path``, or ``None``."""
        if not self.files or self.package_at(path):
            return None
        other = path.with_suffix("") if self.is_file(path) else path.with_name(f"{path.name}.py")
        return other if (other.is_dir() if self.is_file(path) else other.is_file()) else None


DEFAULT: Final = Layout()
PLUGIN_ENTRY: Final = PluginEntry()
