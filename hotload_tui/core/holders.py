"""The references to a retired generation: one walk upwards from its objects to the names that a user knows.

The walk begins at the objects of the generation with references from outside. Each step finds the objects
that refer to the last ones (15 ms in a process with a million objects), so it runs only for a generation that
is still alive, and for a bounded time. It runs no code of the plugin or of the holders.
"""

from __future__ import annotations

import functools
import gc
import re
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import NamedTuple, cast

from hotload_tui.core.interpreter import frame_of, stacks, traced_now, variables_of
from hotload_tui.core.leak_path import (
    CACHE,
    is_module,
    is_ours,
    is_within,
    known,
    names_of,
    namespace_of,
    of_type,
    place,
    referrers_of,
    threads_among,
    way_down,
)
from hotload_tui.core.module_names import unique_name

SECONDS = 0.5
"""Processor time that one walk may take; the time of other threads does not count."""

MOST = 20
"""The number of references that a report names."""

_LEVELS = 16
_WIDEST = 400  # objects to follow on one level
_ALIKE = 16  # objects of one shape to follow on one level, if they do not refer to the generation itself
_GENERATION = re.compile(r"\.g\d+_[0-9a-f]{12}x*(?=\.)")  # in the unique names of other plugins' modules
_GENERAL = ("builtins", "collections", "functools", "weakref", "_weakrefset", "types", "abc")
"""The modules of the standard library whose objects any code may fill; others rely on their contents."""
_PLAIN = (bool, int, float, str, bytes, type(None))


class Reference(NamedTuple):
    """A reference from other code to an object of the generation."""

    what: str
    """The unique name of the object, or of its class."""
    where: str
    """The path to it from an object that a user knows."""
    thing: object
    """The object of the generation."""
    target: object
    """The object where the walk began: ``thing``, or an object in it."""
    way: tuple[object, ...]
    """The objects on the path, from the known one to the one that refers to ``thing``."""
    shared: frozenset[int]
    """The identities of those on the path to which several objects refer."""
    is_in_module: bool
    """Whether the path begins at a module."""
    is_activity: bool
    """Whether a thread or task holds it, which is reported as such."""

    @property
    def is_attribute(self) -> bool:
        """Whether ``thing`` is an attribute of a module."""
        return self.is_in_module and len(self.way) == 1

    def keeper(self, root: str) -> str:
        """Return who owns a part of the path that only its owner may change; empty if nobody does."""
        plugins, hotload = root.partition(".")[0], __name__.partition(".")[0]
        for name in (name for thing in self.way for name in _modules_of(thing)):
            head = str(name).partition(".")[0]
            if head in (plugins, hotload):
                return "a plugin" if head == plugins else "hotload"
            if head in sys.stdlib_module_names and head not in _GENERAL:
                return "the standard library"
        return ""


def _modules_of(thing: object) -> Iterator[object]:
    kind = type(thing)
    if type(thing) is FunctionType:
        yield thing.__module__
    yield of_type(cast("type", thing) if issubclass(kind, type) else kind, "__module__")
    if kind is dict and "__spec__" in cast("dict[object, object]", thing):
        yield cast("dict[object, object]", thing).get("__name__")


def holds_of(targets: Sequence[object], own: set[int], root: str) -> tuple[list[Reference], str]:
    """Return the references to ``targets`` from other code; if there are none, also text that says so.

    ``own`` are the identities of the objects that belong to the modules ``root``: no user knows these, so no
    path leads through them. The result may be empty: the collector sees no references from C code.
    """
    deadline = time.thread_time() + SECONDS
    walk = _Walk(targets, own | {id(targets)}, root, deadline, _ALIKE)
    walk.run()
    holds = walk.holds()
    if not holds and walk.has_left_out:
        walk = _Walk(targets, own | {id(targets)}, root, deadline, _WIDEST)
        walk.run()
        holds = walk.holds()
    return holds, "" if holds else walk.unknown()


def running_in(root: str) -> str:
    """Return the thread that runs code of the modules ``root``, and its place; empty if none does."""
    for thread, stack in threads_among(stacks()):
        own = [frame for frame in stack if is_within(frame.f_globals.get("__name__"), root)]
        if own:
            first, now = own[-1].f_code, own[0]
            start = place(first.co_filename, first.co_firstlineno)
            at = f":{now.f_lineno}"
            if now.f_code.co_filename != first.co_filename:
                at = place(now.f_code.co_filename, now.f_lineno)
            return f"thread '{thread}' running {first.co_qualname} ({start}), now at {at}"
    return ""


