"""The places in the process that a plugin can change, each read before and after a load.

Comparing all attributes of all modules takes longer than most loads; comparing one number for each module
takes a twentieth of that. Up to Python 3.13 each dictionary has such a number (PEP 509), which can only be
read from memory: it is tried first, and where it does not behave as documented, each namespace counts as
changed.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import ctypes
import encodings
import functools
import gc
import itertools
import locale
import logging
import os
import signal
import sys
import threading
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, MutableMapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from hotload_tui.core.undo.owner import CodePlace, Owner, name_of, place_of

_OFFSET = object.__basicsize__ + 8  # bytes before the field: the head of every object, the number of entries
_IS_THERE = sys.implementation.name == "cpython" and sys.version_info < (3, 14) and sys.maxsize > 1 << 32
_K = TypeVar("_K")
_CHANGES = ("added = 1", "added = 2", "global added; added = 3", "del added", "globals().update(kept=1)")

_fields: dict[int, ctypes.c_uint64] = {}  # by address, which is all that they depend on
_never_the_same = itertools.count()


class Version(Protocol):
    """What tells the version of one namespace, as long as that is kept."""

    @property
    def value(self) -> int:
        """A number that is another one after each change, and may be at other times."""
        ...


class _Unknown:
    @property
    def value(self) -> int:
        return next(_never_the_same)


def teller_of(namespace: dict[_K, object]) -> Version:
    """Return what tells the version of a namespace again and again; whoever keeps it keeps the namespace."""
    if not IS_EXACT:
        return _Unknown()
    address = id(namespace)
    field = _fields.get(address)
    if field is None:
        field = _fields[address] = ctypes.c_uint64.from_address(address + _OFFSET)
    return field


def version_of(namespace: dict[_K, object]) -> int:
    """Return a number that is another one after each change of the namespace, and may be at other times."""
    return teller_of(namespace).value


def _is_reliable() -> bool:
    """Tell whether the number notices what code does to a namespace."""
    namespace: dict[str, object] = {"kept": 0}
    seen = [version_of(namespace)]
    for change in _CHANGES:
        exec(change, namespace)  # noqa: S102 - as a module changes its own
        seen.append(version_of(namespace))
    return len(set(seen)) == len(seen) and version_of(namespace) == seen[-1]


IS_EXACT = _IS_THERE
IS_EXACT = IS_EXACT and _is_reliable()
"""Whether a namespace that is only read keeps its version."""


MISSING: Final = object()
"""Stands for what is not there."""

Entries: TypeAlias = dict[Hashable, object]

_PLAIN = (str, bytes, int, float, bool, tuple, type(None))


class RegisterChange(NamedTuple):
    """One entry that is not what it was."""

    key: Hashable
    before: object
    after: object


class Register(ABC):
    """What there is of one category, and how to put it back."""

    category: str
    words: tuple[str, ...] = ()
    """What code that changes it mentions; with none, the key of the entry itself."""

    _sight: object = None
    _entries: Entries | None = None

    clues: tuple[str, ...] = ()
    """One of these stands in an artifact wherever one of the words does."""

    @property
    def searched(self) -> int:
        """Bytes of an artifact that are searched for its clues before it is read; 0: it is always read."""
        return 0

    def sight(self) -> object:
        """Return what is another value after each change, and is got sooner than the entries; or ``None``."""
        return None

    def look(self) -> Entries:
        """Return what ``read`` would; read only if it changed since the look before, until ``let_go``."""
        sight, entries = self.sight(), self._entries
        if entries is None or sight is None or sight != self._sight:
            entries = self.read()
            self._sight, self._entries = sight, entries
        return entries

    def look_on(self) -> Entries:
        """As ``look``, at once after ``changes``: what was the same then is not looked at again."""
        entries = self._entries
        return self.look() if entries is None or self._sight is None else entries

    def let_go(self) -> None:
        """Keep nothing that was read: it holds what others may wish to be freed."""
        self._sight = self._entries = None

    @abstractmethod
    def read(self) -> Entries:
        """Return all that is there now."""

    @abstractmethod
    def write(self, key: Hashable, value: object) -> None:
        """Put ``value`` in its place; ``MISSING`` takes it out."""

    @abstractmethod
    def tell(self, key: Hashable, value: object) -> str:
        """Say which entry it is."""

    def words_of(self, key: Hashable) -> tuple[str, ...]:
        """Return what code mentions that changes this entry."""
        return self.words or (str(key),)

    def current(self, key: Hashable) -> object:
        """Return what is there now."""
        return self.read().get(key, MISSING)

    def is_as_before(self, before: Entries) -> bool:
        """Tell whether nothing differs from what ``look`` returned; false where only reading would tell."""
        return before is self._entries and self._sight is not None and self._sight == self.sight()

    def changes(self, before: Entries) -> Iterator[RegisterChange]:
        """Yield what differs from an earlier reading."""
        self._entries = None
        after = self.read()
        for key in (*before, *(key for key in after if key not in before)):
            old, new = before.get(key, MISSING), after.get(key, MISSING)
            if not is_same(old, new):
                yield RegisterChange(key, old, new)

    def forget(self, key: Hashable, value: object) -> None:  # noqa: B027 - most keep no copies
        """Let go of what an entry was, after it was undone."""

    def owned(self, owner: Owner) -> Iterator[Hashable]:
        """Yield the entries that belong to somebody's modules, whenever they were made."""
        for key, value in self.read().items():
            if owner.owns(value) or owner.owns(key):
                yield key


