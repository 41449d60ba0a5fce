"""``Audience``: who hears what becomes of the host."""

from __future__ import annotations

from typing import Protocol

from hotload_tui.core.plugin import Level


class Audience(Protocol):
    """Who hears of the host."""

    def say(self, level: Level, plugin: str, text: str) -> None:
        """Hear a line for the log."""
        ...

    def started(self, pid: int) -> None:
        """Hear that a host was started; it may not answer yet."""
        ...

    def lost(self) -> None:
        """Hear that the host ended."""
        ...

    def changed(self) -> None:
        """Hear that ``trouble`` is another one."""
        ...