class _Walk:
    """One walk upwards, breadth first, and the paths down from the names that it reaches."""

    def __init__(
        self, targets: Sequence[object], own: set[int], root: str, deadline: float, most_alike: int
    ) -> None:
        self._own = own
        self._root = root
        self._deadline = deadline
        self._most_alike = most_alike
        self._modules = {
            id(namespace_of(module)): name for name, module in _modules() if not is_within(name, root)
        }
        self._found: dict[int, object] = {id(thing): thing for thing in targets}
        self._parts = {*self._found}  # the generation's objects
        self._below: defaultdict[int, dict[int, None]] = defaultdict(dict)
        self._above: Counter[int] = Counter()
        self._starts: dict[int, tuple[str, str]] = {}  # what precedes and follows the path
        self.is_cut = False
        self.has_left_out = False

    def run(self) -> None:
        """Find the holders of the targets, up to the first names."""
        level = tuple(self._found.values())
        for _ in range(_LEVELS):
            level = self._next(level)
            if not level:
                return
            if time.thread_time() > self._deadline:
                self.is_cut = True
                return

    def _next(self, level: tuple[object, ...]) -> tuple[object, ...]:
        """Return the new objects that refer to objects of ``level``, except those known by name."""
        wanted = {id(thing) for thing in level}
        above: list[object] = []
        shapes: Counter[tuple[object, ...]] = Counter()
        for holder in referrers_of(level[:_WIDEST]):  # not a list: its copy would be a holder
            key = id(holder)
            if key in self._own or holder is level or holder is self._found or _is_of_search(holder):
                continue
            below = [id(part) for part in gc.get_referents(holder) if id(part) in wanted]
            if not below or (key not in self._found and len(above) >= _WIDEST):
                continue
            if key not in self._found and self._parts.isdisjoint(below):
                # Of a thousand nodes of a tree that name their parent, a few show what the others show.
                shapes[shape := _shape(holder)] += 1
                if shapes[shape] > self._most_alike:
                    self.has_left_out = True
                    continue
            self._below[key].update(dict.fromkeys(below))
            self._above.update({*below})
            if key not in self._found:
                self._found[key] = holder
                self._note(key, holder, above)
        return tuple(above)

    def _note(self, key: int, holder: object, above: list[object]) -> None:
        if self._is_part(holder):
            self._parts.add(key)
            above.append(holder)
            return
        start = self._modules.get(key) or known(holder)
        if start:
            self._starts[key] = start, ""
        else:
            above.append(holder)

    def _is_part(self, thing: object) -> bool:
        """Return whether an object belongs to the generation, by its class, its function or its code."""
        kind = type(thing)
        if kind is MethodType:
            method = cast("MethodType", thing)
            return self._is_part(method.__func__) or self._is_part(method.__self__)
        if kind is functools.partial:
            return self._is_part(cast("functools.partial[object]", thing).func)
        if kind is CACHE:
            return self._is_part(vars(thing).get("__wrapped__"))
        if kind is tuple:  # such as a pair of a priority and a handler
            items = cast("tuple[object, ...]", thing)
            own = [item for item in items if type(item) not in _PLAIN]
            return bool(own) and all(self._is_part(item) for item in own)
        frame = thing if kind is FrameType else None
        if frame is not None:
            return is_within(cast("FrameType", frame).f_globals.get("__name__"), self._root)
        return id(thing) in self._own or any(True for _ in names_of(thing, self._root))

    def unknown(self) -> str:
        """Return the description of a holder that no path leads to."""
        if self.is_cut:
            return f"something not found in {SECONDS:g} s of searching"
        key, top = next(reversed(self._found.items()))
        if type(top) is list:
            start = "a list inside the interpreter (audit or at-fork hooks)"
        else:
            what = "C code or a frozen object" if gc.get_freeze_count() else "C code"
            start = f"{what}, which the collector cannot look into"
        return start + way_down([self._found[each] for each in self._inside(key)], is_module=False)

    # ---- the way down

    def holds(self) -> list[Reference]:
        """Return the references from other code, the shortest paths first."""
        found = list(self._from_starts())
        if not found or self._is_unnamed():
            self._add_locals()
            found = list(self._from_starts())
        return found

    def _is_unnamed(self) -> bool:
        """Return whether a list, dictionary or set refers to the generation, and no path leads to it."""
        reached = self._ways()
        return any(
            key not in reached and key not in self._parts and type(self._found[key]) in (list, dict, set)
            for key, below in self._below.items()
            if not self._parts.isdisjoint(below)
        )

    def _ways(self) -> dict[int, tuple[int, ...]]:
        """Return the path from a known object to each object of other code, by identity."""
        ways: dict[int, tuple[int, ...]] = {key: (key,) for key in self._starts}
        waiting = deque(ways)
        while waiting:
            key = waiting.popleft()
            for below in self._below.get(key, ()):
                if below not in ways and below not in self._parts:
                    ways[below] = (*ways[key], below)
                    waiting.append(below)
        return ways

    def _from_starts(self) -> Iterator[Reference]:
        for key, way in self._ways().items():
            if key in self._parts:  # a local variable is the generation's object itself
                yield self._hold(way[:-1], key, self._starts[key])
            for below in self._below.get(key, ()) if key not in self._parts else ():
                if below in self._parts:
                    yield self._hold(way, below, self._starts[way[0]])

    def _hold(self, way: tuple[int, ...], part: int, start: tuple[str, str]) -> Reference:
        inside = self._inside(part)
        things = [self._found[key] for key in (*way, *inside)]
        before, after = start
        is_module = bool(way) and way[0] in self._modules
        holders = tuple(things[: len(way)])
        is_running = bool(way) and before.startswith(("thread '", "asyncio task '"))
        register = _register_below(holders) if is_running else ()
        return Reference(
            next(self._names(self._found[part]), ""),
            _GENERATION.sub("", before + way_down(things, is_module=is_module) + after),
            self._found[part],
            self._found[inside[-1]],
            register or holders,
            frozenset(key for key in way if self._above[key] > 1),
            is_module,
            is_running and not register,
        )

    def _inside(self, part: int) -> list[int]:
        """Return the path from an object of the generation down to the object where the walk began."""
        path = [part]
        while below := [key for key in self._below.get(path[-1], ()) if key in self._found]:
            if below[0] in path:
                break
            path.append(below[0])
        return path

    def _names(self, thing: object) -> Iterator[str]:
        kind = type(thing)
        if kind is MethodType:
            method = cast("MethodType", thing)
            yield from self._names(method.__func__)
            yield from self._names(method.__self__)
        elif kind is functools.partial:
            yield from self._names(cast("functools.partial[object]", thing).func)
        elif kind is CACHE:
            yield from self._names(vars(thing).get("__wrapped__"))
        elif kind is tuple:
            for item in cast("tuple[object, ...]", thing):
                yield from self._names(item)
        elif kind is FrameType:
            frame = cast("FrameType", thing)
            yield f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        elif is_module(thing):
            yield str(unique_name(namespace_of(thing).get("__name__")))
        elif kind is dict and "__name__" in cast("dict[object, object]", thing):
            yield str(unique_name(cast("dict[object, object]", thing)["__name__"]))
        else:
            yield from names_of(thing, self._root)

    def _add_locals(self) -> None:
        """Make local variables of running code starts of paths, unless another path leads to their values.

        A method that runs has its object as a local variable: that is no place that users know.
        """
        reached, running = self._ways(), stacks()
        try:
            for key, before, after in _locals_among(self._found, running, self._root):
                if key not in reached:
                    self._starts.setdefault(key, (before, after))
        finally:
            for stack in running.values():
                stack.clear()  # this frame is in one of them: a cycle would keep its callers' variables


