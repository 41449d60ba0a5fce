"""Whether code of a retired generation is still called, how often and by whom.

Only a generation that something still holds is watched, and only its own functions: live code runs as
before. Calls that began before the swap do not count, nor do workers that were asked to end (``ctx.thread``,
``ctx.task``); both are reported when the generation retires. The watch keeps nothing of the generation.
"""

from __future__ import annotations

import gc
import os
import sysconfig
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType, FunctionType
from typing import Final, NamedTuple

from hotload_tui.core.hooks.point import Handler
from hotload_tui.core.interpreter import CallReports, stack_of, stacks
from hotload_tui.core.leak_path import is_module, namespace_of, place
from hotload_tui.core.primitives import all_threads, current_thread, monotonic
from hotload_tui.core.runtime.generation import Generation, PrivateImport

RECENT: Final = 60.0
"""Seconds for which a call counts: a generation without a newer call is only held, not called."""

_WINDOW = 10.0  # seconds over which the rate is measured
_TICK = 1.0  # least number of seconds between two measurements
_PAUSE = 0.1  # seconds between two looks for the caller; the other calls are only counted
_OURS = f"{__name__.partition('.')[0]}."
_STANDARD = sysconfig.get_paths()["stdlib"] + os.sep
_PACKAGES = tuple(f"{sysconfig.get_paths()[name]}{os.sep}" for name in ("purelib", "platlib"))


class _Origin(NamedTuple):
    """The code outside of a generation from which a call of its code comes."""

    caller: str
    is_host: bool
    """Whether code of the host, of a library or of a newer version called it; else a thread runs it."""


