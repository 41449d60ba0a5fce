"""The one interface that a console talks to.

``HotloadManager`` implements ``ManagerApi`` in process. For a manager in another process, a ``Forwarder``
turns each operation into a ``Call``, and ``perform`` carries it out on the other side. Commands return once
the new version is live; events report what follows (draining and retiring the previous generation).
"""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast, get_type_hints

import msgspec

from hotload_tui.core.errors import ProtocolError
from hotload_tui.core.events import Subscriber
from hotload_tui.core.model import (
    HistoryEntry,
    Invocation,
    LogLine,
    Plan,
    PluginDetail,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Call(msgspec.Struct, frozen=True, tag="call"):
    """One operation of a ``ManagerApi`` with its arguments, for a manager in another process."""

    operation: str
    args: tuple[object, ...] = ()
    kwargs: dict[str, object] = {}


class ManagerApi(Protocol):
    """Facts about plugins and commands on them.

    Every method may raise ``HotloadError``; a name that is no plugin raises ``UnknownPluginError``.
    All are safe to call from any thread.
    """

    def snapshot(self) -> Snapshot:
        """Return the whole state at this moment; cheap."""
        return _forwarded(self, ManagerApi.snapshot)

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Hear every event from now on, in a thread of the manager's; returns the undo."""
        ...

    def detail(self, name: str) -> PluginDetail:
        """Return everything known about one plugin."""
        return _forwarded(self, ManagerApi.detail, name)

    def source(self, name: str, file: str, generation: int | None = None) -> str:
        """Return one file's text: as loaded by the serving ``generation``, or (``None``) as on disk."""
        return _forwarded(self, ManagerApi.source, name, file, generation)

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return _forwarded(self, ManagerApi.log, since)

    def rebuild(self, name: str | None = None, *, force: bool = False) -> tuple[PluginStatus, ...]:
        """Build and load one plugin, or all that changed; returns the statuses after the swap.

        ``force`` compiles and loads even what has not changed.
        """
        return _forwarded(self, ManagerApi.rebuild, name, force=force)

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return what happened to a plugin in this host, the oldest first; at most 100 entries."""
        return _forwarded(self, ManagerApi.history, name)

    def plan(self, name: str | None = None) -> Plan:
        """Return what ``rebuild`` of this plugin, or of all that changed, would do now, and why.

        Nothing is written, and no code of a plugin is run.
        """
        return _forwarded(self, ManagerApi.plan, name)

    def rollback(self, name: str, generation: int) -> PluginStatus:
        """Let an earlier generation serve again, as a new one, and hold the plugin there.

        ``RefusedError`` when it cannot be gone back to.
        """
        return _forwarded(self, ManagerApi.rollback, name, generation)

    def release(self, name: str) -> PluginStatus:
        """Let a HELD plugin follow its source again; nothing happens to another."""
        return _forwarded(self, ManagerApi.release, name)

    def enable(self, name: str) -> PluginStatus:
        """Switch a plugin on (``_name`` becomes ``name``) and load it; nothing happens if it is on."""
        return _forwarded(self, ManagerApi.enable, name)

    def disable(self, name: str) -> PluginStatus:
        """Unload a plugin and switch it off (``name`` becomes ``_name``); nothing happens if it is off."""
        return _forwarded(self, ManagerApi.disable, name)

    def clean(self, name: str | None = None) -> int:
        """Remove the artifacts of one plugin, or of all; what serves goes on serving.

        Returns the number of artifacts removed.
        """
        return _forwarded(self, ManagerApi.clean, name)

    def undo(self) -> str:
        """Take back the last enable, disable or clean, and return what that was; ``RefusedError``: none."""
        return _forwarded(self, ManagerApi.undo)

    def new(self, name: str, template: str = "simple") -> PluginStatus:
        """Make a plugin from a template, with its test, and load it; ``UsageError`` for a bad name."""
        return _forwarded(self, ManagerApi.new, name, template)

    def pause(self) -> WatcherStatus:
        """Keep what is saved from now on until ``resume``; commands work as ever.

        Nothing happens if it is paused; ``RefusedError`` if nothing is watched.
        """
        return _forwarded(self, ManagerApi.pause)

    def resume(self) -> tuple[PluginStatus, ...]:
        """Bring what changed since ``pause`` up to date, in one batch, and follow saves again.

        Returns how the plugins that waited stand now.
        """
        return _forwarded(self, ManagerApi.resume)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point once and tell each handler's value, fault and time."""
        return _forwarded(self, ManagerApi.invoke, point, *args, **kwargs)


class Forwarder(ManagerApi, Protocol):
    """A ``ManagerApi`` whose operations are calls that another process carries out."""

    @abstractmethod
    def forward(self, call: Call, expected: type[_R]) -> _R:
        """Return the result of a call, as an ``expected``."""


def perform(manager: ManagerApi, call: Call) -> object:
    """Carry out a call that came from another process, and return its result.

    Raises:
        ProtocolError: there is no such operation, or its arguments do not fit.
        HotloadError: whatever the operation raises.

    """
    signature = _OPERATIONS.get(call.operation)
    if signature is None:
        raise ProtocolError(f"there is no operation {call.operation!r}")
    try:
        bound = signature.bind(manager, *call.args, **call.kwargs)
        types = _types_of(call.operation)
        for name, value in bound.arguments.items():
            if name in types and signature.parameters[name].kind not in _ANY_NUMBER:
                bound.arguments[name] = msgspec.convert(value, types[name])
    except (TypeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"the arguments of {call.operation} do not fit: {error}") from error
    result: object = getattr(manager, call.operation)(*bound.args[1:], **bound.kwargs)
    return result


def _forwarded(
    api: ManagerApi,
    operation: Callable[Concatenate[ManagerApi, _P], _R],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _R:
    name = operation.__name__
    expected = cast("type[_R]", _types_of(name)["return"])
    return cast("Forwarder", api).forward(Call(name, args, kwargs), expected)


@functools.cache
def _types_of(operation: str) -> dict[str, object]:
    """Return the types of an operation's parameters and of its result (``return``)."""
    return get_type_hints(getattr(ManagerApi, operation))


_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_OPERATIONS = {
    name: inspect.signature(operation)
    for name, operation in vars(ManagerApi).items()
    if inspect.isfunction(operation) and not name.startswith("_") and name != "subscribe"
}
