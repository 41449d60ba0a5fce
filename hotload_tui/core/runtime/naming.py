"""The module names of a plugin's files, and the file names and source lines of its code.

A code object names its real file, so that breakpoints bind, and ``linecache`` has the lines as they were
loaded. ``linecache`` has one entry per file: when a newer generation puts different lines there, retired code
that still runs gets a separate name, ``plugin.py@g3``, with its own lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import keyword
import linecache
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import CodeType
from typing import NamedTuple, TypeAlias

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.interpreter import RENAMING, rename, works
from hotload_tui.core.runtime import native

_INIT = "__init__.py"


class ModulePlace(NamedTuple):
    """The file and the folder of a module, as paths inside the artifact."""

    path: str
    """The module's file; for a folder without ``__init__.py``, the path that this file would have."""
    folder: str | None
    """The package's folder; ``None`` for a plain module."""
    is_native: bool = False


def identifier(plugin: str) -> str:
    """Return a Python identifier that is unique to the name of a plugin."""
    if plugin.isidentifier() and not keyword.iskeyword(plugin):
        return plugin
    readable = re.sub(r"\W", "_", plugin)
    return f"p_{readable}_{hashlib.sha256(plugin.encode()).hexdigest()[:6]}"


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a file, from the inside out; the last is ``''``."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def module_places(artifact: Artifact) -> Iterator[tuple[str, ModulePlace]]:
    """Yield the dotted name and the place of each module; ``''`` is the plugin's directory.

    A folder without ``__init__.py`` is a package, too.
    """
    natives = {path: name for path in artifact.members if (name := native.module_name(path))}
    modules = [path for path, member in artifact.members.items() if member.code_size]
    folders = {folder for path in [*natives, *modules] for folder in _above(path)}
    modules += [path for path in artifact.members if path.endswith(".py") and _is_named(path, folders)]
    packages = {folder: ModulePlace(f"{folder}/{_INIT}".lstrip("/"), folder) for folder in folders}
    # Later entries win, in Python's order: a module beats a folder without __init__.py, a native module beats
    # that module, and a package with __init__.py beats both.
    for folder, place in packages.items():
        yield folder.replace("/", "."), place
    entry = artifact.manifest.entry
    for path in modules:
        name = entry.module if entry.is_alone else path.removesuffix(".py").replace("/", ".")
        yield name, ModulePlace(path, None)
    for path, name in natives.items():
        yield name, ModulePlace(path, None, is_native=True)
    for folder, place in packages.items():
        if place.path in artifact.members:
            yield folder.replace("/", "."), place


def _is_named(path: str, folders: set[str]) -> bool:
    """Return whether only ``import_module`` can name a file of a package, such as ``0001_initial.py``."""
    folder, _, file = path.rpartition("/")
    return folder in folders and not file[:-3].isidentifier() and "." not in file[:-3]


_Pin: TypeAlias = tuple[int, None, list[str], str]
_Entry: TypeAlias = tuple[Callable[[], str | None]] | tuple[int, float | None, list[str], str]  # in linecache


class Origin:
    """The file names and source lines of one generation's code."""

    def __init__(self, number: int) -> None:
        """Start without files; ``number`` is the generation's number."""
        self._suffix = f"@g{number}"
        self._codes: dict[str, list[CodeType]] = {}
        self._pins: dict[str, tuple[_Pin, _Entry | None]] = {}
        self._is_retired = False
        self._names: dict[str, str] = {}

    def adopt(self, file: str, content: bytes, code: CodeType) -> None:
        """Make ``linecache`` show ``content`` for the code of ``file``, even if the file on disk changes."""
        # Split as the tokenizer does: str.splitlines also splits at form feeds. linecache never rereads
        # an entry without a modification time.
        lines = io.StringIO(importlib.util.decode_source(content)).readlines()
        pin: _Pin = (len(content), None, lines, file)
        self._codes.setdefault(file, []).append(code)
        if self._is_retired:  # old code imports late: the lines of the newer generation stay
            self._pins[file] = (pin, None)
            _part_waiting(self)
            return
        self._pins[file] = (pin, linecache.cache.get(file))
        linecache.cache[file] = pin

    def add(self, code: CodeType) -> None:
        """Name the code of a function, which replaces other code, like the code of its file."""
        if code.co_filename in self._codes:
            self._codes[code.co_filename].append(code)

    def codes(self) -> list[CodeType]:
        """Return the code objects of executed modules that still have their real file names."""
        return [code for codes in self._codes.values() for code in codes]

    def confirm(self) -> None:
        """Drop the ``linecache`` entries to restore after a failure; the generation is live now."""
        self._pins = {file: (pin, None) for file, (pin, _) in self._pins.items()}

    def retire(self) -> None:
        """Give up the real file names, and rename the code of files that now show other lines."""
        self.withdraw()
        _part_waiting(self)

    def withdraw(self) -> None:
        """Restore the previous ``linecache`` entries; a failed generation needs nothing else."""
        self._is_retired = True
        for file, (pin, before) in self._pins.items():
            if linecache.cache.get(file) is not pin:
                continue  # a newer generation has pinned its own lines
            if before is None:
                del linecache.cache[file]
            else:
                linecache.cache[file] = before

    def part(self) -> bool:
        """Rename the code of files that show other lines; return whether no code is left to rename.

        The code of an unchanged file keeps its name and its breakpoints until the file changes.
        """
        if not works(RENAMING) or _is_traced():
            return False
        for file, (pin, _) in self._pins.copy().items():
            shown = linecache.cache.get(file)
            if shown is not None and shown[2:3] == (pin[2],):
                continue
            name = self._names[file] = f"{file}{self._suffix}"
            if name not in linecache.cache:
                weakref.finalize(self, linecache.cache.pop, name, None).atexit = False
            linecache.cache[name] = (*pin[:3], name)
            for code in self._codes.pop(file, ()):
                rename(code, name)
            self._pins.pop(file, None)
        return not self._pins

    def name_of(self, file: str) -> str:
        """Return the current name of ``file`` in its code."""
        return self._names.get(file, file)


_waiting: list[weakref.ref[Origin]] = []
"""Weak references to retired generations' origins whose code may still need a new name."""


def _part_waiting(newest: Origin) -> None:
    # No lock: freeing an object in here may run plugin code, which may call this function again.
    _waiting.append(weakref.ref(newest))
    for reference in _waiting.copy():
        origin = reference()
        if origin is None or origin.part():
            with contextlib.suppress(ValueError):
                _waiting.remove(reference)


def _is_traced() -> bool:
    """Return whether a debugger or a trace function runs; both know files by their real names."""
    if sys.gettrace() is not None or threading.gettrace() is not None:
        return True
    if sys.version_info < (3, 12):
        return False
    return sys.monitoring.get_tool(sys.monitoring.DEBUGGER_ID) is not None
