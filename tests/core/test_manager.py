import linecache
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from hotload_tui import Config, HotloadError, HotloadManager, PluginState
from hotload_tui.core.errors import RefusedError, UnknownPluginError, UsageError
from hotload_tui.core.events import (
    ArtifactRejected,
    Event,
    PluginCompiled,
    PluginDisabled,
    PluginDiscovered,
    PluginEnabled,
    PluginFailed,
    PluginLoaded,
    PluginRemoved,
    PluginRetired,
)
from tests.conftest import Running, Workspace, answering, without_memory
from tests.core.conftest import Stage
from tests.waiting import PATIENCE, until

Run = Callable[[Config], Running]

OK, STALE, FAIL, OFF = PluginState.OK, PluginState.STALE, PluginState.FAIL, PluginState.OFF


def save(running: Running, workspace: Workspace, source: str | bytes, name: str = "greet") -> None:
    """Write a plugin and report the change to the manager, as the watcher would."""
    workspace[name] = source
    running.manager.handle_file_change(workspace.plugins / name / "plugin.py")


# ---- saves


def test_an_edit_is_live_at_once(workspace: Workspace, run: Run) -> None:
    """A saved change is live at the next call, and the old generation is retired and freed."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    first = running.status("greet")
    assert (first.state, first.generation, first.reloads, running.host.call("greet")) == (OK, 1, 0, ["one"])
    save(running, workspace, answering("two"))
    second = running.status("greet")
    assert (second.state, second.generation, second.reloads, running.host.call("greet")) == (
        OK,
        2,
        1,
        ["two"],
    )
    assert second.digest == second.source_digest != first.digest
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert [(e.generation, e.memory) for e in running.told(PluginRetired)] == [(1, "freed")]


def test_a_save_without_change_does_nothing(workspace: Workspace, run: Run) -> None:
    """A save without a change compiles and loads nothing."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    count = len(running.events)
    save(running, workspace, answering("one"))
    assert len(running.events) == count


def test_a_second_host_takes_the_artifacts_of_the_first(workspace: Workspace, run: Run) -> None:
    """A second host compiles only the plugins that changed since the first one."""
    for name in "ab":
        workspace[name] = answering(name)
    run(workspace.config())
    workspace["b"] = answering("new")
    second = run(workspace.config())
    assert [event.name for event in second.told(PluginCompiled)] == ["b"]
    assert second.host.call("greet") == ["a", "new"]


COUNTING = (
    "def register(ctx):\n    ctx.state['n'] = ctx.state.get('n', 0) + 1\n"
    "    ctx.hook('greet', lambda: ctx.state['n'])\n"
)

BROKEN = [
    ("def register(ctx)\n", "compile", "SyntaxError"),
    ("x = 1\n", "compile", "CompileError"),
    ("", "compile", "CompileError"),
    ("register = missing\n", "load", "NameError"),
    ("register = 1\nraise SystemExit(3)\n", "load", "SystemExit"),
    ("register = 1\nraise KeyboardInterrupt\n", "load", "KeyboardInterrupt"),
    ("class Own(BaseException): ...\nregister = 1\nraise Own\n", "load", "Own"),
    ("import no_such_module\ndef register(ctx): ...\n", "load", "ModuleNotFoundError"),
    (
        "def register(ctx):\n    ctx.hook('other', print)\n    ctx.state['n'] = 0\n    1 / 0\n",
        "register",
        "ZeroDivisionError",
    ),
    ("def register(ctx):\n    ctx.on_unload(print)\n    raise SystemExit\n", "register", "SystemExit"),
    ("def register(ctx):\n    ctx.hook('other', 1)\n", "register", "RegisterError"),
    ("async def register(ctx): ...\n", "register", "RegisterError"),
]


@pytest.mark.parametrize(("broken", "phase", "kind"), BROKEN)
def test_a_broken_save_leaves_the_last_good_serving(
    workspace: Workspace, run: Run, broken: str, phase: str, kind: str
) -> None:
    """After a broken save the plugin is STALE, its old version and state stay, and a fix clears the fault."""
    workspace["greet"] = COUNTING
    running = run(workspace.config())
    pins, modules = dict(linecache.cache), set(sys.modules)
    save(running, workspace, broken)
    status, fault = running.status("greet"), running.fault("greet")
    assert (status.state, status.generation, fault.phase, fault.type) == (STALE, 1, phase, kind)
    assert status.digest != status.source_digest
    assert (running.host.call("greet"), running.host.call("other")) == ([1], [])
    assert {key: pin for key, pin in linecache.cache.items() if key.startswith(str(workspace.root))} == {
        key: pin for key, pin in pins.items() if key.startswith(str(workspace.root))
    }
    assert {name for name in sys.modules if name.startswith("hotplug")} <= modules
    assert running.told(PluginFailed, "greet")[0].serving == 1
    save(running, workspace, COUNTING + "# mended\n")
    assert (running.status("greet").state, running.status("greet").fault) == (OK, None)
    assert running.host.call("greet") == [2]


