"""Call foreign code within a time limit, and interrupt it where that harms no other code.

An exception inside the import of a shared module can leave that module unusable, and locks of the import
system taken: then later imports fail or hang in the whole process. So code is not interrupted there until the
import has ended, or has gone on for ``PATIENCE`` seconds.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import FrameType
from typing import Generic, NamedTuple, TypeVar

from hotload_tui.core.interpreter import imports_in, raise_in, stack_of, thread_stack
from hotload_tui.core.module_names import is_of_plugin
from hotload_tui.core.primitives import (
    Condition,
    Thread,
    current_thread,
    join,
    monotonic,
    sleep,
    start_thread,
)

GRACE = 1.0  # seconds that an interrupted call has to end
PATIENCE = 20.0  # seconds beyond its limit that a call may spend in the import of a shared module
STEP = 0.01  # seconds between two looks at such an import
_PROOF = 0.1  # seconds in which each short call ends, even on a machine under load

_T = TypeVar("_T")


class BoundedCall(Generic[_T]):
    """One call of a function in a new thread."""

    def __init__(self, function: Callable[[], _T], name: str) -> None:
        """Prepare to call ``function`` in a thread called ``name``."""
        self.value: _T | None = None
        self.error: BaseException | None = None
        """The exception that the function raised."""
        # Threads that a plugin starts inherit the daemon flag: a forgotten thread cannot keep the host alive.
        self.thread = Thread(functools.partial(self._run, function), name)

    def ends_within(self, seconds: float) -> bool:
        """Start the call, and return whether it ends within ``seconds``.

        An exception that ends the wait also interrupts the call.
        """
        if not start(self.thread):
            return True
        try:
            self.thread.join(seconds)
        except BaseException:
            interrupt(self.thread, GRACE)
            raise
        return not self.thread.is_alive()

    def interrupt(self) -> bool:
        """Interrupt the call (impossible in a system call or a lock), and return whether it ended."""
        return end(self.thread).has_ended

    def _run(self, function: Callable[[], _T]) -> None:
        try:
            self.value = function()
        except BaseException as error:  # foreign code: SystemExit and the like end this call only
            self.error = error


def start(thread: threading.Thread) -> bool:
    """Start a thread; return ``False`` if its function had to run in the calling thread instead."""
    try:
        start_thread(thread)
    except RuntimeError as error:
        if not str(error).startswith("can't"):
            return True  # it has started: a plugin has replaced a function that the start calls afterwards
        thread.run()  # the interpreter is ending and starts no threads: run it here
        return False
    return True


class Ending(NamedTuple):
    """The result of interrupting a call."""

    has_ended: bool
    spared: str = ""
    """The module whose import delayed the interruption; empty if none did."""
    is_inside: bool = False
    """Whether that import did not end, so that the call was interrupted inside it."""


def end(thread: threading.Thread) -> Ending:
    """Interrupt a thread after the import of a shared module; wait up to ``GRACE`` seconds for its end."""
    spared, is_inside = interrupt(thread, PATIENCE)
    if is_inside:
        raise_in(thread)
    join(thread, GRACE)
    return Ending(not thread.is_alive(), spared, is_inside)


def interrupt(thread: threading.Thread, patience: float) -> tuple[str, bool]:
    """Interrupt a thread as soon as it is not inside the import of a shared module.

    Return the module whose import delayed this, and whether the import has not ended within ``patience``
    seconds; then the thread goes on.
    """

    def hindrance() -> str:
        return import_to_spare(thread_stack(thread.ident or 0)[::-1])

    spared, ends_at = "", monotonic() + patience
    while thread.is_alive():
        importing = raise_in(thread, hindrance)
        if not importing:
            break
        spared = importing
        if monotonic() >= ends_at:
            return spared, True
        join(thread, STEP)
    return spared, False


def import_to_spare(stack: Sequence[FrameType]) -> str:
    """Return the module whose import must not be interrupted in these frames, the newest first; or ``""``.

    The import of a plugin's own module can be interrupted, except while the import system itself runs. A
    module that a plugin's finder looks for does not exist yet: such a finder can be interrupted.
    """
    for place, (newer, frame) in enumerate(pairwise(stack), 1):
        if frame.f_code.co_name == "_find_spec" and _is_of_system(frame) and _is_of_plugin(newer):
            outside = (at for at, each in enumerate(stack[place:], place) if not _is_of_system(each))
            return import_to_spare(stack[:place]) or import_to_spare(stack[next(outside, len(stack)) :])
    imports = [*imports_in(stack)]
    shared = [name for name in imports if not is_of_plugin(name)]
    if shared:
        return shared[-1]
    return imports[0] if imports and _is_of_system(stack[0]) else ""


def _is_of_system(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("importlib._")


@dataclass(eq=False, slots=True)
class _Block:
    """A ``with`` block in which code of a plugin is limited."""

    thread: threading.Thread
    depth: int
    """Number of frames of the thread that are outside the block."""
    look_at: float
    """When to look at it, on the monotonic clock."""


class StallWatch:
    """Interrupts code of a plugin that takes too long in threads of the engine, within ``limited`` blocks.

    Finalizers, callbacks of weak references and comparisons run in the thread that causes them.
    """

    def __init__(self, limit: float) -> None:
        """Interrupt such code after ``limit`` seconds in one block; another thread watches it."""
        self._limit = limit
        self._watcher: Thread | None = None
        self._change = Condition()
        self._blocks: set[_Block] = set()
        self._is_idle = False  # whether the watcher waits without a time limit

    def begin(self) -> None:
        """Begin to watch, before plugins load: a thread keeps the hooks that are set when it starts."""
        with self._change:
            self._watcher = Thread(self._watch, "hotload-stall-watch")
            self._change.notify_all()  # an earlier watcher ends
        with contextlib.suppress(RuntimeError):  # the interpreter is ending and starts no threads
            start_thread(self._watcher)

    @contextlib.contextmanager
    def limited(self, nested: int = 0) -> Iterator[None]:
        """Limit code of plugins in the calling thread, but not the code that has called this.

        ``nested``: the number of generators of other context managers that enter this one.
        """
        # Without this generator and theirs, and contextlib's frame for each: they are gone in the block.
        depth = len(stack_of(inspect.currentframe())) - 2 * (1 + nested)
        block = _Block(current_thread(), depth, monotonic() + self._limit)
        with self._change:
            self._blocks.add(block)
            if self._is_idle:  # else it wakes up before the end of this block, which is the last one
                self._change.notify_all()
        try:
            yield
        finally:
            self._blocks.discard(block)

    def end(self) -> None:
        """End the watching thread."""
        with self._change:
            self._watcher = None
            self._change.notify_all()

    def _watch(self) -> None:
        while self._watcher is current_thread():
            for block in self._late():
                interrupt_plugin(block.thread, block.depth, functools.partial(self._is_over, block))

    def _is_over(self, block: _Block) -> bool:
        return block not in self._blocks

    def _late(self) -> list[_Block]:
        """Wait for a block that takes too long, or for a change; return such blocks, and look again later."""
        with self._change:
            now, blocks = monotonic(), self._blocks.copy()
            late = [block for block in blocks if block.look_at <= now]
            if not late and self._watcher is not None:
                self._is_idle = not blocks
                self._change.wait(min(block.look_at for block in blocks) - now if blocks else None)
            for block in late:
                block.look_at = now + self._limit
            return late


def interrupt_plugin(
    thread: threading.Thread, depth: int = 0, is_over: Callable[[], bool] = lambda: False
) -> bool:
    """Interrupt a thread of the engine if a plugin's code does not end in it; return whether it did.

    The oldest ``depth`` frames of the thread do not count, nor does any code once the step ``is_over``.
    """

    def calls() -> list[FrameType]:
        return [frame for frame in thread_stack(thread.ident or 0)[depth:] if _is_of_plugin(frame)]

    before = calls()
    # A hook for audit events or a tracer of a plugin runs again and again while the engine works: it ends.
    sleep(_PROOF)  # no join: it fails for a thread that ``threading`` has not started

    def hindrance() -> str:
        goes_on = not is_over() and before and any(frame is before[0] for frame in calls())
        stack = thread_stack(thread.ident or 0)[::-1]
        return import_to_spare(stack) if goes_on else "no code of a plugin that does not end"

    return not raise_in(thread, hindrance)


def runs_plugin(stack: Iterable[FrameType]) -> bool:
    """Return whether one of the frames runs code of a plugin."""
    return any(map(_is_of_plugin, stack))


def _is_of_plugin(frame: FrameType) -> bool:
    name = dict.get(frame.f_globals, "__name__")
    return type(name) is str and is_of_plugin(name)
