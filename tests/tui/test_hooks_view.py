from __future__ import annotations

import time
from pathlib import Path

from textual.app import App, ComposeResult
from textual.screen import Screen

from hotload_tui.core.model import HookPointStatus
from hotload_tui.tui.view_state import ViewState
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.error_view import ErrorView
from hotload_tui.tui.widgets.log_view import LogBook
from hotload_tui.tui.widgets.panes import DetailFacts
from tests.conftest import Workspace, answering
from tests.tui.console import Run, console


def greeting(word: str) -> str:
    """Return the source of a plugin that greets with this word."""
    return (
        f"def greet(name='you'):\n    return f'{word}, {{name}}'\n"
        "def register(ctx):\n    ctx.hook('greet', greet)\n"
    )


async def test_a_hook_point_is_called_with_what_is_typed(workspace: Workspace, run: Run) -> None:
    """In the Hooks tab, enter prompts for arguments, and a second enter shows each handler's result."""
    workspace["one"] = greeting("Hello")
    workspace["two"] = "def register(ctx): ctx.hook('greet', lambda name: 1 / 0)"
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        await it.press("7")
        await it.shows("one.greet", "two.")
        await it.press("enter", *"Ada 40", "enter")
        await it.shows("greet('Ada 40')", "'Hello, Ada 40'", "ZeroDivisionError: division by zero")
        await it.press("y")
        await it.shows("Copied 5 lines")


async def test_a_pinned_call_runs_again_after_a_reload(workspace: Workspace, run: Run) -> None:
    """After a save, a pinned call shows its old and its new answer."""
    workspace["one"] = greeting("Hello")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7", "enter", *'"Ada"', "enter")
        await it.shows("'Hello, Ada'")
        await it.press("space")
        await it.toasted("Pinned greet('Ada')")
        workspace["one"] = greeting("Welcome")
        running.manager.rebuild()
        await it.shows("was 'Hello, Ada'", "now 'Welcome, Ada'")
        await it.press("space")
        await it.toasted("not pinned any more")


async def test_space_acts_on_the_newest_call_and_no_other(workspace: Workspace, run: Run) -> None:
    """With one call pinned, space pins the newer call too, and again unpins this one alone."""
    workspace["one"] = greeting("Hello")
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        for name in ("Ada", "Bob"):
            await it.press("7", "enter", *f'"{name}"', "enter")
            await it.shows(f"'Hello, {name}'")
            await it.press("space")
            await it.shows(f"Pinned greet('{name}')")
        await it.press("space")
        await it.toasted("greet('Bob') is not pinned any more")
        await it.until(lambda: it.text.count("pinned") == 2)  # the toast, and Ada's call


async def test_calls_of_the_host_are_counted_while_the_tab_is_open(workspace: Workspace, run: Run) -> None:
    """No event reports a call, yet the tab shows the number when it opens, and while it is open."""
    workspace["one"] = greeting("Hello")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7", "0", "1")
        for _ in range(3):
            running.manager.invoke("greet")
        await it.press("7")
        await it.shows("100   3 ")
        running.manager.invoke("greet")
        await it.shows("100   4 ")


async def test_earlier_arguments_come_back(workspace: Workspace, run: Run) -> None:
    """The prompt opens with the newest arguments, ``up`` recalls earlier ones, and escape calls nothing."""
    workspace["one"] = greeting("Hello")
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7", "enter", *"Ada", "enter")
        await it.shows("'Hello, Ada'")
        await it.press("enter", *["backspace"] * 3, *"Bob", "enter")
        await it.shows("'Hello, Bob'")
        await it.press("enter", "up", "up", "enter")
        await it.until(lambda: 0 < it.text.find("'Hello, Ada'") < it.text.find("'Hello, Bob'"))
        await it.press("enter", *"nobody")
        await it.shows("nobody")
        await it.press("escape")
        await it.until(lambda: "nobody" not in it.text)


