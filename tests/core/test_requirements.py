"""Plugins that require others: loaded after them, reloaded with them, never live without them."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config
from hotload_tui.core.errors import RefusedError
from hotload_tui.core.events import PluginLoaded, PluginRetired
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


def base(value: object) -> str:
    """Return the source of a plugin that other plugins require."""
    return f"VALUE = {value!r}\ndef register(ctx):\n    ctx.hook('base', lambda: VALUE)\n"


def using(*others: str, body: str = "") -> str:
    """Return the source of a plugin that reports the values of the plugins that it requires."""
    seen = ", ".join(f"ctx.plugin({other!r}).VALUE" for other in others)
    return (
        f"REQUIRES = {list(others)!r}\n{body}\n"
        f"def register(ctx):\n    global VALUE\n    VALUE = ({seen},)\n"
        f"    ctx.hook('use', lambda: ({seen},))\n"
    )


def states(running: Running) -> dict[str, str]:
    """Return the states of all plugins."""
    return {status.name: str(status.state) for status in running.manager.snapshot().plugins}


def test_a_plugin_is_loaded_after_what_it_requires(workspace: Workspace, run: Run) -> None:
    """A plugin is loaded after its requirements from the source or the configuration, whatever its name."""
    workspace["a_user"], workspace["z_base"] = using("z_base"), base(1)
    workspace["b_user"] = using("z_base").replace("REQUIRES", "_")
    running = run(workspace.config(plugins={"b_user": {"requires": ["z_base"]}}))
    assert running.host.call("use") == [(1,), (1,)]
    assert running.manager.detail("a_user").requires == ("z_base",)
    assert running.manager.detail("z_base").required_by == ("a_user", "b_user")


def test_it_is_reloaded_with_what_it_requires_in_one_swap(workspace: Workspace, run: Run) -> None:
    """A reload reaches users of users in one swap, and all of them see the new value."""
    workspace["base"], workspace["middle"], workspace["top"] = base(1), using("base"), using("middle", "base")
    running = run(workspace.config())
    assert running.host.call("use") == [(1,), ((1,), 1)]
    workspace["base"] = base(2)
    running.manager.load_plugin(workspace.plugins / "base")
    assert running.host.call("use") == [(2,), ((2,), 2)]
    assert [event.name for event in running.told(PluginLoaded)[-3:]] == ["base", "middle", "top"]
    assert [running.status(name).generation for name in ("base", "middle", "top")] == [2, 2, 2]


def test_imports_by_the_stable_name_reach_the_same_version(workspace: Workspace, run: Run) -> None:
    """An import by the stable name gives the same version as ``ctx.plugin``, even during the reload."""
    workspace["base"] = base(1)
    workspace["user"] = (
        "REQUIRES = ['base']\nfrom hotplug.base.plugin import VALUE\n"
        "def register(ctx):\n    ctx.hook('use', lambda: (VALUE, ctx.plugin('base').VALUE))\n"
    )
    running = run(workspace.config())
    workspace["base"] = base(2)
    running.manager.rebuild("base")
    assert running.host.call("use") == [(2, 2)]


def test_other_modules_of_it_are_reached_too(workspace: Workspace, run: Run) -> None:
    """Modules beside ``plugin.py`` are attributes of ``ctx.plugin``, and a missing one is a clear fault."""
    workspace["base"], workspace["base/part.py"] = base(1), "VALUE = 'part'\n"
    workspace["user"] = (
        "REQUIRES = ['base']\ndef register(ctx):\n    ctx.hook('use', ctx.plugin('base').part.VALUE.upper)\n"
    )
    workspace["wrong"] = "REQUIRES = ['base']\ndef register(ctx):\n    ctx.plugin('base').nothing\n"
    running = run(workspace.config())
    assert running.host.call("use") == ["PART"]
    assert "plugin base has no 'nothing' in plugin.py" in running.fault("wrong").message


def test_only_what_is_required_is_given(workspace: Workspace, run: Run) -> None:
    """``ctx.plugin`` refuses a plugin that is not required, and names the missing line."""
    workspace["base"], workspace["user"] = base(1), "def register(ctx):\n    ctx.plugin('base')\n"
    running = run(workspace.config())
    assert 'write REQUIRES = ["base"] in its entry' in running.fault("user").message


@pytest.mark.parametrize("value", ["['a' + 'b']", "names()", "'base'", "[1]", "[*OTHERS]"])
def test_a_list_that_needs_execution_is_a_fault(workspace: Workspace, run: Run, value: str) -> None:
    """A REQUIRES that is no literal list of names is a fault with its line and the right form."""
    workspace["user"] = f"import os\nREQUIRES = {value}\ndef register(ctx): ...\n"
    fault = run(workspace.config()).fault("user")
    assert 'write a list of names, REQUIRES = ["other"]' in fault.message
    assert fault.place is not None
    assert fault.place.line == 2


def test_it_waits_for_what_is_not_there_and_comes_with_it(workspace: Workspace, run: Run) -> None:
    """A plugin waits for a missing requirement, with a reason, and is loaded when it appears."""
    workspace["user"], workspace["bose"] = using("base"), base(0)
    running = run(workspace.config())
    status = running.status("user")
    assert (str(status.state), status.fault) == ("wait", None)
    assert status.waits == 'it requires base, but there is no plugin base; did you mean "bose"?'
    workspace["base"] = base(1)
    running.manager.scan_and_load_all()
    assert running.host.call("use") == [(1,)]
    assert running.status("user").waits == ""


def test_without_what_it_requires_it_is_unloaded_and_waits(workspace: Workspace, run: Run) -> None:
    """Disabling a plugin unloads its users, which wait until it is enabled again."""
    workspace["base"], workspace["user"] = base(1), using("base")
    running = run(workspace.config())
    running.manager.disable("base")
    assert running.host.call("use") == []
    assert states(running) == {"base": "off", "user": "wait"}
    assert "base" in running.status("user").waits
    running.manager.rebuild()
    assert states(running) == {"base": "off", "user": "wait"}
    assert running.status("user").waits == "it requires base, but base is disabled"
    running.manager.enable("base")
    assert running.host.call("use") == [(1,)]
    assert states(running) == {"base": "ok", "user": "ok"}


def test_a_plugin_is_unloaded_before_the_one_that_it_requires(workspace: Workspace, run: Run) -> None:
    """A plugin's ``on_unload`` runs before its requirement is unloaded, at a reload and at the end."""
    workspace["base"] = "LEFT = []\n" + base(1).replace(
        "def register(ctx):\n", "def register(ctx):\n    ctx.on_unload(lambda: LEFT.append('base'))\n"
    )
    workspace["user"] = (
        "import builtins\nREQUIRES = ['base']\ndef leave(base):\n"
        "    builtins.seen_by_user.append(list(base.LEFT))\n"
        "def register(ctx):\n    other = ctx.plugin('base')\n    ctx.on_unload(lambda: leave(other))\n"
    )
    import builtins

    seen: list[list[str]] = []
    builtins.seen_by_user = seen  # type: ignore[attr-defined]
    try:
        running = run(workspace.config())
        running.manager.rebuild("base")
        running.manager.stop()
    finally:
        del builtins.seen_by_user  # type: ignore[attr-defined]
    assert seen == [[], []]


