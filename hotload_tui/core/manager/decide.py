"""``decide``: from the facts of some plugins to what happens to each; ``plan`` shows it, ``update`` does it.

This module is pure: it reads no file, and knows neither the loader nor the status store. What a build or a
trial finds out becomes a new fact, after which the caller decides again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.model import Action, PluginState, release_advice

Required: TypeAlias = Callable[[str], Collection[str]]
"""Returns the plugins that a plugin requires."""


def in_order(names: Iterable[str], required: Required) -> list[str]:
    """Return the names, each after the names that it requires, else in the given order; break cycles."""
    names = dict.fromkeys(names)
    graph = {name: dict.fromkeys(other for other in required(name) if other in names) for name in names}
    while any(graph.values()):
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            first, second, *_ = error.args[1]  # ``second`` requires ``first``
            del graph[second][first]
    return list(graph)


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


Version: TypeAlias = Literal["newest", "held", "last good", "live"]
"""Which version of a plugin; ``live``: the live version, loaded again."""

Retry: TypeAlias = Literal["", "required", "claim", "tied"]
"""Never; when a plugin that it requires loads; or (``claim``) also when any plugin is unloaded; or (``tied``)
also when a plugin that requires it loads, and when the plugin is ``given``."""

_NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Facts(Struct, frozen=True):
    """All that a decision about one plugin depends on."""

    name: str
    disk: Literal["on", "off", "gone"] = "on"
    """Whether the plugin is there and enabled, there and disabled, or not there."""
    near: str = ""
    """For a plugin that is not there: the text that suggests a similar name, if there is one."""
    state: PluginState = PluginState.NEW
    live: str = ""
    """Digest of the live version; empty if none is live."""
    generation: int = 0
    """Number of the live version; 0 if none is live."""
    bound: tuple[str, ...] = ()
    """The plugins that the live version requires."""
    tried: str = ""
    """Digest of the source that ``state`` is about."""
    retry: Retry = ""
    """When to try an unchanged plugin again."""
    given: bool = False
    """Whether to bring the plugin up to date with its source."""
    asked: str = ""
    """Why the plugin loads even if it is unchanged or HELD; empty if it does not."""
    is_retried: bool = False
    """Whether the plugin is tried again because of other plugins."""
    source: str | None = None
    """Digest of the source on disk; empty if it cannot be read, ``None`` if nobody has read it yet."""
    is_broken: bool = False
    """Whether the source cannot be read or compiled."""
    is_news: bool = True
    """Whether the fault of a broken source is not known yet."""
    is_settled: bool = True
    """Whether to report a failure at once, because no file is half-written."""
    is_built: bool = False
    """Whether the source has been compiled."""
    is_at_gate: bool = False
    """Whether tests or checks run that the compiled source must pass before it loads."""
    requires: tuple[str, ...] = ()
    """The plugins that the newest known version requires."""
    hold: str | None = None
    """Digest of the version at which the plugin is HELD (empty: none); ``None`` if it follows its source."""
    reason: str = ""
    """The reason for the hold."""
    is_pinned: bool = False
    """Whether the user chose the version at which it is HELD."""
    is_barred: bool = False
    """Whether the source must not be loaded even if the version at which the plugin is HELD does not load."""
    last_good: str = ""
    """Digest of the version that was live last; empty if there is none, or it is barred."""
    versions: Mapping[str, tuple[str, ...]] = _NOTHING
    """Digests of the artifacts that are at hand, with the plugins that each requires."""
    is_replaced: bool = False
    """Whether the live version leaves before another version is tried (``reload = "replace"``)."""
    has_left: bool = False
    """Whether it has left, in this update."""
    failed: frozenset[str] = frozenset()
    """Digests of the versions whose artifact cannot be used, or whose trial failed."""

    @property
    def is_looked_at(self) -> bool:
        """Whether the source on disk matters."""
        return self.given or self.is_retried


class Decision(Struct, frozen=True):
    """What happens to one plugin."""

    name: str
    action: Action
    reasons: tuple[str, ...] = ()
    """Why, in words."""
    version: Version | None = None
    """The version that ``action`` is about."""
    digest: str = ""
    """Digest of the artifact to load; empty if none loads."""
    requires: tuple[str, ...] = ()
    """The plugins that the artifact to load requires."""
    needs: Literal["", "source", "artifact"] = ""
    """What the caller must provide before it decides again: the source on disk, or the artifact to load."""
    unmet: str = ""
    """Why a plugin that this plugin requires, or one that requires this plugin, keeps it from loading."""
    is_postponed: bool = False
    """Whether a failure is not reported yet, because a file may be half-written."""
    is_at_gate: bool = False
    """Whether tests or checks decide later, of this version or of one that it requires."""
    is_mended: bool = False
    """Whether the source is the live version again, so that the plugin is ok without a load."""
    leaves: str = ""
    """Why the live version leaves before the version to load is tried; empty if it stays until the swap."""


LEFT: Final = ("claim", "tied")
"""The values of ``retry`` for which a plugin that is unloaded may have kept another one from loading."""
GATE: Final = "it goes live when its tests or checks have passed"
REPLACED = 'its live version leaves before the new one is tried: reload = "replace"'

BROKEN = (PluginState.FAIL, PluginState.STALE)
_BEHIND = (*BROKEN, PluginState.HELD)


def decide(facts: Mapping[str, Facts]) -> dict[str, Decision]:
    """Return what happens to each plugin; if a decision ``needs`` something, all are preliminary.

    ``facts`` must contain each plugin that one of its plugins requires.
    """
    return _Family(_after_unloads(facts)).decisions()


def _after_unloads(facts: Mapping[str, Facts]) -> dict[str, Facts]:
    """Return the facts after the unloads: a plugin is unloaded with the plugins that require it."""
    after, gone = dict(facts), unloaded(facts)
    for name in gone:
        if not _is_unloaded(facts[name]):
            after[name] = replace(
                facts[name], live="", generation=0, bound=(), state=PluginState.WAIT, retry="tied"
            )
    if not gone:
        return after
    for name, each in after.items():
        if each.retry in LEFT:  # the plugin that is unloaded may have kept it from loading
            after[name] = replace(each, is_retried=True)
    return after


def unloaded(facts: Mapping[str, Facts]) -> set[str]:
    """Return the plugins that are unloaded: those that are disabled or gone, and those that require them."""
    gone = {name for name, each in facts.items() if _is_unloaded(each)}
    live = [name for name, each in facts.items() if each.live]
    return gone | depending_on(gone, live, lambda name: facts[name].bound) if gone else gone


def _is_unloaded(plugin: Facts) -> bool:
    return plugin.live != "" and (plugin.disk == "gone" or (plugin.disk == "off" and plugin.given))


# ---- each plugin by itself


def _own(plugin: Facts) -> Decision:
    """Decide about a plugin without regard to the other plugins."""
    name = plugin.name
    if _is_unloaded(plugin):
        return Decision(
            name, "unload", ("it is disabled" if plugin.disk == "off" else "its directory is gone",)
        )
    if plugin.live in plugin.failed:
        return Decision(name, "fail", (_stays(plugin),), "live")
    if plugin.disk != "on" or not plugin.is_looked_at:
        return Decision(name, "keep")
    if plugin.source is None:
        return Decision(name, "keep", needs="source")
    found = None if plugin.asked else _held(plugin) or _current(plugin)
    return found or _newest(plugin, plugin.source)


def _newest(plugin: Facts, source: str) -> Decision:
    """Decide about a plugin whose newest version is to be loaded."""
    if plugin.is_broken or source in plugin.failed:
        return _failed(plugin)
    if plugin.is_at_gate:
        return Decision(plugin.name, "keep", (GATE,), is_at_gate=True)
    return _load(plugin, "newest", source, _why(plugin))


def _load(plugin: Facts, version: Version, digest: str, reason: str) -> Decision:
    action: Action = "fail" if version == "last good" else "reload" if plugin.live else "load"
    requires = plugin.versions.get(digest)
    is_at_hand = plugin.is_built if version == "newest" else requires is not None
    needs: Literal["", "artifact"] = "" if is_at_hand else "artifact"
    return Decision(plugin.name, action, (reason,), version, digest, requires or (), needs)


def _held(plugin: Facts) -> Decision | None:
    """Decide about a plugin that its hold keeps from following its source; ``None`` if there is no hold."""
    if plugin.hold is None:
        return None
    if plugin.hold and plugin.hold not in plugin.failed | {plugin.live}:
        reason = f"the version it is held at is loaded ({plugin.reason})"
        return _load(plugin, "held", plugin.hold, reason)
    if plugin.hold == plugin.live or plugin.is_barred:
        release = release_advice(plugin.name, by_fault=not plugin.is_pinned)
        return Decision(plugin.name, "keep", (f"held: {plugin.reason}; {release}",), "held")
    return None  # the version at which it is HELD does not load


def _current(plugin: Facts) -> Decision | None:
    """Decide about a plugin whose source is live already, or is known to fail; ``None`` if it is neither."""
    if plugin.is_retried or plugin.retry == "tied" or not plugin.source:
        return None
    if plugin.live == plugin.source:
        return Decision(plugin.name, "keep", is_mended=plugin.state in _BEHIND)
    if plugin.state in BROKEN and plugin.tried == plugin.source:
        return Decision(plugin.name, "keep")
    return None


def _failed(plugin: Facts) -> Decision:
    """Decide about a plugin whose source does not compile or load."""
    name = plugin.name
    if not plugin.is_settled and not plugin.has_left:
        return Decision(name, "keep", is_postponed=True)
    if plugin.is_broken and not plugin.is_news and not plugin.asked:
        return Decision(name, "keep")
    if not plugin.live and plugin.last_good and plugin.last_good not in plugin.failed:
        return _load(plugin, "last good", plugin.last_good, "the last good version is loaded in its place")
    return Decision(name, "fail", (_stays(plugin) or "no version of it is live",), "newest")


def _why(plugin: Facts) -> str:
    """Return why the source of a plugin loads."""
    if plugin.asked:
        return plugin.asked
    if plugin.state in BROKEN and plugin.tried == plugin.source:
        return "it failed before, and is tried again"
    return "its source changed" if plugin.live else "no version of it is live"


def _stays(plugin: Facts) -> str:
    return f"generation {plugin.generation} stays live" if plugin.live else ""


# ---- plugins that require each other

_WHY = {
    PluginState.FAIL: "does not load",
    PluginState.STALE: "does not load",
    PluginState.WAIT: "waits itself",
    PluginState.HELD: "is held, and no version of it is live",
}


class _Family:
    """Decides about plugins that require each other: they load together, or not at all."""

    def __init__(self, facts: dict[str, Facts]) -> None:
        self._facts = facts
        self._own = {name: _own(each) for name, each in facts.items()}
        self._bound = [each for each in facts.values() if each.bound]
        self._loading: dict[str, Decision] = {}
        self._drawn_in: dict[str, Decision] = {}
        self._left_out: dict[str, Decision] = {}

    def decisions(self) -> dict[str, Decision]:
        """Return the decision about each plugin."""
        self._grow()
        if not any(each.needs for each in (*self._own.values(), *self._drawn_in.values())):
            while self._shrink():
                self._grow()
        return self._own | self._drawn_in | self._left_out | self._leaving()

    def _leaving(self) -> dict[str, Decision]:
        """Return the decisions about the plugins whose live version leaves before the next one is tried."""
        facts = self._facts
        live = [name for name in self._loading if facts[name].live]
        reasons = {name: REPLACED for name in live if facts[name].is_replaced}
        for name in depending_on(reasons, live, lambda each: facts[each].bound) if reasons else ():
            reasons.setdefault(name, "its live version leaves first, with one that it requires")
        loading = self._loading
        return {
            name: replace(loading[name], leaves=reason, reasons=(*loading[name].reasons, reason))
            for name, reason in reasons.items()
        }

    # ---- the plugins that load

    def _grow(self) -> None:
        """Find the plugins that load, and draw in those that load because of them."""
        left = self._left_out
        self._loading = {name: each for name, each in self._own.items() if each.digest and name not in left}
        self._drawn_in = {}
        is_growing = bool(self._loading)
        while is_growing:
            is_growing = False
            required = {other for name in self._loading for other in self._facts[name].requires}
            for name, plugin in self._facts.items():
                if name in self._loading or name in self._drawn_in or name in left or plugin.disk != "on":
                    continue
                found = self._retried(plugin, required) or self._again(plugin)
                if found is not None:
                    self._drawn_in[name] = found
                    is_growing = True
                    if found.digest:
                        self._loading[name] = found

    def _retried(self, plugin: Facts, required: Collection[str]) -> Decision | None:
        """Try a plugin again that may load now because others load."""
        if plugin.is_looked_at or not plugin.retry:
            return None
        requires_one = not self._loading.keys().isdisjoint(plugin.requires)
        if requires_one or (plugin.retry == "tied" and plugin.name in required):
            return _own(replace(plugin, is_retried=True))
        return None

    def _again(self, plugin: Facts) -> Decision | None:
        """Load the live version of a plugin again, together with a plugin that it requires."""
        if not plugin.live or not plugin.failed.isdisjoint((plugin.live, plugin.source)):
            return None
        for other in plugin.bound:
            if other in self._loading:
                own = self._own[plugin.name]
                if own.action == "fail":
                    reasons: tuple[str, ...] = (f"its live version is loaded again with {other}",)
                else:
                    reasons = (f"it requires {other}, which is reloaded",)
                action: Action = "fail" if own.action == "fail" else "reload"
                requires = plugin.versions[plugin.live]
                return replace(
                    own, action=action, reasons=reasons, version="live", digest=plugin.live, requires=requires
                )
        return None

    # ---- the plugins that cannot load

    def _shrink(self) -> bool:
        """Leave out the plugins that cannot load with the others; return whether there are any."""
        before = len(self._left_out)
        for name in in_order(self._loading, lambda each: self._loading[each].requires):
            if reason := self._unmet(self._loading[name]):
                self._leave_out(name, reason)
        for plugin in self._bound:
            if plugin.name not in self._loading:
                for other in plugin.bound:
                    if other in self._loading:
                        self._leave_out(other, f"{plugin.name} requires it, and does not load with it")
        return len(self._left_out) > before

    def _unmet(self, one: Decision) -> str:
        """Return why a plugin cannot load with the others; empty if it can."""
        if one.requires and (cycle := self._cycle(one.name)):
            return f"it requires itself: {' → '.join(cycle)}; one of them must drop the requirement"
        for name in one.requires:
            if name not in self._loading:
                other = self._facts[name]
                if not other.live or _is_unloaded(other):
                    return f"it requires {name}, but {self._missing(other)}"
                if one.version == "newest" and self._has_failed(other):
                    return f"it requires {name}, whose newest version does not load"
        return ""

    def _cycle(self, name: str) -> tuple[str, ...]:
        def required(each: str) -> Collection[str]:
            return (self._loading.get(each) or self._facts[each]).requires

        return cycle_of(name, required)

    def _missing(self, other: Facts) -> str:
        """Return why a required plugin is not live."""
        if other.disk == "gone":
            return f"there is no plugin {other.name}" + (f"; {other.near}" if other.near else "")
        if other.disk == "off":
            return f"{other.name} is disabled"
        decision = self._left_out.get(other.name) or self._own[other.name]
        words = {"fail": "does not load", "wait": "waits itself"}
        if decision.version == "held":
            return f"{other.name} {_WHY[PluginState.HELD]}"
        return f"{other.name} {words.get(decision.action) or _WHY.get(other.state, 'is not loaded')}"

    def _has_failed(self, other: Facts) -> bool:
        """Return whether the newest version of a plugin with an older live version does not load now."""
        decision = self._left_out.get(other.name) or self._own[other.name]
        if decision.action == "fail" or decision.is_postponed or decision.is_at_gate:
            return other.is_looked_at
        return other.is_looked_at and other.state in BROKEN and not decision.is_mended

    def _leave_out(self, name: str, reason: str) -> None:
        self._left_out[name] = self._without(self._loading.pop(name), reason)

    def _without(self, one: Decision, reason: str) -> Decision:
        """Return the decision about a plugin whose version cannot load with the others."""
        plugin, own = self._facts[one.name], self._own[one.name]
        if one.version == "live":
            return own
        if one.version == "last good":
            return replace(own, digest="", reasons=("no version of it is live",))
        if one.version == "held" and plugin.live:
            return Decision(one.name, "keep")
        others = [self._left_out.get(each) or self._own[each] for each in plugin.requires]
        if any(other.is_at_gate for other in others):
            return Decision(one.name, "keep", (reason,), one.version, is_at_gate=True)
        if not plugin.is_settled or any(other.is_postponed for other in others):
            return Decision(one.name, "keep", version=one.version, is_postponed=True)
        is_waiting = not plugin.live and not (one.version == "newest" and self._cycle(one.name))
        reasons = tuple(filter(None, (reason, _stays(plugin))))
        return Decision(one.name, "wait" if is_waiting else "fail", reasons, one.version, unmet=reason)


def ordered(decisions: Mapping[str, Decision], required: Required) -> Iterator[Decision]:
    """Yield the decisions: first those that change something, in order of loading; then the others."""
    busy = [name for name, each in decisions.items() if each.action != "keep"]
    for name in in_order(busy, required):
        yield decisions[name]
    yield from (each for each in decisions.values() if each.action == "keep")
