"""Run trials on a worker thread or on the main thread, and interrupt a trial that hangs.

======================================== ================== ==================
a load that takes too long in            worker thread      main thread
======================================== ================== ==================
a loop in Python                         is interrupted     is interrupted
a sleep, a lock, a queue, a socket       is left behind     is interrupted
``re``, ``pow`` with large numbers       blocks all threads is interrupted
code that catches every exception        is left behind     blocks all loads
the import of a shared module            ends first         ends first
other loops in C                         blocks all threads blocks all threads
======================================== ================== ==================

A program that embeds the manager keeps its main thread, so its plugins load on worker threads. A process that
exists only for its plugins gives them its main thread, where a signal can interrupt code that nothing else
can interrupt.

Interrupting the import of a shared module can break later imports of the whole process. So the interruption
comes when that import has ended; if it does not end, the error says that the process must restart.

Starting a thread takes as long as most loads, so consecutive loads share a thread until a load fails, times
out, or leaves a value or a hook set in the thread.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import math
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Generic, Protocol, TypeVar, cast

from hotload_tui.core import limits
from hotload_tui.core.errors import LoadError, PluginError, RegisterError
from hotload_tui.core.interpreter import ThreadLocals, stack_of
from hotload_tui.core.limits import GRACE, STEP, Ending, end, interrupt, runs_plugin, start
from hotload_tui.core.primitives import Event, Lock, Thread, current_thread, main_thread, monotonic

_T = TypeVar("_T")


def _thread_is_blank() -> Callable[[], bool]:
    """Return a function that returns whether the thread still has only the values and hooks that it has now.

    These are the thread-local values, and the trace and profile hooks. Only the same thread may call it.
    """
    values = ThreadLocals()

    def now() -> tuple[object, ...]:
        hooks = sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()
        return values.count(), *hooks

    before = now()
    return lambda: now() == before


_T_co = TypeVar("_T_co", covariant=True)


class LoadCall(Protocol[_T_co]):
    """A load in three steps; only ``prove`` runs the plugin's code."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        ...

    @property
    def what(self) -> str:
        """What ``prove`` is, as a message says it, such as ``the load``."""
        ...

    def begin(self, *, follows: bool) -> None:
        """Prepare the load; ``follows``: the ``end`` of another load came directly before."""
        ...

    def prove(self) -> _T_co:
        """Run the plugin's code; the caller limits the time of this step."""
        ...

    def end(self) -> None:
        """Record what the plugin's code did."""
        ...


_MOST_INTERRUPTIONS = 3  # of code of plugins in one step of the engine


def _at_once(_: str, step: Callable[[], None]) -> None:
    step()