def test_if_one_fails_both_stay(workspace: Workspace, run: Run) -> None:
    """If a user does not load with the new version, both keep the old one, and both faults say why."""
    workspace["base"] = base(1)
    workspace["user"] = using("base", body="from hotplug.base.plugin import VALUE as _")
    workspace["other"] = answering("one")
    running = run(workspace.config())
    workspace["base"], workspace["other"] = base(2).replace("VALUE", "CHANGED"), answering("two")
    running.manager.scan_and_load_all()
    assert running.host.call("base") == [1]
    assert running.host.call("use") == [(1,)]
    assert running.host.call("greet") == ["two"]
    assert states(running) == {"base": "STALE", "user": "STALE", "other": "ok"}
    assert running.fault("base").message == "user requires it, and does not load with it"
    assert "VALUE" in running.fault("user").message
    workspace["user"] = (
        "REQUIRES = ['base']\ndef register(ctx):\n    ctx.hook('use', lambda: ctx.plugin('base').CHANGED)\n"
    )
    running.manager.load_plugin(workspace.plugins / "user")
    assert running.host.call("use") == [2]
    assert states(running) == {"base": "ok", "user": "ok", "other": "ok"}


def test_if_what_it_requires_does_not_compile_both_stay(workspace: Workspace, run: Run) -> None:
    """If a requirement does not compile, its user keeps its old version until the fix."""
    workspace["base"], workspace["user"] = base(1), using("base")
    running = run(workspace.config())
    workspace["base"], workspace["user"] = "def register(:\n", using("base", body="NEW = 1")
    running.manager.scan_and_load_all()
    assert states(running) == {"base": "STALE", "user": "STALE"}
    assert running.fault("user").message == "it requires base, whose newest version does not load"
    assert running.host.call("use") == [(1,)]
    workspace["base"] = base(2)
    running.manager.load_plugin(workspace.plugins / "base")
    assert states(running) == {"base": "ok", "user": "ok"}
    assert running.host.call("use") == [(2,)]


