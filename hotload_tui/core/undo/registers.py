"""The places in the process that a plugin can change, each read before and after a load.

Loads that follow each other share a reading: what was read after one load is what the next load finds.
"""

from __future__ import annotations

import codecs
import functools
import gc
import itertools
import locale
import logging
import os
import signal
import sys
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from operator import is_
from pathlib import Path
from types import FunctionType, MethodType
from typing import Final, NamedTuple, TypeAlias, TypeVar, cast

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.interpreter import (
    error_handlers,
    exit_functions,
    in_main_thread,
    remove_exit_function,
    search_functions,
)
from hotload_tui.core.undo.owner import CodePlace, Owner, Script, module_of, name_of, place_of

MISSING: Final = object()
"""Marks an absent value."""

Entries: TypeAlias = dict[Hashable, object]

_PLAIN = (str, bytes, int, float, bool, tuple, type(None))
_T = TypeVar("_T")


def readable(items: Iterable[_T]) -> Iterator[_T]:
    """Yield the items until reading them raises: they are found through the attributes of any objects."""
    try:
        yield from items
    except BaseException:  # foreign code, which must not stop a retirement
        return


class RegisterChange(NamedTuple):
    """An entry whose value has changed."""

    key: Hashable
    before: object
    after: object


class Register(ABC):
    """The entries of one category, and how to restore them."""

    category: str
    words: tuple[str, ...]
    """Code that changes the register has one of these words,"""
    module: str = ""
    """and this one, unless it is empty."""

    def may_change(self, artifact: Artifact) -> bool:  # noqa: ARG002 - most registers are read in no time
        """Return ``False`` if the artifact's code cannot change the register, which need not be read then."""
        return True

    @abstractmethod
    def read(self) -> Entries:
        """Return all current entries."""

    def read_after(self, before: Entries) -> Entries:  # noqa: ARG002 - most registers have nothing to reuse
        """Return the entries after a load that found ``before``, for ``changes`` and ``read_on``."""
        return self.read()

    def read_on(self, known: Entries) -> Entries:
        """Return the entries before a load; ``read_after`` returned ``known`` a moment ago."""
        return known

    @abstractmethod
    def write(self, key: Hashable, value: object) -> None:
        """Set an entry to ``value``; ``MISSING`` removes it."""

    @abstractmethod
    def tell(self, key: Hashable, value: object) -> str:
        """Return a description of the entry."""

    def words_of(self, key: Hashable) -> tuple[str, ...]:  # noqa: ARG002 - most registers have one list
        """Return the words of which code that changes this entry has one."""
        return self.words

    def change_in(self, script: Script, key: Hashable) -> CodePlace | None:
        """Return a place in the code that can change the entry; ``None`` if there is none."""
        if self.module and script.mentions(self.module) is None:
            return None
        return script.mentions(*self.words_of(key))

    def texts_of(self, key: Hashable) -> Iterator[str]:
        """Yield the texts that tell this entry from the others; code that changes it may have them."""
        for part in cast("tuple[object, ...]", key) if type(key) is tuple else (key,):
            if type(part) is str:
                yield part

    def current(self, key: Hashable) -> object:
        """Return the entry's current value, or ``MISSING``."""
        return self.read().get(key, MISSING)

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:
        """Yield the entries that differ between two readings."""
        for key in (*before, *(key for key in after if key not in before)):
            old, new = before.get(key, MISSING), after.get(key, MISSING)
            if not is_same(old, new):
                yield RegisterChange(key, old, new)

    def forget(self, key: Hashable, value: object) -> None:  # noqa: B027 - most registers keep no copies
        """Drop all copies of an entry's value after its undo."""

    def owned(self, owner: Owner) -> Iterator[Hashable]:
        """Yield the entries that belong to the owner's modules, whenever they were made."""
        for key, value in self.read().items():
            if owner.owns(value) or owner.owns(key):
                yield key


class PlainRegister(Register):
    """A register of numbers and strings only."""

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: ARG002 - as Register
        """Yield nothing: a number or string belongs to nobody, and reading all at each end takes long."""
        yield from ()


