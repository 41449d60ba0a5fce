"""The dependency graph: which plugins require which, and in which order they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.config import Config
from hotload_tui.core.directories import nearest
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.model import PluginState
from hotload_tui.core.runtime.loader import Loader

Required: TypeAlias = Callable[[str], Collection[str]]
"""Tells which plugins a plugin requires."""


def in_order(names: Iterable[str], required: Required) -> list[str]:
    """Return the names, each after those that it requires, else in the order given; a cycle is broken."""
    names = dict.fromkeys(names)
    graph = {name: dict.fromkeys(other for other in required(name) if other in names) for name in names}
    while True:
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            first, second, *_ = error.args[1]  # ``second`` requires ``first``
            del graph[second][first]


def cycle_of(name: str, required: Required) -> tuple[str, ...]:
    """Return the shortest way from a plugin back to itself, with it at both ends; empty if there is none."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen: set[str] = set()
    for way in ways:  # it grows meanwhile
        for other in required(way[-1]):
            if other == name:
                return (*way, name)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return ()


def depending_on(names: Iterable[str], among: Collection[str], required: Required) -> set[str]:
    """Return those ``among`` the plugins that require one of ``names``, directly or through others."""
    found: set[str] = set()
    reached = set(names)
    while more := {each for each in among if each not in found and not reached.isdisjoint(required(each))}:
        found |= more
        reached |= more
    return found


_WHY = {
    PluginState.OFF: "is disabled",
    PluginState.FAIL: "does not load",
    PluginState.WAIT: "waits itself",
    PluginState.HELD: "is held, and nothing of it serves",
}


class DependencyGraph:
    """Answers from the configuration, the artifacts, and what was last compiled of each plugin."""

    def __init__(self, config: Config, store: StatusStore, loader: Loader) -> None:
        self._config = config
        self._store = store
        self._loader = loader
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._wanting: set[str] = set()  # those of which that is not empty
        self.tied: set[str] = set()
        """Plugins whose newest version is fit to serve, or may be, and waits for another plugin's."""

    def of(self, name: str, artifact: Artifact) -> tuple[str, ...]:
        """Return what a version of a plugin requires."""
        return tuple(dict.fromkeys([*artifact.manifest.requires, *self._config.of(name).requires]))

    def note(self, name: str, artifact: Artifact) -> None:
        """Note what the newest version of a plugin requires."""
        self._wanted[name] = wanted = self.of(name, artifact)
        (self._wanting.add if wanted else self._wanting.discard)(name)

    def forget(self, name: str) -> None:
        """Drop what is known of a plugin that is gone."""
        self._wanted.pop(name, None)
        self._wanting.discard(name)
        self.tied.discard(name)

    def wanted(self, name: str) -> Collection[str]:
        """Return what the newest version of a plugin requires that was seen."""
        found = self._wanted.get(name)
        return (*self._config.of(name).requires, *self.bound(name)) if found is None else found

    def bound(self, name: str) -> Collection[str]:
        """Return the plugins with which what serves of a plugin was loaded."""
        live = self._loader.live(name)
        return live.generation.peers.keys() if live is not None else ()

    def requiring(self) -> set[str]:
        """Return the plugins that require any, as they serve or as they were seen last."""
        configured = (name for name, settings in self._config.plugins.items() if settings.requires)
        return {*self._loader.bound(), *self._wanting, *configured, *self.tied}

    def dependents(self, name: str) -> list[str]:
        """Return the plugins that serve and cannot without this one, each before those that it requires."""
        serving = self._loader.names()
        found = depending_on([name], serving, self.bound)
        return in_order((each for each in serving if each in found), self.bound)[::-1]

    def cycle(self, name: str) -> str:
        """Return how a plugin requires itself; empty if it does not."""
        return " → ".join(cycle_of(name, self.wanted))

    def missing(self, name: str) -> str:
        """Say why a plugin that is required does not serve."""
        status = self._store.get(name)
        if status is None:
            near = nearest(name, (each.name for each in self._store.statuses()))
            return f"there is no plugin {name}" + (f"; {near}" if near else "")
        return f"{name} {_WHY.get(status.state, 'is not loaded')}"
