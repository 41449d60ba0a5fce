from pathlib import Path

import pytest

from hotload_tui import PluginState
from hotload_tui.cli.scope import Scope
from hotload_tui.remote.process import HostedManager
from tests.cli.command import Hotload
from tests.conftest import Workspace
from tests.waiting import until

GREET = "def register(ctx):\n    ctx.hook('greet', lambda name='you': f'Hello, {name}')\n"
HOSTS = pytest.mark.parametrize("with_host", ["", "with host"])


@HOSTS
def test_a_new_plugin_works_at_once(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """``new`` prints the folder of the new plugin, which answers a call."""
    if with_host:
        hotload.serve()
    done = hotload("new", "first")
    assert done.code == 0
    assert (workspace.root / done.out.strip() / "plugin.py").is_file()
    assert hotload("call", "first", "Ada").out == "Hello, Ada!\n"


@pytest.mark.parametrize("name", ["my hello", "1x", "class"])
def test_a_name_that_cannot_be_imported_is_reported(hotload: Hotload, name: str) -> None:
    """A plugin whose name cannot be imported works, and ``new`` explains the limitation."""
    done = hotload("new", name)
    assert (done.code, done.err.startswith(f'"{name}" is no Python name')) == (0, True)
    assert hotload("call", name, "Ada").out == "Hello, Ada!\n"
    assert hotload("new", "plain").err == ""


def test_a_host_elsewhere_makes_it_where_i_see_it(workspace: Workspace, hotload: Hotload) -> None:
    """The folder that ``new`` prints is right in another directory than the host's."""
    hotload.serve()
    done = hotload.shell('mkdir -p sub && cd sub && cd "$("$HOTLOAD" new first --plugins ../plugins)" && pwd')
    assert done.out.strip() == str(workspace.plugins / "first")


def test_the_first_plugin_makes_the_folder(workspace: Workspace, hotload: Hotload) -> None:
    """``new`` makes the plugin directory if it is missing."""
    workspace.plugins.rmdir()
    assert hotload("new", "first").code == 0
    assert (workspace.plugins / "first" / "plugin.py").is_file()


def test_a_name_that_cannot_be(workspace: Workspace, hotload: Hotload) -> None:
    """An invalid plugin name is wrong usage, and nothing is made."""
    done = hotload("new", "../up")
    assert (done.code, done.out) == (2, "")
    assert '"../up" cannot name a plugin' in done.err
    assert list(workspace.plugins.iterdir()) == []


@HOSTS
def test_the_same_twice_is_fine(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """A second ``new``, ``disable``, ``enable`` or ``clean`` succeeds and changes nothing."""
    if with_host:
        hotload.serve()
    assert hotload("new", "greet").code == 0
    for command in (["disable", "greet"], ["enable", "greet"], ["clean", "greet"]):
        assert [hotload(*command).code for _ in range(2)] == [0, 0]
    assert sorted(path.name for path in workspace.plugins.iterdir()) == ["greet", "test_greet.py"]


def test_an_existing_plugin_is_not_created_again(workspace: Workspace, hotload: Hotload) -> None:
    """``new`` with an existing name says so, changes nothing and exits with 1."""
    workspace["greet"] = GREET
    done = hotload("new", "greet")
    assert done == (1, "", "plugins/greet exists already; choose another name\n")
    assert (workspace.plugins / "greet" / "plugin.py").read_text() == GREET


@HOSTS
def test_off_and_on_again(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """``disable`` unloads a plugin, and ``enable`` loads it again."""
    workspace["greet"] = GREET
    workspace["other"] = "def register(ctx):\n    ctx.hook('greet', lambda name: f'Hi, {name}')\n"
    if with_host:
        hotload.serve()
    done = hotload("disable", "greet")
    assert done[:2] == (0, "")
    assert "greet is disabled (plugins/_greet)" in done.err
    assert hotload("call", "greet", "Ada").out == "Hi, Ada\n"
    assert "greet is enabled (plugins/greet)" in hotload("enable", "greet").err
    assert hotload("call", "greet", "Ada").out == "Hello, Ada\nHi, Ada\n"


@HOSTS
def test_a_name_that_is_no_plugin(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """Every command with plugin names refuses a misspelled one with the nearest name."""
    workspace["greeter"] = GREET
    if with_host:
        hotload.serve()
    for command in ("enable", "disable") + (("reload",) if with_host else ("build", "check")):
        done = hotload(command, "greter")
        assert (done.code, done.out) == (3, "")
        assert 'no plugin "greter"; did you mean "greeter"?' in done.err


@HOSTS
def test_cleaning_removes_artifacts(workspace: Workspace, hotload: Hotload, with_host: str) -> None:
    """``clean`` removes the artifacts of the named plugins or of all, and the plugins stay live."""
    for name in ("a", "b", "c"):
        workspace[name] = GREET
    if with_host:
        hotload.serve()
    assert hotload("build").code == 0
    assert hotload("clean", "a").err == "1 artifact was removed\n"
    assert sorted(path.name[0] for path in workspace.compiled.glob("[abc]-*")) == ["b", "c"]
    assert hotload("clean", "--all").err == "2 artifacts were removed\n"
    assert list(workspace.compiled.glob("[abc]-*")) == []
    assert hotload("call", "greet").out == "Hello, you\n" * 3


def test_cleaning_wants_to_know_what(workspace: Workspace, hotload: Hotload) -> None:
    """``clean`` without names, or with names and ``--all``, is wrong usage and removes nothing."""
    workspace["greet"] = GREET
    hotload("build")
    for arguments in ([], ["greet", "--all"]):
        done = hotload("clean", *arguments)
        assert (done.code, done.out) == (2, "")
        assert "name the plugins that lose their artifacts, or use --all" in done.err
    assert len(list(workspace.compiled.glob("greet-*"))) == 1


def test_a_mistake_is_undone(workspace: Workspace, hotload: Hotload) -> None:
    """``undo`` reverts a disable in the running host, and then there is nothing more to undo."""
    workspace["greet"] = GREET
    hotload.serve()
    hotload("disable", "greet")
    assert hotload("undo") == (0, "", "undone: disable greet\n")
    assert hotload("call", "greet", "Ada").out == "Hello, Ada\n"
    done = hotload("undo")
    assert done.code == 1
    assert "there is nothing to undo: no disable, enable, clean or rollback is left" in done.err


def test_an_undo_brings_back_all_that_one_clean_removed(workspace: Workspace, hotload: Hotload) -> None:
    """``undo`` after ``clean`` of two plugins brings back the artifacts of both."""
    workspace["a"] = workspace["b"] = GREET
    hotload.serve()
    before = sorted(path.name for path in workspace.compiled.glob("[ab]-*"))
    assert hotload("clean", "b", "a", "b").err == "2 artifacts were removed\n"
    assert 'no plugin "c"' in hotload("clean", "a", "c").err
    assert hotload("undo").err == "undone: clean b a\n"
    assert sorted(path.name for path in workspace.compiled.glob("[ab]-*")) == before


def test_reload_needs_a_host(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host, ``reload`` is refused with how to start one."""
    workspace["greet"] = GREET
    done = hotload("reload")
    assert (done.code, done.out) == (3, "")
    assert f"'reload' needs a host that runs on {workspace.plugins}/: start one with 'hotload'" in done.err
    assert "serve(manager)" in done.err


def test_reload_makes_a_new_generation(workspace: Workspace, hotload: Hotload) -> None:
    """``reload`` loads the named plugins or all of them again, changed or not."""
    workspace["a"] = GREET
    workspace["b"] = GREET
    hotload.serve()
    assert hotload("reload", "a").code == 0
    assert hotload("reload").code == 0
    plugins = hotload("status", "--json").plugins
    assert {plugin["name"]: plugin["generation"] for plugin in plugins} == {"a": 3, "b": 2}


def test_a_reload_shows_what_was_loaded_with_it(workspace: Workspace, hotload: Hotload) -> None:
    """``reload`` loads several plugins in one batch, and also lists the plugins that require one of them."""
    workspace["a"] = GREET
    workspace["b"] = f"REQUIRES = ['a']\n{GREET}"
    hotload.serve()
    for names, generation in ((["a", "b"], 2), (["a"], 3), ([], 4)):
        rows = [line.split()[2:4] for line in hotload("reload", *names).out.splitlines()[1:]]
        assert rows == [["a", str(generation)], ["b", str(generation)]]


def test_a_reload_that_fails_is_reported(workspace: Workspace, hotload: Hotload) -> None:
    """``reload`` of a broken source exits with 1 and names its line, and the old version stays live."""
    workspace["greet"] = GREET
    hotload.serve()
    workspace["greet"] = "def register(ctx):\n    1 / 0\n"
    done = hotload("reload", "greet")
    assert done.code == 1
    assert done.out.splitlines()[1].startswith("~ STALE  greet")
    assert "greet: register: ZeroDivisionError: division by zero\n  plugins/greet/plugin.py:2" in done.err
    assert hotload("call", "greet", "Ada").out == "Hello, Ada\n"


def test_an_earlier_generation_comes_back_until_it_is_released(
    workspace: Workspace, hotload: Hotload
) -> None:
    """``rollback`` says how to end it, and ``release`` loads the newest source."""
    workspace["greet"] = GREET
    hotload.serve()
    workspace["greet"] = GREET.replace("Hello", "Good day")
    hotload("reload", "greet")
    done = hotload("rollback", "greet", "1")
    assert done[:2] == (0, "")
    assert done.err.startswith("greet: generation 1 is live again as generation 3, held; ")
    assert done.err.endswith("; 'hotload release greet' ends that\n")
    assert hotload("call", "greet", "Ada").out == "Hello, Ada\n"
    assert hotload("status", "greet").out.splitlines()[1].startswith("= HELD")
    done = hotload("rollback", "greet", "3")
    assert done.err.startswith("greet: generation 3 stays live, held; ")
    assert "was not held" not in hotload("release", "greet").err
    assert hotload("release", "greet").err.endswith("greet was not HELD: it follows its source\n")
    assert hotload("call", "greet", "Ada").out == "Good day, Ada\n"
    assert "greet has no generation 9; there are 1, 2" in hotload("rollback", "greet", "9").err


def test_a_rollback_that_loads_nothing_says_so(workspace: Workspace, hotload: Hotload) -> None:
    """``rollback`` to an earlier generation of the live version says which generation stays live."""
    workspace["greet"] = GREET
    hotload.serve()
    for _ in range(2):
        hotload("reload", "greet")
    assert hotload("rollback", "greet", "1").err.startswith(
        "greet: generation 1 is the same version as generation 3, which stays live, held; "
    )
    assert hotload("status", "--json").plugins[0]["generation"] == 3


@pytest.mark.parametrize("command", ["reload", "enable"])
def test_a_command_that_ends_a_hold_says_so(workspace: Workspace, hotload: Hotload, command: str) -> None:
    """``reload`` and ``enable`` of a HELD plugin say that it follows its source again; others say nothing."""
    workspace["greet"] = GREET
    hotload.serve()
    workspace["greet"] = GREET.replace("Hello", "Hi")
    hotload("reload", "greet")
    hotload("rollback", "greet", "1")
    assert "= HELD  greet" in hotload("reload").out
    said = "greet was HELD (rolled back to generation 1); it follows its source again\n"
    assert hotload(command, "greet").err.endswith(said)
    assert hotload("call", "greet").out == "Hi, you\n"
    assert "was HELD" not in hotload(command, "greet").err


def test_a_plugin_that_is_off_does_not_follow_its_source(workspace: Workspace, hotload: Hotload) -> None:
    """``release`` of a disabled plugin says that it is disabled."""
    workspace["_greet"] = GREET
    hotload.serve()
    assert hotload("release", "greet").err == "greet was not HELD: it is disabled\n"


def test_saves_are_kept_and_applied(workspace: Workspace, hotload: Hotload) -> None:
    """``pause`` holds back a save, ``status`` shows it, and ``resume`` applies it."""
    workspace["greet"] = GREET
    host = hotload.serve(enable_watch=True)
    assert hotload("pause").code == 0
    workspace["greet"] = GREET.replace("Hello", "Hi")
    host.wait_for(lambda: host.manager.snapshot().watcher.waiting == ("greet",))
    status = hotload("status")
    assert "paused; changed since: greet; 'hotload resume' applies it" in status.err
    assert hotload("call", "greet").out == "Hello, you\n"
    assert "+ ok   greet   2 " in hotload("resume").out
    assert hotload("call", "greet").out == "Hi, you\n"
    assert hotload("resume").err == "nothing had changed\n"


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_without_a_host_there_is_nothing_to_pause(
    workspace: Workspace, hotload: Hotload, command: str
) -> None:
    """Without a host, ``pause`` and ``resume`` exit with 3."""
    workspace["greet"] = GREET
    assert hotload(command).code == 3


def test_what_a_command_without_a_host_loads_is_unloaded(workspace: Workspace, hotload: Hotload) -> None:
    """Without a host, a command unloads the plugins that it loaded before it ends."""
    mark = workspace.root / "unloaded"
    workspace["_greet"] = f"def register(ctx):\n    ctx.on_unload(lambda: open({str(mark)!r}, 'w').close())\n"
    assert hotload("enable", "greet").code == 0
    assert mark.exists()


def test_the_entry_and_the_function_on_the_command_line(workspace: Workspace, hotload: Hotload) -> None:
    """``--entry`` and ``--register`` count for each command, and also for the processes that it starts."""
    names = ("--entry", "__init__.py", "--register", "setup")
    assert hotload("new", "greet", *names).code == 0
    assert (workspace.plugins / "greet" / "__init__.py").is_file()
    assert hotload("call", "greet", "Ada", *names).out == "Hello, Ada!\n"
    assert hotload("check", *names).code == 0
    done = hotload("check")
    assert (done.code, "no plugin.py in plugins/greet" in done.out + done.err) == (1, True)
    (workspace.root / "hotload.toml").write_text('entry = "__init__.py"\nregister = "setup"\n')
    assert hotload("check").code == 0
    done = hotload("check", "--entry", "main")
    assert (done.code, '--entry: entry = "main": must be the name of a Python file' in done.err) == (2, True)


def test_single_files_on_the_command_line(workspace: Workspace, hotload: Hotload) -> None:
    """``--files`` and ``files = true`` make a file a plugin for each command; ``--no-files`` ends that."""
    done = hotload("new", "greet", "--files")
    assert (done.code, done.out) == (0, "plugins/greet.py\n")
    assert hotload("call", "greet", "Ada", "--files").out == "Hello, Ada!\n"
    assert [plugin["name"] for plugin in hotload("check", "--files", "--json").plugins] == ["greet"]
    assert hotload("status", "--json").plugins == []
    (workspace.root / "hotload.toml").write_text("files = true\n")
    assert [plugin["name"] for plugin in hotload("status", "--json").plugins] == ["greet"]
    assert "greet" in hotload("plan").out
    assert "and each Python file beside them is a plugin" in hotload("doctor").out
    assert hotload("disable", "greet").err == "greet is disabled (plugins/_greet.py)\n"
    assert hotload("enable", "greet").code == 0
    assert hotload("status", "--json", "--no-files").plugins == []
    (workspace.root / "hotload.toml").write_text("files = 1\n")
    assert "files: expected true or false, got a whole number" in hotload("status").err
    (workspace.root / "hotload.toml").write_text("file = true\n")
    assert 'did you mean "files"' in hotload("status").err


def test_the_host_of_a_console_has_the_settings_of_its_options(
    workspace: Workspace, session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``hotload --files --register setup`` opens the console on a host with these settings."""
    monkeypatch.chdir(workspace.root)
    (workspace.plugins / "greet.py").write_text(GREET.replace("register", "setup"))
    (workspace.root / "hotload.toml").write_text('entry = "main.py"\n')
    scope = Scope(register="setup", files=True)
    console = HostedManager(scope.settings(), scope.as_arguments())
    console.open()
    try:
        loaded = ("greet.py", PluginState.OK)
        assert until(lambda: [(each.entry, each.state) for each in console.snapshot().plugins] == [loaded])
        assert session.is_dir()
        assert console.new("fresh", "package").entry == "main.py"
    finally:
        console.close()
