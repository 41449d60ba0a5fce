"""The hook table and the calls in flight: which table each call uses, and how a retirement waits.

A caller adds itself to its table's set of calls in flight, then reads the table again and starts over if the
table changed. Otherwise a retirement could find the set empty while a caller is about to enter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, Token
from types import FrameType
from typing import TYPE_CHECKING, Protocol, TypeAlias
from weakref import WeakValueDictionary

from hotload_tui.core.hooks.point import CallCount, Handler, NamedPoint
from hotload_tui.core.interpreter import coroutine_stack, thread_stack
from hotload_tui.core.primitives import Condition, Lock, all_threads, get_ident, monotonic

if TYPE_CHECKING:
    import asyncio  # 20 ms, which a host without an event loop does not pay

Counted: TypeAlias = tuple[CallCount, tuple[Handler, ...]]

Names: TypeAlias = tuple[str, ...]
"""A qualified name, in parts."""


class Version(Protocol):
    """A version of a plugin, in which handles find the objects that they stand for."""

    plugin: str
    number: int
    parent: str
    """The stable name of the plugin's package."""
    is_pending: bool
    """Whether the version is on trial."""
    bindable: set[type]
    """The classes of which an object can be made of the attributes of another one."""

    def find(self, module: str, names: Names) -> object:
        """Return the object of this name; raises ``HandleError`` if there is none."""
        ...


class Mirror(Protocol):
    """Another place where a program finds the handlers of plugins; it changes with the hook table."""

    def check(self, version: Version, handlers: Sequence[Handler]) -> None:
        """Prepare for the handlers of a version on trial; raises what keeps the version from going live."""
        ...

    def change(self, table: HookTable, plugins: Iterable[str]) -> None:
        """Take the handlers of these plugins from the table that is live next; run no plugin's code."""
        ...

    def changed(self) -> None:
        """Finish the change, now that the table is live."""
        ...


class HandleName(str):
    """The name of a handle, in the record of a call through it in place of a hook point."""

    __slots__ = ()


class HookTable:
    """An immutable mapping of hook points to handlers in order, and the calls that use it."""

    __slots__ = ("calls", "counted", "flight", "number", "plugins", "points", "versions")

    def __init__(self, flight: CallsInFlight | None, before: HookTable | None = None) -> None:
        """Copy the table ``before``, or begin empty; ``flight`` is its owner (``None``: never called)."""
        self.flight = flight
        self.number: int = before.number + 1 if before else 0
        """The number of tables before this one."""
        self.calls: set[CallRecord] = set()
        self.points: dict[str, tuple[Handler, ...]] = dict(before.points) if before else {}
        self.plugins: dict[str, tuple[Handler, ...]] = dict(before.plugins) if before else {}
        """The handlers of each plugin, in order of registration."""
        self.counted: dict[str, Counted] = dict(before.counted) if before else {}
        """The same handlers by hook point, each tuple with a counter of its calls."""
        self.versions: dict[str, Version] = dict(before.versions) if before else {}
        """The version of each plugin that handles reach."""

    def changed(
        self, changes: Mapping[str, Sequence[Handler]], versions: Iterable[Version] = ()
    ) -> tuple[HookTable, set[str]]:
        """Return a table with these handlers for each plugin in ``changes``, and the points that differ.

        ``versions`` are the versions of these plugins; handles of the others find nothing any more.

        Handlers run in order of priority, then plugin name, then registration: a reload changes no order. The
        cost depends on the size of the change, and hardly on the number of plugins.
        """
        after = HookTable(self.flight, self)
        touched: set[str] = set()
        for plugin, handlers in changes.items():
            touched.update(handler.point for handler in (*self.plugins.get(plugin, ()), *handlers))
            after.plugins.pop(plugin, None)
            after.versions.pop(plugin, None)
            if handlers:
                after.plugins[plugin] = tuple(handlers)
        after.versions.update((version.plugin, version) for version in versions)
        added = [handler for handlers in changes.values() for handler in handlers]
        for point in touched:
            kept = [handler for handler in self.points.get(point, ()) if handler.plugin not in changes]
            after._fill(point, kept + [handler for handler in added if handler.point == point])
        return after, touched

    def _fill(self, point: str, handlers: list[Handler]) -> None:
        if not handlers:
            self.points.pop(point, None)
            self.counted.pop(point, None)
            return
        handlers.sort(key=lambda handler: (handler.priority, handler.plugin))
        self.points[point] = ordered = tuple(handlers)
        self.counted[point] = CallCount(), ordered

    def reaches(self, generations: Collection[tuple[str, int]]) -> bool:
        """Return whether a call through this table can reach one of these (plugin, generation)."""
        return any(
            self._number_of(plugin) == generation
            or any(handler.generation == generation for handler in self.plugins.get(plugin, ()))
            for plugin, generation in generations
        )

    def renew(self, leaving: Collection[tuple[str, int]], live: Mapping[str, Version]) -> None:
        """Exchange versions that calls through this table have not reached for the live ones.

        A long call would keep them in memory.
        """
        known = self.versions
        kept = {name: version for name, version in known.items() if (name, version.number) not in leaving}
        self.versions = {name: live[name] for name in known if name in live} | kept

    def _number_of(self, plugin: str) -> int:
        """Return the number of the version that handles of the plugin reach; 0 if there is no handle."""
        version = self.versions.get(plugin)
        is_kept = version is not None and self.flight is not None and plugin in self.flight.kept
        return version.number if version is not None and is_kept else 0


