"""Handles: stand-ins for a plugin's functions, methods and classes that a program may keep.

A handle knows the stable name of its object, and holds no version. Each use looks the object up in the live
version, so the program goes on with the new version after a swap, and with the old one after a failed load.
A call through a handle is a call in flight like a call of a hook point: it uses one hook table, so it sees
one version of every plugin, and the version retires after it.

To libraries a handle is a function (``isinstance``, ``inspect``): they ask for the kind once, so a handle
remains a coroutine function or a generator function, whatever the live object is. ``__wrapped__`` is the live
object, looked up at each access; through it ``inspect.signature`` and ``typing.get_type_hints`` work.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import operator
import pickle
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from enum import Enum
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn, Protocol, TypeAlias, Union, cast
from weakref import WeakValueDictionary

from hotload_tui.core.errors import HandleError, HookError, PluginError, RegisterError
from hotload_tui.core.hooks.inflight import (
    CallsInFlight,
    HandleName,
    HookTable,
    Names,
    Version,
    calls_of_plugin,
)
from hotload_tui.core.hooks.point import HookFunction, place_of
from hotload_tui.core.interpreter import shared_attributes
from hotload_tui.core.module_names import module_of_class, unique_name
from hotload_tui.core.primitives import RLock

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CACHED: Final = type(functools.lru_cache(len))
_FUNCTIONS: Final = (FunctionType, MethodType, _CACHED)
_PLAIN: Final = frozenset((str, int, float, bool, bytes, type(None)))
_UNFINISHED: Final = frozenset((CoroutineType, GeneratorType, AsyncGeneratorType))
_Step: TypeAlias = Callable[[object], object]
_AsyncStep: TypeAlias = Callable[[object], Awaitable[object]]
_KINDS: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


Handles: TypeAlias = "WeakValueDictionary[tuple[type[Handle], Place], Handle]"
"""Handles that live as long as something else holds them."""

_Reference: TypeAlias = "weakref.ref[LiveVersion]"
_on_trial: ContextVar[tuple[_Reference, ...]] = ContextVar("hotload_trial", default=())
"""The version whose trial the calling code is part of, and the versions that it requires."""


# ---- where an object is found


class Modules(Protocol):
    """A generation, as far as handles need it."""

    plugin: str
    number: int
    parent: str
    root: str
    """The unique name of the plugin's package."""

    def reach(self, module: str) -> ModuleType | None:
        """Return the module of a dotted name; ``None`` if there is none."""
        ...

    def loaded_modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Yield the dotted name of each imported module and the module."""
        ...


class LiveVersion:
    """The objects of one version, by module and qualified name."""

    def __init__(self, modules: Modules, required: Iterable[LiveVersion] = (), old_version: int = 0) -> None:
        """Find the objects of ``modules``; ``required`` are the versions of the required plugins."""
        self.plugin = modules.plugin
        self.number = modules.number
        self.parent = modules.parent
        self.old_version = old_version
        """The ``STATE_VERSION`` of the version before, whose objects follow this version."""
        self.state_version = 0
        """The ``STATE_VERSION`` of this version."""
        self.is_pending = True
        self.reference = weakref.ref(self)
        self.reaches = (self.reference, *(each.reference for each in required))
        """This version, and the versions of the plugins that it requires."""
        self.bindable: set[type] = set()
        self.handles: dict[Place, Handle] = {}
        """The handles that the version has made: a library may hold them weakly, as signals do."""
        self.methods: Handles = WeakValueDictionary()
        """Those of methods of objects that no variable holds: a plugin may make objects without end."""
        self._modules = modules
        self._reached: dict[str, ModuleType] = {}
        self._given: dict[tuple[str, Names], object] = {}
        self._named: dict[tuple[str, Names], object] = {}

    def on_trial(self, context: Context) -> None:
        """Let handles that code in ``context`` calls reach this version and those it requires, on trial."""
        context.run(_on_trial.set, self.reaches)

    def required(self) -> list[LiveVersion]:
        """Return the versions of the plugins that this one requires, and of those that they require."""
        found: dict[LiveVersion, None] = {}
        waiting = [self]
        while waiting:
            versions = [reference() for reference in waiting.pop().reaches[1:]]
            new = [each for each in versions if each is not None and each not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return [*found]

    def find(self, module: str, names: Names) -> object:
        """Return the object of this name in the module with this dotted name.

        Raises:
            HandleError: there is none.

        """
        if self._given and (module, names) in self._given:
            return self._given[module, names]
        found: object = self._reached.get(module) or self._reach(module)
        try:
            for name in names:
                found = getattr(found, name)
        except AttributeError:
            found = None
        if issubclass(type(found), Handle):  # the plugin has put it in the place of its own function
            found = self._named.get((module, names))
        if found is None:
            raise HandleError(
                f"{_full(self.parent, module, names)}: generation {self.number} of plugin {self.plugin} does"
                " not define it, but the program keeps a handle of it; define it again, or let the program"
                " ask the plugin for what it has now"
            )
        return found

    def is_own(self, kind: type) -> bool:
        """Return whether this version has made a class."""
        module = str(unique_name(module_of_class(kind)))
        return f"{module}.".startswith(f"{self._modules.root}.")

    def name_of(self, thing: object) -> tuple[str, Names] | None:
        """Return the module and the name by which other versions have this function or class, too.

        It is the qualified name, or the name of a variable that holds the object, as a decorator leaves it.
        """
        place = self._place_of(thing)
        if not any("<" in name for name in place[1]):
            found = self._found(*place)
            module, other = getattr(thing, "__module__", None), getattr(found, "__module__", None)
            is_of_other_version = other == module and unique_name(other) != unique_name(module)
            if found is thing or is_of_other_version:
                return place
        return self.variable_of(thing)

    def variable_of(self, thing: object) -> tuple[str, Names] | None:
        """Return the module and the name of a global variable that holds this object."""
        for dotted, module in self._modules.loaded_modules():
            for name, value in vars(module).copy().items() if type(module) is ModuleType else ():
                if value is thing:
                    return dotted, (name,)
        return next((place for place, value in self._given.items() if value is thing), None)

    def note(self, place: tuple[str, Names], thing: object) -> None:
        """Note an object with a handle, in case that the plugin puts the handle in its place."""
        self._named[place] = thing

    def give(self, thing: object, name: str = "") -> tuple[str, Names] | None:
        """Name an object that only ``register`` can reach; ``None`` if another has the name.

        Without ``name``, it is the qualified name.
        """
        module, names = self._place_of(thing)
        place = module, tuple(name.split(".")) if name else names
        found = self._found(*place)
        if found is None:
            found = self._given[place] = thing
        return place if found is thing else None

    def _place_of(self, thing: object) -> tuple[str, Names]:
        """Return the module and the qualified name of an object; other code's are as if of the package."""
        module, name = str(getattr(thing, "__module__", "")), str(getattr(thing, "__qualname__", ""))
        if not module.startswith(self.parent):
            module = self.parent
        return module[len(self.parent) + 1 :], tuple(name.split("."))

    def _reach(self, module: str) -> ModuleType | None:
        found = self._modules.reach(module)
        if found is not None:
            self._reached[module] = found
        return found

    def _found(self, module: str, names: Names) -> object:
        try:
            return self.find(module, names)
        except HandleError:
            return None