class OldCalls:
    """Counts the calls of one retired generation; holds nothing of it."""

    def __init__(self, generation: Generation) -> None:
        self.number = generation.number
        self._plugin = generation.plugin
        self._generation = weakref.ref(generation, _forgotten(id(generation)))
        self._functions: list[weakref.ref[FunctionType]] = []  # not watched yet
        self._counts: deque[tuple[float, int]] = deque()
        self._count = 0
        self._uncertain = 0  # calls since the last look for the caller
        self._is_from_outside = False
        self._next_look = 0.0
        self._called_at = 0.0
        self._caller = ""
        self._in_flight: set[tuple[int, int]] | None = None
        self._runs_in = ""
        self._is_counted = False
        self._looked_at_count = 0
        self._is_quiet = True
        self.has_paused = False
        """Whether the calls have ended between the last two looks: the holder may have let go."""

    def begin(self) -> None:
        """Watch the generation's functions; this visits all objects of the process once."""
        self._counts.append((monotonic(), self._count))
        generation = self._generation()
        if generation is None:
            return
        _watched[id(generation)] = self
        self._functions = list(map(weakref.ref, _functions_of(generation)))
        self._watch()
        running = stacks()
        self._look_at(running, monotonic())  # to know the calls that began before
        running.clear()  # else it would be part of a cycle through this frame

    def end(self) -> None:
        """Stop watching; without a watched generation, no code of the process is watched."""
        generation = self._generation()
        if generation is not None:
            _watched.pop(id(generation), None)
        self._counts.clear()
        if not _watched:
            _reports.end(_functions_of(generation) if generation is not None else ())

    def note(self, frame: FrameType) -> None:
        """Count a call; ``frame`` has just begun to run a function of the generation."""
        outer = frame.f_back
        if outer is not None and outer.f_builtins is frame.f_builtins:
            return  # the generation calls itself
        if outer is not None and _is_ours(outer) and not self._user_of(outer):
            return  # a call that began before the swap
        if frame.f_code.co_name == "__del__":
            return  # the collector calls it, from wherever it runs
        self._uncertain += 1
        now = monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _PAUSE
        origin = self._origin_of(stack_of(frame), current_thread().name)
        self._is_from_outside = origin is not None
        if origin is not None:
            self._caller = origin.caller
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Count the calls since the last look like the call that was looked at."""
        calls, self._uncertain = self._uncertain, 0
        if calls and self._is_from_outside:
            self._count += calls
            self._called_at = now
            self._is_counted = True

    def _watch(self) -> None:
        generation = self._generation()
        waiting = [function for each in self._functions if (function := each()) is not None]
        if generation is None or not waiting:
            return
        replaced, later = _reports.begin(waiting)
        for code in replaced:
            generation.origin.add(code)
        self._functions = list(map(weakref.ref, later))

    def look(self, running: Mapping[int, list[FrameType]]) -> None:
        """Measure the rate, and look for threads that run the generation's code.

        ``running`` are the stacks of all threads.
        """
        if not self._counts:
            self.begin()
        now = monotonic()
        self._watch()
        self._settle(now)
        self._look_at(running, now)
        is_quiet = self._count == self._looked_at_count and not self._runs_in
        self.has_paused = is_quiet and not self._is_quiet
        self._is_quiet, self._looked_at_count = is_quiet, self._count
        if now - self._counts[-1][0] >= _TICK:
            self._counts.append((now, self._count))
            while len(self._counts) > 2 and now - self._counts[1][0] >= _WINDOW:  # noqa: PLR2004 - two ends
                self._counts.popleft()

    def _look_at(self, running: Mapping[int, list[FrameType]], now: float) -> None:
        names = {thread.ident: thread.name for thread in all_threads()}
        self._runs_in, inside = "", set()
        for thread, stack in running.items():
            own = [frame for frame in stack if _watched_by(frame) is self]
            if not own:
                continue
            origin = self._origin_of(stack[stack.index(own[0]) :], names.get(thread, str(thread)))
            if origin is None:
                continue
            if not origin.is_host:
                first = own[-1].f_code
                where = place(first.co_filename, first.co_firstlineno)
                self._runs_in = f"{origin.caller} in {first.co_qualname} ({where})"
                continue
            key = (thread, id(own[-1]))
            inside.add(key)
            if self._functions and self._in_flight is not None and key not in self._in_flight:
                self._count, self._called_at, self._caller = self._count + 1, now, origin.caller
        # A call that goes on is the same call at the next look.
        self._in_flight = inside

    def _origin_of(self, stack: list[FrameType], thread: str) -> _Origin | None:
        """Return what called the generation whose frame is the first of ``stack``; the newest frame is first.

        ``thread`` is the name of the thread. Return ``None`` for a hook call or a worker that began before
        the swap.
        """
        own = stack[0].f_builtins
        last = max(index for index, frame in enumerate(stack) if frame.f_builtins is own)
        outer = stack[last + 1 :]
        found = next((frame for frame in outer if not _is_standard(frame)), None)
        if found is not None and _is_ours(found):
            user = self._user_of(found)
            return _Origin(user, is_host=True) if user else None
        if outer and "asyncio" in str(outer[0].f_globals.get("__name__")):
            return _Origin(f"the event loop of thread '{thread}'", is_host=True)
        if found is None:
            return _Origin(f"thread '{thread}'", is_host=False)
        return _Origin(
            f"{place(found.f_code.co_filename, found.f_lineno)} in {found.f_code.co_name}", is_host=True
        )

    def _user_of(self, frame: FrameType) -> str:
        """Return the hook point that ``frame`` calls, if another version gave the function to it; else empty.

        A version can give away a function that it found in a shared module or in its state.
        """
        handler = frame.f_locals.get("handler")
        own = self._plugin, self.number
        if type(handler) is not Handler or (handler.plugin, handler.generation) == own:
            return ""
        return f"hook point '{handler.point}', which plugin {handler.plugin} gave the function to"

    def describe(self) -> str:
        """Return how the generation is still called or running, in words; empty if it is not."""
        now = monotonic()
        subject = f"generation {self.number}"
        if self._called_at and now - self._called_at < RECENT:
            (began, before), (ended, after) = self._counts[0], self._counts[-1]
            if not self._is_counted or ended == began:
                return f"{subject} is still called by {self._caller}"
            if after == before:
                return f"{subject} was called within the last {RECENT:.0f} s by {self._caller}"
            return (
                f"{subject} is still called, {_rate((after - before) / (ended - began))}, by {self._caller}"
            )
        return f"{subject} still runs in {self._runs_in}" if self._runs_in else ""


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}/s" if per_second >= 1 else f"{max(1.0, per_second * 60):.0f}/min"


_watched: dict[int, OldCalls] = {}
"""The watched generations by identity; an entry goes when its generation is freed."""


def _forgotten(key: int) -> Callable[[object], None]:
    def forget(_: object) -> None:
        _watched.pop(key, None)

    return forget


def _watched_by(frame: FrameType) -> OldCalls | None:
    imports = frame.f_builtins.get("__import__")
    return _watched.get(id(imports.generation)) if type(imports) is PrivateImport else None


def _entered(frame: FrameType) -> None:
    calls = _watched_by(frame)
    if calls is not None:
        calls.note(frame)


_reports = CallReports(_entered)


def _functions_of(generation: Generation) -> list[FunctionType]:
    """Return the living functions of a generation, with those that no module has a name for."""
    modules = filter(is_module, generation.own_modules().values())  # an object may have replaced a module
    builtins = [namespace_of(module).get("__builtins__") for module in modules]
    private = [each for each in builtins if type(each) is dict][:1]  # all have the same
    return [each for each in gc.get_referrers(*private) if type(each) is FunctionType]


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith(_OURS)


def _is_standard(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(("<frozen ", _STANDARD)) and not file.startswith(_PACKAGES)
