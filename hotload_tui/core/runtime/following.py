"""Kept objects follow their plugin: at the swap they get the classes of the new version.

An object of one of the plugin's own classes would go on with the methods of the version that made it, and
keep that version in memory. So the trial of a version finds these objects and the class of the same module
and qualified name that each gets, and the swap assigns the classes, or none if one object cannot follow.

They are found in ``ctx.state`` of the plugin, in the containers that the program registers, and with
``follow = "all"`` everywhere. Objects of the plugins that it requires follow in these places, too.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import dis
import enum
import functools
import inspect
import itertools
import operator
import os
import sys
import textwrap
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType, SimpleNamespace
from typing import Any, Final, NamedTuple, TypeAlias, cast

from hotload_tui.core.errors import HandleError, LoadError, UsageError
from hotload_tui.core.faults import is_library
from hotload_tui.core.hooks.live import LiveVersion
from hotload_tui.core.leak_path import in_class
from hotload_tui.core.module_names import module_of_class
from hotload_tui.core.runtime.instances import holders_of, instances_of_others

_Attribute: TypeAlias = tuple[str, Callable[[], object]]
"""The name of an attribute of a class's objects, and a function that makes its default value."""
_NONE: Final = object()
_PLAIN: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_SHOWN: Final = 5  # objects that a fault names

_IN_STATE: Final = "objects in the state follow the plugin; register may replace or remove them"
_IN_PROGRAM: Final = "objects in this container of the program follow the plugin: manager.follow"
_ANY_PLACE: Final = 'objects follow the plugin wherever they are: follow = "all"'

_set_class: Final[Callable[[object, type], None]] = object.__dict__["__class__"].__set__
_set: Final = object.__setattr__


class _Place(NamedTuple):
    """Where an object is: in ``outer``, at ``text``."""

    outer: _Place | None
    text: str

    def __str__(self) -> str:
        texts, place = [self.text], self.outer
        while place is not None:
            texts.append(place.text)
            place = place.outer
        return "".join(reversed(texts))


