"""A plugin's listening socket passes from version to version, and no connection is refused."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import cast

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginFailed
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace
from tests.core.conftest import retired
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]

THREAD = """
def register(ctx):
    listening = ctx.listen("127.0.0.1", {port})
    listening.settimeout(0.01)
    ctx.hook("port", lambda: listening.getsockname()[1])

    @ctx.thread
    def serve(stop):
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            with connection:
                connection.sendall(b"{version}")
{more}
"""

ASYNC = """
import asyncio

async def answer(reader, writer):
    writer.write(b"{version}")
    writer.close()

def register(ctx):
    listening = ctx.listen("127.0.0.1", {port})
    ctx.hook("port", lambda: listening.getsockname()[1])

    @ctx.task
    async def serve():
        async with await asyncio.start_server(answer, sock=listening) as server:
            await server.serve_forever()
{more}
"""


def server(version: str, more: str = "", kind: str = THREAD) -> str:
    """Return a plugin that answers each connection with its version."""
    return kind.format(version=version, port=0, more=more)


def answer(port: int) -> str:
    """Return what the server at a port says."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        return connection.recv(100).decode()


def is_free(port: int) -> bool:
    """Return whether nothing listens at a port."""
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def save(running: Running, workspace: Workspace, source: str) -> None:
    """Replace the plugin by another version, if that goes live."""
    workspace["greet"] = source
    running.manager.scan_and_load_all()


class Client:
    """Connects to a port again and again in a thread, and counts the answers and the failures."""

    def __init__(self, port: int) -> None:
        self.answers: list[str] = []
        self.failures: list[Exception] = []
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(answer(self._port))
            except Exception as error:
                self.failures.append(error)

    def stop(self) -> None:
        """Stop, and wait for the last answer."""
        self._stop.set()
        self._thread.join()


def test_no_connection_is_refused_during_reloads(workspace: Workspace, run: Run) -> None:
    """A client that connects without pause gets an answer each time, through good and bad reloads."""
    workspace["greet"] = server("0")
    running = run(workspace.config())
    (port,) = running.host.call("port")
    assert isinstance(port, int)
    client = Client(port)
    try:
        assert running.wait_for(lambda: client.answers != [])
        for number in range(1, 6):
            save(running, workspace, server(str(number)))
            assert running.status("greet").state is PluginState.OK, running.said()
            assert running.wait_for(lambda last=str(number): client.answers[-1:] == [last])  # type: ignore[misc]
            save(
                running,
                workspace,
                server("bad", ("    raise ValueError", "    ctx.own('it', int, 1)")[number % 2]),
            )
            assert running.status("greet").state is PluginState.STALE
    finally:
        client.stop()
    assert (client.failures, running.host.call("port")) == ([], [port])
    assert list(dict.fromkeys(client.answers)) == ["0", "1", "2", "3", "4", "5"]
    assert all(event.fault.phase == "register" for event in running.told(PluginFailed))


def test_the_socket_suits_every_kind_of_server(workspace: Workspace, run: Run) -> None:
    """Versions with an event loop and versions with a thread pass the same socket on to each other."""
    workspace["greet"] = server("0", kind=ASYNC)
    running = run(workspace.config())
    (port,) = running.host.call("port")
    assert isinstance(port, int)
    assert answer(port) == "0"
    for number in range(1, 5):
        save(running, workspace, server(str(number), kind=(ASYNC, THREAD)[number % 2]))
        assert answer(port) == str(number)
    assert running.told(PluginFailed) == []


DETACHING = """
import socket

def register(ctx):
    listening = ctx.listen("127.0.0.1", {port})
    ctx.hook("port", lambda: {port})

    @ctx.thread
    def serve(stop):
        with socket.socket(fileno=listening.detach()) as own:
            own.settimeout(0.01)
            while not stop.is_set():
                try:
                    connection, _ = own.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(b"{version}")
{more}
"""


