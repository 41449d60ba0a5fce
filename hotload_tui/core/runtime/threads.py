"""Run trials on a worker thread or on the main thread, and interrupt a trial that hangs.

======================================== ================== ==================
a load that takes too long in            worker thread      main thread
======================================== ================== ==================
a loop in Python                         is interrupted     is interrupted
a sleep, a lock, a queue, a socket       is left behind     is interrupted
``re``, ``pow`` with large numbers       blocks all threads is interrupted
code that catches every exception        is left behind     blocks all loads
other loops in C                         blocks all threads blocks all threads
======================================== ================== ==================

A program that embeds the manager keeps its main thread, so its plugins load on worker threads. A process that
exists only for its plugins gives them its main thread, where a signal can interrupt code that nothing else
can interrupt.

Starting a thread takes as long as most loads, so consecutive loads share a thread until a load fails, times
out, or leaves a value or a hook set in the thread.
"""

from __future__ import annotations

import contextvars
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Generic, Protocol, TypeVar

from hotload_tui.core.errors import LoadError, PluginError, RegisterError
from hotload_tui.core.interpreter import ThreadLocals, raise_in

GRACE = 1.0  # seconds that an interrupted call has to end

_T = TypeVar("_T")


class BoundedCall(Generic[_T]):
    """One call of a function in a new thread."""

    def __init__(self, function: Callable[[], _T], name: str) -> None:
        """Prepare to call ``function`` in a thread called ``name``."""
        self.value: _T | None = None
        self.error: BaseException | None = None
        """The exception that the function raised."""
        # Threads that a plugin starts inherit the daemon flag: a forgotten thread cannot keep the host alive.
        self.thread = threading.Thread(target=self._run, args=(function,), name=name, daemon=True)

    def ends_within(self, seconds: float) -> bool:
        """Start the call, and return whether it ends within ``seconds``.

        An exception that ends the wait also interrupts the call.
        """
        if not start(self.thread):
            return True
        try:
            self.thread.join(seconds)
        except BaseException:
            raise_in(self.thread)
            raise
        return not self.thread.is_alive()

    def interrupt(self) -> bool:
        """Interrupt the call (impossible in a system call or a lock), and return whether it ended."""
        return end(self.thread)

    def _run(self, function: Callable[[], _T]) -> None:
        try:
            self.value = function()
        except BaseException as error:  # foreign code: SystemExit and the like end this call only
            self.error = error


def start(thread: threading.Thread) -> bool:
    """Start a thread; return ``False`` if its function had to run in the calling thread instead."""
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending and starts no threads: run it here
        thread.run()
        return False
    return True


def end(thread: threading.Thread) -> bool:
    """Interrupt a thread, wait up to ``GRACE`` seconds, and return whether it ended."""
    raise_in(thread)
    thread.join(GRACE)
    return not thread.is_alive()


class Imprint:
    """Detects thread-local values and trace or profile hooks that a plugin sets in one thread.

    Only the thread that created the object may call its methods.
    """

    def __init__(self) -> None:
        self._locals = ThreadLocals()
        self._before = self._now()

    def is_blank(self) -> bool:
        """Return whether nothing was set since the object was created."""
        return self._now() == self._before

    def _now(self) -> tuple[object, ...]:
        hooks = sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()
        return self._locals.count(), *hooks


_T_co = TypeVar("_T_co", covariant=True)


class LoadCall(Protocol[_T_co]):
    """A load in three steps; only ``prove`` runs the plugin's code."""

    @property
    def name(self) -> str:
        """The plugin's name."""
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


