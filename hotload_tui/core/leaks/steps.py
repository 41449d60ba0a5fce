"""How one object refers to another, as a user reads it; looks at types only, and runs no code of theirs."""

from __future__ import annotations

import functools
import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from types import (
    AsyncGeneratorType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    TracebackType,
)
from typing import cast

from hotload_tui.core.leaks.frames import place
from hotload_tui.core.leaks.island import of_type

_CACHE = type(functools.lru_cache(lambda: None))
_SILENT = (CellType, TracebackType, FrameType, MethodType, functools.partial)
_MAPS = ("Context", "hamt", "hamt_bitmap_node", "hamt_array_node", "hamt_collision_node")  # of contextvars
_SUSPENDED = (GeneratorType, CoroutineType, AsyncGeneratorType)
_ITEMS = (list, tuple, deque, set, frozenset)
_LONGEST = 40  # characters of a key
_FACTORIES = ("row_factory", "text_factory")  # of SQLite: fields that C code reads from 3.14 on


def known(thing: object) -> str:
    """Return what a user calls something that has a name in the process; empty for what has none."""
    kind = type(thing)
    if kind is _CACHE:
        return f"lru_cache of {_full_name(thing)}"
    if kind is FunctionType or issubclass(kind, type):
        name = _full_name(thing)
        return "" if "<locals>" in name else name
    if kind is Context:
        return "a context of contextvars"
    if issubclass(kind, threading.Thread):
        return f"thread '{cast('threading.Thread', thing).name}'"
    task = getattr(sys.modules.get("asyncio"), "Task", None)
    if task is not None and issubclass(kind, task):
        name = task.get_name(thing)
        return f"asyncio task '{name}' in {told(task.get_coro(thing))}"
    return ""


def told(thing: object) -> str:
    """Return what kind of thing it is; of running code also its place."""
    if type(thing) in _SUSPENDED:
        code = _code_of(thing)
        return f"{type(thing).__name__} {code.co_qualname} ({place(code.co_filename, code.co_firstlineno)})"
    if issubclass(type(thing), BaseException):
        return f"exception {_kind(thing)}"
    return _kind(thing)


def way_down(things: list[object], *, is_module: bool) -> str:
    """Return the steps from the first of ``things`` to the last, each of which refers to the next."""
    text = ""
    is_namespace = is_module
    for holder, below in itertools.pairwise(things):
        text += _step(holder, below, is_namespace=is_namespace)
        is_namespace = type(below) is dict and not _is_container(holder)
    return text


def _step(holder: object, below: object, *, is_namespace: bool) -> str:
    kind = type(holder)
    if kind in _SILENT or _kind(holder) in _MAPS or (type(below) is dict and not _is_container(holder)):
        return ""  # of an object's own namespace only the attribute is told
    if type(holder) is dict:
        return _key(cast("dict[object, object]", holder), below, is_namespace=is_namespace)
    if kind in _ITEMS:
        return _item(cast("Iterable[object]", holder), below)
    if kind is FunctionType:
        return " → closure" if _is_closure(below) else " → default"
    if kind in _SUSPENDED or issubclass(kind, BaseException):
        return f" → {told(holder)}"
    name = _attribute(holder, below)
    return f".{name}" if name else f" → {_kind(holder)}"


def _key(holder: dict[object, object], below: object, *, is_namespace: bool) -> str:
    # copy(), here and everywhere: while list(….items()) makes its pairs others may come between.
    for key, value in holder.copy().items():
        if value is below and type(key) is str:
            return f".{key}" if is_namespace else f"[{key[:_LONGEST]!r}]"
        if value is below:
            return f"[{key}]" if type(key) in (int, float, bool, type(None)) else f"[{_kind(key)}]"
        if key is below:
            return " → key"
    return "[…]"


def _item(holder: Iterable[object], below: object) -> str:
    if type(below) is CellType:
        return ""
    if type(holder) in (set, frozenset):
        return "{…}"
    return next((f"[{index}]" for index, item in enumerate(list(holder)) if item is below), "[…]")


def _is_closure(below: object) -> bool:
    return type(below) is CellType or (
        type(below) is tuple and bool(below) and all(type(part) is CellType for part in below)
    )


def _is_container(thing: object) -> bool:
    return type(thing) in (dict, *_ITEMS, CellType, FrameType, TracebackType)


def _attribute(holder: object, below: object) -> str:
    """Return the name of the attribute of ``holder`` that is ``below``."""
    for name, value in _attributes(holder):
        if value is below:
            return name
    return ""


def _attributes(holder: object) -> Iterator[tuple[str, object]]:
    if issubclass(type(holder), type):
        yield from cast("MappingProxyType[str, object]", of_type(holder, "__dict__")).copy().items()
        return
    for kind in cast("tuple[type, ...]", of_type(type(holder), "__mro__")):
        is_connection = kind is getattr(sys.modules.get("sqlite3"), "Connection", None)
        for name, member in cast("MappingProxyType[str, object]", of_type(kind, "__dict__")).copy().items():
            try:
                if type(member) is MemberDescriptorType or (is_connection and name in _FACTORIES):
                    read = cast("MemberDescriptorType", member).__get__
                    yield name, cast("Callable[[object], object]", read)(holder)
                elif name == "__dict__" and type(member) is GetSetDescriptorType:
                    namespace = cast("Callable[[object], dict[str, object]]", member.__get__)(holder)
                    yield from namespace.copy().items()
            except AttributeError:  # a slot that is empty
                continue


def _full_name(thing: object) -> str:
    if issubclass(type(thing), type):
        return f"{of_type(thing, '__module__')}.{of_type(thing, '__qualname__')}"
    function = cast("FunctionType", thing)
    return f"{function.__module__}.{function.__qualname__}"


def _kind(thing: object) -> str:
    return str(of_type(type(thing), "__qualname__"))


def _code_of(thing: object) -> CodeType:
    for name in ("gi_code", "cr_code", "ag_code"):
        code = getattr(thing, name, None)
        if type(code) is CodeType:
            return code
    raise TypeError(type(thing))