@pytest.mark.parametrize("kind", [ASYNC, DETACHING], ids=["an event loop closes it", "detached"])
def test_a_server_that_closes_its_socket_serves_again_after_a_failed_hand_over(
    workspace: Workspace, run: Run, kind: str
) -> None:
    """The socket of the version that stays live is open again before its threads and tasks start again."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    workspace["greet"] = kind.format(version="a", port=port, more="")
    running = run(workspace.config())
    assert answer(port) == "a"
    for _ in range(2):
        failing = kind.format(version="b", port=port, more="    ctx.own('it', lambda: 1 / 0)")
        save(running, workspace, failing)
        running.manager.rebuild("greet")
        assert running.status("greet").state is PluginState.STALE
        assert answer(port) == "a"
    assert all(event.fault.phase == "register" for event in running.told(PluginFailed))
    save(running, workspace, kind.format(version="c", port=port, more=""))
    assert answer(port) == "c"
    running.manager.disable("greet")
    assert is_free(port)


WAY_OUT = "to bind this port otherwise, disable and enable the plugin"
TWO = """
def register(ctx):
    sockets = [ctx.listen("127.0.0.1", 0) for _ in range({count})]
    ctx.hook("ports", lambda: [each.getsockname()[1] for each in sockets])
"""


def test_each_call_with_port_0_gets_a_port_of_its_own(workspace: Workspace, run: Run) -> None:
    """A plugin with two servers at free ports has two ports, the same ones in each version."""
    workspace["greet"] = TWO.format(count=2)
    running = run(workspace.config())
    (ports,) = running.host.call("ports")
    first, second = cast("list[int]", ports)
    assert first != second
    running.manager.rebuild("greet", force=True)
    assert running.host.call("ports") == [[first, second]]
    save(running, workspace, TWO.format(count=1))
    assert running.host.call("ports") == [[first]]
    assert running.wait_for(lambda: is_free(second))  # as soon as the previous version has retired


def free_ports(count: int = 1) -> list[int]:
    """Return numbers of ports that are free."""
    with contextlib.ExitStack() as found:
        sockets = [found.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@pytest.mark.parametrize("head", ["", "RELOAD = 'replace'"])
@pytest.mark.parametrize(
    "line",
    [
        "ctx.listen('0.0.0.0', {port})",
        "ctx.own('it', lambda: socket.create_server(('127.0.0.1', {port})), socket.socket.close)",
    ],
)
def test_a_version_may_bind_the_port_in_another_way(
    workspace: Workspace, run: Run, head: str, line: str
) -> None:
    """The socket of the previous version closes before the new version binds the port otherwise."""
    (port,) = free_ports()
    source = head + "\nimport socket\ndef register(ctx):\n    "
    workspace["greet"] = f"{source}ctx.listen('127.0.0.1', {port})\n"
    running = run(workspace.config())
    save(running, workspace, source + line.format(port=port))
    assert running.status("greet").state is PluginState.OK, running.said()
    assert not is_free(port)


def test_a_port_that_hotload_keeps_names_the_way_out(workspace: Workspace, run: Run) -> None:
    """A version that binds the kept port at its import cannot have it; the usual hint would not help."""
    (port,) = free_ports()
    head = "RELOAD = 'replace'\nimport socket\n"
    workspace["greet"] = f"{head}def register(ctx): ctx.listen('127.0.0.1', {port})\n"
    running = run(workspace.config())
    claim = f"OWN = socket.create_server(('127.0.0.1', {port}))"
    save(running, workspace, f"{head}{claim}\ndef register(ctx): ctx.on_unload(OWN.close)\n")
    assert running.status("greet").state is PluginState.STALE
    assert list(running.fault("greet").notes) == [f"hotload keeps 127.0.0.1:{port} for ctx.listen; {WAY_OUT}"]
    running.manager.disable("greet")
    running.manager.enable("greet")
    assert running.status("greet").state is PluginState.OK


@pytest.mark.parametrize("taken", ["in use", "unknown"])
def test_a_port_that_cannot_be_bound_is_a_fault_at_its_line(
    workspace: Workspace, run: Run, taken: str
) -> None:
    """The port is bound at the swap; the fault shows the line of the call, and the old version stays."""
    workspace["greet"] = server("a")
    running = run(workspace.config())
    (port,) = running.host.call("port")
    assert isinstance(port, int)
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1] if taken == "in use" else 70_000
        save(running, workspace, THREAD.format(version="b", port=number, more=""))
        fault = running.fault("greet")
        assert (running.status("greet").state, fault.phase) == (PluginState.STALE, "register")
        assert f"ctx.listen('127.0.0.1', {number}): " in fault.message
        assert fault.place is not None
        assert fault.place.line == 3
        assert answer(port) == "a"
    assert running.told(PluginFailed)[0].fault.phase == "register"


@pytest.mark.parametrize("fails", [False, True])
def test_plugins_exchange_ports_in_one_batch(workspace: Workspace, run: Run, *, fails: bool) -> None:
    """Both plugins go live with each other's port, or, if one of them fails, both go on with their own."""
    one, two = free_ports(2)

    def exchange(version: str, first: int, second: int, more: str = "") -> None:
        workspace["greet"] = THREAD.format(version=f"greet {version}", port=first, more="")
        workspace["other"] = THREAD.format(version=f"other {version}", port=second, more=more)

    exchange("a", one, two)
    running = run(workspace.config())
    exchange("b", two, one, "    ctx.own('it', lambda: 1 / 0)" if fails else "")
    running.manager.scan_and_load_all()
    expected = ["greet a", "other a"] if fails else ["other b", "greet b"]
    assert [answer(one), answer(two)] == expected
    state = PluginState.STALE if fails else PluginState.OK
    assert [running.status(name).state for name in ("greet", "other")] == [state, state]


