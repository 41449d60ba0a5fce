"""The objects of a retired generation that other code refers to, and the words for a path to them.

Every function holds its module's namespace, and through it everything else. A live object therefore does not
prove that something outside holds it. Its reference count does: subtract the references from the generation's
own objects, as the collector does it; the rest come from outside.

This runs no code of the plugin or of the holders.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import operator
import os
import re
import sys
import threading
import weakref
from collections import deque
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
from typing import Final, TypeGuard, cast

from hotload_tui.core.module_names import module_of_function, unique_name
from hotload_tui.core.primitives import all_threads, sleep

_RUNTIME = f"{__name__.rpartition('.')[0]}.runtime"
_MACHINERY = frozenset(f"{_RUNTIME}.{name}" for name in ("generation", "naming", "native", "stand_ins"))
"""The modules of this package whose objects count as part of each generation."""

_CLOCKS = (datetime, clock_time)  # the collector does not see their reference to a tzinfo
# Types are compared by identity: the metaclass of a plugin may define how they are compared and hashed.
_UNTRACKED = frozenset(map(id, (dict, tuple, *_CLOCKS)))  # untracked if they contain only untracked objects
_LARGEST = 400_000  # objects to visit; more would take a second
_SLICE = 200  # objects to follow in one call of C code, without other threads
_PART = 10_000  # references to look at in one call of C code
_TURN = 1_000  # objects to look at before other threads run
_WATCHED = 100  # held objects whose reference counts are looked at again
_FEW = 16  # objects whose holders the collector looks for at the same time


def held_from_outside(references: Iterable[weakref.ref[object]], root: str) -> tuple[set[str], Holding]:
    """Return the unique names of the functions, classes and modules that something outside refers to.

    The set is empty if no name is found. ``references`` lead to the generation's modules and their classes
    and functions; the names of its modules begin with ``root``. This runs no code of the plugin: it reads
    only types and reference counts.
    """
    graph = _explored(references, root)
    held = graph.held()
    return _names_of_all(held, graph), graph.holding(held)


def _names_of_all(held: list[object], graph: _ReferenceGraph) -> set[str]:
    names = {name for thing in held for name in names_of(thing, graph.root)}
    return names or {name for thing in held for name in graph.owners_of(thing)}


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
) -> tuple[list[object] | None, Holding]:
    """Return the generation's objects; ``None`` if something outside refers to one of them.

    ``anchor`` does not count: it keeps the objects alive until this search.
    """
    graph = _explored(references, root, anchor)
    held = [thing for thing in graph.held() if thing is not anchor]
    return None if held else graph.members, graph.holding(held)


def held_objects(
    references: Iterable[weakref.ref[object]],
    root: str,
    anchor: list[object],
    inside: Iterable[object] = (),
    claimed: Iterable[object] = (),
) -> tuple[list[object], set[int], set[str], Holding]:
    """Return the objects that something outside refers to, the identities of all non-holders, and names.

    The last two results are those of ``held_from_outside``. ``anchor`` and ``inside`` count as part of the
    generation: the list that keeps its modules, and the frames of the error that ended its load. So do
    ``claimed``, the objects of other code that its load created; the result has those that something outside
    refers to.
    """
    graph = _ReferenceGraph(root)
    others = [anchor, *inside, claimed]
    for thing in (*others, *claimed):
        graph.add(thing)
    for reference in references:
        graph.add(reference())
    graph.grow()
    if graph.has_strangers():
        graph.add_strangers()
    apart = {id(others), *map(id, others)}
    held = [thing for thing in graph.held() if id(thing) not in apart and not _is_machinery(thing)]
    own = {*graph.ids(), *map(id, graph.namespaces()), id(held), id(graph.members), *apart}
    return held, own, _names_of_all(held, graph), graph.holding(held)


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
        yield from _joined(module_of_function(thing), thing.__qualname__, root)
        return
    kind = thing if issubclass(type(thing), type) else type(thing)
    yield from _joined(of_type(kind, "__module__"), of_type(kind, "__qualname__"), root)


def _joined(module: object, name: object, root: str) -> Iterator[str]:
    if is_within(module, root) and type(name) is str:
        yield f"{unique_name(module)}.{name}"


def of_type(kind: object, name: str) -> object:
    """Return an attribute of a class through ``type``: a metaclass could run code for the attribute.

    The result is ``None`` for the module of a class that has none: C code or a call of ``type`` has made it.
    """
    try:
        return type.__dict__[name].__get__(kind)
    except AttributeError:
        return None


def in_class(kind: type, name: str) -> object:
    """Return what a class, or the first of its bases, defines under a name, as it is; else ``None``.

    ``inspect.getattr_static`` of Python 3.12 keeps the classes that it looks at in a cache.
    """
    for each in cast("tuple[type, ...]", of_type(kind, "__mro__")):
        names = cast("Mapping[str, object]", of_type(each, "__dict__"))
        if name in names:
            return names[name]
    return None


def classes_of(root: str) -> list[type]:
    """Return all classes of the generation, also those to which none of its modules leads.

    A class that a function makes, as ``namedtuple`` does, may have no function of the plugin.
    """
    found, waiting, seen = [], [object], set[int]()
    while waiting:
        for kind in type.__subclasses__(waiting.pop()):
            if id(kind) not in seen:
                seen.add(id(kind))
                waiting.append(kind)
                if is_within(of_type(kind, "__module__"), root):
                    found.append(kind)
    return found


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


class Holding:
    """The objects that something outside refers to, at one search; this holds none of them."""

    def __init__(self, inside: Iterable[tuple[object, int]] = ()) -> None:
        """Note each object with the number of references from inside."""
        self._inside: list[tuple[weakref.ref[object], int]] = []
        for thing, count in inside:
            with contextlib.suppress(TypeError):  # such as a list: it allows no weak reference
                self._inside.append((weakref.ref(thing), count))

    def has_ended(self) -> bool:
        """Return whether only the references from inside seem to be left; this costs almost nothing."""
        return bool(self._inside) and not self.goes_on()

    def goes_on(self) -> bool:
        """Return whether an object still has other references than those from inside."""
        return any(_count(thing) - _UNHELD > count for thing, count in self._inside)


def _count(reference: weakref.ref[object]) -> int:
    thing = reference()
    return 0 if thing is None else sys.getrefcount(thing)


_PROBE = [lambda: None]
_UNHELD = _count(weakref.ref(_PROBE[0])) - 1
"""What ``_count`` returns for an object to which nothing else refers."""


class _ReferenceGraph:
    """The objects of a generation, with the references among them.

    It follows the references of many objects in one call of C code, and lets other threads run in between.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.members: list[object] = []
        self._shore: dict[int, object] = {}  # other objects, perhaps only reachable from here
        self._touched: list[int] = []  # those of them with a new reference from here
        self._own_kinds: dict[int, bool] = {}
        self._inside: dict[int, int] = {}
        self._followed = 0
        probe = [object()]
        self._alone = next(map(sys.getrefcount, probe))  # the count of an object that only a list holds

    def add(self, thing: object) -> None:
        """Add an object to the generation's objects."""
        if thing is not None and id(thing) not in self._inside:
            self._inside[id(thing)] = 0
            self.members.append(thing)

    def grow(self) -> None:
        """Follow references as long as they lead to more objects of the generation."""
        turn = self._followed + _TURN
        while True:
            while self._followed < min(len(self.members), _LARGEST):
                stop = min(self._followed + _SLICE, len(self.members), _LARGEST)
                self._follow(self.members[self._followed : stop])
                self._followed = stop
                if self._followed >= turn:
                    turn = self._followed + _TURN
                    let_others_run()
            if not self._judge():
                return

    def has_strangers(self) -> bool:
        """Return whether something unknown refers to a namespace of the generation."""
        spaces = self._roots()
        keys = [*map(id, spaces)]  # a list of this graph refers to each, too
        counts = map(sys.getrefcount, spaces)
        return any(
            count - self._alone - 1 > self._inside.get(key, 0)
            for key, count in zip(keys, counts, strict=True)
        )

    def add_strangers(self) -> None:
        """Add the functions that no namespace names, such as registered lambdas: they refer to one."""
        holders = referrers_of(tuple(self._roots()))
        found = [holder for holder in holders if type(holder) is FunctionType]
        while found:
            self.add(found.pop())
        self.grow()

    def held(self) -> list[object]:
        """Return the objects with references from outside."""
        is_held: list[bool] = []
        for start in range(0, self._followed, _PART):
            part = start, min(start + _PART, self._followed)  # not a list: its copy would be a holder
            counts = map(sys.getrefcount, itertools.islice(self.members, *part))
            inside = map(self._inside.__getitem__, map(id, itertools.islice(self.members, *part)))
            is_held += map(operator.gt, counts, map(self._alone.__add__, inside))
        return [*itertools.compress(self.members, is_held)]

    def holding(self, held: Iterable[object]) -> Holding:
        """Return what tells later whether something still refers to the objects of ``held``."""
        return Holding((thing, self._inside[id(thing)]) for thing in itertools.islice(held, _WATCHED))

    def ids(self) -> Iterator[int]:
        """Yield the identities of the generation's objects."""
        return map(id, self.members)

    def namespaces(self) -> list[object]:
        """Return the namespaces of the generation's modules."""
        return [namespace_of(thing) for thing in self.members if is_module(thing)]

    def _roots(self) -> list[object]:
        """Return what each function refers to: a namespace, or with ``exec`` at least the builtins.

        The functions of a copy of a shared module, which a version made, are not the plugin's.
        """
        spaces = [
            space
            for space in self.namespaces()
            if is_within(cast("dict[str, object]", space).get("__name__"), self.root)
        ]
        builtins = (cast("dict[str, object]", space).get("__builtins__") for space in spaces)
        return [*spaces, *[each for each in builtins if type(each) is dict][:1]]

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
                    names += names_of(kind, self.root)
        return names

    def _follow(self, things: list[object]) -> None:
        """Count the references from some objects, and note the objects that they lead to."""
        targets = gc.get_referents(*things)
        kinds = dict(zip(map(id, map(type, things)), map(type, things), strict=True)).values()
        if any(issubclass(kind, _CLOCKS) for kind in kinds):
            targets += [zone_of(thing) for thing in things if is_clock(thing)]
        spaces: set[int] = set()
        if any(issubclass(kind, type) for kind in kinds):
            # From 3.14 on a class's namespace holds itself through the function of its annotations.
            classes = [thing for thing in things if issubclass(type(thing), type)]
            spaces.update(id(part) for part in gc.get_referents(*classes) if type(part) is dict)
        for start in range(0, len(targets), _PART):
            self._note(_worth_following(targets[start : start + _PART]), spaces)

    def _note(self, targets: list[object], spaces: set[int]) -> None:
        inside, shore, own_kinds = self._inside, self._shore, self._own_kinds
        for target in targets:
            key = id(target)
            count = inside.get(key)
            if count is not None:
                inside[key] = count + 1
                if key in shore:
                    self._touched.append(key)
                continue
            inside[key] = 1
            is_own = own_kinds.get(id(type(target)))
            if is_own is None:
                is_own = self._is_own(target)
            if is_own or key in spaces:
                self.members.append(target)
            else:
                shore[key] = target
                self._touched.append(key)

    def _judge(self) -> bool:
        """Take the objects that nothing else refers to: they belong to the generation, too."""
        touched, self._touched = dict.fromkeys(self._touched), []
        shore, alone = self._shore, self._alone
        own = [key for key in touched if sys.getrefcount(shore[key]) - alone == self._inside[key]]
        self.members += map(shore.pop, own)
        return bool(own)

    def _is_own(self, thing: object) -> bool:
        """Return whether an object belongs to the generation; remember that for most types."""
        kind = type(thing)
        if kind is FunctionType or issubclass(kind, type):
            return _is_machinery(thing) or any(True for _ in names_of(thing, self.root))
        module = of_type(kind, "__module__")
        is_own = module in _MACHINERY or is_within(module, self.root)
        self._own_kinds[id(kind)] = is_own = is_own and not issubclass(kind, ModuleType)
        return is_own


