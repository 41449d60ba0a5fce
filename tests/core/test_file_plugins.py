import importlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.config import NOTIFIERS
from hotload_tui.core.directories import find_plugins
from hotload_tui.core.errors import RefusedError, UsageError
from hotload_tui.core.layout import Layout
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

GREET = '''"""Greets."""


def greet():
    return {word!r}


def register(ctx):
    ctx.hook("greet", greet)
'''
FILES = Layout(files=True)


def write(workspace: Workspace, name: str, content: str) -> Path:
    """Write a file beside the plugins' directories, as an editor does that replaces it."""
    draft, path = workspace.plugins / f".{name}.draft", workspace.plugins / name
    draft.write_text(content)
    draft.replace(path)
    return path


def greeting(word: str) -> str:
    """Return a plugin that greets with ``word``."""
    return GREET.format(word=word)


@pytest.fixture
def greet(workspace: Workspace, run: Run) -> Running:
    """Return a manager that has loaded plugins/greet.py."""
    write(workspace, "greet.py", greeting("one"))
    return run(workspace.config(files=True))


def test_files_are_plugins_only_where_the_project_says_so(workspace: Workspace, run: Run) -> None:
    """Without ``files``, a Python file beside the directories is ignored, as it always was."""
    write(workspace, "greet.py", greeting("one"))
    assert run(workspace.config()).manager.snapshot().plugins == ()


def test_a_single_file_loads_reloads_and_keeps_running(workspace: Workspace, greet: Running) -> None:
    """A file is a plugin with one artifact; an edit replaces it, a mistake leaves the last good version."""
    assert greet.host.call("greet") == ["one"]
    status = greet.status("greet")
    assert (status.path, status.entry) == (str(workspace.plugins / "greet.py"), "greet.py")
    assert len(list(workspace.compiled.glob("greet-*"))) == 1
    detail = greet.manager.detail("greet")
    assert (detail.description, [file.path for file in detail.files]) == ("Greets.", ["greet.py"])
    path = write(workspace, "greet.py", greeting("two"))
    greet.manager.handle_file_change(path)
    assert greet.host.call("greet") == ["two"]
    write(workspace, "greet.py", greeting("three") + "1 / 0\n")
    greet.manager.load_plugin(path)
    assert greet.status("greet").state is PluginState.STALE
    place = greet.fault("greet").place
    assert place is not None
    assert (place.file, place.line, place.owner) == (str(path), 10, "plugin")
    assert greet.host.call("greet") == ["two"]
    assert "'two'" in greet.manager.source("greet", "greet.py", 2)
    assert "'three'" in greet.manager.source("greet", "greet.py")
    assert greet.manager.rollback("greet", 1).state is PluginState.HELD
    assert greet.host.call("greet") == ["one"]


def test_the_module_of_a_file_has_the_names_of_a_plugin(workspace: Workspace, greet: Running) -> None:
    """The program imports a function that is called like its file, and gets a handle that it can pickle."""
    handle: Callable[[], str] = importlib.import_module("hotplug.greet").greet
    assert handle() == "one"
    greet.manager.load_plugin(write(workspace, "greet.py", greeting("two")))
    assert handle() == "two"
    assert pickle.loads(pickle.dumps(handle))() == "two"
    assert importlib.import_module("hotplug.greet.plugin").greet.__module__ == "hotplug.greet.plugin"


@pytest.mark.parametrize("name", ["http-add-header", "my.plug", "json", "class", "a b"])
def test_any_file_name_is_a_plugin_name(workspace: Workspace, run: Run, name: str) -> None:
    """A file need not have the name of a Python module."""
    write(workspace, f"{name}.py", "import json\n" + greeting("one"))
    running = run(workspace.config(files=True))
    assert running.host.call("greet") == ["one"]
    assert running.status(name).fault is None
    assert "standard library" not in running.said()


