"""Patched attributes of shared modules, classes and functions, and patches that wrap other plugins' patches.

Classes and functions, with the code and the defaults of the functions, are noted when the plugin imports
them, before it can patch one.
"""

from __future__ import annotations

import dis
import gc
import sys
import weakref
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import filterfalse
from operator import is_
from types import CellType, CodeType, FunctionType, MethodType, ModuleType, TracebackType
from typing import Final, TypeAlias, cast

from hotload_tui.core.interpreter import HAS_VERSIONS, stack_of, version_reader
from hotload_tui.core.module_names import module_of_class
from hotload_tui.core.undo.owner import Owner, name_of
from hotload_tui.core.undo.registers import MISSING, Entries, Register, RegisterChange, is_same


class ModuleInventory:
    """The names of shared modules, in the order of their first appearance."""

    def __init__(self, plugins: Owner) -> None:
        self._plugins = plugins
        self._seen: set[object] = set()
        self._names: list[str] = []
        self._last: object = None
        self._count = self._head = self._first = 0

    def names(self) -> list[str]:
        """Return the names of present modules, and perhaps of some removed ones; the list grows in place."""
        came = self._came()
        is_whole = came is None
        came = self._all() if came is None else came
        unseen = list(filterfalse(self._seen.__contains__, came))
        self._seen.update(unseen)
        root, start = self._plugins.root, f"{self._plugins.root}."
        self._names += [
            name for name in unseen if type(name) is str and not (name.startswith(start) or name == root)
        ]
        if is_whole:
            self._head, self._first = self._count, len(self._names)
        return self._names

    def modules(self) -> list[ModuleType | None]:
        """Return the module objects: the same ones until a module is added, removed or replaced."""
        names = self.names()
        # The first ``_head`` modules come straight from the dictionary: lookups by name take twice as long.
        return [*list(sys.modules.values())[: self._head], *map(sys.modules.get, names[self._first :])]

    def forget_position(self) -> None:
        """Make the next call read all of ``sys.modules``."""
        self._last = None

    def _came(self) -> list[object] | None:
        """Return the names added since the last call; ``None`` if only a full read shows them."""
        came: list[object] = []
        if self._last is None:
            return None
        try:
            for name in reversed(sys.modules):  # from the end: thousands of plugin modules precede
                if name is self._last:
                    break
                came.append(name)
        except RuntimeError:  # another thread is importing
            return None
        if self._count + len(came) != len(sys.modules):  # a module was removed
            return None
        if came:
            self._last, self._count = came[0], self._count + len(came)
        return came[::-1]

    def _all(self) -> list[object]:
        # This runs at each load over thousands of names: only C calls.
        names: list[object] = list(sys.modules)
        self._last, self._count = names[-1], len(names)
        if len(self._seen) > 2 * len(names):  # mostly names of past generations
            self._seen.clear()
            self._names.clear()
        return names


_Namespace: TypeAlias = dict[str, object]


_Copy: TypeAlias = tuple[_Namespace, _Namespace]
"""A namespace and its copy."""


class _Copies(dict[Hashable, object]):
    """The ``_Copy`` of each shared module by its name."""

    def __init__(self, namespaces: dict[str, _Namespace], modules: list[ModuleType | None] | None) -> None:
        """Copy the namespaces; ``modules`` is ``None`` if the module objects are not known."""
        found = [*namespaces.values()]
        self._readers = [*map(version_reader, found)] if HAS_VERSIONS else []
        self._versions = self._current_versions()
        super().__init__(zip(namespaces, zip(found, map(dict.copy, found), strict=True), strict=True))
        self.modules = modules
        self.changed: list[str] = []
        """The modules whose namespaces differed from the copies at the last ``compare``."""

    def copies(self) -> dict[str, _Copy]:
        """Return the copies by module name."""
        return cast("dict[str, _Copy]", self)

    def add(self, name: str, namespace: _Namespace) -> None:
        """Copy one more namespace, of a module that has come since."""
        if name not in self:
            self._readers += [version_reader(namespace)] if HAS_VERSIONS else []
            self._versions += [reader.value for reader in self._readers[len(self._versions) :]]
            self[name] = namespace, namespace.copy()

    def compare(self) -> None:
        """Find the namespaces that have changed."""
        now = self._current_versions()
        if HAS_VERSIONS and now == self._versions:
            self.changed = []
            return
        suspects = (
            [name for name, old, new in zip(self.copies(), self._versions, now, strict=True) if old != new]
            if HAS_VERSIONS
            else [*self.copies()]
        )
        self.changed = [name for name in suspects if not _is_unchanged(*self.copies()[name])]

    def renew(self) -> None:
        """Copy the changed namespaces again."""
        self._versions = self._current_versions()
        for name in self.changed:
            namespace, _ = self.copies()[name]
            self[name] = namespace, namespace.copy()
        self.changed = []

    def _current_versions(self) -> list[int]:
        return [reader.value for reader in self._readers]

    def has(self, modules: list[ModuleType | None]) -> bool:
        """Return whether these are the copied modules; false if that is not known."""
        known = self.modules
        return known is not None and len(modules) == len(known) and all(map(is_, modules, known))


