"""``HookHost``: the hook points at which a program calls its plugins.

One call sees one snapshot of the whole hook table, at every hook point that it reaches; a swap is one
assignment. A caller enters itself into its table's set of calls in flight and then reads the table again,
starting over if it changed: else a retirement could see nobody inside while somebody is about to enter.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from types import CoroutineType
from typing import Protocol, TypeAlias

from hotload_tui.core.errors import HookError
from hotload_tui.core.faults import fault_of
from hotload_tui.core.plugin import Fault, HandlerStatus, HookPointStatus, Invocation

logger = logging.getLogger("hotload")

_SAMPLE = 64  # one call in so many is timed: timing costs more than the call itself


class HookFunction(Protocol):
    """What a plugin registers."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Answer a call of the host."""
        ...


class Handler:
    """A plugin's callable at a hook point; identity counts."""

    __slots__ = (
        "_calls",
        "_samples",
        "_seconds",
        "call",
        "faults",
        "function",
        "generation",
        "plugin",
        "point",
        "priority",
    )

    def __init__(
        self, point: str, call: HookFunction, *, plugin: str, generation: int, priority: int
    ) -> None:
        self.point = point
        self.call = call
        self.plugin = plugin
        self.generation = generation
        self.priority = priority
        self.function = str(getattr(call, "__qualname__", type(call).__qualname__))
        self.faults = 0
        self._calls = itertools.count(1)  # next() is atomic; += is not
        self._samples = 0
        self._seconds = 0.0

    def count(self) -> bool:
        """Count a call and tell whether it is one of those to be timed."""
        return next(self._calls) % _SAMPLE == 1

    def add_sample(self, seconds: float) -> None:
        """Add a timed call."""
        self._samples += 1
        self._seconds += seconds

    def status(self) -> HandlerStatus:
        """Return the figures so far."""
        return HandlerStatus(
            plugin=self.plugin,
            function=self.function,
            priority=self.priority,
            generation=self.generation,
            calls=_peek(self._calls) - 1,
            faults=self.faults,
            mean_seconds=self._seconds / self._samples if self._samples else 0.0,
        )


_Handlers: TypeAlias = tuple[Handler, ...]
_Args: TypeAlias = tuple[object, ...]
_Kwargs: TypeAlias = dict[str, object]


class HookTable:
    """An immutable mapping of hook points to handlers in order, and who is calling through it."""

    __slots__ = ("calls", "points")

    def __init__(self, points: dict[str, tuple[Handler, ...]]) -> None:
        self.points = points
        self.calls: set[CallRecord] = set()


class CallRecord:
    """One call in flight; closed when it ends, because tasks started in it inherit its context."""

    __slots__ = ("host", "is_open", "outer", "table", "token")

    def __init__(self, host: HookHost, table: HookTable, outer: CallRecord | None) -> None:
        """Begin a call through ``table``, inside the call ``outer`` of this host or another."""
        self.host = host
        self.table = table
        self.outer = outer
        self.is_open = True
        self.token: Token[CallRecord | None] | None = None


_NOWHERE = HookTable({})

_current: ContextVar[CallRecord | None] = ContextVar("hotload_call", default=None)

FaultObserver: TypeAlias = Callable[[Fault, int], None]
"""Called with a handler's fault and the number of its generation, in the thread of the call."""


