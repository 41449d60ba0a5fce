import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.api import Call
from hotload_tui.core.errors import HotloadError, RefusedError
from hotload_tui.core.events import AnyEvent, PluginLoaded
from hotload_tui.core.model import PluginStatus, Snapshot
from hotload_tui.core.primitives import Thread
from hotload_tui.remote import RemoteManager, Server, serve, wire
from tests.conftest import Running, Workspace
from tests.remote.conftest import hotload_threads, say
from tests.waiting import PATIENCE, until

Connect = Callable[[Server], RemoteManager]
HELLO = wire.encode(wire.Hello(wire.VERSION))


@pytest.fixture
def visitor(server: Server) -> Iterator[socket.socket]:
    """Yield a raw connection to the server."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(server.socket))
        yield connection


def framed(payload: bytes) -> bytes:
    """Prefix a message with its length."""
    return struct.pack(">I", len(payload)) + payload


def rest_of(connection: socket.socket) -> bytes:
    """Read until the server hangs up."""
    pieces = b""
    while piece := connection.recv(65536):
        pieces += piece
    return pieces


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"is announced"),
        (b"\xff\xff\xff\xff", b"is announced"),
        (framed(b""), b"does not follow the protocol"),
        (framed(b"\xc1\xc1"), b"does not follow the protocol"),
        (framed(wire.encode(wire.Hello(99))), b"the client 99: use the same version"),
        (framed(wire.encode(Call("snapshot"))), b"does not follow the protocol"),
        (framed(HELLO) + framed(b"\x81\xa4type\xa4melt"), b"does not follow the protocol"),
        (framed(HELLO) + framed(wire.encode({"type": "enable"})), b"does not follow the protocol"),
        (framed(HELLO) + framed(HELLO), b"does not follow the protocol"),
        (framed(HELLO) + framed(b"\x91" * 100_000), b"does not follow the protocol"),
        (framed(HELLO) + framed(wire.encode(Call("snapshot"))) + b"\0\0\0\x09half", b"broke off"),
        (b"\0\0", b"broke off"),
        (b"", b""),
    ],
)
def test_bad_input_ends_its_own_connection_only(
    server: Server, visitor: socket.socket, connect: Connect, sent: bytes, said: bytes
) -> None:
    """A client that sends nonsense gets the reason and is disconnected, and other clients go on."""
    other = connect(server)
    visitor.sendall(sent)
    visitor.shutdown(socket.SHUT_WR)
    assert said in rest_of(visitor)
    assert other.invoke("greet", "Ada").values == ("Hello, Ada",)
    assert connect(server).invoke("greet", "Bob").values == ("Hello, Bob",)


def test_a_client_that_leaves_is_forgotten(server: Server) -> None:
    """More connections than the limit work one after the other, because each is forgotten at its end."""
    for _ in range(100):  # more than the limit of simultaneous ones
        with RemoteManager(server.socket) as remote:
            assert remote.snapshot().host.pid == os.getpid()


def test_too_many_clients_are_turned_away(server: Server, connect: Connect) -> None:
    """A client beyond the limit gets the reason; earlier clients go on, and the threads stay few."""
    inside = connect(server)
    flood = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(80)]
    for connection in flood:
        connection.settimeout(PATIENCE)
        connection.connect(str(server.socket))
    assert b"the host has 64 connections already" in rest_of(flood[65])
    assert hotload_threads().count("hotload-client") <= 64
    assert inside.invoke("greet", "Ada").values == ("Hello, Ada",)
    for connection in flood:
        connection.close()


def test_a_host_without_room_for_threads_serves_again_later(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While the system gives no more threads, a client is hung up on; the next one is served."""

    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        with socket.socket(socket.AF_UNIX) as refused:
            refused.settimeout(PATIENCE)
            refused.connect(str(server.socket))
            assert rest_of(refused) == b""
    assert "a client could not be served: can't start new thread" in caplog.text
    assert connect(server).invoke("greet", "Ada").values == ("Hello, Ada",)