class Series(Generic[_T]):
    """Runs loads in one thread until one fails, takes too long, or leaves something set in the thread."""

    def __init__(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Prepare; each load has ``limit`` seconds, and its value is appended to ``done``."""
        self._waiting = [*loads][::-1]
        self._limit = limit
        self._done = done
        self.error: BaseException | None = None
        """The exception of the load that ended the series."""
        self._lock = threading.Lock()
        self._ends_at = math.inf  # the running load's deadline on the monotonic clock
        self._is_stopped = False
        # Threads that a plugin starts inherit the daemon flag: a forgotten thread cannot keep the host alive.
        self.thread = threading.Thread(target=self._run, name=_name(loads[0]), daemon=True)

    def ends_in_time(self) -> bool:
        """Start the series, and wait for its end; return ``False`` if a load takes too long.

        An exception that ends the wait also stops the series.
        """
        if not start(self.thread):
            return True
        try:
            while not self._is_over_time():
                self.thread.join(min(self._limit, max(0.0, self._ends_at - time.monotonic())))
                if not self.thread.is_alive():
                    return True
        except BaseException:
            if self._stop():
                raise_in(self.thread)
            else:
                self.thread.join(GRACE)  # the thread is between two loads and ends before the next
            raise
        return False

    def interrupt(self) -> bool:
        """Interrupt the load that takes too long, and return whether it ended."""
        return end(self.thread)

    def _is_over_time(self) -> bool:
        """Stop the series if its load takes too long, and return whether the series is stopped."""
        with self._lock:
            if self._ends_at <= time.monotonic():
                self._leave()
        return self._is_stopped

    def _stop(self) -> bool:
        """Let no other load begin, and return whether a load is running."""
        with self._lock:
            self._leave()
            return self._ends_at < math.inf

    def _leave(self) -> None:
        self._is_stopped = True
        self._waiting, self._done = [], []  # a thread that is left behind must not hold other loads

    def _run(self) -> None:
        imprint = Imprint()
        try:
            follows = False
            while self._waiting:
                load = self._waiting.pop()
                self.thread.name = _name(load)
                load.begin(follows=follows)
                if not self._prove(load) or not imprint.is_blank():
                    break
                follows = True
        except BaseException as error:  # foreign code: SystemExit and the like end this load only
            self.error = error

    def _prove(self, load: LoadCall[_T]) -> bool:
        """Run one load, and return whether another may follow; raises what the load raises."""
        if not self._goes_on(time.monotonic() + self._limit):
            return False
        try:
            # Each load has its own context: the next plugin must not see this one's context variables.
            value = contextvars.Context().run(load.prove)
        finally:
            goes_on = self._goes_on(math.inf)
        if goes_on:  # else it is too late, and an interrupt may come at any line
            load.end()
            self._done.append(value)
        return goes_on

    def _goes_on(self, ends_at: float) -> bool:
        """Set the load's deadline unless the series was stopped; return whether the series goes on."""
        with self._lock:
            if not self._is_stopped:
                self._ends_at = ends_at
            return not self._is_stopped


def _name(load: LoadCall[object]) -> str:
    return f"hotload-load-{load.name}"


_GRACE = 1.0  # seconds that an interrupted call has to end
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
        series = Series(loads, limit, done)
        self._thread = series.thread
        try:
            if not series.ends_in_time():
                raise self._interrupt(loads[len(done) - before].name, series, limit)
        finally:
            self._thread = None
        if series.error is not None:
            raise _failure(loads[len(done) - before].name, series.error)

    def is_inside(self) -> bool:
        """Return whether the calling thread is running a load."""
        return threading.current_thread() is self._thread

    def _interrupt(self, plugin: str, series: Series[_T], limit: float) -> LoadError:
        """Interrupt a load that takes too long, and return the error to raise."""
        if not series.interrupt():
            return _stuck(plugin, limit, f"its thread '{series.thread.name}' still runs")
        error = _interrupted(plugin, limit, series.error)
        series.error = None
        return error


class _Interrupted(BaseException):
    """Raised by the signal handler; a plugin's ``except Exception`` does not catch it."""


class _Job(Generic[_T]):
    """One call of ``LoadCall.prove`` on the main thread, with its result."""

    def __init__(self, plugin: str, proof: Callable[[], _T], limit: float) -> None:
        self.plugin = plugin
        self.limit = limit
        self.value: _T | None = None
        self.error: BaseException | None = None
        self.in_time = True
        self._proof: Callable[[], _T] | None = proof
        self._is_armed = False

    def run(self) -> None:
        """Run on the main thread, limited by a timer of the kernel."""
        pid = os.getpid()
        assert self._proof is not None
        before = signal.signal(signal.SIGALRM, self._time_is_up)
        try:
            # A signal may come at any line: it is harmless only where nothing is left to do.
            try:
                try:
                    self._is_armed = True
                    signal.setitimer(signal.ITIMER_REAL, self.limit, _AGAIN)
                    # A separate context: the main thread must not keep the plugin's context variables.
                    self.value = contextvars.Context().run(self._proof)
                finally:
                    self._is_armed = False
            except BaseException as error:  # foreign code: SystemExit and the like end this load only
                self.error = error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if os.getpid() != pid:  # the plugin forked, and this is the child process
                os._exit(0)
            self._proof = None

    def failure(self) -> PluginError | None:
        """Return the error of the load; ``None`` if there is a value."""
        if self.in_time:
            return None if self.error is None else _failure(self.plugin, self.error)
        error = _interrupted(self.plugin, self.limit, self.error)
        self.error = self.value = None
        return error

    def _time_is_up(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_armed:
            self.in_time = False
            raise _Interrupted


class _Turn(Generic[_T]):
    """Runs loads on the main thread, one after the other, until one fails."""

    def __init__(
        self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T], perform: Callable[[_Job[_T]], None]
    ) -> None:
        self._waiting = [*loads][::-1]
        self._limit = limit
        self._done = done
        self._perform = perform
        self.error: BaseException | None = None
        """The exception that ended the turn."""
        self._since = time.monotonic()  # when the current load or its ``end`` began
        self._lock = threading.Lock()
        self._is_left = False
        self._is_over = threading.Event()

    def run(self) -> None:
        """Run the loads on the main thread."""
        try:
            follows = False
            while self._waiting:
                load = self._waiting.pop()
                self._since = time.monotonic()
                load.begin(follows=follows)
                if not self._prove(load):
                    break
                follows = True
        except BaseException as error:  # recording what a load changed may run foreign code
            self.error = error
        finally:
            self._is_over.set()

    def ends_in_time(self) -> bool:
        """Wait for the end; return ``False`` if a load cannot be interrupted and is left behind."""
        while not self._is_over.wait(self._left()):
            with self._lock:
                if self._left() <= 0:
                    self._is_left = True
                    self._waiting, self._done = [], []  # a turn that is left behind must not hold other loads
                    return False
        return True

    def _prove(self, load: LoadCall[_T]) -> bool:
        """Run one load, and return whether another may follow."""
        job = _Job(load.name, load.prove, self._limit)
        self._perform(job)
        with self._lock:
            if self._is_left:  # no thread waits for the load any more
                return False
            self._since = time.monotonic()
        self.error = job.failure()
        if self.error is not None:
            return False
        assert job.value is not None
        load.end()
        self._done.append(job.value)
        return True

    def _left(self) -> float:
        return self._since + self._limit + _GRACE - time.monotonic()


class MainTrials:
    """Runs loads on the main thread, one at a time; the main thread must be in ``serve`` or call ``run``."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running = ""

    def run(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Run loads until one fails; see ``Trials``.

        A load that cannot be interrupted blocks all other loads.
        """
        before = len(done)
        if self._running:
            raise LoadError(loads[0].name, f"the load of {self._running} still occupies the main thread")
        turn = _Turn(loads, limit, done, self._perform)
        if threading.current_thread() is threading.main_thread():
            turn.run()
        else:
            self._jobs.put(turn.run)
            if not turn.ends_in_time():
                raise _stuck(loads[len(done) - before].name, limit, "it still runs on the main thread")
        if turn.error is not None:
            raise turn.error

    def is_inside(self) -> bool:
        """Return whether the calling thread is running a load."""
        return bool(self._running) and threading.current_thread() is threading.main_thread()

    def serve(self) -> None:
        """Run the loads of other threads on the main thread until ``end`` is called."""
        while (perform := self._jobs.get()) is not None:
            perform()
            del perform  # it would hold a generation until the next load

    def end(self) -> None:
        """Make ``serve`` return."""
        self._jobs.put(None)

    def _perform(self, job: _Job[_T]) -> None:
        self._running = job.plugin
        try:
            job.run()
        finally:
            self._running = ""


def _failure(plugin: str, error: BaseException) -> PluginError:
    if isinstance(error, PluginError):
        return error
    found = RegisterError(plugin, "what register(ctx) registered cannot be used")
    found.__cause__ = error  # raised by an object that the plugin registered
    return found


def _interrupted(plugin: str, limit: float, ending: BaseException | None) -> LoadError:
    """Return the error of an interrupted load, with its stack at the interruption."""
    text = f"{_over(limit)} and was interrupted"
    error = LoadError(plugin, text)
    cause = ending.__cause__ if isinstance(ending, PluginError) else None
    if cause is not None:
        error.__cause__ = TimeoutError(
            f"{text.removesuffix(' and was interrupted')}; it was interrupted here"
        )
        error.__cause__ = error.__cause__.with_traceback(cause.__traceback__)
    return error


def _stuck(plugin: str, limit: float, where: str) -> LoadError:
    return LoadError(plugin, f"{_over(limit)} and cannot be interrupted; {where}")


def _over(limit: float) -> str:
    return f"the load did not end within load_timeout = {limit:g} s"