class HookHost:
    """Where a program calls its plugins; safe to use from any thread and any event loop."""

    def __init__(self) -> None:
        self._table = HookTable({})
        self._superseded: list[HookTable] = []
        self._swap_lock = threading.Lock()
        self._left = threading.Condition()
        self._waiting = 0
        self._observer: FaultObserver | None = None
        self._module_path = "hotplug"
        self._point_calls: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)

    # ---- the program's side

    def call(self, point: str, /, *args: object, **kwargs: object) -> list[object]:
        """Call every handler and return their values in order; one that raises is left out.

        A handler that raises becomes a fault of its plugin, and the others still run.
        """
        record = self._enter(point)
        try:
            return self._all(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._leave(record)

    def first(self, point: str, /, *args: object, **kwargs: object) -> object:
        """Call handlers in order until one returns something other than ``None``; return that."""
        record = self._enter(point)
        try:
            return self._first(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._leave(record)

    def pipe(self, point: str, value: object, /, *args: object, **kwargs: object) -> object:
        """Give each handler the value that the one before returned; return the last one's.

        A handler that raises is passed over: the next one gets what it got.
        """
        record = self._enter(point)
        try:
            return self._pipe(record.table.points.get(point, ()), value, args, kwargs)
        finally:
            self._leave(record)

    async def acall(self, point: str, /, *args: object, **kwargs: object) -> list[object]:
        """As ``call``, awaiting handlers that are coroutine functions, one after the other."""
        record = self._enter(point)
        try:
            return await self._aall(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._leave(record)

    async def afirst(self, point: str, /, *args: object, **kwargs: object) -> object:
        """As ``first``, awaiting handlers that are coroutine functions."""
        record = self._enter(point)
        try:
            return await self._afirst(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._leave(record)

    async def apipe(self, point: str, value: object, /, *args: object, **kwargs: object) -> object:
        """As ``pipe``, awaiting handlers that are coroutine functions."""
        record = self._enter(point)
        try:
            return await self._apipe(record.table.points.get(point, ()), value, args, kwargs)
        finally:
            self._leave(record)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """As ``call``, and tell each handler's fault and time; the values are the handlers' own objects."""
        record = self._enter(point)
        try:
            return self._invoke(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._leave(record)

    def points(self) -> tuple[HookPointStatus, ...]:
        """Return every hook point that has handlers or was called, in order of name."""
        table = self._table.points
        calls = self._point_calls
        return tuple(
            HookPointStatus(
                point=point,
                handlers=tuple(handler.status() for handler in table.get(point, ())),
                calls=_peek(calls[point]) if point in calls else 0,
            )
            for point in sorted({*table, *list(calls)})  # list(): other threads go on calling
        )

    # ---- the loader's side

    def observe(self, observer: FaultObserver, module_path: str) -> Callable[[], None]:
        """Tell ``observer`` every handler's fault; returns the undo.

        Modules below ``module_path`` belong to plugins.
        """
        self._observer, self._module_path = observer, module_path

        def stop() -> None:
            if self._observer is observer:
                self._observer = None

        return stop

    def swap(self, changes: Mapping[str, Sequence[Handler]]) -> None:
        """Give each plugin in ``changes`` just these handlers, all plugins in one assignment.

        Handlers stand in order of priority, then plugin name, then registration: a reload changes no order.
        """
        with self._swap_lock:
            before = self._table
            touched = {handler.point for handlers in changes.values() for handler in handlers}
            touched |= {
                point
                for point, handlers in before.points.items()
                if any(handler.plugin in changes for handler in handlers)
            }
            points = dict(before.points)
            for point in touched:
                kept = [handler for handler in points.get(point, ()) if handler.plugin not in changes]
                added = [h for handlers in changes.values() for h in handlers if h.point == point]
                ordered = sorted(kept + added, key=lambda handler: (handler.priority, handler.plugin))
                points[point] = tuple(ordered)
                if not ordered:
                    del points[point]
            self._superseded = [table for table in self._superseded if table.calls]
            self._superseded.append(before)
            self._table = HookTable(points)

    def handlers_of(self, plugin: str) -> tuple[Handler, ...]:
        """Return the plugin's live handlers, in order of hook point."""
        table = self._table.points
        return tuple(h for point in sorted(table) for h in table[point] if h.plugin == plugin)

    def drain(self, timeout: float) -> int:
        """Wait until every call that began before the last swap has left; return how many have not.

        ``timeout`` is in seconds. A call in flight of the waiting thread's own does not count: a plugin may
        ask for its own reload.
        """
        deadline = time.monotonic() + timeout
        tables = list(self._superseded)
        own = set(_chain(_current.get()))
        with self._left:
            self._waiting += 1
            try:
                while inside := sum(len(table.calls - own) for table in tables):
                    remaining = deadline - time.monotonic()
                    if remaining <= 0:
                        return inside
                    self._left.wait(remaining)
                return 0
            finally:
                self._waiting -= 1
                with self._swap_lock:  # a table that nobody is in would hold old generations
                    self._superseded = [table for table in self._superseded if table.calls]

    # ---- calls in flight

    def _enter(self, point: str) -> CallRecord:
        next(self._point_calls[point])
        outer = _current.get()
        enclosing = self._enclosing(outer)
        while True:
            table = self._table if enclosing is None else enclosing.table
            record = CallRecord(self, table, outer)
            table.calls.add(record)
            if self._table is table if enclosing is None else enclosing.is_open:
                break
            table.calls.discard(record)
            enclosing = None  # if there was one, it ended in another thread just now
        record.token = _current.set(record)
        return record

    def _enclosing(self, record: CallRecord | None) -> CallRecord | None:
        """Return the innermost call of this host that ``record`` is part of."""
        while record is not None and not (record.is_open and record.host is self):
            record = record.outer
        return record

    def _leave(self, record: CallRecord) -> None:
        record.is_open = False
        # A task may keep this record for long; it must not keep the handlers of then.
        calls, record.table = record.table.calls, _NOWHERE
        token, record.token, record.outer = record.token, None, None
        calls.discard(record)
        if token is not None:
            try:  # noqa: SIM105 - suppress() costs more than the rest of this
                _current.reset(token)
            except ValueError:
                pass  # a coroutine that is closed in another context than it ran in
        if self._waiting:
            with self._left:
                self._left.notify_all()

    # ---- handlers in order. In frames of their own: who has left must hold no handler, or a retirement that
    # waited for it finds the old generation alive.

    def _all(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> list[object]:
        values = []
        for handler in handlers:
            failed, value = self._run(handler, args, kwargs)
            if not failed:
                values.append(value)
        return values

    def _first(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> object:
        for handler in handlers:
            _, value = self._run(handler, args, kwargs)
            if value is not None:
                return value
        return None

    def _pipe(self, handlers: _Handlers, value: object, args: _Args, kwargs: _Kwargs) -> object:
        for handler in handlers:
            failed, returned = self._run(handler, (value, *args), kwargs)
            value = value if failed else returned
        return value

    async def _aall(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> list[object]:
        values = []
        for handler in handlers:
            failed, value = await self._arun(handler, args, kwargs)
            if not failed:
                values.append(value)
        return values

    async def _afirst(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> object:
        for handler in handlers:
            _, value = await self._arun(handler, args, kwargs)
            if value is not None:
                return value
        return None

    async def _apipe(self, handlers: _Handlers, value: object, args: _Args, kwargs: _Kwargs) -> object:
        for handler in handlers:
            failed, returned = await self._arun(handler, (value, *args), kwargs)
            value = value if failed else returned
        return value

    def _invoke(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> Invocation:
        values, faults, seconds = [], [], []
        for handler in handlers:
            handler.count()
            started = time.perf_counter()
            try:
                values.append(_returned(handler, handler.call(*args, **kwargs)))
            except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
                faults.append(self._report(handler, error))
            seconds.append(time.perf_counter() - started)
            handler.add_sample(seconds[-1])
        return Invocation(tuple(values), tuple(faults), tuple(seconds))

    # ---- one handler, fenced

    def _run(self, handler: Handler, args: _Args, kwargs: _Kwargs) -> tuple[bool, object]:
        """Call a handler; return whether it failed, and its value."""
        try:
            if not handler.count():
                return False, _returned(handler, handler.call(*args, **kwargs))
            started = time.perf_counter()
            value = _returned(handler, handler.call(*args, **kwargs))
            handler.add_sample(time.perf_counter() - started)
        except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
            self._report(handler, error)
            return True, None
        return False, value

    async def _arun(self, handler: Handler, args: _Args, kwargs: _Kwargs) -> tuple[bool, object]:
        handler.count()
        started = time.perf_counter()
        try:
            value = handler.call(*args, **kwargs)
            if inspect.isawaitable(value):
                awaitable: Awaitable[object] = value
                value = await awaitable
            handler.add_sample(time.perf_counter() - started)
        except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
            self._report(handler, error)
            return True, None
        return False, value

    def _report(self, handler: Handler, error: BaseException) -> Fault:
        handler.faults += 1
        fault = fault_of(error, phase="hook", plugin=handler.plugin, module_path=self._module_path)
        if self._observer is not None:
            self._observer(fault, handler.generation)
        else:
            logger.error("%s: hook %s: %s: %s", fault.plugin, handler.point, fault.type, fault.message)
        return fault


def _returned(handler: Handler, value: object) -> object:
    """Refuse a coroutine that nobody would await."""
    if type(value) is CoroutineType:
        value.close()
        message = "the handler is a coroutine function; the host must use acall, afirst or apipe"
        code = value.cr_code
        raise HookError(handler.plugin, message, file=code.co_filename, line=code.co_firstlineno)
    return value


def _chain(record: CallRecord | None) -> Iterator[CallRecord]:
    while record is not None:
        yield record
        record = record.outer


def _peek(counter: Iterator[int]) -> int:
    """Return what an ``itertools.count`` would give next, without taking it."""
    return int(repr(counter)[len("count(") : -1])
