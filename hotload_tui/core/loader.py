"""``Loader``: an artifact becomes a live generation, a live one a retired one.

Prove, then swap: a trial executes the modules and runs ``register`` against a staging table; only when all of
it succeeded does the hook table change, in one assignment. A failed trial leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import AsyncGeneratorType, CodeType, CoroutineType, GeneratorType, ModuleType
from typing import cast

from msgspec import Struct

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.config import Config
from hotload_tui.core.context import PluginContext, PluginState
from hotload_tui.core.errors import LoadError, PluginError, RegisterError, UnknownPluginError
from hotload_tui.core.faults import fault_of
from hotload_tui.core.generation import Generation
from hotload_tui.core.hooks import Handler, HookHost
from hotload_tui.core.leaks import FREED, Remains, collect
from hotload_tui.core.plugin import Fault, HookPlace
from hotload_tui.core.source import ENTRY

_GRACE = 1.0  # seconds for an interrupted load to end
_SECOND_LOOKS = (0.01, 0.1)  # seconds until a generation that is not freed is looked at again
_FOREVER = 0.0


@dataclass(eq=False, slots=True)
class LivePlugin:
    """A generation with what it registered."""

    name: str
    generation: Generation
    context: PluginContext
    state: PluginState
    handlers: tuple[Handler, ...]
    load_seconds: float
    loaded_at: float = _FOREVER
    """When it was swapped in, seconds since the epoch; 0 before that."""

    @property
    def places(self) -> tuple[HookPlace, ...]:
        """Where it is registered, in order of name."""
        return tuple(sorted({HookPlace(handler.point, handler.priority) for handler in self.handlers}))


class Retirement(Struct, frozen=True):
    """How a generation went."""

    plugin: str
    generation: int
    faults: tuple[Fault, ...]
    """Of its ``on_unload`` functions."""
    memory: str
    """``freed``, or what is left."""


@dataclass(slots=True)
class _Outcome:
    """What the thread of a trial hands back."""

    value: LivePlugin | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Loader:
    """Loads plugins into a ``HookHost``; used by one thread at a time."""

    def __init__(self, host: HookHost, config: Config) -> None:
        self._host = host
        self._config = config
        self._live: dict[str, LivePlugin] = {}
        self._order: list[str] = []
        self._numbers: dict[str, int] = {}
        self._states: dict[str, dict[str, object]] = {}
        self._parting: queue.SimpleQueue[LivePlugin] = queue.SimpleQueue()
        self._trial_thread: threading.Thread | None = None

    def live(self, name: str) -> LivePlugin | None:
        """Return what serves of the plugin, or ``None``."""
        return self._live.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the names of all live plugins in the order in which they were first loaded."""
        return tuple(self._order)

    def load(
        self,
        name: str,
        artifact: Artifact,
        hook_point: str | None = None,
        priority: int | None = None,
        *,
        root_dir: Path | None = None,
    ) -> None:
        """Load an artifact and let it serve; what served before waits for ``retire``.

        ``hook_point`` and ``priority`` are the defaults of ``ctx.hook(handler)``.

        Raises:
            PluginError: as ``trial``; what served before serves on.

        """
        trial = self.trial(name, artifact, hook_point, priority, root_dir=root_dir)
        self.swap([trial])

    def unload(self, name: str, hook_point: str | None = None) -> None:
        """Take a plugin out of one hook point, or of all; then it waits for ``retire``.

        Raises:
            UnknownPluginError: nothing of that name serves.

        """
        live = self._live.get(name)
        if live is None:
            raise UnknownPluginError(f'no plugin "{name}" is loaded')
        if hook_point is not None:
            live.handlers = tuple(handler for handler in live.handlers if handler.point != hook_point)
            self._host.swap({name: live.handlers})
            return
        self._host.swap({name: ()})
        del self._live[name]
        self._order.remove(name)
        self._parting.put(live)

    def reload(self, name: str, hook_point: str | None = None, priority: int | None = None) -> None:
        """Load the artifact that serves once more; as ``load``, and raises ``UnknownPluginError``."""
        live = self._live.get(name)
        if live is None:
            raise UnknownPluginError(f'no plugin "{name}" is loaded')
        root_dir = live.generation.root_dir
        self.load(name, live.generation.artifact, hook_point, priority, root_dir=root_dir)

    def trial(
        self,
        name: str,
        artifact: Artifact,
        hook_point: str | None = None,
        priority: int | None = None,
        *,
        root_dir: Path | None = None,
    ) -> LivePlugin:
        """Execute the modules and run ``register``, in a thread of its own, within ``load_timeout``.

        Nothing of the result serves yet, and nothing is left behind on failure.

        Raises:
            LoadError: a module raised (the cause is chained), or time ran out.
            RegisterError: ``register`` is missing, has another shape, or raised.

        """
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        generation = Generation(
            artifact,
            root_dir=root_dir or Path(self._config.runtime_dir, name).absolute(),
            module_path=self._config.module_path,
            number=number,
        )
        settings = self._config.of(name).settings
        state = PluginState(self._states.setdefault(name, {}))
        context = PluginContext(
            name, number, state=state, settings=settings, hook_point=hook_point, priority=priority
        )
        try:
            return self._within_time(name, lambda: _prove(generation, context, state))
        except BaseException:
            context.seal()
            context.staged.clear()
            context.unloaders.clear()
            generation.release()
            raise

    def swap(self, trials: Sequence[LivePlugin]) -> None:
        """Let proven trials serve, all in one assignment; what they replace waits for ``retire``."""
        now = time.time()
        for trial in trials:
            trial.state.commit()  # before the swap: what a new handler wrote meanwhile would be lost
            trial.generation.confirm()
        self._host.swap({trial.name: trial.handlers for trial in trials})
        for trial in trials:
            trial.loaded_at = now
            if trial.name in self._live:
                self._parting.put(self._live[trial.name])
            else:
                self._order.append(trial.name)
            self._live[trial.name] = trial

    def retire(self) -> list[Retirement]:
        """Part with every generation that was replaced or unloaded.

        Waits for calls in flight, runs ``on_unload``, drops the modules and looks whether they are freed.
        May run in another thread than the loads.
        """
        parting, parted = [], []
        while not self._parting.empty():
            parting.append(self._parting.get())
        inside = len(self._host.drain(self._config.drain_timeout))
        while parting:  # nothing here may keep a reference: it would be the leak that is looked for
            parted.append(_part(parting.pop(0), self._config.module_path))
        collect()
        for pause in _SECOND_LOOKS:
            if all(remains.verdict() == FREED for _, _, _, remains in parted):
                break
            # A caller that was just entering, or just leaving, holds the old table for an instant more.
            time.sleep(pause)
            collect()
        return [
            Retirement(name, number, faults, _verdict(remains, inside))
            for name, number, faults, remains in parted
        ]

    def is_inside_trial(self) -> bool:
        """Tell whether the calling thread is executing a plugin's modules or its ``register``."""
        return threading.current_thread() is self._trial_thread

    def _within_time(self, name: str, prove: Callable[[], LivePlugin]) -> LivePlugin:
        outcome = _Outcome()

        def run() -> None:
            try:
                outcome.value = prove()
            except BaseException as error:  # foreign code: SystemExit and the like end this load only
                outcome.error = error
            finally:
                outcome.done.set()

        # A thread that a plugin starts inherits the daemon flag: a forgotten one cannot keep the host alive.
        self._trial_thread = thread = threading.Thread(target=run, name=f"hotload-load-{name}", daemon=True)
        thread.start()
        try:
            if not outcome.done.wait(self._config.load_timeout):
                raise self._interrupt(name, thread, outcome)
        finally:
            self._trial_thread = None
        if outcome.error is not None:
            raise outcome.error
        assert outcome.value is not None
        return outcome.value

    def _interrupt(self, name: str, thread: threading.Thread, outcome: _Outcome) -> LoadError:
        """End a load that takes too long, if the interpreter can; returns the error to raise."""
        limit = f"the load did not end within load_timeout = {self._config.load_timeout:g} s"
        ident = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_LoadTimeout))
        if outcome.done.wait(_GRACE):
            error = LoadError(name, f"{limit} and was interrupted")
            cause = outcome.error.__cause__ if isinstance(outcome.error, PluginError) else None
            if cause is not None:
                trace = cause.__traceback__
                error.__cause__ = TimeoutError(f"{limit}; it was interrupted here").with_traceback(trace)
            outcome.error = outcome.value = None
            return error
        return LoadError(name, f"{limit} and cannot be interrupted; its thread '{thread.name}' still runs")


