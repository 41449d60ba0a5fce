"""Patched attributes of modules that all plugins share, and wrappers around other plugins' patches."""

from __future__ import annotations

import gc
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import filterfalse
from operator import is_
from types import CellType, FunctionType, MethodType, ModuleType, TracebackType
from typing import NamedTuple, TypeAlias, cast

from hotload_tui.core.interpreter import stack_of
from hotload_tui.core.undo.owner import Owner, name_of
from hotload_tui.core.undo.registers import (
    MISSING,
    Entries,
    Register,
    RegisterChange,
    Version,
    is_same,
    teller_of,
    version_of,
)


class SharedModules:
    """The names of shared modules, in the order in which they were first seen."""

    def __init__(self, plugins: Owner) -> None:
        self._plugins = plugins
        self._seen: set[object] = set()
        self._names: list[str] = []
        self._last: object = None
        self._count = self._head = self._first = 0

    def names(self) -> list[str]:
        """Return those that are there, and perhaps some that are gone; the list grows in place."""
        came = self._came()
        is_whole = came is None
        came = self._all() if came is None else came
        unseen = list(filterfalse(self._seen.__contains__, came))
        self._seen.update(unseen)
        self._names += [name for name in unseen if type(name) is str and not self._plugins.has_name(name)]
        if is_whole:
            self._head, self._first = self._count, len(self._names)
        return self._names

    def modules(self) -> list[ModuleType | None]:
        """Return the same modules as before as long as none came, went or was replaced."""
        names = self.names()
        # The first of all lie side by side; to look up each by name takes twice as long.
        return [*list(sys.modules.values())[: self._head], *map(sys.modules.get, names[self._first :])]

    def let_go(self) -> None:
        """Have the next look be at all of them."""
        self._last = None

    def _came(self) -> list[object] | None:
        """Return the names that came since the last look; ``None`` if it takes a look at all to tell."""
        came: list[object] = []
        if self._last is None:
            return None
        try:
            for name in reversed(sys.modules):  # thousands of plugins' stand before the one that was loaded
                if name is self._last:
                    break
                came.append(name)
        except RuntimeError:  # another thread imports meanwhile
            return None
        if self._count + len(came) != len(sys.modules):  # something was taken out
            return None
        if came:
            self._last, self._count = came[0], self._count + len(came)
        return came[::-1]

    def _all(self) -> list[object]:
        # Hundreds of modules of others, and thousands of plugins', at each load: no calls but C's.
        names: list[object] = list(sys.modules)
        self._last, self._count = names[-1], len(names)
        if len(self._seen) > 2 * len(names):  # mostly names of generations that are gone
            self._seen.clear()
            self._names.clear()
        return names


_Namespace: TypeAlias = dict[str, object]
_Copies: TypeAlias = dict[str, tuple[_Namespace, _Namespace, int]]
"""By the module's name: its namespace, a copy of that, and its version just before it was copied."""


class _Look(NamedTuple):
    """What was copied for the last load, side by side."""

    modules: list[ModuleType | None] | None
    """As ``SharedModules.modules`` returned them; ``None`` at a first look, which mostly is the only one."""
    copies: _Copies
    tellers: list[Version]
    """Of the copied namespaces."""
    versions: list[int]

    def is_of(self, modules: list[ModuleType | None] | None) -> bool:
        """Tell whether the same modules were there, as far as is known."""
        if modules is None or self.modules is None:
            return False
        return len(modules) == len(self.modules) and all(map(is_, modules, self.modules))

    def is_current(self) -> bool:
        """Tell whether none of the copied namespaces has changed."""
        return [teller.value for teller in self.tellers] == self.versions


_NOTHING = _Look(None, {}, [], [])

_LAST = ("last_exc", "last_value", "last_type", "last_traceback")  # of sys, set by an interactive loop
_HOOKS: Mapping[str, Iterable[str]] = {
    "sys": ("excepthook", "unraisablehook", "displayhook", "breakpointhook", "stdin", "stdout", "stderr"),
    "threading": ("excepthook", "_trace_hook", "_profile_hook"),
    "builtins": ("__import__", "__build_class__", "open", "print", "input", "compile", "eval", "exec"),
}  # what was there before plugins is remembered, for patches that are made after a load
_SPECIAL = ("__import__", "__build_class__")  # other names with underscores are the import system's


