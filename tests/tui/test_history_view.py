from __future__ import annotations

from hotload_tui.tui.widgets.history_view import HistoryView
from tests.conftest import Workspace, answering
from tests.tui.console import Run, console


async def test_generations_and_failures_are_listed_the_newest_first(workspace: Workspace, run: Run) -> None:
    """History lists the generations and failures, newest first, with the live one marked."""
    workspace["one"] = answering(1)
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        workspace["one"] = answering(2)
        running.manager.rebuild()
        workspace["one"] = "def register(ctx):\n    1 / 0\n"
        running.manager.rebuild()
        await it.press("6")
        await it.shows("register failed: ZeroDivisionError", ">2", "live", "memory freed")
        await it.until(
            lambda: it.text.find("register failed") < it.text.find(">2") < it.text.find("memory freed")
        )


async def test_enter_goes_back_and_h_releases(workspace: Workspace, run: Run) -> None:
    """Enter on an earlier generation rolls back to it; ``z`` takes that back, ``h`` releases the plugin."""
    workspace["one"] = answering("old")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        workspace["one"] = answering("new")
        running.manager.rebuild()
        await it.press("6")
        await it.shows(">2")
        await it.press("enter")
        await it.toasted("live now")
        await it.press("j", "enter")
        await it.until(lambda: "= HELD" in it.row("one"))
        assert running.host.call("greet") == ["old"]
        await it.toasted("z takes it back, h releases it")
        await it.press("z")
        await it.until(lambda: "+ ok" in it.row("one"))
        assert running.host.call("greet") == ["new"]
        await it.press("G", "enter")
        await it.until(lambda: "= HELD" in it.row("one"))
        assert running.host.call("greet") == ["old"]
        await it.press("h")
        await it.until(lambda: "+ ok" in it.row("one"))
        assert running.host.call("greet") == ["new"]
        await it.press("h")
        await it.toasted("is not held")


async def test_a_click_does_not_roll_back_but_a_double_click_does(workspace: Workspace, run: Run) -> None:
    """A click on a generation does not roll back, but a double click does."""
    workspace["one"] = answering("old")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        workspace["one"] = answering("new")
        running.manager.rebuild()
        await it.press("6")
        await it.shows(">2")
        row = next(
            number for number, line in enumerate(it.text.splitlines()) if " 1 " in line and "freed" in line
        )
        await it.click(70, row)
        await it.press("escape")
        await it.click(70, row)
        await it.until(lambda: it.main.focused is it.main.query_one(HistoryView))
        assert running.host.call("greet") == ["new"]
        await it.click(70, row, times=2)
        await it.until(lambda: "= HELD" in it.row("one"))
        assert running.host.call("greet") == ["old"]


async def test_hashes_show_what_changed(workspace: Workspace, run: Run) -> None:
    """After a reload the Hashes tab marks the files that were changed, added and removed."""
    workspace["one"], workspace["one/a.txt"], workspace["one/gone.txt"] = answering(1), "a", "b"
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("5")
        await it.shows("3 files, as generation 1", "  a.txt", "Nothing to compare with yet")
        workspace["one/a.txt"], workspace["one/new.txt"] = "aa", "c"
        (workspace.plugins / "one" / "gone.txt").unlink()
        running.manager.rebuild()
        await it.shows("* a.txt  2 bytes (+1)  changed", "+ new.txt", "- gone.txt  removed", "  plugin.py")


async def test_faults_of_calls_are_listed_with_their_number(workspace: Workspace, run: Run) -> None:
    """History shows how often a handler failed, the last time and the call; it is nothing to go back to."""
    workspace["one"] = "def register(ctx): ctx.hook('greet', lambda who: 1 / 0)\n"
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (160, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        for _ in range(3):
            running.host.call("greet", "Ada")
        running.manager.rebuild(force=True)
        await it.press("6")
        await it.shows("hook failed 3x: Zero", "!1")
        await it.press("j")
        copied = it.main.query_one(HistoryView).text_to_copy()
        assert "division by zero; called as greet('Ada'); last at " in copied
        await it.press("enter")
        await it.toasted("This is a fault, and not a version")
