"""Functions that a library keeps and calls: each version of a plugin takes its place without a gap.

A library that stores a function goes on calling the version that gave it. ``own_callback`` gives the library
another function, which calls the function of the live version::

    def register(ctx):
        own_callback(ctx, "saved", on_saved, saved.connect, saved.disconnect)  # a blinker signal

The library keeps the same function through all reloads, so no call is lost and none comes twice.
"""

from __future__ import annotations

import gc
import inspect
import signal
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Generic, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from hotload_tui.core.interpreter import in_main_thread
from hotload_tui.core.runtime.context import PluginContext

_P = ParamSpec("_P")
_R = TypeVar("_R")

SignalHandler: TypeAlias = Callable[[int, FrameType | None], object]
"""A function for ``signal.signal``."""


class Relay(Generic[_P, _R]):
    """The function that a library keeps, and the function of the live version, which it calls."""

    def __init__(self, function: Callable[_P, _R], step: Registration[_P, _R]) -> None:
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            return self.function(*args, **kwargs)

        async def call_later(*args: _P.args, **kwargs: _P.kwargs) -> object:
            return await cast("Awaitable[object]", self.function(*args, **kwargs))

        is_async = inspect.iscoroutinefunction(function)  # some libraries ask
        self.kept = cast("Callable[_P, _R]", call_later) if is_async else call
        """The function that the library keeps."""
        self.before: object = None
        """The value that ``kept`` has replaced in the library, if any."""
        self.take(function, step)

    def take(self, function: Callable[_P, _R], step: Registration[_P, _R]) -> None:
        """Call the function of another version from now on."""
        self.function, self.step = function, step
        name: str = getattr(function, "__name__", type(function).__name__)
        self.kept.__name__ = self.kept.__qualname__ = name  # libraries name a callback in messages


class Registration(NamedTuple, Generic[_P, _R]):
    """How one version adds its function to a library, and removes it."""

    place: object
    """A version with an equal place takes over what the library keeps."""
    add: Callable[[Relay[_P, _R]], object]
    remove: Callable[[Relay[_P, _R]], object]


def own_callback(
    ctx: PluginContext,
    key: str,
    function: Callable[_P, _R],
    add: Callable[[Callable[_P, _R]], object],
    remove: Callable[[Callable[_P, _R]], object],
) -> None:
    """Let a library call ``function`` while this version is live.

    ``add`` and ``remove`` get the function that the library keeps. If the next version has the same key and
    an equal ``add``, such as the same method of the same object, the library notices nothing. Otherwise the
    old version's function is removed, and then the new one is added.

    Raises:
        RegisterError: as ``ctx.own``.

    """
    place = (add, inspect.iscoroutinefunction(function))

    def add_kept(relay: Relay[_P, _R]) -> None:
        add(relay.kept)

    def remove_kept(relay: Relay[_P, _R]) -> None:
        remove(relay.kept)

    step = Registration(place, add_kept, remove_kept)
    _own(ctx, key, function, step)


def _own(ctx: PluginContext, key: str, function: Callable[_P, _R], step: Registration[_P, _R]) -> None:
    def acquire() -> Relay[_P, _R]:
        relay = Relay(function, step)
        step.add(relay)
        return relay

    def replace(relay: Relay[_P, _R]) -> Relay[_P, _R]:
        if relay.step.place == step.place:
            relay.take(function, step)
            return relay
        relay.step.remove(relay)
        try:
            return acquire()
        except BaseException:
            relay.step.add(relay)
            raise

    ctx.own(key, acquire, lambda relay: relay.step.remove(relay), replace=replace)


# ---- signals


def own_signal(ctx: PluginContext, number: signal.Signals, handler: SignalHandler) -> None:
    """Handle a signal of the operating system while this version is live.

    Only the main thread can set a handler: it does so the next time that it runs Python code. A reload
    exchanges only the function, at once. When the plugin is unloaded, the previous handler returns.

    Raises:
        RegisterError: as ``ctx.own``.
        ValueError: no program can handle this signal.

    """
    if number.name in {"SIGKILL", "SIGSTOP"}:  # the main thread would find out too late
        raise ValueError(f"no program can handle {number.name}")

    def add(relay: Relay[[int, FrameType | None], object]) -> None:
        relay.before = signal.getsignal(number)
        _set_handler(number, relay.kept)

    def remove(relay: Relay[[int, FrameType | None], object]) -> None:
        _set_handler(number, cast("SignalHandler | None", relay.before), instead_of=relay.kept)

    _own(ctx, f"signal {number.name}", handler, Registration(number, add, remove))


def _set_handler(
    number: signal.Signals, handler: SignalHandler | None, instead_of: SignalHandler | None = None
) -> None:
    """Set a handler, unless other code has replaced ``instead_of``; ``None`` stands for the default."""

    def act() -> None:
        if instead_of is None or signal.getsignal(number) is instead_of:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    in_main_thread(act)


# ---- functools.singledispatch


class Dispatcher(Protocol):
    """A function that ``functools.singledispatch`` has made."""

    @property
    def registry(self) -> object:
        """The implementations by class, read-only."""
        ...

    def dispatch(self, cls: type) -> Callable[..., object]:  # type: ignore[explicit-any] # any parameters
        """Return the implementation for a class."""
        ...

    def register(self, cls: type, func: Callable[..., object]) -> object:  # type: ignore[explicit-any] # any parameters
        """Set the implementation for a class."""
        ...


def own_implementation(
    ctx: PluginContext, dispatcher: Dispatcher, cls: type, function: Callable[_P, _R]
) -> None:
    """Let a ``functools.singledispatch`` function call ``function`` for a class while this version is live.

    When the plugin is unloaded, the implementation that the class had before returns, if it had its own.

    Raises:
        RegisterError: as ``ctx.own``.

    """

    def add(relay: Relay[_P, _R]) -> None:
        relay.before = _entries(dispatcher).get(cls)
        dispatcher.register(cls, relay.kept)

    def remove(relay: Relay[_P, _R]) -> None:
        entries = _entries(dispatcher)
        if entries.get(cls) is not relay.kept:
            return
        if relay.before is None:
            del entries[cls]
            dispatcher.register(object, dispatcher.dispatch(object))  # drops what it has cached
        else:
            dispatcher.register(cls, cast("Callable[_P, _R]", relay.before))

    name = getattr(dispatcher, "__qualname__", "")
    step = Registration((dispatcher, cls), add, remove)
    _own(ctx, f"{name} of {cls.__qualname__}", function, step)


def _entries(dispatcher: Dispatcher) -> dict[type, object]:
    """Return the dictionary behind ``dispatcher.registry``, because the library has no way to unregister."""
    (entries,) = gc.get_referents(dispatcher.registry)
    return cast("dict[type, object]", entries)
