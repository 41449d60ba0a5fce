"""``Claims``: the objects of libraries that the load of one version creates and registers in other code.

Such an object (a metric, a command, a job) does not lead to the plugin: neither its class nor its contents
are the plugin's. It is the plugin's because the load created it, and because the plugin's modules hold it or
because it holds one of the plugin's functions. This runs no code of the plugin or of the library.
"""

from __future__ import annotations

import functools
import gc
import itertools
import operator
import sys
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import (
    BuiltinFunctionType,
    CellType,
    FrameType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Final, NamedTuple, cast

from hotload_tui.core.interpreter import collect_recent, objects_since, variables_of
from hotload_tui.core.leak_path import is_module, is_within, names_of, namespace_of, of_type

_PLAIN = frozenset((str, bytes, int, float, complex, bool, type(None)))
_ITEMS = (list, tuple, set, frozenset, deque)
_MADE = frozenset((dict, list))  # what libraries make for an entry
PARENTS: Final = frozenset((dict, list, OrderedDict, defaultdict))
"""The containers in which a dictionary is known to be new."""
_BUILT_IN = (
    BuiltinFunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    WrapperDescriptorType,
)
_OWN = __name__.partition(".")[0]
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: not a type of the interpreter itself
_MOST = 50_000  # objects that one look at the plugin's namespaces visits
_DEPTH = 3  # containers inside each other that a look into an object follows


class Claimed(NamedTuple):
    """Objects that a load created."""

    things: list[object]
    names: dict[int, str]
    """The names of the plugin's variables that lead to them, by identity; not each has one."""
    used: set[int]
    """The identities of those into which other code has put something since: it may rely on them."""
    records: Mapping[int, frozenset[int]]
    """The dictionaries and lists that a library made for them during the load, each with its contents."""


class _Mark(NamedTuple):
    """What is known about a created object without holding it."""

    reference: weakref.ref[object] | None
    """``None`` if the object allows no weak reference."""
    kind: int
    contents: frozenset[int]


class Claims:
    """Finds the objects that one load creates; holds none of them."""

    def __init__(self, root: str) -> None:
        """Begin without objects; the unique names of the plugin's modules begin with ``root``."""
        self._root = root
        self._before: dict[int, int] = {}
        self._made: dict[int, int] = {}
        self._aged: set[int] = set()
        self._note = self._collecting
        self._modules = 0
        self._marks: dict[int, _Mark] = {}
        self._records: dict[int, frozenset[int]] = {}
        self._untracked: set[int] = set()

    # ---- the load

    def begin(self) -> None:
        """Note which objects exist before the load."""
        if not any(each is self._note for each in gc.callbacks):
            gc.callbacks.append(self._note)
        collect_recent()
        self._aged.clear()
        everything = gc.get_objects()
        self._modules = len(sys.modules)
        # A new object may have the identity of one that has been freed: ``_created`` drops those.
        self._before = dict(zip(map(id, everything), map(id, map(type, everything)), strict=True))
        # The collector does not know a dictionary of plain values, and would show it later as a new one.
        containers = [each for each in everything if type(each) in PARENTS]
        parts = gc.get_referents(*containers)
        self._untracked = {id(each) for each in parts if type(each) is dict and not gc.is_tracked(each)}

    def imported(self) -> None:
        """Note which objects exist after the first import of a shared module: that import created them."""
        if len(sys.modules) != self._modules:
            self._made |= {id(thing): id(type(thing)) for _, thing in self._created(())[0]}
            self.begin()

    def end(self, parts: Iterable[object] = ()) -> None:
        """Note which objects the load created.

        ``parts`` are the functions that ``register`` handed over, or those of the error that ended the load.
        """
        created, records = self._created(parts)
        self._marks = {id(thing): self._mark(thing) for _, thing in created}
        self._records = self._made_for(records)
        self._before, self._made, self._aged, self._untracked = {}, {}, set(), set()
        for place, each in enumerate(gc.callbacks):
            if each is self._note:
                del gc.callbacks[place]
                break

    def _collecting(self, phase: str, _: dict[str, int]) -> None:
        """Note, before a collection makes them old, which objects are young: they came after ``begin``."""
        if phase == "start":
            self._aged.update(map(id, objects_since()))

    def _created(self, parts: Iterable[object]) -> tuple[list[tuple[str, object]], list[object]]:
        """Return the objects of the plugin that the load created, with names, and new containers."""
        candidates = self._held(_modules_below(self._root), parts)
        for key in self._aged.union(map(id, objects_since())):
            self._before.pop(key, None)
        everything = gc.get_objects()  # without simple values, and without what a host froze at its start
        tracked = candidates.keys() & map(id, everything)
        found = [candidates[key] for key in tracked if self._is_new(candidates[key][1])]
        is_old = map(self._before.__contains__, map(id, everything))
        new = itertools.compress(everything, map(operator.not_, is_old))
        fresh = [thing for thing in new if id(thing) not in candidates]
        made = (thing for thing in fresh if type(thing) in _MADE and id(thing) not in self._untracked)
        return (
            [*found, *(("", thing) for thing in fresh if self._wraps(thing))],
            [*itertools.islice(made, _MOST)],
        )

    def _made_for(self, containers: Collection[object]) -> dict[int, frozenset[int]]:
        """Return the containers that lead to an object of the plugin, with their contents."""
        found: dict[int, frozenset[int]] = {}
        for _ in range(_DEPTH):
            for each in containers:
                items = _items_of(each)
                if id(each) not in found and any(self._is_claim(item, found) for item in items):
                    found[id(each)] = frozenset(map(id, items))
        return found

    def _is_claim(self, thing: object, records: Mapping[int, object]) -> bool:
        if type(thing) in _PLAIN:
            return False
        if issubclass(type(thing), tuple):
            return any(self._is_claim(item, records) for item in tuple.__iter__(cast("tuple[object]", thing)))
        return id(thing) in self._marks or id(thing) in records or self._is_own(thing)

    def _is_new(self, thing: object) -> bool:
        kind = id(type(thing))
        return self._before.get(id(thing)) != kind or self._made.get(id(thing)) == kind

    def _wraps(self, thing: object) -> bool:
        """Return whether a library made an object for one of the plugin's functions, classes or objects."""
        kind = type(thing)
        if not kind.__flags__ & _HEAP or issubclass(kind, (type, dict, *_ITEMS, weakref.ref)):
            return False
        if _top(kind) == _OWN or self._is_own(thing) or is_module(thing):
            return False
        return any(map(self._is_own, _parts_of(thing)))

    def _is_own(self, thing: object) -> bool:
        return any(True for _ in names_of(thing, self._root))

    def _mark(self, thing: object) -> _Mark:
        try:
            reference = weakref.ref(thing)
        except TypeError:
            reference = None
        return _Mark(reference, id(type(thing)), frozenset(self._contents(thing)))

    # ---- the plugin's namespaces

    def _held(self, modules: Iterable[object], parts: Iterable[object]) -> dict[int, tuple[str, object]]:
        """Return the objects of other code that the plugin's namespaces and ``parts`` hold, with names."""
        parts = [*parts]
        waiting = deque(
            (name, value)
            for space in _spaces_of(parts, self._root, modules)
            for name, value in space.copy().items()
            if not (name.startswith("__") and name.endswith("__"))
        )
        waiting.extend(("", part) for part in parts if callable(part))
        seen: dict[int, object] = {}
        found: dict[int, tuple[str, object]] = {}
        while waiting and len(seen) < _MOST:
            name, thing = waiting.popleft()
            kind = type(thing)
            if id(thing) in seen or kind in _PLAIN or is_module(thing) or _top(kind) == _OWN:
                continue  # objects of this package, such as ``ctx``
            seen[id(thing)] = thing
            if not (self._is_own(thing) or issubclass(kind, (CellType, MethodType, *_BUILT_IN))):
                found[id(thing)] = name, thing
            waiting.extend((name, part) for part in self._inside(thing))
        return found

    def _inside(self, thing: object) -> Iterable[object]:
        """Return what an object of the plugin, or a built-in container, leads to."""
        kind = type(thing)
        if kind is dict or kind in _ITEMS:
            return _items_of(thing)
        if kind in (CellType, MethodType, functools.partial):
            return gc.get_referents(thing)
        if not self._is_own(thing):
            return ()
        if kind is FunctionType:
            function = cast("FunctionType", thing)
            more = (function.__closure__, function.__defaults__, function.__kwdefaults__, vars(function))
            return [part for part in more if part]
        if issubclass(kind, type):
            return [*cast("dict[str, object]", of_type(thing, "__dict__")).values()]
        return _parts_of(thing)

    # ---- the end

    def found(self, modules: Iterable[object], parts: Iterable[object] = ()) -> Claimed:
        """Return the created objects that still exist, unless other modules have them as globals.

        ``modules`` are the plugin's modules; ``parts`` are as for ``end``.
        """
        named = self._held(modules, parts) if self._marks else {}
        things = {key: thing for key, (_, thing) in named.items() if key in self._marks}
        for key, mark in self._marks.items():
            thing = mark.reference() if mark.reference is not None else None
            if thing is not None:
                things[key] = thing
        shared = _globals_outside(self._root) if things else set()
        things = {
            key: thing
            for key, thing in things.items()
            if key not in shared and self._is_marked(thing, self._marks[key])
        }
        names = {key: named[key][0] for key in things if key in named}
        used = {key for key, thing in things.items() if self._is_used(thing, self._marks[key])}
        return Claimed([*things.values()], names, used, self._records)

    def _is_marked(self, thing: object, mark: _Mark) -> bool:
        return mark.reference() is thing if mark.reference is not None else id(type(thing)) == mark.kind

    def _is_used(self, thing: object, mark: _Mark) -> bool:
        if type(thing) is dict:  # perhaps an older one: the collector did not know it while it was empty
            return True
        return not mark.contents.issuperset(self._contents(thing))

    def _contents(self, thing: object) -> Iterator[int]:
        """Yield the identities of what other code can have put into an object.

        Of a container that is everything; of a library's object, the functions and objects that neither the
        plugin nor the library made, such as the receivers of a signal.
        """
        if type(thing) is dict or type(thing) in _ITEMS:
            yield from map(id, _items_of(thing))
            return
        level = [(part, False) for part in _parts_of(thing)]
        for _ in range(_DEPTH):
            inner: list[tuple[object, bool]] = []
            for part, is_item in level:
                is_weak = issubclass(type(part), weakref.ref)
                target = weakref.ref.__call__(cast("weakref.ref[object]", part)) if is_weak else part
                if type(target) is dict or type(target) in _ITEMS:
                    inner += [(each, True) for each in _items_of(target)]
                elif self._is_guest(target, type(thing), is_item=is_item):
                    yield id(target)
            level = inner

    def _is_guest(self, part: object, kind: type, *, is_item: bool) -> bool:
        if type(part) in (*_PLAIN, kind) or issubclass(type(part), type) or is_module(part):
            return False
        if self._is_own(part):
            return False
        if type(part) is MethodType:
            return True
        top = _top(part) if type(part) is FunctionType else _top(type(part))
        return top not in sys.stdlib_module_names and (is_item or top != _top(kind))


def _items_of(container: object) -> list[object]:
    """Return the keys and values, or the items, of a built-in container."""
    if type(container) is dict:
        return [*container, *container.values()]
    return [*cast("Iterable[object]", container)]


def registers_with(words: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the words that are entries of a container in a shared module, with the container's place.

    It looks at the modules' globals and at the attributes of objects there, not at the standard library.
    """
    for module, found in sys.modules.copy().items():
        if module.partition(".")[0] in (*sys.stdlib_module_names, _OWN) or type(found) is not ModuleType:
            continue
        for name, value in namespace_of(found).copy().items():
            if name.startswith("__"):
                continue
            yield from _entries_of(value, f"{module}.{name}", words)
            if type(value).__flags__ & _HEAP and type(of_type(type(value), "__module__")) is str:
                for attribute, inner in _attributes_of(value).items():
                    yield from _entries_of(inner, f"{module}.{name}.{attribute}", words)


def _entries_of(value: object, place: str, words: set[str]) -> Iterator[tuple[str, str]]:
    if issubclass(type(value), dict):
        table = cast("dict[object, object]", value)
        yield from ((word, place) for word in sorted(words) if dict.__contains__(table, word))
    elif type(value) in (set, frozenset):
        yield from ((word, place) for word in sorted(words) if word in cast("set[object]", value))
    elif type(value) in (list, tuple):
        items = [item for item in cast("list[object]", value) if type(item) is str]
        yield from ((word, place) for word in sorted(words) if word in items)


def _attributes_of(thing: object) -> dict[str, object]:
    try:
        found = object.__getattribute__(thing, "__dict__")
    except (AttributeError, TypeError):  # slots only
        return {}
    return dict(found) if type(found) is dict else {}


def _top(thing: object) -> str:
    """Return the name of the package of a function or class."""
    is_function = type(thing) is FunctionType
    name = cast("FunctionType", thing).__module__ if is_function else of_type(thing, "__module__")
    return str(name).partition(".")[0]


def _parts_of(thing: object) -> list[object]:
    """Return the values of an object's attributes, without its class."""
    found: list[object] = []
    for part in gc.get_referents(thing):
        if type(part) is dict:
            found += part.values() if _is_namespace(part, thing) else [part]
        elif part is not type(thing):
            found.append(part)
    return found


def _is_namespace(part: object, thing: object) -> bool:
    try:
        return object.__getattribute__(thing, "__dict__") is part
    except (AttributeError, TypeError):  # slots only
        return False


def _modules_below(root: str) -> list[object]:
    start = f"{root}."
    return [module for name, module in sys.modules.copy().items() if name == root or name.startswith(start)]


def _spaces_of(parts: Iterable[object], root: str, modules: Iterable[object]) -> Iterator[dict[str, object]]:
    """Yield the namespaces of modules, and those of the frames among ``parts`` that run the plugin's code.

    The import system drops a module that raises: only its frames lead to it.
    """
    for module in modules:
        if is_module(module):
            yield namespace_of(module)
    for frame in (part for part in parts if type(part) is FrameType):
        if is_within(frame.f_globals.get("__name__"), root):
            yield frame.f_globals
            if frame.f_code.co_name != "<module>":
                yield dict(variables_of(frame))


def _globals_outside(root: str) -> set[int]:
    """Return the identities of the global variables of all modules except the plugin's."""
    found: set[int] = set()
    for name, module in sys.modules.copy().items():
        if is_module(module) and not is_within(name, root):
            found.update(map(id, namespace_of(module).copy().values()))
    return found
