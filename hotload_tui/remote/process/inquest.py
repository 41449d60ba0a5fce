"""Who killed the host, or keeps it from going on: what the breadcrumbs and faulthandler's dumps tell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

from hotload_tui.core.discovery import name_of
from hotload_tui.core.plugin import Fault, PluginState, PluginStatus
from hotload_tui.remote.process.autopsy import CUT_OFF, fault_of_death, fault_of_hang, plugin_in
from hotload_tui.remote.process.breadcrumbs import Crumb, Trail

AFTERMATH: Final = 0.25
"""Seconds: a signal sent to the whole process may strike a moment after the step."""

CUT_OFF_SEEN: Final = 1.0
"""Seconds until a host has noticed that descriptors are missing."""


class Culprit(NamedTuple):
    """A plugin, and what it did."""

    plugin: str
    digest: str
    """Of its source; empty where that is not known."""
    fault: Fault


class Inquest:
    """Looks for culprits among the plugins in ``runtime_dir``."""

    def __init__(self, runtime_dir: Path, load_timeout: float) -> None:
        self._root = runtime_dir.absolute()
        self._limit = load_timeout

    def of_death(
        self, trail: Trail, trace: str, returncode: int, *, was_orphaned: bool = False
    ) -> Culprit | None:
        """Return who was loading or being called when the host died.

        Also who had just been, but not of a host that ended because its supervisor did.
        """
        crumb = self._crumb(trail, trace)
        if crumb is None and not was_orphaned:
            crumb = recent(trail, time.monotonic() - (CUT_OFF_SEEN if returncode == CUT_OFF else AFTERMATH))
        if crumb is None:
            return None
        status = self._status(crumb)
        fault = fault_of_death(status, crumb.phase, returncode=returncode, limit=self._limit, trace=trace)
        return Culprit(crumb.plugin, crumb.digest, fault)

    def of_hang(self, trail: Trail, trace: str) -> Culprit | None:
        """Return who keeps the host from going on."""
        crumb = self._crumb(trail, trace) or recent(trail, trail.beat - AFTERMATH)
        if crumb is None:
            return None
        return Culprit(crumb.plugin, crumb.digest, fault_of_hang(self._status(crumb), crumb.phase, trace))

    def _crumb(self, trail: Trail, trace: str) -> Crumb | None:
        """Return the step of the plugin in whose code the dump was written, else the newest step."""
        named = name_of(plugin_in(trace, self._root) or plugin_in(trace, self._root.resolve()) or ".") or ""
        for crumb in reversed(trail.crumbs):
            if crumb.plugin == named or not named:
                return crumb
        return Crumb(0, 0.0, "host", "", named) if named else None

    def _status(self, crumb: Crumb) -> PluginStatus:
        return PluginStatus(crumb.plugin, PluginState.HELD, str(self._root / crumb.plugin))


def recent(trail: Trail, since: float) -> Crumb | None:
    """Return the newest step that is not over, or was over after ``since`` on the monotonic clock."""
    if trail.crumbs:
        return trail.crumbs[-1]
    last = trail.last
    return last if last is not None and last.at > since else None
