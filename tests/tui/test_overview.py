"""The Overview tab."""

from __future__ import annotations

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