def is_same(one: object, other: object) -> bool:
    """Tell whether two entries are one, without asking objects of others whether they are equal."""
    return one is other or (type(one) is type(other) and type(one) in _PLAIN and one == other)


def sight_of(table: object) -> object:
    """Return the identity and version of a dictionary; ``None`` of what is none."""
    return (id(table), version_of(cast("Entries", table))) if type(table) is dict else None


class Environment(Register):
    """The variables of ``os.environ``."""

    category = "environment"

    def read(self) -> Entries:  # noqa: D102 - as Register
        # As they are kept: to decode all of them at each load takes longer than all else here.
        return cast("Entries", dict(getattr(os.environ, "_data", os.environ)))

    def sight(self) -> object:  # noqa: D102 - as Register
        return sight_of(getattr(os.environ, "_data", None))

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            os.environ.pop(_text(key), None)
        else:
            os.environ[_text(key)] = _text(value)

    def words_of(self, key: Hashable) -> tuple[str, ...]:  # noqa: D102 - as Register
        return (_text(key),)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - it may be a secret
        return f"variable {_text(key)}"


def _text(raw: object) -> str:
    return os.fsdecode(cast("str | bytes", raw))


class Setting(Register):
    """One value of the process, with the functions that get and set it."""

    def __init__(
        self,
        category: str,
        words: tuple[str, ...],
        get: Callable[[], object],
        put: Callable[[object], object],
    ) -> None:
        self.category = category
        self.words = words
        self._get = get
        self._put = put

    def read(self) -> Entries:  # noqa: D102 - as Register
        try:
            return {"": self._get()}
        except OSError:  # a working directory that is gone
            return {}

    def sight(self) -> object:  # noqa: D102 - as Register
        found = tuple(self.read().values())
        return found if found and type(found[0]) in _PLAIN else None

    def write(self, key: Hashable, value: object) -> None:  # noqa: ARG002, D102 - as Register
        if value is not MISSING:
            self._put(value)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"{self.category} {name_of(value)}"


class ListRegister(Register):
    """A list; what was taken out comes back at its end."""

    def __init__(
        self,
        category: str,
        words: tuple[str, ...],
        get: Callable[[], list[object]],
        changed: Callable[[], None] | None = None,
    ) -> None:
        self.category = category
        self.words = words
        self._get = get
        self._changed = changed

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {_key(item): item for item in self._get()}

    def sight(self) -> object:  # noqa: D102 - as Register
        return [*map(_key, self._get())]

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        items = self._get()
        items[:] = [item for item in items if _key(item) != key] + ([] if value is MISSING else [value])
        if self._changed:
            self._changed()

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        parts = cast("tuple[object, ...]", value) if type(value) is tuple else (value,)
        return f"entry {' '.join(name_of(part) for part in parts)}"


