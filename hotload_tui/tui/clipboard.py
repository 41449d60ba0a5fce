"""Copies: the terminal's clipboard may be out of reach, so a file has the text, too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from hotload_tui.tui.text import count

_NAME: Final = "copied.txt"


@runtime_checkable
class Copyable(Protocol):
    """A pane that has something under its cursor."""

    def text_to_copy(self) -> str:
        """Return it; an empty text if there is nothing."""
        ...


def keep_copy(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Write ``text`` to a file in the user's state folder; return what to say about it."""
    amount = count(text.count("\n") + 1, "line")
    try:
        home = Path.home()
        state = Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state") / "hotload"
        state.mkdir(parents=True, exist_ok=True)
        path = state / _NAME
        # Tracebacks may tell secrets: for their owner only.
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")
    except (OSError, RuntimeError) as error:
        return f"Copied {amount} to the terminal's clipboard; no file: {error}"
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    return f"Copied {amount}, also to {shown}"
