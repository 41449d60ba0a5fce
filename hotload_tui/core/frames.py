"""Code that is running meanwhile: its frames and their variables, looked at from another thread.

Up to Python 3.11 the interpreter makes a frame's object when somebody asks for it, and allocating that may
have the collector run. A finalizer then lets other threads run, and one of them may leave the very frame:
what is returned is no frame any more. So whoever asks for frames of others asks here.
"""

from __future__ import annotations

import inspect
import itertools
import sys
import threading
from collections.abc import Container, Mapping
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType

from hotload_tui.core.collector import uncollected

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
