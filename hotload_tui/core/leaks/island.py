"""Which parts of a generation are held by somebody outside of it.

Every function holds its module's namespace, and through it all the rest: that a thing lives does not say
that somebody has it. Its count of references does: those that come from the generation's own objects are
taken off, as the collector does it, and what remains comes from outside.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, time, tzinfo
from types import FunctionType, ModuleType
from typing import TypeGuard, cast

_MACHINERY = (
    f"{__name__.rpartition('.leaks.')[0]}.generation"  # what the objects behind each module are made of
)
_CLOCKS = (datetime, time)  # the collector does not see the reference to their tzinfo
_UNTRACKED = (dict, tuple, *_CLOCKS)  # a container of nothing else is not tracked either
_LARGEST = 200_000  # objects looked at; more would keep the interpreter busy for too long


def held_from_outside(references: Iterable[weakref.ref[object]], root: str) -> set[str]:
    """Return the unique names of functions, classes and modules that something outside refers to.

    Empty if none can be told. ``references`` are to its modules and their classes and functions; ``root`` is
    what the names of its modules begin with. Runs no code of the plugin's: looks at types and counts only.
    """
    island = _explored(references, root)
    names = {name for thing in island.held() for name in names_of(thing, root)}
    return names or {name for thing in island.held() for name in island.owners_of(thing)}


def members(references: Iterable[weakref.ref[object]], root: str) -> list[object]:
    """Return the generation's objects, as far as its modules lead to them."""
    island = _Island(root)
    for reference in references:
        island.add(reference())
    for namespace in island.namespaces():
        island.add(namespace)  # whoever else has it
    island.grow()
    return island.members


def garbage(
    references: Iterable[weakref.ref[object]], root: str, keeper: list[object]
) -> list[object] | None:
    """Return the generation's objects; ``None`` if something outside has any.

    ``keeper`` does not count: it is there to keep them until they are looked at.
    """
    island = _explored(references, root, keeper)
    return None if any(thing is not keeper for thing in island.held()) else island.members


def held_object(
    references: Iterable[weakref.ref[object]], root: str, wanted: str
) -> tuple[object, set[int]] | None:
    """Return what is held by the unique name ``wanted``, and the identities of what is no holder."""
    island = _explored(references, root)
    held = island.held()
    own = {*island.ids(), *map(id, island.namespaces()), id(held), id(island.members)}
    for thing in held:
        if wanted in (*names_of(thing, root), *island.owners_of(thing)):
            return thing, own
    return None


def _explored(
    references: Iterable[weakref.ref[object]], root: str, keeper: list[object] | None = None
) -> _Island:
    island = _Island(root)
    island.add(keeper)
    for reference in references:
        island.add(reference())
    island.grow()
    # Functions that no namespace names, as lambdas in register, are found by the namespaces that they hold.
    holder: object
    for holder in gc.get_referrers(*island.namespaces()):
        if type(holder) is FunctionType:
            island.add(holder)
    holder = None  # it would count as somebody outside
    island.grow()
    return island


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


def is_clock(thing: object) -> TypeGuard[datetime | time]:
    """Tell whether it is a date or time: with a ``tzinfo``, the collector does not see that reference."""
    return issubclass(type(thing), _CLOCKS)


def zone_of(clock: datetime | time) -> tzinfo | None:
    """Return the ``tzinfo`` of a date or time, without running code of its own."""
    member = datetime.tzinfo if issubclass(type(clock), datetime) else time.tzinfo
    return cast("Callable[[object], tzinfo | None]", member.__get__)(clock)


def is_module(thing: object) -> TypeGuard[ModuleType]:
    """Tell whether it is a module object, without running code of its own."""
    return issubclass(type(thing), ModuleType)


def namespace_of(module: ModuleType) -> dict[str, object]:
    """Return a module's namespace, without running code of its own."""
    return cast("dict[str, object]", ModuleType.__getattribute__(module, "__dict__"))


class _Island:
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
        return (type(module) is str and module.startswith(_MACHINERY)) or any(
            True for _ in names_of(thing, self._root)
        )

    def _outside(self, index: int) -> bool:
        return sys.getrefcount(self.members[index]) - self._alone > self._inside[id(self.members[index])]
