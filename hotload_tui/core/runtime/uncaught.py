"""Errors of plugins that nothing catches: in threads, finalizers and callbacks of event loops.

The interpreter and asyncio pass such an error to a hook. ``UncaughtErrors`` looks at the error first, and
then calls the hook that the program has set, so that nothing changes for the program. An error belongs to the
plugin whose code is in the innermost frame of its traceback.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import FunctionType, MethodType, TracebackType
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from msgspec.structs import replace

from hotload_tui.core.faults import fault_of
from hotload_tui.core.model import Fault, Phase
from hotload_tui.core.undo.owner import Owner

Shown = Literal["", "stderr", "log"]
"""Who shows the traceback already: nobody, the interpreter on standard error, or the program's logging."""

_Function: TypeAlias = Callable[..., object]  # type: ignore[explicit-any]  # each hook has other parameters
_Look: TypeAlias = Callable[..., BaseException | None]  # type: ignore[explicit-any]  # as above

_LOGGERS: Final = ("asyncio", "concurrent.futures")
_NUMBER: Final = re.compile(r"\.g(\d+)_")


class PluginCode(NamedTuple):
    """A generation's code."""

    plugin: str
    generation: int
    """Number of the generation; 0: the live one."""


class Report(Protocol):
    """Takes a fault; ``is_late``: in another thread, because the calling thread may hold any lock."""

    def __call__(self, fault: Fault, generation: int, shown: Shown, *, is_late: bool) -> None:
        """Report the fault of a generation (0: the live one)."""
        ...


