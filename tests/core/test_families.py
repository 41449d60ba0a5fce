"""Random plugins that require each other: each one reaches the live version of every other plugin."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from hotload_tui import PluginState
from hotload_tui.core.errors import HotloadError, RefusedError
from hotload_tui.core.events import PluginLoaded, PluginRetired
from hotload_tui.core.runtime.naming import identifier
from tests.core.conftest import Histories, plugin_modules
from tests.core.test_model import BOUNDED
from tests.counts import MODEL_EXAMPLES

NAMES = ("a", "b", "c", "d")
BROKEN = {"syntax": "def register(ctx)\n", "register": "def register(ctx):\n    1 / 0\n"}

_names = st.sampled_from(NAMES)
_required = st.lists(_names, max_size=2, unique=True)


Told: TypeAlias = "tuple[int, Peers]"
"""The version of a plugin, and the values of the plugins that it requires."""
Peers: TypeAlias = dict[str, Told]


def seen(peers: Peers) -> Iterator[tuple[str, int]]:
    """Yield each reachable plugin with the version that is reached."""
    for name, (version, others) in peers.items():
        yield name, version
        yield from seen(others)


@dataclass(frozen=True)
class Source:
    """The content of one plugin's directory."""

    version: int
    requires: tuple[str, ...] = ()
    is_picky: bool = False
    """Whether the plugin loads only with even versions of its requirements."""
    broken: str = ""
    is_on: bool = True

    def text(self, name: str) -> str:
        """Return the source of ``plugin.py``."""
        if self.broken:
            return f"# {self.version}\n{BROKEN[self.broken]}"
        peers = "".join(f"{other!r}: ctx.plugin({other!r}).tell(), " for other in self.requires)
        picky = "".join(f"    assert ctx.plugin({o!r}).VERSION % 2 == 0\n" for o in self.requires)
        return (
            f"VERSION = {self.version}\nREQUIRES = {list(self.requires)!r}\n"
            f"def register(ctx):\n{picky if self.is_picky else ''}"
            f"    global tell\n    tell = lambda: (VERSION, {{{peers}}})\n"
            f"    ctx.hook('all', lambda: ({name!r}, *tell()))\n"
        )