_STATE: Final = _Place(None, "ctx.state")
_ANYWHERE: Final = _Place(None, "")
"""The place of an object of which only the collector knows."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class FollowedContainer:
    """A container of the program in which objects of plugins follow."""

    name: str
    """The name that faults give it."""
    container: object


class FollowedContainers:
    """The containers that the program has registered; any thread may change them."""

    def __init__(self) -> None:
        self._all: dict[FollowedContainer, None] = {}

    def add(self, container: object, name: str | None) -> Callable[[], None]:
        """Add a container, by the ``name`` that faults give it, else that of its type; return the undo.

        Raises:
            UsageError: what is in it cannot be replaced.

        """
        kind = type(container)
        if kind in _PLAIN or issubclass(kind, (tuple, frozenset, enum.Enum, type, FunctionType)):
            raise UsageError(
                f"objects in a {kind.__name__} cannot follow: pass a list, dictionary, set, or an object with"
                " attributes, such as the one that holds it"
            )
        added = FollowedContainer(name or kind.__qualname__, container)
        self._all[added] = None

        def remove() -> None:
            self._all.pop(added, None)

        return remove

    def ids(self) -> frozenset[int]:
        """Return the identities of the containers."""
        return frozenset(id(each.container) for each in self)

    def __iter__(self) -> Iterator[FollowedContainer]:
        return iter(list(self._all))

    def __bool__(self) -> bool:
        return bool(self._all)


class _Follower(NamedTuple):
    """An object that follows."""

    thing: object
    old: type
    new: type
    filled: Mapping[str, object]
    """The values of attributes that the new class has and the object does not."""
    adopts: bool
    """Whether the new class has ``adopt``."""
    old_version: int
    """What ``adopt`` gets."""


_MakeCollection: TypeAlias = Callable[[type, list[object]], object]
_Put: TypeAlias = Callable[[Any, Any, Any, Any], None]  # type: ignore[explicit-any] # each its own holder


class _Change(NamedTuple):
    """An object that another one replaces in its holder."""

    put: _Put
    holder: object
    at: object
    old: object
    new: object

    def do(self) -> None:
        """Put the new object in the place of the old one."""
        self.put(self.holder, self.at, self.old, self.new)

    def undo(self) -> None:
        """Put the old object back."""
        self.put(self.holder, self.at, self.new, self.old)


class _MisfitError(Exception):
    """An object cannot follow; the text says why."""


class Followers:
    """The kept objects that are of another version's classes, as a version finds them."""

    def __init__(
        self,
        state: MutableMapping[str, object],
        version: LiveVersion,
        containers: FollowedContainers,
        *,
        everywhere: bool = False,
        late: LiveVersion | None = None,
    ) -> None:
        """Find the objects in ``state`` and ``containers``; ``version`` is the one that they are to follow.

        ``everywhere``: find those in other places, too. ``late``: the swap has been, and only what calls of
        this version have left since then is to follow; other threads may swap a further version in meanwhile.

        Raises:
            LoadError: an object cannot follow; the error names it, and where it is.

        """
        self._versions = {each: each.old_version for each in (version, *version.required())}
        self._only = None if late is None else (late, *late.required())
        if late is not None:
            self._versions[version] = late.state_version
        self._found: list[_Follower] = []
        self._changes: list[_Change] = []
        self._classes: dict[type, tuple[type, int] | str] = {}
        """The class that the objects of each class get, and their ``STATE_VERSION``; or why there is none."""
        self._slots: dict[type, list[tuple[str, MemberDescriptorType]] | None] = {}
        """The slots of each class into whose objects to look; ``None``: only into their items."""
        self._added: dict[type, list[_Attribute]] = {}
        self._adopting: dict[type, bool] = {}
        self._seen: set[int] = set()
        self._left: list[tuple[object, _Place]] = []
        self._problems: dict[str, None] = {}
        self._named: set[type | None] = set()
        self._suspects: dict[int, tuple[object, str]] = {}
        """The objects anywhere that cannot follow; some may belong to the old version itself."""
        self._hint = ""
        self._back: list[Callable[[], None]] = []
        self._is_in_program = True
        has_others = version.number > 1  # no earlier version has left an object anywhere but in the state
        for each in containers if has_others else ():
            self._look_at(each.container, _Place(None, each.name), _put_nowhere, None, None)
        self._look_further()
        self._is_in_program = False
        self._slots.clear()
        for key, value in [*state.items()]:
            self._look_at(value, _Place(_STATE, f"[{key!r}]"), _put_into_state, state, key)
        self._look_further()
        if everywhere and has_others:
            self._look_everywhere(version)
        if self._problems:
            others = len(self._problems) - _SHOWN
            more = [f"and {others} more"] if others > 0 else []
            problems = "; ".join([*self._problems][:_SHOWN] + more)
            raise LoadError(version.plugin, f"{problems} ({self._hint})")

    def __bool__(self) -> bool:
        return bool(self._found or self._changes)

    def follow(self) -> None:
        """Assign the new classes, and call ``adopt`` of each object that has it.

        Raises what ``adopt`` raises; ``go_back`` undoes everything.
        """
        for change in self._changes:  # first: it uses the slots of the old classes
            self._back.append(change.undo)
            change.do()
        for thing, old, new, filled, adopts, _ in self._found:
            if self._only is not None and type(thing) is not old:  # a further swap has been
                continue
            values = _own_values(thing) if filled or adopts else None
            before = None if values is None else dict(values)
            self._back.append(functools.partial(_restore, thing, type(thing), before))
            _set_class(thing, new)
            for name, value in filled.items():
                _set(thing, name, value)
        for thing, _, new, _, adopts, old_version in self._found:
            if adopts and type(thing) is new:
                cast("_Adopts", thing).adopt(old_version)

    def go_back(self) -> None:
        """Give the objects the classes and attributes that they had before ``follow``."""
        while self._back:
            self._back.pop()()

    # ---- finding the objects

    def _look_everywhere(self, version: LiveVersion) -> None:
        """Look into all objects of the plugin's classes."""
        tuples: list[object] = []
        for thing in instances_of_others(version):
            if issubclass(type(thing), (tuple, frozenset)):
                tuples.append(thing)
            else:
                self._look_at(thing, _ANYWHERE, _put_nowhere, None, None)
        self._look_further()
        for thing in tuples:  # who keeps them is not known: they change their class, like other objects
            self._add(thing, type(thing), _ANYWHERE)
        if self._suspects:
            self._convict(version)

    def _cannot(self, thing: object, place: _Place, problem: object, of: type | None = None) -> None:
        """Note that an object cannot follow; name only one if it is a problem ``of`` its class."""
        root = place
        while root.outer is not None:
            root = root.outer
        if root is _ANYWHERE:
            self._suspects.setdefault(id(thing), (thing, str(problem)))
            return
        if of in self._named:
            return
        self._named |= {of} - {None}
        self._problems[f"{place}: {problem}"] = None
        self._hint = self._hint or (_IN_STATE if root is _STATE else _IN_PROGRAM)

    def _convict(self, version: LiveVersion) -> None:
        """Make problems of the suspects that other code than the old version keeps; name their places."""
        things = [thing for thing, _ in self._suspects.values()]
        parts = (self._found, self._suspects, *self._suspects.values(), self._left, self._seen)
        for key, where in holders_of(things, version, {*map(id, parts)}).items():
            self._problems[f"{where}: {self._suspects[key][1]}"] = None
            self._hint = self._hint or _ANY_PLACE

    def _look_further(self) -> None:
        while self._left:
            self._look_into(*self._left.pop())

    def _look_at(self, value: object, place: _Place, put: _Put, holder: object, at: object) -> None:
        """Note the object at a place to look into it; if it cannot change itself, note what replaces it."""
        new = self._current(value, place)
        if new is not value:
            self._changes.append(_Change(put, holder, at, value, new))

    def _current(self, value: object, place: _Place) -> object:
        """Return what is to be in the place of ``value``: itself, or a new one if it cannot change."""
        kind = type(value)
        if kind in _PLAIN or id(value) in self._seen:
            return value
        if issubclass(kind, enum.Enum):
            return self._member(cast("enum.Enum", value), place)
        if issubclass(kind, (tuple, frozenset)):
            return self._copied(cast("tuple[object, ...]", value), kind, place)
        self._seen.add(id(value))
        self._left.append((value, place))
        return value

    def _copied(self, value: tuple[object, ...], kind: type, place: _Place) -> object:
        """Return a tuple or frozenset with what is to be in the place of its items; if they stay, itself."""
        items = [self._current(each, _Place(place, f"[{at}]")) for at, each in enumerate(value)]
        new = self._successor(value, place) or kind
        if new is kind and all(map(operator.is_, items, value)):
            return value
        make = cast("_MakeCollection", tuple.__new__ if issubclass(kind, tuple) else frozenset.__new__)
        copy = make(new, items)
        if values := _own_values(value):
            cast("dict[object, object]", _own_values(copy)).update(values)
        return copy

    def _member(self, value: enum.Enum, place: _Place) -> object:
        kind = self._successor(value, place)
        if kind is None:
            return value
        members: Mapping[str, enum.Enum] = vars(kind).get("_member_map_", {})
        names = (value._name_ or "").split("|") if isinstance(value, enum.Flag) else [value._name_]
        lost = [name for name in names if name and name not in members]
        if lost:
            self._cannot(value, place, f"{kind.__qualname__} has no member {', '.join(lost)}")
            return value
        if len(names) == 1 and names[0]:
            return members[names[0]]
        return functools.reduce(operator.or_, (members[name] for name in names if name), kind(0))

    def _look_into(self, value: object, place: _Place) -> None:
        kind = type(value)
        self._look_into_items(value, kind, place)
        if kind not in self._slots:
            self._slots[kind] = _slots(kind) if self._has_parts(kind) else None
        slots = self._slots[kind]
        if slots is None and self._is_in_program and place.outer is None:
            slots = _slots(kind)  # what the program registers may be of a library
        if slots is None:
            return
        self._add(value, kind, place)
        values = _own_values(value)
        if values is not None:
            self._look_into_dict(values, place, ".{}")
        for name, slot in slots:
            with contextlib.suppress(AttributeError):  # it has no value
                self._look_at(slot.__get__(value), _Place(place, f".{name}"), _put_into_slot, value, slot)

    def _has_parts(self, kind: type) -> bool:
        """Return whether to look into the attributes of a class's objects."""
        return (
            any(_module_in(kind, version) is not None for version in self._versions)
            or kind is SimpleNamespace
            or "__dataclass_fields__" in vars(kind)
            or (self._is_in_program and _is_of_program(kind))
        )

    def _look_into_items(self, value: object, kind: type, place: _Place) -> None:
        if issubclass(kind, dict):
            self._look_into_dict(cast("dict[object, object]", value), place, "[{!r}]")
        elif issubclass(kind, (list, deque)):
            for at, each in enumerate(_copy(value, _sequence_type(kind))):
                if type(each) not in _PLAIN:
                    self._look_at(each, _Place(place, f"[{at}]"), _put_into_list, value, at)
        elif issubclass(kind, set):
            for each in _copy(value, set):
                self._look_at(each, _Place(place, f"{{{type(each).__name__}}}"), _put_into_set, value, None)

    def _look_into_dict(self, values: dict[object, object], place: _Place, text: str) -> None:
        keys: list[object] = []
        current: list[object] = []
        for key, each in _items(values):
            if type(each) in _PLAIN and type(key) in _PLAIN:
                continue
            here = _Place(place, text.format(key) if type(key) is str else f"[{type(key).__name__}]")
            self._look_at(each, here, _put_into_dict, values, key)
            keys.append(key)
            current.append(self._current(key, here))
        if not all(map(operator.is_, keys, current)):
            self._changes.append(_Change(_rename, values, None, keys, current))

    # ---- the classes

    def _successor(self, value: object, place: _Place) -> type | None:
        """Return the class that an object of another version's class gets; ``None`` for any other object."""
        kind = type(value)
        if kind not in self._classes:
            self._classes[kind] = self._found_for(kind)
        found = self._classes[kind]
        if type(found) is tuple:
            return found[0]
        if found:
            self._cannot(value, place, found, of=kind)
        return None

    def _found_for(self, kind: type) -> tuple[type, int] | str:
        if self._only is not None and not any(version.is_own(kind) for version in self._only):
            return ""
        for version, old_version in self._versions.items():
            try:
                new = successor(kind, version)
            except _MisfitError as problem:
                return str(problem)
            if new is not None:
                return new, old_version
        return ""

    def _add(self, value: object, kind: type, place: _Place) -> None:
        new = self._successor(value, place)
        if new is None:
            return
        if kind not in self._added:
            before = _names_of(kind)
            self._added[kind] = [(name, make) for name, make in _attributes(new) if name not in before]
            self._adopting[kind] = _adopts(new)
        adopts = self._adopting[kind]
        try:
            filled = _missing(value, new, self._added[kind], adopts=adopts)
            _, old_version = cast("tuple[type, int]", self._classes[kind])
            self._found.append(_Follower(value, kind, new, filled, adopts, old_version))
        except _MisfitError as problem:
            self._cannot(value, place, problem)