def test_going_back_to_the_live_source_clears_stale_without_a_load(workspace: Workspace, run: Run) -> None:
    """Undoing a broken edit clears STALE without a load."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    save(running, workspace, "broken(")
    assert running.status("greet").state is STALE
    save(running, workspace, answering("one"))
    status = running.status("greet")
    assert (status.state, status.fault, status.generation, len(running.told(PluginLoaded))) == (
        OK,
        None,
        1,
        1,
    )


def test_the_same_mistake_is_reported_once(workspace: Workspace, run: Run) -> None:
    """Saving the same broken file again adds no second fault."""
    workspace["greet"] = "broken("
    running = run(workspace.config())
    save(running, workspace, "broken(")
    (workspace.plugins / "greet" / "plugin.py").unlink()
    running.manager.handle_file_change(workspace.plugins / "greet")
    running.manager.handle_file_change(workspace.plugins / "greet")
    assert [event.fault.phase for event in running.told(PluginFailed)] == ["compile", "discover"]


def test_a_cold_start_with_a_broken_source_runs_the_last_good(workspace: Workspace, run: Run) -> None:
    """A cold start with a broken source runs the last good version as STALE, and a fix clears it."""
    workspace["greet"] = answering("good")
    run(workspace.config()).manager.stop()
    workspace["greet"] = "broken("
    running = run(workspace.config())
    status = running.status("greet")
    assert (status.state, running.fault("greet").type, status.generation) == (STALE, "SyntaxError", 1)
    assert running.host.call("greet") == ["good"]
    running.manager.scan_and_load_all()
    assert len(running.told(PluginFailed)) == 1
    save(running, workspace, answering("mended"))
    assert (running.status("greet").state, running.host.call("greet")) == (OK, ["mended"])


def test_a_last_good_that_is_damaged_or_gone_is_only_logged(workspace: Workspace, run: Run) -> None:
    """If the last good version is damaged, nothing is live and the log says why."""
    workspace["greet"] = answering("good")
    run(workspace.config()).manager.stop()
    workspace["greet"] = "broken("
    next(workspace.compiled.glob("*.hotplug")).write_bytes(b"damaged")
    running = run(workspace.config())
    assert running.status("greet").state is FAIL
    assert "the last good version does not load" in running.said()


def test_files_are_compiled_one_by_one(workspace: Workspace, run: Run) -> None:
    """An edit of one of ten files compiles that file and reuses the other nine."""
    workspace["greet"] = answering("one")
    for number in range(9):
        workspace[f"greet/part{number}.py"] = "x = 1\n"
    running = run(workspace.config())
    workspace["greet/part5.py"] = "x = 2\n"
    running.manager.handle_file_change(workspace.plugins / "greet" / "part5.py")
    assert [(e.compiled, e.reused) for e in running.told(PluginCompiled, "greet")] == [(10, 0), (1, 9)]


def test_several_plugins_change_in_one_swap(workspace: Workspace, run: Run) -> None:
    """Plugins that change together become live together, even for calls during the events."""
    for name in "abc":
        workspace[name] = answering("one")
    running = run(workspace.config())
    for name in "abc":
        workspace[name] = answering("two")
    seen: list[object] = []
    running.manager.subscribe(lambda _: seen.append(running.host.call("greet")))
    running.manager.scan_and_load_all()
    assert set(map(str, seen)) == {"['one', 'one', 'one']", "['two', 'two', 'two']"}


def test_handlers_keep_their_order_through_reloads(workspace: Workspace, run: Run) -> None:
    """Calls run in the same order, whichever plugin is reloaded."""
    for name in "cab":
        workspace[name] = answering(name)
    running = run(workspace.config())
    for name in "bcab":
        running.manager.rebuild(name)
        assert running.host.call("greet") == ["a", "b", "c"]


def test_state_survives_reloads_and_disabling(workspace: Workspace, run: Run) -> None:
    """``ctx.state`` survives reloads and a disabled phase, because it belongs to the host process."""
    workspace["greet"] = COUNTING
    running = run(workspace.config())
    save(running, workspace, COUNTING + "# changed\n")
    assert running.host.call("greet") == [2]
    running.manager.disable("greet")
    running.manager.enable("greet")
    assert running.host.call("greet") == [3]


def test_configured_settings_priority_and_hook_point_arrive(workspace: Workspace, run: Run) -> None:
    """``register`` gets the plugin's hook point, priority and settings from the configuration."""
    workspace["greet"] = "def register(ctx):\n    ctx.hook(lambda: ctx.settings['word'])\n"
    workspace["other"] = answering("other", "hello")
    table = {"greet": {"hook_point": "hello", "priority": 200, "settings": {"word": "Hi"}}, "gret": {}}
    running = run(workspace.config(plugins=table))
    assert running.host.call("hello") == ["other", "Hi"]
    assert 'did you mean "greet"' in running.said()


# ---- directories that appear, disappear and change their names


