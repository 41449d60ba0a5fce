"""``HookHost``: the hook points at which a program calls its plugins.

One call sees one snapshot of the whole hook table, at every hook point that it reaches; a swap is one
assignment.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import AsyncGeneratorType, CoroutineType
from typing import TYPE_CHECKING, Concatenate, Final, NoReturn, TypeAlias, TypeVar, cast, overload

from msgspec.structs import replace

from hotload_tui.core.errors import HookError, UsageError
from hotload_tui.core.faults import arguments_of, fault_of, message_of
from hotload_tui.core.hooks.inflight import CallRecord, CallsInFlight, Version
from hotload_tui.core.hooks.live import HandleMaker, LiveVersion
from hotload_tui.core.hooks.point import SAMPLE, Handler, HookPoint, LivePoint, NamedPoint, P, R
from hotload_tui.core.interpreter import raising_frame
from hotload_tui.core.model import (
    Fault,
    HandlerCall,
    HookPointStatus,
    Invocation,
    StepObserver,
    encodable,
    nobody,
)
from hotload_tui.core.module_names import module_of_class
from hotload_tui.core.primitives import perf_counter

if TYPE_CHECKING:
    import asyncio  # 20 ms, which a host without an event loop does not pay

_T = TypeVar("_T")

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


def waited_for(handler: Handler, value: object, record: CallRecord, module_path: str) -> object:
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

    async def waiting() -> tuple[object, BaseException | None]:
        record.task = task = asyncio.current_task()
        try:
            return await awaitable, None
        except asyncio.CancelledError:
            if task and task.cancelling():  # by Ctrl-C, or the end of the host's loop
                raise
            raise HookError(handler.plugin, "the handler was cancelled") from None
        except (SystemExit, KeyboardInterrupt) as error:
            if not is_fault(error, module_path):
                raise
            return None, error  # raised here, it would end the host's loop
        finally:
            record.task = None

    flight = record.table.flight
    loop = flight.loop if flight is not None else None
    if loop is not None and loop.is_running():
        result, error = _elsewhere(handler, waiting(), loop)
    else:
        result, error = asyncio.run(waiting())
    try:
        if error is not None:
            raise error
    finally:
        del error  # this frame is in its traceback: a cycle would keep the handler's frames
    return result


def _elsewhere(
    handler: Handler, coroutine: Coroutine[object, object, _T], loop: asyncio.AbstractEventLoop
) -> _T:
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


def is_fault(error: BaseException, module_path: str, *, is_awaited: bool = False) -> bool:
    """Return whether an error of foreign code is a fault; otherwise it passes to the caller.

    Faults are ``Exception``, ``SystemExit`` and the exception classes of plugins. Ctrl-C passes, and what
    other libraries raise to unwind the stack: they are meant for the host. A ``KeyboardInterrupt`` is a fault
    if a ``raise`` statement of a plugin raised it. A ``CancelledError`` passes if somebody has cancelled the
    calling task; a ``GeneratorExit`` passes if code that ``is_awaited`` is being closed.
    """
    kind = type(error)  # no isinstance: it would run code of the plugin
    if issubclass(kind, (Exception, SystemExit)):
        return True
    if issubclass(kind, (KeyboardInterrupt, GeneratorExit)):
        can_come_from_outside = is_awaited or issubclass(kind, KeyboardInterrupt)
        return not can_come_from_outside or _is_raised_below(module_path, error)
    if issubclass(kind, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(is_fault(each, module_path, is_awaited=is_awaited) for each in group.exceptions)
    if _is_cancellation(kind):
        return not _is_caller_cancelled()
    modules = [module_of_class(each) for each in kind.__mro__ if each not in _ROOTS]
    return all(_is_below(module_path, module) for module in modules)


def _is_raised_below(module_path: str, error: BaseException) -> bool:
    frame = raising_frame(error)
    return frame is not None and _is_below(module_path, frame.f_globals.get("__name__"))


def _is_cancellation(kind: type[BaseException]) -> bool:
    if sys.modules.get("asyncio") is None:  # nothing has imported it
        return False
    import asyncio

    return issubclass(kind, asyncio.CancelledError)


def _is_caller_cancelled() -> bool:
    """Return whether the task that runs in this thread is being cancelled; false if none runs."""
    import asyncio

    if asyncio._get_running_loop() is None:  # noqa: SLF001 - asyncio documents it
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_ROOTS: Final = (BaseException, object)


def _is_below(module_path: str, module: object) -> bool:
    return isinstance(module, str) and module.startswith(f"{module_path}.")


logger = logging.getLogger("hotload.engine")

_Handlers: TypeAlias = tuple[Handler, ...]
_Args: TypeAlias = tuple[object, ...]
_Kwargs: TypeAlias = dict[str, object]

FaultObserver: TypeAlias = Callable[[Fault, int], None]
"""Called with a fault and the number of its generation, in the thread of the call."""


class FaultReports:
    """Turns the errors of handlers into faults, and reports them to the observer, or else to the log."""

    def __init__(self) -> None:
        self.observer: FaultObserver | None = None
        self.module_path = "hotplug"
        self.counts: dict[str, dict[str, int]] = {}
        """The number of faults of all versions, by hook point and plugin."""

    def is_fault(self, error: BaseException, *, is_awaited: bool = False) -> bool:
        """Return whether an error that a handler raised is a fault, and does not pass to the caller."""
        return is_fault(error, self.module_path, is_awaited=is_awaited)

    def report(self, handler: Handler, error: BaseException, args: _Args, kwargs: _Kwargs) -> Fault:
        """Report the error that a handler raised when it was called with these arguments."""
        handler.faults += 1
        counts = self.counts.setdefault(handler.point, {})
        counts[handler.plugin] = counts.get(handler.plugin, 0) + 1
        fault = self.fault(handler, error, args, kwargs)
        if self.observer is not None:
            self.observer(fault, handler.generation)
        else:
            logger.error(
                "%s: hook %s: %s: %s", fault.plugin, handler.point, fault.type, encodable(fault.message)
            )
        return fault

    def fault(self, handler: Handler, error: BaseException, args: _Args, kwargs: _Kwargs) -> Fault:
        """Return the fault without reporting it."""
        fault = fault_of(
            error,
            phase="hook",
            plugin=handler.plugin,
            module_path=self.module_path,
            generation=handler.generation,
        )
        return replace(
            fault, point=handler.point, arguments=arguments_of(args, kwargs, handler.names_of(len(args)))
        )


_Errors: TypeAlias = list[Exception] | None
"""The errors that a strict call raises at its end; ``None`` in other calls."""

_STRICT: Final = "strict"


class HookCalls:
    """The ways to call the handlers of a hook point.

    A call also runs the handlers after one that raised, whose error becomes a fault of its plugin. A *strict*
    call raises afterwards: the handler's own exception, or an ``ExceptionGroup`` if several handlers raised;
    ``SystemExit`` becomes a ``HookError``. In calls by name ``strict=True`` asks for a strict call, unless a
    handler has a parameter ``strict``; a call through ``strict`` passes all keywords on.
    """

    def __init__(
        self,
        flight: CallsInFlight,
        reports: FaultReports,
        strict: HookCalls | None = None,
        *,
        live: HookCalls | None = None,
    ) -> None:
        """Call the handlers of the live table; without ``strict``, all calls are strict.

        ``live`` are the same calls for live hook points; without it, all calls return handles.
        """
        self._flight = flight
        self._reports = reports
        self._is_strict = strict is None
        self.strict: HookCalls = self if strict is None else strict
        """The same calls, which also raise what the handlers raised; every keyword goes to the handlers."""
        self._live: HookCalls = self if live is None else live
        self._maker = HandleMaker(flight) if live is None else None

    @overload
    def call(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...
    @overload
    def call(self, point: str, /, *args: object, **kwargs: object) -> list[object]: ...
    def call(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> Sequence[object]:
        """Call every handler and return their values in order, without the handlers that raise.

        A handler that raises becomes a fault of its plugin, and the other handlers still run.
        """
        if type(point) is LivePoint and self._maker is None:
            return self._live.call(cast("str", point), *args, **kwargs)
        if kwargs and _STRICT in kwargs and self._is_strict_asked(point, kwargs):
            return self.strict.call(str(point), *args, **kwargs)
        flight = self._flight
        record = flight.enter_uncounted(point)
        try:
            return self._all(record, args, kwargs)
        finally:
            flight.leave(record)

    @overload
    def first(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None: ...
    @overload
    def first(self, point: str, /, *args: object, **kwargs: object) -> object: ...
    def first(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> object:
        """Call handlers in order until one returns a value other than ``None``; return that value."""
        if type(point) is LivePoint and self._maker is None:
            return self._live.first(cast("str", point), *args, **kwargs)
        if kwargs and _STRICT in kwargs and self._is_strict_asked(point, kwargs):
            return self.strict.first(str(point), *args, **kwargs)
        flight = self._flight
        record = flight.enter(point)
        try:
            return self._first(record, args, kwargs)
        finally:
            flight.leave(record)

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
        if type(point) is LivePoint and self._maker is None:
            return self._live.pipe(cast("str", point), value, *args, **kwargs)
        if kwargs and _STRICT in kwargs and self._is_strict_asked(point, kwargs):
            return self.strict.pipe(str(point), value, *args, **kwargs)
        flight = self._flight
        record = flight.enter(point)
        try:
            return self._pipe(record, value, args, kwargs)
        finally:
            flight.leave(record)

    @overload
    async def acall(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...
    @overload
    async def acall(self, point: str, /, *args: object, **kwargs: object) -> list[object]: ...
    async def acall(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> Sequence[object]:
        """Call every handler as ``call`` does, and await coroutine functions one after the other."""
        if type(point) is LivePoint and self._maker is None:
            return await self._live.acall(cast("str", point), *args, **kwargs)
        if kwargs and _STRICT in kwargs and self._is_strict_asked(point, kwargs):
            return await self.strict.acall(str(point), *args, **kwargs)
        record = self._flight.enter_task(point)
        try:
            return await self._aall(record, args, kwargs)
        finally:
            self._flight.leave_task(record)

    @overload
    async def afirst(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R | None: ...
    @overload
    async def afirst(self, point: str, /, *args: object, **kwargs: object) -> object: ...
    async def afirst(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> object:
        """Call handlers as ``first`` does, and await coroutine functions."""
        if type(point) is LivePoint and self._maker is None:
            return await self._live.afirst(cast("str", point), *args, **kwargs)
        if kwargs and _STRICT in kwargs and self._is_strict_asked(point, kwargs):
            return await self.strict.afirst(str(point), *args, **kwargs)
        record = self._flight.enter_task(point)
        try:
            return await self._afirst(record, args, kwargs)
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
        if type(point) is LivePoint and self._maker is None:
            return await self._live.apipe(cast("str", point), value, *args, **kwargs)
        if kwargs and _STRICT in kwargs and self._is_strict_asked(point, kwargs):
            return await self.strict.apipe(str(point), value, *args, **kwargs)
        record = self._flight.enter_task(point)
        try:
            return await self._apipe(record, value, args, kwargs)
        finally:
            self._flight.leave_task(record)

    # ---- handlers in order. In frames of their own: a call that has left must hold no handler, else a
    # retirement that waited for it finds the old generation alive.

    def _all(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> list[object]:
        table, flight = record.table, self._flight
        counted = table.counted.get(record.point)
        if counted is None:  # no handlers: only the call is counted
            flight.counts[record.point].value += 1
            return []
        counter, handlers = counted
        # The counter of another table was read when that was superseded.
        if table is not flight.table or self._maker is not None:
            flight.counts[record.point].value += 1
            return self._all_slowly(record.point, handlers, args, kwargs, is_counted=False)
        # No other thread runs between these lines: otherwise a swap could miss the call.
        counter.value = number = counter.value + 1
        if number % SAMPLE == 1:
            return self._all_slowly(record.point, handlers, args, kwargs, is_counted=True)
        # The work of _contained without a frame and a pair for each: they cost more than many a handler.
        values: list[object] = []
        for handler in handlers:
            try:
                value = handler.call(*args, **kwargs) if kwargs else handler.call(*args)
                if type(value) is CoroutineType:
                    refuse(handler, value)
            except BaseException as error:  # foreign code: a handler must not stop the others
                if not self._reports.is_fault(error):
                    raise
                errors = self._new_errors()
                self._report(handler, error, args, kwargs, errors)
                if errors:
                    break
            else:
                values.append(value)
        else:
            return values
        left = handlers[handlers.index(handler) + 1 :]
        return self._raise_after(left, args, kwargs, errors, record.point)

    def _raise_after(
        self, handlers: _Handlers, args: _Args, kwargs: _Kwargs, errors: list[Exception], point: str
    ) -> NoReturn:
        """Call the handlers that are left, and raise all errors."""
        for handler in handlers:
            self._contained(handler, args, kwargs, errors, is_timed=False)
        _raise(errors, point)

    def _all_slowly(
        self, point: str, handlers: _Handlers, args: _Args, kwargs: _Kwargs, *, is_counted: bool
    ) -> list[object]:
        """Call all handlers, and time each; if the table has not counted the call, count it instead."""
        errors: _Errors = [] if self._is_strict else None
        results = [
            self._contained(handler, args, kwargs, errors, is_timed=is_counted or handler.count())
            for handler in handlers
        ]
        if errors:
            _raise(errors, point)
        return [value for failed, value in results if not failed]

    def _first(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> object:
        errors: _Errors = [] if self._is_strict else None
        found = None
        for handler in record.table.points.get(record.point, ()):
            _, found = self._run(handler, args, kwargs, errors)
            if found is not None:
                break
        if errors:
            _raise(errors, record.point)
        return found

    def _pipe(self, record: CallRecord, value: object, args: _Args, kwargs: _Kwargs) -> object:
        errors: _Errors = [] if self._is_strict else None
        for handler in record.table.points.get(record.point, ()):
            failed, returned = self._run(handler, (value, *args), kwargs, errors)
            value = value if failed else returned
        if errors:
            _raise(errors, record.point)
        return value

    async def _aall(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> list[object]:
        errors: _Errors = [] if self._is_strict else None
        values = []
        for handler in record.table.points.get(record.point, ()):
            failed, value = await self._arun(handler, args, kwargs, errors)
            if not failed:
                values.append(value)
        if errors:
            _raise(errors, record.point)
        return values

    async def _afirst(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> object:
        errors: _Errors = [] if self._is_strict else None
        found = None
        for handler in record.table.points.get(record.point, ()):
            _, found = await self._arun(handler, args, kwargs, errors)
            if found is not None:
                break
        if errors:
            _raise(errors, record.point)
        return found

    async def _apipe(self, record: CallRecord, value: object, args: _Args, kwargs: _Kwargs) -> object:
        errors: _Errors = [] if self._is_strict else None
        for handler in record.table.points.get(record.point, ()):
            failed, returned = await self._arun(handler, (value, *args), kwargs, errors)
            value = value if failed else returned
        if errors:
            _raise(errors, record.point)
        return value

    # ---- one handler, with its errors contained

    def _run(self, handler: Handler, args: _Args, kwargs: _Kwargs, errors: _Errors) -> tuple[bool, object]:
        """Count and call a handler; return whether it failed, and its value."""
        return self._contained(handler, args, kwargs, errors, is_timed=handler.count())

    def _contained(
        self, handler: Handler, args: _Args, kwargs: _Kwargs, errors: _Errors, *, is_timed: bool
    ) -> tuple[bool, object]:
        started = perf_counter() if is_timed else 0.0
        try:
            value = handler.call(*args, **kwargs) if kwargs else handler.call(*args)
            if type(value) is CoroutineType:
                refuse(handler, value)
            if self._maker is not None:
                value = self._maker.live(value, handler.plugin)
        except BaseException as error:  # foreign code: a handler must not stop the others
            if not self._reports.is_fault(error):
                raise
            self._report(handler, error, args, kwargs, errors)
            return True, None
        if is_timed:
            handler.add_sample(perf_counter() - started)
        return False, value

    async def _arun(
        self, handler: Handler, args: _Args, kwargs: _Kwargs, errors: _Errors
    ) -> tuple[bool, object]:
        handler.count()
        started = perf_counter()
        try:
            value = handler.call(*args, **kwargs)
            if inspect.isawaitable(value):
                awaitable: Awaitable[object] = value
                value = await awaitable
            if self._maker is not None:
                value = self._maker.live(value, handler.plugin)
            handler.add_sample(perf_counter() - started)
        except BaseException as error:  # foreign code: a handler must not stop the others
            if not self._reports.is_fault(error, is_awaited=True):
                raise
            self._report(handler, error, args, kwargs, errors)
            return True, None
        return False, value

    def _report(
        self, handler: Handler, error: BaseException, args: _Args, kwargs: _Kwargs, errors: _Errors
    ) -> None:
        self._reports.report(handler, error, args, kwargs)
        if errors is None:
            return
        if isinstance(error, Exception):
            errors.append(error)
        else:  # a plugin does not end the program
            kind = type(error).__name__
            refusal = HookError(handler.plugin, f"the handler raised {kind}: {message_of(error)}")
            refusal.__cause__ = error
            errors.append(refusal)

    def _be_strict(self, *, is_strict: bool) -> None:
        for calls in (self, self._live):
            calls._is_strict = is_strict  # noqa: SLF001

    def _new_errors(self) -> _Errors:
        return [] if self._is_strict else None

    def _is_strict_asked(self, point: str | NamedPoint, kwargs: _Kwargs) -> bool:
        """Take ``strict`` out of the keywords, unless it is a parameter of the hook point itself.

        A hook point that is called by name has the parameters of its handlers.
        """
        if self.strict is self:
            return False
        if isinstance(point, HookPoint):
            is_own = _STRICT in point.signature.parameters
        else:
            handlers = self._flight.table.points.get(str(point), ())
            is_own = any(handler.takes(_STRICT) for handler in handlers)
        return not is_own and bool(kwargs.pop(_STRICT))


def _raise(errors: list[Exception], point: str) -> NoReturn:
    """Raise the only error, or all of them as a group, and keep none of them."""
    try:
        if len(errors) == 1:
            raise errors[0]
        raise ExceptionGroup(f"{len(errors)} handlers at hook point '{point}' raised", list(errors))
    finally:
        errors.clear()  # this frame is in their tracebacks: a cycle would keep the handlers' frames


_running: list[HookHost] = []


@contextlib.contextmanager
def running(host: HookHost) -> Iterator[None]:
    """Make ``host`` the one that ``running_host`` returns in this process."""
    _running.append(host)
    try:
        yield
    finally:
        _running.remove(host)


def running_host() -> HookHost:
    """Return the host of ``hotload run app.py``, in which this program runs.

    Raises:
        UsageError: the program runs in another way.

    """
    if not _running:
        raise UsageError(
            "this program runs without a host: start it with 'hotload run FILE', or make a HotloadManager"
        )
    return _running[-1]


class HookHost(HookCalls):
    """The object through which a program calls its plugins; safe in any thread and any event loop."""

    def __init__(self, *, step_observer: StepObserver = nobody) -> None:
        """Call ``step_observer`` for each handler that ``invoke`` calls."""
        flight, reports = CallsInFlight(), FaultReports()
        strictly_live = HookCalls(flight, reports)
        live = HookCalls(flight, reports, strictly_live)
        super().__init__(flight, reports, HookCalls(flight, reports, live=strictly_live), live=live)
        self._step_observer = step_observer

    def __repr__(self) -> str:
        table = self._flight.table.points
        points = [f"{point} ({len(handlers)})" for point, handlers in sorted(table.items()) if handlers]
        return f"<HookHost: {', '.join(points) or 'no handlers'}>"

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

    def misfits(self, point: str, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[str, ...]:
        """Return why no handler takes these arguments, one text per handler; empty if any handler does."""
        handlers = self._flight.table.points.get(point, ())
        reasons = tuple(handler.misfit(args, kwargs) for handler in handlers)
        return reasons if all(reasons) else ()

    def points(self) -> tuple[HookPointStatus, ...]:
        """Return every hook point that has handlers or was called, in order of name."""
        table = self._flight.table.points
        return tuple(
            HookPointStatus(
                point=point,
                handlers=tuple(handler.status() for handler in table.get(point, ())),
                calls=self._flight.calls_of(point),
                plugin_faults=self._reports.counts.get(point, {}).copy(),
            )
            for point in sorted(self._flight.points())
        )

    # ---- the loader's side

    def observe(
        self, observer: FaultObserver, module_path: str, *, raises: bool = False
    ) -> Callable[[], None]:
        """Report every handler's fault to ``observer``; return the undo function.

        Modules below ``module_path`` belong to plugins. ``raises``: every call is strict.
        """
        reports = self._reports
        reports.observer, reports.module_path = observer, module_path
        self._be_strict(is_strict=raises)

        def stop() -> None:
            if reports.observer is observer:
                reports.observer = None
                self._be_strict(is_strict=False)

        return stop

    @property
    def flight(self) -> CallsInFlight:
        """The hook table and the calls in flight, for code that calls handlers by other rules."""
        return self._flight

    def check(self, version: Version, handlers: Sequence[Handler]) -> None:
        """Let mirrors prepare for a version on trial; raises what keeps the version from going live."""
        for mirror in self._flight.mirrors:
            mirror.check(version, handlers)

    def blame(self, handler: Handler, error: BaseException, kwargs: _Kwargs) -> None:
        """Report what a handler raised in a call that the host did not make, if it is a fault."""
        if self._reports.is_fault(error):
            self._reports.report(handler, error, (), kwargs)

    def maker(self, version: LiveVersion) -> HandleMaker:
        """Return what makes handles for a version."""
        return HandleMaker(self._flight, version)

    def swap(self, changes: Mapping[str, Sequence[Handler]], versions: Sequence[Version] = ()) -> None:
        """Replace the handlers of each plugin in ``changes``, for all plugins in one assignment.

        Handlers run in order of priority, then plugin name, then registration: a reload changes no order.
        Handles reach the objects of ``versions`` from then on, and none of the other plugins in ``changes``.
        """
        self._flight.swap(changes, versions)

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

    def _invoke(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> Invocation:
        values: list[object] = []
        faults: list[Fault] = []
        seconds: list[float] = []
        called: list[HandlerCall] = []
        for handler in record.table.points.get(record.point, ()):
            handler.count()
            raised = len(faults)
            started = perf_counter()
            try:
                with self._step_observer("hook", handler.plugin, handler.digest):
                    value = waited_for(
                        handler, handler.call(*args, **kwargs), record, self._reports.module_path
                    )
            except BaseException as error:  # foreign code: a handler must not stop the others
                if not self._reports.is_fault(error):
                    raise
                faults.append(self._reports.report(handler, error, args, kwargs))
            else:
                if type(value) is AsyncGeneratorType:  # right for its host: no fault of the plugin
                    faults.append(self._reports.fault(handler, unread(handler, value), args, kwargs))
                else:
                    values.append(value)
            seconds.append(perf_counter() - started)
            handler.add_sample(seconds[-1])
            called.append(HandlerCall(handler.plugin, handler.function, len(faults) > raised))
        return Invocation(tuple(values), tuple(faults), tuple(seconds), tuple(called))