def is_same(one: object, other: object) -> bool:
    """Return whether two values are identical, or equal and of the same plain type.

    A tuple is plain if its items are: two equal lists in it are two lists, of which each may change.
    """
    if one is other or type(one) is not type(other) or type(one) not in _PLAIN:
        return one is other
    if type(one) is not tuple:
        return one == other
    items, others = cast("tuple[object, ...]", one), cast("tuple[object, ...]", other)
    return len(items) == len(others) and all(map(is_same, items, others))


def is_identical(before: Entries, after: Entries) -> bool:
    """Return quickly whether two readings have the same objects in the same order."""
    return (
        len(before) == len(after)
        and all(map(is_, before, after))
        and all(map(is_, before.values(), after.values()))
    )


class Environment(PlainRegister):
    """The variables of ``os.environ``."""

    category = "environment"

    def read(self) -> Entries:  # noqa: D102 - as Register
        # As they are stored: decoding all of them at each load takes longer than the rest of this module.
        return cast("Entries", dict(getattr(os.environ, "_data", os.environ)))

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            os.environ.pop(_text(key), None)
        else:
            os.environ[_text(key)] = _text(value)

    def words_of(self, key: Hashable) -> tuple[str, ...]:  # noqa: D102 - as Register
        return _text(key), "load_dotenv"

    def change_in(self, script: Script, key: Hashable) -> CodePlace | None:  # noqa: D102 - as Register
        return Register.change_in(self, script, key) or script.computed_variable

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - the value may be a secret
        return f"variable {_text(key)}"


def _text(raw: object) -> str:
    return os.fsdecode(cast("str | bytes", raw))


@dataclass(eq=False, slots=True)
class ProcessSetting(PlainRegister):
    """One setting of the process, with the functions that get and set it."""

    category: str
    words: tuple[str, ...]
    get: Callable[[], object]
    put: Callable[[object], object]
    module: str = ""

    def read(self) -> Entries:  # noqa: D102 - as Register
        try:
            return {"": self.get()}
        except OSError:  # the working directory no longer exists
            return {}

    def write(self, key: Hashable, value: object) -> None:  # noqa: ARG002, D102 - as Register
        if value is not MISSING:
            self.put(value)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"{self.category} {name_of(value)}"


class _Spot(NamedTuple):
    """A change of one item of a list; it holds nothing but the item's own key."""

    item: Hashable
    before: tuple[int | str, ...]
    """The marks of the items that came before it, the nearest first."""
    number: int
    """Differs for each change: the same item may be added several times."""
    is_moved: bool = False


_numbers = itertools.count()


@dataclass(eq=False, slots=True)
class ListRegister(Register):
    """A list; a reading has its items by their positions."""

    category: str
    words: tuple[str, ...]
    get: Callable[[], list[object]]
    changed: Callable[[], None] | None = None
    """Called after a change of the list."""

    def read(self) -> Entries:  # noqa: D102 - as Register
        return dict(enumerate(self.get()))

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:  # noqa: D102 - as Register
        old, new = [*before.values()], [*after.values()]
        keys, other_keys = [*map(_key, old)], [*map(_key, new)]
        if keys == other_keys:
            return
        steps = SequenceMatcher(None, keys, other_keys, autojunk=False).get_opcodes()
        gone = {index: None for step in steps if step[0] != "equal" for index in range(*step[1:3])}
        came = [index for step in steps if step[0] != "equal" for index in range(*step[3:])]
        for index in came:
            source = next((each for each in gone if keys[each] == other_keys[index]), None)
            if source is None:
                yield RegisterChange(_spot(new, index), MISSING, new[index])
                continue
            del gone[source]
            if type(new[index]) in (str, tuple):  # another order of finders or callbacks is not restored
                spot = _spot(old, source)._replace(is_moved=True)
                yield RegisterChange(spot, old[source], new[index])
        for index in gone:
            yield RegisterChange(_spot(old, index), old[index], MISSING)

    def current(self, key: Hashable) -> object:  # noqa: D102 - as Register
        item = cast("_Spot", key).item
        return next((each for each in self.get() if _key(each) == item), MISSING)

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        items, spot = [*self.get()], cast("_Spot", key)
        found = [index for index, item in enumerate(items) if _key(item) == spot.item]
        if found:
            del items[min(found, key=lambda index: abs(index - len(spot.before)))]
        if value is not MISSING:
            marks = [*map(_mark, items)]
            place = next((marks.index(each) + 1 for each in spot.before if each in marks), 0)
            items.insert(place, value)
        self.get()[:] = items
        if self.changed:
            self.changed()

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        parts = cast("tuple[object, ...]", value) if type(value) is tuple else (value,)
        moved = ", moved" if cast("_Spot", key).is_moved else ""
        return f"entry {' '.join(name_of(part) for part in parts)}{moved}"

    def texts_of(self, key: Hashable) -> Iterator[str]:  # noqa: D102 - as Register
        yield from Register.texts_of(self, cast("_Spot", key).item)

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: D102 - as Register
        items = self.get().copy()
        yield from (_spot(items, index) for index, item in enumerate(items) if owner.owns(item))