def test_the_directorys_name_switches_a_plugin(workspace: Workspace, run: Run) -> None:
    """Renaming the directory to ``_x`` and back unloads and loads the plugin, as the commands do."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    root = workspace.plugins
    (root / "greet").rename(root / "_greet")
    running.manager.handle_file_change(root / "greet")
    status = running.status("greet")
    assert (status.state, status.path, status.generation, running.host.call("greet")) == (
        OFF,
        str(root / "_greet"),
        0,
        [],
    )
    (root / "_greet").rename(root / "greet")
    running.manager.handle_file_change(root / "_greet")
    assert (running.status("greet").state, running.host.call("greet")) == (OK, ["one"])
    assert running.manager.disable("greet").state is OFF
    assert running.manager.disable("greet").state is OFF
    assert (root / "_greet").is_dir()
    assert running.manager.enable("greet").state is OK
    assert running.manager.enable("greet").state is OK
    assert len(running.told(PluginDisabled)) == 2
    assert len(running.told(PluginEnabled)) == 1


def test_x_beside_its_disabled_twin(workspace: Workspace, run: Run) -> None:
    """``x`` runs and cannot be disabled over ``_x``; if ``x`` disappears, the disabled ``_x`` is left."""
    workspace["x"] = answering("on")
    workspace["_x"] = answering("off")
    running = run(workspace.config())
    assert running.host.call("greet") == ["on"]
    with pytest.raises(RefusedError, match="exists already"):
        running.manager.disable("x")
    assert running.host.call("greet") == ["on"]
    (workspace.plugins / "x").rename(workspace.root / "away")
    running.manager.handle_file_change(workspace.plugins / "x")
    assert (running.status("x").state, running.host.call("greet")) == (OFF, [])


def test_plugins_come_and_go(workspace: Workspace, run: Run) -> None:
    """A new directory is loaded, and a deleted one is unloaded and forgotten."""
    running = run(workspace.config())
    save(running, workspace, answering("new"))
    assert [event.name for event in running.told(PluginDiscovered)] == ["greet"]
    assert running.host.call("greet") == ["new"]
    (workspace.plugins / "greet").rename(workspace.root / "away")
    running.manager.handle_file_change(workspace.plugins / "greet")
    assert running.host.call("greet") == []
    assert running.told(PluginRemoved, "greet")
    assert running.manager.snapshot().plugins == ()


def test_a_plugin_switched_off_in_the_configuration(workspace: Workspace, run: Run) -> None:
    """A plugin with ``enabled = false`` is off, and ``enable`` names the file in which to change that."""
    workspace["greet"] = answering("one")
    running = run(workspace.config(plugins={"greet": {"enabled": False}}))
    assert (running.status("greet").state, running.host.call("greet")) == (OFF, [])
    with pytest.raises(RefusedError, match=r"hotload\.toml"):
        running.manager.enable("greet")


# ---- commands


def test_rebuild_loads_again_what_has_not_changed(workspace: Workspace, run: Run) -> None:
    """``rebuild`` reloads a named plugin, or all if none has changed; ``force`` compiles again."""
    for name in "ab":
        workspace[name] = answering(name)
    running = run(workspace.config())
    assert running.manager.rebuild("a")[0].generation == 2
    assert [status.generation for status in running.manager.rebuild()] == [3, 2]
    workspace["b"] = answering("new")
    assert [status.generation for status in running.manager.rebuild()] == [3, 3]
    assert len(running.told(PluginCompiled)) == 3
    assert [status.generation for status in running.manager.rebuild(force=True)] == [4, 4]
    assert len(running.told(PluginCompiled)) == 5


@pytest.mark.parametrize(
    ("changed", "rebuild", "loads"),
    [
        ("", lambda manager: manager.rebuild("a"), {"a": 0}),
        ("", lambda manager: manager.rebuild("a", force=True), {"a": 2}),
        ("", lambda manager: manager.rebuild("held", "a", force=True), {"a": 2, "held": 1}),
        ("", lambda manager: manager.rebuild(), {"a": 0, "b": 0}),
        ("", lambda manager: manager.rebuild(force=True), {"a": 2, "b": 1}),
        ("a", lambda manager: manager.rebuild(), {"a": 1}),
        ("b", lambda manager: manager.rebuild(), {"b": 1}),
        ("b", lambda manager: manager.rebuild(force=True), {"a": 2, "b": 1}),
    ],
)
def test_what_a_rebuild_loads_and_compiles(
    workspace: Workspace,
    run: Run,
    changed: str,
    rebuild: Callable[[HotloadManager], object],
    loads: dict[str, int],
) -> None:
    """A rebuild loads the plugins that docs/console.md says, and compiles this number of files of each."""
    sources = {"a": "from . import part\n" + answering("a"), "b": answering("b"), "held": answering("c")}
    for name, source in sources.items():
        workspace[name] = source
    workspace["a/part.py"], workspace["_off"] = "", answering("off")
    running = run(workspace.config())
    running.manager.rollback("held", 1)
    if changed:
        workspace[changed] = f"{sources[changed]}# changed\n"
    begun = len(running.events)
    rebuild(running.manager)
    events = running.events[begun:]
    compiled = {event.name: event.compiled for event in events if isinstance(event, PluginCompiled)}
    loaded = [event.name for event in events if isinstance(event, PluginLoaded)]
    assert {name: compiled.get(name, 0) for name in loaded} == loads
    assert len(loaded) == len(loads)


def test_rebuild_tries_the_failing_ones_first(workspace: Workspace, run: Run) -> None:
    """``rebuild`` without a name tries only the failing plugin again, even if its files are the same."""
    workspace["good"] = answering("good")
    workspace["bad"] = (
        "import os\ndef register(ctx):\n    if not os.path.exists(ctx.settings['file']): raise KeyError\n"
    )
    file = workspace.root / "needed"
    running = run(workspace.config(plugins={"bad": {"settings": {"file": str(file)}}}))
    file.write_text("")
    bad, good = running.manager.rebuild()
    assert (bad.state, good.generation) == (OK, 1)


def test_clean_removes_artifacts_of_live_versions(workspace: Workspace, run: Run) -> None:
    """A live version stays live when its artifacts are removed, and its source can still be read."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    assert (running.manager.clean("greet"), running.manager.clean()) == (1, 0)
    assert running.host.call("greet") == ["one"]
    assert running.manager.source("greet", "plugin.py", 1) == answering("one")


def test_new_makes_a_plugin_that_works(workspace: Workspace, run: Run) -> None:
    """A plugin from the built-in template is loaded at once; invalid and existing names are refused."""
    running = run(workspace.config())
    assert running.manager.new("greet").state is OK
    assert running.host.call("greet", "Ada") == ["Hello, Ada!"]
    with pytest.raises(UsageError):
        running.manager.new("_x")
    with pytest.raises(RefusedError):
        running.manager.new("greet")


