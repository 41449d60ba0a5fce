"""Events that a console receives through the socket, even when its host ends and another one starts."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

import pytest

from hotload_tui import HotloadManager
from hotload_tui.core.errors import NoHostError
from hotload_tui.core.events import (
    AnyEvent,
    Event,
    EventsMissed,
    HostLost,
    HostReached,
    HostResumed,
    HostStalled,
    PluginLoaded,
)
from hotload_tui.core.model import PluginState
from hotload_tui.remote import RemoteManager, Server, find_hosts, wire
from hotload_tui.remote import server as feed
from tests.conftest import Workspace
from tests.remote.conftest import say
from tests.waiting import PATIENCE, until

Connect = Callable[[Server], RemoteManager]

_E = TypeVar("_E", bound=Event)

HOST = """
import sys
from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.remote import serve

config = Config(runtime_dir=sys.argv[1], compiled_dir=sys.argv[2], enable_watch=False)
with HotloadManager(HookHost(), config) as manager, serve(manager):
    print("serves", flush=True)
    sys.stdin.read()
"""

FORKING = """
import os, signal

def fork():
    child = os.fork()
    while not child:
        signal.pause()
    return child

def register(ctx):
    ctx.hook("fork", fork)
"""


class Ears:
    """A subscriber that records all events and waits for expected ones."""

    def __init__(self, remote: RemoteManager) -> None:
        self.heard: list[AnyEvent] = []
        self.undo = remote.subscribe(self.heard.append)

    def all_of(self, kind: type[_E]) -> list[_E]:
        """Return the events of one kind."""
        return [event for event in list(self.heard) if isinstance(event, kind)]

    def wait_for(self, kind: type[_E]) -> _E:
        """Return the first event of a kind, and wait for it if necessary."""
        return until(lambda: self.all_of(kind), lambda: str(self.heard))[0]


class Host:
    """A host in its own process."""

    def __init__(self, workspace: Workspace) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOST, str(workspace.plugins), str(workspace.compiled)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"serves\n"
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait(self) -> None:
        """Wait for the end of the process."""
        self._process.wait(PATIENCE)

    def end(self) -> None:
        """End the host in an orderly way."""
        self._process.communicate()


@pytest.fixture
def start(workspace: Workspace, sockets: Path) -> Iterator[Callable[[], Host]]:
    """Yield a function that starts a host on the workspace in its own process."""
    workspace["greet"] = "def register(ctx):\n    ctx.hook('greet', lambda: 'Hello')\n"
    started: list[Host] = []

    def begin() -> Host:
        started.append(Host(workspace))
        return started[-1]

    yield begin
    for host in started:
        with host:
            pass
    assert sockets.exists()


def socket_of(sockets: Path, host: Host) -> Path:
    """Return the socket of a host."""
    (path,) = sockets.glob(f"*-{host.pid}.sock")
    return path


def listening(server: Server) -> socket.socket:
    """Return a raw connection that listens, as a console does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    connection.connect(str(server.socket))
    wire.send(connection, wire.encode(wire.Hello(wire.VERSION)))
    assert wire.receive(connection, PATIENCE) is not None
    wire.send(connection, wire.encode(wire.Listen()))
    return connection


def news_from(connection: socket.socket) -> Iterator[wire.News]:
    """Yield the host's messages, without its heartbeats."""
    while (payload := wire.receive(connection, PATIENCE)) is not None:
        news = wire.decode(payload, wire.NEWS)
        if not isinstance(news, wire.Beat):
            yield news


def has_loaded(events: list[AnyEvent]) -> bool:
    """Return whether a plugin was loaded."""
    return any(isinstance(event, PluginLoaded) for event in events)


def test_the_state_comes_first_and_then_every_event_in_order(manager: HotloadManager, server: Server) -> None:
    """A listener gets the whole state, then events numbered without gaps, then a farewell."""
    with listening(server) as connection:
        news = news_from(connection)
        state = next(news)
        assert isinstance(state, wire.State)
        assert state.snapshot == manager.snapshot()
        manager.rebuild(force=True)
        server.close()
        *told, end = news
    assert isinstance(end, wire.Farewell)
    number = state.after
    for part in told:
        assert isinstance(part, wire.Events)
        assert part.first == number + 1
        number += len(part.events)
    kinds = [type(event) for part in told if isinstance(part, wire.Events) for event in part.events]
    assert PluginLoaded in kinds


def test_a_slow_listener_gets_the_state_again(manager: HotloadManager, server: Server) -> None:
    """A console that stops reading gets the new state when it reads on, then the events that follow."""
    with listening(server) as connection:
        news = news_from(connection)
        first = next(news)
        assert isinstance(first, wire.State)
        for number in range(3 * feed.KEPT):
            say(f"{number} {'x' * 1000}")
        manager.rebuild(force=True)
        number, state = first.after, first
        heard: list[AnyEvent] = []
        while not has_loaded(heard) and state.snapshot.plugins[0].generation == 1:
            part = next(news)
            if isinstance(part, wire.State):
                state, number = part, part.after
            else:
                assert isinstance(part, wire.Events)
                assert part.first == number + 1
                number += len(part.events)
                heard += part.events
    assert state is not first
    assert number > 3 * feed.KEPT > len(heard)


def test_a_slow_listener_is_informed_of_missed_events(server: Server, connect: Connect) -> None:
    """A slow subscriber receives the number of missed events, and all events from then on."""
    gate = threading.Event()
    remote = connect(server)

    def dawdle(_: AnyEvent) -> None:
        gate.wait(PATIENCE)

    remote.subscribe(dawdle)
    ears = Ears(remote)
    for number in range(3 * feed.KEPT):
        say(f"{number} {'x' * 1000}")
    gate.set()
    missed = ears.wait_for(EventsMissed)
    assert missed.count > 0
    remote.rebuild(force=True)
    ears.wait_for(PluginLoaded)


