"""Copy text to the clipboard, and also to a file, because the terminal's clipboard may be out of reach."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from hotload_tui.tui.text import count
from hotload_tui.tui.view_state import state_folder, write_private

_NAME: Final = "copied.txt"


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
    """Write ``text`` to a file in the user's state folder; return the message to show."""
    amount = count(text.count("\n") + 1, "line")
    try:
        home, path = Path.home(), state_folder(environment) / _NAME
        write_private(path, f"{text}\n".encode(errors="backslashreplace"))
    except (OSError, RuntimeError) as error:
        return f"Copied {amount} to the terminal's clipboard; no file: {error}"
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    return f"Copied {amount}, also to {shown}"