@pytest.mark.parametrize("command", ["rebuild", "enable", "disable", "clean", "detail"])
def test_unknown_names_get_the_nearest(workspace: Workspace, run: Run, command: str) -> None:
    """Every command with an unknown name suggests the nearest one."""
    workspace["greet"] = answering("one")
    with pytest.raises(UnknownPluginError, match='did you mean "greet"'):
        getattr(run(workspace.config()).manager, command)("gret")


def test_details_and_sources(workspace: Workspace, run: Run) -> None:
    """The detail has description, files and handlers; the source is available as loaded and as on disk."""
    workspace["greet"] = '"""Greets."""\n' + answering("one")
    running = run(workspace.config())
    workspace["greet"] = "changed"
    detail = running.manager.detail("greet")
    assert (detail.description, [file.path for file in detail.files]) == ("Greets.", ["plugin.py"])
    assert [point.point for point in detail.handlers] == ["greet"]
    assert running.manager.source("greet", "plugin.py") == "changed"
    assert running.manager.source("greet", "plugin.py", 1).startswith('"""Greets."""')
    for file, generation in (
        ("no.py", None),
        ("plugin.py", 9),
        ("no.py", 1),
        ("../../secret", None),
        ("/etc/passwd", None),
    ):
        with pytest.raises(UnknownPluginError):
            running.manager.source("greet", file, generation)


def test_invoke_gives_values_that_can_be_sent(workspace: Workspace, run: Run) -> None:
    """``invoke`` returns JSON values unchanged, and other values as bounded representations."""
    workspace["a"] = answering({"n": [1, 2.5, None]})
    workspace["b"] = (
        "class C:\n    def __repr__(self): raise KeyError\ndef register(ctx): ctx.hook('greet', C)\n"
    )
    workspace["c"] = "def register(ctx): ctx.hook('greet', lambda: {1, object} and 'x' * 9)\n"
    workspace["d"] = "def register(ctx): ctx.hook('greet', lambda: range(10**9))\n"
    found = run(workspace.config()).manager.invoke("greet")
    assert found.values == (
        {"n": [1, 2.5, None]},
        "<C: its repr raised KeyError>",
        "x" * 9,
        "range(0, 1000000000)",
    )


def test_build_compiles_without_running(workspace: Workspace) -> None:
    """``build`` reports faults of the source and executes nothing."""
    workspace["good"] = "register = 1\nraise SystemExit\n"
    workspace["bad"] = "broken("
    running = Running(workspace.config())
    bad, good = running.manager.build()
    assert (bad.state, bad.fault is not None, good.fault) == (FAIL, True, None)
    assert running.told(PluginLoaded) == []


# ---- handlers


def test_a_handler_that_raises_is_a_fault_of_its_plugin(workspace: Workspace, run: Run) -> None:
    """A fault of a handler names its line, the others answer, and repeated faults are not all reported."""
    workspace["bad"] = (
        "def answer():\n    word = 'x'\n    return word + 1\n"
        "def register(ctx):\n    ctx.hook('greet', answer)\n"
    )
    workspace["good"] = answering("good")
    running = run(workspace.config())
    for _ in range(100):
        assert running.host.call("greet") == ["good"]
    fault = running.fault("bad")
    assert fault.place is not None
    assert (fault.phase, fault.place.line, fault.place.locals) == ("hook", 3, (("word", "'x'"),))
    assert running.status("bad").state is OK
    assert len(running.told(PluginFailed, "bad")) <= 2


def test_faults_that_differ_in_their_text_do_not_flood(workspace: Workspace, run: Run) -> None:
    """Of many different faults in a moment some are reported; the status has the newest, history counts."""
    workspace["bad"] = (
        "def answer(n):\n    raise (ValueError if n % 2 else KeyError)(n)\n"
        "def register(ctx):\n    ctx.hook('greet', answer)\n"
    )
    running = run(workspace.config())
    for number in range(1000):
        running.host.call("greet", number)
    assert len(running.told(PluginFailed, "bad")) < 500
    assert running.fault("bad").message == "999"
    assert sum(entry.count for entry in running.manager.history("bad") if entry.fault) == 1000


def test_a_failing_handler_of_a_stale_plugin_does_not_flood(workspace: Workspace, run: Run) -> None:
    """Repeated handler faults of a STALE plugin are not all reported, and the source's fault stays."""
    workspace["bad"] = "def register(ctx):\n    ctx.hook('greet', lambda: 1 / 0)\n"
    running = run(workspace.config())
    save(running, workspace, "broken(", "bad")
    for _ in range(100):
        running.host.call("greet")
    assert running.fault("bad").type == "SyntaxError"
    assert len(running.told(PluginFailed, "bad")) <= 3


def test_a_new_version_with_the_same_fault_does_not_look_well(workspace: Workspace, run: Run) -> None:
    """A handler that fails as before its reload is a fault of the new version too."""
    broken = "def register(ctx):\n    ctx.hook('greet', lambda: 1 / 0)\n"
    workspace["bad"] = broken
    running = run(workspace.config())
    for generation in (1, 2, 3):
        running.host.call("greet")
        assert running.status("bad").generation == generation
        assert running.fault("bad").type == "ZeroDivisionError"
        save(running, workspace, broken + "\n" * generation, "bad")
        assert running.status("bad").fault is None
    assert [event.serving for event in running.told(PluginFailed, "bad")] == [1, 2, 3]


def test_a_handler_can_ask_for_its_own_reload(workspace: Workspace, run: Run) -> None:
    """A command in a handler returns after the swap, and the call in flight ends in the old version."""
    workspace["greet"] = "def register(ctx):\n    ctx.hook('greet', lambda act: [act(), 'old'][1])\n"
    running = run(workspace.config())

    def act() -> None:
        save(running, workspace, "def register(ctx):\n    ctx.hook('greet', lambda act: 'new')\n")

    assert running.host.call("greet", act) == ["old"]
    assert running.host.call("greet", act) == ["new"]
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert running.told(PluginRetired, "greet")[0].memory == "freed"


