"""Rollbacks to earlier generations until a release, and holds until the source changes or a release."""

from collections.abc import Callable

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.compiled import Record
from hotload_tui.core.errors import RefusedError, UnknownPluginError
from hotload_tui.core.events import PluginHeld, PluginReleased, PluginRetired
from hotload_tui.core.model import Fault
from tests.conftest import Running, Workspace, answering, without_memory

Run = Callable[[Config], Running]


@pytest.fixture
def running(workspace: Workspace, run: Run) -> Running:
    """Return a host in which ``greet`` was live as generations 1, 2 and 3."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    for answer in ("two", "three"):
        workspace["greet"] = answering(answer)
        running.manager.rebuild("greet")
    return running


def look(running: Running, workspace: Workspace) -> None:
    """Report a change of the plugin's file to the manager."""
    running.manager.handle_file_change(workspace.plugins / "greet" / "plugin.py")


def test_a_rollback_loads_an_earlier_generation_as_a_new_one(running: Running) -> None:
    """A rollback makes a new generation with the earlier digest, and the status is HELD with the reason."""
    first = running.manager.history("greet")[0]
    status = running.manager.rollback("greet", 1)
    assert running.host.call("greet") == ["one"]
    assert (status.state, status.generation, status.digest) == (PluginState.HELD, 4, first.digest)
    assert status.held == "rolled back to generation 1"
    assert running.told(PluginHeld)[-1].generation == 4
    assert running.wait_for(lambda: len(running.told(PluginRetired)) == 3)


def test_a_rollback_to_the_live_version_holds_it_there(running: Running) -> None:
    """A rollback to the live generation holds it without loading anything."""
    status = running.manager.rollback("greet", 3)
    assert (status.state, status.generation) == (PluginState.HELD, 3)


def test_a_held_plugin_stays_when_all_is_looked_at_or_rebuilt(running: Running, workspace: Workspace) -> None:
    """Scans and rebuilds of all plugins leave a held plugin as it is."""
    running.manager.rollback("greet", 1)
    look(running, workspace)
    running.manager.scan_and_load_all()
    running.manager.rebuild()
    running.manager.rebuild(force=True)
    assert running.host.call("greet") == ["one"]
    assert running.status("greet").generation == 4


@pytest.mark.parametrize("how", ["release", "rebuild"])
def test_release_and_rebuild_bring_the_source_back(running: Running, how: str) -> None:
    """After a release or a rebuild by name, the newest source is live again."""
    running.manager.rollback("greet", 1)
    getattr(running.manager, how)("greet")
    status = running.status("greet")
    assert running.host.call("greet") == ["three"]
    assert (status.state, status.held) == (PluginState.OK, "")
    assert running.told(PluginReleased)


def test_a_release_of_the_newest_version_loads_nothing(running: Running) -> None:
    """Releasing a plugin whose source is already live spends no generation."""
    running.manager.rollback("greet", 3)
    status = running.manager.release("greet")
    assert (status.state, status.generation) == (PluginState.OK, 3)
    assert without_memory(running.manager.release("greet")) == without_memory(status)


@pytest.mark.parametrize("source", [answering("four"), "def register(ctx)\n", answering("one")])
def test_a_save_does_not_end_a_rollback(running: Running, workspace: Workspace, source: str) -> None:
    """A plugin that was rolled back stays at the chosen version, and the log says so at each save."""
    running.manager.rollback("greet", 1)
    workspace["greet"] = source
    look(running, workspace)
    look(running, workspace)
    status = running.status("greet")
    assert running.host.call("greet") == ["one"]
    assert (status.state, status.generation) == (PluginState.HELD, 4)
    lines = [line.text for line in running.manager.log() if line.text.startswith("saved, but")]
    assert len(lines) == 1
    assert "rolled back to generation 1" in lines[0]
    assert "'hotload release greet'" in lines[0]
    assert not running.told(PluginReleased)


def test_a_release_after_a_save_loads_what_was_saved(running: Running, workspace: Workspace) -> None:
    """The release of a rolled back plugin brings it up to date with its newest source."""
    running.manager.rollback("greet", 1)
    workspace["greet"] = answering("four")
    look(running, workspace)
    status = running.manager.release("greet")
    assert running.host.call("greet") == ["four"]
    assert (status.state, status.held) == (PluginState.OK, "")


