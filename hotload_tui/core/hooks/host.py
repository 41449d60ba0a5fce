"""``HookHost``: the hook points at which a program calls its plugins.

One call sees one snapshot of the whole hook table, at every hook point that it reaches; a swap is one
assignment.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from types import AsyncGeneratorType, CoroutineType
from typing import TYPE_CHECKING, Concatenate, Final, NoReturn, TypeAlias, overload

from hotload_tui.core.errors import HookError
from hotload_tui.core.faults import fault_of
from hotload_tui.core.hooks.inflight import CallRecord, CallsInFlight
from hotload_tui.core.hooks.point import SAMPLE, Handler, HookPoint, NamedPoint, P, R
from hotload_tui.core.model import (
    Fault,
    HandlerCall,
    HookPointStatus,
    Invocation,
    StepObserver,
    encodable,
    nobody,
)

if TYPE_CHECKING:
    import asyncio  # 20 ms, which a host without an event loop does not pay

_LOOK: Final = 1.0
"""Seconds between two checks whether the awaited event loop still runs."""


def refuse(handler: Handler, coroutine: CoroutineType[object, object, object]) -> NoReturn:
    """Close a coroutine that nothing would await.

    Raises:
        HookError: always.

    """
    coroutine.close()
    message = "the handler is a coroutine function; the host must use acall, afirst or apipe"
    code = coroutine.cr_code
    raise HookError(handler.plugin, message, file=code.co_filename, line=code.co_firstlineno)


def unread(handler: Handler, generator: AsyncGeneratorType[object, object]) -> HookError:
    """Return the error for an asynchronous generator, which only the host can read."""
    message = (
        "the handler is an asynchronous generator, which a call by hand does not read; the host does, with"
        " 'async for'"
    )
    code = generator.ag_code
    return HookError(handler.plugin, message, file=code.co_filename, line=code.co_firstlineno)


def waited_for(handler: Handler, value: object, record: CallRecord) -> object:
    """Wait for an awaitable and return its result; return any other value as it is.

    The awaitable runs on the host's event loop if that loop runs, otherwise on a new loop; ``record`` has its
    task meanwhile. In a thread with a running event loop, awaitables other than coroutines are returned as
    they are.

    Raises:
        HookError: the wait would block the thread's event loop, the handler was cancelled, or the host's
            event loop ended before the handler.

    """
    if not inspect.isawaitable(value):
        return value
    import asyncio

    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - asyncio documents it
        return refuse(handler, value) if type(value) is CoroutineType else value
    awaitable: Awaitable[object] = value

    async def waiting() -> object:
        record.task = task = asyncio.current_task()
        try:
            return await awaitable
        except asyncio.CancelledError:
            if task and task.cancelling():  # by Ctrl-C, or the end of the host's loop
                raise
            raise HookError(handler.plugin, "the handler was cancelled") from None
        finally:
            record.task = None

    flight = record.table.flight
    loop = flight.loop if flight is not None else None
    if loop is not None and loop.is_running():
        return _elsewhere(handler, waiting(), loop)
    return asyncio.run(waiting())


def _elsewhere(
    handler: Handler, coroutine: Coroutine[object, object, object], loop: asyncio.AbstractEventLoop
) -> object:
    """Wait for a coroutine on the event loop of another thread, as long as that loop runs."""
    import asyncio
    from concurrent.futures import CancelledError, wait

    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        while loop.is_running() and not wait([future], _LOOK).done:
            pass
    finally:
        future.cancel()  # if it is not done: the loop ended, or the wait was interrupted
    try:
        return future.result()
    except CancelledError:
        message = "the host's event loop ended before the handler did"
        raise HookError(handler.plugin, message) from None


logger = logging.getLogger("hotload.engine")

_Handlers: TypeAlias = tuple[Handler, ...]
_Args: TypeAlias = tuple[object, ...]
_Kwargs: TypeAlias = dict[str, object]

FaultObserver: TypeAlias = Callable[[Fault, int], None]
"""Called with a handler's fault and the number of its generation, in the thread of the call."""


