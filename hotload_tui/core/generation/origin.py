"""``Origin``: where the code of one generation says it comes from, and the lines that are shown for it.

Code names its real file, so that breakpoints bind, and ``linecache`` shows its lines as they were loaded.
There is one entry for each file: once a newer generation has put other lines there, or nobody has any,
retired code that somebody still runs gets a name of its own, ``plugin.py@g3``, with its own lines.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import linecache
import sys
import threading
import weakref
from collections.abc import Callable
from types import CodeType
from typing import TypeAlias, cast

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
