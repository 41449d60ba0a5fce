"""``Layout``: how the plugins of a project look on disk. The one place that knows a plugin's entry.

A project may name another entry file than ``plugin.py`` and another function than ``register``.
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
_PYTHON_FILE: Final = re.compile(r"[^\W\d]\w*\.py")


class PluginEntry(Struct, frozen=True):
    """The file of a plugin that runs, and the function in it that registers the plugin."""

    file: str = _PLUGIN
    """Directly in the plugin's directory."""
    function: str = "register"

    @property
    def module(self) -> str:
        """The name of the file's module below the plugin's package; empty for the package itself."""
        return "" if self.file == _INIT else self.file.removesuffix(".py")

    @property
    def example(self) -> str:
        """The first line of the function, as a message suggests it."""
        return f"def {self.function}(ctx) -> None: ..."


class Layout(Struct, frozen=True):
    """What a plugin looks like in a project; the default is a directory with a ``plugin.py``."""

    entry: str = _PLUGIN
    """The name of the entry file."""
    register: str = "register"
    """The name of the function that registers a plugin."""

    def problem(self) -> str:
        """Return what is wrong with a setting, as a message says it; empty if nothing is."""
        if not _PYTHON_FILE.fullmatch(self.entry) or keyword.iskeyword(self.entry.removesuffix(".py")):
            return f'entry = "{self.entry}": must be the name of a Python file, such as "__init__.py"'
        if not self.register.isidentifier() or keyword.iskeyword(self.register):
            return f'register = "{self.register}": must be the name of a function, such as "setup"'
        return ""

    def arguments(self) -> str:
        """Return the settings that differ from the defaults as arguments that follow others in a call."""
        names = [name for name in self.__struct_fields__ if getattr(self, name) != getattr(DEFAULT, name)]
        return "".join(f", {name}={getattr(self, name)!r}" for name in names)

    @property
    def plugin_entry(self) -> PluginEntry:
        """The entry of a plugin that is a directory."""
        return PluginEntry(self.entry, self.register)

    def other_entry(self, path: Path) -> str:
        """Return the file in the directory of a plugin without an entry that may be meant; empty for none."""
        names = [name for name in (_PLUGIN, _INIT) if (path / name).is_file()]
        return names[0] if names else ""

    def name_of(self, file_name: str) -> str | None:
        """Return the plugin name for the name of a directory; ``None`` if such a directory is no plugin."""
        if file_name.startswith((".", "__")) or file_name in ("", "_"):
            return None
        return os.fsencode(file_name).decode("utf-8", "backslashreplace").removeprefix("_")


DEFAULT: Final = Layout()
PLUGIN_ENTRY: Final = PluginEntry()