class _Adopts:
    def adopt(self, old_version: int) -> None:
        """Bring an object of another version up to its new class."""


def _adopts(kind: type) -> bool:
    """Return whether a class has ``adopt(self, old_version)``; with another argument it is not for us."""
    function = in_class(kind, "adopt")
    return type(function) is FunctionType and "version" in "".join(function.__code__.co_varnames[1:2])


def _is_of_program(kind: type) -> bool:
    """Return whether a class is defined by Python code of the program or of a plugin."""
    name = module_of_class(kind)
    if type(name) is not str or not kind.__flags__ & _HEAP_TYPE or name.partition(".")[0] in _FOREIGN:
        return False
    module = sys.modules.get(name)
    file = vars(module).get("__file__") if type(module) is ModuleType else None
    return type(file) is not str or not is_library(os.path.realpath(file))


_FOREIGN: Final = frozenset((*sys.stdlib_module_names, __name__.partition(".")[0])) - {"__main__"}


def _module_in(kind: type, version: LiveVersion) -> str | None:
    """Return the dotted name of a class's module in its plugin; ``None`` if it is no class of the plugin."""
    module, parent = module_of_class(kind), version.parent
    if type(module) is str and f"{module}.".startswith(f"{parent}."):
        return module[len(parent) + 1 :]
    return None


