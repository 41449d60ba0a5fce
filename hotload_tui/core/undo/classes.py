"""Patched attributes of shared classes and functions, with the code and the defaults of the functions.

They are noted when the plugin imports the class or the function, before it can set one.
"""

from __future__ import annotations

import dis
import sys
import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Final, TypeAlias, cast

from hotload_tui.core.module_names import module_of_class
from hotload_tui.core.undo.owner import Owner, name_of
from hotload_tui.core.undo.registers import MISSING, Entries, Register, RegisterChange, is_same

_IMMUTABLE = 1 << 8  # the flag of a class whose attributes cannot be set
_SETS: Final = frozenset((dis.opmap["STORE_ATTR"], dis.opmap["DELETE_ATTR"]))
_SETTERS: Final = frozenset(("setattr", "delattr", "patch", "__setattr__", "__delattr__"))
_IGNORED = ("__abstractmethods__", "__annotations__", "__annotate__", "__dict__", "__weakref__")


_PARTS: Final = ("__code__", "__defaults__", "__kwdefaults__")
"""What a function is made of, in addition to its attributes."""
_Patchable: TypeAlias = type | FunctionType


class _Noted(dict[Hashable, object]):
    """The noted classes and functions by full name, each with a copy of its attributes."""

    def note(self, name: str, thing: _Patchable) -> None:
        if name not in self:
            self[name] = thing, _attributes(thing)

    def copies(self) -> dict[str, tuple[_Patchable, Entries]]:
        return cast("dict[str, tuple[_Patchable, Entries]]", self)


def _attributes(thing: _Patchable) -> Entries:
    if _is_class(thing):
        return dict(type.__dict__["__dict__"].__get__(thing))
    return {part: getattr(thing, part) for part in _PARTS} | cast("Entries", vars(thing))


def _is_class(thing: object) -> bool:
    return issubclass(type(thing), type)  # no isinstance: it would run code of a metaclass


class ClassAttributes(Register):
    """The attributes of the shared classes and functions that a plugin names and imports."""

    category = "attribute"

    def __init__(self, plugins: Owner) -> None:
        self._plugins = plugins
        self._things: dict[str, weakref.ref[_Patchable]] = {}

    def read(self) -> Entries:
        """Begin to note classes and functions."""
        return _Noted()

    def read_after(self, before: Entries) -> Entries:
        """Return what was noted during the load."""
        return before

    def read_on(self, known: Entries) -> Entries:  # noqa: ARG002 - another plugin imports other classes
        """Begin to note classes and functions."""
        return _Noted()

    def note(self, before: Entries, modules: Iterable[str], words: set[str]) -> None:
        """Copy the attributes of the classes and functions in ``modules`` that ``words`` name."""
        noted = cast("_Noted", before)
        waiting = [(name, space) for name in modules if (space := _namespace(sys.modules.get(name)))]
        for is_inner in (False, True):
            inner: list[tuple[str, dict[str, object]]] = []
            for place, namespace in waiting:
                for word in words.intersection(namespace):
                    value = namespace[word]
                    if type(value) is FunctionType:
                        self._note(noted, f"{place}.{word}", value)
                    elif _is_class(value):
                        self._note_class(noted, f"{place}.{word}", cast("type", value), words)
                    elif issubclass(type(value), ModuleType) and not is_inner:
                        inner.append((f"{place}.{word}", _namespace(cast("ModuleType", value))))
            waiting = inner

    def _note_class(self, noted: _Noted, place: str, kind: type, words: set[str]) -> None:
        if kind.__flags__ & _IMMUTABLE:
            return
        name = self._note(noted, place, kind)
        own = type.__dict__["__dict__"].__get__(kind)
        for word in words.intersection(own):
            method = _plain(own[word])
            if type(method) is FunctionType:
                self._note(noted, f"{name}.{word}", method)

    def _note(self, noted: _Noted, place: str, thing: _Patchable) -> str:
        """Note a class or function of other code; return its name, or its place if the name finds another."""
        module, name = _names(thing)
        full = f"{module}.{name}" if _found(module, name) is thing else place
        if not self._plugins.owns(thing):
            noted.note(full, thing)
        return full

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:  # noqa: ARG002 - the same
        """Yield the changed attributes."""
        for name, (thing, old) in cast("_Noted", before).copies().items():
            now = _attributes(thing)
            for key in (*old, *(key for key in now if key not in old)):
                was, value = old.get(key, MISSING), now.get(key, MISSING)
                if key not in _IGNORED and not is_same(was, value):
                    self._things[name] = weakref.ref(thing)
                    yield RegisterChange((name, key), was, value)

    def words_of(self, key: Hashable) -> tuple[str, ...]:
        """Return the attribute's name, which code that sets the attribute mentions."""
        return (cast("tuple[str, str]", key)[1],)

    def texts_of(self, key: Hashable) -> Iterator[str]:
        """Yield the name of the class or function."""
        yield cast("tuple[str, str]", key)[0].rpartition(".")[2]

    def current(self, key: Hashable) -> object:
        """Return the attribute's current value."""
        name, attribute = cast("tuple[str, str]", key)
        thing = self._things[name]()
        return MISSING if thing is None else _attributes(thing).get(attribute, MISSING)

    def write(self, key: Hashable, value: object) -> None:
        """Set or remove the attribute without running code of a metaclass."""
        name, attribute = cast("tuple[str, str]", key)
        thing = self._things[name]()
        kind = type if _is_class(thing) else object
        if thing is not None and value is MISSING:
            kind.__delattr__(thing, attribute)
        elif thing is not None:
            kind.__setattr__(thing, attribute, value)

    def tell(self, key: Hashable, value: object) -> str:
        """Return the attribute's full name and value; of a string, which may be a secret, only its type."""
        shown = type(value).__name__ if type(value) in (str, bytes) else name_of(value)
        shown = value.co_qualname if isinstance(value, CodeType) else shown
        return f"{'.'.join(cast('tuple[str, str]', key))} = {shown}"

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: ARG002 - a search of all classes takes too long
        """Yield nothing: the search for references finds the attributes that were set after the load."""
        yield from ()


