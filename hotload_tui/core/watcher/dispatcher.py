"""The dispatcher: rings become looks, and looks become changes that are told."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeAlias

from hotload_tui.core.discovery import name_of
from hotload_tui.core.source import SourceRule
from hotload_tui.core.watcher.looker import Change, Looker, Verdict
from hotload_tui.core.watcher.notifier import overflow
from hotload_tui.core.watcher.pace import SETTLED, Pace
from hotload_tui.core.watcher.repository import Mark, Repositories
from hotload_tui.core.watcher.ringer import SWEEP_WHEN_DEAF, Rings
from hotload_tui.core.watcher.sweep import Sweep, tick

logger = logging.getLogger("hotload.engine")

_GIT_STEP = 0.005  # seconds between two looks whether git is done

OnChange: TypeAlias = Callable[[Sequence[Change]], Collection[str]]
"""Called with what changed; returns the names to tell once more when they have stood still."""


class Dispatcher:
    """One thread's work: ``run``, until ``is_ended``."""

    def __init__(
        self,
        root: Path,
        rule: SourceRule,
        *,
        rings: Rings,
        on_change: OnChange,
        on_tick: Callable[[], None],
        settle_time: float,
        debounce_time: float,
        sweep_interval: float,
        doubted: set[str],
    ) -> None:
        self._root = root
        self._prefixes = _prefixes(root)
        self._rule = rule
        self._rings = rings
        self._on_change = on_change
        self._on_tick = on_tick
        self._sweep_interval = sweep_interval
        self.looker = Looker(root, rule, doubted)
        self._pace = Pace(settle_time, debounce_time)
        self._repositories = Repositories(root, debounce_time)
        self._mark = self._repositories.mark()  # of what git has changed all was told
        self._unproven: set[str] = set()  # told, and to be told once more when settled
        self._unheard: dict[str, float] = {}  # found by the sweep, when; the bell may still ring
        self._held: set[str] = set()  # wait for git
        self._overflow = overflow()
        self._slices = Sweep(root, self.looker)

    def begin(self) -> None:
        """Take what is on disk now as known: from here on nothing is missed."""
        self.looker.begin()

    def run(
        self, is_ended: Callable[[], bool], is_deaf: Callable[[], bool], hang_anew: Callable[[], None]
    ) -> None:
        """Dispatch; ``hang_anew`` is called when the bell did not ring, ``is_deaf`` makes the sweep fast."""
        next_slice = time.monotonic()
        while not is_ended():
            due = self._pace.next_due()
            wake = next_slice if due is None else min(next_slice, due)
            if self._collect(max(0.0, wake - time.monotonic())):
                hang_anew()
            now = time.monotonic()
            if now >= next_slice:
                interval = min(self._sweep_interval, SWEEP_WHEN_DEAF) if is_deaf() else self._sweep_interval
                if self._sweep(now, interval):
                    hang_anew()
                self._on_tick()
                next_slice = now + tick(interval)
            self._dispatch(is_ended)
            if self.looker.take_new_links():
                hang_anew()

    # ---- rings

    def _collect(self, patience: float) -> bool:
        """Wait for rings and note them all; returns whether there were as many as the system can keep."""
        try:
            paths = self._rings.get(timeout=patience)
        except queue.Empty:
            return False
        now = time.monotonic()
        while True:
            if paths is None or len(paths) >= self._overflow:
                self._look_around(now)
            if paths is not None and len(paths) >= self._overflow:
                return True
            for path in paths or ():
                self._ring(path, now)
            try:
                paths = self._rings.get_nowait()
            except queue.Empty:
                return False

    def _ring(self, path: str, now: float) -> None:
        prefix = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
        if prefix is None:
            if path in {each.rstrip(os.sep) for each in self._prefixes}:
                self._look_around(now)
            return
        directory, *parts = path[len(prefix) :].split(os.sep)  # noqa: PTH206 - thousands in a storm
        name = name_of(directory)
        if name is None or (parts and self._rule.leaves_out_below(parts)):
            return
        relatives = {name} if self._pace.is_waiting(name) else self.looker.relatives(name)
        for each in relatives:
            self._unheard.pop(each, None)
            self._pace.ring(each, now)

    def _look_around(self, now: float) -> None:
        """Ring for all plugins that may differ from what is known."""
        self._prefixes = _prefixes(self._root)
        known = set(self.looker.names())
        for name in self.looker.moved() | {name for name in known if self.looker.is_different(name)}:
            self._pace.ring(name, now)

    # ---- the sweep

    def _sweep(self, now: float, interval: float) -> bool:
        """Note what changed in silence; returns whether the bell is to be hung anew."""
        if self._slices.has_other_root():
            self._look_around(now)
            return True
        for name in self._slices.slice(now, interval) | self._slices.arrivals(now, interval):
            if not self._pace.is_waiting(name):
                self._unheard[name] = now
                self._pace.ring(name, now)
        late = [name for name, found_at in self._unheard.items() if now - found_at >= SETTLED]
        for name in late:
            del self._unheard[name]
        return bool(late)

    # ---- looks

    def _dispatch(self, is_ended: Callable[[], bool]) -> None:
        now = time.monotonic()
        due = self._pace.due(now)
        if not due:
            return
        overdue = {name for name in due if self._pace.is_overdue(name, now)}
        waiting = [name for name in due if name not in overdue]
        busy = self._repositories.busy(self.looker.paths(waiting))
        mark = self._repositories.mark()
        if not busy and mark != self._mark:
            # All that git changed is on disk: it is told together, also what has not rung yet.
            self._mark = mark
            due = sorted({*due, *filter(self.looker.is_different, self.looker.names())})
        self._held = self._held | busy if busy else set()
        for name in self._held:  # all at the same moment: what git changed together is told together
            self._pace.delay(name, now + _GIT_STEP)
        changes = [change for name in due if name not in busy and (change := self._look(name))]
        overtaken = self._overtaken([change.name for change in changes if change.name not in overdue], mark)
        changes = [change for change in changes if change.name not in overtaken]
        if changes and not is_ended():
            self._tell(changes)

    def _overtaken(self, names: Collection[str], mark: Mark) -> set[str]:
        """Return the plugins that git has begun to change while they were read; they are looked at again."""
        now = time.monotonic()
        overtaken = self._repositories.overtaken(self.looker.paths(names), mark) if names else set()
        for name in overtaken:
            self.looker.doubt(name)
            self._pace.ring(name, now)
            self._pace.delay(name, now + _GIT_STEP)
        return overtaken

    def _look(self, name: str) -> Change | None:
        now = time.monotonic()
        settled = self._pace.is_settled(name, now)
        again = settled and name in self._unproven
        found = self.looker.look(name, settled=settled, again=again)
        if found is Verdict.TORN or (found is Verdict.SAME and name in self._unproven):
            self._pace.postpone(name, now)
            return None
        self._pace.looked(name, now)
        if isinstance(found, Change):
            self._pace.changed(name, now)
            return found
        self._unheard.pop(name, None)  # nothing changed: nothing to be heard
        return None

    def _tell(self, changes: Sequence[Change]) -> None:
        names = {change.name for change in changes}
        unsettled = {change.name for change in changes if not change.is_settled}
        try:
            again = set(self._on_change(changes)) & set(self.looker.names())
        except Exception:  # foreign code: one failing call must not end the watching, nor lose the change
            logger.exception("handling changes of %s failed", ", ".join(sorted(names)))
            again = unsettled
        self._unproven = (self._unproven - names) | again
        now = time.monotonic()
        for name in again:
            self._pace.postpone(name, now)


def _prefixes(root: Path) -> tuple[str, ...]:
    """Return how the path of something below the root may begin: a system may resolve links in it."""
    places = dict.fromkeys([os.fspath(root), os.path.realpath(root)])
    return tuple(os.path.join(place, "") for place in places)  # noqa: PTH118 - the separator at the end
