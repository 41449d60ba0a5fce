from __future__ import annotations

from pathlib import Path

import pytest
from textual import events

from hotload_tui.tui.view_state import Arrangement, ViewState, ViewStore
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.plugin_table import PluginTable
from tests.conftest import Workspace, answering
from tests.tui.console import Console, Run, console

BROKEN = "def register(ctx):\n    1 / 0\n"


def rows(it: Console) -> list[str]:
    """Return the names in the table, from top to bottom."""
    return [row.key.value or "" for row in it.main.query_one(PluginTable).ordered_rows]


async def test_a_filter_narrows_the_table_while_it_is_typed(workspace: Workspace, run: Run) -> None:
    """A slash filters the rows while a text is typed, the status line shows it, and escape clears it."""
    workspace["apple"] = workspace["banana"] = answering(1)
    workspace["cherry"] = BROKEN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("cherry"))
        await it.press("slash", *"an")
        await it.until(lambda: rows(it) == ["banana"])
        await it.shows("filter an", "Plugins (1 of 3)")
        await it.press("enter", "3", "0")
        assert rows(it) == ["banana"]
        await it.press("escape")
        await it.until(lambda: rows(it) == ["apple", "banana", "cherry"])
        await it.press("slash", *"s:fail", "enter")
        await it.until(lambda: rows(it) == ["cherry"])
        await it.press("slash", *["backspace"] * 6, *"xyz", "enter")
        await it.shows("0 of 3 match filter xyz: esc clears the filter.")


async def test_the_order_of_the_table_is_chosen_and_kept(workspace: Workspace, run: Run) -> None:
    """``S`` reverses the order and ``s`` sorts by state; the cursor's plugin and the order are kept."""
    workspace["apple"], workspace["cherry"] = answering(1), BROKEN
    manager = run(workspace.config()).manager
    async with console(manager, workspace.root) as it:
        await it.until(lambda: rows(it) == ["apple", "cherry"] and it.chosen == "apple")
        await it.press("S")
        await it.until(lambda: rows(it) == ["cherry", "apple"])
        assert it.chosen == "apple"
        await it.press("S", "s")
        await it.until(lambda: rows(it) == ["cherry", "apple"])
        assert any("Sorted by state" in toast for toast in it.toasts)
        await it.press("q")
    async with console(manager, workspace.root) as it:
        await it.until(lambda: rows(it) == ["cherry", "apple"] and it.chosen == "apple")


async def keep_filter(it: Console, said: str) -> None:
    """Choose "keep this filter" in the palette, and wait for the toast."""
    await it.press("colon", *"keep this")
    await it.until(lambda: "view: keep this filter" in it.text and "view: sort" not in it.text)
    await it.press("down", "enter")
    await it.toasted(said)


async def test_a_filter_is_kept_for_the_next_time_only_if_asked(workspace: Workspace, run: Run) -> None:
    """A filter is kept for the next console only after ``keep this filter`` in the palette."""
    workspace["apple"] = workspace["banana"] = answering(1)
    manager = run(workspace.config()).manager
    async with console(manager, workspace.root) as it:
        await it.press("slash", *"ban", "enter")
        await keep_filter(it, "filter ban is kept")
        await it.press("q")
    async with console(manager, workspace.root) as it:
        await it.shows("filter ban", "Plugins (1 of 2)")


@pytest.mark.parametrize(
    ("key", "shown"), [("3", "apple: loaded"), ("4", "1 | def register"), ("6", "outcome"), ("7", "handler")]
)
async def test_the_tab_that_was_open_is_open_the_next_time(
    workspace: Workspace, run: Run, key: str, shown: str
) -> None:
    """The tab that was open is open again in the next console, with the focus in the table."""
    workspace["apple"] = "def register(ctx):\n    ctx.hook('apple', lambda: 1)\n"
    manager = run(workspace.config()).manager
    async with console(manager, workspace.root, (80, 50)) as it:
        await it.press(key)
        await it.shows(shown)
        await it.press("q")
    async with console(manager, workspace.root, (80, 50)) as it:
        await it.shows("+ ok", shown)
        assert isinstance(it.main.focused, PluginTable)