def _spot(items: list[object], index: int) -> _Spot:
    return _Spot(_key(items[index]), (*map(_mark, items[:index][::-1]),), next(_numbers))


def _mark(item: object) -> int | str:
    """Return what tells an item from others without holding it; equal tuples replace each other."""
    return item if type(item) is str else hash(item) if type(item) is tuple else id(item)


def _key(item: object) -> Hashable:
    return item if type(item) in (str, tuple) else id(item)


@dataclass(eq=False, slots=True)
class Table(Register):
    """A dictionary; it is empty while ``get`` returns ``None``."""

    category: str
    words: tuple[str, ...]
    get: Callable[[], MutableMapping[Hashable, object] | None]
    module: str = ""

    def read(self) -> Entries:  # noqa: D102 - as Register
        return dict(self.get() or ())

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        table = self.get()
        if table is not None and value is MISSING:
            table.pop(key, None)
        elif table is not None:
            table[key] = value

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        first = key[0] if type(key) is tuple else key
        return f"{name_of(first)}: {name_of(value)}"

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: D102 - as Register
        for key, value in self.read().items():
            parts = cast("tuple[object, ...]", key) if type(key) is tuple else (key,)
            if owner.owns(value) or any(map(owner.owns, parts)):
                yield key


class SearchFunctions(Register):
    """The functions given to ``codecs.register``; a function that is always registered leads to the list."""

    category = "codec"
    words = ("register", "unregister")
    module = "codecs"

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {id(function): function for function in search_functions()}

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        for function in search_functions().copy():
            if id(function) == key and value is MISSING:
                codecs.unregister(cast("Callable[[str], None]", function))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"search function {name_of(value)}"


_handler_of: Callable[[int], object] = getattr(
    sys.modules.get("_signal"), "getsignal", signal.getsignal
)  # the public function makes an enumeration member of each result, at each load
_NO_HANDLERS: dict[int, object] = {kind.value: kind for kind in signal.Handlers}
_SIGNALS = [signal.Signals(number) for number in signal.valid_signals() if number in {*signal.Signals}]
_PACKAGE = f"{Path(__file__).parents[2]}{os.sep}"

ExitCalls: TypeAlias = Sequence[Callable[[], object]]
"""The functions that a generation gave to ``atexit``, the oldest first."""


class ExitHook(NamedTuple):
    """A function registered for the end of the program; it is called when its generation ends."""

    key: Hashable
    name: str
    place: CodePlace
    call: Callable[[], object]


class ExitHooks(Register):
    """Functions registered for the end of the program; they are called when their generation ends."""

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"function {name_of(value)}"

    @abstractmethod
    def endings(self, keys: Collection[Hashable], calls: ExitCalls, owner: Owner) -> Iterator[ExitHook]:
        """Yield the exit hooks to call among these entries, the newest first."""


