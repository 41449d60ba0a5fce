"""Requirements as a graph: what is loaded after what, and what goes together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

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