def test_files_beside_the_plugins_that_are_none(workspace: Workspace) -> None:
    """Hidden files, tests, the template, other files and directories that end in .py are no plugins."""
    for name in (".x.py", "__init__.py", "TEMPLATE.py", "test_greet.py", "conftest.py", "notes.txt", "_.py"):
        write(workspace, name, "")
    (workspace.plugins / "folder.py").mkdir()
    (workspace.plugins / "broken.py").symlink_to("nowhere")
    for name in ("greet.py", "_off.py", "both.py", "_both.py"):
        write(workspace, name, "")
    found = find_plugins(workspace.plugins, FILES)
    assert {each.path.name: each.enabled for each in found.values()} == {
        "greet.py": True,
        "_off.py": False,
        "both.py": True,
    }


def test_an_underscore_disables_a_file(workspace: Workspace, greet: Running) -> None:
    """``disable`` and ``enable`` rename the file, and the manager follows a rename by hand."""
    assert greet.manager.disable("greet").state is PluginState.OFF
    assert (workspace.plugins / "_greet.py").is_file()
    assert greet.host.call("greet") == []
    assert greet.manager.enable("greet").state is PluginState.OK
    (workspace.plugins / "greet.py").rename(workspace.plugins / "_greet.py")
    greet.manager.handle_file_change(workspace.plugins / "greet.py")
    assert greet.status("greet").state is PluginState.OFF
    write(workspace, "greet.py", greeting("two"))
    assert greet.manager.load_plugin(workspace.plugins / "greet.py").state is PluginState.OK
    with pytest.raises(RefusedError, match="exists already"):
        greet.manager.disable("greet")
    with pytest.raises(RefusedError, match="exists already beside"):
        greet.manager.enable("greet")


def test_a_file_and_a_directory_of_one_name_clash(workspace: Workspace, greet: Running) -> None:
    """The live version stays, the fault names both, and the removal of either ends it."""
    workspace["greet"] = greeting("folder")
    (status,) = greet.manager.rebuild("greet")
    assert status.state is PluginState.STALE
    fault = greet.fault("greet")
    assert fault.phase == "discover"
    assert "greet and " in fault.message
    assert "greet.py both define the plugin greet; rename or remove one of them" in fault.message
    assert greet.host.call("greet") == ["one"]
    (workspace.plugins / "greet.py").unlink()
    greet.manager.rebuild("greet")
    assert greet.host.call("greet") == ["folder"]
    write(workspace, "greet.py", greeting("two"))
    greet.manager.handle_file_change(workspace.plugins / "greet.py")
    assert greet.status("greet").state is PluginState.STALE
    (workspace.plugins / "greet" / "plugin.py").unlink()
    (workspace.plugins / "greet").rmdir()
    greet.manager.handle_file_change(workspace.plugins / "greet")
    assert greet.status("greet").state is PluginState.OK
    assert greet.host.call("greet") == ["two"]


@pytest.mark.parametrize("notifier", NOTIFIERS)
def test_the_watcher_follows_files(workspace: Workspace, run: Run, notifier: str) -> None:
    """A new file, an edit, a rename, a clash and a deletion take effect without a command."""
    watching = {"enable_watch": True, "sweep_interval": 0.2, "watch": {"notifier": notifier}}
    running = run(workspace.config(files=True, **watching))
    assert running.wait_for(lambda: running.manager.snapshot().watcher.state == "watching")
    write(workspace, "greet.py", greeting("one"))
    assert running.wait_for(lambda: running.host.call("greet") == ["one"])
    (workspace.plugins / "greet.py").write_text(greeting("two"))
    assert running.wait_for(lambda: running.host.call("greet") == ["two"])
    workspace["greet"] = greeting("folder")
    assert running.wait_for(lambda: running.status("greet").state is PluginState.STALE)
    assert running.host.call("greet") == ["two"]
    (workspace.plugins / "greet").rename(workspace.plugins / ".greet")
    assert running.wait_for(lambda: running.status("greet").state is PluginState.OK)
    (workspace.plugins / "greet.py").rename(workspace.plugins / "meet.py")

    def names() -> list[str]:
        return [plugin.name for plugin in running.manager.snapshot().plugins]

    assert running.wait_for(lambda: names() == ["meet"] and running.host.call("greet") == ["two"])
    (workspace.plugins / "meet.py").rename(workspace.plugins / "_meet.py")
    assert running.wait_for(lambda: running.status("meet").state is PluginState.OFF)
    (workspace.plugins / "_meet.py").rename(workspace.plugins / "meet.py")
    assert running.wait_for(lambda: running.host.call("greet") == ["two"])
    (workspace.plugins / "meet.py").unlink()
    assert running.wait_for(lambda: not names())
    assert running.host.call("greet") == []