async def test_the_log_has_its_own_filter(workspace: Workspace, run: Run) -> None:
    """In the log a slash keeps only the lines with a text, and an exclamation mark those without it."""
    workspace["apple"], workspace["cherry"] = answering(1), BROKEN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("cherry"))
        await it.press("3")
        await it.shows("apple: loaded", "cherry: register failed")
        await it.press("slash", *"FAILED", "enter")
        await it.until(lambda: "apple: loaded" not in it.text and "cherry: register failed" in it.text)
        await it.press("slash", "home", "exclamation_mark", "enter")
        await it.until(lambda: "apple: loaded" in it.text and "cherry: register failed" not in it.text)
        await it.press("escape")
        await it.shows("apple: loaded", "cherry: register failed")


async def test_every_tab_has_its_own_filter(workspace: Workspace, run: Run) -> None:
    """Each tab keeps its own filter, the status line shows it, and escape clears it."""
    workspace["apple"], workspace["apple/other.py"] = BROKEN, "X = 1\n"
    async with console(run(workspace.config()).manager, workspace.root, (120, 50)) as it:
        await it.until(lambda: "! FAIL" in it.row("apple"))
        for tab, kind, wanted, kept, left_out in (
            ("1", "overview", "folder", "folder", "generation  "),
            ("2", "error", "!1 /", "ZeroDivisionError", "1 / 0"),
            ("4", "source", "def", "1 | def register", "1 / 0"),
            ("5", "hashes", "other", "other.py", "plugin.py "),
            ("6", "history", "!failed", "history filter !failed: 0 of 1", "register failed"),
        ):
            await it.press(tab)
            await it.until(lambda gone=left_out: gone in details(it))  # type: ignore[misc]
            await it.press("slash", *wanted)
            await it.shows(f"Filter the {kind}")
            await it.press("enter")
            await it.until(
                lambda named=f"{kind} filter {wanted}", kept=kept, gone=left_out: (  # type: ignore[misc]
                    named in it.text.splitlines()[0] and kept in it.text and gone not in details(it)
                )
            )
        await it.press("5")
        await it.until(lambda: "hashes filter other" in it.text and "hooks filter" not in it.text)
        await it.press("escape")
        await it.until(lambda: "hashes filter" not in it.text and "plugin.py " in details(it))


async def test_a_filter_that_nothing_matches_says_so(workspace: Workspace, run: Run) -> None:
    """If no line matches, the Source tab says which key clears the filter."""
    workspace["apple"] = answering(1)
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("apple"))
        await it.press("4", "slash", *"xyz", "enter")
        await it.shows("lines match xyz: esc clears the filter.")


async def test_hook_points_are_called_from_among_those_that_match(workspace: Workspace, run: Run) -> None:
    """A filter leaves the focus in the table of hook points, and enter calls the remaining one."""
    workspace["apple"] = (
        "def register(ctx):\n    ctx.hook('first', lambda: 1)\n    ctx.hook('second', lambda: 2)\n"
    )
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("apple"))
        await it.press("7", "slash", *"seco", "enter")
        await it.until(lambda: "hooks filter seco: 1 of 2" in it.text)
        await it.press("enter")
        await it.shows("second(…)")
        await it.press("enter")
        await it.shows("second() ")


def details(it: Console) -> str:
    """Return the text right of the table, below the tabs' titles."""
    left = it.main.query_one(DetailTabs).region.x
    return "\n".join(line[left:] for line in it.text.splitlines()[3:37])


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
async def test_plus_gives_the_screen_to_a_pane(workspace: Workspace, run: Run, size: tuple[int, int]) -> None:
    """``+`` maximises the focused pane; escape or another pane's key brings the others back."""
    workspace["apple"] = answering(1)
    async with console(run(workspace.config()).manager, workspace.root, size) as it:
        await it.until(lambda: "+ ok" in it.row("apple"))
        await it.press("plus")
        await it.until(lambda: "1 Overview" not in it.text)
        await it.press("1")
        await it.shows("1 Overview", "Plugins (1)")
        await it.press("plus")
        await it.until(lambda: "Plugins (1)" not in it.text and "1 Overview" in it.text)
        await it.press("escape")
        await it.shows("Plugins (1)", "1 Overview")


async def test_z_takes_back_and_says_what(workspace: Workspace, run: Run) -> None:
    """``z`` after ``d`` enables the plugin again, and then says that there is nothing to undo."""
    workspace["apple"] = answering(1)
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("apple"))
        await it.press("d")
        await it.until(lambda: "- off" in it.row("apple"))
        await it.press("z")
        await it.until(lambda: "+ ok" in it.row("apple"))
        await it.press("z")
        await it.toasted("nothing to undo")


