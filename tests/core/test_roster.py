"""The number of builds and loads of one command."""

from collections.abc import Callable

from hotload_tui import Config
from hotload_tui.core.events import PluginCompiled, PluginLoaded
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


def test_a_forced_rebuild_after_an_edit_builds_and_loads_each_plugin_once(
    workspace: Workspace, run: Run
) -> None:
    """A forced rebuild compiles and loads each plugin once, and makes all live in one swap."""
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
