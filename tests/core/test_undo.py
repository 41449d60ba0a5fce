"""Undo: plugins that were disabled, enabled or cleaned by mistake are as before."""

from collections.abc import Callable

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.errors import RefusedError
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


@pytest.fixture
def running(workspace: Workspace, run: Run) -> Running:
    """Return a host with two plugins, one of them disabled."""
    workspace["greet"] = answering("hello")
    workspace["_other"] = answering("good day")
    return run(workspace.config())


def test_enable_and_disable_are_undone_newest_first(running: Running, workspace: Workspace) -> None:
    """``undo`` reverts the newest command first and returns its name; an undo cannot be undone."""
    running.manager.disable("greet")
    running.manager.enable("other")
    assert running.host.call("greet") == ["good day"]
    assert running.manager.undo() == "enable other"
    assert running.manager.undo() == "disable greet"
    assert running.host.call("greet") == ["hello"]
    assert sorted(path.name for path in workspace.plugins.iterdir()) == ["_other", "greet"]
    with pytest.raises(RefusedError, match="nothing to undo"):
        running.manager.undo()


def test_a_command_without_effect_is_not_undone(running: Running) -> None:
    """Enabling an enabled plugin or disabling a disabled one leaves nothing to undo."""
    running.manager.enable("greet")
    running.manager.disable("other")
    with pytest.raises(RefusedError):
        running.manager.undo()


@pytest.mark.parametrize("name", ["greet", None])
def test_a_clean_is_undone(running: Running, workspace: Workspace, run: Run, name: str | None) -> None:
    """After the undo of a clean, the artifacts can be used for rollbacks and as last good versions."""
    workspace["greet"] = answering("hi")
    running.manager.rebuild("greet")
    before = sorted(path.name for path in workspace.compiled.glob("*.hotplug"))
    assert running.manager.clean(name) == 2
    assert not list(workspace.compiled.glob("*.hotplug"))
    running.manager.undo()
    assert sorted(path.name for path in workspace.compiled.glob("*.hotplug")) == before
    assert running.manager.rollback("greet", 1).state is PluginState.HELD
    running.manager.stop()
    workspace["greet"] = "def register(ctx)\n"
    assert run(workspace.config()).host.call("greet") == ["hello"]


def test_a_clean_is_undone_after_newer_builds(running: Running, workspace: Workspace) -> None:
    """Undoing a clean keeps the artifacts that were built since."""
    running.manager.clean("greet")
    workspace["greet"] = answering("hi")
    running.manager.rebuild("greet")
    running.manager.undo()
    assert running.host.call("greet") == ["hi"]
    assert len(list(workspace.compiled.glob("greet-*.hotplug"))) == 2


def test_the_trash_is_bounded(running: Running, workspace: Workspace) -> None:
    """Artifacts of the five newest clean commands are kept."""
    for number in range(8):
        workspace["greet"] = answering(f"{number}")
        running.manager.rebuild("greet")
        running.manager.clean("greet")
    assert len(list((workspace.compiled / "trash").iterdir())) == 5


def test_a_command_that_cannot_be_undone_says_why(running: Running, workspace: Workspace) -> None:
    """An undo that would overwrite a directory is refused with the reason."""
    running.manager.disable("greet")
    workspace["greet"] = answering("another")
    running.manager.scan_and_load_all()
    with pytest.raises(RefusedError, match="exists already"):
        running.manager.undo()
    assert (workspace.plugins / "_greet").is_dir()


def test_a_rollback_is_undone(running: Running, workspace: Workspace) -> None:
    """After the undo of a rollback, the newest version is live and follows its source."""
    workspace["greet"] = answering("hi")
    running.manager.rebuild("greet")
    running.manager.rollback("greet", 1)
    assert running.host.call("greet") == ["hello"]
    assert running.manager.undo() == "rollback greet 1"
    assert running.host.call("greet") == ["hi"]
    assert running.status("greet").state is PluginState.OK
    workspace["greet"] = answering("good morning")
    running.manager.scan_and_load_all()
    assert running.host.call("greet") == ["good morning"]


def test_the_undo_of_a_rollback_brings_back_the_version_that_was_live(
    running: Running, workspace: Workspace
) -> None:
    """If the newest source does not load, the undo of a rollback makes the last good version live again."""
    workspace["greet"] = answering("hi")
    running.manager.rebuild("greet")
    workspace["greet"] = "def register(ctx):\n    1 / 0\n"
    running.manager.rebuild("greet")
    running.manager.rollback("greet", 1)
    running.manager.undo()
    assert running.host.call("greet") == ["hi"]
    assert running.status("greet").state is PluginState.STALE


def test_the_undo_of_a_second_rollback_goes_to_the_first(running: Running, workspace: Workspace) -> None:
    """The undo of a rollback of a HELD plugin holds it at the earlier choice again."""
    for value in ("hi", "good morning"):
        workspace["greet"] = answering(value)
        running.manager.rebuild("greet")
    running.manager.rollback("greet", 2)
    running.manager.rollback("greet", 1)
    assert running.manager.undo() == "rollback greet 1"
    assert running.host.call("greet") == ["hi"]
    assert "generation 2" in running.status("greet").held
    running.manager.undo()
    assert running.host.call("greet") == ["good morning"]
    assert running.status("greet").state is PluginState.OK


def test_the_undo_of_a_rollback_is_refused_while_the_plugin_is_off(
    running: Running, workspace: Workspace
) -> None:
    """A rollback of a plugin whose folder was renamed since is not undone; the reason is given."""
    workspace["greet"] = answering("hi")
    running.manager.rebuild("greet")
    running.manager.rollback("greet", 1)
    (workspace.plugins / "greet").rename(workspace.plugins / "_greet")
    running.manager.scan_and_load_all()
    with pytest.raises(RefusedError, match="disabled"):
        running.manager.undo()
