from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from pathlib import Path

import pytest
from textual.app import App

from hotload_tui import HookHost, HotloadManager
from hotload_tui.tui.programs import clipboard_commands, editor_command, hand_over
from tests.conftest import Workspace
from tests.tui.console import console

FILE = Path("/p/plugin.py")


@pytest.mark.parametrize(
    ("editor", "arguments", "windowed"),
    [
        ("vim", ("vim", "+7", "/p/plugin.py"), False),
        ("/usr/bin/nvim -p", ("/usr/bin/nvim", "-p", "+7", "/p/plugin.py"), False),
        ("nano", ("nano", "+7", "/p/plugin.py"), False),
        ("hx", ("hx", "/p/plugin.py:7"), False),
        ("code --wait", ("code", "--wait", "--goto", "/p/plugin.py:7"), True),
        ("subl", ("subl", "/p/plugin.py:7"), True),
        ("pycharm", ("pycharm", "--line", "7", "/p/plugin.py"), True),
        ('"/opt/my editor/vim"', ("/opt/my editor/vim", "+7", "/p/plugin.py"), False),
    ],
)
def test_each_editor_gets_the_line_in_its_own_way(
    editor: str, arguments: tuple[str, ...], *, windowed: bool
) -> None:
    """Each editor gets the file and line in its own syntax."""
    assert editor_command(FILE, 7, {"EDITOR": editor}) == (arguments, windowed)


def test_visual_comes_before_editor() -> None:
    """VISUAL overrides EDITOR."""
    command = editor_command(FILE, 0, {"EDITOR": "nano", "VISUAL": "vim"})
    assert command is not None
    assert command.arguments == ("vim", "+1", "/p/plugin.py")


async def test_an_editor_that_is_not_installed_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``e`` names the editor that is not installed."""
    monkeypatch.setenv("VISUAL", "no-such-editor")
    workspace["one"] = "def register(ctx): ..."
    manager = HotloadManager(HookHost(), workspace.config())
    manager.scan()
    async with console(manager, workspace.root) as it:
        await it.until(lambda: it.row("one") != "")
        await it.press("e")
        await it.toasted("No editor no-such-editor")


async def test_a_windowed_editor_is_started_beside_the_console(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor with its own window opens the failing line while the console goes on."""
    heard = workspace.root / "heard"
    editor = workspace.root / "code"
    editor.write_text(f'#!/bin/sh\necho "$@" > {heard}.part; mv {heard}.part {heard}\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    workspace["bad"] = "def register(ctx):\n    1 / 0\n"
    manager = HotloadManager(HookHost(), workspace.config())
    async with console(manager, workspace.root, start=manager.start, stop=manager.stop) as it:
        await it.until(lambda: "! FAIL" in it.row("bad"))
        await it.press("e")
        await it.until(heard.exists)
        assert heard.read_text() == f"--goto {workspace.plugins}/bad/plugin.py:2\n"
    manager.stop()


async def test_a_debugger_that_is_cancelled_leaves_ctrl_c_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the hand-over is cancelled, the console reacts to SIGINT again, and the debugger ends."""
    monkeypatch.setattr("hotload_tui.tui.programs.lent_terminal", contextlib.nullcontext)
    before = signal.getsignal(signal.SIGINT)
    ours, theirs = socket.socketpair()
    with theirs:
        task = asyncio.create_task(hand_over(App(), ours))
        await asyncio.sleep(0)  # the task takes its first step
        assert signal.getsignal(signal.SIGINT) is not before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        try:
            assert signal.getsignal(signal.SIGINT) is before
            assert await asyncio.to_thread(theirs.recv, 1) == b""
        finally:
            signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("environment", "installed", "first_words"),
    [
        ({}, (), []),
        ({"TMUX": "/s"}, ("tmux",), ["tmux"]),
        ({"TMUX": "/s"}, (), []),
        ({"DISPLAY": ":0"}, ("xclip", "xsel"), ["xclip"]),
        ({"DISPLAY": ":0"}, ("xsel",), ["xsel"]),
        ({}, ("xclip",), []),
        (
            {"WAYLAND_DISPLAY": "w", "DISPLAY": ":0", "TMUX": "/s"},
            ("wl-copy", "xclip", "tmux"),
            ["tmux", "wl-copy"],
        ),
        ({}, ("pbcopy",), ["pbcopy"]),
    ],
)
def test_a_copy_goes_to_tmux_and_to_the_tool_of_the_platform(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    installed: tuple[str, ...],
    first_words: list[str],
) -> None:
    """A copy uses the tools that are installed and whose display or tmux session exists."""
    for name in installed:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [command[0] for command in clipboard_commands(environment)] == first_words
