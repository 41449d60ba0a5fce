"""What host and client say to each other.

A client says ``Hello``; the host answers ``Welcome`` or ``Failed``. From then on each request gets one reply,
``Done`` or ``Failed``, in order. After ``Listen`` the connection belongs to the host, which says on it::

    State       first, and again for a client that fell behind: the whole state, and the number it stands at
    Events      what happened next, numbered without gaps
    Beat        nothing happened; the host is alive
    Farewell    the host stops serving in good order; a connection that ends without it was cut

Commands are given on other connections, so that no event waits for an answer, and no answer for an event.
"""

from __future__ import annotations

from typing import Final, TypeAlias, cast

from msgspec import Raw, Struct

from hotload_tui.core.errors import HotloadError, PluginError
from hotload_tui.core.events import AnyEvent
from hotload_tui.core.plugin import Snapshot
from hotload_tui.remote import frames
from hotload_tui.remote.questions import Question

VERSION: Final = 4
"""Both sides must speak the same; it changes whenever a message, an event or a record does."""

BEAT: Final = 0.5
"""Seconds between two signs of life of a host in which nothing happens."""


class Hello(Struct, frozen=True, tag="hello"):
    """A client's first message."""

    version: int


class Welcome(Struct, frozen=True, tag="welcome"):
    """The host's answer to a client that it understands."""

    pid: int


class Done(Struct, frozen=True, tag="done"):
    """What the manager returned, encoded."""

    result: Raw
    after: int = 0
    """Number of the newest event when it returned: what a command did is told up to there."""


class Failed(Struct, frozen=True, tag="failed"):
    """What the manager raised; the last three are those of a ``PluginError``."""

    error: str
    text: str
    plugin: str = ""
    file: str = ""
    line: int = 0


class State(Struct, frozen=True, tag="state"):
    """The whole state, at least as new as event ``after``; the next events are those behind it."""

    after: int
    snapshot: Snapshot


class Events(Struct, frozen=True, tag="events"):
    """What happened, numbered ``first``, ``first + 1`` and so on."""

    first: int
    events: tuple[AnyEvent, ...]


class Beat(Struct, frozen=True, tag="beat"):
    """The host is alive."""


class Farewell(Struct, frozen=True, tag="farewell"):
    """The host stops serving in good order."""


class Listen(Struct, frozen=True, tag="listen"):
    """Ask for the state and all events from then on."""


Request: TypeAlias = Listen | Question
Reply: TypeAlias = Welcome | Done | Failed
News: TypeAlias = State | Events | Beat | Farewell | Failed


def request_of(payload: bytes) -> Request:
    """Read a request.

    Raises:
        ProtocolError: it is none.

    """
    return cast(Request, frames.decode(payload, Request))


def news_of(payload: bytes) -> News:
    """Read what the host says to a listener.

    Raises:
        ProtocolError: it is nothing of the kind.

    """
    return cast(News, frames.decode(payload, News))


def reply_of(payload: bytes) -> Reply:
    """Read a reply.

    Raises:
        ProtocolError: it is none.

    """
    return cast(Reply, frames.decode(payload, Reply))


def failure_of(error: HotloadError) -> Failed:
    """Describe an error so that the other side can raise it."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, PluginError):
        return Failed(kind, text, error.plugin, error.file, error.line)
    return Failed(kind, text)


def error_of(failure: Failed) -> HotloadError:
    """Return the error that the other side described; of an unknown class only the text is left."""
    kind = _error_classes().get(failure.error, HotloadError)
    if issubclass(kind, PluginError):
        return kind(failure.plugin, failure.text, file=failure.file, line=failure.line)
    return kind(failure.text)


def _error_classes() -> dict[str, type[HotloadError]]:
    found: list[type[HotloadError]] = [HotloadError]
    for kind in found:  # grows while it is walked
        found.extend(kind.__subclasses__())
    return {kind.__name__: kind for kind in found}
