from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from hotload_tui.tui import terminal
from tests.conftest import Workspace, answering
from tests.tui.console import Run, console

pytestmark = pytest.mark.unfrozen


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Restore the collector afterwards."""
    yield
    terminal.settle()
    gc.enable()


def test_a_program_that_embeds_the_console_keeps_its_collector() -> None:
    """``settle`` leaves a disabled collector disabled and freezes nothing, if it was not held off."""
    gc.disable()
    terminal.settle()
    assert (gc.isenabled(), gc.get_freeze_count()) == (False, 0)


async def test_the_collector_is_on_again_once_the_rows_are_there(workspace: Workspace, run: Run) -> None:
    """After a start that held it off, the collector is on, and the existing objects are frozen."""
    workspace["one"] = answering(1)
    manager = run(workspace.config()).manager
    terminal.hold_off()
    async with console(manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.until(gc.isenabled)
        assert gc.get_freeze_count() > 10_000
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() > 0
