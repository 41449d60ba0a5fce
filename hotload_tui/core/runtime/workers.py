"""Threads and tasks of plugins, which the host starts when a plugin goes live and ends when it retires."""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from hotload_tui.core.faults import trace_of
from hotload_tui.core.hooks.host import is_fault
from hotload_tui.core.hooks.point import signature_of
from hotload_tui.core.interpreter import coroutine_stack, thread_stack
from hotload_tui.core.model import Phase
from hotload_tui.core.primitives import Event, Thread, get_ident, join, monotonic

if TYPE_CHECKING:
    import asyncio  # takes 20 ms; a plugin without tasks does not import it

_Coroutine: TypeAlias = Coroutine[object, object, object]

Failed: TypeAlias = Callable[[BaseException, Phase, str], None]
"""Called with the exception that ended a worker, the phase, and the worker's name."""


def nobody_asks(error: BaseException, phase: Phase, what: str) -> None:
    """Ignore that a worker failed."""


_current: ContextVar[Worker | None] = ContextVar("hotload_worker", default=None)


def current_worker() -> Worker | None:
    """Return the worker that runs the calling code, also across ``asyncio.to_thread``, or ``None``."""
    return _current.get()


class Worker(ABC):
    """A thread, task or event loop that runs for a plugin."""

    is_spared = False
    """Whether the worker asked for the reload that ends it; that reload must not cancel it."""

    @abstractmethod
    def start(self) -> None:
        """Start the worker."""

    @abstractmethod
    def end(self, limit: float, aside: Collection[int]) -> BaseException | None:
        """Ask the worker to end, and wait up to ``limit`` seconds; return an error if it did not end.

        The threads in ``aside`` wait for this retirement, so this method does not wait for them.
        """

    @abstractmethod
    def is_running(self) -> bool:
        """Return whether the worker was started and has not ended."""

    @abstractmethod
    def renew(self) -> str:
        """Prepare an ended worker for another ``start``; return why that is impossible, or an empty text."""

    def forget(self) -> None:  # noqa: B027 - most workers have nothing to drop
        """Drop the work, which is not to be started (again): it holds the generation."""


class ThreadWorker(Worker):
    """A function in a new thread, with a stop signal if the function takes an argument."""

    def __init__(
        self,
        plugin: str,
        function: Callable[[], object],
        log: logging.Logger,
        done: Callable[[Worker], None],
        failed: Failed,
    ) -> None:
        self._make: Callable[[threading.Event], _Thread] | None = lambda stop: _Thread(
            plugin, function, stop, worker=self, log=log, done=done, failed=failed
        )
        self._stop = Event()
        self._thread = self._make(self._stop)

    def start(self) -> None:  # noqa: D102 - as Worker
        self._thread.start()

    def end(self, limit: float, aside: Collection[int]) -> BaseException | None:  # noqa: D102 - as Worker
        self._stop.set()
        thread = self._thread
        if thread.ident is None or not _is_alive_after(thread, limit, aside) or thread.ident in aside:
            return None
        trace = trace_of(thread_stack(thread.ident))
        problem = f"thread '{thread.name}' did not end within drain_timeout = {limit:g} s of its stop signal"
        return TimeoutError(problem).with_traceback(trace)

    def is_running(self) -> bool:  # noqa: D102 - as Worker
        return self._thread.is_alive()

    def renew(self) -> str:  # noqa: D102 - as Worker
        if self._thread.is_alive():
            return f"thread '{self._thread.name}' has not ended, and does not start again"
        if self._make is None:
            return f"thread '{self._thread.name}' had ended by itself, and does not start again"
        self._stop = Event()
        self._thread = self._make(self._stop)
        return ""

    def forget(self) -> None:  # noqa: D102 - as Worker
        self._make = None


_SLICE = 0.05  # seconds between two looks whether a thread waits for the caller


def _is_alive_after(thread: threading.Thread, limit: float, aside: Collection[int]) -> bool:
    """Wait until a thread ends or begins to wait for the caller; return whether it still runs."""
    deadline = monotonic() + limit
    while thread.is_alive() and thread.ident not in aside and (left := deadline - monotonic()) > 0:
        join(thread, min(left, _SLICE))
    return thread.is_alive()


