"""The trial of a generation: execute its modules, migrate its state, run ``register``."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import AsyncGeneratorType, CodeType, CoroutineType, FunctionType, GeneratorType, ModuleType
from typing import cast

from hotload_tui.core.errors import LoadError, RegisterError
from hotload_tui.core.events import Step
from hotload_tui.core.hooks.point import Handler, signature_of
from hotload_tui.core.layout import PluginEntry
from hotload_tui.core.model import Fault, HookPlace
from hotload_tui.core.primitives import perf_counter
from hotload_tui.core.runtime.context import PluginContext, StateMapping
from hotload_tui.core.runtime.generation import Generation
from hotload_tui.core.undo.ledger import Ledger

_NEVER = 0.0


@dataclass(eq=False, slots=True)
class LivePlugin:
    """A generation with the handlers that it registered."""

    name: str
    generation: Generation
    context: PluginContext
    state: StateMapping
    handlers: tuple[Handler, ...]
    load_seconds: float
    ledger: Ledger
    """What the generation started or changed in the process."""
    steps: tuple[Step, ...] = ()
    """The steps of the load and the seconds that each took."""
    faults: tuple[Fault, ...] = ()
    """What went wrong when this version handed over, reported when it retires."""
    loaded_at: float = _NEVER
    """When the generation went live, in seconds since the epoch; 0 until then."""

    @property
    def places(self) -> tuple[HookPlace, ...]:
        """The hook points at which the plugin is registered, with priorities, sorted by name."""
        return tuple(sorted({HookPlace(handler.point, handler.priority) for handler in self.handlers}))


_MIGRATE = "def migrate_state(state, from_version) -> None: ..."


def defined(module: object, name: str) -> object:
    """Return the value of ``name`` in a plugin's entry, or ``None``; raises what the plugin's code raises."""
    # A module can replace itself in sys.modules with any object.
    return vars(module).get(name) if type(module) is ModuleType else getattr(module, name, None)


def migrate(plugin: str, module: object, state: StateMapping, file: str) -> None:
    """Migrate the state to the ``STATE_VERSION`` of ``module``; this takes effect if the load succeeds.

    ``migrate_state`` is not called if earlier generations left no state, or state of the same version.

    Raises:
        LoadError: ``STATE_VERSION`` is not a whole number, or ``migrate_state`` is missing, raised, or
            returned anything but ``None`` or the state itself.

    """
    version = _version(plugin, module, file)
    before, state.version = state.kept_version, version
    if before is None or before == version:
        return
    change = f"the state of version {before} to STATE_VERSION {version}"
    try:
        function = defined(module, "migrate_state")
        returned = function(state, before) if callable(function) else None
    except BaseException as error:  # foreign code: whatever it raises, the old generation stays live
        with contextlib.suppress(Exception):  # an exception class of the plugin may not accept notes
            BaseException.add_note(error, f"migrate_state was to bring {change}")
        raise LoadError(plugin, f"migrate_state(state, {before}) raised") from error
    if not callable(function):
        problem = f"nothing brings {change}; add: {_MIGRATE}"
    elif is_unfinished(returned):
        problem = (
            f"migrate_state returned a coroutine or generator, which nobody would run; write: {_MIGRATE}"
        )
    elif returned is not None and returned is not state:
        problem = f"migrate_state returned a value, which nobody uses; change state in place: {_MIGRATE}"
    else:
        return
    line = _line_of(function) if inspect.isfunction(function) else 1
    raise LoadError(plugin, problem, file=file, line=line)


def is_unfinished(value: object) -> bool:
    """Return whether a plugin's function returned a coroutine or generator instead of doing its work."""
    if type(value) is CoroutineType or type(value) is GeneratorType:
        value.close()  # else the interpreter warns that it was never awaited
    return type(value) in (CoroutineType, GeneratorType, AsyncGeneratorType)