def successor(kind: type, version: LiveVersion) -> type | None:
    """Return the class that ``version`` has in the place of an own class of another version, or ``None``.

    Raises:
        _MisfitError: there is none, or objects of the one cannot become objects of the other.

    """
    module = _module_in(kind, version)
    if module is None or version.is_own(kind):
        return None
    names = tuple(kind.__qualname__.split("."))
    if "<locals>" in names:
        raise _MisfitError(
            f"{_title(kind)} is defined inside a function, where another version has no such class"
        )
    try:
        new = version.find(module, names)
    except HandleError:
        raise _MisfitError(f"{_title(kind)} is not defined any more in {module or 'the plugin'}") from None
    if not issubclass(type(new), type):
        raise _MisfitError(f"{_title(kind)} is not a class any more")
    found = cast("type", new)
    if not issubclass(kind, enum.Enum) and (problem := _clash(kind, found)):
        raise _MisfitError(problem)
    return found


def current_method(function: object, version: LiveVersion | None) -> object:
    """Return a bound method of the class that its object gets at the swap; any other object as it is.

    ``register`` of a new version finds objects in ``ctx.state`` that have their old classes still.
    """
    if type(function) is not MethodType or version is None:
        return function
    with contextlib.suppress(_MisfitError):  # the trial fails for it
        new = successor(type(function.__self__), version)
        name = getattr(function.__func__, "__name__", "")
        found = None if new is None else in_class(new, name)
        if type(found) is FunctionType:
            return MethodType(found, function.__self__)
    return function


