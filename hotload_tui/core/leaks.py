"""Whether a retired generation is freed, and which of its objects are still alive."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import inspect
import itertools
import logging
import sys
import typing
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from types import FunctionType, ModuleType
from typing import Final, TypeAlias, TypeVar, cast

from hotload_tui.core.holders import Reference, holds_of, running_in
from hotload_tui.core.interpreter import make_young
from hotload_tui.core.leak_path import (
    Holding,
    classes_of,
    garbage,
    held_from_outside,
    held_objects,
    is_clock,
    is_handler_of,
    is_module,
    is_within,
    members,
    names_of,
    namespace_of,
    of_type,
    zone_of,
)
from hotload_tui.core.module_names import names_below
from hotload_tui.core.primitives import monotonic


def collect() -> None:
    """Free objects that only cycles hold; this takes 0.1 s with a million objects."""
    gc.collect()


def forget(root: str) -> None:
    """Remove the entries of modules whose names begin with ``root`` from registers that only grow."""
    forget_loggers(
        root.rpartition(".")[0], lambda logger: is_within(of_type(type(logger), "__module__"), root)
    )
    _hand_over_loggers(root)
    _forget_overloads(root)
    for name in ("modulesbyfile", "_filesbymodname"):
        _forget_modules(getattr(inspect, name, None), root)
    for clear in cast("Iterable[Callable[[], None]]", getattr(typing, "_cleanups", ())):
        clear()  # the caches of ``List[X]`` and similar types
    _forget_types(getattr(ctypes, "_pointer_type_cache", None), root)
    _forget_arguments(root)
    _forget_warnings(root)


def forget_loggers(parent: str, is_wanted: Callable[[object], bool] = lambda _: True) -> None:
    """Remove the loggers, and their placeholders, that a plugin named after its modules, below ``parent``.

    The versions of a plugin share them; ``is_wanted`` chooses some.
    """
    manager = logging.Logger.manager
    start = f"{parent}."
    with logging._lock:  # type: ignore[attr-defined]  # noqa: SLF001 - as logging does; typeshed hides it
        gone = [
            (name, logger)
            for name, logger in manager.loggerDict.items()
            if (name == parent or name.startswith(start)) and is_wanted(logger)
        ]
        for name, logger in gone:
            del manager.loggerDict[name]
            above = name.rpartition(".")[0]
            while above and isinstance(logger, logging.Logger):
                holder = manager.loggerDict.get(above)
                if isinstance(holder, logging.PlaceHolder):
                    holder.loggerMap.pop(logger, None)
                above = above.rpartition(".")[0]


def _hand_over_loggers(root: str) -> None:
    """Give each logger of a class in ``root`` the next version's class, or the first base of other code.

    The program keeps the logger, because its name is not a plugin's.
    """
    following = logging.getLoggerClass()
    names = of_type(following, "__module__"), of_type(following, "__qualname__")
    for logger in logging.Logger.manager.loggerDict.copy().values():
        kind = type(logger)
        if not is_within(of_type(kind, "__module__"), root):
            continue
        is_same = (of_type(kind, "__module__"), of_type(kind, "__qualname__")) == names
        bases = cast("tuple[type, ...]", of_type(kind, "__mro__"))
        others = (each for each in bases if not is_within(of_type(each, "__module__"), root))
        with contextlib.suppress(TypeError):  # another layout
            new = following if is_same and following is not kind else next(others)
            object.__setattr__(logger, "__class__", new)


def _logger_names() -> Iterator[int]:
    """Yield the identities of the names of all loggers: those of a plugin stay, and have a module's name."""
    for key, logger in logging.Logger.manager.loggerDict.copy().items():
        yield id(key)
        yield id(getattr(logger, "name", None))


def _forget_overloads(root: str) -> None:
    """Remove the functions of the modules in ``root`` from the overloads that ``typing`` knows.

    The next version's functions have the same keys; of them remain those that are at other lines.
    """
    parent = root.rpartition(".")[0]
    registry = _overload_registry()
    for module in [name for name in registry.copy() if type(name) is str and name.startswith(parent)]:
        of_module = registry[module]
        for functions in of_module.values():
            for line, found in functions.copy().items():
                is_wrapped = type(found) in (staticmethod, classmethod)
                function = getattr(found, "__func__", None) if is_wrapped else found
                if type(function) is FunctionType and is_within(function.__globals__.get("__name__"), root):
                    del functions[line]
        if not any(of_module.values()):
            registry.pop(module, None)