def test_a_file_that_was_renamed_away_and_back_loads_again(workspace: Workspace, run: Run) -> None:
    """A plugin that a command saw as gone is live again, although its file is the same."""
    write(workspace, "greet.py", greeting("one"))
    running = run(workspace.config(files=True, enable_watch=True, sweep_interval=0.2))
    running.manager.pause()
    (workspace.plugins / "greet.py").rename(workspace.plugins / "_greet.py")
    running.manager.scan_and_load_all()
    assert running.status("greet").state is PluginState.OFF
    (workspace.plugins / "_greet.py").rename(workspace.plugins / "greet.py")
    running.manager.resume()
    assert running.wait_for(lambda: running.host.call("greet") == ["one"])


def test_a_new_plugin_is_a_file(workspace: Workspace, run: Run, tmp_path: Path) -> None:
    """``new`` writes a file with a test that passes; the other templates still give directories."""
    running = run(workspace.config(files=True))
    assert running.manager.new("my-first").state is PluginState.OK
    assert running.manager.new("second", "package").state is PluginState.OK
    there = sorted(path.name for path in workspace.plugins.iterdir())
    assert there == ["my-first.py", "second", "test_my_first.py", "test_second.py"]
    for name in ("my_first", "second"):
        test = workspace.plugins / f"test_{name}.py"
        names: dict[str, Callable[[Path], None]] = {"__file__": str(test)}  # type: ignore[dict-item]
        exec(compile(test.read_text(), str(test), "exec"), names)
        names[f"test_{name}"](tmp_path / name)
    with pytest.raises(RefusedError, match="exists already"):
        running.manager.new("my-first", "package")
    with pytest.raises(UsageError, match=r'"test_x\.py" cannot be a plugin'):
        running.manager.new("test_x")


def test_files_and_directories_mix(workspace: Workspace, run: Run) -> None:
    """A file with the project's function requires a directory, and reloads with it."""
    workspace["base/__init__.py"] = "WORD = 'one'\ndef setup(ctx): ..."
    user = "REQUIRES = ['base']\ndef setup(ctx):\n    base = ctx.plugin('base')\n"
    write(workspace, "greet.py", user + "    ctx.hook('greet', lambda: base.WORD)\n")
    running = run(workspace.config(files=True, entry="__init__.py", register="setup"))
    assert running.host.call("greet") == ["one"]
    workspace["base/__init__.py"] = "WORD = 'two'\ndef setup(ctx): ..."
    running.manager.rebuild("base")
    assert running.host.call("greet") == ["two"]


def test_a_last_good_file_starts_with_a_broken_source(workspace: Workspace, greet: Running, run: Run) -> None:
    """A host that starts with a broken file runs the last good artifact of it."""
    greet.manager.stop()
    write(workspace, "greet.py", "def register(:")
    running = run(workspace.config(files=True))
    assert running.status("greet").state is PluginState.STALE
    assert running.host.call("greet") == ["one"]


def test_a_spawned_process_finds_the_module_of_a_file(workspace: Workspace, greet: Running) -> None:
    """A process that a file's code spawns runs a function of this file, in this version."""
    pool = "import concurrent.futures, multiprocessing\n" + greeting("two").replace("greet)", "spawned)")
    pool += (
        "\n\ndef spawned():\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:\n"
        "        return pool.submit(greet).result()\n"
    )
    greet.manager.load_plugin(write(workspace, "greet.py", pool))
    assert greet.host.call("greet") == ["two"], greet.said()
