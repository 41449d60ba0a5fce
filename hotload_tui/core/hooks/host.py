"""``HookHost``: the hook points at which a program calls its plugins.

One call sees one snapshot of the whole hook table, at every hook point that it reaches; a swap is one
assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Concatenate, overload

from hotload_tui.core.hooks.fence import FaultObserver, Fence
from hotload_tui.core.hooks.flight import CallRecord
from hotload_tui.core.hooks.handler import Handler
from hotload_tui.core.hooks.point import HookPoint, NamedPoint, P, R
from hotload_tui.core.plugin import HookPointStatus, Invocation
from hotload_tui.core.witness import Witness, nobody


class HookHost(Fence):
    """Where a program calls its plugins; safe to use from any thread and any event loop."""

    def __init__(self, *, witness: Witness = nobody) -> None:
        """Have ``witness`` hear of each handler that ``invoke`` calls."""
        super().__init__(witness)

    # ---- the program's side

    @overload
    def call(self, point: HookPoint[P, R], /, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...
    @overload
    def call(self, point: str, /, *args: object, **kwargs: object) -> list[object]: ...
    def call(self, point: str | NamedPoint, /, *args: object, **kwargs: object) -> Sequence[object]:
        """Call every handler and return their values in order; one that raises is left out.

        A handler that raises becomes a fault of its plugin, and the others still run.
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
        """Call handlers in order until one returns something other than ``None``; return that."""
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
        """Give each handler the value that the one before returned; return the last one's.

        A handler that raises is passed over: the next one gets what it got.
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
        """As ``call``, awaiting handlers that are coroutine functions, one after the other."""
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
        """As ``first``, awaiting handlers that are coroutine functions."""
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
        """As ``pipe``, awaiting handlers that are coroutine functions."""
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
        """As ``call``, and tell each handler's fault and time; the values are the handlers' own objects.

        Coroutine functions are waited for, on the event loop that last awaited handlers if it runs.
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
        handlers = self._flight.table.plugins.get(plugin, ())
        return tuple(sorted(handlers, key=lambda handler: (handler.point, handler.priority)))

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
