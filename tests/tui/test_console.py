from __future__ import annotations

import time
from typing import cast

import pytest
from textual import events
from textual.command import CommandPalette

from hotload_tui import HotloadManager
from hotload_tui.core.api import ManagerApi
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.model import PluginDetail
from hotload_tui.tui.dialogs import ConfirmScreen
from hotload_tui.tui.keys import TABS
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.status import Notice
from tests.conftest import Workspace
from tests.tui.console import Run, console

PLAIN = '''
"""Says one."""
def one(): return 1
def register(ctx):
    ctx.hook("one", one)
'''


class Stumbling:
    """A manager whose ``detail`` fails for a while."""

    def __init__(self, manager: HotloadManager) -> None:
        self._manager = manager
        self.is_sound = True
        self.stumbled = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._manager, name)

    def detail(self, name: str) -> PluginDetail:
        """Fail, or ask the manager."""
        if not self.is_sound:
            self.stumbled += 1
            raise RuntimeError("stumbled")
        return self._manager.detail(name)


async def test_what_could_not_be_read_is_read_again(workspace: Workspace, run: Run) -> None:
    """A failed read is repeated without a new event, and neither a toast nor a log line is lost."""
    workspace["one"] = PLAIN
    running = run(workspace.config())
    api = Stumbling(running.manager)
    async with console(cast("ManagerApi", api), workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("one") and it.main.selection.closeup.source is not None)
        api.is_sound = False
        running.manager.rebuild("one", force=True)
        assert running.wait_for(lambda: bool(running.told(PluginRetired, "one")))
        for _ in range(2):  # a read under way may have begun before the end
            before = api.stumbled
            it.main.selection.read_again()
            await it.until(lambda: api.stumbled > before)  # noqa: B023 - awaited here
        await it.shows("RuntimeError: stumbled")
        api.is_sound = True
        await it.toasted("one reloaded")
        await it.shows("one 1 → 2")
        assert "stumbled" not in it.text


async def test_a_long_toast_hides_no_row_of_a_table_on_top(workspace: Workspace, run: Run) -> None:
    """At 80x24 a long toast has rows above the keys, and a short one lies on the border above the table."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("+ ok")
        it.main.say("short news")
        await it.shows("short news")
        assert "short news" in it.text.splitlines()[1]
        it.main.say("long news, " * 9 + "the end", bad=True)
        await it.until(lambda: "+ ok     one" in it.text and "the end" in it.text.splitlines()[-2])


async def test_no_toast_covers_anything(workspace: Workspace, run: Run) -> None:
    """A short toast lies on the free part of the border, and a long one gets rows of its own."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.shows("+ ok", "watcher: off", "─ one─")
        it.main.say("short news")
        await it.until(lambda: "short news" in it.text.splitlines()[1])
        assert "─ one─" in it.text.splitlines()[1]
        long = "long news, " * 6 + "the end"
        it.main.say(long)
        await it.until(lambda: long in it.text.splitlines()[-2])
        assert "─ one─" in it.text.splitlines()[1]
        assert all(text in it.text for text in ("watcher: off", "Rebuild", "loaded generation 1"))
        it.main.query_one(Notice).hide()
        await it.until(lambda: long not in it.text)


async def test_a_new_user_is_led_to_the_next_key(workspace: Workspace, run: Run) -> None:
    """In a small project one line names the next key, until the user has pressed it once."""
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.shows("No plugins yet. n makes one")
        workspace["greet"] = PLAIN
        running.manager.rebuild()
        await it.shows("Next: e opens greet in your editor; a save reloads it.")
        workspace["greet"] = PLAIN + "# changed\n"
        running.manager.rebuild()
        await it.until(lambda: "+ ok" in it.row("greet") and "Next:" not in it.text)
        await it.press("F")  # else the fault comes to the screen by itself
        workspace["greet"] = "1 / 0\n" + PLAIN
        running.manager.rebuild()
        await it.shows("Next: enter shows why greet failed; e opens the line.")
        await it.press("enter")
        await it.until(lambda: "Next:" not in it.text and "still running" in it.text)
        await it.press("0", "q")
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "~ STALE" in it.row("greet"))
        assert "Next:" not in it.text


