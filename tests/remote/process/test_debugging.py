"""A plugin that calls ``breakpoint()`` waits for the console's terminal."""

import socket
import threading
from concurrent.futures import Future

import pytest

from hotload_tui.core.model import Invocation, PluginState
from tests.conftest import Workspace
from tests.remote.process.conftest import Console
from tests.waiting import PATIENCE

STOPS = (
    "def stop(a):\n    a += 1\n    breakpoint()\n    return a\n\n\n"
    "def register(ctx):\n    ctx.hook('stop', stop)\n"
)


class Debugging:
    """A console with a plugin ``stop`` whose handler calls ``breakpoint()``, and a debugger's terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        console.workspace["stop"] = STOPS
        console.wait_for(lambda: console.state("stop") is PluginState.OK)

    def call(self, value: int) -> Future[Invocation]:
        """Call the handler, and return when it waits at its breakpoint."""
        found: Future[Invocation] = Future()

        def call() -> None:
            found.set_result(self.console.manager.invoke("stop", value))

        threading.Thread(target=call, daemon=True).start()  # in a failing test it waits forever
        self.console.wait_for(lambda: "stop/plugin.py:3" in self.place())
        return found

    def place(self) -> str:
        """Return the place of the waiting breakpoint that the console reports."""
        return self.console.manager.snapshot().host.breakpoint

    def connect(self) -> socket.socket:
        """Connect a terminal to the breakpoint, and read the first prompt."""
        connection = self.console.manager.debug()
        assert connection is not None
        connection.settimeout(PATIENCE)
        assert "stop/plugin.py(" in read(connection)  # at the call or after it, by version
        return connection


def read(connection: socket.socket) -> str:
    """Return the output up to the next prompt or the end."""
    said = ""
    while not said.endswith("(Pdb) ") and (part := connection.recv(4096)):
        said += part.decode()
    return said


@pytest.fixture
def debugging(console: Console) -> Debugging:
    """Return a console with a plugin ``stop`` whose handler calls ``breakpoint()``."""
    return Debugging(console)


def test_a_breakpoint_waits_for_the_continue_command(debugging: Debugging) -> None:
    """The debugger shows and sets variables while other calls work, and ``c`` ends the wait."""
    answer = debugging.call(1)
    with debugging.connect() as terminal:
        terminal.sendall(b"p a\n")
        assert read(terminal).startswith("2")
        assert debugging.console.manager.invoke("good").values == ("good",)
        terminal.sendall(b"!a = 40\n")
        read(terminal)
        terminal.sendall(b"c\n")
        assert read(terminal) == ""
    assert answer.result(PATIENCE).values == (40,)
    assert debugging.place() == ""
    assert debugging.console.manager.debug() is None
    assert debugging.console.lines("no longer waits")


def test_a_terminal_that_goes_away_lets_the_plugin_go_on(debugging: Debugging) -> None:
    """If the terminal disconnects, the plugin's call goes on and ends normally."""
    answer = debugging.call(1)
    debugging.connect().close()
    assert answer.result(PATIENCE).values == (2,)


def test_quitting_the_debugger_ends_the_call(debugging: Debugging) -> None:
    """Quitting the debugger raises BdbQuit, which is a fault of that call."""
    answer = debugging.call(1)
    with debugging.connect() as terminal:
        terminal.sendall(b"q\n")
        assert read(terminal) == ""
    assert [fault.type for fault in answer.result(PATIENCE).faults] == ["BdbQuit"]


def test_two_that_wait_are_debugged_one_after_the_other(debugging: Debugging) -> None:
    """Two calls that wait at a breakpoint are debugged one after the other, each with its own terminal."""
    answers = [debugging.call(1), debugging.call(1)]
    debugging.console.wait_for(lambda: debugging.place().count("plugin.py:3") == len(answers))
    for value in (b"10", b"20"):
        with debugging.connect() as terminal:
            terminal.sendall(b"!a = " + value + b"\n")
            read(terminal)
            terminal.sendall(b"c\n")
            read(terminal)
    assert {answer.result(PATIENCE).values for answer in answers} == {(10,), (20,)}


def test_a_load_that_is_debugged_too_long_gives_the_terminal_back(workspace: Workspace) -> None:
    """A load that is debugged still ends at its time limit, and the terminal is disconnected."""
    workspace["slow"] = "breakpoint()\nX = 1\ndef register(ctx): ...\n"
    console = Console(workspace, "load_timeout = 3.0\nenable_watch = false\n")
    try:
        console.wait_for(lambda: "slow/plugin.py:1" in console.manager.snapshot().host.breakpoint)
        connection = console.manager.debug()
        assert connection is not None
        connection.settimeout(PATIENCE)
        with connection:
            assert "slow/plugin.py(" in read(connection)
            assert read(connection) == ""
        console.wait_for(lambda: console.state("slow") is PluginState.FAIL)
        assert "did not end within load_timeout" in console.fault("slow").message
    finally:
        console.manager.close()


def test_the_users_own_debugger_is_left_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """``breakpoint()`` is left to PYTHONBREAKPOINT if it is set; with 0 nothing stops."""
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    workspace["stop"] = STOPS
    console = Console(workspace)
    try:
        console.wait_for(lambda: console.state("stop") is PluginState.OK)
        assert console.manager.invoke("stop", 1).values == (2,)
    finally:
        console.manager.close()