async def test_capital_y_copies_a_report(workspace: Workspace, run: Run, state_folder: Path) -> None:
    """The report has versions, the traceback and the newest log lines, without colours."""
    workspace["cherry"] = BROKEN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("cherry"))
        await it.press("Y")
        await it.toasted("Copied")
    report = (state_folder / "hotload" / "copied.txt").read_text("utf-8")
    wanted = ("cherry is FAIL", "Python 3.", "ZeroDivisionError", "> 2 |     1 / 0", "register failed")
    assert [part for part in wanted if part not in report] == []
    assert "\x1b" not in report


def test_a_damaged_view_state_counts_as_none(tmp_path: Path) -> None:
    """An unreadable or invalid view state is ignored, and an unwritable one causes no error."""
    store = ViewStore(tmp_path, {"XDG_STATE_HOME": str(tmp_path)})
    store.write(ViewState(sort="age"))
    assert store.read().sort == "age"
    (file,) = (tmp_path / "hotload" / "views").iterdir()
    file.write_text('{"sort": 7')
    assert store.read() == ViewState()
    file.write_text('{"sort": "moon"}')
    assert store.read().sort == "plugin"
    ViewStore(tmp_path, {"XDG_STATE_HOME": str(file)}).write(ViewState())


def test_words_of_a_filter_are_combined() -> None:
    """A lone exclamation mark is a valid filter, and a filter is described with its words and switches."""
    assert Arrangement(filter="!").of(()) == ()
    assert Arrangement(filter="a !b", problems=True).describe() == "filter a !b, problems only"


async def test_keys_typed_in_one_go_act_in_their_order(workspace: Workspace, run: Run) -> None:
    """Keys that are typed at once each act on the pane that is open at their turn."""
    workspace["apple"] = workspace["banana"] = answering(1)
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("banana") and it.chosen == "apple")
        for key in ("j", "3", "t", "0", "k", "j", "4"):
            it.app.post_message(events.Key(key, key))
        await it.until(lambda: type(it.app.focused).__name__ == "SourceView")
        assert it.chosen == "banana"
        await it.press("3")
        await it.shows("\n  banana: loaded generation 1")


async def test_digits_are_text_where_text_is_typed(workspace: Workspace, run: Run) -> None:
    """In a prompt a digit is text and opens no tab."""
    workspace["apple2"], workspace["banana"] = answering(1), answering(1)
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("banana"))
        await it.press("slash", "2", "enter")
        await it.until(lambda: rows(it) == ["apple2"])


async def test_rows_that_were_not_seen_are_up_to_date_when_they_come_to_be_seen(
    workspace: Workspace, run: Run
) -> None:
    """A row that changed below the visible part of a long table is up to date when it is scrolled to."""
    for number in range(40):
        workspace[f"p{number:02}"] = answering(number)
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.shows("p00")
        workspace["p39"] = BROKEN
        running.manager.rebuild()
        await it.toasted("p39 failed")
        await it.press("G")
        await it.until(lambda: any("STALE" in line and "p39" in line for line in it.text.splitlines()))


async def test_how_many_a_filter_leaves_is_shown_for_the_selected_plugin(
    workspace: Workspace, run: Run
) -> None:
    """The filter's count in the status line is that of the selected plugin."""
    workspace["apple"] = answering(1)
    workspace["banana"] = answering(2)
    (workspace.plugins / "banana" / "more.py").write_text("x = 1\n")
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("banana") and it.chosen == "apple")
        await it.press("5", "slash", *"py", "enter")
        await it.shows("hashes filter py: 1 of 1")
        it.main.selection.choose("banana")
        await it.shows("more.py", "hashes filter py: 2 of 2")


async def test_rows_that_a_filter_hides_are_not_said_to_be_missing(workspace: Workspace, run: Run) -> None:
    """Without a match, the tab and the space key say how many rows the filter hides."""
    workspace["apple"] = answering(1)
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("apple"))
        await it.press("7", "slash", *"xyz", "enter")
        await it.shows("0 of 1 rows match xyz")
        await it.press("space")
        await it.toasted("0 of 1 rows match xyz")
