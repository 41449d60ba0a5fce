from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual import events

from hotload_tui.tui.follow import AWAY, BURST
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.plugin_table import PluginTable
from tests.conftest import Running, Workspace, answering
from tests.tui.console import Console, Run, console


class Desk:
    """A console whose user looks at apple, and whose clock is set by hand."""

    def __init__(self, workspace: Workspace, running: Running) -> None:
        self.now = 1000.0
        self.it: Console
        self.workspace = workspace
        self._running = running
        self._saves = 0

    def clock(self) -> float:
        """Return the time that was set."""
        return self.now

    async def save_bad(self, name: str) -> str:
        """Save a version that fails in its own line; return that line once the row shows the failure."""
        self._saves += 1
        line = f"raise KeyError('save {self._saves}')"
        self.workspace[name] = f"def register(ctx):\n    {line}\n"
        await self.load(name)
        message = repr(f"save {self._saves}")
        await self.it.until(
            lambda: any(
                each.fault is not None and each.fault.message == message
                for each in self.it.main.selection.plugins
            )
        )
        return f"> 2 |     {line}"

    async def load(self, name: str) -> None:
        """Load a plugin as it is on disk."""
        manager = self._running.manager
        await asyncio.to_thread(manager.load_plugin, self.workspace.plugins / name)

    async def call(self) -> None:
        """Call the plugins' hook point."""
        await asyncio.to_thread(self._running.manager.invoke, "greet")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Console]:
        """Open the console with the cursor on apple."""
        async with console(self._running.manager, self.workspace.root, clock=self.clock, follows=True) as it:
            self.it = it
            await it.until(lambda: "+ ok" in it.row("cherry") and it.chosen == "apple")
            yield it


@pytest.fixture
def desk(workspace: Workspace, run: Run) -> Desk:
    """Return a desk with three plugins that work."""
    for name in ("apple", "banana", "cherry"):
        workspace[name] = answering(name)
    return Desk(workspace, run(workspace.config()))


async def test_a_new_fault_comes_to_the_screen_unless_the_user_is_at_work(desk: Desk) -> None:
    """A new fault selects its plugin and opens the Error tab at the line, but not after a key or scrolling.

    The focus stays where it is.
    """
    async with desk.open() as it:
        line = await desk.save_bad("banana")
        await it.shows(line)
        assert it.chosen == "banana"
        assert it.toasts == ["banana failed"], "the reason is on the screen"
        assert isinstance(it.main.focused, PluginTable)
        await it.press("1", "0", "k")
        scroll = events.MouseScrollDown(it.main, 5, 5, 0, 1, 0, shift=False, meta=False, ctrl=False)
        for use in (events.Key("k", "k"), events.Paste("text"), scroll):
            desk.now += AWAY
            it.app.post_message(use)
            await desk.save_bad("cherry")
            assert "*" in it.row("cherry")
            assert it.chosen == "apple"
        desk.now += AWAY
        line = await desk.save_bad("cherry")
        await it.shows(line)
        assert it.chosen == "cherry"


async def test_the_keyboard_stays_with_a_user_who_types(desk: Desk) -> None:
    """A new fault leaves an open filter, call, dialog and palette alone, however long they are open."""
    async with desk.open() as it:
        for keys in (("slash",), ("7", "enter"), ("n",), ("colon",), ("question_mark",)):
            await it.press(*keys)
            before = it.app.focused
            desk.now += AWAY
            await desk.save_bad("cherry")
            assert it.app.focused is before
            assert it.chosen == "apple"
            assert "*" in it.row("cherry")
            await it.press("escape")
            await it.until(lambda: it.app.screen is it.main)


async def test_f_ends_following_until_it_is_pressed_again(desk: Desk) -> None:
    """After ``F`` the status line says that faults are not followed, and they only mark their rows."""
    async with desk.open() as it:
        await it.press("F")
        await it.shows("follow off")
        await it.toasted("New faults only mark their rows")
        desk.now += AWAY
        await desk.save_bad("banana")
        assert it.chosen == "apple"
        await it.press("F")
        await it.until(lambda: "follow off" not in it.text)
        desk.now += AWAY
        line = await desk.save_bad("cherry")
        await it.shows(line)


async def test_n_and_p_go_from_problem_to_problem(desk: Desk) -> None:
    """``N`` and ``P`` select the next and the previous problem of the table, round its ends, at the line."""
    async with desk.open() as it:
        await it.press("N")
        await it.toasted("No plugin has a problem")
        lines = {name: await desk.save_bad(name) for name in ("apple", "cherry")}
        for key, name in (("N", "cherry"), ("N", "apple"), ("P", "cherry"), ("P", "apple")):
            await it.press("0", key)
            await it.shows(lines[name])
            assert it.chosen == name
            assert isinstance(it.main.focused, PluginTable)
        await it.type("N", "7")
        await it.until(lambda: it.main.query_one(DetailTabs).active == "hooks" and it.chosen == "cherry")
        await it.press("0", "slash", *"banana", "enter", "N")
        await it.toasted("The filter hides 2 problems")


async def test_a_burst_of_faults_and_a_repeated_fault_move_the_screen_once(desk: Desk) -> None:
    """Of several faults at once, the first stays on the screen; a handler's repeated fault moves nothing."""
    async with desk.open() as it:
        line = await desk.save_bad("banana")
        await desk.save_bad("cherry")
        await it.shows(line)
        assert it.chosen == "banana"
        assert "*" in it.row("cherry")
        desk.now += BURST
        desk.workspace["apple"] = answering(1).replace("return 1", "return 1 / 0")
        await desk.load("apple")
        await desk.call()
        await it.shows("> 2 |     return 1 / 0")
        await it.press("1", "N")
        assert it.chosen == "banana"
        desk.now += AWAY
        await desk.call()
        await desk.call()
        desk.workspace["new"] = answering(1)
        await desk.load("new")
        await it.until(lambda: "+ ok" in it.row("new"))
        assert it.chosen == "banana"


async def test_a_plugin_that_fails_at_the_start_is_on_the_screen(workspace: Workspace, run: Run) -> None:
    """A console that starts the plugins shows the first failure; one that joins a host shows no old one."""
    workspace["apple"] = answering(1)
    workspace["bad"] = "def register(ctx):\n    1 / 0\n"
    manager = run(workspace.config()).manager
    async with console(manager, workspace.root, follows=True) as it:
        await it.until(lambda: "! FAIL" in it.row("bad"))
        assert it.chosen == "apple"
    async with console(manager, workspace.root, follows=True, start=lambda: None) as it:
        await it.shows("> 2 |     1 / 0")
        assert it.chosen == "bad"
