"""The trial: execute a generation's modules, bring its state up to date, run ``register``."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import cast

from hotload_tui.core.context import PluginContext, PluginState
from hotload_tui.core.errors import LoadError, RegisterError
from hotload_tui.core.events import Step
from hotload_tui.core.generation import Generation
from hotload_tui.core.hooks import Handler
from hotload_tui.core.ledger import Ledger
from hotload_tui.core.loader.live import LivePlugin
from hotload_tui.core.loader.migration import defined, is_unfinished, migrate
from hotload_tui.core.signatures import signature_of
from hotload_tui.core.source import ENTRY

_SIGNATURE = "def register(ctx) -> None: ..."
_SPECIAL = (
    inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
)
_WAY_OUT = f"write: {_SIGNATURE}"


def prove(generation: Generation, context: PluginContext, state: PluginState, ledger: Ledger) -> LivePlugin:
    """Execute, migrate the state, and register; raises ``LoadError`` or ``RegisterError``."""
    started = time.perf_counter()
    try:
        module = generation.execute()
    except BaseException as error:  # foreign code: whatever a module raises, the old generation serves on
        raise LoadError(context.name, "the plugin's modules did not execute") from error
    executed = time.perf_counter()
    file = str(generation.root_dir / ENTRY)
    register, problem, line = _register_of(module)
    if problem:
        raise RegisterError(context.name, problem, file=file, line=line)
    migrate(context.name, module, state, file)
    try:
        returned = register(context)
    except BaseException as error:  # foreign code, as above
        raise RegisterError(context.name, "register(ctx) raised") from error
    context.seal()
    if is_unfinished(returned):
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
    ended = time.perf_counter()
    steps = (Step("execute", executed - started), Step("register", ended - executed))
    return LivePlugin(context.name, generation, context, state, handlers, ended - started, ledger, steps)


def _register_of(module: object) -> tuple[Callable[[object], object], str, int]:
    """Return the plugin's ``register``, what is wrong with its shape (empty: nothing), and its line."""
    line = 1
    try:
        register = defined(module, "register")
        if type(register) is FunctionType and _plainly_takes_one(register):
            return register, "", register.__code__.co_firstlineno
        code = getattr(inspect.unwrap(register) if callable(register) else None, "__code__", None)
        line = code.co_firstlineno if type(code) is CodeType else 1
        problem = "" if register is None else _misshapen(register)
    except Exception as error:  # foreign code: any object may stand there, and its attributes may be code
        register, problem = _nothing, f"looking at register raised {type(error).__name__}: {error}"
    if register is None:
        return _nothing, f"{ENTRY} has run and defines no register; add: {_SIGNATURE}", line
    return cast("Callable[[object], object]", register), problem and f"{problem}; {_WAY_OUT}", line


def _plainly_takes_one(function: FunctionType) -> bool:
    """Tell of most functions that can be called with one argument that they can, and soon."""
    code = function.__code__
    needed = code.co_argcount - len(function.__defaults__ or ())
    is_plain = not (code.co_flags & _SPECIAL or code.co_kwonlyargcount or vars(function))
    return is_plain and needed <= 1 <= code.co_argcount


def _nothing(_: object) -> None: ...


def _misshapen(register: object) -> str:
    """Say why ``register`` cannot be called with one argument; empty when it can."""
    if not callable(register):
        return f"register is a {type(register).__name__}, not a function"
    if inspect.iscoroutinefunction(register) or inspect.isasyncgenfunction(register):
        return "register is async, but nobody would await it: it runs at once"
    if inspect.isgeneratorfunction(register):
        return "register is a generator (it has a yield), so calling it would do nothing"
    try:
        signature_of(register).bind(object())
    except TypeError as error:
        return f"register must take one argument, ctx ({error})"
    except ValueError:
        return ""  # built-in callables tell no signature; calling will tell
    return ""