def test_a_rollback_to_a_version_that_kills_its_host_ends(
    running: Running, workspace: Workspace, run: Run
) -> None:
    """A version that the user chose and that then killed the host is not loaded again; the source is."""
    chosen = running.manager.rollback("greet", 1)
    running.manager.stop()
    Record(workspace.compiled).bar("greet", chosen.digest, Fault("hook", "greet", "SIGSEGV", "crashed", 0.0))
    again = run(workspace.config())
    assert again.host.call("greet") == ["three"]
    assert again.told(PluginReleased)[0].reason == "the version that the user chose ended its host"


def test_a_hold_survives_a_restart(running: Running, workspace: Workspace, run: Run) -> None:
    """A new host loads the held version and shows the reason, also after a save while no host ran."""
    running.manager.rollback("greet", 1)
    running.manager.stop()
    workspace["greet"] = answering("four")
    again = run(workspace.config())
    status = again.status("greet")
    assert again.host.call("greet") == ["one"]
    assert (status.state, status.held) == (PluginState.HELD, "rolled back to generation 1")
    again.manager.release("greet")
    assert again.host.call("greet") == ["four"]


def test_a_hold_outlives_pruning(workspace: Workspace, running: Running, run: Run) -> None:
    """Pruning never removes the held artifact."""
    running.manager.rollback("greet", 1)
    running.manager.stop()
    again = run(workspace.config(keep_generations=1))
    workspace["greet/plugin.py"] = "def register(ctx):\n    1 / 0\n"
    again.manager.build("greet")
    workspace["greet/plugin.py"] = answering("three")
    look(again, workspace)
    again.manager.stop()
    assert run(workspace.config()).host.call("greet") == ["one"]


def test_a_held_artifact_that_is_gone_ends_the_hold(workspace: Workspace, running: Running, run: Run) -> None:
    """If the held artifact is gone, the source is loaded and the event gives the reason."""
    running.manager.rollback("greet", 1)
    running.manager.clean("greet")
    assert running.host.call("greet") == ["one"]
    running.manager.stop()
    again = run(workspace.config())
    assert again.host.call("greet") == ["three"]
    assert again.told(PluginReleased)[0].reason.startswith("the held version cannot be loaded")


def test_the_history_shows_each_generation_and_failure(running: Running, workspace: Workspace) -> None:
    """The history lists generations and failures, oldest first, with fault, memory and compile time."""
    workspace["greet"] = "def register(ctx):\n    1 / 0\n"
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: len(running.told(PluginRetired)) == 2)
    history = running.manager.history("greet")
    assert [entry.generation for entry in history] == [1, 2, 3, 0]
    assert [entry.memory for entry in history] == ["freed", "freed", "", ""]
    assert [entry.can_return for entry in history] == [True, True, True, False]
    assert all(entry.compile_seconds > 0 for entry in history)
    fault = history[-1].fault
    assert fault is not None
    assert (fault.type, fault.phase) == ("ZeroDivisionError", "register")


def test_what_cannot_be_gone_back_to_is_refused_with_what_can(running: Running) -> None:
    """A rollback to a missing or unusable generation is refused, and the error lists the possible ones."""
    with pytest.raises(RefusedError, match="greet has no generation 7; there are 1, 2, 3"):
        running.manager.rollback("greet", 7)
    running.manager.clean("greet")
    with pytest.raises(RefusedError, match=r"cannot be used: .*; there is none to go back to"):
        running.manager.rollback("greet", 1)
    with pytest.raises(UnknownPluginError):
        running.manager.rollback("great", 1)
    running.manager.disable("greet")
    with pytest.raises(RefusedError, match="disabled"):
        running.manager.rollback("greet", 1)


def test_what_is_held_is_not_loaded_by_the_next_host(workspace: Workspace, run: Run) -> None:
    """A new host does not load a held plugin, shows the reason, and loads the others."""
    workspace["greet"] = answering("hello")
    workspace["other"] = answering("hello")
    run(workspace.config()).manager.hold("greet", "it killed the host")
    after = run(workspace.config())
    assert after.status("greet").state is PluginState.HELD
    assert after.status("greet").generation == 0
    assert after.fault("greet").message == "it killed the host"
    assert after.host.call("greet") == ["hello"]
    assert after.manager.rebuild()
    assert after.status("greet").state is PluginState.HELD