async def test_a_keyword_given_twice_is_reported_and_nothing_is_called(
    workspace: Workspace, run: Run
) -> None:
    """A keyword that is given twice is reported below the call, and nothing is called."""
    workspace["one"] = greeting("Hello")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7", "enter", *"name=1, name=2", "enter")
        await it.shows("(name=1, name=2)", "name is given twice; leave one of them out")
        assert not any(point.calls for point in running.manager.snapshot().points)


async def test_pins_and_arguments_are_there_the_next_time(workspace: Workspace, run: Run) -> None:
    """A pinned call is kept for the next console, which calls it again."""
    workspace["one"] = greeting("Hello")
    manager = run(workspace.config()).manager
    async with console(manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7", "enter", *"Ada", "enter", "space")
        await it.shows("'Hello, Ada'")
    async with console(manager, workspace.root, (120, 36), start=lambda: None) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7")
        await it.shows("greet('Ada')", "pinned", "'Hello, Ada'")


async def test_without_hook_points_the_tab_says_how_one_is_made(workspace: Workspace, run: Run) -> None:
    """Without hook points, the tab and the space key say that there are none."""
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.press("7")
        await it.shows("No hook points yet")
        await it.press("space")
        await it.toasted("No hook points yet")


async def test_space_on_what_was_never_called_asks_and_pins(workspace: Workspace, run: Run) -> None:
    """Space on a point that was never called prompts for arguments, then calls and pins it."""
    workspace["one"] = greeting("Hello")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7", "space")
        await it.toasted("type what to call it with")
        await it.press(*'"Ada"', "enter")
        await it.shows("pinned", "'Hello, Ada'", "100   1 ")  # the call is counted too
        workspace["one"] = greeting("Hi")
        running.manager.rebuild("one")
        await it.shows("'Hi, Ada'")


async def test_a_new_answer_is_in_sight_above_the_pinned_ones(workspace: Workspace, run: Run) -> None:
    """At 80x24 the answer to a new call is visible at once, above long pinned ones."""
    workspace["one"] = greeting("Hello") + "    for _ in range(9):\n        ctx.hook('greet', greet)\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("7", "enter", *"Ada", "enter")
        await it.shows("'Hello, Ada'")
        await it.press("space")
        await it.shows("pinned")
        await it.press("enter", *"Bob", "enter")
        await it.shows("'Hello, Bob'")


class Late(Screen[None]):
    """A screen that learns the hook points only when the focus moves."""

    AUTO_FOCUS = ""

    def compose(self) -> ComposeResult:
        """Yield the tabs."""
        yield DetailTabs(Path(), LogBook(time.time), time.time, ViewState())

    def watch_focused(self) -> None:
        """Pass the known facts to the tabs."""
        if self.focused is not None:
            self.query_one(DetailTabs).show(DetailFacts(points=(HookPointStatus("greet", (), 0),)))


class LateApp(App[None]):
    """An app with only the tabs."""

    def get_default_screen(self) -> Screen[None]:
        """Return the screen with the tabs."""
        return Late()


async def test_enter_right_behind_7_finds_the_hook_points() -> None:
    """A key that follows ``7`` at once acts on the newest hook points, even before they are painted."""
    async with LateApp().run_test() as pilot:
        tabs = pilot.app.screen.query_one(DetailTabs)
        await tabs.open("hooks")
        assert tabs.hooks.table.row_count == 1


async def test_f_goes_from_a_failed_call_to_its_traceback(workspace: Workspace, run: Run) -> None:
    """``f`` selects the plugin whose handler failed in a call, and opens its Error tab at the line."""
    workspace["apple"] = answering(1, point="fine")
    workspace["banana"] = answering(1, point="price").replace("return 1", "return 1 / 0")
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("banana") and it.chosen == "apple")
        await it.press("7", "f")
        await it.toasted("No call has failed")
        await it.press("enter", "enter", "j", "enter", "enter")
        await it.shows("! banana.answer", "f Fault")
        await it.press("f")
        await it.shows("> 2 |     return 1 / 0")
        assert it.chosen == "banana"
        assert isinstance(it.app.focused, ErrorView)
        await it.press("0", "slash", *"apple", "enter", "7", "f")
        await it.toasted("The filter hides banana")