@dataclass(frozen=True, slots=True)
class Place:
    """The name of an object in all versions of a plugin."""

    plugin: str
    parent: str
    module: str
    """The dotted name of the module; empty: the plugin's package."""
    names: Names
    is_bound: bool = False
    """Whether the object is a bound method."""

    @property
    def full_module(self) -> str:
        """The stable name of the module."""
        return f"{self.parent}.{self.module}" if self.module else self.parent

    def find(self, version: Version) -> object:
        """Return the object in a version."""
        return version.find(self.module, self.names)

    def below(self, name: str, *, is_bound: bool) -> Place:
        """Return the place of an attribute of the object."""
        return dataclasses.replace(self, names=(*self.names, name), is_bound=is_bound)


@dataclass(frozen=True, slots=True)
class MethodPlace(Place):
    """The place of a method that is bound to an object which no variable of the plugin holds.

    The object's attributes are kept, and the method of the live class runs on an object with these.
    """

    identity: int = 0
    values: dict[str, object] = field(default_factory=dict, compare=False)
    owner: weakref.ref[object] | None = field(default=None, compare=False)

    def find(self, version: Version) -> object:
        """Return the method in a version."""
        kind = cast("type", version.find(self.module, self.names[:-1]))
        if not issubclass(type(kind), type):
            name = _full(self.parent, self.module, self.names[:-1])
            raise HandleError(_other_kind(name, _described(kind), version, "class"))
        owner = self.owner() if self.owner is not None else None
        if type(owner) is not kind:
            if kind not in version.bindable:
                if problem := _hindrance(kind):
                    raise HandleError(f"{_full(self.parent, self.module, self.names)}: {problem}")
                version.bindable.add(kind)
            owner = object.__new__(kind)
            object.__setattr__(owner, "__dict__", self.values)
        return getattr(owner, self.names[-1])


