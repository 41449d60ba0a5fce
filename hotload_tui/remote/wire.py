"""The messages between host and client, and their encoding.

A message is a length (4 bytes, big-endian) and a msgpack value. A client sends ``Hello``; the host answers
``Welcome`` or ``Failed``. After that each request gets one reply, ``Done`` or ``Failed``, in order. After
``Listen`` only the host sends on the connection::

    State       first, and again for a client that fell behind: the whole state, and its event number
    Events      the next events, numbered without gaps
    Beat        nothing happened; the host is alive
    Farewell    the host closes its server; a connection that ends without it was cut

Commands use other connections, so that no event waits for an answer, and no answer for an event.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.msgpack import Decoder

from hotload_tui.core.api import Call
from hotload_tui.core.errors import HotloadError, PluginError, ProtocolError
from hotload_tui.core.events import AnyEvent
from hotload_tui.core.model import Snapshot
from hotload_tui.core.primitives import monotonic

LIMIT: Final = 64 * 1024 * 1024
"""Maximum size of a message in bytes."""

PATIENCE: Final = 10.0
"""Seconds that the rest of a message may take after its first byte."""

_HEAD: Final = struct.Struct(">I")
_PIECE: Final = 1024 * 1024
_INSTANT: Final = 0.001  # seconds; 0 would make the socket non-blocking
_BIG_INT: Final = 1  # msgpack extension code: an integer beyond 64 bits, in decimal digits
_T = TypeVar("_T")


def encode(message: object) -> bytes:
    """Encode a message; huge integers go as an extension type, and broken Unicode as escapes."""
    try:
        return msgspec.msgpack.encode(message)
    except (OverflowError, UnicodeEncodeError):
        return msgspec.msgpack.encode(_portable(msgspec.to_builtins(message)))


def decode(payload: bytes | Raw, expected: type[_T] | Decoder[_T]) -> _T:
    """Decode a message.

    Raises:
        ProtocolError: the payload is not a message of the expected type.

    """
    decoder = expected if isinstance(expected, Decoder) else Decoder(expected, ext_hook=_extension)
    try:
        return decoder.decode(payload)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message does not follow the protocol: {error}") from error


def send(connection: socket.socket, payload: bytes) -> None:
    """Send one message.

    Raises:
        ProtocolError: the message is too large.

    """
    if len(payload) > LIMIT:
        raise ProtocolError(f"a message of {len(payload):,} bytes is too large (limit: {LIMIT:,})")
    connection.sendall(_HEAD.pack(len(payload)) + payload)


def receive(connection: socket.socket, wait: float | None) -> bytes | None:
    """Return the next message, or ``None`` at the end of the connection.

    ``wait`` is the limit in seconds for its first byte; ``None`` waits without a limit.

    Raises:
        ProtocolError: the message is too large, breaks off, or takes longer than ``PATIENCE``.
        TimeoutError: no byte arrived in time.

    """
    connection.settimeout(wait)
    head = connection.recv(_HEAD.size)
    if not head:
        return None
    deadline = monotonic() + PATIENCE
    head += _exactly(connection, _HEAD.size - len(head), deadline)
    size: int = _HEAD.unpack(head)[0]
    if size > LIMIT:
        raise ProtocolError(f"a message of {size:,} bytes is announced (limit: {LIMIT:,})")
    message = _exactly(connection, size, deadline)
    connection.settimeout(PATIENCE)  # for the answer
    return message


def _exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Read in pieces, so that an announced length alone reserves no memory."""
    pieces = bytearray()
    while len(pieces) < size:
        connection.settimeout(max(deadline - monotonic(), _INSTANT))
        try:
            piece = connection.recv(min(size - len(pieces), _PIECE))
        except TimeoutError as error:
            raise ProtocolError(
                f"a message of {size:,} bytes was incomplete after {PATIENCE:g} s: {len(pieces):,} bytes"
            ) from error
        if not piece:
            raise ProtocolError(f"a message broke off after {len(pieces):,} of {size:,} bytes")
        pieces += piece
    return bytes(pieces)


def _portable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case int() if value.bit_length() >= 64:  # noqa: PLR2004 - smaller integers need no extension
            return msgspec.msgpack.Ext(_BIG_INT, str(value).encode())
        case dict():
            return {_portable(key): _portable(item) for key, item in value.items()}
        case list() | tuple():
            return [_portable(item) for item in value]
        case _:
            return value


def _extension(code: int, payload: memoryview) -> object:
    if code != _BIG_INT:
        raise ValueError(f"unknown extension {code}")
    return int(payload.tobytes())


VERSION: Final = 5
"""Both sides must use the same version; it changes with every change of a message, an event or a record."""

BEAT: Final = 0.5
"""Seconds between two ``Beat`` messages while nothing happens."""


class Hello(Struct, frozen=True, tag="hello"):
    """A client's first message."""

    version: int


class Welcome(Struct, frozen=True, tag="welcome"):
    """The host's answer to a client of the same protocol version."""

    pid: int


class Done(Struct, frozen=True, tag="done"):
    """The manager's result, encoded."""

    result: Raw
    after: int = 0
    """Number of the newest event when the manager returned; the client waits for it after a command."""


class Failed(Struct, frozen=True, tag="failed"):
    """The error that the manager raised; only a ``PluginError`` sets ``plugin``, ``file`` and ``line``."""

    error: str
    text: str
    plugin: str = ""
    file: str = ""
    line: int = 0


class State(Struct, frozen=True, tag="state"):
    """The whole state, at least as new as event ``after``; the next message continues after that event."""

    after: int
    snapshot: Snapshot


class Events(Struct, frozen=True, tag="events"):
    """Events with the numbers ``first``, ``first + 1`` and so on."""

    first: int
    events: tuple[AnyEvent, ...]


class Beat(Struct, frozen=True, tag="beat"):
    """The host is alive."""


class Farewell(Struct, frozen=True, tag="farewell"):
    """The host closes its server in the normal way."""


class Listen(Struct, frozen=True, tag="listen"):
    """Request for the state and all later events."""


Request: TypeAlias = Listen | Call
Reply: TypeAlias = Welcome | Done | Failed
News: TypeAlias = State | Events | Beat | Farewell | Failed


REQUEST: Final[Decoder[Request]] = Decoder(Request, ext_hook=_extension)
REPLY: Final[Decoder[Reply]] = Decoder(Reply, ext_hook=_extension)
NEWS: Final[Decoder[News]] = Decoder(News, ext_hook=_extension)
"""What ``decode`` expects from a client, as an answer to it, and for a listener."""


def failure_of(error: HotloadError) -> Failed:
    """Convert an error to a message from which the other side can raise it."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, PluginError):
        return Failed(kind, text, error.plugin, error.file, error.line)
    return Failed(kind, text)


def error_of(failure: Failed) -> HotloadError:
    """Convert a message to the error that it describes; an unknown class becomes ``HotloadError``."""
    kind = _error_classes().get(failure.error, HotloadError)
    if issubclass(kind, PluginError):
        return kind(failure.plugin, failure.text, file=failure.file, line=failure.line)
    return kind(failure.text)


def _error_classes() -> dict[str, type[HotloadError]]:
    found: list[type[HotloadError]] = [HotloadError]
    for kind in found:  # the list grows during the loop
        found.extend(kind.__subclasses__())
    return {kind.__name__: kind for kind in found}