def _title(kind: type) -> str:
    return kind.__qualname__.replace(".<locals>", "")


def _clash(old: type, new: type) -> str:
    """Return why objects of a class cannot become objects of another one; empty if they can."""
    if issubclass(new, enum.Enum):
        return f"{_title(new)} is an enumeration now"
    if [*map(_slot_name, _slots(old))] != [*map(_slot_name, _slots(new))]:
        return f"{_title(new)}.__slots__ changed"
    if vars(old).get("_fields") != vars(new).get("_fields") and issubclass(old, tuple):
        return f"{_title(new)}._fields changed"
    base = next(each for each in new.__mro__ if not each.__flags__ & _HEAP_TYPE)
    if not issubclass(old, base):
        return f"{_title(new)} extends {base.__qualname__} now"
    if (old.__basicsize__, old.__itemsize__, old.__dictoffset__ != 0, old.__weakrefoffset__ != 0) != (
        new.__basicsize__, new.__itemsize__, new.__dictoffset__ != 0, new.__weakrefoffset__ != 0
    ):  # fmt: skip
        return f"{_title(new)} keeps its values in another way (__slots__ or another base class)"
    return ""


_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class statement created the type


def _slots(kind: type) -> list[tuple[str, MemberDescriptorType]]:
    """Return the ``__slots__`` of a class and its bases, sorted by name."""
    own = [each for each in kind.__mro__ if each.__flags__ & _HEAP_TYPE]
    found = [(name, part) for each in own for name, part in vars(each).items()]
    return sorted(
        [(name, part) for name, part in found if type(part) is MemberDescriptorType], key=lambda pair: pair[0]
    )


