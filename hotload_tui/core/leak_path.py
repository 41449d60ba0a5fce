"""The objects of a retired generation that other code refers to, and the words for a path to them.

Every function holds its module's namespace, and through it everything else. A live object therefore does not
prove that something outside holds it. Its reference count does: subtract the references from the generation's
own objects, as the collector does it; the rest come from outside.

This runs no code of the plugin or of the holders.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import re
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Context
from datetime import datetime, tzinfo
from datetime import time as clock_time
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
    ModuleType,
    TracebackType,
)
from typing import TypeGuard, cast

from hotload_tui.core.module_names import unique_name

_RUNTIME = f"{__name__.rpartition('.')[0]}.runtime"
_MACHINERY = frozenset(f"{_RUNTIME}.{name}" for name in ("generation", "naming", "native", "stand_ins"))
"""The modules of this package whose objects count as part of each generation."""

_CLOCKS = (datetime, clock_time)  # the collector does not see their reference to a tzinfo
_UNTRACKED = (dict, tuple, *_CLOCKS)  # not tracked either if they contain only untracked objects
_LARGEST = 200_000  # objects to visit; more would block the interpreter for too long


def held_from_outside(references: Iterable[weakref.ref[object]], root: str) -> set[str]:
    """Return the unique names of the functions, classes and modules that something outside refers to.

    The result is empty if no name is found. ``references`` lead to the generation's modules and their classes
    and functions; the names of its modules begin with ``root``. This runs no code of the plugin: it reads
    only types and reference counts.
    """
    graph = _explored(references, root)
    names = {name for thing in graph.held() for name in names_of(thing, root)}
    return names or {name for thing in graph.held() for name in graph.owners_of(thing)}


def members(references: Iterable[weakref.ref[object]], root: str) -> list[object]:
    """Return the generation's objects that its modules lead to."""
    graph = _ReferenceGraph(root)
    for reference in references:
        graph.add(reference())
    for namespace in graph.namespaces():
        graph.add(namespace)  # even if something outside refers to it
    graph.grow()
    return graph.members


def garbage(
    references: Iterable[weakref.ref[object]], root: str, anchor: list[object]
) -> list[object] | None:
    """Return the generation's objects; ``None`` if something outside refers to one of them.

    ``anchor`` does not count: it keeps the objects alive until this search.
    """
    graph = _explored(references, root, anchor)
    return None if any(thing is not anchor for thing in graph.held()) else graph.members


def held_objects(
    references: Iterable[weakref.ref[object]], root: str, anchor: list[object], inside: Iterable[object] = ()
) -> tuple[list[object], set[int]]:
    """Return the objects that something outside refers to, and the identities of all non-holders.

    ``anchor`` and ``inside`` count as part of the generation: the list that keeps its modules, and the frames
    of the error that ended its load.
    """
    graph = _ReferenceGraph(root)
    others = [anchor, *inside]
    for thing in others:
        graph.add(thing)
    for reference in references:
        graph.add(reference())
    graph.grow()
    if graph.has_strangers():
        graph.add_strangers()
    apart = {id(others), *map(id, others)}
    held = [thing for thing in graph.held() if id(thing) not in apart and not _is_machinery(thing)]
    return held, {*graph.ids(), *map(id, graph.namespaces()), id(held), id(graph.members), *apart}


def _is_machinery(thing: object) -> bool:
    return of_type(type(thing), "__module__") in _MACHINERY


def _explored(
    references: Iterable[weakref.ref[object]], root: str, anchor: list[object] | None = None
) -> _ReferenceGraph:
    graph = _ReferenceGraph(root)
    graph.add(anchor)
    for reference in references:
        graph.add(reference())
    graph.grow()
    graph.add_strangers()
    return graph


def names_of(thing: object, root: str) -> Iterator[str]:
    """Yield the unique name of a class or function of the generation; for an instance, its class's name."""
    if type(thing) is FunctionType:
        yield from _joined(thing.__module__, thing.__qualname__, root)
        return
    kind = thing if issubclass(type(thing), type) else type(thing)
    yield from _joined(of_type(kind, "__module__"), of_type(kind, "__qualname__"), root)


def _joined(module: object, name: object, root: str) -> Iterator[str]:
    if is_within(module, root) and type(name) is str:
        yield f"{unique_name(module)}.{name}"


def of_type(kind: object, name: str) -> object:
    """Return an attribute of a class through ``type``: a metaclass could run code for the attribute."""
    return type.__dict__[name].__get__(kind)


def is_clock(thing: object) -> TypeGuard[datetime | clock_time]:
    """Return whether an object is a datetime or time: the collector does not see its ``tzinfo``."""
    return issubclass(type(thing), _CLOCKS)


