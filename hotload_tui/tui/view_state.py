"""Which plugins the table shows, and what the console remembers of a project."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui.calls import HookCall
from hotload_tui.tui.text import clean_line

_TROUBLED: Final = (PluginState.FAIL, PluginState.STALE, PluginState.HELD, PluginState.WAIT)

_URGENCY: Final = {
    state: place
    for place, state in enumerate(
        (
            PluginState.FAIL,
            PluginState.STALE,
            PluginState.HELD,
            PluginState.WAIT,
            PluginState.BUILD,
            PluginState.NEW,
            PluginState.OK,
            PluginState.OFF,
        )
    )
}

_Key = str | float | int
_SORTS: Final[dict[str, Callable[[PluginStatus], _Key]]] = {
    "plugin": lambda plugin: plugin.name,
    "state": lambda plugin: (
        _URGENCY[plugin.state] if plugin.fault is None else min(_URGENCY[plugin.state], 2)
    ),
    "load ms": lambda plugin: -plugin.load_seconds,
    "age": lambda plugin: -plugin.loaded_at,
}
SORTS: Final = tuple(_SORTS)
"""What the table can be sorted by; the first is the usual."""


class Arrangement(NamedTuple):
    """A filter and an order."""

    filter: str = ""
    """``text``, ``!text`` for what has it not, ``s:state``; words are combined."""
    problems: bool = False
    """Only what has a problem."""
    sort: str = SORTS[0]
    reverse: bool = False

    def of(self, plugins: tuple[PluginStatus, ...]) -> tuple[PluginStatus, ...]:
        """Return those that are shown, in order; equals in order of name."""
        shown = [plugin for plugin in plugins if self._shows(plugin)]
        if self.sort != SORTS[0]:
            shown.sort(key=_SORTS[self.sort])
        return tuple(reversed(shown)) if self.reverse else tuple(shown)

    def next_sort(self) -> Arrangement:
        """Sort by the next column."""
        return self._replace(sort=SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)])

    def describe(self) -> str:
        """Say what is not as usual; empty when everything is shown."""
        parts = [f"filter {clean_line(self.filter, 30)}"] if self.filter else []
        parts += ["problems only"] if self.problems else []
        return ", ".join(parts)

    def nothing(self, number: int) -> str:
        """Say why no row is shown of so many plugins."""
        if self.filter:
            return f"0 of {number} match {self.describe()}: esc clears the filter."
        return f"No problems in {number} plugins: ! shows all of them."

    def _shows(self, plugin: PluginStatus) -> bool:
        if self.problems and plugin.fault is None and plugin.state not in _TROUBLED:
            return False
        return all(_matches(plugin, word.casefold()) for word in self.filter.split())


def _matches(plugin: PluginStatus, word: str) -> bool:
    if word.startswith("!"):
        return len(word) == 1 or not _matches(plugin, word[1:])
    if word.startswith("s:"):
        return plugin.state.value.casefold().startswith(word[2:])
    points = " ".join(place.point for place in plugin.points)
    return word in f"{plugin.name} {points}".casefold() or plugin.digest.startswith(word)


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