_SIGNATURE = "def register(ctx) -> None: ..."
_WAY_OUT = f"write: {_SIGNATURE}"


class _LoadTimeout(BaseException):
    """Raised inside a load that takes too long; no ``except Exception`` of a plugin stops it."""


def _prove(generation: Generation, context: PluginContext, state: PluginState) -> LivePlugin:
    started = time.perf_counter()
    try:
        module = generation.execute()
    except BaseException as error:  # foreign code: whatever a module raises, the old generation serves on
        raise LoadError(context.name, "the plugin's modules did not execute") from error
    file = str(generation.root_dir / ENTRY)
    register, problem, line = _register_of(module)
    if problem:
        raise RegisterError(context.name, problem, file=file, line=line)
    try:
        returned = register(context)
    except BaseException as error:  # foreign code, as above
        raise RegisterError(context.name, "register(ctx) raised") from error
    context.seal()
    if isinstance(returned, CoroutineType | GeneratorType | AsyncGeneratorType):
        _close(returned)
        problem = "register returned a coroutine or generator, which nobody would run"
        raise RegisterError(context.name, f"{problem}; {_WAY_OUT}", file=file, line=line)
    handlers = tuple(
        Handler(
            hook.point,
            hook.function,
            plugin=context.name,
            generation=generation.number,
            priority=hook.priority,
        )
        for hook in context.staged
    )
    return LivePlugin(context.name, generation, context, state, handlers, time.perf_counter() - started)


