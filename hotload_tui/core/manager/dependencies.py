"""The dependency graph: which plugins require which, and in which order they load."""

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
"""Returns the plugins that a plugin requires."""


def in_order(names: Iterable[str], required: Required) -> list[str]:
    """Return the names, each after the names that it requires, else in the given order; break cycles."""
    names = dict.fromkeys(names)
    graph = {name: dict.fromkeys(other for other in required(name) if other in names) for name in names}
    while True:
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            first, second, *_ = error.args[1]  # ``second`` requires ``first``
            del graph[second][first]


def cycle_of(name: str, required: Required) -> tuple[str, ...]:
    """Return the shortest cycle through a plugin, with the plugin at both ends; empty if there is none."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen: set[str] = set()
    for way in ways:  # the loop extends the list
        for other in required(way[-1]):
            if other == name:
                return (*way, name)
            if other not in seen:
                seen.add(other)
                ways.append((*way, other))
    return ()


def depending_on(names: Iterable[str], among: Collection[str], required: Required) -> set[str]:
    """Return the plugins in ``among`` that require one of ``names``, directly or through other plugins."""
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
    PluginState.HELD: "is held, and no version of it is live",
}


class DependencyGraph:
    """The requirements of plugins: from the configuration, the artifacts and the newest builds."""

    def __init__(self, config: Config, store: StatusStore, loader: Loader) -> None:
        self._config = config
        self._store = store
        self._loader = loader
        self._wanted: dict[str, tuple[str, ...]] = {}
        self._wanting: set[str] = set()  # the plugins whose entry in _wanted is not empty
        self.tied: set[str] = set()
        """Plugins whose newest version may load, but waits until another plugin changes."""

    def of(self, name: str, artifact: Artifact) -> tuple[str, ...]:
        """Return the plugins that a version of a plugin requires."""
        return tuple(dict.fromkeys([*artifact.manifest.requires, *self._config.of(name).requires]))

    def note(self, name: str, artifact: Artifact) -> None:
        """Record the requirements of the newest version of a plugin."""
        self._wanted[name] = wanted = self.of(name, artifact)
        (self._wanting.add if wanted else self._wanting.discard)(name)

    def forget(self, name: str) -> None:
        """Remove the records of a plugin that is gone."""
        self._wanted.pop(name, None)
        self._wanting.discard(name)
        self.tied.discard(name)

    def wanted(self, name: str) -> Collection[str]:
        """Return the requirements of the newest known version of a plugin."""
        found = self._wanted.get(name)
        return (*self._config.of(name).requires, *self.bound(name)) if found is None else found

    def bound(self, name: str) -> Collection[str]:
        """Return the plugins that the live generation of a plugin requires."""
        live = self._loader.live(name)
        return live.generation.peers.keys() if live is not None else ()

    def requiring(self) -> set[str]:
        """Return the plugins whose live or newest known version requires a plugin, and the tied plugins."""
        configured = (name for name, settings in self._config.plugins.items() if settings.requires)
        return {*self._loader.bound(), *self._wanting, *configured, *self.tied}

    def dependents(self, name: str) -> list[str]:
        """Return the live plugins that require this plugin, each before the plugins that it requires."""
        serving = self._loader.names()
        found = depending_on([name], serving, self.bound)
        return in_order((each for each in serving if each in found), self.bound)[::-1]

    def cycle(self, name: str) -> str:
        """Return the cycle by which a plugin requires itself, as text; empty if it does not."""
        return " → ".join(cycle_of(name, self.wanted))

    def missing(self, name: str) -> str:
        """Return why a required plugin is not live."""
        status = self._store.get(name)
        if status is None:
            near = nearest(name, (each.name for each in self._store.statuses()))
            return f"there is no plugin {name}" + (f"; {near}" if near else "")
        return f"{name} {_WHY.get(status.state, 'is not loaded')}"
