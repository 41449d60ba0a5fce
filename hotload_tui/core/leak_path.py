"""Which object holds a retired generation: the path to it from something that a user knows.

Every function holds its module's namespace, and through it everything else: that an object is alive does
not mean that something outside holds it. Its reference count tells: the references from the generation's
own objects are subtracted, as the collector does it, and what remains comes from outside.

Each step of the search looks at all objects of the process (15 ms with a million), so it runs only for what
is left of a generation, and for a bounded time. It runs no code of the plugin or of the holders.
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
_MACHINERY = frozenset(f"{_RUNTIME}.{name}" for name in ("generation", "naming", "native"))
"""The modules whose objects belong to each generation: they stand behind its modules."""

_CLOCKS = (datetime, clock_time)  # the collector does not see the reference to their tzinfo
_UNTRACKED = (dict, tuple, *_CLOCKS)  # a container of nothing else is not tracked either
_LARGEST = 200_000  # objects looked at; more would keep the interpreter busy for too long


def held_from_outside(references: Iterable[weakref.ref[object]], root: str) -> set[str]:
    """Return the unique names of functions, classes and modules that something outside refers to.

    Empty if none can be told. ``references`` are to its modules and their classes and functions; ``root`` is
    what the names of its modules begin with. Runs no code of the plugin's: looks at types and counts only.
    """
    graph = _explored(references, root)
    names = {name for thing in graph.held() for name in names_of(thing, root)}
    return names or {name for thing in graph.held() for name in graph.owners_of(thing)}


def members(references: Iterable[weakref.ref[object]], root: str) -> list[object]:
    """Return the generation's objects, as far as its modules lead to them."""
    graph = _ReferenceGraph(root)
    for reference in references:
        graph.add(reference())
    for namespace in graph.namespaces():
        graph.add(namespace)  # whoever else has it
    graph.grow()
    return graph.members


def garbage(
    references: Iterable[weakref.ref[object]], root: str, keeper: list[object]
) -> list[object] | None:
    """Return the generation's objects; ``None`` if something outside has any.

    ``keeper`` does not count: it is there to keep them until they are looked at.
    """
    graph = _explored(references, root, keeper)
    return None if any(thing is not keeper for thing in graph.held()) else graph.members


def held_object(
    references: Iterable[weakref.ref[object]], root: str, wanted: str
) -> tuple[object, set[int]] | None:
    """Return what is held by the unique name ``wanted``, and the identities of what is no holder."""
    graph = _explored(references, root)
    held = graph.held()
    own = {*graph.ids(), *map(id, graph.namespaces()), id(held), id(graph.members)}
    for thing in held:
        if wanted in (*names_of(thing, root), *graph.owners_of(thing)):
            return thing, own
    return None


def _explored(
    references: Iterable[weakref.ref[object]], root: str, keeper: list[object] | None = None
) -> _ReferenceGraph:
    graph = _ReferenceGraph(root)
    graph.add(keeper)
    for reference in references:
        graph.add(reference())
    graph.grow()
    # Functions that no namespace names, as lambdas in register, are found by the namespaces that they hold.
    holder: object
    for holder in gc.get_referrers(*graph.namespaces()):
        if type(holder) is FunctionType:
            graph.add(holder)
    holder = None  # it would count as somebody outside
    graph.grow()
    return graph


def names_of(thing: object, root: str) -> Iterator[str]:
    """Yield the unique name of a class or function of the generation; for its instances their class's."""
    if type(thing) is FunctionType:
        yield from _joined(thing.__module__, thing.__qualname__, root)
        return
    kind = thing if issubclass(type(thing), type) else type(thing)
    yield from _joined(of_type(kind, "__module__"), of_type(kind, "__qualname__"), root)


def _joined(module: object, name: object, root: str) -> Iterator[str]:
    if type(module) is str and type(name) is str and (module == root or module.startswith(f"{root}.")):
        yield f"{module}.{name}"


def of_type(kind: object, name: str) -> object:
    """Return an attribute of a class as ``type`` has it: a metaclass can put code in its place."""
    return type.__dict__[name].__get__(kind)


def is_clock(thing: object) -> TypeGuard[datetime | clock_time]:
    """Tell whether it is a date or time: with a ``tzinfo``, the collector does not see that reference."""
    return issubclass(type(thing), _CLOCKS)


def zone_of(clock: datetime | clock_time) -> tzinfo | None:
    """Return the ``tzinfo`` of a date or time, without running code of its own."""
    member = datetime.tzinfo if issubclass(type(clock), datetime) else clock_time.tzinfo
    return cast("Callable[[object], tzinfo | None]", member.__get__)(clock)


def is_module(thing: object) -> TypeGuard[ModuleType]:
    """Tell whether it is a module object, without running code of its own."""
    return issubclass(type(thing), ModuleType)


def namespace_of(module: ModuleType) -> dict[str, object]:
    """Return a module's namespace, without running code of its own."""
    return cast("dict[str, object]", ModuleType.__getattribute__(module, "__dict__"))


