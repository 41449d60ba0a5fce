"""``Fence``: handlers called in order, of which one that raises stops no other."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from types import AsyncGeneratorType, CoroutineType
from typing import TypeAlias

from hotload_tui.core.faults import fault_of
from hotload_tui.core.hooks.awaiting import refuse, unread, waited_for
from hotload_tui.core.hooks.flight import CallRecord, CallsInFlight
from hotload_tui.core.hooks.handler import SAMPLE, Handler
from hotload_tui.core.plugin import Fault, HandlerCall, Invocation, encodable
from hotload_tui.core.witness import Witness

logger = logging.getLogger("hotload.engine")

_Handlers: TypeAlias = tuple[Handler, ...]
_Args: TypeAlias = tuple[object, ...]
_Kwargs: TypeAlias = dict[str, object]

FaultObserver: TypeAlias = Callable[[Fault, int], None]
"""Called with a handler's fault and the number of its generation, in the thread of the call."""


class Fence:
    """Calls handlers and reports those that raise."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._flight = CallsInFlight()
        self._observer: FaultObserver | None = None
        self._module_path = "hotplug"

    # ---- handlers in order. In frames of their own: who has left must hold no handler, or a retirement that
    # waited for it finds the old generation alive.

    def _all(self, record: CallRecord, args: _Args, kwargs: _Kwargs) -> list[object]:
        # What _run does, without a frame, a pair and a count for each: they cost more than many a handler.
        values: list[object] = []
        counted = record.table.counted.get(record.point)
        if counted is None:  # no handlers: there is nothing to count but the call
            next(self._flight.counts[record.point])
            return values
        counter, handlers = counted
        if record.table is not self._flight.table:  # its counter was read when it was superseded
            next(self._flight.counts[record.point])
            return self._all_counted(handlers, args, kwargs)
        # Between these two no other thread gets the interpreter: else a swap could miss the call.
        if next(counter) % SAMPLE == 1:
            return self._all_timed(handlers, args, kwargs)
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

    def _all_counted(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> list[object]:
        results = [self._run(handler, args, kwargs) for handler in handlers]
        return [value for failed, value in results if not failed]

    def _all_timed(self, handlers: _Handlers, args: _Args, kwargs: _Kwargs) -> list[object]:
        values: list[object] = []
        for handler in handlers:
            try:
                values.append(_timed(handler, args, kwargs))
            except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
                self._report(handler, error)
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
                with self._witness("hook", handler.plugin):
                    value = waited_for(handler, handler.call(*args, **kwargs), record)
            except (Exception, SystemExit) as error:  # foreign code: a handler must not stop the others
                faults.append(self._report(handler, error))
            else:
                if type(value) is AsyncGeneratorType:  # right for its host: no fault of the plugin's
                    faults.append(self._fault(handler, unread(handler, value)))
                else:
                    values.append(value)
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


def _timed(handler: Handler, args: _Args, kwargs: _Kwargs) -> object:
    started = time.perf_counter()
    value = _returned(handler, handler.call(*args, **kwargs))
    handler.add_sample(time.perf_counter() - started)
    return value


def _returned(handler: Handler, value: object) -> object:
    if type(value) is CoroutineType:
        refuse(handler, value)
    return value
