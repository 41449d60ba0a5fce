"""The console on a real terminal: behaviour that depends on the real driver."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.terminal import Terminal
from tests.waiting import PATIENCE

MODES = {"alternate screen": 1049, "mouse": 1000, "mouse movement": 1003, "bracketed paste": 2004}
PROGRAM = [sys.executable, "-m", "hotload_tui"]
TICKER = """
import threading, time
def register(ctx):
    stop = threading.Event()
    def run():
        while not stop.wait(0.05):
            print("tick")
    threading.Thread(target=run, daemon=True).start()
    ctx.on_unload(stop.set)
"""
UNLOADS = "def register(ctx):\n    ctx.on_unload(lambda: open({mark!r}, 'w').close())\n"


@pytest.fixture
def editor(workspace: Workspace) -> Iterator[Path]:
    """Yield an editor that shows its arguments until the file ``done`` exists."""
    script = workspace.root / "editor"
    script.write_text(
        f'#!/bin/sh\necho "EDITING $@"\nwhile [ ! -e {workspace.root}/done ]; do sleep 0.05; done\nexit 3\n'
    )
    script.chmod(0o755)
    yield script
    (workspace.root / "done").touch()


def left_on(terminal: Terminal) -> set[str]:
    """Return the names of the console's terminal modes that are on."""
    return {name for name, number in MODES.items() if terminal.has_mode(number)}


def _says_all(screen: str) -> bool:
    """Return whether the editor has shown its arguments; a long path takes several lines."""
    said = screen.replace("\n", "")
    return "EDITING +1 /" in said and "plugins/ticker/plugin.py" in said


def test_the_editor_has_the_terminal_for_itself(workspace: Workspace, editor: Path) -> None:
    """Prints of plugins do not appear on the editor's screen, and the console is intact afterwards."""
    workspace["ticker"] = TICKER
    environment = {"VISUAL": str(editor), "EDITOR": ""}
    with Terminal(PROGRAM, cwd=workspace.root, environment=environment) as terminal:
        terminal.wait_for("+ ok 1")
        terminal.wait_for("tick")
        terminal.press("e")
        # Read the editor's whole output with its line end: anything read later has another source.
        terminal.wait_for(lambda screen: _says_all(screen) and terminal.is_at_start_of_line())
        assert "mouse" not in left_on(terminal)
        assert terminal.stays_quiet(0.5), "somebody drew over the editor"
        assert "tick" not in terminal.text().replace("ticker", "")
        (workspace.root / "done").touch()
        terminal.wait_for("editor ended with status 3")
        terminal.wait_for("r Rebuild")
        assert "mouse" in left_on(terminal)
        terminal.press("q")
        assert terminal.wait_for_exit() == 0
        assert left_on(terminal) == set()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 0), ("SIGHUP", 0), ("SIGINT", 130)])
def test_a_signal_leaves_the_terminal_usable(workspace: Workspace, name: str, code: int) -> None:
    """A signal makes the console unload its plugins, restore the terminal and exit with the host's code."""
    mark = workspace.root / "unloaded"
    workspace["one"] = UNLOADS.format(mark=str(mark))
    with Terminal(PROGRAM, cwd=workspace.root) as terminal:
        terminal.wait_for("+ ok 1")
        assert left_on(terminal) == set(MODES)
        os.kill(terminal.process.pid, getattr(signal, name))
        assert terminal.wait_for_exit() == code
        assert left_on(terminal) == set()
    assert mark.exists()


def test_a_terminal_that_does_not_know_its_size_gets_one(workspace: Workspace) -> None:
    """On a terminal of 0 by 0, the plugins start, the screen is drawn, and ``q`` quits."""
    workspace["one"] = "def register(ctx): ..."
    program = ["sh", "-c", f"stty rows 0 columns 0; exec {shlex.join(PROGRAM)}"]
    with Terminal(program, cwd=workspace.root) as terminal:
        terminal.wait_for("+ ok 1")
        terminal.press("q")
        assert terminal.wait_for_exit() == 0


def test_a_key_that_is_none_is_refused_like_all_mistakes_of_the_configuration(workspace: Workspace) -> None:
    """A key that does not exist is an error that begins with the file's name, with exit code 2."""
    (workspace.root / "hotload.toml").write_text('[keys]\nquit = "foo+bar"\n')
    with Terminal(PROGRAM, cwd=workspace.root) as terminal:
        message = 'hotload.toml: [keys] quit = "foo+bar": there is no key "foo+bar"'
        terminal.wait_for(lambda screen: screen.startswith(message))
        assert terminal.wait_for_exit() == 2


def test_a_terminal_that_hangs_up_ends_the_console(workspace: Workspace) -> None:
    """When its window is closed, the console unloads its plugins and ends."""
    mark = workspace.root / "unloaded"
    workspace["one"] = UNLOADS.format(mark=str(mark))
    with Terminal(PROGRAM, cwd=workspace.root) as terminal:
        terminal.wait_for("+ ok 1")
        terminal.hang_up()
        terminal.process.wait(20)
    assert mark.exists()


def test_a_terminal_that_hangs_up_ends_a_console_that_gets_no_signal(workspace: Workspace) -> None:
    """A closed window ends the console also when the session's leader, like make, waits for it first."""
    mark = workspace.root / "unloaded"
    workspace["one"] = UNLOADS.format(mark=str(mark))
    program = ["sh", "-c", f"trap : HUP; {shlex.join(PROGRAM)}; exit 7"]
    with Terminal(program, cwd=workspace.root) as terminal:
        terminal.wait_for("+ ok 1")
        terminal.hang_up()
        assert terminal.process.wait(PATIENCE) == 7
    assert mark.exists()


def test_a_toast_does_not_stay_on_the_screen(workspace: Workspace) -> None:
    """A toast that replaced another one disappears, and the screen below it is painted."""
    workspace["one"] = "def register(ctx): ..."
    with Terminal(PROGRAM, cwd=workspace.root) as terminal:
        terminal.wait_for("+ ok 1  watching")  # nothing is reported before that
        workspace["loud"] = "def register(ctx): ..."
        terminal.wait_for("loud loaded")
        terminal.press("3")
        terminal.wait_for(lambda screen: "loud loaded " not in screen)
        terminal.wait_for(lambda screen: "─Plugins (2)─" in screen and "loud: loaded generation 1" in screen)


def test_states_and_focus_are_visible_without_colours(workspace: Workspace) -> None:
    """With NO_COLOR only greys are sent, states are words, and the cursor's row is reversed."""
    workspace["one"] = "def register(ctx): ..."
    with Terminal(PROGRAM, cwd=workspace.root, environment={"NO_COLOR": "1"}) as terminal:

        def is_chosen(screen: str) -> bool:
            rows = [number for number, line in enumerate(screen.splitlines()) if "+ ok     one" in line]
            return bool(rows) and all(cell.reverse for cell in terminal.cells()[rows[0]][1:20])

        terminal.wait_for(is_chosen)
        colours = {cell.fg for row in terminal.cells() for cell in row} - {"default"}
        assert all(colour[:2] == colour[2:4] == colour[4:] for colour in colours), "not all are greys"
