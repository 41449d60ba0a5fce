"""``Follow``: brings new faults to the screen while the user is away, and goes from problem to problem."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from hotload_tui.core.model import Fault, PluginStatus
from hotload_tui.tui.selection import Selection
from hotload_tui.tui.text import count
from hotload_tui.tui.view_state import is_problem
from hotload_tui.tui.widgets.status import StatusLine

AWAY: Final = 10.0
"""Seconds without a key, a click or scrolling after which a new fault may change what is on the screen."""

BURST: Final = 2.0
"""Seconds in which the faults of several plugins are one burst: the first stays on the screen."""


class FollowAccess(Protocol):
    """The parts of the screen that ``Follow`` uses."""

    @property
    def is_typed_into(self) -> bool:
        """Whether an input line has the focus or a dialog is open."""

    async def open_problem(self, plugin: PluginStatus) -> None:
        """Open the Error tab of the selected plugin, or its Overview if it has no fault."""

    def open_soon(self, plugin: PluginStatus) -> None:
        """Do the same as soon as the row of tabs is there."""

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast; do nothing for an empty text."""


class Follow:
    """Shows a new fault, unless the user has used the console in the last ``AWAY`` seconds or is typing.

    A fault that is not shown is marked in its row.
    """

    def __init__(
        self,
        screen: FollowAccess,
        selection: Selection,
        status: StatusLine,
        clock: Callable[[], float],
        *,
        knows_first: bool,
    ) -> None:
        """With ``knows_first``, the faults of the first read are old: the host ran before the console."""
        self._screen = screen
        self._selection = selection
        self._status = status
        self._clock = clock
        self._is_first = knows_first
        self._known: dict[str, set[object]] = {}
        """What identifies the faults that each faulty plugin has had."""
        self._used_at = -math.inf
        self._shown_at = -math.inf
        self._shown = ""

    def note_use(self) -> None:
        """Record that the user has pressed a key, clicked or scrolled."""
        self._used_at = self._clock()

    def take_new(self) -> str:
        """Show the oldest fault that is new since the last call; return its plugin, or an empty text."""
        new = [plugin for plugin in self._selection.plugins if self._is_new(plugin)]
        is_first, self._is_first = self._is_first, False
        if not new or is_first or not self._may_show():
            return ""
        new = [plugin for plugin in new if plugin in self._selection.shown]  # the filter is the user's wish
        oldest = min(new, key=lambda plugin: plugin.fault.at if plugin.fault else 0.0, default=None)
        if oldest is None:
            return ""
        self._shown, self._shown_at = oldest.name, self._clock()
        self._selection.choose(oldest.name)
        self._screen.open_soon(oldest)
        return oldest.name

    def _is_new(self, plugin: PluginStatus) -> bool:
        if plugin.fault is None:
            self._known.pop(plugin.name, None)
            return False
        known, fault = self._known.setdefault(plugin.name, set()), _identity(plugin.fault)
        is_new = fault not in known
        known.add(fault)
        return is_new

    def _may_show(self) -> bool:
        now = self._clock()
        if not self._status.follows or now - self._used_at < AWAY or self._screen.is_typed_into:
            return False
        return now - self._shown_at >= BURST or self._shown not in self._known

    def toggle(self) -> None:
        """Follow new faults, or leave the screen as it is."""
        self._status.follows = not self._status.follows
        self._screen.say(
            f"A new fault comes to the screen after {AWAY:.0f} s without a key."
            if self._status.follows
            else "New faults only mark their rows; N goes to the next one."
        )

    async def go(self, way: str) -> None:
        """Go to the ``next`` or the ``previous`` problem in the table, at its end to the other end."""
        rows = self._selection.shown[:: 1 if way == "next" else -1]
        at = rows.index(self._selection.plugin) + 1 if self._selection.plugin in rows else 0
        problem = next(filter(is_problem, (*rows[at:], *rows[:at])), None)
        if problem is not None:
            self._selection.choose(problem.name)
            await self._screen.open_problem(problem)
        elif hidden := sum(map(is_problem, self._selection.plugins)):
            self._screen.say(f"The filter hides {count(hidden, 'problem')}: esc in the table clears it.")
        else:
            self._screen.say("No plugin has a problem.")


def _identity(fault: Fault) -> object:
    """Return what identifies a fault: a handler can fail again and again, each failed load is another."""
    if not fault.is_running:
        return fault.at
    place = fault.place
    return fault.phase, fault.type, fault.generation, place and (place.file, place.line)