class HookHost:
    """The object through which a program calls its plugins; safe in any thread and any event loop."""

    def __init__(self, *, step_observer: StepObserver = nobody) -> None:
        """Call ``step_observer`` for each handler that ``invoke`` calls."""
        self._step_observer = step_observer
        self._flight = CallsInFlight()
        self._observer: FaultObserver | None = None
        self._module_path = "hotplug"

    # ---- the program's side

    @overload
    def call(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...
    @overload
    def call(self, point: str, /, *args: object, **kwargs: object) -> list[object]: ...
    def call(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> Sequence[object]:
        """Call every handler and return their values in order, without the handlers that raise.

        A handler that raises becomes a fault of its plugin, and the other handlers still run.
        """
        record = self._flight.enter_uncounted(point)
        try:
            return self._all(record, args, kwargs)
        finally:
            self._flight.leave(record)

    @overload
    def first(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None: ...
    @overload
    def first(self, point: str, /, *args: object, **kwargs: object) -> object: ...
    def first(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> object:
        """Call handlers in order until one returns a value other than ``None``; return that value."""
        record = self._flight.enter(point)
        try:
            return self._first(record.table.points.get(record.point, ()), args, kwargs)
        finally:
            self._flight.leave(record)

    @overload
    def pipe(
        self, point: HookPoint[Concatenate[R, P], R], value: R, /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    def pipe(self, point: str, value: object, /, *args: object, **kwargs: object) -> object: ...
    def pipe(self, point: str | NamedPoint, value: object, /, *args: object, **kwargs: object) -> object:
        """Pass the value through all handlers: each gets the value that the previous handler returned.

        If a handler raises, the next handler gets the same value.
        """
        record = self._flight.enter(point)
        try:
            return self._pipe(record.table.points.get(record.point, ()), value, args, kwargs)
        finally:
            self._flight.leave(record)

    @overload
    async def acall(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...
    @overload
    async def acall(self, point: str, /, *args: object, **kwargs: object) -> list[object]: ...
    async def acall(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> Sequence[object]:
        """Call every handler as ``call`` does, and await coroutine functions one after the other."""
        record = self._flight.enter_task(point)
        try:
            return await self._aall(record.table.points.get(record.point, ()), args, kwargs)
        finally:
            self._flight.leave_task(record)

    @overload
    async def afirst(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None: ...
    @overload
    async def afirst(self, point: str, /, *args: object, **kwargs: object) -> object: ...
    async def afirst(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> object:
        """Call handlers as ``first`` does, and await coroutine functions."""
        record = self._flight.enter_task(point)
        try:
            return await self._afirst(record.table.points.get(record.point, ()), args, kwargs)
        finally:
            self._flight.leave_task(record)

    @overload
    async def apipe(
        self, point: HookPoint[Concatenate[R, P], R], value: R, /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def apipe(self, point: str, value: object, /, *args: object, **kwargs: object) -> object: ...
    async def apipe(
        self, point: str | NamedPoint, value: object, /, *args: object, **kwargs: object
    ) -> object:
        """Call handlers as ``pipe`` does, and await coroutine functions."""
        record = self._flight.enter_task(point)
        try:
            return await self._apipe(record.table.points.get(record.point, ()), value, args, kwargs)
        finally:
            self._flight.leave_task(record)

    @overload
    def invoke(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Invocation: ...
    @overload
    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation: ...
    def invoke(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> Invocation:
        """Call every handler as ``call`` does, and return each handler's value, fault and time.

        The values are the handlers' own objects. Coroutine functions are awaited, on the event loop that last
        awaited handlers if that loop runs.
        """
        record = self._flight.enter(point)
        try:
            return self._invoke(record, args, kwargs)
        finally:
            self._flight.leave(record)

    def points(self) -> tuple[HookPointStatus, ...]:
        """Return every hook point that has handlers or was called, in order of name."""
        table = self._flight.table.points
        return tuple(
            HookPointStatus(
                point=point,
                handlers=tuple(handler.status() for handler in table.get(point, ())),
                calls=self._flight.calls_of(point),
            )
            for point in sorted(self._flight.points())
        )

    # ---- the loader's side

    def observe(self, observer: FaultObserver, module_path: str) -> Callable[[], None]:
        """Report every handler's fault to ``observer``; return the undo function.

        Modules below ``module_path`` belong to plugins.
        """
        self._observer, self._module_path = observer, module_path

        def stop() -> None:
            if self._observer is observer:
                self._observer = None

        return stop

    def swap(self, changes: Mapping[str, Sequence[Handler]]) -> None:
        """Replace the handlers of each plugin in ``changes``, for all plugins in one assignment.

        Handlers run in order of priority, then plugin name, then registration: a reload changes no order.
        """
        self._flight.swap(changes)

    def handlers_of(self, plugin: str) -> tuple[Handler, ...]:
        """Return the plugin's live handlers, in order of hook point and priority."""
        handlers = self._flight.table.plugins.get(plugin, ())
        return tuple(sorted(handlers, key=lambda handler: (handler.point, handler.priority)))

    def drain(
        self, timeout: float, leaving: Collection[tuple[str, int]] | None = None
    ) -> tuple[CallRecord, ...]:
        """Wait until the calls that began before the last swap have ended; return the calls that have not.

        ``timeout`` is in seconds. The wait includes only calls that can reach one of ``leaving`` (plugin,
        generation; ``None``: all calls). It excludes the call that the waiting thread is part of: a plugin
        may ask for its own reload.
        """
        return self._flight.drain(timeout, leaving)

    def step_aside(self) -> AbstractContextManager[None]:
        """Keep other threads' ``drain`` from waiting for the calls that the calling thread blocks."""
        return self._flight.step_aside()

    # ---- handlers in order. In frames of their own: a call that has left must hold no handler, else a
    # retirement that waited for it finds the old generation alive.

    def _all(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> list[object]:
        counted = record.table.counted.get(record.point)
        if counted is None:  # no handlers: only the call is counted
            self._flight.counts[record.point].value += 1
            return []
        counter, handlers = counted
        if record.table is not self._flight.table:  # its counter was read when it was superseded
            self._flight.counts[record.point].value += 1
            return self._all_slowly(handlers, args, kwargs, is_counted=False)
        # No other thread runs between these lines: otherwise a swap could miss the call.
        counter.value += 1
        if counter.value % SAMPLE == 1:
            return self._all_slowly(handlers, args, kwargs, is_counted=True)
        # The work of _contained without a frame and a pair for each: they cost more than many a handler.
        values: list[object] = []
        for handler in handlers:
            try:
                value = handler.call(*args, **kwargs) if kwargs else handler.call(*args)
                if type(value) is CoroutineType:
                    refuse(handler, value)
            except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
                self._report(handler, error)
            else:
                values.append(value)
        return values

    def _all_slowly(
        self, handlers: _Handlers, args: _Args, kwargs: _Kwargs, *, is_counted: bool
    ) -> list[object]:
        """Call all handlers, and time each; if the table has not counted the call, count it instead."""
        results = [
            self._contained(handler, args, kwargs, is_timed=is_counted or handler.count())
            for handler in handlers
        ]
        return [value for failed, value in results if not failed]

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

    def _invoke(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> Invocation:
        values: list[object] = []
        faults: list[Fault] = []
        seconds: list[float] = []
        called: list[HandlerCall] = []
        for handler in record.table.points.get(record.point, ()):
            handler.count()
            raised = len(faults)
            started = time.perf_counter()
            try:
                with self._step_observer("hook", handler.plugin):
                    value = waited_for(handler, handler.call(*args, **kwargs), record)
            except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
                faults.append(self._report(handler, error))
            else:
                if type(value) is AsyncGeneratorType:  # right for its host: no fault of the plugin
                    faults.append(self._fault(handler, unread(handler, value)))
                else:
                    values.append(value)
            seconds.append(time.perf_counter() - started)
            handler.add_sample(seconds[-1])
            called.append(HandlerCall(handler.plugin, handler.function, len(faults) > raised))
        return Invocation(tuple(values), tuple(faults), tuple(seconds), tuple(called))

    # ---- one handler, with its errors contained

    def _run(self, handler: Handler, args: _Args, kwargs: _Kwargs) -> tuple[bool, object]:
        """Count and call a handler; return whether it failed, and its value."""
        return self._contained(handler, args, kwargs, is_timed=handler.count())

    def _contained(
        self, handler: Handler, args: _Args, kwargs: _Kwargs, *, is_timed: bool
    ) -> tuple[bool, object]:
        started = time.perf_counter() if is_timed else 0.0
        try:
            value = handler.call(*args, **kwargs)
            if type(value) is CoroutineType:
                refuse(handler, value)
        except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
            self._report(handler, error)
            return True, None
        if is_timed:
            handler.add_sample(time.perf_counter() - started)
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
        fault = self._fault(handler, error)
        if self._observer is not None:
            self._observer(fault, handler.generation)
        else:
            logger.error(
                "%s: hook %s: %s: %s", fault.plugin, handler.point, fault.type, encodable(fault.message)
            )
        return fault

    def _fault(self, handler: Handler, error: BaseException) -> Fault:
        return fault_of(error, phase="hook", plugin=handler.plugin, module_path=self._module_path)