def _key(item: object) -> Hashable:
    return item if type(item) in (str, tuple) else id(item)


class Table(Register):
    """A dictionary; ``None`` where there is none yet."""

    def __init__(
        self,
        category: str,
        words: tuple[str, ...],
        get: Callable[[], MutableMapping[Hashable, object] | None],
    ) -> None:
        self.category = category
        self.words = words
        self._get = get

    def read(self) -> Entries:  # noqa: D102 - as Register
        return dict(self._get() or ())

    def sight(self) -> object:  # noqa: D102 - as Register
        table = self._get()
        return 0 if table is None else sight_of(table)

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        table = self._get()
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
    """What ``codecs.register`` was given; the interpreter's list is found by one that is always in it."""

    category = "codec"
    words = ("codecs",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        return {id(function): function for function in _functions()}

    def sight(self) -> object:  # noqa: D102 - as Register
        return [*map(id, _functions())]

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        for function in _functions().copy():
            if id(function) == key and value is MISSING:
                codecs.unregister(cast("Callable[[str], None]", function))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"search function {name_of(value)}"


@functools.cache
def _functions() -> list[object]:
    for holder in gc.get_referrers(encodings.search_function):
        if type(holder) is list and all(map(callable, holder)):
            return holder
    return []


@functools.cache
def error_handlers() -> MutableMapping[Hashable, object] | None:
    """Return the interpreter's dictionary of ``codecs.register_error``; ``None`` if it is not found."""
    for holder in gc.get_referrers(codecs.lookup_error("strict")):
        if type(holder) is dict and {"strict", "ignore", "replace"} <= holder.keys():
            return cast("MutableMapping[Hashable, object]", holder)
    return None


_PATIENCE = 0.05  # seconds; a main thread inside a system call does it when that returns
_Pending = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_asked: list[object] = []  # the interpreter does not keep what it will call


def in_main_thread(act: Callable[[], object]) -> None:
    """Have the main thread call ``act``, as soon as it runs Python code; waits for it for a moment."""
    if threading.current_thread() is threading.main_thread():
        act()
        return
    is_done = threading.Event()

    def run(_: object) -> int:
        with contextlib.suppress(Exception):  # nobody is there to hear it
            act()
        _asked.remove(pending)
        is_done.set()
        return 0

    pending = _Pending(run)
    _asked.append(pending)
    if ctypes.pythonapi.Py_AddPendingCall(pending, None):
        _asked.remove(pending)  # its queue is full; nothing can be done
        return
    is_done.wait(_PATIENCE)


_handler_of: Callable[[int], object] = getattr(
    sys.modules.get("_signal"), "getsignal", signal.getsignal
)  # the public one makes a member of an enumeration of each answer, at each load
_NO_HANDLERS: dict[int, object] = {kind.value: kind for kind in signal.Handlers}
_SIGNALS = [signal.Signals(number) for number in signal.valid_signals() if number in {*signal.Signals}]
_PACKAGE = f"{Path(__file__).parents[2]}{os.sep}"

ExitCalls: TypeAlias = Sequence[Callable[[], object]]
"""What a generation gave to ``atexit``, the oldest first."""


class _Lookout:
    """Is compared with every function that ``atexit`` knows: there is no other way to list them."""

    def __init__(self, is_wanted: Callable[[object], bool]) -> None:
        self._is_wanted = is_wanted

    def __eq__(self, other: object) -> bool:
        return self._is_wanted(other)

    __hash__ = None  # type: ignore[assignment]

    def __call__(self) -> None: ...


class ExitHook(NamedTuple):
    """What was to be called when the program ends, and is called when its generation does."""

    key: Hashable
    name: str
    place: CodePlace
    call: Callable[[], object]


class ExitHooks(Register):
    """Functions for the end, which are called when their generation ends."""

    @abstractmethod
    def endings(self, keys: Collection[Hashable], calls: ExitCalls, owner: Owner) -> Iterator[ExitHook]:
        """Yield what is to be called of these entries, the newest first."""


class ExitFunctions(ExitHooks):
    """Functions of ``atexit``; one that is taken out is not called."""

    category = "atexit"
    words = ("atexit",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}

        def note(function: object) -> bool:
            found[id(function)] = function
            return False

        atexit.unregister(_Lookout(note))
        return found

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            atexit.unregister(_Lookout(lambda function: id(function) == key))

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"function {name_of(value)}"

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
    """``weakref.finalize`` with functions of a plugin's; one that is taken out is not called.

    Before that those are called which would be at the program's end, or whose object goes with the plugin:
    the finalizer is what holds the generation, and with it perhaps that object, for ever.
    """

    category = "finalizer"
    words = ("finalize",)

    def read(self) -> Entries:  # noqa: D102 - as Register
        registry: dict[Hashable, object] = getattr(weakref.finalize, "_registry", {})
        functions = ((key, getattr(entry, "func", None)) for key, entry in registry.copy().items())
        return {key: function for key, function in functions if not _is_machinery(function)}

    def sight(self) -> object:  # noqa: D102 - as Register
        return sight_of(getattr(weakref.finalize, "_registry", None))

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        if value is MISSING:
            cast("weakref.finalize[[], object]", key).detach()

    def endings(  # noqa: D102 - as Register
        self,
        keys: Collection[Hashable],
        calls: ExitCalls,  # noqa: ARG002
        owner: Owner,
    ) -> Iterator[ExitHook]:
        for key, function in reversed(self.read().items()):
            finalizer = cast("weakref.finalize[[], object]", key)
            found = finalizer.peek() if key in keys else None
            if found and (finalizer.atexit or owner.owns(found[0])):
                _, call, values, named = found
                run = functools.partial(call, *values, **named)
                yield ExitHook(key, name_of(function), place_of(function), run)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: ARG002, D102 - as Register
        return f"function {name_of(value)}"


def _is_machinery(function: object) -> bool:
    """Tell whether it is of this package, which has one for each generation."""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(_PACKAGE)


class Signals(Register):
    """Signal handlers; only the main thread can set them."""

    category = "signal handler"
    words = ("signal",)

    def __init__(self, is_plugins: Callable[[object], bool]) -> None:
        """Put back what was there when no plugin had it."""
        self._is_plugins = is_plugins
        self._original: Entries = {}

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}
        for number in _SIGNALS:
            value = _handler_of(number)
            value = found[number] = _NO_HANDLERS[value] if type(value) is int else value
            if type(value) is signal.Handlers or not self._is_plugins(value):
                self._original[number] = value
        return found

    def sight(self) -> object:  # noqa: D102 - as Register
        return [*map(id, map(_handler_of, _SIGNALS))]

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


