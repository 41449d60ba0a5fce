from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState, follow_config, load_config
from hotload_tui.core.errors import ConfigError
from tests.conftest import Running, Workspace, answering

SETTLED = "def register(ctx):\n    ctx.hook(lambda: (ctx.settings.get('word', 'none'), ctx.generation))\n"
FOLDERS = 'runtime_dir = "plugins"\ncompiled_dir = "compiled"\nenable_watch = false\n'


@pytest.fixture
def running(
    workspace: Workspace, run: Callable[[Config], Running], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """Yield a host with two plugins, which follows its configuration file."""
    monkeypatch.chdir(workspace.root)
    workspace["a"] = SETTLED
    workspace["b"] = answering("b", "say")
    write("[plugins.a]\nhook_point = 'say'\n")
    running = run(load_config())
    stop = follow_config(running.manager, interval=0.01)
    yield running
    stop()


def write(text: str) -> None:
    """Save hotload.toml in one step, because it is checked so often here that half of it would be read."""
    Path("hotload.new").write_text(FOLDERS + text)
    Path("hotload.new").replace("hotload.toml")


def generations(running: Running) -> dict[str, int]:
    """Return the generation of each plugin."""
    return {status.name: status.generation for status in running.manager.snapshot().plugins}


def test_settings_reload_only_what_they_touch(running: Running) -> None:
    """A saved setting reloads its plugin, and the other plugin stays as it is."""
    write("[plugins.a]\nhook_point = 'say'\nsettings = { word = 'new' }\n")
    assert running.wait_for(lambda: generations(running) == {"a": 2, "b": 1})
    assert running.host.call("say") == [("new", 2), "b"]
    assert running.manager.detail("a").settings == {"word": "new"}


def test_a_priority_and_a_hook_point_apply_live(running: Running) -> None:
    """A new priority changes the order of the handlers, and a new hook point moves them."""
    write("[plugins.a]\nhook_point = 'say'\npriority = 200\n")
    assert running.wait_for(lambda: running.host.call("say") == ["b", ("none", 2)])
    write("[plugins.a]\nhook_point = 'tell'\n")
    assert running.wait_for(lambda: running.host.call("tell") == [("none", 3)])
    assert running.host.call("say") == ["b"]


def test_enabled_switches_a_plugin_off_and_on(running: Running) -> None:
    """A plugin with ``enabled = false`` is unloaded, and loaded again when the line is removed."""
    write("[plugins.a]\nhook_point = 'say'\nenabled = false\n")
    assert running.wait_for(lambda: running.status("a").state is PluginState.OFF)
    assert running.host.call("say") == ["b"]
    write("[plugins.a]\nhook_point = 'say'\n")
    assert running.wait_for(lambda: running.status("a").state is PluginState.OK)
    assert [value for value in running.host.call("say") if value != "b"]


def test_a_broken_file_changes_nothing_and_is_reported(running: Running) -> None:
    """A mistake is in the log and in the snapshot, and the previous configuration holds until it is fixed."""
    write("[plugins.a]\nhook_point = 'say'\nprority = 3\n")
    said = 'hotload.toml: plugins.a.prority: unknown key; did you mean "priority"?'
    assert running.wait_for(lambda: f"error : the configuration stays as it was: {said}" in running.said())
    assert running.manager.snapshot().host.config_fault == said
    assert running.host.call("say") == [("none", 1), "b"]
    write("[plugins.a]\nhook_point = 'say'\n")
    assert running.wait_for(lambda: "the configuration is fixed" in running.said())
    assert running.manager.snapshot().host.config_fault == ""
    assert generations(running) == {"a": 1, "b": 1}


def test_a_plugin_that_rejects_its_settings_stays_live(running: Running, workspace: Workspace) -> None:
    """If a plugin fails with its new settings, the version with the old settings stays live."""
    workspace["a"] = SETTLED.replace("ctx):\n", "ctx):\n    assert ctx.settings.get('word') != 'bad'\n")
    running.manager.rebuild("a")
    write("[plugins.a]\nhook_point = 'say'\nsettings = { word = 'bad' }\n")
    assert running.wait_for(lambda: running.status("a").state is PluginState.STALE)
    assert running.host.call("say") == [("none", 2), "b"]


def test_the_program_may_go_elsewhere(
    running: Running, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration is read from the folder in which following began, after a change of directory too."""
    (workspace.root / "elsewhere").mkdir()
    monkeypatch.chdir(workspace.root / "elsewhere")
    file = workspace.root / "hotload.toml"
    file.write_text(f"{FOLDERS}[plugins.a]\nhook_point = 'say'\nsettings = {{ word = 'new' }}\n")
    assert running.wait_for(lambda: running.host.call("say") == [("new", 2), "b"])


def test_a_held_plugin_stays_held(running: Running, workspace: Workspace) -> None:
    """A plugin that is held at a version is not reloaded by its new settings."""
    workspace["a"] = SETTLED + "# other\n"
    running.manager.rebuild("a")
    running.manager.rollback("a", 1)
    held = running.status("a")
    assert held.state is PluginState.HELD
    write("[plugins.a]\nhook_point = 'say'\nsettings = { word = 'new' }\n[plugins.b]\npriority = 1\n")
    assert running.wait_for(lambda: generations(running)["b"] == 2)
    assert running.status("a").generation == held.generation


def test_a_setting_that_needs_a_restart_is_reported(running: Running) -> None:
    """A changed setting of the host itself is not applied, and the log says that it needs a restart."""
    write("[plugins.a]\nhook_point = 'say'\n[plugins.b]\npriority = 1\n")  # the first one has been read
    assert running.wait_for(lambda: generations(running)["b"] == 2)
    write("load_timeout = 3\n[plugins.a]\nhook_point = 'say'\n[plugins.b]\npriority = 1\n")
    told = "load_timeout has changed: it takes effect when the host is restarted"
    assert running.wait_for(lambda: told in running.said())


def test_the_program_may_give_a_configuration_itself(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """``reconfigure()`` returns the status of the affected plugins, and raises configuration errors."""
    workspace["a"] = SETTLED
    given = workspace.config(plugins={"a": {"hook_point": "say"}})
    running = run(given)
    (status,) = running.manager.reconfigure(workspace.config)  # plugin a has no hook point now
    assert (status.name, status.state) == ("a", PluginState.STALE)

    def broken() -> Config:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        running.manager.reconfigure(broken)
    assert running.manager.snapshot().host.config_fault == "no"
    assert set(given.plugins) == {"a"}


def test_a_manager_that_was_stopped_loads_nothing(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A stopped manager accepts a new configuration and loads no plugin."""
    workspace["a"] = SETTLED
    running = run(workspace.config(plugins={"a": {"hook_point": "say"}}))
    running.manager.stop()
    running.manager.reconfigure(lambda: workspace.config(plugins={"a": {"hook_point": "tell"}}))
    assert running.host.call("tell") == []
