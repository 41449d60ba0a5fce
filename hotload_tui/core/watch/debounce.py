"""When to scan a plugin after a notification: a burst of changes counts as one change."""

from __future__ import annotations

import math

from msgspec import Struct

_STREAM = 0.5  # seconds; saves closer together than this need a longer quiet
_FASTEST = 0.002  # seconds; the quiet grows from here if ``settle_time`` is less
_GROWTH = 4
_LONGEST_QUIET = 0.1  # seconds
SETTLED = 0.05  # seconds of quiet after which a scan counts even if it looks like the middle of a save
_TOGETHER = 0.1  # the most seconds that a plugin waits for others that are being saved
_SECOND_LOOK = 0.25  # seconds after a scan; finds changes that a late watch missed or the clock's grain hid


class _Burst(Struct):
    """Plugins with notifications in quick succession: files that are saved together are scanned together."""

    first: float
    due: float


class _Wait(Struct):
    """A plugin with a notification that is not handled yet; times of the monotonic clock."""

    first: float
    last: float
    due: float
    burst: _Burst

    @property
    def look(self) -> float:
        """When to scan the plugin."""
        return max(self.due, self.burst.due)


class _Saves(Struct):
    last: float
    quiet: float


class Debouncer:
    """Waits for a short quiet, longer in a stream of changes, and never longer than ``debounce_time``."""

    def __init__(self, settle_time: float, debounce_time: float) -> None:
        self._settle_time = settle_time
        self._debounce_time = debounce_time
        self._waits: dict[str, _Wait] = {}
        self._together = min(_TOGETHER, debounce_time)
        self._burst = _Burst(-math.inf, -math.inf)
        self._saves: dict[str, _Saves] = {}
        self._second_looks: dict[str, float] = {}

    def is_waiting(self, name: str) -> bool:
        """Return whether the plugin has a notification that is not handled yet."""
        return name in self._waits

    def notify(self, name: str, now: float) -> None:
        """Record a notification for a plugin."""
        burst = self._burst_of(now)
        wait = self._waits.setdefault(name, _Wait(now, now, now, burst))
        wait.last = now
        wait.due = min(now + self._quiet(name, now), wait.first + self._debounce_time)

    def due(self, now: float) -> list[str]:
        """Return the plugins to scan now."""
        names = {name for name, wait in self._waits.items() if wait.look <= now}
        names |= {name for name, due in self._second_looks.items() if due <= now}
        return sorted(names)

    def next_due(self) -> float | None:
        """Return when the next scan is due; ``None`` if none is."""
        dues = [wait.look for wait in self._waits.values()]
        return min([*dues, *self._second_looks.values()], default=None)

    def is_settled(self, name: str, now: float) -> bool:
        """Return whether a scan at ``now`` counts, even if it looks like the middle of a save."""
        wait = self._waits.get(name)
        return wait is None or now - wait.last >= SETTLED or self.is_overdue(name, now)

    def is_overdue(self, name: str, now: float) -> bool:
        """Return whether a plugin has been waiting for ``debounce_time``."""
        wait = self._waits.get(name)
        return wait is not None and now - wait.first >= self._debounce_time

    def postpone(self, name: str, now: float) -> None:
        """Scan again once the plugin is quiet for long enough that the scan counts."""
        wait = self._waits.setdefault(name, _Wait(now, now, now, _Burst(now, now)))
        self._second_looks.pop(name, None)
        wait.due = max(now, min(wait.last + SETTLED, wait.first + self._debounce_time))

    def delay(self, name: str, until: float) -> None:
        """Scan at ``until`` instead of now."""
        if name in self._waits:
            self._waits[name].due = until
        if name in self._second_looks:
            self._second_looks[name] = until

    def looked(self, name: str, now: float) -> None:
        """Record a scan; if it followed a notification, schedule a second scan."""
        self._second_looks.pop(name, None)
        if self._waits.pop(name, None) is not None:
            self._second_looks[name] = now + _SECOND_LOOK

    def changed(self, name: str, now: float) -> None:
        """Record that a scan found a change, and adapt the plugin's quiet time."""
        saves = self._saves.get(name)
        if saves is None or now - saves.last > _STREAM:
            self._saves[name] = _Saves(now, self._settle_time)
        else:
            longest = max(_LONGEST_QUIET, self._settle_time)
            saves.quiet = min(max(saves.quiet, _FASTEST) * _GROWTH, longest)
            saves.last = now

    def _burst_of(self, now: float) -> _Burst:
        """Return the burst of a notification at ``now``; notifications extend a burst only up to a limit."""
        if now > self._burst.due:
            self._burst = _Burst(now, now)
        self._burst.due = min(now + self._settle_time, self._burst.first + self._together)
        return self._burst

    def _quiet(self, name: str, now: float) -> float:
        saves = self._saves.get(name)
        return self._settle_time if saves is None or now - saves.last > _STREAM else saves.quiet