def _full(parent: str, module: str, names: Names) -> str:
    return ".".join([parent, *([module] if module else []), *names])


def _described(thing: object) -> str:
    """Return what a thing is, in words."""
    if not callable(thing):
        return f"an object of type {type(thing).__qualname__}"
    word = kind_of(thing)._live_word  # noqa: SLF001
    return f"{'an' if word.startswith('a') else 'a'} {word}"


def _other_kind(name: str, now: str, version: Version, before: str) -> str:
    """Return what to do about an object that is not a function, method or class of the same kind any more."""
    return (
        f"{name} is {now} in generation {version.number} of plugin {version.plugin}, but the program has a"
        f" handle of a {before}, and uses it as such; make it a {before} again, or let the program ask the"
        " plugin for it again"
    )


def _hindrance(kind: type) -> str:
    """Return why a method cannot be bound to another object with the same attributes; or nothing."""
    for each in kind.__mro__[:-1]:
        if vars(each).get("__slots__"):
            return f"the class {each.__qualname__} keeps its values in __slots__, not in __dict__"
        if "__del__" in vars(each):
            return f"the class {each.__qualname__} has a __del__, which would run after each call"
    try:
        object.__new__(kind)
    except TypeError as error:  # a subclass of a type of C code
        base = kind.__mro__[1].__qualname__
        return f"{kind.__qualname__} extends {base}, which keeps values outside of __dict__ ({error})"
    return "" if kind.__dictoffset__ else f"objects of the class {kind.__qualname__} have no __dict__"


# ---- the handles


def _own_or_live(name: str) -> property:
    """Return an attribute of handles: the live object's value or ``None``, until a library sets another."""

    def read(handle: Handle) -> object:
        live = getattr(handle, "__wrapped__", None)
        return vars(handle).get(name, None if live is None else getattr(live, name, None))

    def write(handle: Handle, value: object) -> None:
        vars(handle)[name] = value

    return property(read, write)


_doc = cast("str", _own_or_live("__doc__"))
"""Each class of handles has it in the place of its own text."""