class Series(Generic[_T]):
    """Runs loads in one thread until one fails, takes too long, or none may follow in this thread."""

    def __init__(
        self,
        loads: Sequence[LoadCall[_T]],
        limit: float,
        done: list[_T],
        call: Callable[[LoadCall[_T]], _T],
        *,
        engine_step: Callable[[str, Callable[[], None]], None] = _at_once,
        spared: Callable[[], str] = str,
    ) -> None:
        """Prepare; ``call`` proves one load, within ``limit`` seconds; its value is appended to ``done``.

        ``engine_step`` runs a step before or after that, of the plugin with this name. ``spared`` returns the
        import that ``call`` does not interrupt now, and for which it takes longer.
        """
        self._engine_step = engine_step
        self._spared = spared
        self._waiting = [*loads][::-1]
        self._limit = limit
        self._done = done
        self._call = call
        self.error: BaseException | None = None
        """The exception of the load that ended the series."""
        self._lock = Lock()
        self._ends_at = math.inf  # the running load's deadline on the monotonic clock
        self._is_engines = False
        self._interruptions = 0
        self._is_stopped = False
        self._is_over = Event()

    def run(self, may_follow: Callable[[], bool] = lambda: True) -> None:
        """Run the loads in the calling thread, as long as ``may_follow`` allows the next."""
        try:
            follows = False
            while self._waiting:
                load = self._waiting.pop()
                if not self._run(load, follows=follows) or not may_follow():
                    break
                follows = True
        except BaseException as error:  # foreign code: SystemExit and the like end this load only
            self.error = error
        finally:
            self._is_over.set()

    def ends_in_time(self, thread: threading.Thread | None = None) -> bool:
        """Wait in another thread; if a load takes too long, stop the series and return ``False``.

        If code of a plugin, such as a finalizer, holds up the engine in ``thread``, it is interrupted first.
        """
        while not self._is_over.wait(min(self._limit, max(STEP, self._ends_at - monotonic()))):
            more = limits.PATIENCE if self._spared() else 0.0
            with self._lock:
                if self._ends_at + more > monotonic():
                    continue
                if thread is None or not self._is_engines or self._interruptions >= _MOST_INTERRUPTIONS:
                    self._leave()
                    return False
                self._ends_at = monotonic() + GRACE
            self._interruptions += limits.interrupt_plugin(thread)
        return True

    def stop(self) -> bool:
        """Let no other load begin, and return whether a load is running."""
        with self._lock:
            self._leave()
            return self._ends_at < math.inf

    def _leave(self) -> None:
        self._is_stopped = True
        self._waiting, self._done = [], []  # a thread that is left behind must not hold other loads

    def _run(self, load: LoadCall[_T], *, follows: bool) -> bool:
        """Run one load, and return whether another may follow; raises what the load raises."""
        if not self._goes_on(monotonic() + self._limit, is_engines=True):
            return False
        try:
            self._engine_step(load.name, functools.partial(load.begin, follows=follows))
            if not self._goes_on(monotonic() + self._limit):
                return False
            value = self._call(load)
            # An ``end`` looks at objects of the plugin, and their code may not end.
            if self._goes_on(monotonic() + self._limit, is_engines=True):
                self._engine_step(load.name, load.end)
        finally:
            goes_on = self._goes_on(math.inf)
        if goes_on:  # else it is too late
            self._done.append(value)
        return goes_on

    def _goes_on(self, ends_at: float, *, is_engines: bool = False) -> bool:
        """Set the step's deadline unless the series was stopped; return whether the series goes on."""
        with self._lock:
            if not self._is_stopped:
                self._ends_at, self._is_engines, self._interruptions = ends_at, is_engines, 0
            return not self._is_stopped


_AGAIN = 0.25  # seconds between two signals, for code that catches the first exception


