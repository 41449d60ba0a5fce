"""Lend the terminal to other programs: the user's editor, and the debugger of a waiting plugin."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from textual.app import App, SuspendNotSupported

from hotload_tui.tui.terminal import lent_terminal

_GOTO: Final = ("code", "code-insiders", "codium", "vscodium", "cursor", "windsurf")
_COLON: Final = ("subl", "sublime_text", "zed", "atom", "mate", "hx", "helix")
_LINE: Final = ("idea", "pycharm", "charm", "kate", "gedit")
_WINDOWED: Final = {*_GOTO, *_COLON, *_LINE, "gvim"} - {"hx", "helix"}


class EditorCommand(NamedTuple):
    """The command that opens a file at a line."""

    arguments: tuple[str, ...]
    windowed: bool
    """Whether the editor opens its own window and does not need this terminal."""


def editor_command(
    file: Path, line: int, environment: Mapping[str, str] = os.environ
) -> EditorCommand | None:
    """Return the command for ``$VISUAL``, ``$EDITOR`` or an installed editor; ``None`` if there is none."""
    import shlex  # not needed for the first paint

    wanted = environment.get("VISUAL") or environment.get("EDITOR") or _installed()
    try:
        words = shlex.split(wanted)
    except ValueError:  # an unclosed quotation mark
        words = wanted.split()
    if not words:
        return None
    name = Path(words[0]).name.removesuffix(".exe")
    return EditorCommand((*words, *_place(name, file, max(1, line))), windowed=name in _WINDOWED)


def _installed() -> str:
    return next((name for name in ("vi", "nano") if shutil.which(name)), "")


def _place(name: str, file: Path, line: int) -> tuple[str, ...]:
    if name in _GOTO:
        return ("--goto", f"{file}:{line}")
    if name in _COLON:
        return (f"{file}:{line}",)
    if name in _LINE:
        return ("--line", str(line), str(file))
    return (f"+{line}", str(file))  # vi, vim, nvim, nano, emacs, kak, micro, joe and most others


async def open_editor(app: App[None], file: Path, line: int) -> str:
    """Open the editor and wait for it if it needs the terminal; return an error text, or an empty text."""
    command = editor_command(file, line)
    if command is None:
        return "No editor: set VISUAL or EDITOR."
    if shutil.which(command.arguments[0]) is None:
        return f"No editor {command.arguments[0]}: set VISUAL or EDITOR to one that is installed."
    try:
        if command.windowed:
            return _open_window(command)
        return await _open_here(app, command)
    except (OSError, ValueError, SuspendNotSupported) as error:
        return f"{command.arguments[0]}: {error}"


def _open_window(command: EditorCommand) -> str:
    process = subprocess.Popen(  # noqa: S603 - the user chose this command
        command.arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Without a wait(), the ended process would stay behind as a zombie.
    threading.Thread(target=process.wait, name="hotload-editor", daemon=True).start()
    return ""


async def _open_here(app: App[None], command: EditorCommand) -> str:
    """Lend the terminal to the editor until it ends; return an error text, or an empty text."""
    with lent_terminal(app):
        process = await asyncio.create_subprocess_exec(*command.arguments)
        status = await process.wait()
    return f"{command.arguments[0]} ended with status {status}" if status else ""


Debug: TypeAlias = Callable[[], socket.socket | None]
"""Connects to a waiting debugger; returns ``None`` if no debugger waits."""

_HELLO: Final = "The plugin waits: c goes on, q ends its call, h lists all commands.\n"


async def hand_over(app: App[None], connection: socket.socket) -> None:
    """Lend the terminal to the debugger until it ends."""
    with lent_terminal(app):
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c would end the suspended console
        try:
            await asyncio.to_thread(_relay, connection)
        finally:
            with contextlib.suppress(OSError):  # closed already, unless this hand-over was cancelled
                connection.shutdown(socket.SHUT_RDWR)
            signal.signal(signal.SIGINT, previous)


def _relay(connection: socket.socket) -> None:
    """Send typed lines to the debugger and print its answers; pass the end of the input on to it."""
    keyboard, screen = (stream.fileno() if stream else -1 for stream in (sys.__stdin__, sys.__stdout__))
    sources: list[int | socket.socket] = [connection, keyboard]
    try:
        os.write(screen, _HELLO.encode())
        while connection in sources:
            for source in select.select(sources, [], [])[0]:
                if source is connection:
                    if not (answer := connection.recv(65536)):
                        return
                    os.write(screen, answer)
                elif line := os.read(keyboard, 4096):
                    connection.sendall(line)
                else:
                    sources.remove(keyboard)
                    connection.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the host has died, or the terminal is gone
    finally:
        connection.close()
