"""Values and texts of a plugin, described without running its code.

Built-in values are shown shortly, all others by their type; what has to be asked for (the text of an
exception) is asked behind a fence.
"""

from __future__ import annotations

import difflib
import importlib.util
import itertools
import shlex
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Final

from hotload_tui.core.errors import PluginError
from hotload_tui.core.frames import variables_of
from hotload_tui.core.plugin import encodable

FOREIGN: Final = (Exception, SystemExit, GeneratorExit)
"""What foreign code may raise here without ending more than its own description."""

_MESSAGE = 4096  # characters
_NAMES = 30  # locals per frame
_SHOWN = 240  # characters of a value, of which one text may take
_TEXT = 80
_ITEMS, _DEPTH = 6, 4
_BITS = 1024  # of a whole number that is written out
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, not by the interpreter
_MASK = "••• (masked)"
_SECRETS = ("password", "passwd", "token", "secret", "key", "auth", "cookie", "credential", "signature")
_BRACKETS: Final = {list: "[]", tuple: "()", set: "{}", frozenset: "{}"}


def locals_of(frame: FrameType) -> tuple[tuple[str, str], ...]:
    """Return names and short representations; secrets masked."""
    if frame.f_code.co_name == "<module>":
        return ()  # a module's namespace is its source
    found = variables_of(frame)
    if type(found) is not dict and isinstance(found, dict):
        return ()  # a class body in a namespace of its metaclass's own
    names = itertools.islice(list(found.items()), _NAMES)
    return tuple((encodable(name), _cut(_masked(name, value, _DEPTH))) for name, value in names)


def message_of(error: BaseException) -> str:
    """Return the exception's text, cut to a bearable length."""
    try:
        text = str(error.msg) if isinstance(error, SyntaxError) else str(error)
        text = str.__str__(text)  # an exact one: a subclass could run code at every use
    except FOREIGN as failure:  # foreign code: __str__ of the plugin's own exception
        return f"<its text cannot be shown: __str__ raised {type(failure).__qualname__}>"
    return encodable(text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}… ({len(text):,} characters)")


def missing_module(error: BaseException) -> str:
    """Return the module that would have to be installed; empty if the error is about something else."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    if type(name) is not str or not name.isidentifier():
        return ""  # a dotted name is of a package that is there, or of a plugin
    return "" if name in sys.stdlib_module_names or name in sys.modules else name


def install_command(module: str) -> str:
    """Return the command that installs a distribution of this name for this Python."""
    python = shlex.quote(encodable(sys.executable)) if sys.executable else "python"
    if importlib.util.find_spec("pip") is None:  # as in the environments that uv makes
        return f"uv pip install --python {python} {module}"
    return f"{python} -m pip install {module}"


def notes_of(error: BaseException) -> Iterator[str]:
    """Yield what ``add_note`` said, the nearest name where one was not found, and how to get a module."""
    notes = getattr(error, "__notes__", ())
    if type(notes) is list:
        yield from (encodable(note[:_MESSAGE]) for note in notes if type(note) is str)
    wanted, names = _looked_for(error)
    nearest = difflib.get_close_matches(wanted, names, n=1) if wanted else []
    if nearest:
        yield f"Did you mean: '{encodable(nearest[0])}'?"
    if module := missing_module(error):
        yield f"Install what has it (the distribution's name may differ): {install_command(module)}"


def _looked_for(error: BaseException) -> tuple[str, Iterable[str]]:
    """Return the name that was not found, and those that are there; the interpreter's own hint runs code."""
    if isinstance(error, PluginError):
        return "", ()
    if isinstance(error, NameError) and type(error.name) is str and error.__traceback__ is not None:
        trace = error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        frame = trace.tb_frame
        return error.name, _strings(*variables_of(frame), *frame.f_globals, *frame.f_builtins)
    if isinstance(error, ImportError) and type(error.name) is str:
        wanted = getattr(error, "name_from", None)  # from Python 3.12 on
        module = sys.modules.get(error.name)
        return (wanted, _strings(*vars(module))) if type(wanted) is str and module else ("", ())
    if isinstance(error, AttributeError) and type(error.name) is str:
        kind = type(error.obj)
        return error.name, () if kind.__flags__ & _HEAP_TYPE else _strings(*dir(kind))
    return "", ()


def _strings(*names: object) -> list[str]:
    return [name for name in names if type(name) is str]


def _masked(name: object, value: object, depth: int) -> str:
    if type(name) is str and any(secret in name.lower() for secret in _SECRETS):
        return _MASK
    return _shown(value, depth)


def _shown(value: object, depth: int) -> str:
    if value is None or type(value) in (bool, float, complex):
        return repr(value)
    if type(value) is int:
        bits = value.bit_length()
        return repr(value) if bits <= _BITS else f"<int of {bits} bits>"
    if type(value) is str or type(value) is bytes:
        return repr(value) if len(value) <= _TEXT else f"{value[:_TEXT]!r}… ({len(value):,} long)"
    if type(value) is dict:
        pairs = list(itertools.islice(value.items(), _ITEMS)) if depth else []
        parts = [f"{_shown(key, depth - 1)}: {_masked(key, item, depth - 1)}" for key, item in pairs]
        return f"{{{_joined(parts, len(value))}}}"
    if type(value) in _BRACKETS:
        return _collection(value, depth)
    kind = type(value)
    return f"<{kind.__module__}.{kind.__qualname__} object>"


def _collection(value: object, depth: int) -> str:
    assert isinstance(value, list | tuple | set | frozenset)
    if not value and not isinstance(value, list | tuple):
        return f"{type(value).__name__}()"
    parts = [_shown(item, depth - 1) for item in itertools.islice(value, _ITEMS)] if depth else []
    if isinstance(value, tuple) and len(value) == 1 and depth:
        parts.append("")  # (1,)
    brackets = _BRACKETS[type(value)]
    return f"{brackets[0]}{_joined(parts, len(value))}{brackets[1]}".replace(", )", ",)")


def _joined(parts: list[str], length: int) -> str:
    return ", ".join([*parts, "…"] if length > len(parts) else parts)


def _cut(text: str) -> str:
    return encodable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