_LAST = ("last_exc", "last_value", "last_type", "last_traceback")  # of ``sys``; an interactive loop sets them
_HOOKS: Mapping[str, Iterable[str]] = {
    "sys": ("excepthook", "unraisablehook", "displayhook", "breakpointhook", "stdin", "stdout", "stderr"),
    "threading": ("excepthook", "_trace_hook", "_profile_hook"),
    "builtins": ("__import__", "__build_class__", "open", "print", "input", "compile", "eval", "exec"),
}  # the values from before plugins are kept, to undo patches that are made after a load
_SETTERS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("builtins", "_"): ("install",),  # gettext.install, and the method of a translation
    ("urllib.request", "_opener"): ("install_opener",),
    ("asyncio.events", "_event_loop_policy"): ("set_event_loop_policy", "install"),
    ("logging", "_loggerClass"): ("setLoggerClass",),
    ("logging", "_logRecordFactory"): ("setLogRecordFactory",),
    ("gettext", "_current_domain"): ("textdomain",),
    ("zoneinfo._tzpath", "TZPATH"): ("reset_tzpath",),
    ("multiprocessing.spawn", "_python_exe"): ("set_executable",),
    ("sys", "excepthook"): ("install", "enable"),  # as in rich and cgitb
}  # attributes that a function of the standard library sets for its caller
_SPECIAL = ("__import__", "__build_class__")  # all other dunder names are ignored


class Attributes(Register):
    """The attributes of all modules except plugin modules; a reading has copies of the namespaces."""

    category = "attribute"

    def __init__(self, plugins: Owner) -> None:
        self._plugins = plugins
        self._originals: Entries = {}
        self._shared = ModuleInventory(plugins)

    def read(self) -> Entries:
        """Return the copies of all namespaces, by module name."""
        self._shared.forget_position()
        return self._read(None)  # often the only reading: it needs no module objects

    def read_after(self, before: Entries) -> Entries:
        """Note whether something has changed since ``before``, and return it."""
        assert isinstance(before, _Copies)
        before.compare()
        return before

    def add(self, before: Entries, names: Iterable[str]) -> None:
        """Copy the namespaces of modules that the load has imported."""
        assert isinstance(before, _Copies)
        for name in names:
            module = sys.modules.get(name)
            if issubclass(type(module), ModuleType) and not self._plugins.has_name(name):
                before.add(name, _namespace(module))

    def read_on(self, known: Entries) -> Entries:
        """Return ``known`` with the changed namespaces copied again; copy all after an import."""
        assert isinstance(known, _Copies)
        modules = self._shared.modules()
        if not known.has(modules):
            return self._read(modules)
        if known.changed:
            known.renew()
        return known

    def _read(self, modules: list[ModuleType | None] | None) -> _Copies:
        self._note_hooks()
        return _Copies(self._namespaces(), modules)

    def _note_hooks(self) -> None:
        for module, names in _HOOKS.items():
            for name in names:
                value = self.current((module, name))
                if not self._plugins.owns(value):
                    self._originals[module, name] = value

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:  # noqa: ARG002 - the same
        """Yield the changed attributes; a module that ``before`` lacks is new, not changed."""
        assert isinstance(after, _Copies)
        for module in after.changed:
            namespace, old = after.copies()[module]
            now = namespace.copy()
            for key in (*old, *(key for key in now if key not in old)):
                was, value = old.get(key, MISSING), now.get(key, MISSING)
                is_new_part = was is MISSING and _is_part(value, module)
                if _counts(key) and not is_new_part and not is_same(was, value):
                    yield RegisterChange((module, key), was, value)

    def words_of(self, key: Hashable) -> tuple[str, ...]:
        """Return the names that code that sets the attribute mentions: its own, or its function's."""
        name = cast("tuple[str, str]", key)[1]
        return (name, *_SETTERS.get(cast("tuple[str, str]", key), ()))

    def texts_of(self, key: Hashable) -> Iterator[str]:  # noqa: ARG002 - its words do
        """Yield nothing: its words tell an entry from the others."""
        yield from ()

    def current(self, key: Hashable) -> object:
        """Return the attribute's current value."""
        module, name = cast("tuple[str, str]", key)
        return _namespace(sys.modules.get(module)).get(name, MISSING)

    def write(self, key: Hashable, value: object) -> None:
        """Set or remove the attribute in the module's namespace, which runs no code of the module."""
        module, name = cast("tuple[str, str]", key)
        if value is MISSING:
            _namespace(sys.modules.get(module)).pop(name, None)
        else:
            _namespace(sys.modules.get(module))[name] = value

    def forget(self, key: Hashable, value: object) -> None:
        """Replace an undone builtin in the copies of ``builtins`` that generations hold."""
        module, name = cast("tuple[str, str]", key)
        if module != "builtins" or not gc.is_tracked(value):
            return
        now = self.current(key)
        for holder in gc.get_referrers(value):
            if type(holder) is dict and "__build_class__" in holder and holder.get(name) is value:
                holder.pop(name) if now is MISSING else holder.update({name: now})

    def tell(self, key: Hashable, value: object) -> str:
        """Return the attribute's full name and value; of a string, which may be a secret, only its type."""
        shown = type(value).__name__ if type(value) in (str, bytes) else name_of(value)
        return f"{'.'.join(cast('tuple[str, str]', key))} = {shown}"

    def owned(self, owner: Owner) -> Iterator[Hashable]:
        """Yield the attributes whose values belong to ``owner``."""
        yield from owner.names((module, each.copy()) for module, each in self._namespaces().items())
        for name in _LAST:
            value = getattr(sys, name, None)
            if _is_trace_of(value, owner) and not owner.owns(value):
                yield "sys", name

    def original(self, key: Hashable, patch: object) -> object:
        """Return the attribute's value from before a plugin's ``patch``; ``MISSING`` if it is not known."""
        module, name = cast("tuple[str, str]", key)
        if module == "sys" and name in _LAST:
            return None
        if key in self._originals:
            return self._originals[key]
        while self._plugins.owns(patch):
            patch = vars(patch).get("__wrapped__", MISSING) if type(patch) is FunctionType else MISSING
        return patch

    def _namespaces(self) -> dict[str, _Namespace]:
        names = self._shared.names()
        namespace_of = ModuleType.__getattribute__
        return {
            name: namespace_of(module, "__dict__")
            for name, module in zip(names, map(sys.modules.get, names), strict=True)
            if issubclass(type(module), ModuleType)
        }