class Handle:
    """Stands for an object of a plugin; each use reaches the object of the live version."""

    __doc__ = _doc
    __slots__ = ("__dict__", "__weakref__", "_live_flight", "_live_name", "_live_origin", "_live_place")
    _live_word: ClassVar = "function"

    def __init__(self, flight: CallsInFlight, place: Place, origin: _Reference | None = None) -> None:
        """Stand for the object at ``place``; while the version ``origin`` is on trial, for its object."""
        flight.kept.add(place.plugin)
        self._live_flight = flight
        self._live_place = place
        self._live_name = HandleName(_full(place.parent, place.module, place.names))
        self._live_origin = origin
        vars(self)["__module__"] = place.full_module  # the class has its own, which a property cannot hide

    def __call__(self, /, *args: object, **kwargs: object) -> object:
        """Call the live object."""
        flight = self._live_flight
        record = flight.enter_uncounted(self._live_name)
        try:
            value = self._live_object(record.table)(*args, **kwargs)
            if type(value) in _UNFINISHED:
                self._live_check(value, record.table)
            return value  # noqa: TRY300 - part of the call
        except TypeError as error:
            self._live_explain(error, record.table)
            raise
        finally:
            flight.leave(record)

    def _live_object(self, table: HookTable, *, is_told: bool = False) -> HookFunction:
        """Return the object of the version in ``table``; raises ``HandleError`` if there is none.

        While the version with which the handle began is on trial, calls of the trial reach its object, and so
        does a library that only wants to know about it (``is_told``); the program goes on with the live one.
        """
        place = self._live_place
        version = table.versions.get(place.plugin)
        reference = self._live_origin  # read once: another thread may end the trial
        if reference is not None:
            origin = reference()
            if origin is None or not origin.is_pending:
                self._live_origin = None
            elif version is None or is_told or reference in _on_trial.get():
                version = origin
        if version is None:
            raise HandleError(
                f"{self._live_name}: no version of plugin {place.plugin} is live, but the program uses a"
                " handle of it; enable the plugin, or drop the handle"
            )
        return cast("HookFunction", place.find(version))

    def _live_now(self) -> HookFunction:
        """Return the object to tell about."""
        return self._live_object(self._live_flight.seen(), is_told=True)

    def _live_check(self, value: object, table: HookTable) -> None:
        """Refuse what a coroutine or generator function returned, where a plain function was before."""
        if kind_of(self._live_object(table)) not in (Handle, FunctionHandle, ClassHandle):
            self._live_refuse(table, value)

    def _live_explain(self, error: TypeError, table: HookTable) -> None:
        """Refuse a value or a class in the place of a function, if the call itself has failed."""
        trace = error.__traceback__
        if trace is None or trace.tb_next is None:
            found = cast("object", self._live_object(table))
            if not callable(found) or issubclass(type(found), type) is not (type(self) is ClassHandle):
                self._live_refuse(table)

    def _live_refuse(self, table: HookTable, value: object = None) -> NoReturn:
        """Raise the error for an object of another kind; ``value`` is what a call of it returned."""
        if type(value) is CoroutineType or type(value) is GeneratorType:
            value.close()
        place, origin = self._live_place, self._live_origin
        version = (origin and origin()) or table.versions[place.plugin]
        now = _described(self._live_object(table))
        raise HandleError(_other_kind(self._live_name, now, version, self._live_word))

    # ---- what libraries read

    __annotations__ = _own_or_live("__annotations__")

    def __getattr__(self, name: str) -> object:
        place = self._live_place
        if name in ("__name__", "__qualname__"):
            return place.names[-1] if name == "__name__" else ".".join(place.names)
        return self._live_attribute(name)

    def _live_attribute(self, name: str) -> object:
        try:
            live = self._live_now()
        except HandleError as error:  # hasattr() is to say no
            raise AttributeError(str(error), name=name, obj=self) from None
        return live if name == "__wrapped__" else getattr(live, name)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of the handle, or else of the live object, as a decorator expects."""
        if name in vars(self):
            object.__delattr__(self, name)
        else:
            delattr(self._live_now(), name)

    def __dir__(self) -> Iterable[str]:
        return sorted({*vars(self), *dir(getattr(self, "__wrapped__", None))})

    def __repr__(self) -> str:
        return f"<live {self._live_word} {self._live_name}>"

    # ---- copies

    def __copy__(self) -> Handle:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Handle:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        place = self._live_place
        if any("<" in name for name in place.names):
            raise pickle.PicklingError(f"{self._live_name} is defined in a function: pickle cannot name it")
        values = place.values if type(place) is MethodPlace else None
        return _restored, (place.plugin, place.parent, place.module, place.names, place.is_bound, values)


class FunctionHandle(Handle):
    """Stands for a function or a bound method."""

    __doc__ = _doc
    __slots__ = ()

    @property  # type: ignore[misc]
    def __class__(self) -> type[FunctionType]:  # type: ignore[override]
        """The type that libraries ask for; ``type()`` knows better."""
        return FunctionType

    @property
    def __code__(self) -> CodeType:
        """The code of the live function, unless it is of another kind."""
        own: CodeType = type(self).__call__.__code__
        code = getattr(self, "__wrapped__", None)
        code = getattr(code, "__code__", None)
        is_same = type(code) is CodeType and code.co_flags & _KINDS == own.co_flags & _KINDS
        return cast("CodeType", code) if is_same else own

    def __getattr__(self, name: str) -> object:
        """Return an attribute; a bound method's handle is a function whose signature is the method's."""
        if self._live_place.is_bound:
            if name in ("__self__", "__func__"):
                raise AttributeError(f"{self!r} has no {name}: it is a function", name=name, obj=self)
            if name == "__signature__":
                return inspect.signature(cast("HookFunction", self.__wrapped__))
        return Handle.__getattr__(self, name)

    def __get__(self, instance: object, owner: type | None = None) -> object:
        """Bind the function to an object, as an attribute of a class of the program."""
        return self if instance is None or self._live_place.is_bound else MethodType(self, instance)


class CoroutineHandle(FunctionHandle):
    """Stands for a coroutine function; the live object may also be a plain function."""

    __doc__ = _doc
    __slots__ = ()
    _live_word = "coroutine function"

    async def __call__(self, /, *args: object, **kwargs: object) -> object:
        """Call the live object, and await what it returns."""
        flight = self._live_flight
        record = flight.enter_uncounted(self._live_name)
        flight.note_task(record)
        try:
            value = self._live_object(record.table)(*args, **kwargs)
            if inspect.isawaitable(value):
                awaitable: Awaitable[object] = value
                return await awaitable
            if type(value) in _UNFINISHED:
                self._live_check(value, record.table)
            return value  # noqa: TRY300 - part of the call
        except TypeError as error:
            self._live_explain(error, record.table)
            raise
        finally:
            flight.leave_task(record)


class GeneratorHandle(FunctionHandle):
    """Stands for a generator function; the call is in flight until the generator ends."""

    __doc__ = _doc
    __slots__ = ()
    _live_word = "generator function"

    def __call__(self, /, *args: object, **kwargs: object) -> Generator[object, object, object]:
        """Run the generator of the live object."""
        flight = self._live_flight
        record = flight.enter_uncounted(self._live_name)
        value: object = None
        try:
            generator = self._live_object(record.table)(*args, **kwargs)
            if type(generator) is not GeneratorType:
                self._live_refuse(record.table, generator)
            step = cast("_Step", generator.send)
            while True:
                try:
                    item = step(value)
                except StopIteration as end:
                    return cast("object", end.value)
                flight.step_out(record)
                try:
                    value, step = (yield item), cast("_Step", generator.send)
                except GeneratorExit:
                    flight.step_in(record)
                    generator.close()
                    raise
                except BaseException as error:  # the generator's own business
                    value, step = error, cast("_Step", generator.throw)
                flight.step_in(record)
        except TypeError as error:
            self._live_explain(error, record.table)
            raise
        finally:
            value = None  # an error's traceback has this frame
            flight.leave(record)


class AsyncGeneratorHandle(FunctionHandle):
    """Stands for an asynchronous generator function; the call is in flight until the generator ends."""

    __doc__ = _doc
    __slots__ = ()
    _live_word = "asynchronous generator function"

    async def __call__(self, /, *args: object, **kwargs: object) -> AsyncGenerator[object, object]:
        """Run the generator of the live object."""
        flight = self._live_flight
        record = flight.enter_uncounted(self._live_name)
        flight.note_task(record)
        value: object = None
        try:
            generator = self._live_object(record.table)(*args, **kwargs)
            if type(generator) is not AsyncGeneratorType:
                self._live_refuse(record.table, generator)
            step = cast("_AsyncStep", generator.asend)
            while True:
                try:
                    item = await step(value)
                except StopAsyncIteration:
                    return
                flight.step_out(record)
                try:
                    value, step = (yield item), cast("_AsyncStep", generator.asend)
                except GeneratorExit:
                    flight.step_in(record)
                    await generator.aclose()  # the event loop may have closed it already
                    raise
                except BaseException as error:  # as above
                    value, step = error, cast("_AsyncStep", generator.athrow)
                flight.step_in(record)
        except TypeError as error:
            self._live_explain(error, record.table)
            raise
        finally:
            value = None  # as above
            flight.leave_task(record)


class ClassHandle(Handle):
    """Stands for a class: makes objects of the live version's class."""

    __doc__ = _doc
    __slots__ = ("_live_below",)
    _live_word = "class"

    def __init__(self, flight: CallsInFlight, place: Place, origin: _Reference | None = None) -> None:
        super().__init__(flight, place, origin)
        self._live_below: dict[tuple[str, type[Handle]], Handle] = {}

    @property  # type: ignore[misc]
    def __class__(self) -> type[type]:  # type: ignore[override]
        """The type that libraries ask for; ``type()`` knows better."""
        return type

    def __instancecheck__(self, instance: object) -> bool:
        return self.__subclasscheck__(type(instance))

    def __subclasscheck__(self, kind: type) -> bool:
        """Return whether a class is a subclass of this class in any version."""
        place = self._live_place
        name = place.full_module, ".".join(place.names)
        return any(name == (each.__module__, each.__qualname__) for each in kind.__mro__) or issubclass(
            kind, self._live_class()
        )

    def _live_class(self) -> type:
        found, seen = self._live_now(), self._live_flight.seen()
        if not issubclass(type(found), type):
            self._live_refuse(seen)
        return cast("type", found)

    def __or__(self, other: object) -> object:
        return Union[self, other]  # noqa: UP007 - in an annotation

    def __ror__(self, other: object) -> object:
        return Union[other, self]  # noqa: UP007

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[object, ...]:
        """Let the program derive from the live class."""
        return (self._live_class(),)

    def __getattr__(self, name: str) -> object:
        """Return the attribute of the live class; a function, method or class as a handle."""
        found, place = Handle.__getattr__(self, name), self._live_place
        is_class = issubclass(type(found), type) and str(found.__module__).startswith(f"{place.parent}.")
        if not (is_class or type(found) in _FUNCTIONS) or (name.startswith("__") and name.endswith("__")):
            return found
        below = place.below(name, is_bound=type(found) is MethodType)
        made = kind_of(found)(self._live_flight, below, self._live_origin)
        known: Handle = self._live_below.setdefault((name, type(made)), made)
        return known