def test_several_consoles_get_the_same_events(server: Server, connect: Connect) -> None:
    """All consoles receive the events of each console's commands, in the same order."""
    consoles = [connect(server) for _ in range(5)]
    ears = [Ears(console) for console in consoles]
    for console in consoles:
        console.rebuild(force=True)
    for each in ears:
        until(lambda each=each: len(each.all_of(PluginLoaded)) == len(consoles))  # type: ignore[misc]
    loads = [[event.generation for event in each.all_of(PluginLoaded)] for each in ears]
    assert loads == [[2, 3, 4, 5, 6]] * 5


def test_commands_are_answered_while_events_flow(server: Server, connect: Connect) -> None:
    """Commands are answered during a flood of events."""
    remote = connect(server)
    Ears(remote)
    over = threading.Event()

    def flood() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            say(str(number))

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        for _ in range(20):
            assert remote.invoke("greet", "Ada").values == ("Hello, Ada",)
    finally:
        over.set()
        flooding.join(PATIENCE)


def test_the_end_of_a_host_is_reported_and_the_next_one_is_found(
    sockets: Path, start: Callable[[], Host]
) -> None:
    """A console receives the reason when its host ends, and goes on with the next host."""
    first = start()
    with RemoteManager(socket_of(sockets, first)) as remote:
        ears = Ears(remote)
        assert remote.invoke("greet").values == ("Hello",)
        first.end()
        lost = ears.wait_for(HostLost)
        assert (lost.pid, lost.reason) == (first.pid, "it has ended, or has closed its socket")
        with pytest.raises(NoHostError, match=f"host {first.pid} is gone: it has ended"):
            remote.snapshot()
        second = start()
        reached = ears.wait_for(HostReached)
        assert reached.pid == second.pid == remote.snapshot().host.pid
        remote.rebuild(force=True)
        ears.wait_for(PluginLoaded)


def test_a_killed_host_is_reported(sockets: Path, start: Callable[[], Host]) -> None:
    """A killed host is reported differently from one that ended in an orderly way."""
    with start() as host, RemoteManager(socket_of(sockets, host)) as remote:
        ears = Ears(remote)
        os.kill(host.pid, signal.SIGKILL)
        lost = ears.wait_for(HostLost)
        assert "ended unexpectedly" in lost.reason or "reset" in lost.reason


def test_a_forked_child_keeps_no_host_alive(
    sockets: Path, workspace: Workspace, start: Callable[[], Host]
) -> None:
    """A forked child of a plugin does not hide that its host was killed."""
    workspace["forking"] = FORKING
    with start() as host, RemoteManager(socket_of(sockets, host)) as remote:
        ears = Ears(remote)
        (child,) = remote.invoke("fork").values
        assert isinstance(child, int)
        try:
            os.kill(host.pid, signal.SIGKILL)
            ears.wait_for(HostLost)
            host.wait()
            assert find_hosts(workspace.plugins) == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_host_that_stops_and_continues_is_reported(sockets: Path, start: Callable[[], Host]) -> None:
    """A silent process counts as stalled until it is heard again, and is not lost."""
    with start() as host, RemoteManager(socket_of(sockets, host)) as remote:
        ears = Ears(remote)
        os.kill(host.pid, signal.SIGSTOP)
        stalled = ears.wait_for(HostStalled)
        assert stalled.describe().startswith(f"host {host.pid} sent nothing for 1.5 s")
        os.kill(host.pid, signal.SIGCONT)
        ears.wait_for(HostResumed)
        assert remote.snapshot().plugins[0].state is PluginState.OK
        assert ears.all_of(HostLost) == []


def test_the_other_host_of_a_project_is_not_taken_for_the_lost_one(
    sockets: Path, start: Callable[[], Host]
) -> None:
    """When one of two hosts ends, its console does not switch to the older one, but to a new one."""
    older, younger = start(), start()
    with RemoteManager(socket_of(sockets, younger)) as remote:
        ears = Ears(remote)
        younger.end()
        ears.wait_for(HostLost)
        third = start()
        reached = ears.wait_for(HostReached)
        assert reached.pid == third.pid != older.pid


def test_closing_leaves_no_thread(manager: HotloadManager, server: Server) -> None:
    """A closed console leaves no thread, even while it looks for a host, and the manager goes on."""
    with RemoteManager(server.socket) as remote:
        Ears(remote)
    with RemoteManager(server.socket) as remote:
        ears = Ears(remote)
        server.close()
        ears.wait_for(HostLost)
    assert "hotload-events" not in [thread.name for thread in threading.enumerate()]
    assert manager.invoke("greet", "Ada").values == ("Hello, Ada",)


def test_a_replacement_of_another_version_is_reported(server: Server) -> None:
    """If a host of another version takes the place, the console says so."""
    mismatch = wire.encode(wire.Failed("ProtocolError", "the host speaks protocol 9, the client 2"))
    with (
        RemoteManager(server.socket) as remote,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as newer,
    ):
        ears = Ears(remote)
        server.close()
        newer.bind(str(server.socket))
        newer.listen()
        newer.settimeout(PATIENCE)

        def is_told() -> bool:
            if "speaks protocol 9" in str(ears.heard):
                return True
            visitor, _ = newer.accept()  # the first visitor only checks whether a host listens
            with visitor:
                visitor.settimeout(PATIENCE)
                if wire.receive(visitor, PATIENCE) is not None:
                    wire.send(visitor, mismatch)
            return False

        until(is_told)
        with pytest.raises(NoHostError, match="speaks protocol 9"):
            remote.snapshot()