def test_a_changed_source_is_tried_again(workspace: Workspace, run: Run) -> None:
    """A held plugin is loaded when its source changes, and is not held again if that is undone."""
    workspace["greet"] = answering("hello")
    running = run(workspace.config())
    running.manager.hold("greet", "it killed the host")
    workspace["greet"] = answering("good day")
    running.manager.scan_and_load_all()
    assert running.status("greet").state is PluginState.OK
    assert running.status("greet").fault is None
    workspace["greet"] = answering("hello")
    running.manager.scan_and_load_all()
    assert running.host.call("greet") == ["hello"]


def test_the_last_good_version_is_live_meanwhile(workspace: Workspace, run: Run) -> None:
    """A new host loads the last good version in place of the held one, and shows HELD."""
    workspace["greet"] = answering("hello")
    running = run(workspace.config())
    workspace["greet"] = answering("crash")
    running.manager.hold("greet", "it killed the host")
    after = run(workspace.config())
    assert after.status("greet").state is PluginState.HELD
    assert after.host.call("greet") == ["hello"]
    workspace["greet"] = answering("hello")
    after.manager.scan_and_load_all()
    assert after.status("greet").state is PluginState.OK


def test_its_user_says_so(workspace: Workspace, run: Run) -> None:
    """Rebuilding, enabling or releasing a held plugin loads it unchanged."""
    workspace["greet"] = answering("hello")
    running = run(workspace.config())
    for release in (running.manager.rebuild, running.manager.enable, running.manager.release):
        running.manager.hold("greet", "it killed the host")
        assert running.status("greet").state is PluginState.HELD
        release("greet")
        assert running.status("greet").state is PluginState.OK


def test_the_version_before_is_live_after_a_later_crash(
    running: Running, workspace: Workspace, run: Run
) -> None:
    """If a version kills the host after its load, the next host runs the version before it, and so on."""
    answers = ["three", "two", "one"]
    for number, answer in enumerate(answers[:-1], 1):
        live = running.status("greet")
        running.manager.stop()
        fault = Fault("hook", "greet", "SIGSEGV", "it crashed", 0.0)
        Record(workspace.compiled).bar("greet", live.digest, fault)
        running = run(workspace.config())
        assert running.host.call("greet") == [answers[number]], answer
        assert running.status("greet").state is PluginState.HELD
    workspace["greet"] = answering("four")
    look(running, workspace)
    assert (running.host.call("greet"), running.status("greet").state) == (["four"], PluginState.OK)


def test_a_fault_of_the_version_before_does_not_hide_the_crash(
    running: Running, workspace: Workspace, run: Run
) -> None:
    """While a version that killed the host is held back, the status shows its crash, whatever else fails."""
    live = running.status("greet")
    running.manager.stop()
    Record(workspace.compiled).bar("greet", live.digest, Fault("hook", "greet", "SIGSEGV", "it crashed", 0.0))
    running = run(workspace.config())
    running.host.call("greet", "one argument too many")
    running.wait_for(lambda: any(entry.count for entry in running.manager.history("greet")))
    status = running.status("greet")
    assert (status.state, status.fault and status.fault.type) == (PluginState.HELD, "SIGSEGV")


def test_no_version_that_killed_a_host_comes_back_as_last_good(workspace: Workspace, run: Run) -> None:
    """A held version is never loaded again as the last good one, because it could kill the host again."""
    workspace["greet"] = answering("hello")
    run(workspace.config()).manager.hold("greet", "the first killed it")
    workspace["greet"] = "def register(:\n"
    after = run(workspace.config())
    assert after.status("greet").state is PluginState.FAIL
    assert after.status("greet").generation == 0


def test_a_live_version_that_is_held_back_is_unloaded(workspace: Workspace, run: Run) -> None:
    """If the live version is held and there is no other, the plugin has no live version."""
    workspace["greet"] = answering("hello")
    running = run(workspace.config())
    status = running.manager.hold("greet", "it killed the host")
    assert (status.state, status.generation, status.points) == (PluginState.HELD, 0, ())
    assert (status.held, status.fault and status.fault.type) == ("it killed the host", "Held")
    running.manager.scan_and_load_all()
    assert running.host.call("greet") == []