def _locals_among(
    things: Mapping[int, object], running: Mapping[int, list[FrameType]], root: str
) -> Iterator[tuple[int, str, str]]:
    """Yield the identity of each local variable among ``things``, its name, and where it is.

    The generation's own functions, the modules ``root``, are left out: their thread is reported.
    """
    traced = traced_now(running)
    for thread, stack in threads_among(running):
        for frame in (each for each in stack if not is_within(each.f_globals.get("__name__"), root)):
            for name, value in variables_of(frame, traced).items():
                if things.get(id(value), things) is value:
                    code = frame.f_code
                    at = place(code.co_filename, frame.f_lineno)
                    yield id(value), f"local '{name}'", f" of {code.co_qualname} ({at}) in thread '{thread}'"


def _shape(holder: object) -> tuple[object, ...]:
    """Return what objects have in common that refer to others in the same way, as the nodes of a tree do."""
    if type(holder) is dict:
        keys = cast("dict[object, object]", holder)
        first = next(iter(keys.copy() if len(keys) < _WIDEST else ()), None)
        return id(dict), len(keys), first if type(first) is str else None
    return id(type(holder)), len(holder) if type(holder) in (list, tuple) else 0  # type: ignore[arg-type]


_CALLED = (MethodType, FunctionType, FrameType, CellType, CoroutineType, GeneratorType, AsyncGeneratorType)


def _register_below(holders: Sequence[object]) -> tuple[object, ...]:
    """Return the part of the path from a thread or task that begins at an object of other code.

    ``asyncio.run(main())`` holds the application that is a local variable of ``main``.
    """
    inside = [*holders[1:]]
    if issubclass(type(holders[0]), threading.Thread):
        if inside and type(inside[0]) is dict and _namespace_of(holders[0]) is inside[0]:
            inside = inside[1:]
        if inside and type(inside[0]) in (tuple, dict):  # the arguments
            inside = inside[1:]
    while inside and type(inside[0]) in _CALLED:
        inside = inside[1:]
    return tuple(inside)


def _namespace_of(thing: object) -> object:
    return object.__getattribute__(thing, "__dict__")


def _modules() -> Iterable[tuple[str, ModuleType]]:
    return [(name, module) for name, module in sys.modules.copy().items() if is_module(module)]


def _is_of_search(holder: object) -> bool:
    """Return whether ``holder`` is running code of this package, which is looking at the object now."""
    frame = holder if type(holder) is FrameType else frame_of(holder)
    return frame is not None and is_ours(frame)