def zone_of(clock: datetime | clock_time) -> tzinfo | None:
    """Return the ``tzinfo`` of a datetime or time, without running code of a subclass."""
    member = datetime.tzinfo if issubclass(type(clock), datetime) else clock_time.tzinfo
    return cast("Callable[[object], tzinfo | None]", member.__get__)(clock)


def is_module(thing: object) -> TypeGuard[ModuleType]:
    """Return whether an object is a module, without running its code."""
    return issubclass(type(thing), ModuleType)


def namespace_of(module: ModuleType) -> dict[str, object]:
    """Return a module's namespace, without running its code."""
    return cast("dict[str, object]", ModuleType.__getattribute__(module, "__dict__"))


class _ReferenceGraph:
    """The objects of a generation, with the references among them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.members: list[object] = []
        self._shore: list[object] = []  # other objects, perhaps only reachable from here
        self._known: set[int] = set()
        self._inside: Counter[int] = Counter()
        self._followed = 0
        probe = [object()]
        self._alone = sys.getrefcount(probe[0])  # the count of an object that only a list holds

    def add(self, thing: object) -> None:
        """Add an object to the generation's objects."""
        if thing is not None and id(thing) not in self._known:
            self._known.add(id(thing))
            self.members.append(thing)

    def grow(self) -> None:
        """Follow references as long as they lead to more objects of the generation."""
        while True:
            while self._followed < min(len(self.members), _LARGEST):
                self._follow(self.members[self._followed])
                self._followed += 1
            shore, self._shore = self._shore, []
            while shore:
                self._judge(shore)
            if self._followed >= min(len(self.members), _LARGEST):
                return

    def has_strangers(self) -> bool:
        """Return whether something unknown refers to a namespace of the generation."""
        spaces = self.namespaces()
        return any(  # a list of this graph refers to each, too
            sys.getrefcount(spaces[index]) - self._alone - 1 > self._inside[id(spaces[index])]
            for index in range(len(spaces))
        )

    def add_strangers(self) -> None:
        """Add the functions that no namespace names, such as registered lambdas: they refer to one."""
        holder: object
        for holder in gc.get_referrers(*self.namespaces()):
            if type(holder) is FunctionType:
                self.add(holder)
        holder = None  # it would count as a holder outside
        self.grow()

    def held(self) -> list[object]:
        """Return the objects with references from outside."""
        return [self.members[index] for index in range(self._followed) if self._outside(index)]

    def ids(self) -> Iterator[int]:
        """Yield the identities of the generation's objects."""
        return map(id, self.members)

    def namespaces(self) -> list[object]:
        """Return the namespaces of the generation's modules."""
        return [namespace_of(thing) for thing in self.members if is_module(thing)]

    def owners_of(self, thing: object) -> list[str]:
        """Return the name of the module or class whose namespace ``thing`` is."""
        names = [
            str(unique_name(namespace_of(module)["__name__"]))
            for module in self.members
            if is_module(module) and (module is thing or namespace_of(module) is thing)
        ]
        if type(thing) is dict and not names:
            for kind in self.members:
                if issubclass(type(kind), type) and any(part is thing for part in gc.get_referents(kind)):
                    names += names_of(kind, self._root)
        return names

    def _follow(self, thing: object) -> None:
        referents = gc.get_referents(thing)
        if is_clock(thing):
            referents.append(zone_of(thing))
        for target in referents:
            self._inside[id(target)] += 1
            if id(target) in self._known or not (gc.is_tracked(target) or type(target) in _UNTRACKED):
                continue
            self._known.add(id(target))
            # From 3.14 on a class's namespace holds itself through the function of its annotations.
            is_own = self._is_own(target) or (type(target) is dict and issubclass(type(thing), type))
            (self.members if is_own else self._shore).append(target)

    def _judge(self, shore: list[object]) -> None:
        """Take the last object of ``shore``: it belongs to the generation if nothing else refers to it."""
        is_ours = sys.getrefcount(shore[-1]) - self._alone == self._inside[id(shore[-1])]
        (self.members if is_ours else self._shore).append(shore.pop())

    def _is_own(self, thing: object) -> bool:
        kind = type(thing)
        if kind is FunctionType:
            return is_within(cast("FunctionType", thing).__module__, self._root)
        if issubclass(kind, ModuleType):
            return False
        module = of_type(kind, "__module__")
        if module in _MACHINERY:
            return True
        return is_within(of_type(thing, "__module__") if issubclass(kind, type) else module, self._root)

    def _outside(self, index: int) -> bool:
        return sys.getrefcount(self.members[index]) - self._alone > self._inside[id(self.members[index])]


_OWN = f"{__name__.partition('.')[0]}."
_RETIRED = re.compile(r"@g\d+$")


