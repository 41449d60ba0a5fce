"""Other programs: the user's editor, the debugger of a waiting plugin, and the tools for the clipboard."""

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
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from hotload_tui.tui.terminal import lent_terminal
from hotload_tui.tui.text import count
from hotload_tui.tui.view_state import state_folder, write_private

if TYPE_CHECKING:
    from textual.app import App

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
    from textual.app import SuspendNotSupported  # doctor, which only looks for tools, needs no App

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
    return f"{Path(command.arguments[0]).name} ended with status {status}" if status else ""


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


@runtime_checkable
class Copyable(Protocol):
    """A pane with text that the user can copy."""

    def text_to_copy(self) -> str:
        """Return the text to copy, or an empty text."""
        ...


_TOOLS: Final = (
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("DISPLAY", ("xsel", "--clipboard", "--input")),
    ("", ("pbcopy",)),
    ("WSL_DISTRO_NAME", ("clip.exe",)),
)
"""The environment variable that a command needs (empty: none), and the command; it reads standard input."""
_TMUX: Final = ("tmux", "load-buffer", "-w", "-")


def clipboard_commands(environment: Mapping[str, str] = os.environ) -> list[tuple[str, ...]]:
    """Return the commands that can take a copy here: tmux's, and the first usable one of the platform."""
    commands = [_TMUX] if environment.get("TMUX") and shutil.which("tmux") else []
    usable = (tool for needs, tool in _TOOLS if not needs or environment.get(needs))
    tool = next((tool for tool in usable if shutil.which(tool[0])), None)
    return [*commands, tool] if tool else list(commands)


def hand_out(text: str) -> None:
    """Pass ``text`` to the clipboard commands in a thread, so that a command that hangs does not block."""

    def work() -> None:
        for command in clipboard_commands():
            with contextlib.suppress(OSError, subprocess.SubprocessError):  # the file has the text anyway
                subprocess.run(  # noqa: S603 - a fixed command
                    command,
                    input=text.encode("utf-8", "backslashreplace"),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=5,
                    check=False,
                )

    threading.Thread(target=work, name="hotload-copy", daemon=True).start()


def keep_copy(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Write ``text`` to a file, because no clipboard may be in reach; return the message to show."""
    amount = count(text.count("\n") + 1, "line")
    try:
        home, path = Path.home(), state_folder(environment) / "copied.txt"
        write_private(path, f"{text}\n".encode(errors="backslashreplace"))
    except (OSError, RuntimeError) as error:
        return f"Copied {amount} to the terminal's clipboard; no file: {error}"
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    return f"Copied {amount}, also to {shown}"
