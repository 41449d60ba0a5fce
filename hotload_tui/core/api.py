"""The one interface that a console talks to.

``HotloadManager`` implements ``ManagerApi`` in process. For a manager in another process, a ``Forwarder``
turns each operation into a ``Call``, and ``perform`` carries it out on the other side. A command returns
once the new state is live; events report how the old generation drains and retires.
"""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable
from types import GenericAlias
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
    """Queries about plugins, and commands on them.

    Every method is safe to call from any thread and may raise ``HotloadError``. Every method but ``new``
    raises ``UnknownPluginError`` if no plugin has the given name.
    """

    def snapshot(self) -> Snapshot:
        """Return the whole state at this moment; the call is cheap."""
        return _forwarded(self, ManagerApi.snapshot)

    @abstractmethod
    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:
        """Call ``subscriber`` with every event from now on; return the function that unsubscribes it.

        The call happens in the thread that publishes the event.
        """
        ...

    def detail(self, name: str) -> PluginDetail:
        """Return everything known about one plugin."""
        return _forwarded(self, ManagerApi.detail, name)

    def source(self, name: str, file: str, generation: int | None = None) -> str:
        """Return a file's text: as the live ``generation`` loaded it, or (``None``) as it is on disk."""
        return _forwarded(self, ManagerApi.source, name, file, generation)

    def log(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the kept log lines with a number greater than ``since``."""
        return _forwarded(self, ManagerApi.log, since)

    def rebuild(self, name: str | None = None, *others: str, force: bool = False) -> tuple[PluginStatus, ...]:
        """Build and load the named plugins, changed or not, in one swap, and release those that are HELD.

        The plugins that require them load with them. Without ``name``, build and load the plugins that
        changed or have a fault, or all plugins if there are none of these; a hold ends only if it is there
        because of a fault and the source has changed, as after a save. ``force`` compiles every file of the
        plugins again; without ``name``, it loads all plugins that are not HELD. The call waits for the tests
        and checks that are the gate of what it loads.

        Returns the statuses after the swap: of the named plugins, then of the others that changed with them;
        without ``name``, of all plugins.
        """
        return _forwarded(self, ManagerApi.rebuild, name, *others, force=force)

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return the history of a plugin in this host, oldest entry first; at most 100 entries."""
        return _forwarded(self, ManagerApi.history, name)

    def plan(self, name: str | None = None) -> Plan:
        """Return what ``rebuild`` of this plugin, or of all that changed or fail, would do now, and why.

        Without ``name``, there is nothing to do if there are none of these. The files to compile are those of
        a rebuild without ``force``. The call writes nothing and runs no plugin code.
        """
        return _forwarded(self, ManagerApi.plan, name)

    def rollback(self, name: str, generation: int) -> PluginStatus:
        """Load the artifact of an earlier generation as a new generation, and hold the plugin there.

        Raises ``RefusedError`` if the plugin cannot return to that generation.
        """
        return _forwarded(self, ManagerApi.rollback, name, generation)

    def release(self, name: str) -> PluginStatus:
        """Let a HELD plugin follow its source again.

        A plugin that is not HELD is only brought up to date with its source.
        """
        return _forwarded(self, ManagerApi.release, name)

    def enable(self, name: str) -> PluginStatus:
        """Enable a plugin (``_name`` becomes ``name``) and load it.

        If it is enabled already, release it if it is HELD, else do nothing.
        """
        return _forwarded(self, ManagerApi.enable, name)

    def disable(self, name: str) -> PluginStatus:
        """Unload a plugin and disable it (``name`` becomes ``_name``); do nothing if it is disabled."""
        return _forwarded(self, ManagerApi.disable, name)

    def clean(self, name: str | None = None, *others: str) -> int:
        """Remove the artifacts of the named plugins, or of all; live generations keep running.

        Returns the number of artifacts removed.
        """
        return _forwarded(self, ManagerApi.clean, name, *others)

    def undo(self) -> str:
        """Undo the last enable, disable, clean or rollback, and return that command.

        Raises ``RefusedError`` if there is nothing to undo.
        """
        return _forwarded(self, ManagerApi.undo)

    def new(self, name: str, template: str = "simple") -> PluginStatus:
        """Create a plugin and its test from a template, and load the plugin.

        Raises:
            UsageError: the name is not valid, or there is no such template.
            RefusedError: the plugin exists already, or it cannot be created.

        """
        return _forwarded(self, ManagerApi.new, name, template)

    def pause(self) -> WatcherStatus:
        """Collect saved changes until ``resume`` instead of loading them; commands work as usual.

        Nothing happens if watching is already paused. Raises ``RefusedError`` if nothing is watched.
        """
        return _forwarded(self, ManagerApi.pause)

    def resume(self) -> tuple[PluginStatus, ...]:
        """Load the changes that were collected since ``pause`` in one batch, and follow saves again.

        Returns the new statuses of the changed plugins.
        """
        return _forwarded(self, ManagerApi.resume)

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Call a hook point once; return each handler's value, fault and time.

        Raises ``UsageError`` if there are handlers, and none takes these arguments.
        """
        return _forwarded(self, ManagerApi.invoke, point, *args, **kwargs)


class Forwarder(ManagerApi, Protocol):
    """A ``ManagerApi`` whose operations are calls that another process carries out."""

    @abstractmethod
    def forward(self, call: Call, expected: type[_R]) -> _R:
        """Return the result of a call, as an ``expected``."""


def roll_back(manager: ManagerApi, name: str, generation: int) -> str:
    """Roll a plugin back; return which generation is live then, in words: it may be live already."""
    live = {each.name: each.generation for each in manager.snapshot().plugins}.get(name)
    status = manager.rollback(name, generation)
    if status.generation != live:
        how = f"is live again as generation {status.generation}"
    elif live == generation:
        how = "stays live"
    else:
        how = f"is the same version as generation {live}, which stays live"
    return f"{name}: generation {generation} {how}, held"


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
    except TypeError as error:
        raise ProtocolError(f"the arguments of {call.operation} do not fit: {error}") from error
    types = _types_of(call.operation)
    for name, value in bound.arguments.items():
        if name in types:
            try:
                bound.arguments[name] = msgspec.convert(value, types[name])
            except msgspec.ValidationError as error:
                raise ProtocolError(
                    f"{name}, an argument of {call.operation}, does not fit: {error}"
                ) from error
    result: object = getattr(manager, call.operation)(*bound.args[1:], **bound.kwargs)
    return result


def _forwarded(
    api: ManagerApi,
    operation: Callable[Concatenate[ManagerApi, _P], _R],
    /,  # a hook point may have a parameter of one of these names
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> _R:
    """Forward a call; an ``api`` that is no ``Forwarder`` has to implement the operation itself."""
    name = operation.__name__
    if not hasattr(api, "forward"):
        raise NotImplementedError(
            f"{type(api).__name__} does not implement {name}(), an operation of ManagerApi"
        )
    expected = cast("type[_R]", _types_of(name)["return"])
    return cast("Forwarder", api).forward(Call(name, args, kwargs), expected)


@functools.cache
def _types_of(operation: str) -> dict[str, object]:
    """Return the types of an operation's arguments, of ``*args`` together, and of its result (``return``)."""
    types: dict[str, object] = get_type_hints(getattr(ManagerApi, operation))
    for name, parameter in _OPERATIONS[operation].parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            types[name] = GenericAlias(tuple, (types[name], ...))
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            types[name] = GenericAlias(dict, (str, types[name]))
    return types


_OPERATIONS = {
    name: inspect.signature(operation)
    for name, operation in vars(ManagerApi).items()
    if inspect.isfunction(operation) and not name.startswith("_") and name != "subscribe"
}