def test_idle_connections_make_room(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new client takes the place of the longest idle one, which connects again when it is used."""
    monkeypatch.setattr("hotload_tui.remote.server._SPARED", 0.0)
    first = connect(server)
    for _ in range(70):
        assert connect(server).invoke("greet", "Ada").values == ("Hello, Ada",)
    assert first.invoke("greet", "Bob").values == ("Hello, Bob",)


def test_closing_leaves_nothing(manager: HotloadManager) -> None:
    """After ``close()`` the socket is gone, clients are disconnected and no thread is left; twice is fine."""
    server = serve(manager)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.settimeout(PATIENCE)
        visitor.connect(str(server.socket))
        wire.send(visitor, HELLO)
        assert wire.receive(visitor, PATIENCE) is not None
        server.close()
        assert visitor.recv(1) == b""
    assert not server.socket.exists()
    until(lambda: hotload_threads() == [], lambda: str(hotload_threads()))
    server.close()


SLOW = """
import threading

inside, gate = threading.Event(), threading.Event()


def register(ctx):
    ctx.hook("slow", lambda: inside.set() or gate.wait(20) and "done")
    ctx.hook("wait", lambda: inside.wait(20))
    ctx.hook("open", gate.set)
"""


def test_a_call_under_way_is_answered_before_the_end(workspace: Workspace, manager: HotloadManager) -> None:
    """A slow call that began before the host closes still returns its value."""
    workspace["slow"] = SLOW
    manager.rebuild()
    server = serve(manager)
    answers: list[object] = []
    with RemoteManager(server.socket) as remote, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as idle:
        caller = threading.Thread(target=lambda: answers.extend(remote.invoke("slow").values))
        caller.start()
        assert manager.invoke("wait").values == (True,)
        idle.settimeout(PATIENCE)
        idle.connect(str(server.socket))
        wire.send(idle, HELLO)
        assert wire.receive(idle, PATIENCE) is not None
        closer = threading.Thread(target=server.close)
        closer.start()
        assert idle.recv(1) == b""  # the host disconnects the later client, so the slow call has begun
        manager.invoke("open")
        caller.join(PATIENCE)
        closer.join(PATIENCE)
    assert answers == ["done"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (Call("explode"), "there is no operation 'explode'"),
        (Call("subscribe", (1,)), "there is no operation 'subscribe'"),
        (Call("__init__"), "there is no operation '__init__'"),
        (Call("detail"), "the arguments of detail do not fit: missing a required argument: 'name'"),
        (Call("detail", (1,)), "name, an argument of detail, does not fit: Expected `str`, got `int`"),
        (Call("rebuild", ("greet", 1)), "others, an argument of rebuild, does not fit: Expected `str`"),
        (Call("rebuild", (None,), {"force": "yes"}), "Expected `bool`, got `str`"),
        (Call("rebuild", (None,), {"gently": True}), "got an unexpected keyword argument 'gently'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(visitor: socket.socket, call: Call, said: str) -> None:
    """A call that does not fit is refused with the reason, and the connection can still be used."""
    visitor.sendall(framed(HELLO) + framed(wire.encode(call)) + framed(wire.encode(Call("log"))))
    assert isinstance(wire.decode(wire.receive(visitor, PATIENCE) or b"", wire.REPLY), wire.Welcome)
    failed = wire.decode(wire.receive(visitor, PATIENCE) or b"", wire.REPLY)
    assert isinstance(failed, wire.Failed)
    assert (failed.error, said in failed.text) == ("ProtocolError", True), failed.text
    assert isinstance(wire.decode(wire.receive(visitor, PATIENCE) or b"", wire.REPLY), wire.Done)


@pytest.mark.parametrize(
    "call",
    [
        Call("rebuild", ("greet",), {"force": True}),
        Call("rebuild", (), {"name": "greet"}),
        Call("rebuild", (None,), {"force": True}),
    ],
)
def test_a_client_may_pass_one_name_to_a_rebuild(visitor: socket.socket, call: Call) -> None:
    """The host carries out the calls of clients that know only one name, or ``None`` for all plugins."""
    visitor.sendall(framed(HELLO) + framed(wire.encode(call)))
    assert isinstance(wire.decode(wire.receive(visitor, PATIENCE) or b"", wire.REPLY), wire.Welcome)
    done = wire.decode(wire.receive(visitor, PATIENCE) or b"", wire.REPLY)
    assert isinstance(done, wire.Done)
    (status,) = wire.decode(done.result, tuple[PluginStatus, ...])
    assert (status.name, status.generation) == ("greet", 2)


def test_a_live_socket_is_not_taken_over(manager: HotloadManager, server: Server, connect: Connect) -> None:
    """A second server for the same folder in one process is refused, and the first one goes on."""
    with pytest.raises(RefusedError, match="already has a server"):
        serve(manager)
    assert connect(server).snapshot().host.pid == os.getpid()


def test_a_stale_socket_is_replaced(manager: HotloadManager, connect: Connect) -> None:
    """The leftover socket of a killed host with the same process id is replaced."""
    first = serve(manager)
    first.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(first.socket))
    with serve(manager) as server:
        assert server.socket == first.socket
        assert connect(server).invoke("greet", "Ada").values == ("Hello, Ada",)


def test_a_file_in_place_of_the_socket_folder_is_reported(manager: HotloadManager, sockets: Path) -> None:
    """A file in the place of the folder is named in the error and left untouched."""
    sockets.write_text("mine")
    with pytest.raises(RefusedError, match=f"{sockets}: "):
        serve(manager)
    assert sockets.read_text() == "mine"


@pytest.mark.parametrize("kind", [ZeroDivisionError, GeneratorExit])
def test_a_defect_of_the_host_reaches_the_client(
    workspace: Workspace, connect: Connect, kind: type[BaseException]
) -> None:
    """Whatever a request raises in the host is reported to the client, and the connection goes on."""

    class Defective(HotloadManager):
        def snapshot(self) -> Snapshot:
            raise kind("oops")

    with serve(Defective(HookHost(), workspace.config()), project=workspace.plugins) as server:
        remote = connect(server)
        with pytest.raises(HotloadError, match=f"the host failed on snapshot: {kind.__name__}: oops"):
            remote.snapshot()
        assert remote.log() == ()


def test_an_answer_beyond_the_limit_is_refused(
    workspace: Workspace,
    run: Callable[[Config], Running],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that is too large causes an error, and the connection goes on."""
    workspace["long"] = "def register(ctx):\n    ctx.hook('x', str)\n# " + "x" * 5000
    manager = run(workspace.config()).manager
    with serve(manager) as server:
        remote = connect(server)
        monkeypatch.setattr(wire, "LIMIT", 4000)
        with pytest.raises(RefusedError, match=r"the answer has 5,\d+ bytes \(limit: 4,000\)"):
            remote.source("long", "plugin.py")
        assert remote.clean("long") == 1


def test_a_message_that_does_not_get_on_ends_its_connection(
    server: Server, visitor: socket.socket, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not finish its message is disconnected after a while, and others are not delayed."""
    monkeypatch.setattr(wire, "PATIENCE", 0.1)
    visitor.sendall(framed(HELLO) + b"\0\0\0\x09half")
    assert connect(server).invoke("greet", "Ada").values == ("Hello, Ada",)
    assert b"a message of 9 bytes was incomplete after 0.1 s: 4 bytes" in rest_of(visitor)


def test_a_listener_that_does_not_read_is_hung_up_on(
    server: Server, visitor: socket.socket, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener that does not read is disconnected, and other listeners still receive events."""
    monkeypatch.setattr(wire, "PATIENCE", 0.1)
    other = connect(server)
    heard: list[AnyEvent] = []
    other.subscribe(heard.append)
    visitor.sendall(framed(HELLO) + framed(wire.encode(wire.Listen())))
    assert select.select([visitor], [], [], PATIENCE)[0]  # a server thread has answered it
    served = hotload_threads().count("hotload-client")

    def is_alone() -> bool:
        say("x" * 4000)
        return hotload_threads().count("hotload-client") < served

    until(is_alone)
    other.rebuild(force=True)
    assert [event.generation for event in heard if isinstance(event, PluginLoaded)] == [2]


def test_a_listener_may_only_listen(server: Server, visitor: socket.socket, connect: Connect) -> None:
    """Any message on a listening connection ends it with the reason, and other clients go on."""
    visitor.sendall(framed(HELLO) + framed(wire.encode(wire.Listen())) + framed(HELLO))
    assert b"only the host sends on a connection" in rest_of(visitor)
    assert connect(server).invoke("greet", "Ada").values == ("Hello, Ada",)