def test_a_cycle_is_a_fault_of_its_members(workspace: Workspace, run: Run) -> None:
    """Each member of a cycle has a fault that names the cycle; a fix in one place loads all members."""
    workspace["a"], workspace["b"], workspace["c"] = using("b"), using("a"), base(3)
    running = run(workspace.config())
    assert states(running) == {"a": "FAIL", "b": "FAIL", "c": "ok"}
    assert "a → b → a" in running.fault("a").message
    assert "b → a → b" in running.fault("b").message
    workspace["b"] = base(1)
    running.manager.load_plugin(workspace.plugins / "b")
    assert states(running) == {"a": "ok", "b": "ok", "c": "ok"}
    assert running.host.call("use") == [(1,)]


def test_a_requirement_is_turned_round_in_one_change(workspace: Workspace, run: Run) -> None:
    """If a requirement between two plugins is reversed in one change, both load without a cycle."""
    workspace["a"], workspace["b"] = using("b"), base(1)
    running = run(workspace.config())
    workspace["a"], workspace["b"] = base(2), using("a")
    running.manager.rebuild()
    assert states(running) == {"a": "ok", "b": "ok"}
    assert running.host.call("use") == [(2,)]
    running.manager.stop()
    assert "waits" not in running.said()


def test_a_rollback_takes_those_that_require_it_along(workspace: Workspace, run: Run) -> None:
    """A rollback reloads the users too; if one of them does not load, it is refused and changes nothing."""
    workspace["base"], workspace["user"] = base(1), using("base")
    running = run(workspace.config())
    workspace["base"] = base(2)
    running.manager.load_plugin(workspace.plugins / "base")
    running.manager.rollback("base", 1)
    assert running.host.call("use") == [(1,)]
    assert states(running) == {"base": "HELD", "user": "ok"}
    running.manager.release("base")
    assert running.host.call("use") == [(2,)]
    workspace["user"] = using("base", body="from hotplug.base.plugin import VALUE\nassert VALUE == 2")
    running.manager.load_plugin(workspace.plugins / "user")
    before = [(plugin.state, plugin.generation) for plugin in running.manager.snapshot().plugins]
    with pytest.raises(RefusedError, match="user requires it, and does not load with it"):
        running.manager.rollback("base", 1)
    after = [(plugin.state, plugin.generation) for plugin in running.manager.snapshot().plugins]
    assert after == before
    assert running.host.call("use") == [(2,)]


def test_a_rollback_lets_load_what_only_the_old_version_suits(workspace: Workspace, run: Run) -> None:
    """A rollback tries again the plugins that failed or waited because of the newer version."""
    suits = "from hotplug.base.plugin import VALUE\nassert VALUE == 1"
    workspace["base"], workspace["user"] = base(1), using("base")
    running = run(workspace.config())
    workspace["base"] = base(2)
    workspace["user"] = using("base", body="import hotplug.base.plugin")
    running.manager.scan_and_load_all()
    workspace["late"], workspace["user"] = using("base", body=suits), using("base", body=suits + "  # again")
    workspace["above"] = using("late")
    running.manager.scan_and_load_all()
    assert states(running) == {"above": "wait", "base": "ok", "late": "FAIL", "user": "STALE"}
    running.manager.rollback("base", 1)
    assert states(running) == {"above": "ok", "base": "HELD", "late": "ok", "user": "ok"}
    assert sorted(running.host.call("use"), key=repr) == [((1,),), (1,), (1,)]


def test_what_is_held_stays_held_when_it_is_loaded_again(workspace: Workspace, run: Run) -> None:
    """A held plugin is reloaded with its new requirement, at the held version."""
    workspace["base"], workspace["user"] = base(1), using("base")
    running = run(workspace.config())
    workspace["user"] = using("base").replace("'use'", "'newer'")
    running.manager.load_plugin(workspace.plugins / "user")
    running.manager.rollback("user", 1)
    workspace["base"] = base(2)
    running.manager.load_plugin(workspace.plugins / "base")
    assert running.host.call("use") == [(2,)]
    assert states(running) == {"base": "ok", "user": "HELD"}