class _Thread(Thread):
    """Runs the plugin's function, and logs and reports the exception that it raises."""

    def __init__(
        self,
        plugin: str,
        function: Callable[[], object],
        stop: threading.Event,
        *,
        worker: Worker,
        log: logging.Logger,
        done: Callable[[Worker], None],
        failed: Failed,
    ) -> None:
        name = getattr(function, "__name__", type(function).__name__)
        super().__init__(function, f"{plugin}.{name}", (stop,) if _takes_one(function) else ())
        self._log = log
        self._failed = failed
        self._done: Callable[[Worker], None] | None = done
        self._worker: Worker | None = worker
        self._signal = stop

    def run(self) -> None:
        worker, done = self._worker, self._done
        self._worker = self._done = None  # they hold the generation
        assert worker is not None
        assert done is not None
        _current.set(worker)
        try:
            super().run()
        except BaseException as error:  # foreign code: whatever it raises ends this thread only
            what = f"thread '{self.name}'"
            _log_error(self._log, what, error)
            self._failed(error, "unload" if self._signal.is_set() else "thread", what)
        finally:
            done(worker)


def _takes_one(function: Callable[[], object]) -> bool:
    try:
        signature_of(function).bind(object())
    except (TypeError, ValueError):
        return False
    return True


def _log_error(log: logging.Logger, what: str, error: BaseException) -> None:
    # As text: a log handler that keeps its records would keep the generation alive.
    log.error("%s", f"{what} raised\n{''.join(traceback.format_exception(error))}".rstrip())


class TaskLoop(Worker):
    """An event loop in a new thread for the tasks of one generation."""

    def __init__(self, plugin: str) -> None:
        self._name = f"{plugin}.tasks"
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:  # noqa: D102 - as Worker
        import asyncio

        self.loop = asyncio.new_event_loop()
        self._thread = Thread(_run, self._name, (self.loop,))
        self._thread.start()

    def end(self, limit: float, aside: Collection[int]) -> BaseException | None:  # noqa: D102 - as Worker
        if self.loop is None or self._thread is None:
            return None
        is_busy = _is_busy(self.loop)  # the ending loop has tasks of its own
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(_stop_when_idle, self.loop)
        if self._thread.ident not in aside and not is_busy:
            self._thread.join(limit)
        return None  # a task that does not end is reported by its own worker

    @property
    def ident(self) -> int:
        """Identifier of the loop's thread; 0 before the start."""
        return (self._thread.ident or 0) if self._thread else 0

    def is_running(self) -> bool:  # noqa: D102 - as Worker
        return self._thread is not None and self._thread.is_alive()

    def renew(self) -> str:  # noqa: D102 - as Worker
        self.loop = self._thread = None
        return ""


