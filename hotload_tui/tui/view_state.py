"""The filter and order of the table, and the view state that the console stores for a project."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from hotload_tui.core.model import HookPointStatus, Level, PluginState, PluginStatus
from hotload_tui.tui.calls import HookCall
from hotload_tui.tui.text import clean_line

_TROUBLED: Final = (
    PluginState.FAIL,
    PluginState.STALE,
    PluginState.OLD,
    PluginState.HELD,
    PluginState.WAIT,
)

_URGENCY: Final = {
    state: place
    for place, state in enumerate(
        (
            PluginState.FAIL,
            PluginState.STALE,
            PluginState.OLD,
            PluginState.HELD,
            PluginState.WAIT,
            PluginState.BUILD,
            PluginState.NEW,
            PluginState.OK,
            PluginState.OFF,
        )
    )
}

Figures = Mapping[str, tuple[int, int]]
"""The calls and the faults of each plugin's handlers."""


def figures(points: Iterable[HookPointStatus]) -> dict[str, tuple[int, int]]:
    """Return the calls and faults of each plugin's handlers."""
    found: dict[str, tuple[int, int]] = {}
    for point in points:
        for handler in point.handlers:
            calls, faults = found.get(handler.plugin, (0, 0))
            found[handler.plugin] = (calls + handler.calls, faults + handler.faults)
    return found


_Key = str | float | int
_SORTS: Final[dict[str, Callable[[PluginStatus, tuple[int, int]], _Key]]] = {
    "plugin": lambda plugin, _: plugin.name,
    "state": lambda plugin, _: (
        _URGENCY[plugin.state]
        if plugin.fault is None
        else min(_URGENCY[plugin.state], _URGENCY[PluginState.HELD])
    ),
    "gen": lambda plugin, _: -plugin.generation,
    "load ms": lambda plugin, _: -plugin.load_seconds,
    "calls": lambda _, figures: -figures[0],
    "faults": lambda _, figures: -figures[1],
    "age": lambda plugin, _: -plugin.loaded_at,
    "build ms": lambda plugin, _: -plugin.compile_seconds,
    "hook points": lambda plugin, _: ", ".join(place.point for place in plugin.points),
}
SORTS: Final = tuple(_SORTS)
"""The columns by which the table can be sorted; the first is the default."""

_ON_ALL_SIZES: Final = SORTS[:7]
"""The columns that ``s`` goes through; a click sorts by the others."""

_ASCENDING: Final = frozenset({"plugin", "age", "hook points"})
"""The columns whose smallest value is on top; in the others, the largest or worst value is."""


def is_problem(plugin: PluginStatus) -> bool:
    """Return whether a plugin has a fault, or does not run as its source says."""
    return plugin.fault is not None or plugin.state in _TROUBLED


class Arrangement(NamedTuple):
    """The table's filter and order."""

    filter: str = ""
    """Words that must all match: ``text``, ``!text`` (does not match), ``s:state``."""
    problems: bool = False
    """Whether to show only plugins that have a problem."""
    sort: str = SORTS[0]
    reverse: bool = False

    @property
    def is_ascending(self) -> bool:
        """Whether the smallest value of the sort column is on top."""
        return (self.sort in _ASCENDING) is not self.reverse

    def of(
        self, plugins: tuple[PluginStatus, ...], figures: Figures = MappingProxyType({})
    ) -> tuple[PluginStatus, ...]:
        """Return the plugins to show, in order; ``plugins`` is in order of name, and the sort is stable."""
        shown = [plugin for plugin in plugins if self._shows(plugin)]
        if self.sort != SORTS[0]:
            key = _SORTS[self.sort]
            shown.sort(key=lambda plugin: key(plugin, figures.get(plugin.name, (0, 0))))
        return tuple(reversed(shown)) if self.reverse else tuple(shown)

    def next_sort(self) -> Arrangement:
        """Return the arrangement that sorts by the next column."""
        at = _ON_ALL_SIZES.index(self.sort) + 1 if self.sort in _ON_ALL_SIZES else 0
        return self._replace(sort=_ON_ALL_SIZES[at % len(_ON_ALL_SIZES)])

    def sort_by(self, title: str) -> Arrangement:
        """Return the arrangement that sorts by this column, in the other direction if it does so already."""
        is_same = title == self.sort
        return self._replace(sort=title, reverse=is_same and not self.reverse)

    def describe(self) -> str:
        """Describe the active filters; empty if the table shows every plugin."""
        parts = [f"filter {clean_line(self.filter, 30)}"] if self.filter else []
        parts += ["problems only"] if self.problems else []
        return ", ".join(parts)

    def nothing(self, number: int) -> str:
        """Return the reason why none of ``number`` plugins is shown."""
        if self.filter:
            return f"0 of {number} match {self.describe()}: esc clears the filter."
        return f"No problems in {number} plugins: ! shows all of them."

    def _shows(self, plugin: PluginStatus) -> bool:
        if self.problems and not is_problem(plugin):
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
    """The view that the user left when the console closed."""

    theme: str = ""
    sort: str = SORTS[0]
    reverse: bool = False
    filter: str = ""
    """The table's filter, if the user asked to keep it."""
    problems: bool = False
    """The table's ``problems``, if the user asked to keep the filter."""
    selected: str = ""
    tab: str = ""
    wraps: bool = False
    stamped: bool = True
    steps: bool = False
    least: Level = "debug"
    """The lowest level of the lines in the Log tab."""
    learned: list[str] = []
    """What the user has done, so that the guide does not name it again."""
    earlier: list[HookCall] = []
    pinned: list[HookCall] = []


class ViewStore:
    """Stores the view state of one project in the user's state folder; it never raises for a damaged file."""

    def __init__(self, project: Path, environment: Mapping[str, str] = os.environ) -> None:
        name = hashlib.sha256(str(project.absolute()).encode(errors="surrogateescape")).hexdigest()[:16]
        self._path: Path | None = None
        with contextlib.suppress(RuntimeError):  # a user without a home folder
            self._path = state_folder(environment) / "views" / f"{name}.json"

    def read(self) -> ViewState:
        """Return the stored view state; return the defaults if the file is damaged or missing."""
        try:
            kept = json.loads(self._path.read_bytes() if self._path else b"{}")
            state = msgspec.convert(kept, ViewState)
        except (OSError, ValueError, RecursionError, msgspec.ValidationError):
            return ViewState()
        if state.sort not in SORTS:
            state.sort = SORTS[0]
        return state

    def write(self, state: ViewState) -> None:
        """Store ``state``; if the disk is full or the folder not writable, ignore the error."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            # json escapes names that are not UTF-8; msgspec would refuse them.
            write_private(self._path, json.dumps(msgspec.to_builtins(state)).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read: arguments of calls and tracebacks may contain secrets.

    Raises:
        OSError: the disk is full, or the folder is not writable.

    """
    draft = path.with_suffix(f".{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder in which the console stores files for the user.

    Raises:
        RuntimeError: the user has no home folder.

    """
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "hotload"
