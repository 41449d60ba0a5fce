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
