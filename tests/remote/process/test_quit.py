"""However the console ends, nothing is left of its host, and the terminal is restored."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.counts import ALL_CASES
from tests.remote.process.conftest import HANG
from tests.terminal import Terminal
from tests.waiting import until

HOTLOAD = str(Path(sys.executable).with_name("hotload"))
GREET = """
import subprocess
def register(ctx):
    subprocess.Popen(["sleep", "9999"])
    ctx.hook("greet", lambda: "hello")
"""
SPIN = f"""
import ctypes
def spin():
    {HANG}
def register(ctx):
    ctx.hook("spin", spin)
"""


class Row(NamedTuple):
    """A process."""

    pid: int
    parent: int
    group: int
    command: str


class Family(NamedTuple):
    """The processes of a running console."""

    console: int
    supervisor: int
    host: int

    def left(self) -> list[Row]:
        """Return the running members of the family, and all processes that they have started."""
        return [
            row
            for row in processes()
            if row.pid in self or row.parent == self.supervisor or row.group == self.host
        ]


def processes() -> list[Row]:
    """Return all running processes, without zombies."""
    command = ["ps", "-eo", "pid=,ppid=,pgid=,stat=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=4) for line in listed.splitlines()]
    return [
        Row(int(pid), int(parent), int(group), args)
        for pid, parent, group, state, args in rows
        if not state.startswith("Z")
    ]


def child(parent: int) -> int:
    """Return the process that a process has started; for a supervisor, the host."""
    own = [row for row in processes() if row.parent == parent]
    return next((row.pid for row in own if ".process.host" in row.command), own[0].pid)


def family_of(shell: int) -> Family:
    """Return the family of the console that a shell runs."""
    console = child(shell)
    supervisor = child(console)
    return Family(console, supervisor, child(supervisor))


def kill(*members: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Family, Terminal], None]:
    """Return a function that sends a signal to members of the family."""

    def send(family: Family, _terminal: Terminal) -> None:
        for member in members:
            os.kill(getattr(family, member), number)

    return send


WAYS: dict[str, Callable[[Family, Terminal], None]] = {
    "q": lambda _family, terminal: terminal.press("q"),
    "SIGTERM": kill("console", number=signal.SIGTERM),
    "SIGHUP": kill("console", number=signal.SIGHUP),
    "SIGINT": kill("console", number=signal.SIGINT),
    "console killed": kill("console"),
    "console and supervisor killed": kill("supervisor", "console"),
    "terminal closed": lambda _family, terminal: os.kill(terminal.process.pid, signal.SIGKILL),
}


ALIKE = {"SIGHUP", "SIGINT"}
"""Signals that end a console as SIGTERM does; with a hanging host, only make soak runs them."""
CASES = [
    pytest.param(way, hangs, id=f"{'hangs' if hangs else 'well'}-{way}")
    for hangs in (False, True)
    for way in WAYS
    if ALL_CASES or not (hangs and way in ALIKE)
]


@pytest.mark.parametrize(("way", "hangs"), CASES)
def test_nothing_is_left(tmp_path: Path, way: str, *, hangs: bool) -> None:
    """Console, supervisor, host and the plugins' processes are gone, and the terminal is as before."""
    for name, code in (("greet", GREET), ("spin", SPIN)):
        (tmp_path / "plugins" / name).mkdir(parents=True)
        (tmp_path / "plugins" / name / "plugin.py").write_text(code)
    with Terminal(["sh", "-c", f"{HOTLOAD}; echo code $?; read wait"], cwd=tmp_path) as terminal:
        terminal.wait_for(lambda screen: screen.count("+ ok") >= 2 and "watching" in screen)
        family = family_of(terminal.process.pid)
        if hangs:
            with subprocess.Popen([HOTLOAD, "call", "spin"], cwd=tmp_path, stderr=subprocess.DEVNULL):
                terminal.wait_for("spin hangs")
                WAYS[way](family, terminal)
        else:
            WAYS[way](family, terminal)
        if way != "terminal closed":
            terminal.wait_for("code ")
        until(lambda: family.left() == [], lambda: str(family.left()))
        if way not in ("terminal closed", "console and supervisor killed"):
            terminal.wait_for(lambda _: terminal.is_restored())
            assert terminal.modes() == terminal.modes_before


def test_a_killed_supervisor_is_replaced(tmp_path: Path) -> None:
    """If the supervisor is killed, its host and child processes end, and the console starts new ones."""
    (tmp_path / "plugins" / "greet").mkdir(parents=True)
    (tmp_path / "plugins" / "greet" / "plugin.py").write_text(GREET)
    with Terminal(["sh", "-c", f"{HOTLOAD}; echo code $?; read wait"], cwd=tmp_path, rows=48) as terminal:
        terminal.wait_for("+ ok")
        family = family_of(terminal.process.pid)
        os.kill(family.supervisor, signal.SIGKILL)
        terminal.press("3")
        terminal.wait_for(lambda screen: screen.count("loaded generation 1") >= 2)
        assert [row.pid for row in family.left()] == [family.console]
        terminal.press("q")
        terminal.wait_for("code 0")
