"""Where a trial runs, in its own thread or on the main thread, and how it is ended when it hangs.

======================================== ================ ==================
a load that takes too long in            worker thread    main thread
======================================== ================ ==================
a loop in Python                         is interrupted   is interrupted
a sleep, a lock, a queue, a socket       is left behind   is interrupted
``re``, ``pow`` with large numbers       stops all else   is interrupted
other loops in C, code that swallows all stops all else   stops all else
======================================== ================ ==================

A program that embeds the manager keeps its main thread, so its plugins load on worker threads. A process
that exists for its plugins gives them its main thread, where a signal can end what nothing else ends.

Starting a thread for each load takes as long as most loads, so loads that follow each other share one, which
is replaced when a load times out or leaves something in it.
"""

from __future__ import annotations

import contextvars
import ctypes
import gc
import itertools
import math
import os
import queue
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Generic, Protocol, TypeVar, cast

from hotload_tui.core.errors import LoadError, PluginError, RegisterError

GRACE = 1.0  # seconds for an interrupted call to end

_T = TypeVar("_T")


class _Ended(BaseException):
    """Raised inside a call that takes too long; no ``except Exception`` of a plugin stops it."""


class BoundedCall(Generic[_T]):
    """One call of a function, in a thread of its own."""

    def __init__(self, function: Callable[[], _T], name: str) -> None:
        """Prepare to call ``function`` in a thread of that name."""
        self.value: _T | None = None
        self.error: BaseException | None = None
        """Whatever the function raised."""
        # A thread that a plugin starts inherits the daemon flag: a forgotten one cannot keep the host alive.
        self.thread = threading.Thread(target=self._run, args=(function,), name=name, daemon=True)

    def ends_within(self, seconds: float) -> bool:
        """Start, and wait that long for the end; whatever ends the waiting interrupts the call, too."""
        if not start(self.thread):
            return True
        try:
            self.thread.join(seconds)
        except BaseException:
            raise_in(self.thread)
            raise
        return not self.thread.is_alive()

    def interrupt(self) -> bool:
        """End the call if the interpreter can (not in a system call or a lock); tell whether it did."""
        return end(self.thread)

    def _run(self, function: Callable[[], _T]) -> None:
        try:
            self.value = function()
        except BaseException as error:  # foreign code: SystemExit and the like end this call only
            self.error = error


def start(thread: threading.Thread) -> bool:
    """Start a thread; false if what it is for had to be done here, and is done."""
    try:
        thread.start()
    except RuntimeError:  # none can be started while the interpreter ends: better here than not at all
        thread.run()
        return False
    return True


def end(thread: threading.Thread) -> bool:
    """Interrupt what a thread runs, and wait a moment for its end; tell whether it ended."""
    raise_in(thread)
    thread.join(GRACE)
    return not thread.is_alive()


def raise_in(thread: threading.Thread) -> None:
    """Interrupt what a thread runs, as soon as that is Python code again."""
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_Ended))


_never_the_same = itertools.count()


class Imprint:
    """Tells whether something was set for the calling thread, which is to be the one that made this."""

    def __init__(self) -> None:
        self._probe = threading.local()
        self._probe.is_there = True
        self._sentinel = next(
            (found for found in map(_sentinel, gc.get_referents(self._probe)) if found), None
        )
        self._before = self._now()

    def is_blank(self) -> bool:
        """Tell whether nothing was set since."""
        return self._now() == self._before

    def _now(self) -> tuple[object, ...]:
        hooks = sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()
        return self._locals(), *hooks

    def _locals(self) -> int:
        """Return how many objects of ``threading.local`` have a value in this thread."""
        if self._sentinel is not None:  # from 3.13 on each of them refers to it
            return weakref.getweakrefcount(self._sentinel)
        if sys.version_info < (3, 13):  # each has an entry in the state of the thread
            return len(cast("dict[object, object]", ctypes.cast(_thread_locals(), ctypes.py_object).value))
        return next(_never_the_same)


_thread_locals = ctypes.pythonapi.PyThreadState_GetDict
_thread_locals.restype = ctypes.c_void_p  # not py_object: the reference is borrowed


