"""The console shows a plugin whose earlier version is still called."""

import pytest

from hotload_tui.core.interpreter import CALLS, works
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui.view_state import Arrangement
from tests.conftest import Workspace
from tests.kept import VIEW, old_plugin, routes
from tests.tui.console import Run, console
from tests.tui.fakes import plugin

pytestmark = pytest.mark.skipif(not works(CALLS), reason="each call is reported only with this trick")


@pytest.mark.unfrozen
async def test_an_old_plugin_is_shown_everywhere(workspace: Workspace, run: Run) -> None:
    """The row, the status line, a toast, the Overview and the Error tab show OLD; ``!`` keeps the plugin."""
    workspace["greet"] = VIEW
    workspace["other"] = "def register(ctx): ...\n"
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        with old_plugin(workspace, running):
            await it.until(lambda: "~ OLD" in it.row("greet"))
            await it.until(lambda: "~ OLD 1" in it.text.splitlines()[0])
            await it.toasted("greet OLD (generation 1 is still called")
            await it.press("!")
            await it.until(lambda: it.row("other") == "")
            assert "~ OLD" in it.row("greet")
            await it.press("enter")
            await it.shows("old code", "generation 1 is still called", "route_page", "routes[0].view")
            await it.press("2")
            await it.shows("No errors in greet. Old code: generation 1 is still called")
            await it.press("0")
            routes.clear()
            await it.until(lambda: "~ OLD" not in it.text)
            await it.press("!")
            await it.until(lambda: "+ ok" in it.row("greet"))


def test_an_old_plugin_is_a_problem() -> None:
    """``problems only`` keeps an OLD plugin, ``s:old`` and ``s:o`` find it; by state it comes before ok."""
    plugins: tuple[PluginStatus, ...] = (
        plugin("a"),
        plugin("b", PluginState.OLD),
        plugin("c", PluginState.FAIL),
    )
    assert [each.name for each in Arrangement(problems=True).of(plugins)] == ["b", "c"]
    assert [each.name for each in Arrangement(filter="s:old").of(plugins)] == ["b"]
    assert [each.name for each in Arrangement(filter="s:o").of(plugins)] == ["a", "b"]
    assert [each.name for each in Arrangement(sort="state").of(plugins)] == ["c", "b", "a"]