def _slot_name(pair: tuple[str, MemberDescriptorType]) -> str:
    return pair[0]


# ---- attributes that only the new class gives its objects


def _missing(thing: object, new: type, added: list[_Attribute], *, adopts: bool) -> dict[str, object]:
    """Return the values of the attributes that were ``added`` to objects of ``new``, and ``thing`` has not.

    Raises:
        _MisfitError: a value is not known, and the class has no ``adopt``.

    """
    values: dict[str, object] = {}
    unknown = []
    for name, make in added:
        if not _lacks(thing, new, name):
            continue
        try:
            values[name] = make()
        except _MisfitError:
            unknown.append(name)
    if unknown and not adopts:
        names = ", ".join(unknown)
        raise _MisfitError(
            f"{_title(new)} has the new attribute {names} without a default;"
            " write: def adopt(self, old_version) -> None: ..."
        )
    return values


def _lacks(thing: object, new: type, name: str) -> bool:
    """Return whether an object has no value of its own for an attribute; a property needs none."""
    if name in (_own_values(thing) or ()):
        return False
    slot = in_class(type(thing), name)
    if type(slot) is MemberDescriptorType:
        try:
            slot.__get__(thing)
        except AttributeError:
            return True
        return False
    return not hasattr(type(in_class(new, name)), "__set__")


def _is_declared(kind: type) -> bool:
    """Return whether a class declares the attributes of its objects, for dataclasses, attrs or pydantic."""
    names = {name for each in kind.__mro__ for name in vars(each)}
    return not names.isdisjoint(("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__"))


def _attributes(kind: type) -> Iterator[_Attribute]:
    """Yield the attributes that a class gives its objects."""
    known = vars(kind)
    if "__attrs_attrs__" in known:
        for each in known["__attrs_attrs__"]:
            factory = getattr(each.default, "factory", _NONE)
            takes_self = factory is not _NONE and each.default.takes_self
            is_value = factory is _NONE and type(each.default).__name__ != "_Nothing"
            yield each.name, _made(_NONE if takes_self else factory, each.default if is_value else _NONE)
    elif isinstance(known.get("__pydantic_fields__"), dict):
        for name, each in known["__pydantic_fields__"].items():
            make = functools.partial(each.get_default, call_default_factory=True)
            yield name, _unknown if each.is_required() else make
    elif _is_declared(kind):
        for field in dataclasses.fields(kind):
            has_factory = field.default_factory is not dataclasses.MISSING
            has_value = field.default is not dataclasses.MISSING
            yield (
                field.name,
                _made(field.default_factory if has_factory else _NONE, field.default if has_value else _NONE),
            )
    else:
        for each in kind.__mro__:
            for name, value, function in _assignments(each):
                yield name, functools.partial(_evaluated, value, function)


def _made(factory: object, value: object) -> Callable[[], object]:
    if factory is not _NONE:
        return cast("Callable[[], object]", factory)
    return _unknown if value is _NONE else lambda: value


def _unknown() -> object:
    raise _MisfitError


def _names_of(kind: type) -> set[str]:
    """Return the names of the attributes that a class gives its objects, although its source may be gone."""
    fields = {name for name, _ in _attributes(kind) if _is_declared(kind)}
    return fields | {
        str(each.argval)
        for function in map(_init_of, kind.__mro__)
        if function is not None
        for each in dis.get_instructions(function)
        if each.opname == "STORE_ATTR"
    }


def _init_of(kind: type) -> FunctionType | None:
    function = vars(kind).get("__init__")
    return function if type(function) is FunctionType and function.__code__.co_argcount else None