@pytest.mark.parametrize("command", ["rebuild('greet')", "scan()", "stop()", "disable('greet')", "start()"])
def test_a_plugin_cannot_command_its_manager_while_it_loads(
    workspace: Workspace, run: Run, command: str
) -> None:
    """A command of a plugin that is loading is refused with an error that says when it works."""
    workspace["greet"] = answering("one")
    running = run(workspace.config(enable_watch=True))
    sys.modules["manager_of_the_test"] = running.manager  # type: ignore[assignment]  # found by the plugin's import
    try:
        workspace["greet"] = f"import manager_of_the_test as m\ndef register(ctx):\n    m.{command}\n"
        assert running.wait_for(lambda: "RefusedError" in running.said())
    finally:
        del sys.modules["manager_of_the_test"]
    fault = running.fault("greet")
    assert (fault.type, "do it in a handler" in fault.message) == ("RefusedError", True)
    assert running.manager.snapshot().watcher.state == "watching"


@pytest.mark.parametrize("command", ["enable", "disable"])
def test_a_toggle_that_is_reverted_by_hand_at_once_is_noticed(
    workspace: Workspace, run: Run, command: str
) -> None:
    """If a rename by hand undoes a command before the watcher has looked, the name on disk decides."""
    on, off = workspace.plugins / "x", workspace.plugins / "_x"
    workspace["x" if command == "disable" else "_x"] = answering("x")
    running = run(workspace.config(enable_watch=True))
    for _ in range(5):
        if command == "enable":
            running.manager.enable("x")
            on.rename(off)
            assert running.wait_for(lambda: running.status("x").state is PluginState.OFF)
        else:
            running.manager.disable("x")
            off.rename(on)
            assert running.wait_for(lambda: running.status("x").state is PluginState.OK)


# ---- bad input


def make_directory(path: Path) -> None:
    """Create a directory at the path."""
    path.mkdir()


def make_dangling(path: Path) -> None:
    """Create a link to a missing file at the path."""
    path.symlink_to("nowhere")


def make_loop(path: Path) -> None:
    """Create a link to itself at the path."""
    path.symlink_to(path.name)


def make_fifo(path: Path) -> None:
    """Create a named pipe at the path."""
    os.mkfifo(path)


ENTRIES = [
    (None, "discover", "no plugin.py"),
    (make_directory, "discover", "is a directory"),
    (make_dangling, "discover", "is a link to nowhere"),
    (make_loop, "discover", "is a link to plugin.py, which is no file"),
    (make_fifo, "discover", "no regular file"),
    (b"x = 1\n", "compile", "defines no register"),
    (b"def register(): ...\n", "register", "must take one argument"),
    (b"async def register(ctx): ...\n", "register", "is async"),
    (b"def register(ctx):\n    yield\n", "register", "is a generator"),
    (b"register = 3\n", "register", "not a function"),
    (b"def register(ctx)\n", "compile", "expected ':'"),
    (b"# coding: klingon\n", "compile", "unknown encoding: klingon"),
    (b"x = '\xff'\n", "compile", "xff"),
    (b"x = 1\n\0\n", "compile", "NUL byte in line 2"),
    (b"", "compile", "is empty"),
    (b"#" * (20 << 20), "compile", "20,971,520 bytes"),
    (b"\xef\xbb\xbfdef register(ctx)\n", "compile", "expected ':'"),
]


@pytest.mark.parametrize(("entry", "phase", "message"), ENTRIES)
def test_bad_entries_are_clear_faults_and_others_load(
    workspace: Workspace, run: Run, entry: bytes | Callable[[Path], None] | None, phase: str, message: str
) -> None:
    """A bad plugin.py causes a fault that names the problem, and the plugin beside it works."""
    workspace["good"] = answering("good")
    path = workspace.plugins / "bad" / "plugin.py"
    path.parent.mkdir()
    if isinstance(entry, bytes):
        path.write_bytes(entry)
    elif entry is not None:
        entry(path)
    running = run(workspace.config())
    fault = running.fault("bad")
    assert (running.status("bad").state, fault.phase) == (FAIL, phase)
    assert message in fault.message
    assert running.host.call("greet") == ["good"]
    if isinstance(entry, bytes):
        assert fault.place is not None
        assert fault.place.file == str(path)


@pytest.mark.parametrize(
    "name", ["a-b", "a b", "ünïcödé", "日本", "json", "class", "1st", "sys", "a.b", "A" * 250, "self"]
)
def test_any_directory_name_works(workspace: Workspace, run: Run, name: str) -> None:
    """A plugin whose name is no identifier or is a module's name loads and reloads like any other."""
    workspace[name] = answering("one")
    workspace[f"{name}/part.py"] = "x = 1\n"
    running = run(workspace.config())
    assert running.host.call("greet") == ["one"], running.status(name).fault
    save(running, workspace, "from .part import x\n" + answering("two"), name)
    assert running.host.call("greet") == ["two"]
    assert running.status(name).state is OK


def test_a_name_that_is_not_utf8_does_no_harm(workspace: Workspace, run: Run) -> None:
    """A directory whose name is not UTF-8 is listed, and the other plugin loads."""
    workspace["good"] = answering("good")
    odd = Path(os.fsdecode(os.fsencode(workspace.plugins) + b"/caf\xe9"))
    odd.mkdir()
    (odd / "plugin.py").write_text(answering("odd"))
    running = run(workspace.config())
    assert "good" in running.host.call("greet")
    assert len(running.manager.snapshot().plugins) == 2