def _sentinel(part: object) -> object:
    """Return what stands for this thread in the set that a ``threading.local`` has of its threads."""
    references = cast("set[object]", part) if type(part) is set else set()
    return next((found() for found in references if isinstance(found, weakref.ref)), None)


_T_co = TypeVar("_T_co", covariant=True)


class LoadCall(Protocol[_T_co]):
    """What is loaded, in three steps; only the second runs code of the plugin's."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        ...

    def begin(self, *, follows: bool) -> None:
        """Prepare; ``follows``: the ``end`` of another load was just now."""
        ...

    def prove(self) -> _T_co:
        """Run the plugin's code; the time of this is bounded."""
        ...

    def end(self) -> None:
        """See what it did."""
        ...


class Series(Generic[_T]):
    """Loads in a thread, until one fails, takes too long, or leaves something in the thread."""

    def __init__(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Prepare; ``limit`` is in seconds for each load, and ``done`` gets the value of each."""
        self._waiting = [*loads][::-1]
        self._limit = limit
        self._done = done
        self.error: BaseException | None = None
        """Whatever the load raised after which the series ended."""
        self._lock = threading.Lock()
        self._ends_at = math.inf  # of the load whose code runs, on the monotonic clock
        self._is_stopped = False
        # A thread that a plugin starts inherits the daemon flag: a forgotten one cannot keep the host alive.
        self.thread = threading.Thread(target=self._run, name=_name(loads[0]), daemon=True)

    def ends_in_time(self) -> bool:
        """Start, and wait for the end; false if a load takes too long. What ends the waiting stops it all."""
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
                self.thread.join(GRACE)  # it is between two loads, and ends before the next
            raise
        return False

    def interrupt(self) -> bool:
        """End the load that takes too long if the interpreter can; tell whether it did."""
        return end(self.thread)

    def _is_over_time(self) -> bool:
        """Stop the series if its load takes too long, and tell whether it does."""
        with self._lock:
            if self._ends_at <= time.monotonic():
                self._leave()
        return self._is_stopped

    def _stop(self) -> bool:
        """Have no other load begin; tell whether one runs."""
        with self._lock:
            self._leave()
            return self._ends_at < math.inf

    def _leave(self) -> None:
        self._is_stopped = True
        self._waiting, self._done = [], []  # a thread that is left behind holds its own load and no other

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
        """Run one load, and tell whether another may follow; raises what it raises."""
        if not self._goes_on(time.monotonic() + self._limit):
            return False
        try:
            # Nothing that a plugin puts into its context may be seen by the next.
            value = contextvars.Context().run(load.prove)
        finally:
            goes_on = self._goes_on(math.inf)
        if goes_on:  # else it is too late, and an interrupt may strike at any line
            load.end()
            self._done.append(value)
        return goes_on

    def _goes_on(self, ends_at: float) -> bool:
        """Note when the load's time is up, unless the series was stopped."""
        with self._lock:
            if not self._is_stopped:
                self._ends_at = ends_at
            return not self._is_stopped


def _name(load: LoadCall[object]) -> str:
    return f"hotload-load-{load.name}"


_GRACE = 1.0  # seconds for an interrupted call to end
_AGAIN = 0.25  # seconds between two signals, for code that swallows the first


class Trials(Protocol):
    """A way to run the loads of plugins."""

    def run(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Run the first of some loads, or several; add what each proof returns to ``done``.

        Of a load that fails, ``end`` is not called.

        Raises:
            PluginError: what the proof of the load raised that is next in ``done``.
            LoadError: it did not end within ``limit`` seconds.

        """
        ...

    def is_inside(self) -> bool:
        """Tell whether the calling thread is executing a proof."""
        ...


class WorkerTrials:
    """Runs loads one after the other in a thread of their own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def run(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Run as many loads as may share a thread; as ``Trials``."""
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
        """Tell whether the calling thread is executing a proof."""
        return threading.current_thread() is self._thread

    def _interrupt(self, plugin: str, series: Series[_T], limit: float) -> LoadError:
        """End a load that takes too long, if the interpreter can; returns the error to raise."""
        if not series.interrupt():
            return _stuck(plugin, limit, f"its thread '{series.thread.name}' still runs")
        error = _interrupted(plugin, limit, series.error)
        series.error = None
        return error


class _Interrupted(BaseException):
    """Raised by the signal; no ``except Exception`` of a plugin stops it."""


class _Job(Generic[_T]):
    """A proof on its way to the main thread and back."""

    def __init__(self, plugin: str, proof: Callable[[], _T], limit: float) -> None:
        self.plugin = plugin
        self.limit = limit
        self.value: _T | None = None
        self.error: BaseException | None = None
        self.in_time = True
        self._proof: Callable[[], _T] | None = proof
        self._is_armed = False

    def run(self) -> None:
        """Run on the main thread, under a timer of the kernel's."""
        pid = os.getpid()
        assert self._proof is not None
        before = signal.signal(signal.SIGALRM, self._time_is_up)
        try:
            # A signal may strike at any line: it is harmless only where nothing is left to do.
            try:
                try:
                    self._is_armed = True
                    signal.setitimer(signal.ITIMER_REAL, self.limit, _AGAIN)
                    # Nothing that a plugin puts into its context may outlive it in that of the main thread.
                    self.value = contextvars.Context().run(self._proof)
                finally:
                    self._is_armed = False
            except BaseException as error:  # foreign code: SystemExit and the like end this load only
                self.error = error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if os.getpid() != pid:  # the plugin forked, and this is the copy
                os._exit(0)
            self._proof = None

    def failure(self) -> PluginError | None:
        """Return why there is no value."""
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
    """Loads that have the main thread one after the other, until one fails."""

    def __init__(
        self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T], perform: Callable[[_Job[_T]], None]
    ) -> None:
        self._waiting = [*loads][::-1]
        self._limit = limit
        self._done = done
        self._perform = perform
        self.error: BaseException | None = None
        """What ended it."""
        self._since = time.monotonic()  # when the load began whose turn it is
        self._lock = threading.Lock()
        self._is_left = False
        self._is_over = threading.Event()

    def run(self) -> None:
        """Run on the main thread."""
        try:
            follows = False
            while self._waiting:
                load = self._waiting.pop()
                self._since = time.monotonic()
                load.begin(follows=follows)
                if not self._prove(load):
                    break
                follows = True
        except BaseException as error:  # foreign code may be part of looking at what a load has changed
            self.error = error
        finally:
            self._is_over.set()

    def ends_in_time(self) -> bool:
        """Wait for the end; false if a load cannot be ended, which is left behind."""
        while not self._is_over.wait(self._left()):
            with self._lock:
                if self._left() <= 0:
                    self._is_left = True
                    self._waiting, self._done = [], []  # what is left behind holds its own load and no other
                    return False
        return True

    def _prove(self, load: LoadCall[_T]) -> bool:
        """Run one load, and tell whether another may follow."""
        job = _Job(load.name, load.prove, self._limit)
        self._perform(job)
        with self._lock:
            if self._is_left:  # nobody waits for it any more
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
    """Runs loads on the main thread, which has to be in ``serve``; one at a time."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running = ""

    def run(self, loads: Sequence[LoadCall[_T]], limit: float, done: list[_T]) -> None:
        """Run loads until one fails; as ``Trials``. One that cannot be ended keeps all others from it."""
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
        """Tell whether the calling thread is executing a proof."""
        return bool(self._running) and threading.current_thread() is threading.main_thread()

    def serve(self) -> None:
        """Run what other threads bring, on the main thread, until ``end``."""
        while (perform := self._jobs.get()) is not None:
            perform()
            del perform  # it would hold a generation until the next load

    def end(self) -> None:
        """Have ``serve`` return."""
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
    found.__cause__ = error  # of what the plugin registered, when it was looked at
    return found


def _interrupted(plugin: str, limit: float, ending: BaseException | None) -> LoadError:
    """Return the error of a load that was interrupted, with the stack where it was."""
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