def test_nothing_of_it_stays_in_memory(workspace: Workspace, run: Run) -> None:
    """After many reloads of both plugins, all replaced generations are freed."""
    workspace["base"], workspace["user"] = base(0), using("base", body="import hotplug.base.plugin as kept")
    running = run(workspace.config())
    for number in range(1, 30):
        workspace["base"] = base(number)
        running.manager.load_plugin(workspace.plugins / "base")
    assert running.wait_for(lambda: len(running.told(PluginRetired)) == 2 * 29)
    assert running.status("user").memory == running.status("base").memory == "freed"
    gc.collect()
    names = [name for name in sys.modules if name.startswith(("hotplug.base.g", "hotplug.user.g"))]
    assert {name.split(".")[2] for name in names} == {name.split(".")[2] for name in names if ".g30_" in name}


def test_the_same_after_a_new_start(workspace: Workspace, run: Run) -> None:
    """A cold start with a broken source loads the last good version and its users."""
    workspace["base"], workspace["user"] = base(1), using("base")
    run(workspace.config()).manager.stop()
    workspace["base"] = "def register(:\n"
    running = run(workspace.config())
    assert running.host.call("use") == [(1,)]
    assert states(running) == {"base": "STALE", "user": "ok"}


def test_check_loads_what_is_required_first(workspace: Workspace) -> None:
    """``hotload check`` loads the requirements of the named plugin first."""
    workspace["a_user"], workspace["base"] = using("base"), base(1)
    command = [sys.executable, "-m", "hotload_tui", "check", "a_user"]
    checked = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "a_user" in checked.stdout
    (workspace.plugins / "base").rename(workspace.plugins / "_base")
    checked = subprocess.run(command, cwd=workspace.root, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert "it requires base, but base is disabled" in checked.stdout + checked.stderr


def checked_out(workspace: Workspace, value: int, plugins: int, files: int) -> None:
    """Write all plugins of a chain again, each with this many files."""
    for number in range(plugins):
        for file in range(files - 1):
            workspace[f"p{number}/part{file}.py"] = f"VALUE = {value}\n"
        imports = "".join(f"from .part{file} import VALUE as v{file}\n" for file in range(files - 1))
        parts = ", ".join(f"v{file}" for file in range(files - 1))
        required = [f"p{number - 1}"] if number else []
        below = f"ctx.plugin('p{number - 1}').below()" if number else "set()"
        workspace[f"p{number}"] = (
            f"REQUIRES = {required!r}\n{imports}"
            f"def register(ctx):\n    global below\n    below = lambda: {{{value}, {parts}}} | {below}\n"
            "    ctx.hook('all', lambda: below())\n"
        )


def test_a_checkout_under_load_is_one_swap(workspace: Workspace, run: Run, tmp_path: Path) -> None:
    """A checkout of 200 files in 10 connected plugins is one swap, and each call sees one version."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for value in (1, 2):
        checked_out(workspace, value, 10, 20)
        git("add", "plugins")
        git("commit", "-q", "-m", str(value))
        git("branch", f"v{value}")
    running = run(workspace.config(enable_watch=True, debounce_time=20.0))
    ended = threading.Event()
    mixed: list[list[object]] = []

    def call() -> None:
        while not ended.wait(0.002):  # callers that never pause would block the reload
            seen = running.host.call("all")
            if seen not in ([{1}] * 10, [{2}] * 10):
                mixed.append(seen)

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    try:
        for value, generation in ((1, 2), (2, 3), (1, 4)):
            swaps = running.host.swaps
            git("checkout", "-q", f"v{value}")
            assert running.wait_for(lambda value=value: running.host.call("all") == [{value}] * 10)  # type: ignore[misc]
            assert running.wait_for(
                lambda generation=generation: all(  # type: ignore[misc]
                    plugin.generation == generation for plugin in running.manager.snapshot().plugins
                )
            )
            assert running.host.swaps == swaps + 1
    finally:
        ended.set()
        for caller in callers:
            caller.join()
    assert not mixed
    assert running.wait_for(lambda: len(running.told(PluginLoaded)) == 40)