async def test_capital_r_rebuilds_what_changed(workspace: Workspace, run: Run) -> None:
    """``R`` loads only the plugin that was edited."""
    workspace["one"] = workspace["two"] = PLAIN
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        workspace["two"] = PLAIN + "# changed\n"
        await it.press("R")
        await it.toasted("two reloaded")
        assert [plugin.generation for plugin in running.manager.snapshot().plugins] == [1, 2]


async def test_d_switches_off_and_on_and_its_label_follows(workspace: Workspace, run: Run) -> None:
    """``d`` disables and enables the plugin, renames its folder, and changes its label in the footer."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("+ ok", "d Disable")
        await it.press("d")
        await it.until(lambda: "- off" in it.row("one"))
        await it.shows("d Enable")
        await it.toasted("one disabled (d or z enables it)")
        assert (workspace.plugins / "_one").is_dir()
        await it.press("d")
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.shows("d Disable")
        assert (workspace.plugins / "one").is_dir()


async def test_c_removes_the_artifacts_of_the_selected_plugin(workspace: Workspace, run: Run) -> None:
    """``c`` removes one plugin's artifacts, the plugin stays live, and the toast names the keys to undo."""
    workspace["one"] = workspace["two"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        await it.press("c")
        await it.toasted("one: 1 artifact removed; r builds it again, z brings it back")
        assert {path.name.partition("-")[0] for path in workspace.compiled.glob("*.hotplug")} == {"two"}
        assert "+ ok" in it.row("one")


async def test_capital_c_asks_with_cancel_focused(workspace: Workspace, run: Run) -> None:
    """``C`` asks first: enter cancels, and ``y`` removes all artifacts."""
    workspace["one"] = workspace["two"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        await it.press("C")
        await it.shows("Remove the artifacts of all plugins?", "n or esc cancel")
        await it.press("enter")
        await it.until(lambda: not isinstance(it.app.screen, ConfirmScreen))
        assert len(list(workspace.compiled.glob("*.hotplug"))) == 2
        await it.press("C", "y")
        await it.toasted("2 artifacts removed; R builds all again, z brings them back")
        assert not list(workspace.compiled.glob("*.hotplug"))


async def test_clean_has_a_key_only_in_the_table(workspace: Workspace, run: Run) -> None:
    """Outside the table ``c`` and ``C`` are not offered and do nothing, because users expect them to copy."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("+ ok", "c Clean")
        await it.press("3", "c", "C")
        await it.until(lambda: "c Clean" not in it.text)
        assert not isinstance(it.app.screen, ConfirmScreen)
        assert list(workspace.compiled.glob("*.hotplug"))


async def test_keys_that_can_do_nothing_say_why(workspace: Workspace, run: Run) -> None:
    """Without a plugin, ``r``, ``R`` and escape each say why they do nothing."""
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("No plugins yet. n makes one from the template.")
        await it.press("r")
        await it.toasted("No plugin is selected: the table is empty. n makes one.")
        await it.press("R")
        await it.toasted("There are no plugins to rebuild; n makes one.")
        await it.press("escape")
        await it.toasted("Nothing to go back to; q quits.")


async def test_n_lets_the_user_fix_a_refused_name(workspace: Workspace, run: Run) -> None:
    """A refused name stays in the field with the error below it, and can be corrected."""
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.press("n", *"a/b", "enter")
        await it.shows("┃ a/b ", '! "a/b" cannot name a plugin')
        assert not list(workspace.plugins.iterdir())
        await it.press("backspace", "backspace", "enter")
        await it.until(lambda: it.app.screen is it.main and "+ ok" in it.row("a"))


async def test_n_shows_what_an_odd_name_cannot_have(workspace: Workspace, run: Run) -> None:
    """While a name is typed that cannot be imported, a hint says so; the name is still accepted."""
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.press("n", *"class")
        await it.shows('"class" is no Python name')
        await it.press("y")
        await it.until(lambda: "Python name" not in it.text)
        await it.press("backspace", "enter")
        await it.until(lambda: it.app.screen is it.main and "+ ok" in it.row("class"))


async def test_a_new_plugin_is_chosen_though_it_was_seen_before(workspace: Workspace, run: Run) -> None:
    """The cursor goes to a plugin made with ``n``, even if its row appeared before the command ended."""
    workspace["one"] = workspace["two"] = PLAIN
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("two") and it.chosen == "one")
        it.main.show_made(running.status("two"))
        await it.until(lambda: it.chosen == "two")


async def test_esc_leaves_the_prompt_of_n_without_making_anything(workspace: Workspace, run: Run) -> None:
    """Escape closes the name prompt without making a plugin."""
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.press("n", *"abc", "escape")
        await it.until(lambda: it.app.screen is it.main)
        assert not list(workspace.plugins.iterdir())


async def test_numbers_enter_tab_and_esc_move_between_panes(workspace: Workspace, run: Run) -> None:
    """Numbers, tab, enter and escape move the focus between the panes."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        keys = ("2", "0", "3", "escape", "4", "1", "0", "enter", "tab", "tab", "shift+tab")
        table = "PluginTable"
        panes = ["ErrorView", table, "LogView", table, "SourceView", "Overview", table, "Overview"]
        for key, pane in zip(keys, [*panes, table, "Overview", table], strict=True):
            await it.press(key)
            await it.until(lambda pane=pane: type(it.main.focused).__name__ == pane)  # type: ignore[misc]


async def test_the_focused_pane_shows_it_by_more_than_colour(workspace: Workspace, run: Run) -> None:
    """The line above the focused pane is thick."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "━Plugins (1)━" in it.text and "─one─" in it.text)
        await it.press("1")
        await it.until(lambda: "─Plugins (1)─" in it.text and "━one━" in it.text)


async def test_capital_b_says_when_there_is_nothing_to_debug(workspace: Workspace, run: Run) -> None:
    """``B`` says that the host uses its own terminal, or that no breakpoint waits."""
    manager = run(workspace.config()).manager
    async with console(manager, workspace.root) as it:
        await it.press("B")
        await it.toasted("stops in its own terminal")
    async with console(manager, workspace.root, debug=lambda: None) as it:
        await it.press("B")
        await it.toasted("No breakpoint() waits")


async def test_question_mark_lists_the_keys_of_the_focused_pane(workspace: Workspace, run: Run) -> None:
    """Help shows the keys of the focused pane, then those that work everywhere, then the states."""
    async with console(run(workspace.config()).manager, workspace.root, (80, 120)) as it:  # all of help
        await it.press("2", "question_mark")
        await it.shows(
            "In the Error tab",
            "v        locals       show or hide the frame's local",
            "Everywhere",
            "~ STALE",
        )
        await it.shows("left         scroll to the left", "the star: you have not looked at it")
        await it.shows("= HELD")
        await it.press("escape")
        await it.press("0", "f1")
        await it.shows("In the table", "first row")
        await it.until(lambda: "local variables" not in it.text)


async def test_the_palette_finds_commands_of_any_plugin(workspace: Workspace, run: Run) -> None:
    """A colon opens the palette, whose entries have their key and act on their plugin, selected or not."""
    workspace["one"] = workspace["two"] = PLAIN
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (80, 60)) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        await it.press("colon")
        await it.until(lambda: isinstance(it.app.screen, CommandPalette))
        await it.shows("plugin: rebuild one", "r     compile and load again", "all: clean")
        await it.press(*"rebuild two")
        await it.until(lambda: "plugin: rebuild two" in it.text and "rebuild one" not in it.text)
        await it.press("down", "enter")
        await it.toasted("two reloaded")
        await it.until(lambda: it.chosen == "two")


async def test_a_plan_is_shown_and_can_be_carried_out(workspace: Workspace, run: Run) -> None:
    """The palette shows the plan for one plugin or for all, and ``r`` applies it."""
    workspace["one"], workspace["two"] = PLAIN, PLAIN
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (80, 24)) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        workspace["two"] = PLAIN + "    ctx.hook('come', print)\n"
        await it.press("colon", *"all: plan")
        await it.until(lambda: "all: plan" in it.text and "all: clean" not in it.text)
        await it.press("down", "enter")
        await it.shows(
            "1 to reload; 1 stays as it is", "its source changed", "hook points: + come", "r does it"
        )
        assert running.status("two").generation == 1
        await it.press("r")
        await it.until(lambda: running.status("two").generation == 2)
        await it.press("colon", *"plugin: plan one")
        await it.until(lambda: "plugin: plan one" in it.text and "clean one" not in it.text)
        await it.press("down", "enter")
        await it.shows("~ one: would be reloaded", "asked for")
        await it.press("escape")
        await it.until(lambda: "asked for" not in it.text)
        assert running.status("one").generation == 1


async def test_a_click_on_a_key_presses_it(workspace: Workspace, run: Run) -> None:
    """A click on a verb or on the palette in the last line presses its key, and one on a gap does nothing."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("+ ok", "d Disable")
        last = it.text.split("\n")[-1]
        await it.click(last.index("^p palette") - 3, it.app.size.height - 1)
        await it.click(last.index("Disable"), it.app.size.height - 1)
        await it.until(lambda: "- off" in it.row("one"))
        await it.click(last.index("palette"), it.app.size.height - 1)
        await it.shows("remove its artifacts")


async def test_keys_of_the_configuration_replace_the_built_in_ones(workspace: Workspace, run: Run) -> None:
    """A configured key replaces the built-in one, in the footer too."""
    workspace["one"] = PLAIN
    async with console(
        run(workspace.config()).manager, workspace.root, keys={"toggle": "x", "rebuild": "f5", "down": "w"}
    ) as it:
        await it.shows("+ ok", "x Disable", "f5 Rebuild")
        await it.press("d")
        await it.press("x")
        await it.until(lambda: "- off" in it.row("one"))
        await it.shows("x Enable")
        await it.press("x")
        await it.until(lambda: "+ ok" in it.row("one"))


async def test_what_happens_at_once_is_one_toast(workspace: Workspace, run: Run) -> None:
    """A change of several plugins is one toast, which includes the failure."""
    for name in ("a", "b", "c"):
        workspace[name] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("c"))
        for name in ("a", "b"):
            workspace[name] = PLAIN + "# changed\n"
        workspace["c"] = "1 / 0\n" + PLAIN
        await it.press("R")
        await it.until(lambda: it.toasts == ["2 reloaded, c failed (ZeroDivisionError: division by zero)"])


async def test_a_manager_that_fails_to_answer_is_shown(workspace: Workspace, run: Run) -> None:
    """If the snapshot fails, the status line says why, and recovers."""
    workspace["one"] = PLAIN
    running = run(workspace.config())
    answer = running.manager.snapshot
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))

        def broken() -> None:
            raise ConnectionError("the host is gone")

        running.manager.snapshot = broken  # type: ignore[assignment,method-assign]
        it.main.selection.read_again()
        await it.shows("ConnectionError: the host is gone")
        running.manager.snapshot = answer  # type: ignore[method-assign]
        it.main.selection.read_again()
        await it.until(lambda: "the host is gone" not in it.text)


