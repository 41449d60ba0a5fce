"""A slip of the finger is taken back: what was disabled, enabled or cleaned is as before."""

from collections.abc import Callable

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.errors import RefusedError
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


@pytest.fixture
def running(workspace: Workspace, run: Run) -> Running:
    """Give a host with two plugins, one of which is off."""
    workspace["greet"] = answering("hello")
    workspace["_other"] = answering("good day")
    return run(workspace.config())


def test_enable_and_disable_are_taken_back_newest_first(running: Running, workspace: Workspace) -> None:
    """Each undo tells what it took back; taking back is no command to take back."""
    running.manager.disable("greet")
    running.manager.enable("other")
    assert running.host.call("greet") == ["good day"]
    assert running.manager.undo() == "enable other"
    assert running.manager.undo() == "disable greet"
    assert running.host.call("greet") == ["hello"]
    assert sorted(path.name for path in workspace.plugins.iterdir()) == ["_other", "greet"]
    with pytest.raises(RefusedError, match="nothing to undo"):
        running.manager.undo()


def test_what_was_nothing_is_not_taken_back(running: Running) -> None:
    """Enabling what is on, or disabling what is off, leaves nothing to undo."""
    running.manager.enable("greet")
    running.manager.disable("other")
    with pytest.raises(RefusedError):
        running.manager.undo()


@pytest.mark.parametrize("name", ["greet", None])
def test_a_clean_is_taken_back(running: Running, workspace: Workspace, run: Run, name: str | None) -> None:
    """The artifacts are there again, for rollbacks and as the last good of a broken source."""
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


def test_a_clean_is_taken_back_after_newer_builds(running: Running, workspace: Workspace) -> None:
    """What was made meanwhile stays."""
    running.manager.clean("greet")
    workspace["greet"] = answering("hi")
    running.manager.rebuild("greet")
    running.manager.undo()
    assert running.host.call("greet") == ["hi"]
    assert len(list(workspace.compiled.glob("greet-*.hotplug"))) == 2


def test_the_trash_is_bounded(running: Running, workspace: Workspace) -> None:
    """The artifacts of the newest few commands are kept, and no more."""
    for number in range(8):
        workspace["greet"] = answering(f"{number}")
        running.manager.rebuild("greet")
        running.manager.clean("greet")
    assert len(list((workspace.compiled / "trash").iterdir())) == 5


def test_what_cannot_be_taken_back_says_why(running: Running, workspace: Workspace) -> None:
    """A directory that took the old name is not overwritten."""
    running.manager.disable("greet")
    workspace["greet"] = answering("another")
    running.manager.scan_and_load_all()
    with pytest.raises(RefusedError, match="exists already"):
        running.manager.undo()
    assert (workspace.plugins / "_greet").is_dir()