class ExitFunctions(ExitHooks):
    """Functions of ``atexit``; a removed function is not called."""

    category = "atexit"
    words = ("atexit",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {id(function): function for function in exit_functions()}

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            remove_exit_function(cast("int", key))

    def endings(  # noqa: D102 - as Register
        self,
        keys: Collection[Hashable],  # noqa: ARG002
        calls: ExitCalls,
        owner: Owner,  # noqa: ARG002
    ) -> Iterator[ExitHook]:
        there = self.read()
        for call in reversed(calls):
            if id(call) in there:
                yield ExitHook(id(call), name_of(call), place_of(call), call)


class Finalizers(ExitHooks):
    """``weakref.finalize`` objects; a removed finalizer is not called.

    Before the removal, a plugin's finalizers are called if they would run at the end of the program, or if
    their object belongs to the plugin: such a finalizer holds the generation, and perhaps that object, for
    ever.
    """

    category = "finalizer"
    words = ("finalize",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        return _finalizers()  # with the entries of the standard library: there may be thousands

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:  # noqa: D102 - as Register
        for change in super().changes(before, after):
            old, new = map(_function_of, change[1:])
            if not (_is_machinery(old) or _is_machinery(new)):
                yield RegisterChange(change.key, old, new)

    def current(self, key: Hashable) -> object:  # noqa: D102 - as Register
        return _function_of(super().current(key))

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: D102 - as Register
        for key, entry in self.read().items():
            function = _function_of(entry)
            if not _is_machinery(function) and (owner.owns(function) or owner.owns(key)):
                yield key

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            cast("weakref.finalize[[], object]", key).detach()

    def endings(  # noqa: D102 - as Register
        self,
        keys: Collection[Hashable],
        calls: ExitCalls,  # noqa: ARG002
        owner: Owner,
    ) -> Iterator[ExitHook]:
        for key, entry in reversed(self.read().items()):
            finalizer = cast("weakref.finalize[[], object]", key)
            found = finalizer.peek() if key in keys else None
            if found and (finalizer.atexit or owner.owns(found[0])):
                _, call, values, named = found
                run = functools.partial(call, *values, **named)
                function = _function_of(entry)
                yield ExitHook(key, name_of(function), place_of(function), run)


def _finalizers() -> Entries:
    """Return the standard library's entries of all finalizers; empty if it keeps them elsewhere."""
    registry: Entries = getattr(weakref.finalize, "_registry", {})
    return registry.copy()


def _function_of(entry: object) -> object:
    """Return the function of a finalizer's entry."""
    return MISSING if entry is MISSING else getattr(entry, "func", None)


def _is_machinery(function: object) -> bool:
    """Return whether a function belongs to this package, which makes a finalizer for each generation."""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(_PACKAGE)


_TRIALS = f"{__name__.partition('.')[0]}.core.runtime.threads"


class Signals(Register):
    """Signal handlers; only the main thread can set them."""

    category = "signal handler"
    words = ("signal",)

    def __init__(self, is_plugins: Callable[[object], bool]) -> None:
        """Prepare to restore the last handlers that no plugin has set."""
        self._is_plugins = is_plugins
        self._original: Entries = {}

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}
        for number in _SIGNALS:
            value = _handler_of(number)
            if type(value) is MethodType and module_of(value.__func__) == _TRIALS:
                continue  # the timer of the load itself: it leads to the load, and goes with it
            value = found[number] = _NO_HANDLERS[value] if type(value) is int else value
            if type(value) is signal.Handlers or not self._is_plugins(value):
                self._original[number] = value
        return found

    def owned(self, owner: Owner) -> Iterator[Hashable]:  # noqa: D102 - as Register
        for number in _SIGNALS:
            if owner.owns(_handler_of(number)):  # an integer if there is none
                yield number

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        handler = self._original.get(key) if value is MISSING else value
        in_main_thread(
            lambda: signal.signal(
                cast("signal.Signals", key),
                signal.SIG_DFL if handler is None else cast("signal.Handlers", handler),
            )
        )

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        return f"{cast('signal.Signals', key).name}: {name_of(value)}"

    def texts_of(self, key: Hashable) -> Iterator[str]:  # noqa: D102 - as Register
        yield cast("signal.Signals", key).name


_CLUES = (
    "Handler", "handlers", "Filter", "Formatter", "Level", "level", "propagate", "disabled", "Config",
    "stream", "setStream", "setTarget",
)  # fmt: skip
"""Code that changes the settings of a logger contains one of these strings."""

_BYTES = 100  # bytes of an artifact that are searched for all words in the time of reading one logger
_MOST = 1 << 17  # the largest artifact to search, in bytes


_PARTS = ("formatter", "stream", "target")
"""The attributes of a handler that lead to other objects."""


class Logging(Register):
    """The settings of all loggers that differ from a new logger's; plugins' loggers go with the plugins."""

    category = "logging"
    words = (
        "addHandler", "removeHandler", "addFilter", "removeFilter", "setFormatter", "setLevel", "propagate",
        "basicConfig", "dictConfig", "fileConfig", "handlers", "level", "disabled", "setStream", "stream",
        "setTarget", "target",
    )  # fmt: skip

    def __init__(self, is_plugins: Callable[[object], bool]) -> None:
        """Prepare to restore the last formatters, streams and targets that no plugin has set."""
        self._is_plugins = is_plugins
        self._parts: weakref.WeakKeyDictionary[logging.Handler, dict[str, object]] = (
            weakref.WeakKeyDictionary()
        )

    def may_change(self, artifact: Artifact) -> bool:  # noqa: D102 - as Register
        return artifact.may_say(_CLUES, min(_BYTES * len(logging.root.manager.loggerDict), _MOST))

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}
        for name, logger in _set_loggers():
            found.update(readable(self._entries(name, logger)))
        return found

    def _entries(self, name: str, logger: logging.Logger) -> Iterator[tuple[Hashable, object]]:
        if logger.level:
            yield (name, "level", 0), logger.level
        if not logger.propagate:
            yield (name, "propagate", 0), logger.propagate
        if logger.disabled:
            yield (name, "disabled", 0), True
        for condition in logger.filters:
            yield (name, "filter", id(condition)), condition
        for handler in logger.handlers:
            yield (name, "handler", id(handler)), handler
        for handler in logger.handlers:
            yield from readable(self._entries_of(name, handler))

    def _entries_of(self, name: str, handler: logging.Handler) -> Iterator[tuple[Hashable, object]]:
        is_file = issubclass(type(handler), logging.FileHandler)  # it opens other streams by itself
        for part in _PARTS[: 1 if is_file else None]:
            value = vars(handler).get(part, MISSING)
            if value is MISSING or (part == "formatter" and value is None):
                continue
            yield (name, part, id(handler)), value
            if not self._is_plugins(value):
                self._parts.setdefault(handler, {})[part] = value
        if handler.level:
            yield (name, "level of a handler", id(handler)), handler.level
        for condition in handler.filters:
            yield (name, "filter of a handler", id(condition)), condition

    def changes(self, before: Entries, after: Entries) -> Iterator[RegisterChange]:
        """Yield the changed entries; the stream and the target of a new handler come and go with it."""
        for change in super().changes(before, after):
            is_whole = change.before is not MISSING and change.after is not MISSING
            if is_whole or cast("tuple[str, str, int]", change.key)[1] not in ("stream", "target"):
                yield change

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        name, kind, number = cast("tuple[str, str, int]", key)
        logger = logging.getLogger(name)
        match kind:
            case "level":
                logger.setLevel(0 if value is MISSING else cast("int", value))
            case "propagate":
                logger.propagate = value is MISSING or bool(value)
            case "disabled":
                logger.disabled = value is not MISSING and bool(value)
            case "handler":
                _replace(logger.handlers, number, value)
            case "filter":
                _replace(logger.filters, number, value)
            case _:
                self._write_on_handlers(logger, kind, number, value)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        name, kind, _ = cast("tuple[str, str, int]", key)
        return f"{kind} {name_of(value)} of logger '{name or 'root'}'"

    def texts_of(self, key: Hashable) -> Iterator[str]:  # noqa: D102 - as Register
        yield cast("tuple[str, str, int]", key)[0]

    def _write_on_handlers(self, logger: logging.Logger, kind: str, number: int, value: object) -> None:
        for handler in logger.handlers:
            if kind == "filter of a handler":
                _replace(handler.filters, number, value)
            elif id(handler) == number and kind == "level of a handler":
                handler.setLevel(0 if value is MISSING else cast("int", value))
            elif id(handler) == number:
                known = self._parts.get(handler, {"formatter": None})
                vars(handler)[kind] = known[kind] if value is MISSING else value