async def test_ages_grow_while_nothing_happens(workspace: Workspace, run: Run) -> None:
    """The age of a row grows without any event."""
    workspace["one"] = PLAIN
    late = [0.0]
    async with console(
        run(workspace.config()).manager, workspace.root, clock=lambda: time.time() + late[0]
    ) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        late[0] = 7200
        await it.until(lambda: it.row("one").endswith("2h"))


async def test_wide_terminals_show_hook_points_and_the_log(workspace: Workspace, run: Run) -> None:
    """At 200x50 the table has all columns and the log is at the bottom; at 80x24 it is only a tab."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root, (200, 50)) as it:
        await it.shows("hook points", "build ms", "load ms", "─Log─", "one: loaded generation 1")
        await it.resize(80, 24)
        await it.until(lambda: "─Log─" not in it.text)
        await it.until(lambda: "watcher" in it.text.splitlines()[0])


async def test_y_copies_what_is_under_the_cursor(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``y`` copies the row's path and digest in the table, or the last log line, to clipboard and file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(workspace.root / "state"))
    workspace["one"] = PLAIN
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        await it.press("y")
        await it.toasted("Copied 1 line, also to ")
        digest = running.manager.snapshot().plugins[0].digest
        assert it.app.clipboard.endswith(f"plugins/one {digest}")
        print("the last line")  # noqa: T201 - as a plugin would
        await it.press("3")
        await it.shows("the last line")
        await it.press("y")
        await it.until(lambda: it.app.clipboard.endswith("the last line"))
        copied = workspace.root / "state" / "hotload" / "copied.txt"
        assert copied.read_text().endswith("print: the last line\n")
        await it.press("2", "y")
        await it.toasted("There is nothing to copy here.")


@pytest.mark.parametrize("keys", ["37", "15", "7654"])
async def test_of_tab_keys_typed_at_once_the_last_one_counts(
    workspace: Workspace, run: Run, keys: str
) -> None:
    """If several tab keys are typed at once, the tab of the last one stays open."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("one"))
        tabs = it.main.query_one(DetailTabs)
        for key in keys:
            it.app.post_message(events.Key(key, key))
        for _ in range(5):
            await it.press("f12")  # an unused key; by then all earlier messages have arrived
        assert tabs.active == TABS[int(keys[-1]) - 1]


