import os
import socket

import pytest

from hotload_tui import HotloadManager
from hotload_tui.core.errors import RefusedError
from hotload_tui.remote import RemoteManager, Server, wire
from hotload_tui.remote.address import check_peer
from tests.waiting import PATIENCE


def test_the_other_side_of_my_socket_is_me() -> None:
    """A connection between two processes of one user is accepted."""
    left, right = socket.socketpair()
    with left, right:
        check_peer(left)


def test_somebody_else_is_hung_up_on(
    server: Server, manager: HotloadManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer with another user id is refused with the reason."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.settimeout(PATIENCE)
        monkeypatch.setattr(os, "getuid", lambda: 2_000_000_000)
        visitor.connect(str(server.socket))
        wire.send(visitor, wire.encode(wire.Hello(wire.VERSION)))
        answer = wire.receive(visitor, PATIENCE)
        assert answer is not None
        failure = wire.decode(answer, wire.REPLY)
        assert isinstance(failure, wire.Failed)
        assert failure.error == "RefusedError"
        assert "not to you (2000000000)" in failure.text
    assert [plugin.name for plugin in manager.snapshot().plugins] == ["greet"]


def test_i_do_not_talk_to_a_host_of_somebody_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client refuses the socket of another user."""
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_000)
    with pytest.raises(RefusedError, match="belongs to user"):
        RemoteManager(server.socket)