def place(file: str, line: int) -> str:
    """Return a line as a user reads it, without the ``@g<N>`` that ends the file name of retired code."""
    return f"{os.path.basename(_RETIRED.sub('', file))}:{line}"  # noqa: PTH119 - only the name


def threads_among(running: Mapping[int, list[FrameType]]) -> list[tuple[str, list[FrameType]]]:
    """Return the name of each thread in ``running``, and its frames, the newest first.

    The frames of this package are left out: a frame with itself among its variables would form a cycle.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        (names.get(thread, str(thread)), [frame for frame in stack if not is_ours(frame)])
        for thread, stack in running.items()
    ]


def is_ours(frame: FrameType) -> bool:
    """Return whether a frame runs code of this package."""
    return str(frame.f_globals.get("__name__")).startswith(_OWN)


def is_within(name: object, root: str) -> bool:
    """Return whether ``name`` is ``root`` or a name below it."""
    name = unique_name(name)
    return type(name) is str and name.startswith(root) and (len(name) == len(root) or name[len(root)] == ".")


_CACHE = type(functools.lru_cache(lambda: None))
_SILENT = (CellType, TracebackType, FrameType, MethodType, functools.partial)
_MAPS = ("Context", "hamt", "hamt_bitmap_node", "hamt_array_node", "hamt_collision_node")  # of contextvars
_SUSPENDED = (GeneratorType, CoroutineType, AsyncGeneratorType)
_ITEMS = (list, tuple, deque, set, frozenset)
_LONGEST = 40  # characters of a key
_FACTORIES = ("row_factory", "text_factory")  # of SQLite connections: C code reads these fields from 3.14 on


def known(thing: object) -> str:
    """Return the name by which a user knows an object; empty if it has none."""
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
        return f"asyncio task '{name}' in {described(task.get_coro(thing))}"
    return ""


def described(thing: object) -> str:
    """Return the kind of an object; for a generator or coroutine also its place."""
    if type(thing) in _SUSPENDED:
        code = _code_of(thing)
        return f"{type(thing).__name__} {code.co_qualname} ({place(code.co_filename, code.co_firstlineno)})"
    if issubclass(type(thing), BaseException):
        return f"exception {_kind(thing)}"
    return _kind(thing)


def way_down(things: list[object], *, is_module: bool) -> str:
    """Return the steps from the first of ``things`` to the last; each of them refers to the next."""
    text = ""
    is_namespace = is_module
    for holder, below in itertools.pairwise(things):
        text += _step(holder, below, is_namespace=is_namespace)
        is_namespace = _is_namespace(holder, below)
    return text


def _is_namespace(holder: object, below: object) -> bool:
    """Return whether ``below`` is the namespace of ``holder``, and not a dictionary in an attribute.

    Objects can keep their attributes without a dictionary; then they refer to the values themselves.
    """
    return type(below) is dict and not _is_container(holder) and not attribute_of(holder, below)


def _step(holder: object, below: object, *, is_namespace: bool) -> str:
    kind = type(holder)
    if kind in _SILENT or _kind(holder) in _MAPS or _is_namespace(holder, below):
        return ""  # the namespace of an object: only the attribute is shown
    if type(holder) is dict:
        return _key(cast("dict[object, object]", holder), below, is_namespace=is_namespace)
    if kind in _ITEMS:
        return _item(cast("Iterable[object]", holder), below)
    if kind is FunctionType:
        return " → closure" if _is_closure(below) else " → default"
    if kind in _SUSPENDED or issubclass(kind, BaseException):
        return f" → {described(holder)}"
    name = attribute_of(holder, below)
    return f".{name}" if name else f" → {_kind(holder)}"


def _key(holder: dict[object, object], below: object, *, is_namespace: bool) -> str:
    # copy(), here and elsewhere: another thread may run while list(….items()) makes its pairs.
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


def attribute_of(holder: object, below: object) -> str:
    """Return the name of the attribute of ``holder`` whose value is ``below``; empty if there is none."""
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
            except AttributeError:  # an empty slot
                continue


def _full_name(thing: object) -> str:
    if issubclass(type(thing), type):
        return f"{of_type(thing, '__module__')}.{of_type(thing, '__qualname__')}"
    function = cast("FunctionType", thing)
    name = getattr(function, "__qualname__", "<locals>")  # a cache of a functools.partial has no name
    return f"{function.__module__}.{name}"


def _kind(thing: object) -> str:
    return str(of_type(type(thing), "__qualname__"))


def _code_of(thing: object) -> CodeType:
    for name in ("gi_code", "cr_code", "ag_code"):
        code = getattr(thing, name, None)
        if type(code) is CodeType:
            return code
    raise TypeError(type(thing))