class CallRecord:
    """One call in flight; it is closed when it ends, because tasks started in it inherit its context."""

    __slots__ = ("excuses", "outer", "point", "table", "task", "thread", "token")

    # No __init__: calling it would cost a tenth of a whole call of a hook point. ``enter`` sets the
    # attributes; only the few calls that need them have ``excuses`` and ``task``.
    point: str
    table: HookTable
    """The table through which it began; ``NOWHERE`` once it has ended."""
    outer: CallRecord | None
    """The call, of this host or another, that it is part of."""
    excuses: int
    thread: int
    task: asyncio.Task[object] | None
    token: Token[CallRecord | None]

    @property
    def own_task(self) -> asyncio.Task[object] | None:
        """The task that is calling, or waiting for a handler; ``None`` if there is no task."""
        return getattr(self, "task", None)

    @property
    def is_excused(self) -> bool:
        """Whether ``drain`` does not wait for the call."""
        return getattr(self, "excuses", 0) > 0

    @property
    def what(self) -> str:
        """The hook point or the handle that is called, in words."""
        return f"{'handle' if type(self.point) is HandleName else 'hook point'} '{self.point}'"

    def where(self) -> str:
        """Return the name of the task or thread that is calling."""
        task = self.own_task
        if task is not None:
            return f"task '{task.get_name()}'"
        names = {thread.ident: thread.name for thread in all_threads()}
        return f"thread '{names.get(self.thread, self.thread)}'"

    def stack(self) -> list[FrameType]:
        """Return the frames of the call, the oldest first; empty if they are not known."""
        running = thread_stack(self.thread)
        task = self.own_task
        if task is None:
            return running
        waiting = coroutine_stack(task.get_coro())
        return running if waiting and waiting[0] in running else waiting


class _Counts(dict[str, CallCount]):
    """Counters by hook point; the keys are plain strings, which are found faster than a ``HookPoint``."""

    def __missing__(self, point: str) -> CallCount:
        return self.setdefault(str(point), CallCount())


NOWHERE = HookTable(None)

_current: ContextVar[CallRecord | None] = ContextVar("hotload_call", default=None)

_of_plugins: WeakValueDictionary[str, CallsInFlight] = WeakValueDictionary()


def calls_of_plugin(parent: str) -> CallsInFlight | None:
    """Return the calls of the newest host that has the plugin with this stable name, or ``None``."""
    return _of_plugins.get(parent)