class Attributes(Register):
    """Attributes of all modules but those of plugins; read by copying their namespaces."""

    category = "attribute"

    def __init__(self, plugins: Owner) -> None:
        self._plugins = plugins
        self._originals: Entries = {}
        self._shared = SharedModules(plugins)
        self._kept = _NOTHING
        self._has_changes = False

    def read(self) -> Entries:
        """Return each namespace with a copy of it, by the module's name.

        The copies are kept for the next load, until ``let_go``: only what has changed is copied again.
        """
        return self._read(is_current=self._kept.is_current())

    def _read(self, *, is_current: bool) -> Entries:
        kept = self._kept
        modules = self._shared.modules() if kept.copies else None
        if is_current and kept.is_of(modules):
            return cast("Entries", kept.copies)
        self._note_hooks()
        copies: _Copies = {}
        for name, namespace in self._namespaces():
            version = version_of(namespace)
            known = kept.copies.get(name)
            if known is None or known[0] is not namespace or known[2] != version:
                known = (namespace, namespace.copy(), version)
            copies[name] = known
        tellers = [teller_of(namespace) for namespace, _, _ in copies.values()]
        self._kept = _Look(modules, copies, tellers, [version for _, _, version in copies.values()])
        return cast("Entries", copies)

    def look(self) -> Entries:
        """Return what ``read`` does, which keeps its copies itself."""
        return self.read()

    def look_on(self) -> Entries:
        """Return what ``read`` does; the namespaces have just been looked at."""
        return self._read(is_current=not self._has_changes)

    def let_go(self) -> None:
        """Keep no copies: they hold what others may wish to be freed."""
        self._kept = _NOTHING
        self._shared.let_go()

    def _note_hooks(self) -> None:
        for module, names in _HOOKS.items():
            for name in names:
                value = self.current((module, name))
                if not self._plugins.owns(value):
                    self._originals[module, name] = value

    def is_as_before(self, before: Entries) -> bool:
        """Tell whether no namespace has changed since ``read`` returned its copies."""
        kept = self._kept
        self._has_changes = not (before is kept.copies and kept.is_current())
        return not self._has_changes

    def changes(self, before: Entries) -> Iterator[RegisterChange]:
        """Yield what differs; modules that were not there are new, not changed."""
        for name, namespace, old in _touched(cast("_Copies", before)):
            for key in (*old, *(key for key in namespace.copy() if key not in old)):
                was, now = old.get(key, MISSING), namespace.get(key, MISSING)
                if not is_same(was, now) and _counts(key) and not (was is MISSING and _is_part(now, name)):
                    yield RegisterChange((name, key), was, now)

    def words_of(self, key: Hashable) -> tuple[str, ...]:
        """Return the attribute's name: whoever sets it mentions that."""
        return (cast("tuple[str, str]", key)[1],)

    def current(self, key: Hashable) -> object:
        """Return what the attribute is now."""
        module, name = cast("tuple[str, str]", key)
        return _namespace(sys.modules.get(module)).get(name, MISSING)

    def write(self, key: Hashable, value: object) -> None:
        """Set it without running the code of a module that watches its attributes."""
        module, name = cast("tuple[str, str]", key)
        if value is MISSING:
            _namespace(sys.modules.get(module)).pop(name, None)
        else:
            _namespace(sys.modules.get(module))[name] = value

    def forget(self, key: Hashable, value: object) -> None:
        """Let generations that were loaded meanwhile have the builtin that is there now."""
        module, name = cast("tuple[str, str]", key)
        if module != "builtins" or not gc.is_tracked(value):
            return
        now = self.current(key)
        for holder in gc.get_referrers(value):
            if type(holder) is dict and "__build_class__" in holder and holder.get(name) is value:
                holder.pop(name) if now is MISSING else holder.update({name: now})

    def tell(self, key: Hashable, value: object) -> str:
        """Return the attribute's full name and what it is now; of a text, a secret perhaps, only that."""
        shown = type(value).__name__ if type(value) in (str, bytes) else name_of(value)
        return f"{'.'.join(cast('tuple[str, str]', key))} = {shown}"

    def owned(self, owner: Owner) -> Iterator[Hashable]:
        """Yield the attributes that are functions, classes or objects of somebody's."""
        kinds: dict[type, bool | None] = {}
        for module, namespace in self._namespaces():
            for name, value in namespace.copy().items():
                kind = type(value)
                # What a module itself defines is the bulk of some ten thousand, and quickly told.
                if kind is FunctionType:
                    is_own = cast("FunctionType", value).__globals__ is not namespace and owner.owns(value)
                elif kind is type:
                    is_own = cast("type", value).__module__ != module and owner.owns(value)
                else:
                    if kind not in kinds:
                        kinds[kind] = owner.owns_kind(kind)
                    of_kind = kinds[kind]
                    is_own = owner.owns(value) if of_kind is None else of_kind
                if is_own or (module == "sys" and name in _LAST and _is_trace_of(value, owner)):
                    yield module, name

    def original(self, key: Hashable, patch: object) -> object:
        """Return what an attribute was before a plugin's ``patch``; ``MISSING`` if nobody knows."""
        module, name = cast("tuple[str, str]", key)
        if module == "sys" and name in _LAST:
            return None
        if key in self._originals:
            return self._originals[key]
        while self._plugins.owns(patch):
            patch = vars(patch).get("__wrapped__", MISSING) if type(patch) is FunctionType else MISSING
        return patch

    def _namespaces(self) -> list[tuple[str, _Namespace]]:
        names = self._shared.names()
        namespace_of = ModuleType.__getattribute__
        return [
            (name, namespace_of(module, "__dict__"))
            for name, module in zip(names, map(sys.modules.get, names), strict=True)
            if issubclass(type(module), ModuleType)
        ]


