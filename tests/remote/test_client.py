import inspect
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Raw

from hotload_tui import Config, HotloadManager
from hotload_tui.core.errors import NoHostError, ProtocolError, UsageError
from hotload_tui.remote import RemoteManager, Server, serve, wire
from hotload_tui.remote.client import QUERIES
from tests.conftest import Running, Workspace
from tests.waiting import PATIENCE

Connect = Callable[[Server], RemoteManager]

WAITING = """
import threading
released, entered = threading.Event(), threading.Event()

def wait():
    entered.set()
    return released.wait(20)

def register(ctx):
    ctx.hook("wait", wait)
    ctx.hook("entered", lambda: entered.wait(20))
    ctx.hook("release", released.set)
"""


@pytest.fixture
def remote(server: Server, connect: Connect) -> RemoteManager:
    """Return the manager as another process sees it."""
    return connect(server)


@pytest.mark.parametrize("query", sorted(QUERIES))
def test_a_query_is_answered_during_a_load(
    manager: HotloadManager, remote: RemoteManager, workspace: Workspace, query: str
) -> None:
    """The host answers each query, which has the shorter time limit, while a plugin is being loaded."""
    gate = workspace.root / "gate"
    os.mkfifo(gate)
    workspace["slow"] = f"with open({str(gate)!r}) as file:\n    file.read()\ndef register(ctx): ...\n"
    load = threading.Thread(target=manager.rebuild, args=("slow",))
    load.start()
    with gate.open("w"):  # opens when the plugin reads, which ends when this file is closed
        values = {"name": "greet", "file": "plugin.py"}
        parameters = inspect.signature(getattr(remote, query)).parameters
        arguments = [value for name, value in values.items() if name in parameters]
        assert getattr(remote, query)(*arguments) == getattr(manager, query)(*arguments)
        assert load.is_alive()
    load.join(PATIENCE)


@pytest.mark.parametrize("value", [10**40, "naïve 🐍", [1, {"a": None}], True, 1e300])
def test_values_cross_unchanged(
    workspace: Workspace, run: Callable[[Config], Running], connect: Connect, value: object
) -> None:
    """A JSON value reaches the handler and returns unchanged."""
    workspace["echo"] = "def register(ctx):\n    ctx.hook('echo', lambda value: value)\n"
    with serve(run(workspace.config()).manager) as server:
        assert connect(server).invoke("echo", value).values == (value,)


def test_an_argument_that_cannot_be_sent_is_refused(remote: RemoteManager) -> None:
    """An argument that cannot be sent is refused at once, and the connection goes on."""
    with pytest.raises(UsageError, match="an argument cannot be sent"):
        remote.invoke("greet", object())
    assert remote.invoke("greet", "Ada").values == ("Hello, Ada",)


def test_a_long_call_blocks_no_other_request(
    workspace: Workspace, run: Callable[[Config], Running], connect: Connect
) -> None:
    """While one thread waits for a slow handler, other threads can use the same client."""
    workspace["waiting"] = WAITING
    with serve(run(workspace.config()).manager) as server:
        remote = connect(server)
        values: list[object] = []
        caller = threading.Thread(target=lambda: values.extend(remote.invoke("wait").values))
        caller.start()
        assert remote.invoke("entered").values == (True,)
        assert remote.snapshot().plugins[0].name == "waiting"
        assert values == []
        remote.invoke("release")
        caller.join(PATIENCE)
        assert values == [True]


def test_a_host_that_ends_is_reported(server: Server, remote: RemoteManager) -> None:
    """After the host has ended, the next request and a new connection raise an error that says so."""
    server.close()
    with pytest.raises(NoHostError, match=r"hung up|no host answers"):
        remote.snapshot()
    with pytest.raises(NoHostError, match="no host answers: No such file"):
        RemoteManager(server.socket)


def test_a_host_that_hangs_is_not_waited_for_forever(tmp_path: Path, sockets: Path) -> None:
    """A host that accepts but does not answer causes an error after the time limit."""
    sockets.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(sockets / "s"))
        listener.listen()
        with pytest.raises(NoHostError, match=r"did not answer within 0\.05 s"):
            RemoteManager(sockets / "s", timeout=0.05)
    assert not (tmp_path / "s").exists()


def test_a_handler_that_hangs_is_not_waited_for_forever(
    workspace: Workspace, run: Callable[[Config], Running], connect: Connect
) -> None:
    """A call that exceeds its time limit raises an error, and the client can still be used."""
    workspace["waiting"] = WAITING
    with (
        serve(run(workspace.config()).manager) as server,
        RemoteManager(server.socket, work_timeout=0.05) as remote,
    ):
        with pytest.raises(NoHostError, match="busy, or a plugin hangs"):
            remote.invoke("wait")
        assert remote.snapshot().host.pid == os.getpid()
        connect(server).invoke("release")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"\xc0", "does not follow the protocol"),
        (wire.encode(wire.Failed("ProtocolError", "I speak protocol 2")), "I speak protocol 2"),
        (wire.encode(wire.Done(Raw(b"\xc0"))), "did not send its greeting"),
    ],
)
def test_a_foreign_program_at_the_socket_is_reported(sockets: Path, reply: bytes, told: str) -> None:
    """Another program at the socket, or a host of another version, causes an error that says so."""
    sockets.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(sockets / "s"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                wire.receive(connection, PATIENCE)
                wire.send(connection, reply)

        stranger = threading.Thread(target=answer)
        stranger.start()
        with pytest.raises(ProtocolError, match=told):
            RemoteManager(sockets / "s")
        stranger.join(PATIENCE)