def _set_loggers() -> list[tuple[str, logging.Logger]]:
    """Return the loggers that differ from a new logger: a few among thousands."""
    loggers = ("", logging.getLogger()), *logging.Logger.manager.loggerDict.copy().items()
    return [
        (name, logger)
        for name, logger in loggers
        if isinstance(logger, logging.Logger)
        and (logger.handlers or logger.filters or logger.level or logger.disabled or not logger.propagate)
    ]


def _replace(items: object, number: int, value: object) -> None:
    """Remove the item with this identity; append ``value`` unless it is ``MISSING``."""
    things = cast("list[object]", items)
    things[:] = [item for item in things if id(item) != number] + ([] if value is MISSING else [value])


def registers(is_plugins: Callable[[object], bool]) -> Iterator[Register]:
    """Yield all registers but ``Attributes``; ``is_plugins`` decides whether an object is any plugin's."""
    yield Environment()
    yield from _settings()
    yield from _lists()
    yield Signals(is_plugins)
    yield Logging(is_plugins)
    yield ExitFunctions()
    yield Finalizers()
    yield SearchFunctions()
    yield Table("codec error handler", ("register_error",), error_handlers)
    yield Table("codec", ("codecs",), _of_module("encodings", "_cache"))
    yield Table("copyreg", ("pickle",), _of_module("copyreg", "dispatch_table"), "copyreg")
    yield Table("sqlite3 adapter", ("register_adapter",), _of_module("sqlite3", "adapters"))
    yield Table("sqlite3 converter", ("register_converter",), _of_module("sqlite3", "converters"))


