"""What one command loads, and how often."""

from collections.abc import Callable

from hotload_tui import Config
from hotload_tui.core.events import PluginCompiled, PluginLoaded
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


def test_a_forced_rebuild_after_an_edit_builds_and_loads_each_plugin_once(
    workspace: Workspace, run: Run
) -> None:
    """Whether a plugin was edited, fails, or is as it was, and all go live in one assignment."""
    for name in ("broken", "edited", "same"):
        workspace[name] = answering(name)
    running = run(workspace.config())
    workspace["broken"] = "def register(:\n"
    running.manager.rebuild("broken")
    workspace["broken"] = answering("fixed")
    workspace["edited"] = answering("new")
    running.events.clear()
    swaps = running.host.swaps
    running.manager.rebuild(force=True)
    assert running.host.call("greet") == ["fixed", "new", "same"]
    for kind in (PluginCompiled, PluginLoaded):
        assert sorted(event.name for event in running.told(kind)) == ["broken", "edited", "same"]
    assert running.host.swaps == swaps + 1
