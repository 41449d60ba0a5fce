from __future__ import annotations

from tests.conftest import Workspace
from tests.tui.console import Run, console

LONG = "\n".join(f"x{number} = {number}" for number in range(200))


async def test_the_source_of_the_live_version_is_shown(workspace: Workspace, run: Run) -> None:
    """Tab 4 shows plugin.py as loaded by the live generation, with line numbers."""
    workspace["one"] = "def register(ctx):\n    pass\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("4")
        await it.shows("plugin.py, as loaded by generation 1, the same on disk", "1 | def register(ctx):")


async def test_the_failing_line_is_marked_and_scrolled_to(workspace: Workspace, run: Run) -> None:
    """When the tab opens, a failing line far down is visible and marked."""
    workspace["bad"] = f"{LONG}\ndef register(ctx):\n    1 / 0\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("bad"))
        await it.press("4")
        await it.shows("> 202 |     1 / 0")


async def test_v_turns_from_the_disk_to_the_difference_to_as_loaded(workspace: Workspace, run: Run) -> None:
    """After a failed save ``v`` switches from the text on disk to the difference and to the live text."""
    workspace["one"] = "def register(ctx):\n    good = 1\n"
    async with console(run(workspace.config(enable_watch=True)).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        workspace["one"] = "def register(ctx):\n    bad = (\n"
        await it.until(lambda: "~ STALE" in it.row("one"))
        await it.press("4")
        await it.shows("on disk", "> 2 |     bad = (")
        await it.press("v")
        await it.shows("from generation 1 (-) to the disk (+)", "-    good = 1", "+    bad = (")
        await it.press("v")
        await it.shows("as loaded by generation 1", "2 |     good = 1")
        await it.press("v")
        await it.shows("> 2 |     bad = (")


async def test_v_says_when_there_is_only_one_version(workspace: Workspace, run: Run) -> None:
    """For a plugin that never loaded, ``v`` says that there is only one version."""
    workspace["bad"] = "1 / 0\ndef register(ctx): ..."
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("bad"))
        await it.press("4", "v")
        await it.toasted("only one version")


async def test_the_live_source_is_not_marked_for_a_newer_failure(workspace: Workspace, run: Run) -> None:
    """A line that is in both versions is marked only in the failed one."""
    source = "ZERO = 1\ndef register(ctx):\n    1 / ZERO\n"
    workspace["one"] = source
    async with console(run(workspace.config(enable_watch=True)).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        workspace["one"] = source.replace("= 1", "= 0")
        await it.until(lambda: "~ STALE" in it.row("one"))
        await it.press("4")
        await it.shows("> 3 |     1 / ZERO", "ZERO = 0")
        await it.press("v", "v")
        await it.shows("as loaded by generation 1", "  3 |     1 / ZERO", "ZERO = 1")
        await it.until(lambda: "> 3 |" not in it.text)
