"""The object that holds a retired generation, and the path to it from an object that a user knows.

Every function holds its module's namespace, and through it everything else. A live object therefore does not
prove that something outside holds it. Its reference count does: subtract the references from the generation's
own objects, as the collector does it; the rest come from outside.

Each step of the search visits all objects of the process (15 ms with a million), so it runs only for a
generation that is still alive, and for a bounded time. It runs no code of the plugin or of the holders.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import re
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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

from hotload_tui.core.interpreter import frame_of, stacks, traced_now, variables_of

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


def held_object(
    references: Iterable[weakref.ref[object]], root: str, wanted: str
) -> tuple[object, set[int]] | None:
    """Return the held object with the unique name ``wanted``, and the identities of all non-holders."""
    graph = _explored(references, root)
    held = graph.held()
    own = {*graph.ids(), *map(id, graph.namespaces()), id(held), id(graph.members)}
    for thing in held:
        if wanted in (*names_of(thing, root), *graph.owners_of(thing)):
            return thing, own
    return None


def _explored(
    references: Iterable[weakref.ref[object]], root: str, anchor: list[object] | None = None
) -> _ReferenceGraph:
    graph = _ReferenceGraph(root)
    graph.add(anchor)
    for reference in references:
        graph.add(reference())
    graph.grow()
    # Namespaces have no names for some functions, such as registered lambdas: these refer to a namespace.
    holder: object
    for holder in gc.get_referrers(*graph.namespaces()):
        if type(holder) is FunctionType:
            graph.add(holder)
    holder = None  # it would count as a holder outside
    graph.grow()
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
        yield f"{module}.{name}"


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
            str(namespace_of(module)["__name__"])
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
        if is_module(thing):
            return False
        module = of_type(type(thing), "__module__")
        return (type(module) is str and module in _MACHINERY) or any(
            True for _ in names_of(thing, self._root)
        )

    def _outside(self, index: int) -> bool:
        return sys.getrefcount(self.members[index]) - self._alone > self._inside[id(self.members[index])]


_OWN = f"{__name__.partition('.')[0]}."
_RETIRED = re.compile(r"@g\d+$")


def place(file: str, line: int) -> str:
    """Return a line as a user reads it, without the ``@g<N>`` that ends the file name of retired code."""
    return f"{os.path.basename(_RETIRED.sub('', file))}:{line}"  # noqa: PTH119 - only the name


def running_in(root: str, target: object = None) -> str:
    """Return the thread that runs ``target`` (``None``: any code of the modules ``root``), and its place."""
    code = target.__code__ if type(target) is FunctionType else None
    if target is not None and code is None:
        return ""
    for thread, stack in _threads(stacks()):
        own = [frame for frame in stack if is_within(frame.f_globals.get("__name__"), root)]
        if own and (code is None or any(frame.f_code is code for frame in own)):
            first, now = own[-1].f_code, own[0]
            start = place(first.co_filename, first.co_firstlineno)
            at = f":{now.f_lineno}"
            if now.f_code.co_filename != first.co_filename:
                at = place(now.f_code.co_filename, now.f_lineno)
            return f"thread '{thread}' running {first.co_qualname} ({start}), now at {at}"
    return ""


def _local_among(
    things: Mapping[int, object], running: Mapping[int, list[FrameType]]
) -> tuple[str, object, str] | None:
    """Return a local variable that is one of ``things``, the object, and where it is; ``None`` for none.

    ``running`` are stacks that the caller does not keep: with its frame among them they would form a cycle.
    """
    traced = traced_now(running)
    for thread, stack in _threads(running):
        for frame in stack:
            for name, value in variables_of(frame, traced).items():
                if things.get(id(value), things) is value:
                    code = frame.f_code
                    at = place(code.co_filename, frame.f_lineno)
                    return f"local '{name}'", value, f" of {code.co_qualname} ({at}) in thread '{thread}'"
    return None


def _threads(running: Mapping[int, list[FrameType]]) -> list[tuple[str, list[FrameType]]]:
    """Return the name of each thread in ``running``, and its frames, the newest first.

    The frames of this package are left out: a frame with itself among its variables would form a cycle.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        (names.get(thread, str(thread)), [frame for frame in stack if not _is_ours(frame)])
        for thread, stack in running.items()
    ]


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_OWN)


def is_within(name: object, root: str) -> bool:
    """Return whether ``name`` is ``root`` or a name below it."""
    return type(name) is str and (name == root or name.startswith(f"{root}."))


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
        is_namespace = type(below) is dict and not _is_container(holder)
    return text


