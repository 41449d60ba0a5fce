"""How messages travel: a length (4 bytes, big-endian) and msgpack, in both directions the same."""

from __future__ import annotations

import socket
import struct
import time
from types import UnionType
from typing import Final, TypeVar, overload

import msgspec
from msgspec import Raw

from hotload_tui.core.errors import ProtocolError

LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a message."""

PATIENCE: Final = 10.0
"""Seconds that the rest of a started message may take."""

_HEAD: Final = struct.Struct(">I")
_PIECE: Final = 1024 * 1024
_INSTANT: Final = 0.001  # seconds; 0 would mean not to wait at all
_BIG_INT: Final = 1  # msgpack extension: an integer beyond 64 bits, in decimal digits
_T = TypeVar("_T")


def encode(message: object) -> bytes:
    """Encode a message; what msgpack cannot carry (huge integers, broken Unicode) goes by a detour."""
    try:
        return msgspec.msgpack.encode(message)
    except (OverflowError, UnicodeEncodeError):
        return msgspec.msgpack.encode(_portable(msgspec.to_builtins(message)))


@overload
def decode(payload: bytes | Raw, expected: type[_T]) -> _T: ...
@overload
def decode(payload: bytes | Raw, expected: UnionType) -> object: ...
def decode(payload: bytes | Raw, expected: object) -> object:
    """Decode a message.

    Raises:
        ProtocolError: it is none of the expected kind.

    """
    try:
        message: object = msgspec.msgpack.decode(payload, type=expected, ext_hook=_extension)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message is not as the protocol has it: {error}") from error
    return message


def send(connection: socket.socket, payload: bytes) -> None:
    """Send one message.

    Raises:
        ProtocolError: it is too large.

    """
    if len(payload) > LIMIT:
        raise ProtocolError(f"a message of {len(payload):,} bytes is too large (limit: {LIMIT:,})")
    connection.sendall(_HEAD.pack(len(payload)) + payload)


def receive(connection: socket.socket, wait: float | None) -> bytes | None:
    """Return the next message, or ``None`` at the end; ``wait`` is for its first byte, in seconds.

    Raises:
        ProtocolError: the message is too large, breaks off or does not get on.
        TimeoutError: nothing came in time.

    """
    connection.settimeout(wait)
    head = connection.recv(_HEAD.size)
    if not head:
        return None
    deadline = time.monotonic() + PATIENCE
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
        connection.settimeout(max(deadline - time.monotonic(), _INSTANT))
        try:
            piece = connection.recv(min(size - len(pieces), _PIECE))
        except TimeoutError as error:
            raise ProtocolError(
                f"a message of {size:,} bytes was not there after {PATIENCE:g} s (only {len(pieces):,})"
            ) from error
        if not piece:
            raise ProtocolError(f"a message broke off after {len(pieces):,} of {size:,} bytes")
        pieces += piece
    return bytes(pieces)


def _portable(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case int() if value.bit_length() >= 64:  # noqa: PLR2004 - what fits is sent as it is
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