_Overloads: TypeAlias = dict[str, dict[str, dict[int, object]]]
"""Functions by module, qualified name and line."""


def _overload_registry() -> _Overloads:
    registry: _Overloads = getattr(typing, "_overload_registry", {})
    return registry


def overloads(parent: str) -> _Overloads:
    """Return the overloads of the plugin with the stable name ``parent``."""
    return {
        module: {name: functions.copy() for name, functions in of_module.copy().items()}
        for module, of_module in _overload_registry().copy().items()
        if type(module) is str and module.startswith(parent)
    }


def restore_overloads(known: _Overloads) -> None:
    """Put back the overloads of the live version, which a failed load has replaced."""
    registry = _overload_registry()
    for module, of_module in known.items():
        for name, functions in of_module.items():
            registry[module][name].update(functions)


def _forget_modules(register: object, root: str) -> None:
    """Remove the entries whose key or value is the name of a module in ``root``."""
    if isinstance(register, dict):
        for key, value in dict.copy(register).items():
            if is_within(key, root) or is_within(value, root):
                register.pop(key, None)


def _forget_types(cache: object, root: str) -> None:
    """Remove the entries whose key is a class in ``root``, or a tuple that contains one."""
    if type(cache) is dict:
        for key in list(cache):
            kinds = [part for part in (key if type(key) is tuple else (key,)) if issubclass(type(part), type)]
            if any(is_within(of_type(kind, "__module__"), root) for kind in kinds):
                cache.pop(key, None)


_CACHES: Final = (
    ("urllib.parse", ("urlsplit", "_byte_quoter_factory")),
    ("fnmatch", ("_compile_pattern",)),
    ("re", ("_cache", "_cache2", "_compile_template", "_compile_repl")),
    ("_strptime", ("_regex_cache",)),
)
"""The caches of the standard library that strings of a plugin's own class can be in."""


_CACHE = type(functools.lru_cache(len))


def _forget_arguments(root: str) -> None:
    """Remove objects of classes in ``root`` from the caches of the standard library's functions."""

    def has_own(things: list[object]) -> bool:
        return any(is_within(of_type(kind, "__module__"), root) for kind in _types_in(things))

    for module, names in _CACHES:
        for cache in (getattr(sys.modules.get(module), name, None) for name in names):
            if type(cache) is dict and has_own([*cache]):
                for key in [key for key in list(cache) if has_own([key])]:
                    cache.pop(key, None)
            elif type(cache) is _CACHE and has_own(gc.get_referents(cache)):
                cache.cache_clear()


def _types_in(things: list[object]) -> Iterable[type]:
    """Return each type of the things, and of the items of tuples among them, once: caches have thousands."""
    tuples = [thing for thing in things if type(thing) is tuple]
    kinds = [*map(type, things), *map(type, itertools.chain.from_iterable(tuples))]
    return dict(zip(map(id, kinds), kinds, strict=True)).values()  # a metaclass could run code for a hash


def _forget_warnings(root: str) -> None:
    """Remove warnings of the plugin's own categories from the namespaces of other modules."""
    plugins = f"{root.rsplit('.', 2)[0]}."
    for name, module in sys.modules.copy().items():
        if type(module) is ModuleType:  # nearly all of thousands; this loop runs for each generation
            registry = module.__dict__.get("__warningregistry__")
        elif is_module(module) and not (type(name) is str and name.startswith(plugins)):
            registry = namespace_of(module).get("__warningregistry__")
        else:
            continue  # a plugin's stable name: its module also has a unique name
        if registry:
            _forget_types(registry, root)
    _forget_types(getattr(warnings, "onceregistry", None), root)


FREED: Final = "freed"

_SENTINEL = (
    "__loader__"  # one per module; lives as long as the module's namespace, which allows no weak reference
)
_SHOWN = 3  # names, and holders, that a verdict shows; the ledger lists more
_LARGE = 20_000  # objects; a generation with more is not searched twice for the same thing
_MOST_VISITED: Final = 1_000_000  # objects that the searches for one generation's open resources visit
_REST: Final = 50  # the pause after a search of a large generation, as a multiple of the search's time


_T = TypeVar("_T")


class _Nowhere(tzinfo):
    """The new class of a plugin's ``tzinfo`` in garbage: the object no longer leads to its old class."""


