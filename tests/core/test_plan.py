"""The plan: the actions and reasons of a rebuild, without doing any of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.errors import RefusedError, UnknownPluginError
from hotload_tui.core.events import PluginLoaded
from hotload_tui.core.model import Plan, PluginPlan
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


def of(plan: Plan, name: str) -> PluginPlan:
    """Return the plan's entry for one plugin."""
    return next(plugin for plugin in plan.plugins if plugin.name == name)


def actions(plan: Plan) -> dict[str, str]:
    """Return the planned action of each plugin, in the order of the plan."""
    return {plugin.name: plugin.action for plugin in plan.plugins}


def everything(root: Path) -> dict[str, tuple[int, int]]:
    """Return all files below a folder with their times and inodes, which change on a write."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in root.rglob("*")}


def hooked(*points: str, head: str = "") -> str:
    """Return the source of a plugin with a handler at each of these hook points."""
    calls = "".join(f"    ctx.hook({point!r}, print)\n" for point in points)
    return f"{head}\ndef register(ctx):\n    pass\n{calls}"


def test_where_nothing_changed_there_is_nothing_to_do(workspace: Workspace, run: Run) -> None:
    """Without a change, the plan keeps all plugins, and says how many."""
    workspace["a"], workspace["b"] = hooked("x"), hooked("y")
    plan = run(workspace.config()).manager.plan()
    assert actions(plan) == {"a": "keep", "b": "keep"}
    assert list(plan.lines()) == ["nothing to do: 2 stay as they are"]
    assert plan.can_be_applied


def test_a_change_is_shown_with_its_files_and_hook_points(workspace: Workspace, run: Run) -> None:
    """The plan lists changed files, files to compile, and hook points that are added and removed."""
    workspace["a"] = hooked("stays", "goes", head="from . import kept, part")
    workspace["a/kept.py"], workspace["a/part.py"], workspace["a/gone.txt"] = "", "X = 1\n", "text"
    running = run(workspace.config())
    workspace["a"] = hooked("stays", "comes", head="from . import kept, part")
    (workspace.plugins / "a" / "gone.txt").unlink()
    workspace["a/more.py"] = "Y = 1\n"
    plan = running.manager.plan()
    told = of(plan, "a")
    assert (told.action, told.generation, told.reasons) == ("reload", 1, ("its source changed",))
    assert {file.path: file.change for file in told.files} == {
        "plugin.py": "changed",
        "more.py": "added",
        "gone.txt": "removed",
    }
    assert (set(told.compiles), told.reuses) == ({"plugin.py", "more.py"}, 2)
    assert (told.comes, told.goes, told.is_all_known) == (("comes",), ("goes",), True)
    assert list(plan.lines())[:4] == [
        "1 to reload",
        "",
        "~ a: would be reloaded; generation 1 is live",
        "    its source changed",
    ]


def test_it_writes_nothing_and_runs_nothing(workspace: Workspace, run: Run) -> None:
    """A plan writes no file, runs no plugin, publishes no event and imports no module."""
    workspace["a"], workspace["b"] = hooked("x"), hooked("y")
    running = run(workspace.config())
    ran = workspace.root / "ran"
    workspace["a"] = f"open({str(ran)!r}, 'w')\n" + hooked("x")
    workspace["new"] = f"open({str(ran)!r}, 'w')\n" + hooked("x")
    workspace["b"] = "def register(ctx)\n"
    before = everything(workspace.root), set(sys.modules), len(running.events), running.manager.snapshot()
    plan = running.manager.plan()
    assert actions(plan) == {"a": "reload", "b": "fail", "new": "load"}
    after = everything(workspace.root), set(sys.modules), len(running.events), running.manager.snapshot()
    assert after == before


def test_it_comes_true(workspace: Workspace, run: Run) -> None:
    """A rebuild does exactly its plan: the same plugins, order and hook points."""
    workspace["base"], workspace["user"] = hooked("base", "old"), "REQUIRES = ['base']\n" + hooked("use")
    workspace["z"], workspace["other"] = hooked("z"), hooked("other")
    running = run(workspace.config())
    workspace["base"], workspace["a_new"] = hooked("base", "new"), "REQUIRES = ['z']\n" + hooked("a")
    workspace["z"] = hooked("z", "zz")
    plan = running.manager.plan()
    begun = len(running.events)
    running.manager.rebuild()
    loaded = [event.name for event in running.events[begun:] if isinstance(event, PluginLoaded)]
    assert [plugin.name for plugin in plan.plugins if plugin.action in ("load", "reload")] == loaded
    assert sorted(loaded) == ["a_new", "base", "user", "z"]
    assert {place.point for place in running.status("base").points} == {"base", "new"}
    assert (of(plan, "base").comes, of(plan, "base").goes) == (("new",), ("old",))
    assert of(plan, "user").reasons == ("it requires base, which is reloaded",)
    assert actions(running.manager.plan()) == dict.fromkeys(["a_new", "base", "other", "user", "z"], "keep")


def test_what_cannot_be_loaded_says_where(workspace: Workspace, run: Run) -> None:
    """A source that does not compile has its fault in the plan, and the live versions stay."""
    workspace["base"], workspace["user"] = hooked("base"), "REQUIRES = ['base']\n" + hooked("use")
    running = run(workspace.config())
    workspace["base"], workspace["user"] = "def register(ctx)\n", "REQUIRES = ['base']\n" + hooked("use", "2")
    plan = running.manager.plan()
    assert actions(plan) == {"base": "fail", "user": "fail"}
    fault = of(plan, "base").fault
    assert fault is not None
    assert fault.place is not None
    assert (fault.type, fault.place.line) == ("SyntaxError", 1)
    assert of(plan, "base").reasons == ("generation 1 stays live",)
    assert of(plan, "user").reasons == (
        "it requires base, whose newest version does not load",
        "generation 1 stays live",
    )
    assert any("plugin.py:1" in line for line in plan.lines())
    assert not plan.can_be_applied


@pytest.mark.parametrize(
    ("requires", "action", "reason"),
    [
        (["bsae"], "wait", 'it requires bsae, but there is no plugin bsae; did you mean "base"?'),
        (["off"], "wait", "it requires off, but off is disabled"),
        (["user"], "fail", "it requires itself: user → user; one of them must drop the requirement"),
        (["broken"], "wait", "it requires broken, but broken does not load"),
    ],
    ids=["missing", "disabled", "cycle", "broken"],
)
def test_a_requirement_that_is_not_met_is_named(
    workspace: Workspace, run: Run, requires: list[str], action: str, reason: str
) -> None:
    """The plan names a requirement that is missing, disabled, broken or the plugin itself."""
    workspace["base"], workspace["_off"], workspace["broken"] = (
        hooked("b"),
        hooked("o"),
        "def register(ctx)\n",
    )
    running = run(workspace.config())
    workspace["user"] = f"REQUIRES = {requires}\n" + hooked("use")
    told = of(running.manager.plan(), "user")
    assert (told.action, told.reasons) == (action, (reason,))


def test_what_is_gone_or_switched_off_is_unloaded(workspace: Workspace, run: Run) -> None:
    """A deleted or disabled plugin would be unloaded, and a plugin that requires it would wait."""
    workspace["a"], workspace["b"] = hooked("a"), hooked("b")
    workspace["user"] = "REQUIRES = ['a']\n" + hooked("use")
    running = run(workspace.config())
    (workspace.plugins / "a").rename(workspace.plugins / "_a")
    (workspace.plugins / "b").rename(workspace.root / "b")
    plan = running.manager.plan()
    assert {name: of(plan, name).reasons[0] for name in "ab"} == {
        "a": "it is disabled",
        "b": "its directory is gone",
    }
    assert (of(plan, "user").action, of(plan, "user").reasons) == (
        "wait",
        ("it requires a, but a is disabled",),
    )


def test_a_held_plugin_stays_and_says_how_to_release_it(workspace: Workspace, run: Run) -> None:
    """The plan keeps a held plugin and names the release command; planned by name, it would be reloaded."""
    workspace["a"] = answering("1")
    running = run(workspace.config())
    workspace["a"] = answering("2")
    running.manager.rebuild()
    running.manager.rollback("a", 1)
    told = of(running.manager.plan(), "a")
    assert told.action == "keep"
    assert "'hotload release a'" in told.reasons[0]
    assert of(running.manager.plan("a"), "a").action == "reload"


def test_what_keeps_it_from_running_here_is_an_obstacle(
    workspace: Workspace, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package, a changed package in use, and a native module for another Python are obstacles."""
    (tmp_path / "in_use_here.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    workspace["a"] = "import in_use_here\n" + hooked("x")
    running = run(workspace.config())
    os.utime(tmp_path / "in_use_here.py", (4e9, 4e9))
    workspace["a"] = "import in_use_here\nimport not_installed_here\n" + hooked("x")
    workspace["a/fast.cpython-27-other.so"] = "\x7fELF"
    plan = running.manager.plan()
    missing, native, changed = of(plan, "a").obstacles
    assert missing.startswith("plugin.py:2: no module named not_installed_here")
    assert missing.endswith(f": {sys.executable} -m pip install not_installed_here")
    assert native.startswith("fast.cpython-27-other.so is a native module for another Python")
    assert changed.startswith("in_use_here changed on disk after this process began")
    assert not plan.can_be_applied
    del sys.modules["in_use_here"]


@pytest.mark.parametrize(
    ("head", "is_obstacle"),
    [
        ("STATE_VERSION = 2", True),
        ("", True),
        ("STATE_VERSION = 1", False),
        ("STATE_VERSION = 1 + 1", False),
        ("STATE_VERSION = 2\ndef migrate_state(state, from_version): ...", False),
    ],
)
def test_a_state_that_nothing_migrates_is_an_obstacle(
    workspace: Workspace, run: Run, head: str, *, is_obstacle: bool
) -> None:
    """Another ``STATE_VERSION`` without ``migrate_state``, if there is a state."""
    body = "def register(ctx):\n    ctx.state['n'] = 1\n"
    workspace["a"] = f"STATE_VERSION = 1\n{body}"
    running = run(workspace.config())
    workspace["a"] = f"{head}\n# changed\n{body}"
    plan = running.manager.plan()
    assert plan.can_be_applied is not is_obstacle
    version = 2 if head else 0
    problem = f"nothing brings the state of version 1 to STATE_VERSION {version}; add: def migrate_state"
    obstacles = of(plan, "a").obstacles
    assert [text.startswith(problem) for text in obstacles] == [True] * is_obstacle


def test_a_native_module_that_changes_leaves_its_code_behind(workspace: Workspace, run: Run) -> None:
    """A changed native module can be reloaded, and a note says that its old code stays in memory."""
    name = f"fast{__import__('importlib.machinery').machinery.EXTENSION_SUFFIXES[0]}"
    workspace["a"], workspace[f"a/{name}"] = hooked("x"), "one"
    running = run(workspace.config())
    workspace[f"a/{name}"] = "two"
    told = of(running.manager.plan(), "a")
    assert told.obstacles == ()
    assert told.notes == (f"{name}: the code of the previous version stays in memory until the process ends",)


@pytest.mark.parametrize(
    ("text", "points", "is_all"),
    [
        ("@ctx.hook('p')\n    def f(): ...", ("p",), True),
        ("ctx.hook('p', print, priority=3)", ("p",), True),
        ("@ctx.hook\n    def f(): ...", ("named",), True),
        ("def f(): ...\n    ctx.hook(f)", ("named",), True),
        ("ctx.hook(lambda: 1)", ("named",), True),
        ("for p in 'ab': ctx.hook(p, print)", (), False),
        ("ctx.hook('p', print); ctx.hook('a' + 'b', print)", ("p",), False),
    ],
)
def test_hook_points_are_read_without_running(
    workspace: Workspace, run: Run, text: str, points: tuple[str, ...], *, is_all: bool
) -> None:
    """The plan reads hook points from each form of ``ctx.hook``, and says if some cannot be known."""
    running = run(workspace.config(plugins={"a": {"hook_point": "named"}}))
    workspace["a"] = f"def register(ctx):\n    {text}\n"
    plan = running.manager.plan()
    assert (of(plan, "a").comes, of(plan, "a").is_all_known) == (points, is_all)
    running.manager.scan_and_load_all()
    if is_all:
        assert tuple(place.point for place in running.status("a").points) == points


def test_before_a_start_a_plan_shows_what_a_start_would_do(workspace: Workspace) -> None:
    """Before a start, the plan loads all plugins and compiles only those that changed on disk."""
    workspace["a"], workspace["b"] = hooked("a"), hooked("b")
    with HotloadManager(HookHost(), workspace.config()):
        pass
    workspace["b"] = hooked("b", "c")
    plan = HotloadManager(HookHost(), workspace.config()).plan()
    assert actions(plan) == {"a": "load", "b": "load"}
    assert [of(plan, name).compiles for name in "ab"] == [(), ("plugin.py",)]


def test_a_name_that_is_none_and_one_that_is_off_are_refused(workspace: Workspace, run: Run) -> None:
    """A plan for an unknown or disabled plugin is refused, as a rebuild is."""
    workspace["a"], workspace["_off"] = hooked("a"), hooked("b")
    manager = run(workspace.config()).manager
    with pytest.raises(UnknownPluginError, match="there are: a, off"):
        manager.plan("b")
    with pytest.raises(RefusedError, match="off is disabled"):
        manager.plan("off")


def test_it_crosses_a_socket(workspace: Workspace, run: Run) -> None:
    """A plan can be encoded as JSON and decoded again."""
    workspace["a"] = hooked("a")
    running = run(workspace.config())
    workspace["a"] = "def register(ctx)\n"
    plan = running.manager.plan()
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
