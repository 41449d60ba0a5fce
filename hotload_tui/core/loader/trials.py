"""Where a trial runs: in a thread of its own, or on the main thread.

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
"""

from __future__ import annotations

import contextvars
import os
import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Generic, Protocol, TypeVar

from hotload_tui.core.errors import LoadError, PluginError, RegisterError
from hotload_tui.core.loader.bounded import BoundedCall

_GRACE = 1.0  # seconds for an interrupted call to end
_AGAIN = 0.25  # seconds between two signals, for code that swallows the first

_T = TypeVar("_T")


class Trials(Protocol):
    """A way to run the proof of a plugin."""

    def run(self, plugin: str, proof: Callable[[], _T], limit: float) -> _T:
        """Return what ``proof`` returns.

        Raises:
            PluginError: what the proof raised.
            LoadError: it did not end within ``limit`` seconds.

        """
        ...

    def is_inside(self) -> bool:
        """Tell whether the calling thread is executing a proof."""
        ...


class WorkerTrials:
    """Runs each proof in a thread of its own; one at a time."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def run(self, plugin: str, proof: Callable[[], _T], limit: float) -> _T:
        """Run a proof; as ``Trials``."""
        call = BoundedCall(proof, f"hotload-load-{plugin}")
        self._thread = call.thread
        try:
            if not call.ends_within(limit):
                raise self._interrupt(plugin, call, limit)
        finally:
            self._thread = None
        return _outcome(plugin, call.value, call.error)

    def is_inside(self) -> bool:
        """Tell whether the calling thread is executing a proof."""
        return threading.current_thread() is self._thread

    def _interrupt(self, plugin: str, call: BoundedCall[_T], limit: float) -> LoadError:
        """End a load that takes too long, if the interpreter can; returns the error to raise."""
        if not call.interrupt():
            return _stuck(plugin, limit, f"its thread '{call.thread.name}' still runs")
        error = _interrupted(plugin, limit, call.error)
        call.error = call.value = None
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
        self._ended = threading.Event()

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
            self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, and tell whether it came."""
        return self._ended.wait(seconds)

    def _time_is_up(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_armed:
            self.in_time = False
            raise _Interrupted


class MainTrials:
    """Runs each proof on the main thread, which has to be in ``serve``; one at a time."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running = ""

    def run(self, plugin: str, proof: Callable[[], _T], limit: float) -> _T:
        """Run a proof; as ``Trials``. One that cannot be ended keeps the main thread from all others."""
        if self._running:
            raise LoadError(plugin, f"the load of {self._running} still occupies the main thread")
        job = _Job(plugin, proof, limit)
        if threading.current_thread() is threading.main_thread():
            self._perform(job)
        else:
            self._jobs.put(lambda: self._perform(job))
            if not job.wait(limit + _GRACE):
                raise _stuck(plugin, limit, "it still runs on the main thread")
        if not job.in_time:
            error = _interrupted(plugin, limit, job.error)
            job.error = job.value = None
            raise error
        return _outcome(plugin, job.value, job.error)

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


def _outcome(plugin: str, value: _T | None, error: BaseException | None) -> _T:
    if isinstance(error, PluginError):
        raise error
    if error is not None:  # of what the plugin registered, when it was looked at
        raise RegisterError(plugin, "what register(ctx) registered cannot be used") from error
    assert value is not None
    return value


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