def _worth_following(targets: list[object]) -> list[object]:
    """Return the objects that can lead to others, in C code: a list may have a million numbers."""
    found = [*filter(gc.is_tracked, targets)]
    if not _UNTRACKED.isdisjoint(map(id, map(type, targets))):
        found += [each for each in targets if id(type(each)) in _UNTRACKED and not gc.is_tracked(each)]
    return found


def referrers_of(things: tuple[object, ...]) -> Iterator[object]:
    """Yield each object that refers to some of ``things``, once.

    The collector compares each reference in the process with each of its arguments, without other threads:
    hence few of them at a time. A list of all objects would be faster and is dangerous: it would hold tuples
    that other threads are just building, and the interpreter refuses to finish these.
    """
    seen: set[int] = set()
    for start in range(0, len(things), _FEW):
        some = things[start : start + _FEW]
        for holder in gc.get_referrers(*some):
            if id(holder) not in seen and holder is not some and holder is not things:
                seen.add(id(holder))
                yield holder
        if start:
            let_others_run()


def let_others_run() -> None:
    """Release the interpreter's lock for a moment, in a long search."""
    sleep(0)


_OWN = f"{__name__.partition('.')[0]}."
_RETIRED = re.compile(r"@g\d+$")


def place(file: str, line: int) -> str:
    """Return a line as a user reads it, without the ``@g<N>`` that ends the file name of retired code."""
    return f"{os.path.basename(_RETIRED.sub('', file))}:{line}"  # noqa: PTH119 - only the name


