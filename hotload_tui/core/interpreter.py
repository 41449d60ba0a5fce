"""Code that depends on the interpreter's internals: the garbage collector, and the frames of running code.

Up to Python 3.11 the interpreter creates a frame object when code asks for it, and that allocation can start
the collector. A finalizer then lets other threads run, and one of them may leave the frame that is being
created; the returned object is then no longer a frame. So all code that reads frames of other threads uses
this module.
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

_COLLECTS_WITHIN_CALLS = sys.version_info < (3, 12)  # later versions collect between two instructions
_lock = threading.RLock()  # reentrant, because a finalizer may call ``uncollected``, too
_waiting: list[bool] = []  # for each active caller: whether the collector was on


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disable the collector during a call into C, where a finalizer would let other threads run."""
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
    """Move ``things`` to the collector's youngest generation, however old or frozen they are.

    Its next collection frees those that only ``things`` themselves hold. Nothing happens on an interpreter
    other than CPython with a GIL, which keeps its objects in another way.
    """
    if not _IS_KNOWN:
        return
    untrack, track = map(_change, ("PyObject_GC_UnTrack", "PyObject_GC_Track"))
    with uncollected():
        # In one run of C code: no other thread may track an object while it is untracked for a moment.
        old, young = tee(map(id, filter(gc.is_tracked, things)))
        deque(zip(map(untrack, old), map(track, young), strict=True), maxlen=0)


def collect_young() -> None:
    """Free young objects that only cycles hold; the number of older objects does not affect the cost."""
    gc.collect(0)


def _change(name: str) -> Callable[[int], None]:
    """Return a function of the C API that takes an object by its address."""
    found = ctypes.pythonapi[name]  # a new function object: no other code can set its types
    found.argtypes, found.restype = [ctypes.c_void_p], None  # ctypes would ask an object for an attribute
    return found


_OURS = 3  # references to a frame's dictionary: from the frame, from ``_variables`` and from ``getrefcount``


def stacks() -> dict[int, list[FrameType]]:
    """Return the frames of each thread by its identifier, newest first.

    The calling frame is among them. If that frame keeps the result, they form a cycle, together with all that
    the frames hold.
    """
    with uncollected():  # else all threads can deadlock while one of them starts another
        running = sys._current_frames()  # noqa: SLF001 - documented; its underscore is a warning
    running[threading.get_ident()] = sys._getframe(1)  # noqa: SLF001 - not this frame, which holds them all
    return {thread: stack_of(newest) for thread, newest in running.items()}


def thread_stack(thread: int) -> list[FrameType]:
    """Return the frames of the thread with this identifier, oldest first; empty if it has ended."""
    return stacks().get(thread, [])[::-1]


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """Return a frame and its callers, newest first."""
    found: list[FrameType] = []
    with uncollected():
        while frame is not None:
            found.append(frame)
            frame = frame.f_back
    return found


def coroutine_stack(awaited: object) -> list[FrameType]:
    """Return the frames of a suspended coroutine and of the coroutines that it awaits, oldest first."""
    frames: list[FrameType] = []
    while True:
        frame = frame_of(awaited)
        # By exact type: getattr on an awaitable of a plugin's class would run the plugin's code.
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
    """Return the frame of a coroutine or generator; ``None`` if it has ended, and for other objects."""
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
    """Return the local variables of a frame; empty while a trace function may be running for it.

    The call does not affect the frame. Up to Python 3.12 the frame of a function has one dictionary for its
    variables, which each read fills again. The frame keeps the dictionary until it ends, ``locals()`` returns
    the same dictionary to the function, and after each call of a trace function the interpreter sets the
    variables from the dictionary. To read many frames, call ``traced_now`` once and pass the result as
    ``traced``.
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
    """Return the ``id`` of each frame in ``stacks()`` for which a trace function may be running."""
    if sys.version_info >= (3, 13):
        return set()
    own = threading.get_ident()
    found: set[int] = set()
    for thread, stack in running.items():
        # A trace function in C has no frame; a trace function in Python has the traced frame as an argument.
        found.update(id(frame) for frame in stack if frame.f_trace is not None and thread != own)
        found.add(id(_traced_in(stack)))
    return found


def _traced_in(stack: list[FrameType]) -> FrameType | None:
    """Return the frame for which a trace function runs; the variables of that frame are not read.

    There is at most one. The calls of the trace function itself are newer, and are not traced.
    """
    return next((frame for newer, frame in itertools.pairwise(stack) if _was_given(newer, frame)), None)


def _was_given(called: FrameType, frame: FrameType) -> bool:
    if called.f_trace is not None or not _is_function(called):
        return False  # a trace function is not traced itself
    for value in _variables(called).values():
        if value is frame or (type(value) is tuple and any(item is frame for item in value)):
            return True
    return False


def _is_function(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & inspect.CO_OPTIMIZED)


_OFFSET = object.__basicsize__ + 8  # bytes before the field: the object header and the number of entries
_CHANGES = ("added = 1", "added = 2", "global added; added = 3", "del added", "globals().update(kept=1)")
_fields: dict[int, ctypes.c_uint64] = {}  # by address: they depend on nothing else


def version_reader(namespace: dict[str, object]) -> ctypes.c_uint64:
    """Return an object whose ``value`` is the namespace's version; the caller keeps the namespace alive."""
    address = id(namespace)
    field = _fields.get(address)
    if field is None:
        field = _fields[address] = ctypes.c_uint64.from_address(address + _OFFSET)
    return field


def _has_versions() -> bool:
    """Return whether each dictionary has a version (PEP 509, up to 3.13), which can only be read from memory.

    The version must show the changes that code makes to a namespace.
    """
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 14) or sys.maxsize < 1 << 32:
        return False
    namespace: dict[str, object] = {"kept": 0}
    seen = [version_reader(namespace).value]
    for change in _CHANGES:
        exec(change, namespace)  # noqa: S102 - module code changes its namespace in this way
        seen.append(version_reader(namespace).value)
    return len(set(seen)) == len(seen) and version_reader(namespace).value == seen[-1]


HAS_VERSIONS = _has_versions()
"""Whether a version shows each change of a namespace; otherwise the namespaces must be compared."""
