"""``HookHost``: the hook points at which a program calls its plugins.

One call sees one snapshot of the whole hook table, at every hook point that it reaches; a swap is one
assignment.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from types import CoroutineType
from typing import NoReturn, TypeAlias

from hotload_tui.core.errors import HookError
from hotload_tui.core.faults import fault_of
from hotload_tui.core.hooks.flight import CallRecord, CallsInFlight
from hotload_tui.core.hooks.handler import SAMPLE, Handler, peek
from hotload_tui.core.plugin import Fault, HandlerCall, HookPointStatus, Invocation
from hotload_tui.core.witness import Witness, nobody

logger = logging.getLogger("hotload.engine")

_Handlers: TypeAlias = tuple[Handler, ...]
_Args: TypeAlias = tuple[object, ...]
_Kwargs: TypeAlias = dict[str, object]

FaultObserver: TypeAlias = Callable[[Fault, int], None]
"""Called with a handler's fault and the number of its generation, in the thread of the call."""


class HookHost:
    """Where a program calls its plugins; safe to use from any thread and any event loop."""

    def __init__(self, *, witness: Witness = nobody) -> None:
        """Have ``witness`` hear of each handler that ``invoke`` calls."""
        self._witness = witness
        self._flight = CallsInFlight()
        self._observer: FaultObserver | None = None
        self._module_path = "hotplug"

    # ---- the program's side

    def call(self, point: str, /, *args: object, **kwargs: object) -> list[object]:
        """Call every handler and return their values in order; one that raises is left out.

        A handler that raises becomes a fault of its plugin, and the others still run.
        """
        record = self._flight.enter(point)
        try:
            return self._all(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._flight.leave(record)

    def first(self, point: str, /, *args: object, **kwargs: object) -> object:
        """Call handlers in order until one returns something other than ``None``; return that."""
        record = self._flight.enter(point)
        try:
            return self._first(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._flight.leave(record)

    def pipe(self, point: str, value: object, /, *args: object, **kwargs: object) -> object:
        """Give each handler the value that the one before returned; return the last one's.

        A handler that raises is passed over: the next one gets what it got.
        """
        record = self._flight.enter(point)
        try:
            return self._pipe(record.table.points.get(point, ()), value, args, kwargs)
        finally:
            self._flight.leave(record)

    async def acall(self, point: str, /, *args: object, **kwargs: object) -> list[object]:
        """As ``call``, awaiting handlers that are coroutine functions, one after the other."""
        record = self._flight.enter_task(point)
        try:
            return await self._aall(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._flight.leave(record)

    async def afirst(self, point: str, /, *args: object, **kwargs: object) -> object:
        """As ``first``, awaiting handlers that are coroutine functions."""
        record = self._flight.enter_task(point)
        try:
            return await self._afirst(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._flight.leave(record)

    async def apipe(self, point: str, value: object, /, *args: object, **kwargs: object) -> object:
        """As ``pipe``, awaiting handlers that are coroutine functions."""
        record = self._flight.enter_task(point)
        try:
            return await self._apipe(record.table.points.get(point, ()), value, args, kwargs)
        finally:
            self._flight.leave(record)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """As ``call``, and tell each handler's fault and time; the values are the handlers' own objects."""
        record = self._flight.enter(point)
        try:
            return self._invoke(record.table.points.get(point, ()), args, kwargs)
        finally:
            self._flight.leave(record)

    def points(self) -> tuple[HookPointStatus, ...]:
        """Return every hook point that has handlers or was called, in order of name."""
        table = self._flight.table.points
        calls = self._flight.counts
        return tuple(
            HookPointStatus(
                point=point,
                handlers=tuple(handler.status() for handler in table.get(point, ())),
                calls=peek(calls[point]) if point in calls else 0,
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
        self._flight.swap(changes)

    def handlers_of(self, plugin: str) -> tuple[Handler, ...]:
        """Return the plugin's live handlers, in order of hook point."""
        table = self._flight.table.points
        return tuple(h for point in sorted(table) for h in table[point] if h.plugin == plugin)

    def drain(
        self, timeout: float, leaving: Collection[tuple[str, int]] | None = None
    ) -> tuple[CallRecord, ...]:
        """Wait until the calls that began before the last swap have left; return those that have not.

        ``timeout`` is in seconds. Only calls that can reach one of ``leaving`` (plugin, generation) are
        waited for (``None``: all), and not the call that the waiting thread is part of: a plugin may ask for
        its own reload.
        """
        return self._flight.drain(timeout, leaving)

    def step_aside(self) -> AbstractContextManager[None]:
        """Have no other thread's drain wait for the calls that the calling thread keeps from ending."""
        return self._flight.step_aside()

    # ---- handlers in order. In frames of their own: who has left must hold no handler, or a retirement that
    # waited for it finds the old generation alive.

    def _all(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> list[object]:
        # What _run does, without a frame and a pair for each handler: they cost more than many a handler.
        values: list[object] = []
        for handler in handlers:
            try:
                if next(handler.calls) % SAMPLE == 1:
                    value = _timed(handler, args, kwargs)
                else:
                    value = handler.call(*args, **kwargs) if kwargs else handler.call(*args)
                    if type(value) is CoroutineType:
                        _refuse(handler, value)
            except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
                self._report(handler, error)
            else:
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
        values: list[object] = []
        faults: list[Fault] = []
        seconds: list[float] = []
        called: list[HandlerCall] = []
        for handler in handlers:
            handler.count()
            raised = len(faults)
            started = time.perf_counter()
            try:
                with self._witness("hook", handler.plugin):
                    values.append(_returned(handler, handler.call(*args, **kwargs)))
            except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
                faults.append(self._report(handler, error))
            seconds.append(time.perf_counter() - started)
            handler.add_sample(seconds[-1])
            called.append(HandlerCall(handler.plugin, handler.function, len(faults) > raised))
        return Invocation(tuple(values), tuple(faults), tuple(seconds), tuple(called))

    # ---- one handler, fenced

    def _run(self, handler: Handler, args: _Args, kwargs: _Kwargs) -> tuple[bool, object]:
        """Call a handler; return whether it failed, and its value."""
        try:
            if not handler.count():
                return False, _returned(handler, handler.call(*args, **kwargs))
            return False, _timed(handler, args, kwargs)
        except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
            self._report(handler, error)
            return True, None

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


def _timed(handler: Handler, args: _Args, kwargs: _Kwargs) -> object:
    started = time.perf_counter()
    value = _returned(handler, handler.call(*args, **kwargs))
    handler.add_sample(time.perf_counter() - started)
    return value


def _returned(handler: Handler, value: object) -> object:
    if type(value) is CoroutineType:
        _refuse(handler, value)
    return value


def _refuse(handler: Handler, coroutine: CoroutineType[object, object, object]) -> NoReturn:
    """Close a coroutine that nobody would await.

    Raises: HookError.
    """
    coroutine.close()
    message = "the handler is a coroutine function; the host must use acall, afirst or apipe"
    code = coroutine.cr_code
    raise HookError(handler.plugin, message, file=code.co_filename, line=code.co_firstlineno)