class CallsInFlight:
    """The live table, the earlier tables that still have calls, and the calls."""

    def __init__(self) -> None:
        self.table = HookTable(self)
        self.superseded: list[HookTable] = []
        self.mirrors: list[Mirror] = []
        self.counts = _Counts()
        """Calls so far by hook point, without the calls of all handlers, which the tables count."""
        self._counted_before: Counter[str] = Counter()
        self.kept: set[str] = set()
        """The plugins of whose objects there are handles."""
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that last awaited handlers."""
        self._swap_lock = Lock()
        self._left = Condition()
        self._waiting = 0

    def swap(self, changes: Mapping[str, Sequence[Handler]], versions: Sequence[Version] = ()) -> None:
        """Replace the handlers of each plugin in ``changes``, for all plugins in one assignment.

        ``versions`` are the new versions of these plugins, if they have any.
        """
        with self._swap_lock:
            before = self.table
            after, touched = before.changed(changes, versions)
            self.superseded = [table for table in self.superseded if table.calls]
            self.superseded.append(before)
            for mirror in self.mirrors:
                mirror.change(after, changes)
            self.table = after
            for version in versions:
                version.is_pending = False
                _of_plugins[version.parent] = self
            for point in touched:  # after the assignment: no call counts by the previous table any more
                self._take_over(before.counted.get(point), after.counted.get(point), point)
        if self.mirrors:
            self._finish(self.mirrors)

    def add_mirror(self, mirror: Mirror) -> None:
        """Let a mirror take all handlers, and change with the table from now on."""
        with self._swap_lock:
            mirror.change(self.table, sorted(self.table.plugins))
            self.mirrors = [*self.mirrors, mirror]
        self._finish([mirror])

    def remove_mirror(self, mirror: Mirror) -> None:
        """Let a mirror lose all handlers."""
        with self._swap_lock:
            self.mirrors = [each for each in self.mirrors if each is not mirror]
            mirror.change(HookTable(self), self.table.plugins)
        self._finish([mirror])

    def _finish(self, mirrors: Iterable[Mirror]) -> None:
        """Let mirrors finish their change; what they call sees the new table, also if an old call asked."""
        token = _current.set(None)
        try:
            for mirror in mirrors:
                mirror.changed()
        finally:
            _current.reset(token)

    def _take_over(self, before: Counted | None, after: Counted | None, point: str) -> None:
        given = before[0].value if before else 0
        if given:
            self._counted_before[point] += given
        if after:
            for handler in after[1]:
                handler.join(after[0], given)

    def calls_of(self, point: str) -> int:
        """Return the number of calls of a hook point, with or without handlers."""
        alone = self.counts[point].value if point in self.counts else 0
        counted = self.table.counted.get(point)
        return alone + self._counted_before[point] + (counted[0].value if counted else 0)

    def points(self) -> set[str]:
        """Return the hook points that have handlers or were called."""
        return {*self.table.points, *list(self.counts), *self._counted_before}  # list(): calls go on

    # ---- one call

    def enter(self, point: str | NamedPoint) -> CallRecord:
        """Begin a call, and count it."""
        self.counts[point].value += 1  # type: ignore[index]  # a NamedPoint is a string
        return self.enter_uncounted(point)

    def enter_uncounted(self, point: str | NamedPoint) -> CallRecord:
        """Begin a call without counting it, as part of the call that makes it."""
        record = CallRecord()
        record.point, record.thread = point, get_ident()  # type: ignore[assignment]  # a NamedPoint is a string
        record.outer = outer = _current.get()
        if outer is None:
            record.table = table = self.table
            table.calls.add(record)
            if self.table is not table:
                self._start_over(record)
        else:
            self._enter_within(record, outer)
        record.token = _current.set(record)
        return record

    def enter_as_part(self, point: str | NamedPoint, outer: CallRecord | None) -> CallRecord:
        """Begin a call without counting it, as part of ``outer``, or else of the call that makes it."""
        record = self.enter_uncounted(point)
        if outer is not None:
            record.table.calls.discard(record)
            record.outer = outer
            self._enter_within(record, outer)
            if self._waiting:
                self._notify()
        return record

    def _enter_within(self, record: CallRecord, outer: CallRecord) -> None:
        """Let a call use the table of the innermost call of this host that it is part of."""
        enclosing = self._enclosing(outer)
        record.table = table = self.table if enclosing is None else enclosing.table
        table.calls.add(record)
        if (self if enclosing is None else enclosing).table is not table or table is NOWHERE:
            self._start_over(record)  # perhaps the enclosing call has just ended in another thread

    def _start_over(self, record: CallRecord) -> None:
        """Move a call to the current table, because its first table is not current any more."""
        while True:
            record.table.calls.discard(record)
            record.table = table = self.table
            table.calls.add(record)
            if self.table is table:
                self._notify()
                return

    def enter_task(self, point: str | NamedPoint) -> CallRecord:
        """Begin a call that may let other calls of its event loop run."""
        record = self.enter(point)
        self.note_task(record)
        return record

    def note_task(self, record: CallRecord) -> None:
        """Note the task that makes a call; the call may let other calls of the event loop run."""
        from asyncio import current_task

        record.task = None
        with suppress(RuntimeError):  # an event loop that is not asyncio's
            record.task = task = current_task()
            self.loop = task.get_loop() if task else None

    def step_out(self, record: CallRecord) -> None:
        """Let the caller of a generator go on, while the call stays in flight until ``leave``."""
        with suppress(ValueError):  # as in ``leave``
            _current.reset(record.token)

    def step_in(self, record: CallRecord) -> None:
        """Go on with the call that ``step_out`` interrupted."""
        record.thread, record.token = get_ident(), _current.set(record)

    def seen(self) -> HookTable:
        """Return the table that a call made now would use."""
        enclosing = self._enclosing(_current.get())
        table = self.table if enclosing is None else enclosing.table
        return self.table if table is NOWHERE else table  # the enclosing call has just ended elsewhere

    def _enclosing(self, record: CallRecord | None) -> CallRecord | None:
        """Return the innermost call of this host that ``record`` is part of."""
        while record is not None and record.table.flight is not self:
            record = record.outer
        return record

    def leave_task(self, record: CallRecord) -> None:
        """End a call that ``enter_task`` began."""
        record.task = None
        self.leave(record)

    def leave(self, record: CallRecord) -> None:
        """End a call."""
        table, token = record.table, record.token
        # A task may keep this record for long; it must not keep the old handlers.
        record.table, record.outer = NOWHERE, None
        del record.token
        table.calls.discard(record)
        try:  # noqa: SIM105 - suppress() costs more than the rest of this
            _current.reset(token)
        except ValueError:
            pass  # a coroutine that is closed in another context than it ran in
        if self._waiting:
            self._notify()

    def _notify(self) -> None:
        """Wake the threads in ``drain``: a call has left a table."""
        with self._left:
            self._left.notify_all()

    # ---- waiting for calls to end

    def drain(
        self, timeout: float, leaving: Collection[tuple[str, int]] | None = None
    ) -> tuple[CallRecord, ...]:
        """Wait until the calls that began before the last swap have ended; return the calls that have not.

        ``timeout`` is in seconds. The wait includes only calls that can reach one of ``leaving`` (plugin,
        generation; ``None``: all calls). It excludes the call that the waiting thread is part of: a plugin
        may ask for its own reload.
        """
        deadline = monotonic() + timeout
        tables = [table for table in self.superseded if leaving is None or table.reaches(leaving)]
        for table in self.superseded:
            if leaving is not None and table.calls and table not in tables:
                table.renew(leaving, self.table.versions)
        try:
            with self._excused(set(_chain(_current.get()))), self._left:
                self._waiting += 1
                try:
                    return self._await_calls(tables, deadline)
                finally:
                    self._waiting -= 1
        finally:
            # Not while holding ``_left``: a swap holds this lock, and a finalizer in it may end a call.
            with self._swap_lock:  # a table without calls would hold old generations
                self.superseded = [table for table in self.superseded if table.calls]

    def _await_calls(self, tables: Sequence[HookTable], deadline: float) -> tuple[CallRecord, ...]:
        """Wait until no call uses one of these tables; return the calls that do at the deadline."""
        # list() copies the set before another call can change it
        while inside := [record for table in tables for record in list(table.calls) if not record.is_excused]:
            remaining = deadline - monotonic()
            if remaining <= 0:
                return _innermost(inside)
            self._left.wait(remaining)
        return ()

    def step_aside(self) -> AbstractContextManager[None]:
        """Keep other threads' ``drain`` from waiting for the calls that the calling thread blocks.

        These are the calls that it is part of, and all other calls on its event loop.
        """
        thread = get_ident()
        kept = set(_chain(_current.get()))
        for table in (*self.superseded, self.table):
            kept.update(record for record in list(table.calls) if record.thread == thread)
        return self._excused(kept)

    @contextmanager
    def _excused(self, records: set[CallRecord]) -> Iterator[None]:
        self._excuse(records, 1)
        try:
            yield
        finally:
            self._excuse(records, -1)

    def _excuse(self, records: set[CallRecord], number: int) -> None:
        with self._left:
            for record in records:
                record.excuses = getattr(record, "excuses", 0) + number
            self._left.notify_all()


def _chain(record: CallRecord | None) -> Iterator[CallRecord]:
    while record is not None:
        yield record
        record = record.outer


def _innermost(records: Sequence[CallRecord]) -> tuple[CallRecord, ...]:
    """Return the calls without those that only wait for a call that they made."""
    outer = {record.outer for record in records}
    return tuple(record for record in records if record not in outer)