class LivenessCheck:
    """Watches the modules, namespaces, classes and functions of a generation that is about to be dropped."""

    def __init__(
        self, plugin: str, root: str, modules: Mapping[str, object], others: Iterable[object] = ()
    ) -> None:
        """Watch the modules, given by unique name; all names begin with ``root``, shown as ``plugin``.

        ``others`` are objects in cycles with the modules that the modules need not lead to, such as closures
        over the plugin's context.
        """
        self._plugin = plugin
        self.root = root
        """The start of the unique names of the generation's modules."""
        # The collector may run at any time, and would free open resources unclosed: a process would run on.
        self._kept: list[object] = list(modules.values())
        self._references: dict[str, weakref.ref[object]] = {}
        self._others: list[weakref.ref[object]] = []
        self._classes: list[weakref.ref[object]] | None = None  # until they are looked for
        self._held: set[str] | None = None
        self._holding = Holding()
        self._held_by: list[str] = []
        self._unknown = ""
        self._target_names: set[str] = set()
        self._said = ""
        self._is_given_up = False
        self._absent: set[Callable[[object], bool]] = set()
        self._present: set[Callable[[object], bool]] = set()
        self._blocking = Holding()
        self._to_visit = _MOST_VISITED
        self._is_large = False
        self._next_search = 0.0
        self._was_early = False
        self._module_names = names_below(root)  # kept, to recognize classes that outlive the generation
        for thing in others:
            with contextlib.suppress(TypeError):  # as in ``_watch``
                self._others.append(weakref.ref(thing))
        for name, module in modules.items():
            self._watch(name, module)
            if is_module(module):
                self._watch_names(name, namespace_of(module))

    def is_freed(self) -> bool:
        """Return whether nothing of the generation is left; this costs almost nothing."""
        if not all(reference() is None for reference in self._references.values()):
            return False
        names = self._module_names
        if self._classes is None and names is not None and names.are_in_use(_logger_names):
            self._find_classes()
        return all(reference() is None for reference in self._classes or ())

    def garbage(self, is_wanted: Callable[[object], bool]) -> list[object] | None:
        """Return the generation's objects if one is wanted, otherwise none; ``None`` if something holds any.

        The next collection of young objects frees them after ``let_go``, unless something holds them.
        """
        if is_wanted in self._absent:
            return []
        if self._to_visit <= 0 or (is_wanted in self._present and self._blocking.goes_on()):
            return None
        found = members([*self._watched(), *self._others], self.root)
        self._to_visit -= len(found)
        self._is_large = len(found) > _LARGE
        make_young(found)
        one_of_each_type = dict(zip(map(id, map(type, found)), found, strict=True)).values()
        if not any(map(is_wanted, one_of_each_type)):
            if self._is_large:
                self._absent.add(is_wanted)
            return []  # the usual case; the full search visits all objects of the process
        self._present.add(is_wanted)
        self._to_visit -= len(found)
        del found, one_of_each_type  # they would count as holders
        unheld, self._blocking = garbage(self._watched(), self.root, self._kept)
        return unheld

    def let_go(self) -> bool:
        """Drop the references that keep the generation; return whether there were any."""
        was_kept = bool(self._kept)
        self._kept.clear()
        return was_kept

    def cut(self) -> None:
        """Break cycles through a ``tzinfo`` unseen by the collector, unless something holds a part."""
        for clock in filter(is_clock, self.garbage(is_clock) or ()):
            zone = zone_of(clock)
            if zone is not None and any(True for _ in names_of(zone, self.root)):
                with contextlib.suppress(TypeError, AttributeError):  # another layout, or no namespace
                    object.__getattribute__(zone, "__dict__").clear()
                    object.__setattr__(zone, "__class__", _Nowhere)

    def is_let_go(self) -> bool:
        """Return whether something has been released since the last call: the collector may free it now.

        A large generation is not searched at each call.
        """
        is_early = self._is_large and monotonic() < self._next_search
        if self._is_given_up or (is_early and not self.may_be_let_go()):
            return False
        self._was_early = is_early
        before = self._held
        self._held, self._holding = self._searched(lambda: held_from_outside(self._watched(), self.root))
        if self._held == before or self.is_freed():
            return False
        self._held_by, self._said = [], ""
        self._to_visit = _MOST_VISITED
        return True

    def may_be_let_go(self) -> bool:
        """Return whether what held the generation at the last search seems gone; this costs almost nothing.

        After a search that was early and in vain, the answer is no until another search is due.
        """
        return self.is_freed() or (self._holding.has_ended() and not self._was_early)

    def holds(self, frames: Iterable[object] = (), claimed: Sequence[object] = ()) -> list[Reference]:
        """Return the references from other code, for the verdict too; the caller drops the result soon.

        ``frames`` count as part of the generation: the frames of the error that ended its load. So do
        ``claimed``: objects of other code that the load created.
        """
        self._held_by, self._said = [], ""
        self._find_classes()
        targets, own, names, self._holding = self._searched(
            lambda: held_objects(self._watched(), self.root, self._kept, frames, claimed)
        )
        self._held = None if frames or claimed else names
        self._target_names = {*map(self.named, names)}
        if not targets:
            return []
        holds, self._unknown = holds_of(targets, own, self.root)
        running = running_in(self.root)
        # A call in flight holds the generation's own handlers: not they, but the call is to be named.
        others = [hold for hold in holds if not (hold.way and is_handler_of(hold.way[0], self.root))]
        if others or running:
            holds = others
        found = [hold.where for hold in holds if not (running and hold.is_activity)]
        self._held_by = [*([running] if running else []), *dict.fromkeys(found)] or [self._unknown]
        return holds

    def unseen(self) -> str:
        """Return what the last search found to be held by an object that it cannot see; empty if nothing.

        That is named only if the program has called ``gc.freeze``: else it is C code, mostly for a moment.
        """
        is_unseen = self._target_names and gc.get_freeze_count() and self._held_by == [self._unknown]
        return f"{', '.join(sorted(self._target_names))}, held by {self._unknown}" if is_unseen else ""

    def _searched(self, search: Callable[[], _T]) -> _T:
        """Return the result of a search; its time decides when a large generation is searched again."""
        begun = monotonic()
        found = search()
        now = monotonic()
        self._next_search = now + _REST * (now - begun)
        return found

    def verdict(self) -> str:
        """Return ``freed``, or ``alive:`` with the held objects, as the author names them, and their holders.

        The search for the holders runs once, and again after ``is_let_go`` has returned true.
        """
        if self.is_freed():
            return FREED
        if not self._said:
            if not self._held_by:
                self.holds()
            shown, count = self._held_by[:_SHOWN], len(self._held_by)
            others = f" and {count - _SHOWN} more" if count > _SHOWN else ""
            held_by = f", held by {', '.join(shown)}{others}" if shown else ""
            self._said = f"{self._alive()}{held_by}"
        return self._said

    def _alive(self) -> str:
        names = sorted(set(self._names()))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"alive: {', '.join(names[:_SHOWN])}{more}"

    def give_up(self, reason: str) -> None:
        """Search no more, and hold nothing: a search has failed for ``reason``."""
        self._kept.clear()
        self._is_given_up, self._to_visit = True, 0
        self._classes, self._held, self._holding = self._classes or [], set(), Holding()
        self._said = f"{self._alive()}; what holds it is not known: the search failed ({reason})"

    def named(self, unique: str) -> str:
        """Return the author's name for an object with this unique name."""
        return self._plugin + unique.removesuffix(f".{_SENTINEL}").removeprefix(self.root)

    def _names(self) -> Iterator[str]:
        if self._held is None:
            self._held, self._holding = held_from_outside(self._watched(), self.root)
        held = self._held
        if not held:  # the namespaces are gone, or no holder was found: report the live objects
            held = {name for name, reference in self._references.items() if reference() is not None}
            held.update(name for each in self._classes or () for name in names_of(each(), self.root))
        for name in held:
            yield self.named(name)

    def _watched(self) -> list[weakref.ref[object]]:
        return [*self._references.values(), *(self._classes or ())]

    def _find_classes(self) -> None:
        """Find the classes that functions made: a class without functions keeps no module alive."""
        self._classes = [weakref.ref(kind) for kind in classes_of(self.root)]

    def _watch(self, name: str, thing: object) -> None:
        with contextlib.suppress(TypeError):  # an object of the plugin may allow no weak reference
            self._references[name] = weakref.ref(thing)

    def _watch_names(self, module: str, namespace: dict[str, object]) -> None:
        for name, thing in namespace.copy().items():
            if name == _SENTINEL:
                self._watch(f"{module}.{name}", thing)
            elif type(thing) is FunctionType or issubclass(type(thing), type):
                for shown in names_of(thing, self.root):
                    self._watch(shown, thing)