def _register_of(module: object) -> tuple[Callable[[object], object], str, int]:
    """Return the plugin's ``register``, what is wrong with its shape (empty: nothing), and its line."""
    line = 1
    try:
        # A module that put another object in its place in sys.modules is that object.
        register = (
            vars(module).get("register") if type(module) is ModuleType else getattr(module, "register", None)
        )
        code = getattr(inspect.unwrap(register) if callable(register) else None, "__code__", None)
        line = code.co_firstlineno if type(code) is CodeType else 1
        problem = "" if register is None else _misshapen(register)
    except Exception as error:  # foreign code: any object may stand there, and its attributes may be code
        register, problem = _nothing, f"looking at register raised {type(error).__name__}: {error}"
    if register is None:
        return _nothing, f"{ENTRY} has run and defines no register; add: {_SIGNATURE}", line
    return cast("Callable[[object], object]", register), problem and f"{problem}; {_WAY_OUT}", line


def _nothing(_: object) -> None: ...


def _close(
    unfinished: CoroutineType[object, object, object]
    | GeneratorType[object, object, object]
    | AsyncGeneratorType[object, object],
) -> None:
    """Keep the interpreter from complaining that nobody awaited it."""
    if not isinstance(unfinished, AsyncGeneratorType):
        unfinished.close()


def _misshapen(register: object) -> str:
    """Say why ``register`` cannot be called with one argument; empty when it can."""
    if not callable(register):
        return f"register is a {type(register).__name__}, not a function"
    if inspect.iscoroutinefunction(register) or inspect.isasyncgenfunction(register):
        return "register is async, but nobody would await it: it runs at once"
    if inspect.isgeneratorfunction(register):
        return "register is a generator (it has a yield), so calling it would do nothing"
    try:
        inspect.signature(register).bind(object())
    except TypeError as error:
        return f"register must take one argument, ctx ({error})"
    except ValueError:
        return ""  # built-in callables tell no signature; calling will tell
    return ""


def _part(live: LivePlugin, module_path: str) -> tuple[str, int, tuple[Fault, ...], Remains]:
    """Clean up after a generation and drop its modules; what is returned holds nothing of it."""
    faults = tuple(_unload(live, module_path))
    live.generation.release()
    shown = (
        (live.name + name.removeprefix(live.generation.root), module)
        for name, module in live.generation.modules.items()
    )
    return live.name, live.generation.number, faults, Remains(shown)


def _unload(live: LivePlugin, module_path: str) -> Iterable[Fault]:
    """Run the plugin's ``on_unload`` functions, the newest first, each fenced."""
    while live.context.unloaders:
        function = live.context.unloaders.pop()
        try:
            function()
        except BaseException as error:  # foreign code: one clean-up must not stop the next
            yield fault_of(error, phase="unload", plugin=live.name, module_path=module_path)


def _verdict(remains: Remains, inside: int) -> str:
    verdict = remains.verdict()
    if verdict != FREED and inside:
        return f"{verdict} ({inside} calls are still inside)"
    return verdict