def _settings() -> Iterator[ProcessSetting]:
    yield ProcessSetting("working directory", ("chdir", "fchdir"), os.getcwd, lambda to: os.chdir(str(to)))
    yield ProcessSetting(
        "locale",
        ("setlocale",),
        lambda: locale.setlocale(locale.LC_ALL),
        lambda to: locale.setlocale(locale.LC_ALL, str(to)),
    )
    yield ProcessSetting(
        "recursion limit",
        ("setrecursionlimit",),
        sys.getrecursionlimit,
        lambda to: sys.setrecursionlimit(cast("int", to)),
    )
    yield ProcessSetting(
        "switch interval",
        ("setswitchinterval",),
        sys.getswitchinterval,
        lambda to: sys.setswitchinterval(cast("float", to)),
    )
    yield ProcessSetting(
        "garbage collection",
        ("enable", "disable"),
        gc.isenabled,
        lambda to: gc.enable() if to else gc.disable(),
        "gc",
    )
    yield ProcessSetting(
        "logging threshold",
        ("disable",),
        lambda: logging.root.manager.disable,
        lambda to: logging.disable(cast("int", to)),
        "logging",
    )


def _lists() -> Iterator[ListRegister]:
    yield ListRegister("sys.path", ("path", "addsitedir"), lambda: cast("list[object]", sys.path))
    yield ListRegister("sys.meta_path", ("meta_path",), lambda: cast("list[object]", sys.meta_path))
    yield ListRegister("sys.path_hooks", ("path_hooks",), lambda: cast("list[object]", sys.path_hooks))
    yield ListRegister("gc.callbacks", ("callbacks",), lambda: cast("list[object]", gc.callbacks))
    yield ListRegister("mock patcher", ("patch",), _active_patches)
    yield ListRegister(
        "warnings filter",
        ("simplefilter", "filterwarnings", "filters", "resetwarnings"),
        lambda: cast("list[object]", warnings.filters),
        getattr(warnings, "_filters_mutated", None),  # otherwise the modules' warning registries stay valid
    )


def _active_patches() -> list[object]:
    """Return the list of started ``unittest.mock`` patches that ``patch.stopall`` uses."""
    patcher = getattr(sys.modules.get("unittest.mock"), "_patch", None)
    return cast("list[object]", getattr(patcher, "_active_patches", []))


def _of_module(module: str, name: str) -> Callable[[], MutableMapping[Hashable, object] | None]:
    """Return a function that returns a module's dictionary, or ``None`` if it is not imported."""
    return lambda: cast(
        "MutableMapping[Hashable, object] | None", getattr(sys.modules.get(module), name, None)
    )