def test_a_failed_trial_takes_no_port(workspace: Workspace, run: Run) -> None:
    """While ``register`` runs, the port is free; a server may even be activated there."""
    (port,) = free_ports()
    source = (
        "import socket\ndef register(ctx):\n    listening = ctx.listen('127.0.0.1', {port})\n"
        "    listening.listen(5)\n    socket.create_server(('127.0.0.1', {port})).close()\n"
        "    ctx.hook('port', lambda: listening.getsockname()[1])\n"
    )
    workspace["greet"] = source.format(port=port)
    running = run(workspace.config())
    assert (running.host.call("port"), running.status("greet").state) == ([port], PluginState.OK)
    assert not is_free(port)


def test_the_port_is_free_without_a_version_that_listens(workspace: Workspace, run: Run) -> None:
    """Disabling, stopping and a version that does not listen close the port."""
    workspace["greet"] = server("a")
    running = run(workspace.config())
    (port,) = running.host.call("port")
    assert isinstance(port, int)
    assert not is_free(port)
    running.manager.disable("greet")
    assert is_free(port)
    running.manager.enable("greet")
    (port,) = running.host.call("port")
    assert isinstance(port, int)
    assert answer(port) == "a"
    save(running, workspace, "def register(ctx): ...")
    assert retired(running, times=2).memory == "freed"
    assert is_free(port)


@pytest.mark.parametrize("end", ["raise ValueError", "ctx.own('it', lambda: 1 / 0)"])
def test_a_failed_load_leaves_no_socket(workspace: Workspace, run: Run, end: str) -> None:
    """A first version that fails after ``ctx.listen`` leaves the port free."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    workspace["greet"] = THREAD.format(version="a", port=port, more=f"    {end}")
    running = run(workspace.config())
    assert running.status("greet").state is PluginState.FAIL
    assert is_free(port)
    save(running, workspace, THREAD.format(version="b", port=port, more=""))
    assert answer(port) == "b"
