from collections.abc import Callable

from hotload_tui import Config
from hotload_tui.core.plugin import PluginState
from tests.conftest import Running, Workspace

GREET = "def register(ctx):\n    ctx.hook('greet', lambda: 'hello')\n"


def test_what_is_held_is_not_loaded_by_the_next_host(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A plugin held back with a reason is HELD in a new host, says why, and the others serve."""
    workspace["greet"] = GREET
    workspace["other"] = GREET
    run(workspace.config()).manager.hold("greet", "it killed the host")
    after = run(workspace.config())
    assert after.status("greet").state is PluginState.HELD
    assert after.status("greet").generation == 0
    assert after.fault("greet").message == "it killed the host"
    assert after.host.call("greet") == ["hello"]
    assert after.manager.rebuild()
    assert after.status("greet").state is PluginState.HELD


def test_a_changed_source_is_tried_again(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """A held plugin whose source changes is loaded, and is no longer held if it is put back."""
    workspace["greet"] = GREET
    running = run(workspace.config())
    running.manager.hold("greet", "it killed the host")
    workspace["greet"] = GREET.replace("hello", "good day")
    running.manager.scan_and_load_all()
    assert running.status("greet").state is PluginState.OK
    assert running.status("greet").fault is None
    workspace["greet"] = GREET
    running.manager.scan_and_load_all()
    assert running.host.call("greet") == ["hello"]


def test_the_last_good_version_serves_meanwhile(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """When the version before is known to be good, it serves in place of the held one, as HELD."""
    workspace["greet"] = GREET
    running = run(workspace.config())
    workspace["greet"] = GREET.replace("hello", "crash")
    running.manager.hold("greet", "it killed the host")
    after = run(workspace.config())
    assert after.status("greet").state is PluginState.HELD
    assert after.host.call("greet") == ["hello"]
    workspace["greet"] = GREET
    after.manager.scan_and_load_all()
    assert after.status("greet").state is PluginState.OK


def test_its_user_says_so(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """Rebuilding, enabling or releasing a held plugin loads it as it is."""
    workspace["greet"] = GREET
    running = run(workspace.config())
    for release in (running.manager.rebuild, running.manager.enable, running.manager.release):
        running.manager.hold("greet", "it killed the host")
        assert running.status("greet").state is PluginState.HELD
        release("greet")
        assert running.status("greet").state is PluginState.OK


def test_no_version_that_killed_a_host_comes_back_as_last_good(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A last good version that was held, too, is not revived: else the host would die again and again."""
    workspace["greet"] = GREET
    run(workspace.config()).manager.hold("greet", "the first killed it")
    workspace["greet"] = "def register(:\n"
    after = run(workspace.config())
    assert after.status("greet").state is PluginState.FAIL
    assert after.status("greet").generation == 0