def _run(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    asyncio.set_event_loop(loop)
    try:
        while _is_left(loop):
            pass
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _is_left(loop: asyncio.AbstractEventLoop) -> bool:
    """Run a loop until it stops; return whether only one of its tasks left it, which reports that itself."""
    try:
        loop.run_forever()
    except (SystemExit, KeyboardInterrupt):  # no Ctrl-C: this is not the main thread
        return True
    return False


def _is_busy(loop: asyncio.AbstractEventLoop) -> bool:
    import asyncio

    return bool(asyncio.all_tasks(loop))


def _stop_when_idle(loop: asyncio.AbstractEventLoop) -> None:
    import asyncio

    left = asyncio.all_tasks(loop)
    if left:
        next(iter(left)).add_done_callback(lambda _: _stop_when_idle(loop))
    else:
        loop.stop()


class TaskWorker(Worker):
    """A coroutine that runs as a task of an event loop."""

    def __init__(
        self,
        plugin: str,
        coroutine: _Coroutine,
        log: logging.Logger,
        done: Callable[[Worker], None],
        failed: Failed,
        *,
        again: Callable[[], _Coroutine] | None = None,
        module_path: str = "hotplug",
    ) -> None:
        """Run ``coroutine``; ``again`` makes another one for another start.

        Modules below ``module_path`` belong to plugins.
        """
        self._module_path = module_path
        self._error: BaseException | None = None
        self._coroutine: _Coroutine | None = coroutine
        self._again = again
        self._dismiss: Callable[[Worker], None] | None = done
        self._name = f"{plugin}.{getattr(coroutine, '__name__', 'task')}"
        self._log = log
        self._failed = failed
        self._done: Callable[[Worker], None] | None = done
        self._running = running_loop()
        self._thread = get_ident() if self._running else 0
        self._task: asyncio.Task[object] | None = None
        self._is_asked = False
        """Whether the task was asked to end."""
        self._is_over = Event()
        self.loop: TaskLoop | None = None
        """The loop for the task if the caller has no event loop."""

    def has_loop(self) -> bool:
        """Return whether the worker was created inside a running event loop."""
        return self._running is not None

    def start(self) -> None:  # noqa: D102 - as Worker
        loop = self._running or (self.loop.loop if self.loop else None)
        assert loop is not None
        context = copy_context()
        context.run(_current.set, self)
        loop.call_soon_threadsafe(self._begin, context=context)

    def _begin(self) -> None:
        import asyncio

        coroutine, self._coroutine = self._coroutine, None
        if coroutine is None:
            return  # ended before it began
        self._is_asked = False
        contained = self._contained(coroutine)
        self._task = asyncio.get_running_loop().create_task(contained, name=self._name)
        self._task.add_done_callback(partial(self._finish, coroutine))

    async def _contained(self, coroutine: _Coroutine) -> None:
        """Await the plugin's coroutine; keep an error that asyncio would not report as one of the task."""
        import asyncio

        try:
            await coroutine
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # somebody cancelled this task
            error.add_note("something that it awaited was cancelled, and so the task has ended")
            self._error = error
        except (SystemExit, KeyboardInterrupt) as error:
            if not is_fault(error, self._module_path):
                raise  # Ctrl-C
            self._error = error

    def _finish(self, coroutine: _Coroutine, task: asyncio.Task[object]) -> None:
        coroutine.close()  # if the task was cancelled before it began
        error, self._error = self._error, None
        if error is None and not task.cancelled():
            error = task.exception()
        if error is not None:
            what = f"task '{self._name}'"
            _log_error(self._log, what, error)
            self._failed(error, "unload" if self._is_asked else "task", what)
        done, self._done, self._task = self._done, None, None
        self._is_over.set()
        if done is not None:
            done(self)

    def end(self, limit: float, aside: Collection[int]) -> BaseException | None:  # noqa: D102 - as Worker
        if self._is_over.is_set() or self.is_spared:
            return None
        loop = self._running or (self.loop.loop if self.loop else None)
        if loop is None or loop.is_closed():
            self.forget()
            return None
        loop.call_soon_threadsafe(self._cancel)
        if self._is_over_after(limit, aside):
            return None
        task = self._task
        trace = trace_of(coroutine_stack(task.get_coro())) if task else None
        problem = f"task '{self._name}' did not end within drain_timeout = {limit:g} s of being cancelled"
        return TimeoutError(problem).with_traceback(trace)

    def _is_over_after(self, limit: float, aside: Collection[int]) -> bool:
        """Wait until the task is over, or its loop waits for the caller; return false if it runs on."""
        deadline = monotonic() + limit
        while (left := deadline - monotonic()) > 0:
            thread = self.loop.ident if self.loop else self._thread
            if thread in aside or self._is_over.wait(min(left, _SLICE)):
                return True
        return False

    def is_running(self) -> bool:  # noqa: D102 - as Worker
        return self._task is not None

    def renew(self) -> str:  # noqa: D102 - as Worker
        if self._task is not None:
            return f"task '{self._name}' has not ended, and does not start again"
        if self._again is None:
            return (
                f"task '{self._name}' does not start again: it was given to ctx.task as a coroutine;"
                " give the function instead"
            )
        if self._running is not None and self._running.is_closed():
            return f"task '{self._name}' does not start again: its event loop is closed"
        self._coroutine, self._done = self._again(), self._dismiss
        self._is_over.clear()
        return ""

    def _cancel(self) -> None:
        if self._task is None:
            self._close()
            self._is_over.set()
        else:
            self._is_asked = True
            self._task.cancel()

    def forget(self) -> None:  # noqa: D102 - as Worker
        self._close()
        self._again = self._dismiss = None

    def _close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()  # else the interpreter warns that it was never awaited
        self._coroutine = None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in the calling thread, or ``None``."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
