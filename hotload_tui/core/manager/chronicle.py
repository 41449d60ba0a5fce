"""The history of each plugin in this host, as the events tell it."""

from __future__ import annotations

import threading
from collections import deque

from msgspec.structs import replace

from hotload_tui.core.events import (
    AnyEvent,
    PluginCompiled,
    PluginFailed,
    PluginLoaded,
    PluginRemoved,
    PluginRetired,
)
from hotload_tui.core.plugin import HistoryEntry

_KEPT = 100  # entries of each plugin


class Chronicle:
    """Listens to the events; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, deque[HistoryEntry]] = {}
        self._builds: dict[str, PluginCompiled] = {}

    def of(self, name: str) -> tuple[HistoryEntry, ...]:
        """Return what happened to a plugin, the oldest first; at most 100 entries."""
        with self._lock:
            return tuple(self._entries.get(name, ()))

    def note(self, event: AnyEvent) -> None:
        """Take in an event."""
        with self._lock:
            match event:
                case PluginCompiled():
                    self._builds[event.name] = event
                case PluginLoaded():
                    seconds = self._compile_seconds(event.name, event.digest)
                    self._add(
                        event.name,
                        HistoryEntry(event.at, event.generation, event.digest, seconds, event.seconds),
                    )
                case PluginFailed() if event.fault.phase in ("compile", "load", "register"):
                    build = self._builds.pop(event.name, None)
                    digest = build.digest if build and event.fault.phase != "compile" else ""
                    seconds = build.seconds if build and digest else 0.0
                    self._add(event.name, HistoryEntry(event.at, 0, digest, seconds, fault=event.fault))
                case PluginRetired():
                    self._retired(event)
                case PluginRemoved():
                    self._entries.pop(event.name, None)
                    self._builds.pop(event.name, None)
                case _:
                    pass

    def _add(self, name: str, entry: HistoryEntry) -> None:
        self._entries.setdefault(name, deque(maxlen=_KEPT)).append(entry)

    def _compile_seconds(self, name: str, digest: str) -> float:
        build = self._builds.pop(name, None)
        return build.seconds if build is not None and build.digest == digest else 0.0

    def _retired(self, event: PluginRetired) -> None:
        entries = self._entries.get(event.name, deque())
        for index, entry in enumerate(entries):
            if entry.generation == event.generation:
                entries[index] = replace(entry, memory=event.memory)
