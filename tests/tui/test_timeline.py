from __future__ import annotations

from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.history_view import Timeline
from tests.conftest import Workspace, answering
from tests.tui.console import Console, Run, console


def listed(it: Console) -> list[str]:
    """Return the timeline's lines without their times."""
    return [line.partition(" ")[2] for line in str(it.main.query_one(Timeline).render()).splitlines()]


async def test_a_wide_screen_lists_the_changes_of_plugins(workspace: Workspace, run: Run) -> None:
    """The timeline has one line for each load, failure and disabling, the newest on top."""
    workspace["one"] = answering(1)
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (200, 50)) as it:
        await it.shows("─ Timeline─", "+ one              generation 1, load")
        workspace["one"] = "1 / 0\n" + answering(2)
        running.manager.rebuild()
        await it.shows("! one              load failed: ZeroDivisionError")
        workspace["one"] = answering(3)
        running.manager.rebuild()
        await it.shows("+ one              generation 2, load")
        running.manager.disable("one")
        await it.shows("- one              disabled")
        lines = listed(it)
        assert [line[0] for line in lines] == ["-", "+", "!", "+"]


async def test_a_narrower_screen_has_no_timeline(workspace: Workspace, run: Run) -> None:
    """At 120 columns there is no timeline; a resize to 200 shows it with the earlier events."""
    workspace["one"] = answering(1)
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.shows("one: loaded generation 1", "─Log─")
        assert "Timeline" not in it.text
        await it.resize(200, 50)
        await it.shows("─ Timeline─", "+ one              generation 1, load")


async def test_the_timeline_gives_way_to_a_maximised_log(workspace: Workspace, run: Run) -> None:
    """A maximised log covers the timeline, and gives the space back."""
    async with console(run(workspace.config()).manager, workspace.root, (200, 50)) as it:
        await it.shows("─ Timeline─")
        await it.press("tab", "tab")
        await it.until(lambda: it.main.focused is not None and it.main.focused.id == "strip")
        await it.press("plus")
        await it.until(lambda: "Timeline" not in it.text and "Plugins" not in it.text)
        await it.press("plus")
        await it.shows("─ Timeline─", "Plugins")


async def test_number_keys_go_to_the_log_and_to_the_timeline(workspace: Workspace, run: Run) -> None:
    """``8`` and ``9`` focus the log below and the timeline, and ``+`` gives the screen to either."""
    workspace["one"] = answering(1)
    async with console(run(workspace.config()).manager, workspace.root, (200, 50)) as it:
        await it.shows("─ Timeline─", "+ ok")
        await it.press("9", "plus")
        await it.until(lambda: "━Timeline" in it.text and "Plugins" not in it.text and "Log━" not in it.text)
        await it.press("8")
        await it.until(lambda: "━Log━" in it.text and "Plugins" in it.text)
        await it.press("plus")
        await it.until(lambda: "━Log━" in it.text and "Plugins" not in it.text)
        await it.resize(80, 24)
        await it.press("plus", "9")
        await it.toasted("The timeline needs 160 columns")
        await it.press("8")
        await it.until(lambda: it.main.focused is it.main.query_one(DetailTabs).log_view)