def kind_of(thing: object) -> type[Handle]:
    """Return the class of a handle for a function, method or class."""
    if issubclass(type(thing), type):
        return ClassHandle
    if inspect.iscoroutinefunction(thing):
        return CoroutineHandle
    if inspect.isasyncgenfunction(thing):
        return AsyncGeneratorHandle
    return GeneratorHandle if inspect.isgeneratorfunction(thing) else FunctionHandle


def _restored(  # noqa: PLR0917 - from a pickle
    plugin: str,
    parent: str,
    module: str,
    names: Names,
    is_bound: bool,  # noqa: FBT001
    values: dict[str, object] | None,
) -> object:
    """Return a pickled handle; in a process without a host, such as a child, the object itself."""
    place = Place(plugin, parent, module, names, is_bound)
    if values is not None:
        place = MethodPlace(plugin, parent, module, names, is_bound, id(values), values)
    flight = calls_of_plugin(parent)
    if flight is None:
        return place.find(_Imported(plugin, parent))
    made = kind_of(Handle(flight, place)._live_now())(flight, place)  # noqa: SLF001
    return _shared(known_handles(flight), place, made)


_of_programs: weakref.WeakKeyDictionary[CallsInFlight, Handles] = weakref.WeakKeyDictionary()
_lock: Final = RLock()  # a finalizer may make a handle, too