def threads_among(running: Mapping[int, list[FrameType]]) -> list[tuple[str, list[FrameType]]]:
    """Return the name of each thread in ``running``, and its frames, the newest first.

    The frames of this package are left out: a frame with itself among its variables would form a cycle.
    """
    names = {thread.ident: thread.name for thread in all_threads()}
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


CACHE: Final = type(functools.lru_cache(lambda: None))
"""The type of a function with ``functools.lru_cache`` or ``functools.cache``."""
_SILENT = (CellType, TracebackType, FrameType, MethodType, functools.partial)
_STATE = (f"{_RUNTIME}.context", "KeptState")  # the type of what is behind ``ctx.state``
_FOLLOWED = (f"{_RUNTIME}.following", "FollowedContainer")
_HANDLER = (f"{__name__.rpartition('.')[0]}.hooks.point", "Handler")
_MAPS = ("Context", "hamt", "hamt_bitmap_node", "hamt_array_node", "hamt_collision_node")  # of contextvars
_SUSPENDED = (GeneratorType, CoroutineType, AsyncGeneratorType)
_ITEMS = (list, tuple, deque, set, frozenset)
_LONGEST = 40  # characters of a key
_FACTORIES = ("row_factory", "text_factory")  # of SQLite connections: C code reads these fields from 3.14 on


