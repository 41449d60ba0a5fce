"""Where a thread or a coroutine is at this moment, in the form of a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType, TracebackType


def trace_of(frames: Sequence[FrameType]) -> TracebackType | None:
    """Return the traceback that an exception raised here and now in ``frames`` would have."""
    trace: TracebackType | None = None
    for frame in reversed(frames):
        trace = TracebackType(trace, frame, frame.f_lasti, frame.f_lineno or 0)
    return trace