def known_handles(flight: CallsInFlight) -> Handles:
    """Return the handles that the program of a host has."""
    with _lock:
        return _of_programs.setdefault(flight, WeakValueDictionary())


def _shared(table: Handles, place: Place, made: Handle) -> Handle:
    """Return the handle of the same kind at ``place`` that there is already, or else add ``made``."""
    with _lock:
        return table.setdefault((type(made), place), made)


class _Imported:
    """The version that a process without a host imports."""

    number = 0
    is_pending = False

    def __init__(self, plugin: str, parent: str) -> None:
        self.plugin = plugin
        self.parent = parent
        self.bindable: set[type] = set()

    def find(self, module: str, names: Names) -> object:
        """Return the object of this name; raises what the import of its module raises."""
        found: object = importlib.import_module(f"{self.parent}.{module}" if module else self.parent)
        return functools.reduce(getattr, names, found)


# ---- making them


class HandleMaker:
    """Makes handles of the objects of plugins, for one host."""

    def __init__(self, flight: CallsInFlight, version: LiveVersion | None = None) -> None:
        """Make handles of what handlers return, or for the ``ctx`` of a ``version``."""
        self._flight = flight
        self.version = version

    def live(self, value: object, plugin: str) -> object:
        """Return a value with handles in place of plugins' functions, methods and classes.

        They may be inside lists, tuples, dictionaries, dataclasses and ``functools.partial``, which are
        copied then. ``plugin`` has given the value.

        Raises:
            HookError: another version would have no such object by name, so there can be no handle.
            RegisterError: the same, if ``ctx.live`` asks for it.

        """
        return self._within(value, (), plugin)

    def _within(self, value: object, above: tuple[int, ...], plugin: str) -> object:
        if _has_handles(kind := type(value)):
            return self.handle(value, plugin)
        if kind in _PLAIN or id(value) in above:
            return value
        inside = (*above, id(value))
        return _copied(value, lambda item: self._within(item, inside, plugin))

    def handle(self, thing: object, plugin: str) -> object:
        """Return a handle of a function, method or class; any other object, or one of other code, as it is.

        Raises as ``live`` does.
        """
        if not _has_handles(type(thing)):
            return thing
        try:
            own = self.version or cast("LiveVersion | None", self._flight.seen().versions.get(plugin))
            is_method = type(thing) is MethodType
            place = self._method(cast("MethodType", thing), own) if is_method else self._place(thing, own)
        except HandleError as error:
            kind: type[PluginError] = HookError if self.version is None else RegisterError
            file, line = place_of(cast("HookFunction", thing))
            name = getattr(thing, "__qualname__", type(thing).__qualname__)
            raise kind(plugin, f"{name} cannot stay live: {error}", file=file, line=line) from None
        if place is None:
            return thing
        version = self._version_of(place.parent)
        is_pending = version is not None and version.is_pending
        made = kind_of(thing)(self._flight, place, version.reference if version and is_pending else None)
        return self._known(place, made)

    def _known(self, place: Place, made: Handle) -> Handle:
        """Return the handle that there is for the same object, or else the one that was just made.

        A version has its own, so what it undoes at its end is not what the next version did. The program has
        one for all versions, so it knows which objects are new.
        """
        if self.version is None or type(place) is MethodPlace:
            table = known_handles(self._flight) if self.version is None else self.version.methods
            return _shared(table, place, made)
        known = self.version.handles.setdefault(place, made)
        return known if type(known) is type(made) else made  # else a patch has put another kind there

    def _place(self, thing: object, own: LiveVersion | None) -> Place | None:
        """Return the place of a function or class; ``None`` if no plugin defines it, nor ``own`` holds it."""
        version = self._version_of(_parent_of(getattr(thing, "__module__", None)))
        if version is None:
            found = own.variable_of(thing) if own else None  # as a decorator of a library leaves it
            return Place(own.plugin, own.parent, *found) if own and found else None
        named = version.name_of(thing)
        if version is own and own.is_pending:
            named = own.give(thing) if named is None else named
            if named is not None:
                own.note(named, thing)
        if named is None:
            raise HandleError(
                "the next version cannot be asked for it by name; define it at the top of a module, or pass"
                " it to ctx.live in register, under a __qualname__ of its own"
            )
        return Place(version.plugin, version.parent, *named)

    def _method(self, method: MethodType, own: LiveVersion | None) -> Place | None:
        """Return the place of a bound method; ``None`` as above."""
        owner, name = method.__self__, getattr(method.__func__, "__name__", "")
        if issubclass(type(owner), type):
            place = self._place(owner, own)
            return place and place.below(name, is_bound=True)
        kind = type(owner)
        version = self._version_of(_parent_of(kind.__module__))
        if holder := version or own:
            if found := holder.variable_of(owner):
                return Place(holder.plugin, holder.parent, *found).below(name, is_bound=True)
            if found := holder.variable_of(method):
                return Place(holder.plugin, holder.parent, *found, is_bound=True)
        place = self._place(kind, own) if version else None
        if place is None:
            return None
        if issubclass(kind, Enum):
            return place.below(cast("Enum", owner).name, is_bound=False).below(name, is_bound=True)
        if problem := _hindrance(kind):
            raise HandleError(f"no variable of the plugin holds its object, and {problem}")
        values = shared_attributes(owner)
        names = (*place.names, name)
        return MethodPlace(
            place.plugin, place.parent, place.module, names, True, id(values), values, weakref.ref(owner)
        )

    def _version_of(self, parent: str) -> LiveVersion | None:
        """Return the version of the plugin with this stable name that the calling code sees, if any."""
        for reference in self.version.reaches if self.version else ():
            version = reference()
            if version is not None and version.parent == parent:
                return version
        live = self._flight.seen().versions.values()
        return next((cast("LiveVersion", each) for each in live if each.parent == parent), None)


