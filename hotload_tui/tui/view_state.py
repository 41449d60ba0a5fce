"""What the console remembers of a project from one time to the next."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from hotload_tui.tui.arrangement import SORTS
from hotload_tui.tui.calls import HookCall


class ViewState(Struct, omit_defaults=True):
    """How its user left the console."""

    theme: str = ""
    sort: str = SORTS[0]
    reverse: bool = False
    filter: str = ""
    """Of the table, if its user asked to keep it."""
    problems: bool = False
    """As ``filter``."""
    selected: str = ""
    tab: str = ""
    wraps: bool = False
    stamped: bool = True
    earlier: list[HookCall] = []
    pinned: list[HookCall] = []


class ViewStore:
    """Keeps the view state of one project in its user's state folder; nothing there is worth an error."""

    def __init__(self, project: Path, environment: Mapping[str, str] = os.environ) -> None:
        name = hashlib.sha256(str(project.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]
        self._path: Path | None = None
        with contextlib.suppress(RuntimeError):  # a user without a home folder
            self._path = state_folder(environment) / "views" / f"{name}.json"

    def read(self) -> ViewState:
        """Return what was kept; what is damaged or not there counts as nothing."""
        try:
            kept = json.loads(self._path.read_bytes() if self._path else b"{}")
            state = msgspec.convert(kept, ViewState)
        except (OSError, ValueError, RecursionError, msgspec.ValidationError):
            return ViewState()
        if state.sort not in SORTS:
            state.sort = SORTS[0]
        return state

    def write(self, state: ViewState) -> None:
        """Keep it; a full disk or a folder that is not writable only costs the memory."""
        if self._path is None:
            return
        draft = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Arguments of calls may tell secrets: for their owner only.
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                # Names that are not UTF-8 are escaped: msgspec refuses them.
                file.write(json.dumps(msgspec.to_builtins(state)).encode())
            draft.replace(self._path)


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the console keeps things for its user; raises ``RuntimeError``: there is no home."""
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hotload"
