from __future__ import annotations

import asyncio
import shutil

import pytest
from msgspec.structs import replace

from hotload_tui.core.model import Fault, PluginState, PluginStatus
from hotload_tui.tui.widgets.detail_tabs import DetailTabs, Overview
from hotload_tui.tui.widgets.history_view import HistoryView
from hotload_tui.tui.widgets.plugin_table import COLUMNS, PluginPane, PluginTable, cells_of, fitting
from tests.conftest import Workspace
from tests.tui.console import Console, Run, console
from tests.tui.layout import text_of

PLAIN = """
def one(): return 1
def register(ctx):
    ctx.hook("one", one)
"""
DIGEST = "0123456789abcdef" * 4


def painted(it: Console, number: int) -> list[str]:
    """Return the plugin names in the first rows of the table, as they are painted."""
    words = [line.split() for line in it.text.splitlines()[3 : 3 + number]]
    return [row[2] if len(row) > 2 else "" for row in words]


async def test_every_plugin_has_a_row_with_glyph_and_word(workspace: Workspace, run: Run) -> None:
    """The table shows live, failed and disabled plugins, each with a glyph and a word."""
    workspace["good"] = PLAIN
    workspace["bad"] = "1 / 0\ndef register(ctx): ..."
    workspace["_away"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("good"))
        assert "! FAIL" in it.row("bad")
        assert "- off" in it.row("away")
        await it.until(lambda: "+ ok 1" in it.text.splitlines()[0])
        await it.until(lambda: "! FAIL 1" in it.text.splitlines()[0])


async def test_a_saved_file_shows_a_new_generation_and_digest(workspace: Workspace, run: Run) -> None:
    """A save changes the generation in the plugin's row and the digest beside it; a toast reports it."""
    workspace["greet"] = PLAIN
    running = run(workspace.config(enable_watch=True))
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        before = running.manager.snapshot().plugins[0].digest[:12]
        assert it.row("greet").split()[:4] == ["+", "ok", "greet", "1"]
        await it.shows(before)
        workspace["greet"] = PLAIN.replace("1", "2")
        await it.until(lambda: it.row("greet").split()[:4] == ["+", "ok", "greet", "2"])
        await it.until(lambda: running.manager.snapshot().plugins[0].digest[:12] in it.text)
        assert before not in it.text
        await it.until(lambda: it.toasts == ["greet reloaded"])


async def test_the_cursor_stays_on_its_plugin_when_rows_come_and_go(workspace: Workspace, run: Run) -> None:
    """A plugin that appears or disappears above the cursor does not move it to another plugin."""
    for name in ("bee", "cat"):
        workspace[name] = PLAIN
    running = run(workspace.config(enable_watch=True))
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("cat"))
        await it.press("G")
        await it.until(lambda: it.chosen == "cat")
        workspace["ant"] = PLAIN
        await it.until(lambda: "+ ok" in it.row("ant"))
        assert it.chosen == "cat"
        await it.until(lambda: painted(it, 3) == ["ant", "bee", "cat"])
        shutil.rmtree(workspace.plugins / "bee")
        await it.until(lambda: not it.row("bee"))
        assert it.chosen == "cat"
        await it.press("k")
        await it.until(lambda: it.chosen == "ant")


@pytest.mark.parametrize("name", ["cat", "longer_than_all_others"])
@pytest.mark.parametrize("size", [(80, 24), (100, 30)], ids=["narrow", "normal"])
async def test_where_a_plugin_was_that_goes_the_next_one_is_chosen(
    workspace: Workspace, run: Run, name: str, size: tuple[int, int]
) -> None:
    """If the selected plugin disappears, the next one is selected, or the previous one at the end."""
    for other in ("bee", "mouse", "zebra", name):
        workspace[other] = PLAIN
    running = run(workspace.config(enable_watch=True))
    async with console(running.manager, workspace.root, size) as it:
        await it.until(lambda: "+ ok" in it.row("zebra"))
        await it.press("j", "4")
        await it.until(lambda: it.chosen == name)
        shutil.rmtree(workspace.plugins / name)
        await it.until(lambda: it.chosen != name)
        await it.until(lambda: it.main.selection.closeup.source is not None)
        assert it.chosen == "mouse"
        await it.press("0", "G")
        await it.until(lambda: it.chosen == "zebra")
        shutil.rmtree(workspace.plugins / "zebra")
        await it.until(lambda: not it.row("zebra"))
        await it.until(lambda: it.chosen == "mouse")


async def test_when_the_chosen_plugin_goes_another_one_is_chosen(workspace: Workspace, run: Run) -> None:
    """If the selected plugin is deleted, its neighbour is selected and shown."""
    for name in ("ant", "bee"):
        workspace[name] = PLAIN
    async with console(run(workspace.config(enable_watch=True)).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("bee"))
        await it.press("j")
        shutil.rmtree(workspace.plugins / "bee")
        await it.until(lambda: it.chosen == "ant")
        await it.shows("plugins/ant")
        shutil.rmtree(workspace.plugins / "ant")
        await it.shows("No plugins yet. n makes one")
        await it.until(lambda: it.chosen == "")