class Families(Histories):
    """Random actions on real files with a real manager, and the invariants that hold after each action."""

    def __init__(self) -> None:
        super().__init__()
        self.disk: dict[str, Source] = {}

    # ---- user actions

    @rule(name=_names, requires=_required, is_picky=st.booleans(), broken=st.sampled_from(["", "", *BROKEN]))
    def edit(self, name: str, requires: list[str], broken: str, *, is_picky: bool) -> None:
        """Save one plugin."""
        self.save(name, requires, is_picky=is_picky, broken=broken)
        self.host.manager.handle_file_change(self.path(name))

    @rule(
        edits=st.dictionaries(_names, st.tuples(_required, st.booleans(), st.sampled_from(["", "", *BROKEN])))
    )
    def check_out(self, edits: dict[str, tuple[list[str], bool, str]]) -> None:
        """Save several plugins, and have the manager scan them together."""
        for name, (requires, is_picky, broken) in edits.items():
            self.save(name, requires, is_picky=is_picky, broken=broken)
        self.host.manager.scan_and_load_all()

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        """Save the plugin with a new version number and no other change."""
        name = self.chosen(data)
        was = self.disk[name]
        self.save(name, list(was.requires), is_picky=was.is_picky, broken=was.broken)
        self.host.manager.handle_file_change(self.path(name))

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def switch(self, data: st.DataObject) -> None:
        """Disable an enabled plugin, or enable a disabled one."""
        name = self.chosen(data)
        is_on = self.disk[name].is_on
        (self.host.manager.disable if is_on else self.host.manager.enable)(name)
        self.disk[name] = self.replaced(name, is_on=not is_on)

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Delete a plugin."""
        name = self.chosen(data)
        shutil.rmtree(self.path(name))
        del self.disk[name]
        self.host.manager.handle_file_change(self.workspace.plugins / name)

    @precondition(lambda self: self.disk)
    @rule(data=st.data(), force=st.booleans())
    def rebuild(self, data: st.DataObject, *, force: bool) -> None:
        """Rebuild one plugin or all plugins."""
        name = data.draw(st.sampled_from(["", *sorted(self.disk)]))
        if not name or self.disk[name].is_on:
            self.host.manager.rebuild(name or None, force=force)

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        """Roll back to any earlier generation; a refused rollback changes nothing."""
        name = self.chosen(data)
        if not self.disk[name].is_on:
            return
        numbers = [entry.generation for entry in self.host.manager.history(name) if entry.can_return]
        if not numbers:
            return
        before = self.served()
        try:
            self.host.manager.rollback(name, data.draw(st.sampled_from(numbers)))
        except HotloadError:
            assert self.served() == before

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Release a plugin, so that it follows its source again."""
        name = self.chosen(data)
        if self.disk[name].is_on:
            self.host.manager.release(name)

    @rule()
    def undo(self) -> None:
        """Undo the last change, if there is one."""
        with contextlib.suppress(RefusedError, HotloadError):
            self.host.manager.undo()
        for name in self.disk:
            is_on = (self.workspace.plugins / name).is_dir()
            self.disk[name] = self.replaced(name, is_on=is_on)

    @rule()
    def restart(self) -> None:
        """Stop the host and start another."""
        self.host.manager.stop()
        self.host = self.started()

    # ---- invariants

    @invariant()
    def nobody_meets_another_version_than_its_own(self) -> None:
        """Each plugin reaches, directly or through others, the same versions as the host calls."""
        calls = self.called()
        for _, peers in calls.values():
            for name, version in seen(peers):
                assert calls[name][0] == version
        assert set(calls) == {name for name, number in self.served().items() if number}

    @invariant()
    def a_family_that_can_serve_does(self) -> None:
        """Check that connected plugins that are enabled, loadable and not held run their newest sources."""
        statuses = {one.name: one for one in self.host.manager.snapshot().plugins}
        assert set(statuses) == set(self.disk)
        for family in self.families():
            if any(statuses[name].state is PluginState.HELD for name in family):
                continue
            if all(self.is_good(name) for name in family):
                found = {name: version for name, (version, _) in self.called().items() if name in family}
                assert found == {name: self.disk[name].version for name in family}
                assert {statuses[name].state for name in family} == {PluginState.OK}

    @invariant()
    def who_cannot_serve_says_why(self) -> None:
        """Each plugin that is not OK has a fault, waits for a named plugin, or is disabled."""
        for one in self.host.manager.snapshot().plugins:
            source = self.disk[one.name]
            assert (one.state is PluginState.OFF) == (not source.is_on)
            assert one.state not in (PluginState.BUILD, PluginState.NEW)
            assert (one.state is PluginState.WAIT) == bool(one.waits)
            assert bool(one.digest) == bool(one.generation)
            if one.state in (PluginState.FAIL, PluginState.STALE):
                assert one.fault is not None

    @invariant()
    def what_was_replaced_has_left(self) -> None:
        """Every generation that is not live is retired, and its modules are gone."""
        serving = [name for name, number in self.served().items() if number]
        never = self.host.said().count("never was live")
        loaded = len(self.host.told(PluginLoaded))
        assert self.host.wait_for(lambda: len(self.host.told(PluginRetired)) == loaded - len(serving)), never
        modules = {name.split(".")[1] for name in plugin_modules() if name not in self.foreign}
        assert self.host.wait_for(lambda: modules <= set(map(identifier, self.disk)))

    # ---- files

    def save(self, name: str, requires: list[str], *, is_picky: bool, broken: str) -> None:
        """Write a plugin."""
        self.count += 1
        is_on = self.disk[name].is_on if name in self.disk else True
        source = Source(self.count, tuple(requires), is_picky, broken, is_on)
        self.disk[name] = source
        self.workspace[self.path(name).name] = source.text(name)

    def replaced(self, name: str, *, is_on: bool) -> Source:
        """Return the plugin's content with another enabled state."""
        was = self.disk[name]
        return Source(was.version, was.requires, was.is_picky, was.broken, is_on)

    def path(self, name: str) -> Path:
        """Return the plugin's directory."""
        return self.workspace.plugins / (name if self.disk[name].is_on else f"_{name}")

    def chosen(self, data: st.DataObject) -> str:
        """Return a random existing plugin."""
        return data.draw(st.sampled_from(sorted(self.disk)))

    def called(self) -> dict[str, Told]:
        """Return the version and requirements that each live plugin reports."""
        values = cast("list[tuple[str, int, Peers]]", self.host.host.call("all"))
        return {name: (version, peers) for name, version, peers in values}

    def served(self) -> dict[str, int]:
        """Return the live generation of each plugin, or 0 if there is none."""
        return {one.name: one.generation for one in self.host.manager.snapshot().plugins}

    def families(self) -> list[set[str]]:
        """Return the plugins in groups that are connected by their sources or by their live versions."""
        groups: list[set[str]] = []
        called = self.called()
        for name, source in self.disk.items():
            serving = called[name][1] if name in called else {}
            group = {name, *source.requires, *serving} & set(self.disk)
            for other in [each for each in groups if each & group]:
                groups.remove(other)
                group |= other
            groups.append(group)
        return groups

    def is_good(self, name: str, below: frozenset[str] = frozenset()) -> bool:
        """Return whether a source loads together with the sources of all its requirements."""
        source = self.disk.get(name)
        if source is None or source.broken or not source.is_on or name in below:
            return False
        others = [self.disk.get(other) for other in source.requires]
        if source.is_picky and any(other is None or other.version % 2 for other in others):
            return False
        return all(self.is_good(other, below | {name}) for other in source.requires)


TestFamilies = Families.TestCase
TestFamilies.settings = settings(BOUNDED, max_examples=max(1, MODEL_EXAMPLES // 4))
