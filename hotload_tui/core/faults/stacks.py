"""Where a thread or a coroutine is at this moment, in the form of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, TracebackType


def thread_stack(thread: int) -> list[FrameType]:
    """Return the frames of the thread with this number, the oldest first; empty if it has ended."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, and named so to warn
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def coroutine_stack(awaited: object) -> list[FrameType]:
    """Return the frames of a suspended coroutine and of what it awaits, the oldest first."""
    frames: list[FrameType] = []
    while True:
        # By exact type: getattr on an awaitable of a plugin's own would run its code.
        if type(awaited) is CoroutineType:
            frame, awaited = awaited.cr_frame, awaited.cr_await
        elif type(awaited) is GeneratorType:
            frame, awaited = awaited.gi_frame, awaited.gi_yieldfrom
        elif type(awaited) is AsyncGeneratorType:
            frame, awaited = awaited.ag_frame, awaited.ag_await
        else:
            return frames
        if frame is not None:
            frames.append(frame)


def trace_of(frames: Sequence[FrameType]) -> TracebackType | None:
    """Return the traceback that an exception raised here and now in ``frames`` would have."""
    trace: TracebackType | None = None
    for frame in reversed(frames):
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno or 0)
    return trace
