"""Running threads, timers and asyncio tasks: where they started, and where they are now."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from types import CoroutineType, FrameType, FunctionType
from typing import NamedTuple, Protocol, cast

from hotload_tui.core.interpreter import frame_of, stacks, variables_of
from hotload_tui.core.primitives import all_threads
from hotload_tui.core.undo.owner import CodePlace, Owner, name_of, place_of
from hotload_tui.core.undo.registers import readable

_EXECUTORS = "concurrent.futures.thread"  # the idle threads of an executor end with it


class Activity(NamedTuple):
    """A thread, timer or task that runs or will run."""

    category: str
    what: str
    start: CodePlace
    """The location of the function that it runs."""
    now: CodePlace
    timer: threading.Timer | None = None
    """The timer to cancel; all other activities can only be reported."""


def threads(owner: Owner, started: Iterable[threading.Thread]) -> Iterator[Activity]:
    """Yield the threads that run the owner's code, and the threads that it started for other code."""
    running = stacks()
    known = {*map(id, started)}  # a comparison could run code of a plugin
    try:
        for thread in all_threads():
            stack = running.get(thread.ident or 0, [])
            yield from readable(_thread(owner, thread, stack, is_known=id(thread) in known))
    finally:
        for stack in running.values():
            stack.clear()  # this frame is in one of them: a cycle would keep its callers' variables


def _thread(
    owner: Owner, thread: threading.Thread, stack: Sequence[FrameType], *, is_known: bool
) -> Iterator[Activity]:
    is_timer = issubclass(type(thread), threading.Timer)
    target: object = vars(thread).get("function" if is_timer else "_target")
    own = next(owner.frames(stack), None)
    is_own = own is not None or owner.owns(target) or owner.owns(thread)
    if not is_own and not (is_known and _module_of(target) != _EXECUTORS):
        return
    shown = own or next(iter(stack), None)
    now = CodePlace.of(shown.f_code.co_filename, shown.f_lineno) if shown else CodePlace()
    runs = thread if target is None else target
    if is_timer:
        timer = cast("threading.Timer", thread)
        yield Activity("timer", f"'{thread.name}' calling {name_of(runs)}", place_of(runs), now, timer)
    else:
        yield Activity("thread", f"'{thread.name}' running {name_of(runs)}", place_of(runs), now)


def _module_of(function: object) -> str:
    return function.__module__ if type(function) is FunctionType else ""


def tasks(owner: Owner) -> Iterator[Activity]:
    """Yield the asyncio tasks that run a coroutine of the owner or wait in one."""
    for task in _all_tasks():
        chain = list(_awaited(task.get_coro()))
        own = [coroutine for coroutine in chain if _is_of(coroutine, owner)]
        if task.done() or not own:
            continue
        code, frame = own[0].cr_code, frame_of(own[-1])
        now = CodePlace.of(frame.f_code.co_filename, frame.f_lineno) if frame else CodePlace()
        start = CodePlace.of(code.co_filename, code.co_firstlineno)
        yield Activity("asyncio task", f"'{task.get_name()}' in {code.co_qualname}", start, now)


class _Task(Protocol):
    """The methods of a task that are used here; asyncio is imported only if the program imports it."""

    def get_coro(self) -> object: ...
    def get_name(self) -> str: ...
    def done(self) -> bool: ...


def _all_tasks() -> Iterator[_Task]:
    """Yield the tasks of all event loops.

    Up to Python 3.13 asyncio keeps weak references to all tasks, under names that differ by version. From
    3.14 on it has no register of all tasks, but returns the tasks of one loop, also to other threads.
    """
    of_loop: Callable[[object], Iterable[_Task]] | None
    of_loop = getattr(sys.modules.get("_asyncio"), "all_tasks", None)
    if of_loop is not None:
        for loop in _running_loops():
            yield from of_loop(loop)
        return
    for name in ("_all_tasks", "_scheduled_tasks", "_eager_tasks"):
        register: Iterable[_Task] = getattr(sys.modules.get("asyncio.tasks"), name, ())
        for _ in range(1000):
            try:
                found = list(register)
            except RuntimeError:  # another thread is starting tasks
                continue
            yield from found
            break


def _running_loops() -> Collection[object]:
    """Return the running event loops: each thread that runs a loop is in a function of asyncio."""
    asyncio = sys.modules["asyncio"]
    loops = {}
    running = stacks()
    try:
        for frame in (frame for stack in running.values() for frame in stack):
            if str(frame.f_globals.get("__name__")).startswith("asyncio."):
                for value in variables_of(frame).values():
                    # Loops in C have no frame, but ``asyncio.Runner`` waits for a task in them.
                    loop = asyncio.Task.get_loop(value) if issubclass(type(value), asyncio.Task) else value
                    if issubclass(type(loop), asyncio.AbstractEventLoop):
                        loops[id(loop)] = loop
    finally:
        for stack in running.values():
            stack.clear()  # as in ``threads``
    return loops.values()


def _awaited(coroutine: object) -> Iterator[CoroutineType[object, object, object]]:
    while type(coroutine) is CoroutineType:
        yield coroutine
        coroutine = coroutine.cr_await


def _is_of(coroutine: CoroutineType[object, object, object], owner: Owner) -> bool:
    frame = frame_of(coroutine)  # read once: it may end in another thread meanwhile
    return frame is not None and owner.has_name(frame.f_globals.get("__name__"))
