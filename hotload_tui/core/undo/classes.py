"""Patched attributes of shared classes: noted when the plugin imports the class, before it can set one."""

from __future__ import annotations

import dis
import sys
import weakref
from collections.abc import Collection, Hashable, Iterable, Iterator
from types import CodeType, ModuleType
from typing import Final, cast

from hotload_tui.core.undo.owner import Owner, name_of
from hotload_tui.core.undo.registers import MISSING, Entries, Register, RegisterChange, is_same

_IMMUTABLE = 1 << 8  # the flag of a class whose attributes cannot be set
_SETS: Final = frozenset((dis.opmap["STORE_ATTR"], dis.opmap["DELETE_ATTR"]))
_SETTERS: Final = frozenset(("setattr", "delattr", "patch", "__setattr__", "__delattr__"))
_IGNORED = ("__abstractmethods__", "__annotations__", "__annotate__", "__dict__", "__weakref__")


class _Classes(dict[Hashable, object]):
    """The noted classes by full name, each with a copy of its attributes."""

    def note(self, kind: type) -> None:
        name = f"{kind.__dict__.get('__module__')}.{type.__dict__['__qualname__'].__get__(kind)}"
        if name not in self:
            self[name] = kind, dict(type.__dict__["__dict__"].__get__(kind))

    def copies(self) -> dict[str, tuple[type, Entries]]:
        return cast("dict[str, tuple[type, Entries]]", self)


class ClassAttributes(Register):
    """The attributes of the shared classes that a plugin names and imports."""

    category = "attribute"

    def __init__(self, plugins: Owner) -> None:
        self._plugins = plugins
        self._kinds: dict[str, weakref.ref[type]] = {}

    def read(self) -> Entries:
        """Begin to note classes."""
        return _Classes()

    def read_after(self, before: Entries) -> Entries:
        """Return the classes that were noted during the load."""
        return before

    def read_on(self, known: Entries) -> Entries:  # noqa: ARG002 - another plugin imports other classes
        """Begin to note classes."""
        return _Classes()

    def note(self, before: Entries, modules: Iterable[str], words: Collection[str]) -> None:
        """Copy the attributes of the classes in ``modules`` that are named by one of ``words``."""
        waiting = [namespace for name in modules if (namespace := _namespace(sys.modules.get(name)))]
        for is_inner in (False, True):
            inner: list[dict[str, object]] = []
            for namespace in waiting:
                for value in [namespace[word] for word in words if word in namespace]:
                    if issubclass(type(value), type):
                        self._note(cast("_Classes", before), cast("type", value))
                    elif issubclass(type(value), ModuleType) and not is_inner:
                        inner.append(_namespace(cast("ModuleType", value)))
            waiting = inner

    def _note(self, before: _Classes, kind: type) -> None:
        if not kind.__flags__ & _IMMUTABLE and not self._plugins.owns(kind):
            before.note(kind)

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:  # noqa: ARG002 - the same
        """Yield the changed attributes."""
        for name, (kind, old) in cast("_Classes", before).copies().items():
            now: Entries = dict(type.__dict__["__dict__"].__get__(kind))
            for key in (*old, *(key for key in now if key not in old)):
                was, value = old.get(key, MISSING), now.get(key, MISSING)
                if key not in _IGNORED and not is_same(was, value):
                    self._kinds[name] = weakref.ref(kind)
                    yield RegisterChange((name, key), was, value)

    def words_of(self, key: Hashable) -> tuple[str, ...]:
        """Return the attribute's name, which code that sets the attribute mentions."""
        return (cast("tuple[str, str]", key)[1],)

    def current(self, key: Hashable) -> object:
        """Return the attribute's current value."""
        name, attribute = cast("tuple[str, str]", key)
        kind = self._kinds[name]()
        return MISSING if kind is None else type.__dict__["__dict__"].__get__(kind).get(attribute, MISSING)

    def write(self, key: Hashable, value: object) -> None:
        """Set or remove the attribute without running code of a metaclass."""
        name, attribute = cast("tuple[str, str]", key)
        kind = self._kinds[name]()
        if kind is not None and value is MISSING:
            type.__delattr__(kind, attribute)
        elif kind is not None:
            type.__setattr__(kind, attribute, value)

    def tell(self, key: Hashable, value: object) -> str:
        """Return the attribute's full name and value; of a string, which may be a secret, only its type."""
        shown = type(value).__name__ if type(value) in (str, bytes) else name_of(value)
        return f"{'.'.join(cast('tuple[str, str]', key))} = {shown}"

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: ARG002 - a search of all classes takes too long
        """Yield nothing: the search for references finds the attributes that were set after the load."""
        yield from ()


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
