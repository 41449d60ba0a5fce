from __future__ import annotations

import pytest

from hotload_tui.core.model import Fault, PluginState, PluginStatus
from hotload_tui.tui.keys import next_steps
from tests.conftest import Workspace, answering
from tests.tui.console import Console, Run, console


def footer(it: Console) -> str:
    """Return the line of keys."""
    return it.text.splitlines()[-1]


async def test_the_footer_begins_with_the_next_steps_for_the_selected_plugin(
    workspace: Workspace, run: Run
) -> None:
    """The first keys of the footer are those that matter for the state of the selected plugin."""
    workspace["_away"] = workspace["bad"] = workspace["fine"] = workspace["held"] = answering(1)
    running = run(workspace.config())
    running.manager.rebuild("held", force=True)
    running.manager.rollback("held", 1)
    async with console(running.manager, workspace.root) as it:
        await it.press("F")  # else the fault selects its plugin
        workspace["bad"] = "1 / 0\n" + answering(2)
        running.manager.rebuild("bad")
        await it.until(lambda: footer(it).startswith("d Enable "))
        await it.press("j")
        await it.until(lambda: footer(it).startswith("⏎ Error e Edit 6 History r Rebuild "))
        await it.press("enter")
        await it.until(lambda: footer(it).startswith("v Locals x Fold e Edit 6 History "))
        await it.press("6")
        await it.until(lambda: footer(it).startswith("⏎ Roll back 2 Error e Edit "))
        await it.press("0", "j")
        await it.until(lambda: footer(it).startswith("r Rebuild R All d Disable "))
        await it.press("j")
        await it.until(lambda: footer(it).startswith("h Release ⏎ Why 6 History "))
        for key in "0", "2", "3", "7":  # at 80 columns, help, quit and the palette are always there
            await it.press(key)
            await it.until(lambda: footer(it).endswith("^p palette") and "? Help q Quit " in footer(it))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (PluginState.STALE, ["open Error", "edit", "history"]),
        (PluginState.FAIL, ["open Error", "edit", "history"]),
        (PluginState.OLD, ["open Why", "rebuild"]),
        (PluginState.WAIT, ["open Why"]),
        (PluginState.OFF, ["toggle"]),
        (PluginState.OK, []),
    ],
)
def test_each_state_has_its_next_steps(state: PluginState, words: list[str]) -> None:
    """A plugin that needs the user has next steps; a live plugin without a fault needs none."""
    fault = Fault("load", "", "ValueError", "no", 0.0) if state.name in ("STALE", "FAIL") else None
    steps = next_steps(PluginStatus("p", state, "", fault=fault))
    assert [f"{name} {label}".strip() for name, label in steps] == words


def test_an_empty_project_needs_a_first_plugin() -> None:
    """Without a plugin, the first key is the one that makes a plugin."""
    assert next_steps(None) == (("new", ""),)
