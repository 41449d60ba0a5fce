"""The columns of the plugin table: what each shows, and which of them fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from hotload_tui.core.plugin import HookPointStatus, PluginState, PluginStatus
from hotload_tui.tui.text import clean_line, duration, milliseconds

PADDING: Final = 2
"""Cells that a table adds to each column."""

NAME_ROOM: Final = (12, 40)
"""Least and most cells for a plugin's name."""

STYLES: Final = {state: f"plugins--{state.name.lower()}" for state in PluginState}
"""Component classes of the states."""

MARK: Final = "*"
"""Between glyph and word of a plugin that broke while another one was looked at."""


class Row(NamedTuple):
    """What a row is drawn from."""

    status: PluginStatus
    now: float
    calls: int = 0
    """Of its handlers, since its generation was loaded."""
    faults: int = 0
    """How many of those raised."""


class Column(NamedTuple):
    """One column of the table."""

    key: str
    title: str
    width: int
    rank: int
    """Columns of high rank go first when there is no room."""
    show: Callable[[Row], str]
    """Draws one plugin's cell."""


def figures(points: Iterable[HookPointStatus]) -> dict[str, tuple[int, int]]:
    """Return calls and faults of each plugin's handlers."""
    found: dict[str, tuple[int, int]] = {}
    for point in points:
        for handler in point.handlers:
            calls, faults = found.get(handler.plugin, (0, 0))
            found[handler.plugin] = (calls + handler.calls, faults + handler.faults)
    return found


def _points(row: Row) -> str:
    return clean_line(", ".join(place.point for place in row.status.points) or "-", 100)


def _age(row: Row) -> str:
    return duration(row.now - row.status.loaded_at) if row.status.loaded_at else "-"


COLUMNS: Final = (
    Column("state", "state", 7, 0, lambda row: row.status.sign),
    Column("plugin", "plugin", NAME_ROOM[0], 0, lambda row: clean_line(row.status.name, 100)),
    Column("digest", "digest", 12, 0, lambda row: clean_line(row.status.digest[:12]) or "-"),
    Column("generation", "gen", 4, 2, lambda row: str(row.status.generation or "-")),
    Column("compile", "build ms", 8, 3, lambda row: milliseconds(row.status.compile_seconds)),
    Column("load", "load ms", 7, 1, lambda row: milliseconds(row.status.load_seconds)),
    Column("points", "hook points", 24, 4, _points),
    Column("calls", "calls", 6, 5, lambda row: str(row.calls or "-")),
    Column("faults", "faults", 6, 6, lambda row: str(row.faults or "-")),
    Column("age", "age", 4, 0, _age),
)


def fitting(width: int, longest_name: int) -> tuple[Column, ...]:
    """Return the columns that fit into ``width`` cells, the name as wide as it may be."""
    low, high = NAME_ROOM
    chosen: list[Column] = []
    used = 0
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        if column.rank and used + column.width + PADDING > width:
            break
        chosen.append(column)
        used += column.width + PADDING
    name_width = max(low, min(high, longest_name, low + width - used))
    return tuple(
        column._replace(width=name_width) if column.key == "plugin" else column
        for column in COLUMNS
        if any(column.key == other.key for other in chosen)
    )
