"""How a plugin's files become module names, and where its code says it comes from.

Code names its real file, so that breakpoints bind, and ``linecache`` shows its lines as they were loaded.
Each file has one entry there: once a newer generation has put other lines into it, retired code that still
runs gets its own name, ``plugin.py@g3``, with its own lines. The standard library looks up the module of a
class in ``sys.modules`` (for ``inspect.getsource``, pickles and type hints), so a ``Remnant`` stays there
for a retired generation that is still held.
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
from types import CodeType, ModuleType
from typing import NamedTuple, TypeAlias, cast

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.runtime import native

_INIT = "__init__.py"


class ModulePlace(NamedTuple):
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


def module_places(artifact: Artifact) -> Iterator[tuple[str, ModulePlace]]:
    """Yield (dotted name, place) of each module; ``''`` is the plugin's directory itself.

    Folders without ``__init__.py`` are packages too, with the path at which it would stand.
    """
    natives = {path: name for path in artifact.members if (name := native.module_name(path))}
    modules = [path for path, member in artifact.members.items() if member.code_size]
    folders = {folder for path in [*natives, *modules] for folder in _above(path)}
    packages = {folder: ModulePlace(f"{folder}/{_INIT}".lstrip("/"), folder) for folder in folders}
    # Later ones win: a module beats a bare folder of its name, a native one beats that, a package with
    # __init__.py beats both. As Python has it.
    for folder, place in packages.items():
        yield folder.replace("/", "."), place
    for path in modules:
        yield path.removesuffix(".py").replace("/", "."), ModulePlace(path, None)
    for path, name in natives.items():
        yield name, ModulePlace(path, None, is_native=True)
    for folder, place in packages.items():
        if place.path in artifact.members:
            yield folder.replace("/", "."), place


_Pin: TypeAlias = tuple[int, None, list[str], str]
_Entry: TypeAlias = tuple[Callable[[], str | None]] | tuple[int, float | None, list[str], str]  # of linecache
_Rename: TypeAlias = Callable[[CodeType, str], None]


def _renamer() -> _Rename | None:
    """Return what the import system itself renames code with; it is private, and may go."""
    try:
        import _imp
    except ImportError:
        return None
    return cast("_Rename | None", getattr(_imp, "_fix_co_filename", None))


_rename = _renamer()


class Origin:
    """The files of one generation."""

    def __init__(self, number: int) -> None:
        """Begin without files; ``number`` is the generation's."""
        self._suffix = f"@g{number}"
        self._codes: dict[str, list[CodeType]] = {}
        self._pins: dict[str, tuple[_Pin, _Entry | None]] = {}
        self._is_retired = False
        self._names: dict[str, str] = {}

    def adopt(self, file: str, content: bytes, code: CodeType) -> None:
        """Have ``linecache`` show ``content`` for the code of ``file``, whatever becomes of it on disk."""
        # Split as the tokenizer does: str.splitlines also splits at form feeds. No time: never read again.
        lines = io.StringIO(_text(content)).readlines()
        pin: _Pin = (len(content), None, lines, file)
        self._codes.setdefault(file, []).append(code)
        if self._is_retired:  # a late import of old code: the lines of the newer generation stay
            self._pins[file] = (pin, None)
            _part_waiting(self)
            return
        self._pins[file] = (pin, linecache.cache.get(file))
        linecache.cache[file] = pin

    def codes(self) -> list[CodeType]:
        """Return the code of the modules that were executed, as far as it has its real name."""
        return [code for codes in self._codes.values() for code in codes]

    def confirm(self) -> None:
        """Forget what would be shown again if this generation failed: it serves now."""
        self._pins = {file: (pin, None) for file, (pin, _) in self._pins.items()}

    def retire(self) -> None:
        """Leave the real names to others, and get names of its own where they show other lines."""
        self.withdraw()
        _part_waiting(self)

    def withdraw(self) -> None:
        """Show again what was shown before; a generation that failed needs no more."""
        self._is_retired = True
        for file, (pin, before) in self._pins.items():
            if linecache.cache.get(file) is not pin:
                continue  # a newer generation has pinned its own lines
            if before is None:
                del linecache.cache[file]
            else:
                linecache.cache[file] = before

    def part(self) -> bool:
        """Rename the code of files for which other lines are shown; tell whether none is left to rename.

        Code of a file that did not change keeps its name and its breakpoints, until it does.
        """
        if _rename is None or _is_traced():
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
                _rename(code, name)
            self._pins.pop(file, None)
        return not self._pins

    def name_of(self, file: str) -> str:
        """Return the name that the code of ``file`` has now."""
        return self._names.get(file, file)


def _text(content: bytes) -> str:
    if content.isascii() and b"\r" not in content and b"coding" not in content:
        return content.decode("ascii")  # a tenth of the time that it takes to look for a coding
    return importlib.util.decode_source(content)


_waiting: list[weakref.ref[Origin]] = []
"""Retired generations with code that may have to be renamed yet, as long as they live."""


def _part_waiting(newest: Origin) -> None:
    # Without a lock: freeing something in here may run a plugin's code, and that may come here again.
    _waiting.append(weakref.ref(newest))
    for reference in _waiting.copy():
        origin = reference()
        if origin is None or origin.part():
            with contextlib.suppress(ValueError):
                _waiting.remove(reference)


def _is_traced() -> bool:
    """Tell whether a debugger or a coverage tool is at work, which knows files by their real names."""
    if sys.gettrace() is not None or threading.gettrace() is not None:
        return True
    if sys.version_info < (3, 12):
        return False
    return sys.monitoring.get_tool(sys.monitoring.DEBUGGER_ID) is not None


class Remnant(ModuleType):
    """Stands for a module without holding it; but for the name of its file, its contents are the module's."""

    _module: weakref.ref[ModuleType]
    _file: str
    _origin: weakref.ref[Origin]

    def __init__(self, name: str, module: ModuleType, file: str, origin: Origin) -> None:
        super().__init__(name, module.__doc__)
        for inherited in ("__doc__", "__spec__", "__loader__", "__package__"):
            super().__delattr__(inherited)  # the module's own are asked for
        super().__setattr__("_module", weakref.ref(module))
        super().__setattr__("_file", file)
        super().__setattr__("_origin", weakref.ref(origin))

    @property
    def __file__(self) -> str:  # type: ignore[override]  # the name under which linecache has its lines
        origin = self._origin()
        return self._file if origin is None else origin.name_of(self._file)

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]  # for vars(), which type hints ask
        module = self._module()
        return {} if module is None else vars(module)

    def __getattr__(self, name: str) -> object:
        module = self._module()
        if module is None:
            raise AttributeError(f"module '{self.__name__}' is freed; it has no attribute '{name}'")
        return getattr(module, name)

    def __setattr__(self, name: str, value: object) -> None:
        module = self._module()
        if module is not None:
            setattr(module, name, value)

    def __delattr__(self, name: str) -> None:
        module = self._module()
        if module is not None:
            delattr(module, name)


def remove(root: str) -> None:
    """Take the remnants of a generation that is freed out of ``sys.modules``; ``root`` is its unique name."""
    for name, module in sys.modules.copy().items():
        if type(module) is Remnant and (name == root or name.startswith(f"{root}.")):
            sys.modules.pop(name, None)
