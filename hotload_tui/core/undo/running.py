"""What runs: threads, timers and asyncio tasks; where they started, and where they are now."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from types import CoroutineType, FrameType, FunctionType
from typing import NamedTuple, Protocol, cast

from hotload_tui.core.interpreter import frame_of, stacks, variables_of
from hotload_tui.core.undo.owner import CodePlace, Owner, name_of, place_of

_EXECUTORS = "concurrent.futures.thread"  # their idle threads end with them


class Activity(NamedTuple):
    """Something that runs, or will."""

    category: str
    what: str
    start: CodePlace
    """Where the function stands that it runs."""
    now: CodePlace
    timer: threading.Timer | None = None
    """What to cancel; all others can only be named."""


def threads(owner: Owner, started: Iterable[threading.Thread]) -> Iterator[Activity]:
    """Yield the threads that run code of the owner's, and those that it started for code of others."""
    running = stacks()
    started = list(started)
    try:
        for thread in threading.enumerate():
            stack = running.get(thread.ident or 0, [])
            activity = _thread(owner, thread, stack, is_known=thread in started)
            if activity is not None:
                yield activity
    finally:
        for stack in running.values():
            stack.clear()  # this very frame is in one of them: a cycle would keep its callers' variables


def _thread(
    owner: Owner, thread: threading.Thread, stack: Sequence[FrameType], *, is_known: bool
) -> Activity | None:
    is_timer = issubclass(type(thread), threading.Timer)
    target: object = vars(thread).get("function" if is_timer else "_target")
    own = next(owner.frames(stack), None)
    is_own = own is not None or owner.owns(target) or owner.owns(thread)
    if not is_own and not (is_known and _module_of(target) != _EXECUTORS):
        return None
    shown = own or next(iter(stack), None)
    now = CodePlace.of(shown.f_code.co_filename, shown.f_lineno) if shown else CodePlace()
    runs = thread if target is None else target
    if is_timer:
        timer = cast("threading.Timer", thread)
        return Activity("timer", f"'{thread.name}' calling {name_of(runs)}", place_of(runs), now, timer)
    return Activity("thread", f"'{thread.name}' running {name_of(runs)}", place_of(runs), now)


def _module_of(function: object) -> str:
    return function.__module__ if type(function) is FunctionType else ""


def tasks(owner: Owner) -> Iterator[Activity]:
    """Yield the asyncio tasks that run, or wait in, a coroutine of the owner's."""
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
    """What is asked of a task; asyncio itself is only imported where a program does so."""

    def get_coro(self) -> object: ...
    def get_name(self) -> str: ...
    def done(self) -> bool: ...


def _all_tasks() -> Iterator[_Task]:
    """Yield the tasks of all loops, which asyncio keeps weakly under names that differ by version.

    From Python 3.14 on it has no register of all tasks, but returns those of one loop, for other threads too.
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
            except RuntimeError:  # another thread starts tasks meanwhile
                continue
            yield from found
            break


def _running_loops() -> Collection[object]:
    """Return the event loops that run: each thread that runs one is in a function of asyncio's."""
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
            stack.clear()  # as above
    return loops.values()


def _awaited(coroutine: object) -> Iterator[CoroutineType[object, object, object]]:
    while type(coroutine) is CoroutineType:
        yield coroutine
        coroutine = coroutine.cr_await


def _is_of(coroutine: CoroutineType[object, object, object], owner: Owner) -> bool:
    frame = frame_of(coroutine)  # asked once: it may end in another thread meanwhile
    return frame is not None and owner.has_name(frame.f_globals.get("__name__"))