def test_large_and_odd_contents_work(workspace: Workspace, run: Run) -> None:
    """Plugins with 2,000 files, 20 MB of data, a pipe or circular links work."""
    workspace["many"] = answering("many")
    for number in range(2000):
        workspace[f"many/data/{number}.txt"] = str(number)
    workspace["large"] = answering("large")
    workspace["large/data.bin"] = bytes(20 << 20)
    workspace["odd"] = answering("odd")
    os.mkfifo(workspace.plugins / "odd" / "pipe")
    (workspace.plugins / "odd" / "loop").symlink_to(workspace.plugins)
    (workspace.plugins / "odd" / "self").symlink_to("self")
    running = run(workspace.config())
    assert running.host.call("greet") == ["large", "many", "odd"]
    assert len(running.manager.detail("many").files) == 2001


def test_compiled_that_cannot_be_written_is_named(workspace: Workspace, run: Run) -> None:
    """A file in the place of compiled/ is a fault that names it, and a rebuild after its removal works."""
    workspace["greet"] = answering("one")
    workspace.compiled.write_text("in the way")
    running = run(workspace.config())
    assert (running.status("greet").state, str(workspace.compiled) in running.fault("greet").message) == (
        FAIL,
        True,
    )
    workspace.compiled.unlink()
    running.manager.rebuild()
    assert running.host.call("greet") == ["one"]


class Shown(msgspec.Struct):
    """The state of a host in another process."""

    plugins: dict[str, tuple[str, str]]
    """The state and fault message of each plugin."""
    values: list[str]
    log: list[str]


CHILD = """
import json, os, sys, tempfile
from pathlib import Path
from hotload_tui import Config, HookHost, HotloadManager

def run():
    host = HookHost()
    with HotloadManager(host, Config(enable_watch=False)) as manager:
        found = {p.name: [p.state, p.fault.message if p.fault else ""] for p in manager.snapshot().plugins}
        return {"plugins": found, "values": host.call("greet"), "log": [line.text for line in manager.log()]}

project = os.getcwd()
os.chdir(tempfile.mkdtemp())
Path("plugins/x").mkdir(parents=True)
Path("plugins/x/plugin.py").write_text("register(")
run()  # imports everything while all of it can be read
os.chdir(project)
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print(json.dumps(run()))
"""


@pytest.fixture
def open_workspace() -> Iterator[Workspace]:
    """Yield a project folder that every user can access, unlike the folders of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Workspace(Path(folder))


def as_an_ordinary_user(workspace: Workspace) -> Shown:
    """Run a host in a process that is not root, and return its state."""
    if os.geteuid() == 0:
        for path in (workspace.root, *workspace.root.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=workspace.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=Shown)


@pytest.mark.parametrize(
    ("place", "mode", "message"),
    [("plugin.py", 0o000, "plugins/bad/plugin.py: Permission denied"),
     ("words.txt", 0o000, "plugins/bad/words.txt: Permission denied"),
     ("sub", 0o000, "plugins/bad/sub: Permission denied"),
     ("sub", 0o444, "plugins/bad/sub/deep.py: Permission denied"),
     (".", 0o000, "plugins/bad"), (".", 0o444, "plugins/bad")],
)  # fmt: skip
def test_what_cannot_be_read_is_named(open_workspace: Workspace, place: str, mode: int, message: str) -> None:
    """A file or folder without read permission is a fault of its plugin, and the others load."""
    open_workspace["good"] = answering("good")
    open_workspace["bad"] = answering("bad")
    open_workspace["bad/words.txt"] = "x"
    open_workspace["bad/sub/deep.py"] = "x = 1\n"
    path = open_workspace.plugins / "bad" / place
    path.chmod(mode)
    found = as_an_ordinary_user(open_workspace)
    path.chmod(0o755)
    assert found.plugins["bad"][0] == "FAIL"
    assert "cannot read" in found.plugins["bad"][1]
    assert message in found.plugins["bad"][1]
    assert found.values == ["good"], found


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444, 0o555])
def test_compiled_without_permission_is_named(open_workspace: Workspace, mode: int) -> None:
    """Missing permissions of compiled/ are a fault that names it, and the host starts."""
    open_workspace["greet"] = answering("one")
    open_workspace.compiled.mkdir()
    open_workspace.compiled.chmod(mode)
    found = as_an_ordinary_user(open_workspace)
    open_workspace.compiled.chmod(0o755)
    assert found.plugins["greet"][0] == "FAIL"
    assert "cannot write compiled/greet-" in found.plugins["greet"][1]


def test_an_artifact_without_permission_is_rebuilt(open_workspace: Workspace, run: Run) -> None:
    """An unreadable artifact is built again, and the log says why."""
    open_workspace["greet"] = answering("one")
    run(open_workspace.config()).manager.stop()
    next(open_workspace.compiled.glob("*.hotplug")).chmod(0)
    found = as_an_ordinary_user(open_workspace)
    assert found.values == ["one"]
    assert any("cannot be read: Permission denied; built again" in line for line in found.log)


def test_artifacts_that_are_no_ones_do_no_harm(workspace: Workspace, run: Run) -> None:
    """Foreign files and folders in compiled/ are left alone."""
    workspace["greet"] = answering("one")
    workspace.compiled.mkdir()
    (workspace.compiled / "greet-0123456789ab.hotplug").mkdir()
    (workspace.compiled / "notes.txt").write_text("mine")
    (workspace.compiled / "greet-ba9876543210.hotplug").symlink_to("nowhere")
    running = run(workspace.config(keep_generations=1))
    assert running.host.call("greet") == ["one"]
    assert running.told(ArtifactRejected) == []
    save(running, workspace, answering("two"))
    assert running.host.call("greet") == ["two"]
    assert (workspace.compiled / "notes.txt").exists()


def test_enabling_x_over_its_running_twin_is_refused(workspace: Workspace, run: Run) -> None:
    """``enable`` of a running ``x`` beside ``_x`` is refused with the reason, and ``x`` stays live."""
    workspace["x"] = answering("on")
    running = run(workspace.config())
    assert running.manager.enable("x").state is OK
    workspace["_x/plugin.py"] = answering("off")
    with pytest.raises(RefusedError, match=r"cannot enable x: .*exists already beside"):
        running.manager.enable("x")
    assert running.host.call("greet") == ["on"]


def test_a_scan_names_directories_without_an_entry(workspace: Workspace) -> None:
    """A scan runs no plugin, but reports directories without plugin.py until they have one."""
    workspace["greet/helper.py"] = ""
    workspace["other"] = answering("one")
    running = Running(workspace.config())
    assert [status.state for status in running.manager.scan()] == [FAIL, PluginState.NEW]
    assert (running.fault("greet").phase, len(running.told(PluginFailed))) == ("discover", 1)
    running.manager.scan()
    assert len(running.told(PluginFailed)) == 1
    workspace["greet"] = answering("two")
    assert [status.state for status in running.manager.scan()] == [PluginState.NEW, PluginState.NEW]
    assert running.status("greet").fault is None


def test_a_scan_before_the_start_costs_no_last_good(workspace: Workspace, run: Run) -> None:
    """After a scan has found plugin.py missing, the start still runs the last good version."""
    workspace["greet"] = answering("good")
    run(workspace.config()).manager.stop()
    (workspace.plugins / "greet" / "plugin.py").unlink()
    running = Running(workspace.config())
    running.manager.scan()
    with running.manager:
        assert (running.status("greet").state, running.host.call("greet")) == (STALE, ["good"])


@pytest.mark.parametrize(
    "source",
    [
        '"""Greets.\n\nMore."""\ndef register(ctx): 1 / 0\n',
        "# first\n'Greets.'\ndef register(ctx)\n",
        '\n"Gr" "eets."; x = "\\d"\nregister = missing\n',
    ],
)
def test_a_plugin_that_fails_or_is_off_has_its_description(
    workspace: Workspace, run: Run, source: str
) -> None:
    """The description comes from the source, even if the source does not compile."""
    workspace["greet"] = source
    workspace["_off"] = source
    running = run(workspace.config())
    assert running.manager.detail("greet").description == "Greets."
    assert running.manager.detail("off").description == "Greets."


@pytest.mark.parametrize("broken", ["def register(ctx)\n", "register = missing\n"])
def test_building_does_not_change_the_status_of_the_live_version(
    workspace: Workspace, run: Run, broken: str
) -> None:
    """A build of a broken source does not change the status of the live plugin."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    save(running, workspace, broken)
    before = running.status("greet")
    running.manager.build("greet")
    assert without_memory(running.status("greet")) == without_memory(before)
    assert before.state is STALE