def _assignments(kind: type) -> Iterator[tuple[str, ast.expr, FunctionType]]:
    """Yield the assignments to attributes at the top level of a class's own ``__init__``."""
    function = _init_of(kind)
    if function is None:
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):  # made by other code, without a source
        return
    this = function.__code__.co_varnames[0]
    for line in getattr(tree.body[0], "body", ()):
        if not isinstance(line, (ast.Assign, ast.AnnAssign)) or line.value is None:
            continue
        for target in line.targets if isinstance(line, ast.Assign) else [line.target]:
            if not (isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)):
                continue
            if target.value.id == this:
                is_private = target.attr.startswith("__") and not target.attr.endswith("__")
                prefix = f"_{kind.__name__.lstrip('_')}" if is_private else ""
                yield prefix + target.attr, line.value, function


def _evaluated(value: ast.expr, function: FunctionType) -> object:
    parameters = inspect.signature(function).parameters.values()
    names = {each.name: each.default for each in parameters if each.default is not each.empty}
    unknown = {
        *function.__code__.co_varnames,
        *function.__code__.co_cellvars,
        *function.__code__.co_freevars,
    } - names.keys()
    used = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
    bound = {each.arg for each in ast.walk(value) if isinstance(each, ast.arg)}
    if (used - bound) & unknown:
        raise _MisfitError
    code = compile(ast.Expression(value), function.__code__.co_filename, "eval")
    return eval(code, function.__globals__, names)  # noqa: S307 - the plugin's own code, as in its __init__


# ---- changes


def _own_values(thing: object) -> dict[object, object] | None:
    """Return the ``__dict__`` of an object, or ``None``."""
    try:
        values = object.__getattribute__(thing, "__dict__")
    except AttributeError:
        return None
    return cast("dict[object, object]", values) if type(values) is dict else None


def _restore(thing: object, kind: type, before: Mapping[object, object] | None) -> None:
    _set_class(thing, kind)
    values = _own_values(thing)
    if values is not None and before is not None:
        values.clear()
        values.update(before)


def _copy(values: object, kind: type) -> list[object]:
    """Return the items of a collection that other threads may change, without running code of its class."""
    while True:
        with contextlib.suppress(RuntimeError):  # it has changed meanwhile
            return list(vars(kind)["__iter__"](values))


def _sequence_type(kind: type) -> type:
    return list if issubclass(kind, list) else deque


def _items(values: dict[object, object]) -> list[tuple[object, object]]:
    """Return the items of a dictionary that other threads may change."""
    while True:
        with contextlib.suppress(RuntimeError):  # as in ``_copy``
            return list(dict.items(values))


def _put_into_state(state: MutableMapping[str, object], key: str, _: object, new: object) -> None:
    state[key] = new


def _put_nowhere(_holder: None, _at: None, _old: object, _new: object) -> None:
    """Leave what cannot change itself, such as a tuple that the program has registered."""


def _put_into_dict(values: dict[object, object], key: object, old: object, new: object) -> None:
    if dict.get(values, key) is old:  # else another thread has replaced or removed it meanwhile
        dict.__setitem__(values, key, new)


def _put_into_list(values: list[object], at: int, old: object, new: object) -> None:
    kind = _sequence_type(type(values))
    while at >= 0:
        with contextlib.suppress(IndexError):
            if values[at] is old:
                values[at] = new  # no other thread runs between the two lines
                return
        # It has moved meanwhile. One call finds it: other threads do not run in the middle of the list.
        found = map(operator.is_, vars(kind)["__iter__"](values), itertools.repeat(old))
        at = next(itertools.compress(itertools.count(), found), -1)


def _put_into_set(values: set[object], _: object, old: object, new: object) -> None:
    if old in values:
        values.discard(old)
        values.add(new)


def _put_into_slot(thing: object, slot: MemberDescriptorType, _: object, new: object) -> None:
    slot.__set__(thing, new)


def _rename(values: dict[object, object], _: object, old: list[object], new: list[object]) -> None:
    """Exchange keys, and keep the order; what other threads change meanwhile stays."""
    names = dict(zip(old, new, strict=True))
    for key, _value in _items(values):
        value = dict.pop(values, key, _NONE)
        if value is not _NONE:
            dict.setdefault(values, names.get(key, key), value)