class Trials(Protocol):
    """Runs the loads of plugins."""

    def run(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Run the first load, or several in order, and append the result of each ``prove`` to ``done``.

        ``end`` is not called for a load that fails.

        Raises:
            PluginError: a load failed: the first load without a result in ``done``.
            LoadError: that load did not end within ``limit`` seconds.

        """
        ...

    def is_inside(self) -> bool:
        """Return whether the calling thread is running a load."""
        ...


class WorkerTrials:
    """Runs loads one after the other in a worker thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def run(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Run as many loads as can share a thread; see ``Trials``."""
        before = len(done)
        series = Series(loads, limit, done, _prove_in_worker)
        # Threads that a plugin starts inherit the daemon flag: a forgotten thread cannot keep the host alive.
        thread = Thread(lambda: series.run(_thread_is_blank()))
        self._thread = thread
        try:
            if not _ends_in_time(series, thread):
                raise self._interrupt(loads[len(done) - before], series, limit, thread)
        finally:
            self._thread = None
        if series.error is not None:
            raise _failure(loads[len(done) - before].name, series.error)

    def is_inside(self) -> bool:
        """Return whether the calling thread is running a load."""
        return current_thread() is self._thread

    def _interrupt(
        self, load: LoadCall[_T], series: Series[_T], limit: float, thread: threading.Thread
    ) -> LoadError:
        """Interrupt a load that takes too long, and return the error to raise."""
        ending = end(thread)
        if not ending.has_ended:
            return _stuck(load, limit, f"its thread '{thread.name}' still runs", ending)
        error = _interrupted(load, limit, series.error, ending)
        series.error = None
        return error


def _prove_in_worker(load: LoadCall[_T]) -> _T:
    current_thread().name = f"hotload-load-{load.name}"
    # Each load has its own context: the next plugin must not see this one's context variables.
    return contextvars.Context().run(load.prove)


def _ends_in_time(series: Series[_T], thread: threading.Thread) -> bool:
    """Start the thread of a series; return whether it ends in time.

    An exception that ends the wait also stops the series.
    """
    if not start(thread):
        return True
    try:
        if not series.ends_in_time(thread):
            return False
        thread.join()
    except BaseException:
        if series.stop():
            interrupt(thread, GRACE)
        else:
            thread.join(GRACE)  # the thread is between two loads and ends before the next
        raise
    return True


class _Interrupted(BaseException):
    """Raised by the signal handler; a plugin's ``except Exception`` does not catch it."""


class _TimedCall(Generic[_T]):
    """One call of a function on the main thread, limited by a timer of the kernel."""

    def __init__(self, function: Callable[[], _T], limit: float, *, is_engines: bool = False) -> None:
        """Prepare to call ``function`` for at most ``limit`` seconds.

        ``is_engines``: only code of a plugin that the function calls is limited, such as a finalizer.
        """
        self._is_engines = is_engines
        self.value: _T | None = None
        self.error: BaseException | None = None
        """The exception that the function raised, or that interrupted it."""
        self.in_time = True
        self.spared = ""
        """The module whose import delayed the interruption; empty if none did."""
        self.is_inside = False
        """Whether that import did not end, so that the call was interrupted inside it."""
        self._function = function
        self._limit = limit
        self._is_armed = False
        self._patient_until = 0.0  # on the monotonic clock

    def run(self) -> None:
        """Call the function."""
        pid = os.getpid()
        before = signal.signal(signal.SIGALRM, self._time_is_up)
        try:
            # A signal may come at any line: it is harmless only where nothing is left to do.
            try:
                try:
                    self._is_armed = True
                    signal.setitimer(signal.ITIMER_REAL, self._limit, _AGAIN)
                    self.value = self._function()
                finally:
                    self._is_armed = False
            except BaseException as error:  # foreign code: SystemExit and the like end this load only
                self.error = error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if os.getpid() != pid:  # the plugin forked, and this is the child process
                os._exit(0)

    def _time_is_up(self, _number: int, frame: FrameType | None) -> None:
        if not self._is_armed or (self._is_engines and not runs_plugin(self._inside(frame))):
            return
        if self.in_time:
            self.in_time, self._patient_until = False, monotonic() + limits.PATIENCE
        importing = limits.import_to_spare(self._inside(frame))
        self.spared = importing or self.spared
        self.is_inside = importing != "" and monotonic() >= self._patient_until
        if importing and not self.is_inside:
            signal.setitimer(signal.ITIMER_REAL, STEP, _AGAIN)
            return
        raise _Interrupted

    def _inside(self, frame: FrameType | None) -> list[FrameType]:
        """Return the frames that belong to the call: the host may be importing a module itself."""
        return [
            *itertools.takewhile(lambda each: each.f_code is not _TimedCall.run.__code__, stack_of(frame))
        ]


class MainTrials:
    """Runs loads on the main thread, one at a time; the main thread must be in ``serve`` or call ``run``."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running = ""
        self._call: _TimedCall[object] | None = None

    def run(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Run loads until one fails; see ``Trials``.

        A load that cannot be interrupted blocks all other loads.
        """
        before = len(done)
        if self._running:
            where = f", inside the import of {self._spared()}{_RESTART}" if self._spared() else ""
            raise LoadError(loads[0].name, f"{self._running} still occupies the main thread{where}")
        # The timer interrupts a load first: a load that goes on after ``GRACE`` is left behind.
        prove, step = functools.partial(self._prove, limit), functools.partial(self._step, limit)
        series = Series(loads, limit + GRACE, done, prove, engine_step=step, spared=self._spared)
        if current_thread() is main_thread():
            series.run()
        else:
            self._jobs.put(series.run)
            if not series.ends_in_time():
                ending = Ending(False, self._spared(), is_inside=True)
                raise _stuck(loads[len(done) - before], limit, "it still runs on the main thread", ending)
        if series.error is not None:
            raise series.error

    def is_inside(self) -> bool:
        """Return whether the calling thread is running a load."""
        return bool(self._running) and current_thread() is main_thread()

    def serve(self) -> None:
        """Run the loads of other threads on the main thread until ``end`` is called."""
        while (perform := self._jobs.get()) is not None:
            perform()
            del perform  # it would hold a generation until the next load

    def end(self) -> None:
        """Make ``serve`` return."""
        self._jobs.put(None)

    def _prove(self, limit: float, load: LoadCall[_T]) -> _T:
        # A separate context: the main thread must not keep the plugin's context variables.
        running = f"{load.what} of {load.name}"
        call = self._timed(running, limit, lambda: contextvars.Context().run(load.prove))
        if not call.in_time:
            raise _interrupted(load, limit, call.error, Ending(True, call.spared, call.is_inside))
        if call.error is not None:
            raise _failure(load.name, call.error)
        return cast("_T", call.value)

    def _step(self, limit: float, plugin: str, step: Callable[[], None]) -> None:
        """Run a step of the engine; it goes on if a finalizer was interrupted in it."""
        call = self._timed(f"the load of {plugin}", limit, step, is_engines=True)
        if call.error is not None:
            raise _failure(plugin, call.error)

    def _timed(
        self, running: str, limit: float, function: Callable[[], _T], *, is_engines: bool = False
    ) -> _TimedCall[_T]:
        call = _TimedCall(function, limit, is_engines=is_engines)
        self._running, self._call = running, cast("_TimedCall[object]", call)
        try:
            call.run()
        finally:
            self._running, self._call = "", None
        return call

    def _spared(self) -> str:
        """Return the module whose import delays the interruption of the running load; ``""`` if none does."""
        call = self._call
        return call.spared if call is not None else ""


def _failure(plugin: str, error: BaseException) -> PluginError:
    if isinstance(error, PluginError):
        return error
    found = RegisterError(plugin, "what register(ctx) registered cannot be used")
    found.__cause__ = error  # raised by an object that the plugin registered
    return found


_RESTART = ", which did not end: restart the process, because later imports in it may fail or hang"


def _interrupted(
    load: LoadCall[_T], limit: float, failure: BaseException | None, ending: Ending
) -> LoadError:
    """Return the error of an interrupted load, with its stack at the interruption."""
    if ending.is_inside:
        where = f" inside the import of {ending.spared}{_RESTART}"
    elif ending.spared:
        where = f", after the import of {ending.spared}, which nothing may interrupt"
    else:
        where = ""
    over = _over(load, limit)
    error = LoadError(load.name, f"{over} and was interrupted{where}")
    if failure is None:  # the load ended by itself with that import
        return LoadError(load.name, f"{over}{where}; reload the plugin: that module is imported now")
    cause = failure.__cause__ if isinstance(failure, PluginError) else None
    if cause is not None:
        here = TimeoutError(f"{over}; it was interrupted here{where}")
        error.__cause__ = here.with_traceback(cause.__traceback__)
    return error


def _stuck(load: LoadCall[_T], limit: float, where: str, ending: Ending) -> LoadError:
    inside = f", inside the import of {ending.spared}{_RESTART}" if ending.is_inside and ending.spared else ""
    return LoadError(load.name, f"{_over(load, limit)} and cannot be interrupted; {where}{inside}")


def _over(load: LoadCall[_T], limit: float) -> str:
    return f"{load.what} did not end within load_timeout = {limit:g} s"