async def test_p_keeps_saves_and_applies_them(workspace: Workspace, run: Run) -> None:
    """``p`` pauses, the status line counts the changes, and ``p`` again applies them."""
    workspace["one"] = PLAIN
    running = run(workspace.config(enable_watch=True, settle_time=0.0))
    async with console(running.manager, workspace.root) as it:
        await it.shows("+ ok", "watching")
        await it.press("p")
        await it.shows("PAUSED")
        workspace["one"] = PLAIN + "# changed\n"
        await it.shows("PAUSED (1 change)")
        assert running.status("one").generation == 1
        await it.press("p")
        # The toast about it is replaced by that of the reload.
        await it.until(lambda: "PAUSED" not in it.text and running.status("one").generation == 2)


async def test_where_nothing_is_watched_p_says_so(workspace: Workspace, run: Run) -> None:
    """Without a watcher, ``p`` pauses nothing and says why."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.shows("+ ok", "not watching")
        await it.press("p")
        await it.toasted("nothing is watched")


async def test_a_line_of_the_help_does_what_its_key_does(workspace: Workspace, run: Run) -> None:
    """Enter on a line of the help closes the help, and does what the line's key does in the pane."""
    workspace["one"] = workspace["two"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("two"))
        await it.press("question_mark", "slash", *"last row", "enter", "enter")
        await it.until(lambda: it.app.screen is it.main and it.chosen == "two")
        await it.press("question_mark", "slash", *"switch the selected", "enter", "enter")
        await it.until(lambda: "- off" in it.row("two"))
        await it.press("question_mark", "j", "k", "enter")
        await it.until(lambda: it.app.screen is it.main and it.main.focused is not None)
        assert it.main.query_one("#detail").has_focus_within, "the first line opens the details"


async def test_the_help_is_searched(workspace: Workspace, run: Run) -> None:
    """In the help, ``/`` filters the lines by a word; escape clears the word, then closes the help."""
    workspace["one"] = PLAIN
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.shows("+ ok")
        await it.press("f1")
        await it.shows("In the table", "/ searches", "undo a disable")
        await it.press("slash", *"HELD")
        await it.shows("let a HELD plugin follow its source again")
        await it.until(lambda: "undo a disable" not in it.text)
        await it.press("enter", "escape")
        await it.shows("undo a disable")
        await it.press("slash", *"no such thing", "enter")
        await it.shows("Nothing is about no such thing.")
        await it.press("escape", "escape")
        await it.until(lambda: "In the table" not in it.text)
