"""Functions that a library keeps and calls: each version of a plugin takes its place without a gap.

A library that stores a function goes on calling the version that gave it. ``own_callback`` gives the library
a ``Relay`` instead, which calls the function of the live version::

    def register(ctx):
        own_callback(ctx, "saved", on_saved, saved.connect, saved.disconnect)  # a blinker signal

The library keeps the same ``Relay`` through all reloads, so no call is lost and none comes twice.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from types import FrameType
from typing import Generic, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from hotload_tui.core.interpreter import in_main_thread
from hotload_tui.core.runtime.context import PluginContext

_P = ParamSpec("_P")
_R = TypeVar("_R")

SignalHandler: TypeAlias = Callable[[int, FrameType | None], object]
"""A function for ``signal.signal``."""


class Relay(Generic[_P, _R]):
    """A callable that a library keeps, and that calls the function of the live version."""

    def __init__(
        self,
        function: Callable[_P, _R],
        add: Callable[[Relay[_P, _R]], object],
        remove: Callable[[Relay[_P, _R]], object],
        place: object,
    ) -> None:
        self.before: object = None
        """The value that this object has replaced in the library, if any."""
        self.take(function, add, remove)
        self.place = place
        """The registration; a version with an equal one takes this object over."""

    def take(
        self,
        function: Callable[_P, _R],
        add: Callable[[Relay[_P, _R]], object],
        remove: Callable[[Relay[_P, _R]], object],
    ) -> None:
        """Call the function of another version from now on."""
        self.function, self.add, self.remove = function, add, remove
        name: str = getattr(function, "__name__", type(function).__name__)
        self.__name__ = self.__qualname__ = name  # libraries name a callback in messages

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function of the live version."""
        return self.function(*args, **kwargs)


def own_callback(
    ctx: PluginContext,
    key: str,
    function: Callable[_P, _R],
    add: Callable[[Callable[_P, _R]], object],
    remove: Callable[[Callable[_P, _R]], object],
) -> None:
    """Let a library call ``function`` while this version is live.

    ``add`` and ``remove`` get the callable that the library keeps. If the next version has the same key and
    an equal ``add``, such as the same method of the same object, only the function changes. Otherwise the
    old version's callable is removed, and then the new one is added.

    Raises:
        RegisterError: as ``ctx.own``.

    """
    _own(ctx, key, function, add, remove, place=add)


def _own(
    ctx: PluginContext,
    key: str,
    function: Callable[_P, _R],
    add: Callable[[Relay[_P, _R]], object],
    remove: Callable[[Relay[_P, _R]], object],
    *,
    place: object,
) -> None:
    def acquire() -> Relay[_P, _R]:
        relay = Relay(function, add, remove, place)
        add(relay)
        return relay

    def replace(relay: Relay[_P, _R]) -> Relay[_P, _R]:
        if relay.place == place:
            relay.take(function, add, remove)
            return relay
        relay.remove(relay)
        try:
            return acquire()
        except BaseException:
            relay.add(relay)
            raise

    ctx.own(key, acquire, lambda relay: relay.remove(relay), replace=replace)


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
        _set_handler(number, relay)

    def remove(relay: Relay[[int, FrameType | None], object]) -> None:
        _set_handler(number, cast("SignalHandler | None", relay.before), instead_of=relay)

    _own(ctx, f"signal {number.name}", handler, add, remove, place=number)


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
        dispatcher.register(cls, relay)

    def remove(relay: Relay[_P, _R]) -> None:
        entries = _entries(dispatcher)
        if entries.get(cls) is not relay:
            return
        if relay.before is None:
            del entries[cls]
            dispatcher.register(object, dispatcher.dispatch(object))  # drops what it has cached
        else:
            dispatcher.register(cls, cast("Callable[_P, _R]", relay.before))

    name = getattr(dispatcher, "__qualname__", "")
    _own(ctx, f"{name} of {cls.__qualname__}", function, add, remove, place=(dispatcher, cls))


def _entries(dispatcher: Dispatcher) -> dict[type, object]:
    """Return the dictionary behind ``dispatcher.registry``, because the library has no way to unregister."""
    (entries,) = gc.get_referents(dispatcher.registry)
    return cast("dict[type, object]", entries)
