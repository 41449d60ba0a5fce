"""The progress of work that takes long."""

from __future__ import annotations

import builtins
import threading

import pytest

from tests.conftest import Workspace, answering
from tests.tui.console import Run, console
from tests.waiting import PATIENCE

GATE = f"import builtins\n\ndef register(ctx):\n    builtins.gate.wait({PATIENCE})\n"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return the event for which the plugin ``GATE`` waits while it is loaded."""
    event = threading.Event()
    monkeypatch.setattr(builtins, "gate", event, raising=False)
    return event


async def test_a_long_load_shows_what_is_done_and_what_is_left(
    workspace: Workspace, run: Run, gate: threading.Event
) -> None:
    """While a plugin takes long to load, the status line names it and counts the plugins that are done."""
    for name in ("apple", "banana", "cherry"):
        workspace[name] = answering(1)
    gate.set()
    workspace["banana"] = GATE
    manager = run(workspace.config(load_timeout=PATIENCE)).manager
    async with console(manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("cherry"))
        assert "loading" not in it.text
        gate.clear()
        await it.press("R")
        await it.shows("loading banana… (1 of 3 done)")
        work = manager.snapshot().work
        assert work is not None
        assert (work.phase, work.plugin, work.done, work.of) == ("load", "banana", 1, 3)
        gate.set()
        await it.until(lambda: "loading" not in it.text and "not watching" in it.text)
        assert manager.snapshot().work is None


async def test_a_command_that_takes_long_is_named(
    workspace: Workspace, run: Run, gate: threading.Event
) -> None:
    """A call whose handler does not return is named in the status line until it ends."""
    workspace["slow"] = (
        GATE.replace("register(ctx)", "wait()") + "\ndef register(ctx):\n    ctx.hook('slow', wait)\n"
    )
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("slow"))
        await it.press("7", "enter", "enter")
        await it.shows("call slow()…")
        gate.set()
        await it.until(lambda: "not watching" in it.text)