def test_what_failed_to_load_is_not_tried_twice(workspace: Workspace, run: Run) -> None:
    """If the last good version is the failing one, a start executes it only once."""
    count = workspace.root / "count"
    count.write_text("")
    workspace["greet"] = (
        f"import pathlib\ncount = pathlib.Path({str(count)!r})\n"
        "count.write_text(count.read_text() + 'x')\nassert len(count.read_text()) == 1\n" + answering("one")
    )
    run(workspace.config()).manager.stop()
    assert run(workspace.config()).status("greet").state is FAIL
    assert count.read_text() == "xx"


def test_the_log_shows_the_time_of_each_step_of_a_reload(workspace: Workspace, run: Run) -> None:
    """The log gives the milliseconds of each step of a reload."""
    workspace["greet"] = answering("Hi")
    running = run(workspace.config())
    lines = " ".join(line.text for line in running.manager.log())
    assert re.search(r"1 compiled, .*; read [\d.]+, compile [\d.]+, write [\d.]+ ms\)", lines)
    assert re.search(r"loaded .*: greet:100 \(execute [\d.]+, register [\d.]+, swap [\d.]+ ms\)", lines)
    [loaded] = running.told(PluginLoaded, "greet")
    assert sum(step.seconds for step in loaded.steps[:2]) == pytest.approx(loaded.seconds)