def _version(plugin: str, module: object, file: str) -> int:
    try:
        version = defined(module, "STATE_VERSION")
    except BaseException as error:  # foreign code, as above
        raise LoadError(plugin, "looking at STATE_VERSION raised") from error
    if version is None:
        return 0
    if type(version) is not int:
        kind = type(version).__name__
        raise LoadError(plugin, f"STATE_VERSION must be a whole number, not a {kind}", file=file, line=1)
    return version


def _line_of(function: object) -> int:
    """Return the line of a function; 1 if it is not known. Raises what the attributes of an object raise."""
    code = getattr(inspect.unwrap(function) if callable(function) else None, "__code__", None)
    return code.co_firstlineno if type(code) is CodeType else 1


_SPECIAL = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
)


def prove(generation: Generation, context: PluginContext, state: StateMapping, ledger: Ledger) -> LivePlugin:
    """Execute the modules, migrate the state, and register; raises ``LoadError`` or ``RegisterError``."""
    started = perf_counter()
    try:
        module = generation.execute()
    except BaseException as error:  # foreign code: whatever a module raises, the old generation stays live
        raise LoadError(context.name, "the plugin's modules did not execute") from error
    executed = perf_counter()
    entry = generation.entry
    file = str(generation.root_dir / entry.file)
    register, problem, line = _register_of(module, entry)
    if problem:
        raise RegisterError(context.name, problem, file=file, line=line)
    migrate(context.name, module, state, file)
    try:
        returned = register(context)
    except BaseException as error:  # foreign code, as above
        raise RegisterError(context.name, f"{entry.function}(ctx) raised") from error
    context.seal()
    if is_unfinished(returned):
        problem = f"{entry.function} returned a coroutine or generator, which nobody would run"
        raise RegisterError(context.name, f"{problem}; write: {entry.example}", file=file, line=line)
    ended = perf_counter()
    steps = (Step("execute", executed - started), Step("register", ended - executed))
    handlers = tuple(context.staged)
    return LivePlugin(context.name, generation, context, state, handlers, ended - started, ledger, steps)


def _register_of(module: object, entry: PluginEntry) -> tuple[Callable[[object], object], str, int]:
    """Return the function that registers the plugin, its problem (empty if there is none), and its line."""
    line = 1
    try:
        register = defined(module, entry.function)
        if type(register) is FunctionType and _plainly_takes_one(register):
            return register, "", register.__code__.co_firstlineno
        line = _line_of(register)
        problem = "" if register is None else _misshapen(register, entry.function)
    except Exception as error:  # foreign code: register may be any object, and its attributes may run code
        register, problem = _nothing, f"looking at {entry.function} raised {type(error).__name__}: {error}"
    if register is None:
        missing = f"{entry.file} has run and defines no {entry.function}"
        return _nothing, f"{missing}; add: {entry.example}", line
    advice = f"{problem}; write: {entry.example}" if problem else ""
    return cast("Callable[[object], object]", register), advice, line


def _plainly_takes_one(function: FunctionType) -> bool:
    """Return quickly whether a plain function takes one argument; ``False`` for all special functions."""
    code = function.__code__
    needed = code.co_argcount - len(function.__defaults__ or ())
    is_plain = not (code.co_flags & _SPECIAL or code.co_kwonlyargcount or vars(function))
    return is_plain and needed <= 1 <= code.co_argcount


def _nothing(_: object) -> None: ...


def _misshapen(register: object, name: str) -> str:
    """Return why the function ``name`` cannot be called with one argument; empty if it can."""
    if not callable(register):
        return f"{name} is a {type(register).__name__}, not a function"
    if inspect.iscoroutinefunction(register) or inspect.isasyncgenfunction(register):
        return (
            f"{name} is async, but runs in a thread without an event loop before the version is live:"
            " pass what must be awaited to ctx.task or ctx.own, and a discord.py cog to own_cog"
            " (docs/coming-from.md)"
        )
    if inspect.isgeneratorfunction(register):
        return f"{name} is a generator (it has a yield), so calling it would do nothing"
    try:
        signature_of(register).bind(object())
    except TypeError as error:
        return f"{name} must take one argument, ctx ({error})"
    except ValueError:
        return ""  # some built-in callables have no signature; the call shows whether it fits
    return ""