_BYTES = 100  # of an artifact that are searched for all words while one logger is read
_MOST = 1 << 17  # bytes that are searched


class Logging(Register):
    """What is set on all loggers, where it is not what a new one has; those of plugins go with them."""

    category = "logging"
    words = (
        "addHandler", "removeHandler", "addFilter", "removeFilter", "setFormatter", "setLevel", "propagate",
        "basicConfig", "dictConfig", "fileConfig", "handlers", "level",
    )  # fmt: skip

    clues = ("Handler", "handlers", "Filter", "Formatter", "Level", "level", "propagate", "Config")

    def __init__(self, is_plugins: Callable[[object], bool]) -> None:
        """Put back the formatter that a handler had when it was no plugin's."""
        self._is_plugins = is_plugins
        self._formatters: weakref.WeakKeyDictionary[logging.Handler, logging.Formatter] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def searched(self) -> int:  # noqa: D102 - as Register
        return min(_BYTES * len(logging.root.manager.loggerDict), _MOST)

    def read(self) -> Entries:  # noqa: D102 - as Register
        found: Entries = {}
        for name, logger in _set_loggers():
            if logger.level:
                found[name, "level", 0] = logger.level
            if not logger.propagate:
                found[name, "propagate", 0] = logger.propagate
            for condition in logger.filters:
                found[name, "filter", id(condition)] = condition
            for handler in logger.handlers:
                found[name, "handler", id(handler)] = handler
                if handler.formatter is not None:
                    found[name, "formatter", id(handler)] = handler.formatter
                    if not self._is_plugins(handler.formatter):
                        self._formatters[handler] = handler.formatter
                for condition in handler.filters:
                    found[name, "filter of a handler", id(condition)] = condition
        return found

    def write(self, key: Hashable, value: object) -> None:  # noqa: D102 - as Register
        name, kind, number = cast("tuple[str, str, int]", key)
        logger = logging.getLogger(name)
        match kind:
            case "level":
                logger.setLevel(0 if value is MISSING else cast("int", value))
            case "propagate":
                logger.propagate = value is MISSING or bool(value)
            case "handler":
                _replace(logger.handlers, number, value)
            case "filter":
                _replace(logger.filters, number, value)
            case _:
                self._write_on_handlers(logger, kind, number, value)

    def tell(self, key: Hashable, value: object) -> str:  # noqa: D102 - as Register
        name, kind, _ = cast("tuple[str, str, int]", key)
        return f"{kind} {name_of(value)} of logger '{name or 'root'}'"

    def _write_on_handlers(self, logger: logging.Logger, kind: str, number: int, value: object) -> None:
        for handler in logger.handlers:
            if kind == "filter of a handler":
                _replace(handler.filters, number, value)
            elif id(handler) == number:
                before = self._formatters.get(handler) if value is MISSING else value
                handler.formatter = cast("logging.Formatter | None", before)