async def test_what_breaks_elsewhere_is_marked_and_takes_no_focus(workspace: Workspace, run: Run) -> None:
    """A plugin that breaks while another one is selected gets a mark, which its selection removes."""
    for name in ("ant", "bee"):
        workspace[name] = PLAIN
    async with console(run(workspace.config(enable_watch=True)).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("bee"))
        await it.press("F")  # else the fault comes to the screen
        workspace["bee"] = "def register(ctx:"
        await it.until(lambda: "~*STALE" in it.row("bee"))
        assert it.chosen == "ant"
        await it.press("j")
        await it.until(lambda: "~ STALE" in it.row("bee") and "*" not in it.row("bee"))


async def test_a_live_plugin_whose_calls_raise_is_marked(workspace: Workspace, run: Run) -> None:
    """A live plugin with a failing handler has a mark after OK, and enter opens the error."""
    workspace["bad"] = PLAIN.replace("return 1", "return 1 / 0")
    workspace["good"] = PLAIN
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("bad"))
        await asyncio.to_thread(running.manager.invoke, "one")
        await it.until(lambda: "+ ok ! bad" in it.row("bad"))
        await it.until(lambda: "1 fault" in it.text.splitlines()[0])
        assert "!" not in it.row("good")
        await it.press("enter")
        await it.shows("ZeroDivisionError", "in hook of bad", "2 Error (1)")
        await it.press("0", "j")
        await it.until(lambda: it.chosen == "good" and "2 Error 3 Log" in it.text)
        await it.press("1", "0", "k", "1")
        await it.shows("press 2 for the traceback")


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (37, {"generation", "compile", "points", "calls", "faults"}),
        (54, {"compile", "points"}),
        (79, {"points"}),
        (91, set()),
    ],
)
def test_columns_that_do_not_fit_are_left_out_the_least_needed_first(width: int, missing: set[str]) -> None:
    """State, plugin and age are always shown, and the other columns if they fit."""
    columns = fitting(width, 8)
    assert {column.key for column in COLUMNS} - {column.key for column in columns} == missing
    assert cells_of(columns) <= width


@pytest.mark.parametrize("state", PluginState)
def test_every_state_fits_its_column(state: PluginState) -> None:
    """Glyph, word and mark of a plugin that failed are not cut at 80 columns."""
    fault = Fault("hook", "greet", "ValueError", "no", 0.0)
    column = next(column for column in fitting(78, 8) if column.key == "state")
    assert len(PluginStatus("greet", state, "", fault=fault).sign) <= column.width


def test_a_long_name_gets_the_room_that_is_left() -> None:
    """The plugin column grows with the names, but never pushes other columns out of the table."""
    narrow, wide = (next(c for c in fitting(78, n) if c.key == "plugin") for n in (4, 90))
    assert narrow.width < wide.width
    assert cells_of(fitting(78, 90)) <= 78


async def test_a_busy_neighbour_moves_nothing(workspace: Workspace, run: Run) -> None:
    """Repeated reloads of one plugin change its row without a new layout of the screen."""
    running = run(workspace.config())
    one = PluginStatus("one", PluginState.OK, "/p/one", DIGEST, DIGEST, 1)
    busy = PluginStatus("two", PluginState.OK, "/p/two", DIGEST, DIGEST, 1)
    answer = running.manager.snapshot()
    given = [one, busy]
    running.manager.snapshot = lambda: replace(answer, plugins=tuple(given))  # type: ignore[method-assign]
    async with console(running.manager, workspace.root, (120, 36), clock=lambda: 0.0) as it:
        await it.shows("+ ok", "generation", "two")
        layouts: list[object] = []
        it.main.screen_layout_refresh_signal.subscribe(it.main, layouts.append)
        for number in range(20, 30):
            given[1] = replace(busy, load_seconds=number / 1000)
            it.main.selection.read_again()
            await it.until(lambda wanted=f"{number}.0": wanted in it.row("two"))  # type: ignore[misc]
        assert layouts == []


