import socket
import struct
from collections.abc import Iterator

import pytest

from hotload_tui.core.errors import ProtocolError
from hotload_tui.core.model import Invocation
from hotload_tui.remote import wire


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a connection."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_a_message_arrives_as_it_was_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    """Messages arrive separately and in order, and the end of the connection is ``None``."""
    left, right = pair
    wire.send(left, b"one")
    wire.send(left, b"")
    left.close()
    assert [wire.receive(right, 1.0) for _ in range(3)] == [b"one", b"", None]


def test_a_message_that_breaks_off_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    """A message that breaks off is an error, not a shorter message."""
    left, right = pair
    left.sendall(struct.pack(">I", 10) + b"half")
    left.close()
    with pytest.raises(ProtocolError, match="broke off after 4 of 10 bytes"):
        wire.receive(right, 1.0)


def test_a_huge_message_is_refused_before_it_is_read(pair: tuple[socket.socket, socket.socket]) -> None:
    """An announced size beyond the limit is refused before the message is read."""
    left, right = pair
    left.sendall(struct.pack(">I", 0xFFFFFFFF))
    with pytest.raises(ProtocolError, match="4,294,967,295 bytes is announced"):
        wire.receive(right, 1.0)


def test_a_huge_message_is_not_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    """The sender also refuses a message beyond the limit."""
    with pytest.raises(ProtocolError, match="too large"):
        wire.send(pair[0], bytes(wire.LIMIT + 1))


def test_waiting_has_an_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """Receiving from a silent peer ends at the time limit."""
    with pytest.raises(TimeoutError):
        wire.receive(pair[0], 0.01)


def test_huge_numbers_and_broken_texts_travel() -> None:
    """Huge numbers are transmitted exactly, and broken Unicode in a readable form."""
    sent = Invocation(({"n": [10**40, -(10**40), 2**63]}, "file-\udcff", 1.5, None), (), (0.5,))
    assert wire.decode(wire.encode(sent), Invocation).values == (
        {"n": [10**40, -(10**40), 2**63]},
        "file-\\udcff",
        1.5,
        None,
    )


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x81", b"\x91" * 100_000, b"\xc7\x01\x07x"])
def test_a_malformed_message_is_an_error(payload: bytes) -> None:
    """Bytes that are no message cause one clear error."""
    with pytest.raises(ProtocolError, match="does not follow the protocol"):
        wire.decode(payload, Invocation)