def _names(thing: _Patchable) -> tuple[str, str]:
    """Return the module and the qualified name of a class or function, as it gives them itself."""
    if _is_class(thing):
        return str(module_of_class(cast("type", thing))), type.__dict__["__qualname__"].__get__(thing)
    return str(thing.__module__), thing.__qualname__


def _found(module: str, name: str) -> object:
    """Return what has this qualified name in a module, ``None`` if nothing has; this runs no code."""
    space: Mapping[str, object] = _namespace(sys.modules.get(module))
    found: object = None
    for part in name.split("."):
        found = space.get(part)
        space = type.__dict__["__dict__"].__get__(found) if _is_class(found) else {}
    return _plain(found)


def _plain(method: object) -> object:
    """Return the function of a static method or class method."""
    is_wrapped = type(method) in (staticmethod, classmethod)
    return getattr(method, "__func__", None) if is_wrapped else method


def _namespace(module: ModuleType | None) -> dict[str, object]:
    if not issubclass(type(module), ModuleType):
        return {}
    return cast("dict[str, object]", ModuleType.__getattribute__(cast("ModuleType", module), "__dict__"))


def may_patch(code: CodeType) -> bool:
    """Return whether code sets attributes of objects other than ``self``; few plugins do."""
    if not _SETTERS.isdisjoint(code.co_names) or any(_targets(code)):
        return True
    return any(may_patch(constant) for constant in code.co_consts if type(constant) is CodeType)


def _targets(code: CodeType) -> Iterator[bool]:
    """Yield for each instruction that sets an attribute whether its object is not the variable ``self``."""
    steps = code.co_code
    kinds = steps[::2]
    if _SETS.isdisjoint(kinds):
        return
    for index in (index for index, kind in enumerate(kinds) if kind in _SETS):
        before = index - 1
        while before > 0 and not kinds[before]:  # the cache of an instruction
            before -= 1
        name = dis.opname[kinds[before]]
        number = steps[2 * before + 1]
        number = number & 15 if name.count("LOAD_FAST") > 1 else number  # two variables in one instruction
        variables = code.co_varnames
        yield not (name.startswith("LOAD_FAST") and number < len(variables) and variables[number] == "self")
