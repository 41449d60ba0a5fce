"""The Overview tab."""

from __future__ import annotations

from hotload_tui.core.compiled import Record
from hotload_tui.core.source import read_source
from tests.conftest import Workspace, answering
from tests.tui.console import Run, console


async def test_a_long_description_is_wrapped_beside_the_scroll_bar(workspace: Workspace, run: Run) -> None:
    """All lines of a wrapped description are full except for the last one."""
    workspace["talker"] = f'"""{" ".join(["xyz", *["abcd"] * 60])}."""\n{answering(1)}'
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("abcd.")
        *full, _ = [line.count("abcd") for line in it.text.splitlines() if "abcd" in line]
        assert len(full) >= 2
        assert min(full) >= 14


async def test_a_plugin_that_is_replaced_shows_its_gap(workspace: Workspace, run: Run) -> None:
    """The tab shows that the live version leaves first, and how long no version was live."""
    workspace["talker"] = f"RELOAD = 'replace'\n{answering(1)}"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("replace: it leaves before a new version loads")
        workspace["talker"] = f"RELOAD = 'replace'\n{answering(2)}"
        await it.press("r")
        await it.shows("ms without a live version")


async def test_a_suspected_plugin_shows_why(workspace: Workspace, run: Run) -> None:
    """The tab shows how an earlier host ended while the live version was active."""
    workspace["talker"] = answering(1)
    digest = read_source("talker", workspace.plugins / "talker").digest
    workspace.compiled.mkdir()
    Record(workspace.compiled).suspect("talker", digest, "the host died of signal 9")
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("suspected    the host died of signal 9")