async def test_going_to_a_plugin_like_the_last_one_moves_nothing(workspace: Workspace, run: Run) -> None:
    """The details of a similar plugin are painted without a new layout of the screen."""
    workspace["one"] = workspace["one_with_a_longer_name"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        overview = it.main.query_one(Overview)
        await it.until(lambda: "one (100)" in it.text and len(it.main.query(HistoryView)) == 1)
        await it.press("j", "k")
        await it.until(lambda: text_of(it, overview).startswith(" one  + ok"))
        layouts: list[object] = []
        it.main.screen_layout_refresh_signal.subscribe(it.main, layouts.append)
        await it.press("j")
        await it.until(lambda: text_of(it, overview).startswith(" one_with_a_longer_name  + ok"))
        assert layouts == []


async def test_calls_and_faults_have_columns_on_a_wide_screen(workspace: Workspace, run: Run) -> None:
    """At 200 columns the table shows the number of calls and of faults of each plugin."""
    workspace["one"] = PLAIN.replace("return 1", "return 1 / 0")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (200, 50)) as it:
        await it.shows("+ ok", "calls", "faults", "hook points")
        running.manager.invoke("one")
        await it.until(lambda: it.row("one").split()[-3:-1] == ["1", "1"])
        for _ in range(2):  # no event reports the same fault again
            running.manager.invoke("one")
        await it.until(lambda: it.row("one").split()[-3:-1] == ["3", "3"])


async def test_the_overview_draws_the_last_load_times(workspace: Workspace, run: Run) -> None:
    """The overview draws the last load times as bars, with a mark for a failure."""
    workspace["one"] = PLAIN
    running = run(workspace.config())
    running.manager.rebuild("one", force=True)
    workspace["one"] = "1 / 0\n" + PLAIN
    running.manager.rebuild("one")
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.shows("load times", "▁", "!  ", " ms")


async def test_a_click_selects_and_a_double_click_opens(workspace: Workspace, run: Run) -> None:
    """A click selects a row and leaves the focus in the table; a double click opens the details."""
    workspace["one"] = workspace["two"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        table = it.main.query_one(PluginTable)
        for _ in range(2):
            await it.click(20, 4)
            await it.until(lambda: it.chosen == "two")
            assert it.main.focused is table
        await it.click(40, 3, times=2)
        await it.until(lambda: it.main.focused is it.main.query_one(Overview) and it.chosen == "one")


async def test_the_header_marks_the_sort_column_and_a_click_sorts(workspace: Workspace, run: Run) -> None:
    """The header marks the order's column and direction; a click sorts, and a second click reverses."""
    workspace["ant"], workspace["bee"] = PLAIN, PLAIN.replace("return 1", "return 1 / 0")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:

        def header() -> str:
            return it.text.splitlines()[2]

        await it.until(lambda: "+ ok" in it.row("bee") and "plugin▴" in header())
        await it.press("F")
        running.manager.invoke("one")
        await it.until(lambda: "ok !" in it.row("bee"))
        await it.click(header().index("faults"), 2)
        await it.until(lambda: painted(it, 1) == ["bee"] and "▾faults" in header())
        await it.click(header().index("faults"), 2)
        await it.until(lambda: painted(it, 1) == ["ant"] and "▴faults" in header())
        await it.press("s")
        await it.until(lambda: "age▴" in header() or "▾age" in header())
        await it.click(header().index("plugin"), 2)
        await it.until(lambda: "plugin▴" in header())
        await it.press("S")
        await it.until(lambda: "plugin▾" in header() and painted(it, 1) == ["bee"])


async def test_the_table_takes_what_it_needs_and_the_details_the_rest(workspace: Workspace, run: Run) -> None:
    """The table is as wide and as high as its content; the details get the rest, and more with the focus."""
    for name in ("ant", "bee"):
        workspace[name] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        table, tabs = it.main.query_one(PluginPane), it.main.query_one(DetailTabs)
        await it.until(lambda: "+ ok" in it.row("bee") and "faults" in it.text)
        assert table.size.width <= 0.46 * 120
        assert table.size.width + tabs.outer_size.width == 120
        before = tabs.size.width
        await it.press("1")
        await it.until(lambda: tabs.size.width > before + 20)
        assert all(name in text_of(it, table) for name in ("+ ok     ant", "+ ok     bee"))
        await it.resize(200, 50)  # the next column is not cut, but hidden
        await it.until(lambda: text_of(it, table).splitlines()[1] == "state    plugin▴")
        await it.resize(120, 36)
        await it.press("0")
        await it.until(lambda: tabs.size.width == before)
        await it.resize(80, 24)
        await it.until(lambda: table.size == (80, 4))  # border, header and two rows
        assert tabs.size.height == 24 - 2 - 4 - 1  # without its border


async def test_a_problem_is_one_line_below_the_table(workspace: Workspace, run: Run) -> None:
    """Each plugin with a problem has one line, with the place of its error, until the problem is over."""
    workspace["ant"], workspace["bee"] = PLAIN, "1 / 0\n" + PLAIN
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.shows("─Problems─", "! bee plugin.py:1 ZeroDivisionError: division by ")
        await it.resize(80, 24)
        await it.until(lambda: "Problems" not in it.text)
        await it.resize(200, 50)
        await it.shows("─Problems─")
        workspace["bee"] = PLAIN
        running.manager.rebuild()
        await it.until(lambda: "Problems" not in it.text)