def test_a_manager_may_start_while_another_thread_stops_it(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A manager that starts before a ``stop`` has ended runs on when that ``stop`` ends."""
    workspace["greet"] = answering("one") + "    import stage\n    ctx.on_unload(stage.wait)\n"
    running = run(workspace.config(drain_timeout=PATIENCE))
    stopping = threading.Thread(target=running.manager.stop)
    stopping.start()
    assert stage.entered.wait(PATIENCE)
    running.manager.start()
    stage.gate.set()
    stopping.join(PATIENCE)
    assert running.host.call("greet") == ["one"]
    assert [thread.name for thread in threading.enumerate()].count("hotload-retire") == 1


@pytest.mark.parametrize("event", [PluginFailed, PluginCompiled, PluginLoaded, PluginRetired])
def test_a_subscriber_may_stop_the_manager(workspace: Workspace, run: Run, event: type[Event]) -> None:
    """A subscriber may stop the manager during any event, while the watcher waits for the lock."""
    workspace["greet"] = answering("one")
    running = run(workspace.config(enable_watch=True))
    is_stopped = threading.Event()

    def stop(heard: object) -> None:
        if isinstance(heard, event) and not is_stopped.is_set():
            workspace["greet/more.py"] = "x = 1\n"  # the watcher will wait for the lock
            running.manager.stop()
            is_stopped.set()

    running.manager.subscribe(stop)
    workspace["greet"] = "broken(" if event is PluginFailed else answering("two")
    running.manager.rebuild()
    assert is_stopped.wait(20)
    running.manager.stop()
    assert running.host.call("greet") == []
    assert running.manager.snapshot().watcher.state == "off"
    running.manager.start()


# ---- start and stop


def test_a_missing_runtime_directory_is_waited_for(workspace: Workspace, run: Run) -> None:
    """A start without the plugin directory reports it, and loads plugins once the directory appears."""
    workspace.plugins.rmdir()
    running = run(workspace.config(enable_watch=True))
    assert "no plugin directory" in running.said()
    assert running.wait_for(lambda: "no plugin directory" in running.manager.snapshot().watcher.trouble)
    workspace["greet"] = answering("one")
    assert running.wait_for(lambda: running.host.call("greet") == ["one"])
    assert running.wait_for(lambda: running.manager.snapshot().watcher.trouble == "")


def test_without_watching_the_missing_directory_is_reported_too(workspace: Workspace, run: Run) -> None:
    """Without a watcher, the snapshot also reports the missing directory."""
    workspace.plugins.rmdir()
    running = run(workspace.config())
    assert "no plugin directory" in running.manager.snapshot().watcher.trouble


def test_stop_unloads_in_reverse_order_of_loading(workspace: Workspace) -> None:
    """The plugin loaded last is unloaded first, and no handler and no thread is left."""
    order: list[str] = []
    sys.modules["order_of_the_test"] = order  # type: ignore[assignment]  # found by the plugins' import
    source = (
        "import order_of_the_test as o\ndef register(ctx):\n    ctx.on_unload(lambda: o.append(ctx.name))\n"
    )
    for name in "bac":
        workspace[name] = source
    threads = set(threading.enumerate())
    running = Running(workspace.config(enable_watch=True))
    try:
        with running.manager:
            pass
    finally:
        del sys.modules["order_of_the_test"]
    assert order == ["c", "b", "a"]
    assert running.host.points() == ()
    until(lambda: set(threading.enumerate()) <= threads, lambda: str(threading.enumerate()))


def test_a_stopped_manager_can_be_started_again(workspace: Workspace, run: Run) -> None:
    """A manager can be stopped twice and started again."""
    workspace["greet"] = answering("one")
    running = run(workspace.config(enable_watch=True))
    running.manager.start()
    running.manager.stop()
    running.manager.stop()
    assert (running.host.call("greet"), running.manager.snapshot().watcher.state) == ([], "off")
    running.manager.start()
    assert running.host.call("greet") == ["one"]
    workspace["greet"] = answering("two")
    assert running.wait_for(lambda: running.host.call("greet") == ["two"])


def test_stopping_without_unloading_leaves_plugins_serving(workspace: Workspace, run: Run) -> None:
    """``stop(unload=False)`` stops watching and leaves the plugins live."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    running.manager.stop(unload=False)
    assert running.host.call("greet") == ["one"]


def test_a_subscriber_that_raises_stops_nothing(workspace: Workspace, run: Run) -> None:
    """If a subscriber raises, the reload goes on."""
    running = run(workspace.config())

    def fails(event: object) -> None:
        raise ValueError(event)

    undo = running.manager.subscribe(fails)
    save(running, workspace, answering("one"))
    undo()
    assert running.host.call("greet") == ["one"]


def test_what_plugins_log_is_in_the_log(workspace: Workspace, run: Run) -> None:
    """The log has lines of ``ctx.log`` and of a module's own logger under the plugin's name."""
    workspace["my-plugin"] = (
        "import logging\ndef register(ctx):\n    ctx.log.info('by ctx')\n"
        "    logging.getLogger(__name__).warning('by name')\n"
    )
    said = run(workspace.config()).said()
    assert "info my-plugin: by ctx" in said
    assert "warning my-plugin: by name" in said


def test_errors_of_commands_are_of_one_family(workspace: Workspace) -> None:
    """Errors of commands are all caught by ``except HotloadError``."""
    running = Running(workspace.config())
    workspace.plugins.rmdir()
    for command in (running.manager.scan, running.manager.rebuild, lambda: running.manager.enable("x")):
        with pytest.raises(HotloadError):
            command()


def test_a_program_reads_faults_from_its_logging(
    workspace: Workspace, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults are logged under ``hotload.events``, and lines that plugins log are not repeated there."""
    workspace["bad"] = "broken("
    workspace["chatty"] = "def register(ctx):\n    ctx.log.warning('hello from me')\n"
    running = run(workspace.config())
    assert [line.text for line in running.manager.log() if line.plugin == "chatty"].count(
        "hello from me"
    ) == 1
    errors = [
        record for record in caplog.records if record.name == "hotload.events" and record.levelname == "ERROR"
    ]
    assert [record.getMessage().partition(":")[0] for record in errors] == ["bad"]
    assert [record.name for record in caplog.records if "hello from me" in record.getMessage()] == [
        "hotload.plugin.chatty"
    ]


def test_messages_name_modules_as_their_author_does(workspace: Workspace, run: Run) -> None:
    """An import error names the plugin's own module by its short name."""
    workspace["greet/helper.py"] = "x = 1\n"
    workspace["greet"] = "from .helper import y\n\n\ndef register(ctx): ...\n"
    running = run(workspace.config())
    assert running.fault("greet").message.startswith("cannot import name 'y' from 'greet.helper'")