def _is_unchanged(namespace: _Namespace, copy: _Namespace) -> bool:
    """Compare in C, by identity: an equal list is another list. A name that came is the last one."""
    return (
        len(namespace) == len(copy)
        and next(reversed(namespace), None) == next(reversed(copy), None)
        and all(map(is_, namespace.values(), copy.values()))
    )


def _counts(name: str) -> bool:
    return not name.startswith("__") or name in _SPECIAL


def _is_part(value: object, module: str) -> bool:
    """Return whether a value is a module, or a class or function of ``module`` itself.

    Modules that import lazily add such attributes at any time.
    """
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
    """Make the owner's objects that ``top`` leads to refer to ``new`` instead of ``old``.

    A patch keeps the function that it wraps in a closure, a global or an attribute. Otherwise each reload
    would add one more wrapper, and each wrapper would be called and keep its generation alive.
    """
    found, waiting = {id(top)}, [top]
    while waiting:
        thing = waiting.pop()
        for part in _parts(thing, old, new):
            if id(part) not in found and owner.owns(part):
                found.add(id(part))
                waiting.append(part)


def _parts(thing: object, old: object, new: object) -> Iterator[object]:
    """Yield the objects to which ``thing`` refers directly, after the exchange."""
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
        except ValueError:  # an empty cell
            continue


def _exchanged(namespace: dict[str, object], old: object, new: object) -> Iterator[object]:
    for name, value in namespace.copy().items():
        if value is old:
            namespace[name] = new
        yield value


def _attributes_of(thing: object) -> object:
    """Return the namespace of a function or object without running its code; ``None`` if it has none."""
    try:
        return object.__getattribute__(thing, "__dict__")
    except (AttributeError, TypeError):  # the object has slots only
        return None


_IMMUTABLE = 1 << 8  # the flag of a class whose attributes cannot be set
_SETS: Final = frozenset((dis.opmap["STORE_ATTR"], dis.opmap["DELETE_ATTR"]))
_SETTING_NAMES: Final = frozenset(("setattr", "delattr", "patch", "__setattr__", "__delattr__"))
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


def _namespace(module: ModuleType | None) -> _Namespace:
    """Return a module's namespace without running its code; empty if it is gone, or an object replaced it."""
    if not issubclass(type(module), ModuleType):
        return {}
    return cast("_Namespace", ModuleType.__getattribute__(cast("ModuleType", module), "__dict__"))


def may_patch(code: CodeType) -> bool:
    """Return whether code sets attributes of objects other than ``self``; few plugins do."""
    if not _SETTING_NAMES.isdisjoint(code.co_names) or any(_targets(code)):
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