def _namespace(module: ModuleType | None) -> _Namespace:
    """Return a module's namespace, without running its code; an empty one if it is gone."""
    return {} if module is None else cast("_Namespace", ModuleType.__getattribute__(module, "__dict__"))


def _touched(before: _Copies) -> list[tuple[str, _Namespace, _Namespace]]:
    """Return the modules, now and then, whose attributes are not the same objects any more.

    Compares in C, by identity first. What differs may be asked whether it is equal, and such an answer may be
    an array, or raise: then each module is compared by itself.
    """
    changed = [(name, now, old) for name, (now, old, version) in before.items() if version_of(now) != version]
    try:
        return [(name, now, old) for name, now, old in changed if now != old]
    except Exception:  # foreign code, as said
        return [(name, now, old) for name, now, old in changed if not _is_equal(now, old)]


def _is_equal(now: _Namespace, old: _Namespace) -> bool:
    try:
        return bool(now == old)
    except Exception:  # foreign code, as said
        return False


def _counts(name: str) -> bool:
    return not name.startswith("__") or name in _SPECIAL


def _is_part(value: object, module: str) -> bool:
    """Tell whether it is a submodule, or a module's own class or function that it imports when asked for."""
    if issubclass(type(value), ModuleType):
        return True
    return (
        str(vars(value).get("__module__")).startswith(module)
        if type(value) in (type, FunctionType)
        else False
    )


def _is_trace_of(value: object, owner: Owner) -> bool:
    if isinstance(value, BaseException):
        value = value.__traceback__
    while type(value) is TracebackType:
        if any(True for _ in owner.frames(stack_of(value.tb_frame))):
            return True
        value = value.tb_next
    return False


def relink(top: object, owner: Owner, old: object, new: object) -> None:
    """Have all of the owner's that ``top`` leads to refer to ``new`` where it refers to ``old``.

    A patch that calls what was there before keeps that in a closure, a global or an attribute. Each reload
    would put one more around it, and each of them would be called and keep its generation.
    """
    found, waiting = {id(top)}, [top]
    while waiting:
        thing = waiting.pop()
        for part in _parts(thing, old, new):
            if id(part) not in found and owner.owns(part):
                found.add(id(part))
                waiting.append(part)


def _parts(thing: object, old: object, new: object) -> Iterator[object]:
    """Yield what a thing of the owner's refers to by itself, after the exchange."""
    if type(thing) is MethodType:
        yield thing.__func__
        yield thing.__self__
        return
    if type(thing) is FunctionType:
        yield from _cells(thing.__closure__ or (), old, new)
        yield from _exchanged(thing.__globals__, old, new)
    namespace = _attributes_of(thing)
    if type(namespace) is dict:
        yield from _exchanged(cast("dict[str, object]", namespace), old, new)


def _cells(cells: tuple[CellType, ...], old: object, new: object) -> Iterator[object]:
    for cell in cells:
        try:
            if cell.cell_contents is old:
                cell.cell_contents = new
            yield cell.cell_contents
        except ValueError:  # an empty one
            continue


def _exchanged(namespace: dict[str, object], old: object, new: object) -> Iterator[object]:
    for name, value in namespace.copy().items():
        if value is old:
            namespace[name] = new
        yield value


def _attributes_of(thing: object) -> object:
    """Return the attributes of a function or an object, without running its code."""
    try:
        return object.__getattribute__(thing, "__dict__")
    except (AttributeError, TypeError):  # it has slots
        return None