def _step(holder: object, below: object, *, is_namespace: bool) -> str:
    kind = type(holder)
    if kind in _SILENT or _kind(holder) in _MAPS or (type(below) is dict and not _is_container(holder)):
        return ""  # the namespace of an object: only the attribute is shown
    if type(holder) is dict:
        return _key(cast("dict[object, object]", holder), below, is_namespace=is_namespace)
    if kind in _ITEMS:
        return _item(cast("Iterable[object]", holder), below)
    if kind is FunctionType:
        return " → closure" if _is_closure(below) else " → default"
    if kind in _SUSPENDED or issubclass(kind, BaseException):
        return f" → {described(holder)}"
    name = _attribute(holder, below)
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


def _attribute(holder: object, below: object) -> str:
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
    return f"{function.__module__}.{function.__qualname__}"


def _kind(thing: object) -> str:
    return str(of_type(type(thing), "__qualname__"))


def _code_of(thing: object) -> CodeType:
    for name in ("gi_code", "cr_code", "ag_code"):
        code = getattr(thing, name, None)
        if type(code) is CodeType:
            return code
    raise TypeError(type(thing))


SECONDS = 0.5
"""Processor time that one search may take; the time of other threads does not count."""

_LEVELS = 16
_WIDEST = 400  # holders to follow on one level


def holder_of(target: object, own: Collection[int], root: str) -> str:
    """Return the path from a known object to ``target``, as a user reads it.

    ``own`` are the identities of the objects that belong to the modules ``root``. No user knows these
    objects, so no path leads through them.
    """
    running = running_in(root, target)
    if running:
        return running
    search = _Search(target, own, time.thread_time() + SECONDS)
    way = search.run()
    if way:
        return way
    if search.is_cut:
        return f"something not found in {SECONDS:g} s of searching"
    return search.from_local() or running_in(root) or search.from_top()


class _Search:
    """One search upwards, breadth first."""

    def __init__(self, target: object, own: Collection[int], deadline: float) -> None:
        self._own = own
        self._deadline = deadline
        self._modules = {
            id(namespace_of(module)): name for name, module in sys.modules.copy().items() if is_module(module)
        }
        self._found: dict[int, object] = {id(target): target}
        self._below: dict[int, int] = {}
        self.is_cut = False

    def run(self) -> str:
        """Return the path from an object that is known by name; empty if there is none."""
        level = tuple(self._found.values())
        for _ in range(_LEVELS):
            level = self._above(level)
            if not level:
                break
            for holder in level:
                start = self._modules.get(id(holder)) or known(holder)
                if start:
                    return self._path_from(start, holder)
            if time.thread_time() > self._deadline:
                self.is_cut = True
                break
        return ""

    def from_local(self) -> str:
        """Return the path from a local variable of running code; empty if there is none."""
        local = _local_among(self._found, stacks())
        return self._path_from(*local[:2]) + local[2] if local else ""

    def from_top(self) -> str:
        """Return the path from the last object found, for which the collector sees no holder."""
        top = list(self._found.values())[-1]
        if type(top) is list:
            return self._path_from("a list inside the interpreter (audit or at-fork hooks)", top)
        return self._path_from("C code, which the collector cannot look into", top)

    def _above(self, level: tuple[object, ...]) -> tuple[object, ...]:
        """Return the new objects that refer to objects of ``level``."""
        wanted = {id(thing) for thing in level}
        above: list[object] = []
        for holder in gc.get_referrers(*level):  # not a list: its copy would be a holder
            known_before = id(holder) in self._found or id(holder) in self._own
            if known_before or holder is level or holder is self._found or _is_of_search(holder):
                continue
            below = next((id(part) for part in gc.get_referents(holder) if id(part) in wanted), None)
            if below is not None and len(above) < _WIDEST:
                self._below[id(holder)] = below
                above.append(holder)
        self._found.update((id(holder), holder) for holder in above)
        return tuple(above)

    def _path_from(self, start: str, holder: object) -> str:
        things = [holder]
        while id(things[-1]) in self._below:
            things.append(self._found[self._below[id(things[-1])]])
        return start + way_down(things, is_module=id(holder) in self._modules)


def _is_of_search(holder: object) -> bool:
    """Return whether ``holder`` is running code of this package, which is looking at the object now."""
    frame = holder if type(holder) is FrameType else frame_of(holder)
    return frame is not None and _is_ours(frame)