def _set_loggers() -> list[tuple[str, logging.Logger]]:
    """Return the loggers that are not as new, which of thousands are few."""
    loggers = ("", logging.getLogger()), *logging.Logger.manager.loggerDict.copy().items()
    return [
        (name, logger)
        for name, logger in loggers
        if isinstance(logger, logging.Logger)
        and (logger.handlers or logger.filters or logger.level or not logger.propagate)
    ]


def _replace(items: object, number: int, value: object) -> None:
    """Take out the item of this identity, or put it back."""
    things = cast("list[object]", items)
    things[:] = [item for item in things if id(item) != number] + ([] if value is MISSING else [value])


def registers(is_plugins: Callable[[object], bool]) -> Iterator[Register]:
    """Yield one of each category; ``is_plugins`` tells what belongs to any plugin."""
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
    yield Table("copyreg", ("copyreg",), _of_module("copyreg", "dispatch_table"))
    yield Table("sqlite3 adapter", ("register_adapter",), _of_module("sqlite3", "adapters"))
    yield Table("sqlite3 converter", ("register_converter",), _of_module("sqlite3", "converters"))


def _settings() -> Iterator[Setting]:
    yield Setting("working directory", ("chdir", "fchdir"), os.getcwd, lambda to: os.chdir(str(to)))
    yield Setting(
        "locale",
        ("setlocale",),
        lambda: locale.setlocale(locale.LC_ALL),
        lambda to: locale.setlocale(locale.LC_ALL, str(to)),
    )
    yield Setting(
        "recursion limit",
        ("setrecursionlimit",),
        sys.getrecursionlimit,
        lambda to: sys.setrecursionlimit(cast("int", to)),
    )
    yield Setting(
        "switch interval",
        ("setswitchinterval",),
        sys.getswitchinterval,
        lambda to: sys.setswitchinterval(cast("float", to)),
    )
    yield Setting(
        "garbage collection",
        ("gc",),
        gc.isenabled,
        lambda to: gc.enable() if to else gc.disable(),
    )
    yield Setting(
        "logging threshold",
        ("disable",),
        lambda: logging.root.manager.disable,
        lambda to: logging.disable(cast("int", to)),
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
        getattr(warnings, "_filters_mutated", None),  # else the registries of modules do not notice
    )


def _active_patches() -> list[object]:
    """Return what ``unittest.mock`` keeps of patches that were started, for ``patch.stopall``."""
    patcher = getattr(sys.modules.get("unittest.mock"), "_patch", None)
    return cast("list[object]", getattr(patcher, "_active_patches", []))


def _of_module(module: str, name: str) -> Callable[[], MutableMapping[Hashable, object] | None]:
    """Return a function that gives a module's dictionary, if it is imported."""
    return lambda: cast(
        "MutableMapping[Hashable, object] | None", getattr(sys.modules.get(module), name, None)
    )