def known(thing: object) -> str:
    """Return the name by which a user knows an object; empty if it has none."""
    kind = type(thing)
    if kind is CACHE:
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
    return _of_plugin(thing)


def _of_plugin(thing: object) -> str:
    """Return the name of what this package keeps of plugins: ``ctx.state``, a container, or a handler."""
    kind = of_type(type(thing), "__module__"), _kind(thing)
    if kind == _STATE:
        return f"{getattr(thing, 'plugin', '')}'s ctx.state"
    if kind == _FOLLOWED:
        return f"manager.follow's {getattr(thing, 'name', '')}"
    if kind == _HANDLER:
        plugin, point = getattr(thing, "plugin", ""), getattr(thing, "point", "")
        return f"plugin {plugin}'s handler at hook point '{point}'"
    return ""


def is_handler_of(thing: object, root: str) -> bool:
    """Return whether an object is a handler that the generation below ``root`` has registered itself."""
    if (of_type(type(thing), "__module__"), _kind(thing)) != _HANDLER:
        return False
    above, _, own = root.rpartition(".")
    plugin, number = getattr(thing, "plugin", ""), getattr(thing, "generation", 0)
    return own.startswith(f"g{number}_") and above.endswith(f".{plugin}")


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
    if kind in _SILENT or _kind(holder) in _MAPS or _of_plugin(holder) or _is_namespace(holder, below):
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
    step = f".{name}" if name else f" → {_kind(holder)}"
    return "" if kind is CACHE and name == "__wrapped__" else step


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
                if name == "__dict__" and type(member) in (GetSetDescriptorType, MemberDescriptorType):
                    read_all = cast("GetSetDescriptorType", member).__get__
                    namespace = cast("Callable[[object], dict[str, object]]", read_all)(holder)
                    yield from namespace.copy().items()
                elif type(member) is MemberDescriptorType or (is_connection and name in _FACTORIES):
                    read = cast("MemberDescriptorType", member).__get__
                    yield name, cast("Callable[[object], object]", read)(holder)
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
