"""What depends on the interpreter's internals: the garbage collector, and the frames of running code.

Up to Python 3.11 the interpreter creates a frame's object when code asks for it, and that allocation can
start the collector. A finalizer then lets other threads run, and one of them may leave that very frame:
the object that is returned is no longer a frame. So all code that looks at frames of other threads does it
through this module.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import inspect
import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from itertools import tee
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType

_COLLECTS_WITHIN_CALLS = sys.version_info < (3, 12)  # later ones collect between two instructions
_lock = threading.RLock()  # a finalizer may come here, too
_waiting: list[bool] = []  # of each who is inside: whether the collector was on


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let no finalizer run within a call into C: it would let other threads run."""
    if not _COLLECTS_WITHIN_CALLS:
        yield
        return
    with _lock:
        _waiting.append(_waiting[0] if _waiting else gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            if _waiting.pop() and not _waiting:
                gc.enable()


_IS_KNOWN = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


def make_young(things: Collection[object]) -> None:
    """Let the next collection of the youngest generation look at ``things``, however old or frozen they are.

    It frees those of them that only they themselves hold, as any collection does. Nothing happens where the
    interpreter keeps its objects in another way.
    """
    if not _IS_KNOWN:
        return
    untrack, track = map(_change, ("PyObject_GC_UnTrack", "PyObject_GC_Track"))
    with uncollected():
        # One after the other in C: no thread may come between, and track what is not tracked for a moment.
        old, young = tee(map(id, filter(gc.is_tracked, things)))
        deque(zip(map(untrack, old), map(track, young), strict=True), maxlen=0)


def collect_young() -> None:
    """Free what is young and only held by cycles; costs the same whatever else there is."""
    gc.collect(0)


def _change(name: str) -> Callable[[int], None]:
    """Return a function of the C API; it takes an object by its address."""
    found = ctypes.pythonapi[name]  # one of our own: what others set for theirs does not count
    found.argtypes, found.restype = [ctypes.c_void_p], None  # of an object ctypes would ask for an attribute
    return found


_OURS = 3  # references to a frame's dictionary: the frame's, the one here, and that of who counts them


def stacks() -> dict[int, list[FrameType]]:
    """Return the frames of each thread by its number, the newest first.

    The calling frame is among them. If that keeps the result, it is a cycle, with all that the frames hold.
    """
    with uncollected():  # else all threads would stop for good, where one is about to start another
        running = sys._current_frames()  # noqa: SLF001 - documented, and named so to warn
    running[threading.get_ident()] = sys._getframe(1)  # noqa: SLF001 - not this one, which keeps all of them
    return {thread: stack_of(newest) for thread, newest in running.items()}


def thread_stack(thread: int) -> list[FrameType]:
    """Return the frames of the thread with this number, the oldest first; empty if it has ended."""
    return stacks().get(thread, [])[::-1]


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and those that it was called from, the newest first."""
    found: list[FrameType] = []
    with uncollected():
        while frame is not None:
            found.append(frame)
            frame = frame.f_back
    return found


def coroutine_stack(awaited: object) -> list[FrameType]:
    """Return the frames of a suspended coroutine and of what it awaits, the oldest first."""
    frames: list[FrameType] = []
    while True:
        frame = frame_of(awaited)
        # By exact type: getattr on an awaitable of a plugin's own would run its code.
        if type(awaited) is CoroutineType:
            awaited = awaited.cr_await
        elif type(awaited) is GeneratorType:
            awaited = awaited.gi_yieldfrom
        elif type(awaited) is AsyncGeneratorType:
            awaited = awaited.ag_await
        else:
            return frames
        if frame is not None:
            frames.append(frame)


def frame_of(thing: object) -> FrameType | None:
    """Return the frame of a coroutine or generator; ``None`` if that has ended, and for all else."""
    if type(thing) is CoroutineType:
        with uncollected():
            return thing.cr_frame
    if type(thing) is GeneratorType:
        with uncollected():
            return thing.gi_frame
    if type(thing) is AsyncGeneratorType:
        with uncollected():
            return thing.ag_frame
    return None


def variables_of(frame: FrameType, traced: Container[int] | None = None) -> Mapping[str, object]:
    """Return the local variables of a frame; empty while a debugger has it.

    Nothing of the look remains: up to Python 3.12 the frame of a function has one dictionary for its
    variables, which each look fills anew. It keeps that to its end, ``locals()`` gives the same one to the
    function, and after each call of a trace function the interpreter makes the variables what the dictionary
    says. Whoever looks at many frames asks once which are ``traced``.
    """
    if sys.version_info >= (3, 13) or not _is_function(frame):
        return frame.f_locals
    if id(frame) in (traced_now(stacks()) if traced is None else traced):
        return {}
    return _variables(frame)


def _variables(frame: FrameType) -> Mapping[str, object]:
    with uncollected():
        found = frame.f_locals
    variables = dict(found)
    if sys.getrefcount(found) == _OURS:
        found.clear()
    return variables


def traced_now(running: Mapping[int, list[FrameType]]) -> set[int]:
    """Return the ``id`` of each frame of these ``stacks`` for which a trace function may be running."""
    if sys.version_info >= (3, 13):
        return set()
    own = threading.get_ident()
    found: set[int] = set()
    for thread, stack in running.items():
        # Such a function in C has no frame, and one in Python has got the traced one as its argument.
        found.update(id(frame) for frame in stack if frame.f_trace is not None and thread != own)
        found.add(id(_traced_in(stack)))
    return found


def _traced_in(stack: list[FrameType]) -> FrameType | None:
    """Return the frame on whose behalf a trace function runs; the variables of that one are not looked at.

    There is one at most, and what the trace function itself calls, which is newer, is not traced.
    """
    return next((frame for newer, frame in itertools.pairwise(stack) if _was_given(newer, frame)), None)


def _was_given(called: FrameType, frame: FrameType) -> bool:
    if called.f_trace is not None or not _is_function(called):
        return False  # no trace function is traced itself
    for value in _variables(called).values():
        if value is frame or (type(value) is tuple and any(item is frame for item in value)):
            return True
    return False


def _is_function(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & inspect.CO_OPTIMIZED)