class UncaughtErrors:
    """Reports the uncaught errors of plugins, between ``attach`` and its undo."""

    def __init__(
        self,
        module_path: str,
        plugin_of: Callable[[str], str | None],
        starter_of: Callable[[threading.Thread], tuple[str, int] | None],
        report: Report,
    ) -> None:
        """Report what code below ``module_path`` raises.

        ``plugin_of`` returns the plugin for the identifier in the name of its modules; ``starter_of`` returns
        the plugin and the generation that started a thread. No function may wait for a lock.
        """
        self._module_path = module_path
        self._prefix = f"{module_path}."
        self._plugins = Owner(module_path)
        self._plugin_of = plugin_of
        self._starter_of = starter_of
        self._report = report
        self._seen = threading.local()  # the error for which a hook has been called
        self._hooks = (
            _Hook(threading, "excepthook", self._look_at_thread, self._seen),
            _Hook(sys, "unraisablehook", self._look_at_finalizer, self._seen),
        )
        self._loops: _Hook | None = None

    def attach(self) -> Callable[[], None]:
        """Begin to look; return the undo."""
        self.renew()
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._look_at_record)

        def detach() -> None:
            for name in _LOGGERS:
                logging.getLogger(name).removeFilter(self._look_at_record)
            for hook in self._all():
                hook.remove()

        return detach

    def renew(self) -> None:
        """Look first again, if the program has set a hook since, or has imported asyncio."""
        loops: object = getattr(sys.modules.get("asyncio.base_events"), "BaseEventLoop", None)
        if self._loops is None and loops is not None:
            self._loops = _Hook(loops, "call_exception_handler", self._look_at_loop, self._seen)
        for hook in self._all():
            hook.put(self._plugins)

    def _all(self) -> Iterator[_Hook]:
        yield from self._hooks
        if self._loops is not None:
            yield self._loops

    # ---- the three kinds of errors

    def _look_at_thread(self, args: threading.ExceptHookArgs) -> BaseException | None:
        error = args.exc_value
        if error is None or isinstance(error, SystemExit):  # with which a thread may end itself
            return None
        code, thread = self._code_of(error), args.thread
        if code is None and thread is not None and (starter := self._starter_of(thread)) is not None:
            code = PluginCode(*starter)
        name = f"in thread '{thread.name}'" if thread is not None else ""
        return self._take(error, code, "thread", "stderr", name)

    def _look_at_finalizer(self, args: sys.UnraisableHookArgs) -> BaseException | None:
        error = args.exc_value
        if error is None:
            return None
        code = self._code_of(error) or self._code_behind(args.object)
        return self._take(error, code, "finalizer", "stderr", is_late=True)

    def _look_at_loop(self, _loop: object, context: dict[str, object]) -> BaseException | None:
        error = context.get("exception")
        if not isinstance(error, BaseException):
            return None
        is_task = "task" in context or "future" in context
        is_late = "handle" not in context  # the collector may have found a forgotten task
        phase: Phase = "task" if is_task else "callback"
        return self._take(error, self._code_of(error), phase, "log", is_late=is_late)

    def _look_at_record(self, record: logging.LogRecord) -> bool:
        """Look at what an executor logs, and an event loop that is not asyncio's own."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            is_task = str(record.msg).startswith(("Task", "Future"))
            self._take(error, self._code_of(error), "task" if is_task else "callback", "log", is_late=True)
        return True

    def _take(
        self,
        error: BaseException,
        code: PluginCode | None,
        phase: Phase,
        shown: Shown,
        note: str = "",
        *,
        is_late: bool = False,
    ) -> BaseException | None:
        """Report an error of a plugin and return it, unless an outer hook has reported it."""
        if code is None or error is getattr(self._seen, "error", None):
            return None
        fault = fault_of(
            error,
            phase=phase,
            plugin=code.plugin,
            module_path=self._module_path,
            generation=code.generation,
        )
        if note:
            fault = replace(fault, notes=(note, *fault.notes))
        self._report(fault, code.generation, shown, is_late=is_late)
        return error

    # ---- whose code it is

    def _code_of(self, error: BaseException) -> PluginCode | None:
        found, trace = None, error.__traceback__
        while trace is not None:
            found = self._code_in(_names_of(trace)) or found
            trace = trace.tb_next
        return found

    def _code_behind(self, thing: object) -> PluginCode | None:
        """Return the code of the function that the interpreter called."""
        function = thing.__func__ if isinstance(thing, MethodType) else thing
        return self._code_in(function.__globals__) if isinstance(function, FunctionType) else None

    def _code_in(self, names: dict[str, object]) -> PluginCode | None:
        spec = names.get("__spec__")
        module = spec.name if type(spec) is ModuleSpec else names.get("__name__")
        if type(module) is not str or not module.startswith(self._prefix):
            return None
        plugin = self._plugin_of(module.removeprefix(self._prefix).partition(".")[0])
        number = _NUMBER.search(module)
        return PluginCode(plugin, int(number[1]) if number else 0) if plugin is not None else None


def _names_of(trace: TracebackType) -> dict[str, object]:
    return trace.tb_frame.f_globals


class _Hook:
    """A function of a module or class that is called for each error, with a look at the error before it."""

    def __init__(self, place: object, name: str, look: _Look, seen: threading.local) -> None:
        """Look at each error for which the function ``name`` of ``place`` is called."""
        self._place = place
        self._name = name
        self._look = look
        self._seen = seen
        self._ours: object = None
        self._before: object = None
        self._is_on = False

    def put(self, plugins: Owner) -> None:
        """Put the look before the present function, unless that belongs to a plugin, which is undone."""
        self._is_on = True
        present: _Function = getattr(self._place, self._name)
        if present is self._ours or plugins.owns(present):
            return

        def hook(*args: object, **named: object) -> object:
            taken = self._looked(*args, **named) if self._is_on else None
            if taken is None:
                return present(*args, **named)
            self._seen.error = taken
            try:
                return present(*args, **named)
            finally:
                self._seen.error = None

        vars(hook)["__wrapped__"] = present  # for ``inspect.unwrap``
        self._ours, self._before = hook, present
        setattr(self._place, self._name, hook)

    def _looked(self, *args: object, **named: object) -> BaseException | None:
        try:
            return self._look(*args, **named)
        except Exception:  # any error: the program's own hook must still run
            logging.getLogger("hotload.engine").exception("an uncaught error cannot be reported")
            return None

    def remove(self) -> None:
        """Take the look away, or let it rest if the program has put a hook before it."""
        self._is_on = False
        if getattr(self._place, self._name) is self._ours:
            setattr(self._place, self._name, self._before)
            self._ours = self._before = None