def _has_handles(kind: type) -> bool:
    return kind in _FUNCTIONS or issubclass(kind, type)


def _parent_of(module: object) -> str:
    """Return the stable name of the plugin to which a module of this name would belong."""
    return ".".join(module.split(".")[:2]) if type(module) is str else ""


def _copied(value: object, convert: Callable[[object], object]) -> object:
    """Return a list, tuple, dictionary, dataclass or partial with its items converted; or the value."""
    kind = type(value)
    if kind is list or issubclass(kind, tuple):
        items = list(cast("Iterable[object]", value))
        made = [convert(item) for item in items]
        if all(map(operator.is_, items, made)):
            return value
        return made if kind is list else tuple.__new__(cast("type[tuple[object, ...]]", kind), made)
    if kind is dict:
        table = cast("dict[object, object]", value)
        changed = {key: convert(item) for key, item in table.items()}
        return value if all(changed[key] is table[key] for key in changed) else changed
    if kind is functools.partial:
        partial = cast("functools.partial[object]", value)
        before = [partial.func, partial.args, partial.keywords]
        parts = [convert(each) for each in before]
        if all(map(operator.is_, before, parts)):
            return value
        function, args, keywords = cast("tuple[HookFunction, tuple[object, ...], dict[str, object]]", parts)
        return functools.partial(function, *args, **keywords)
    return _record(value, convert) if getattr(kind, "__dataclass_fields__", None) else value


def _record(value: object, convert: Callable[[object], object]) -> object:
    """Return a dataclass with its fields converted; the value itself if no field changes."""
    names = [each.name for each in dataclasses.fields(cast("DataclassInstance", value))]
    before = {name: getattr(value, name, None) for name in names}
    changed = {name: after for name in names if (after := convert(before[name])) is not before[name]}
    made = copy.copy(value) if changed else value
    for name, item in changed.items():
        object.__setattr__(made, name, item)  # it may be frozen
    return made
