"""What a plan says is what a rebuild then does: for random plugins, edits, faults, toggles and holds."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from hotload_tui import PluginState, PluginStatus
from hotload_tui.core.errors import HotloadError, RequirementError
from hotload_tui.core.events import PluginFailed, PluginLoaded, PluginReleased
from hotload_tui.core.model import Plan, PluginPlan
from tests.conftest import Running
from tests.core.conftest import Histories
from tests.core.test_model import BOUNDED
from tests.counts import MODEL_EXAMPLES

NAMES = ("a", "b", "c", "d", "e")
GOOD = ("good", "good", "good", "good", "compiles not", "no entry")
_names = st.sampled_from(NAMES)
_required = st.lists(st.sampled_from((*NAMES, "none")), max_size=2, unique=True)


@dataclass(frozen=True)
class Source:
    """One version of a plugin."""

    version: int
    requires: tuple[str, ...]
    kind: str

    @property
    def may_fail(self) -> bool:
        """Whether only a trial shows that it does not load."""
        return self.kind in ("fails", "is picky")

    def text(self, name: str) -> str:
        """Return it as ``plugin.py``."""
        if self.kind == "compiles not":
            return f"# {self.version}\ndef register(ctx)\n"
        body = {
            "fails": "    1 / 0\n",
            "is picky": "".join(f"    assert ctx.plugin({o!r}).VERSION % 2 == 0\n" for o in self.requires),
        }.get(self.kind, "")
        head = "RELOAD = 'replace'\n" if self.kind == "replaces" else ""
        return (
            f"{head}VERSION = {self.version}\nREQUIRES = {list(self.requires)!r}\n"
            f"def register(ctx):\n{body}    ctx.hook('all', lambda: ({name!r}, VERSION))\n"
        )


class Plans(Histories):
    """Real files and a real manager; each plan is compared with what the rebuild after it does."""

    kinds: tuple[str, ...] = GOOD

    def __init__(self) -> None:
        super().__init__()
        self.disk: dict[str, Source] = {}
        self.saved: dict[str, dict[int, Source]] = {name: {} for name in NAMES}

    # ---- what users do, and what nobody notices before the next command

    @rule(requires=st.dictionaries(_names, _required, min_size=1, max_size=3), data=st.data())
    def save(self, requires: dict[str, list[str]], data: st.DataObject) -> None:
        """Save some plugins."""
        for name, required in requires.items():
            self.count += 1
            kind = data.draw(st.sampled_from(self.kinds))
            source = self.disk[name] = Source(self.count, tuple(required), kind)
            self.saved[name][self.count] = source
            self.workspace[f"{self.path(name).name}/plugin.py"] = source.text(name)
            if kind == "no entry":
                (self.path(name) / "plugin.py").unlink()

    @precondition(lambda self: self.disk)
    @rule(data=st.data(), is_deleted=st.sampled_from([False, False, True]))
    def remove(self, data: st.DataObject, *, is_deleted: bool) -> None:
        """Delete a plugin, disable it, or enable it again."""
        name = self.chosen(data)
        path = self.path(name)
        if is_deleted:
            shutil.rmtree(path)
            del self.disk[name]
        else:
            path.rename(path.with_name(name if path.name != name else f"_{name}"))

    @precondition(lambda self: self.disk)
    @rule(data=st.data(), command=st.sampled_from(["roll back", "roll back", "hold", "release", "look"]))
    def command(self, data: st.DataObject, command: str) -> None:
        """Hold a plugin at a version, end the hold, or bring the plugin up to date."""
        name, manager = self.chosen(data), self.host.manager
        with contextlib.suppress(HotloadError):  # refused
            if command == "roll back":
                numbers = [each.generation for each in manager.history(name) if each.can_return]
                manager.rollback(name, data.draw(st.sampled_from(numbers or [0])))
            elif command == "hold":
                manager.hold(name, "it killed the host")
            elif command == "release":
                manager.release(name)
            else:
                manager.handle_file_change(self.path(name))

    # ---- what is compared

    @rule()
    def rebuild_all(self) -> None:
        """Plan a rebuild of all plugins, and carry it out."""
        before = self.statuses()
        plan, unsure = self.host.manager.plan(), self.unsure(self.live_and_saved())
        self.host.events.clear()
        self.host.manager.rebuild()
        if all(each.action == "keep" or self.waits_still(before, each) for each in plan.plugins):
            loaded = {event.name for event in self.host.told(PluginLoaded)}
            if loaded:  # where nothing is to be done, a rebuild of all loads all again
                on = {each.name for each in plan.plugins if each.action == "keep"} - unsure
                held = {name for name, each in before.items() if each.state is PluginState.HELD}
                off = {name for name, each in before.items() if each.state is PluginState.OFF}
                assert on - held - off - self.bound(held) <= loaded
                return
        self.compare(plan, before, unsure)

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def rebuild_one(self, data: st.DataObject) -> None:
        """Plan a rebuild of one plugin, and carry it out."""
        name = self.chosen(data)
        before, unsure = self.statuses(), self.unsure(self.live_and_saved())
        try:
            plan = self.host.manager.plan(name)
        except HotloadError:
            return  # it is disabled
        self.host.events.clear()
        self.host.manager.rebuild(name)
        self.compare(plan, before, unsure)

    @rule()
    def restart(self) -> None:
        """Plan a start, and start."""
        self.host.manager.stop()
        self.host = Running(self.config())
        plan = self.host.manager.plan()
        unsure = self.unsure((name, each) for name in NAMES for each in self.saved[name].values())
        self.host.manager.start()
        self.compare(plan, {}, unsure)

    def compare(self, plan: Plan, before: dict[str, PluginStatus], unsure: set[str]) -> None:
        """Compare a plan with what happened; leave out what a trial that failed may have changed."""
        after = self.statuses()
        if not self.has_failed_trial():
            unsure = set()
        planned = {each.name: each for each in plan.plugins}
        for name in {*planned, *before, *after} - unsure:
            now, was = after.get(name), before.get(name)
            if name in planned:
                self.compare_one(planned[name], was, now)
            else:
                numbers = [each.generation if each else 0 for each in (was, now)]
                assert numbers[0] == numbers[1], f"{name}\n{self.host.said()}"

    def compare_one(self, plan: PluginPlan, was: PluginStatus | None, now: PluginStatus | None) -> None:
        """Compare what was planned for one plugin with its statuses before and after."""
        said = f"{plan}\n{was}\n{now}\n{self.host.said()}"
        assert plan.becomes == (now.generation if now else 0), said
        loaded = [event.generation for event in self.host.told(PluginLoaded, plan.name)]
        assert loaded == ([plan.becomes] if plan.becomes not in (0, plan.generation) else []), said
        state = now.state if now else PluginState.OFF
        if plan.action in ("load", "reload"):
            is_again = was is not None and plan.reasons[0].startswith("it requires")
            states = {PluginState.OK, PluginState.HELD, *([was.state] if was and is_again else [])}
            assert state in states, said
        elif plan.action == "unload":
            assert state is PluginState.OFF, said
        elif plan.action == "wait":
            assert now is not None
            assert (state, now.waits) == (PluginState.WAIT, plan.reasons[0]), said
        elif plan.action == "fail":
            assert now is not None
            assert now.fault is not None, said
            assert state is (PluginState.STALE if plan.becomes else PluginState.FAIL), said
            if plan.fault is None:
                assert now.fault.message == plan.reasons[0], said
            else:
                assert (now.fault.type, now.fault.message) == (plan.fault.type, plan.fault.message), said
        else:
            assert not self.host.told(PluginFailed, plan.name), said
        if plan.action == "keep" and was is not None:
            assert state in (was.state, PluginState.OK, PluginState.HELD, PluginState.OFF), said

    # ---- what is known

    def statuses(self) -> dict[str, PluginStatus]:
        """Return the status of each plugin."""
        return {each.name: each for each in self.host.manager.snapshot().plugins}

    def chosen(self, data: st.DataObject) -> str:
        """Return one of the plugins on disk."""
        return data.draw(st.sampled_from(sorted(self.disk)))

    def path(self, name: str) -> Path:
        """Return the plugin's directory."""
        disabled = self.workspace.plugins / f"_{name}"
        return disabled if disabled.is_dir() else self.workspace.plugins / name

    def live_and_saved(self) -> Iterator[tuple[str, Source]]:
        """Yield the versions that are live, and those on disk."""
        yield from self.disk.items()
        for name, version in cast("list[tuple[str, int]]", self.host.host.call("all")):
            yield name, self.saved[name][version]

    def bound(self, names: set[str]) -> set[str]:
        """Return the plugins whose live version requires one of these."""
        return {name for name, source in self.live_and_saved() if names & set(source.requires)}

    def unsure(self, versions: Iterable[tuple[str, Source]]) -> set[str]:
        """Return the plugins that a failed trial may concern, if one of these versions takes part."""
        versions = list(versions)
        found = {name for name, source in versions if source.may_fail}
        for _ in NAMES:
            for name, source in versions:
                if not found.isdisjoint((name, *source.requires)):
                    found |= {name, *source.requires}
        return found

    def waits_still(self, before: dict[str, PluginStatus], plan: PluginPlan) -> bool:
        """Tell whether a plugin waits before and after."""
        was = before.get(plan.name)
        return plan.action == "wait" and was is not None and was.state is PluginState.WAIT

    def has_failed_trial(self) -> bool:
        """Tell whether a trial failed since the plan."""
        faults = [event.fault for event in self.host.told(PluginFailed)]
        return any(
            fault.phase in ("load", "register") and fault.type != RequirementError.__name__
            for fault in faults
        ) or bool(self.host.told(PluginReleased))


class UnsurePlans(Plans):
    """The same, with plugins of which only a trial shows that they do not load."""

    kinds = (*GOOD, "fails", "is picky")


class ReplacingPlans(Plans):
    """The same, with plugins whose live version leaves before the next one is tried."""

    kinds = (*GOOD, "replaces", "replaces")


class UnsureReplacingPlans(Plans):
    """The same, with plugins of which only a trial shows that they do not load."""

    kinds = (*GOOD, "replaces", "replaces", "fails", "is picky")


TestPlans = Plans.TestCase
TestPlans.settings = settings(BOUNDED, max_examples=MODEL_EXAMPLES)
TestUnsurePlans = UnsurePlans.TestCase
TestUnsurePlans.settings = TestPlans.settings
TestReplacingPlans = ReplacingPlans.TestCase
TestReplacingPlans.settings = settings(BOUNDED, max_examples=MODEL_EXAMPLES // 2)  # each load takes longer
TestUnsureReplacingPlans = UnsureReplacingPlans.TestCase
TestUnsureReplacingPlans.settings = TestReplacingPlans.settings