class _ReferenceGraph:
    """The objects of a generation, with the references among them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.members: list[object] = []
        self._shore: list[object] = []  # of others, perhaps only reachable from here
        self._known: set[int] = set()
        self._inside: Counter[int] = Counter()
        self._followed = 0
        probe = [object()]
        self._alone = sys.getrefcount(probe[0])  # of an object that only a list holds

    def add(self, thing: object) -> None:
        """Count an object as one of the generation's."""
        if thing is not None and id(thing) not in self._known:
            self._known.add(id(thing))
            self.members.append(thing)

    def grow(self) -> None:
        """Follow all references, as long as they lead to more that belongs to the generation."""
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
        """Yield the identities of all that belongs to the generation."""
        return map(id, self.members)

    def namespaces(self) -> list[object]:
        """Return the namespaces of the modules."""
        return [namespace_of(thing) for thing in self.members if is_module(thing)]

    def owners_of(self, thing: object) -> list[str]:
        """Return the module or class whose namespace ``thing`` is."""
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
            # From 3.14 on a class's namespace holds itself: through the function of its annotations.
            is_own = self._is_own(target) or (type(target) is dict and issubclass(type(thing), type))
            (self.members if is_own else self._shore).append(target)

    def _judge(self, shore: list[object]) -> None:
        """Take the last object: it belongs to the generation if nobody else has it."""
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
    """Return a line as a user reads it; the code of retired modules has ``@g<N>`` behind its file."""
    return f"{os.path.basename(_RETIRED.sub('', file))}:{line}"  # noqa: PTH119 - only the name


def running_in(root: str, target: object = None) -> str:
    """Return which thread runs ``target`` (``None``: any code of the modules ``root``), and where it is."""
    code = target.__code__ if type(target) is FunctionType else None
    if target is not None and code is None:
        return ""
    for thread, stack in _threads(stacks()):
        own = [frame for frame in stack if _is_within(frame.f_globals.get("__name__"), root)]
        if own and (code is None or any(frame.f_code is code for frame in own)):
            first, now = own[-1].f_code, own[0]
            start = place(first.co_filename, first.co_firstlineno)
            at = f":{now.f_lineno}"
            if now.f_code.co_filename != first.co_filename:
                at = place(now.f_code.co_filename, now.f_lineno)
            return f"thread '{thread}' running {first.co_qualname} ({start}), now at {at}"
    return ""


def local_among(things: Mapping[int, object]) -> tuple[str, object, str] | None:
    """Return a local variable that is one of ``things``, which, and where it is; ``None`` for none."""
    return _local_among(things, stacks())


def _local_among(
    things: Mapping[int, object], running: Mapping[int, list[FrameType]]
) -> tuple[str, object, str] | None:
    """Look at the stacks that a caller gives: with this frame among them they would be a cycle."""
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
    """Return the name of each thread of these ``stacks``, and its frames, the newest first.

    This package's are left out: one that kept itself among its variables would be a cycle.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        (names.get(thread, str(thread)), [frame for frame in stack if not _is_ours(frame)])
        for thread, stack in running.items()
    ]


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_OWN)


def _is_within(name: object, root: str) -> bool:
    return type(name) is str and (name == root or name.startswith(f"{root}."))


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


SECONDS = 0.5
"""Processor time that one search may take; that of others does not count."""

_LEVELS = 16
_WIDEST = 400  # holders that are followed at once
_OURS = __name__.partition(".")[0]


def holder_of(target: object, own: Collection[int], root: str) -> str:
    """Return the way from something known to ``target``, as a user reads it.

    ``own`` are the identities of what belongs to the modules ``root``, which nobody knows: no way leads
    through them.
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
        """Return the way from what is known by name; empty if there is none."""
        level = tuple(self._found.values())
        for _ in range(_LEVELS):
            level = self._above(level)
            if not level:
                break
            for holder in level:
                start = self._modules.get(id(holder)) or known(holder)
                if start:
                    return self._told(start, holder)
            if time.thread_time() > self._deadline:
                self.is_cut = True
                break
        return ""

    def from_local(self) -> str:
        """Return the way from a local variable of running code; empty if there is none."""
        local = local_among(self._found)
        return self._told(*local[:2]) + local[2] if local else ""

    def from_top(self) -> str:
        """Return the way from what nothing that the collector sees refers to."""
        top = list(self._found.values())[-1]
        if type(top) is list:
            return self._told("a list inside the interpreter (audit or at-fork hooks)", top)
        return self._told("C code, which the collector cannot look into", top)

    def _above(self, level: tuple[object, ...]) -> tuple[object, ...]:
        """Return what refers to the objects of a level, and was not met before."""
        wanted = {id(thing) for thing in level}
        above: list[object] = []
        for holder in gc.get_referrers(*level):  # a tuple goes in as it is; a list as a copy, a holder too
            known_before = id(holder) in self._found or id(holder) in self._own
            if known_before or holder is level or holder is self._found or _is_of_search(holder):
                continue
            below = next((id(part) for part in gc.get_referents(holder) if id(part) in wanted), None)
            if below is not None and len(above) < _WIDEST:
                self._below[id(holder)] = below
                above.append(holder)
        self._found.update((id(holder), holder) for holder in above)
        return tuple(above)

    def _told(self, start: str, holder: object) -> str:
        things = [holder]
        while id(things[-1]) in self._below:
            things.append(self._found[self._below[id(things[-1])]])
        return start + way_down(things, is_module=id(holder) in self._modules)


def _is_of_search(holder: object) -> bool:
    """Tell whether it is running code of this package's, which looks at the object right now."""
    frame = holder if type(holder) is FrameType else frame_of(holder)
    return frame is not None and str(frame.f_globals.get("__name__")).startswith(f"{_OURS}.")
