from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from textual import events
from textual.keys import key_to_character
from textual.selection import SELECT_ALL

from hotload_tui.core.model import PluginDetail
from hotload_tui.tui.widgets.error_view import ErrorView
from hotload_tui.tui.widgets.status import Notice
from tests.conftest import Workspace
from tests.tui.console import Console, Run, console

GOOD = """
def greet(name): return name
def register(ctx):
    ctx.hook("greet", greet)
"""
CAUSES = """
import json

def read(text):
    password = "hunter2"
    limit = 1 + 2
    try:
        return json.loads(text)
    except ValueError as error:
        raise RuntimeError("settings are broken") from error

def register(ctx):
    value = read("{") + read("x")
"""


async def opened(it: Console, name: str, state: str) -> None:
    """Wait for the plugin's state, and open its Error tab."""
    await it.until(lambda: state in it.row(name))
    await it.press("2")
    await it.until(lambda: it.chosen == name)


async def test_enter_on_a_failed_plugin_opens_its_traceback_at_the_line(
    workspace: Workspace, run: Run
) -> None:
    """Enter on a failed plugin opens its Error tab with type, message, phase, and the line with carets."""
    workspace["bad"] = "def register(ctx):\n    total = 10 + (1 / 0)\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("bad"))
        await it.press("enter")
        await it.shows(
            "ZeroDivisionError: division by zero",
            "in register of bad",
            "nothing running",
            "plugins/bad/plugin.py:2 in register",
            "> 2 |     total = 10 + (1 / 0)",
            "    |                   ^^^^^",
            "2 Error (1)",
        )
        assert isinstance(it.app.focused, ErrorView)


async def test_keys_that_come_before_the_details_are_for_the_plugin_under_the_cursor(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that are typed before the details arrive act on the plugin under the cursor."""
    monkeypatch.setattr("hotload_tui.tui.selection.DETAILS_DELAY", 60.0)
    workspace["bad"] = "def register(ctx):\n    retun 1\n"
    workspace["causes"] = CAUSES
    manager = run(workspace.config()).manager
    answers, detail = threading.Event(), manager.detail
    async with console(manager, workspace.root, (120, 40)) as it:
        await it.until(lambda: "! FAIL" in it.row("causes") and it.chosen == "bad")
        await it.shows("2 Error (1)")

        def slow(name: str) -> PluginDetail:
            answers.wait()
            return detail(name)

        monkeypatch.setattr(manager, "detail", slow)
        await it.type("j", "2", "v")
        await it.shows("settings are broken", "limit = 3")
        answers.set()


async def test_a_syntax_error_of_a_running_plugin_names_the_live_version(
    workspace: Workspace, run: Run
) -> None:
    """After a bad save the Error tab shows which version is still live, and a fix clears it."""
    workspace["greet"] = GOOD
    running = run(workspace.config(enable_watch=True))
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        digest = running.manager.snapshot().plugins[0].digest[:12]
        workspace["greet"] = GOOD.replace("return name", "return (name")
        await opened(it, "greet", "~")
        await it.shows("SyntaxError", f"still running {digest} (generation 1), loaded", "in compile of greet")
        workspace["greet"] = GOOD + "\n"
        await it.shows("No errors in greet", "2 Error 3 Log")


async def test_a_second_claim_shows_the_way_out(workspace: Workspace, run: Run) -> None:
    """A port that the running version still holds is a fault with the hint at ctx.own and replace."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    claiming = (
        "import socket\ndef register(ctx):\n"
        f"    ctx.on_unload(socket.create_server(('127.0.0.1', {port})).close)\n"
    )
    workspace["greet"] = claiming
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        workspace["greet"] = f"{claiming}# edited\n"
        await asyncio.to_thread(running.manager.scan_and_load_all)
        await opened(it, "greet", "~ STALE")
        await it.shows("Address already in use", "the previous version still holds it; use ctx.own")


async def test_causes_are_blocks_and_library_frames_are_folded(workspace: Workspace, run: Run) -> None:
    """A cause is shown below its exception, and library frames are one line until ``x`` unfolds them."""
    workspace["bad"] = CAUSES
    async with console(run(workspace.config()).manager, workspace.root, (120, 120)) as it:
        await opened(it, "bad", "! FAIL")
        await it.shows(
            "RuntimeError: settings are broken", "caused by", "JSONDecodeError", "folded (x shows)"
        )
        places = ("plugin.py:10 in read", "plugin.py:13 in register")
        await it.shows(*places)
        lines = it.text.splitlines()
        order = [next(i for i, line in enumerate(lines) if place in line) for place in places]
        assert order == sorted(order), "the newest frame comes first"
        assert "decoder.py" not in it.text
        await it.press("x")
        await it.until(lambda: "folded" not in it.text)
        await it.shows("library json/decoder.py:")


async def test_locals_are_hidden_until_v_and_secrets_are_masked(workspace: Workspace, run: Run) -> None:
    """``v`` shows the local variables of each frame, with secrets masked."""
    workspace["bad"] = CAUSES
    async with console(run(workspace.config()).manager, workspace.root, (120, 60)) as it:
        await opened(it, "bad", "! FAIL")
        await it.shows("settings are broken")
        assert "limit = 3" not in it.text
        await it.shows("masked: password: hotload never records values whose names")
        await it.press("v")
        await it.shows("limit = 3", "password = ")
        assert "hunter2" not in it.text.replace('password = "hunter2"', ""), "only the source has it"
        await it.press("v")
        await it.until(lambda: "limit = 3" not in it.text)


async def test_v_and_x_say_why_when_there_is_nothing(workspace: Workspace, run: Run) -> None:
    """Without an error, ``v`` and ``x`` say that there is nothing to show."""
    workspace["greet"] = GOOD
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await opened(it, "greet", "+ ok")
        await it.press("v")
        await it.until(lambda: "No local variables" in "".join(it.toasts))
        await it.press("x")
        await it.until(lambda: "no frames" in "".join(it.toasts))


async def test_the_source_is_the_loaded_one_whatever_is_on_disk_now(workspace: Workspace, run: Run) -> None:
    """If lines are added above the failing one, the loaded line stays marked, with its current number."""
    bad = "def register(ctx):\n    raise KeyError('gone')\n"
    workspace["bad"] = bad
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await opened(it, "bad", "! FAIL")
        await it.shows("> 2 |     raise KeyError('gone')")
        workspace["bad"] = "# one\n# two\n# three\n" + bad
        workspace["other"] = GOOD
        await asyncio.to_thread(running.manager.load_plugin, workspace.plugins / "other")
        await it.shows("> 2 |     raise KeyError('gone')", "line 2 is line 5 now")
        assert "# two" not in it.text


async def test_a_failing_call_of_a_hook_is_shown_on_its_plugin(workspace: Workspace, run: Run) -> None:
    """A handler that raises during a call is shown as an error of its plugin."""
    workspace["greet"] = GOOD.replace("return name", "return name.nothing")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("greet"))
        await asyncio.to_thread(running.manager.invoke, "greet", "Ada")
        await it.press("2")
        await it.shows("AttributeError", "in hook of greet", "return name.nothing", "^^^^^^^^^^^^")


async def test_the_traceback_can_be_marked_and_copied(workspace: Workspace, run: Run) -> None:
    """The text of the Error tab can be selected, with message and source."""
    workspace["bad"] = "def register(ctx):\n    raise KeyError('gone')\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await opened(it, "bad", "! FAIL")
        await it.shows("KeyError")
        body = it.main.query_one("ErrorView > Static")
        it.main.selections = {body: SELECT_ALL}
        copied = it.main.get_selected_text() or ""
        assert "KeyError: 'gone'" in copied
        assert "raise KeyError('gone')" in copied


async def test_a_long_line_stays_one_line_with_its_carets_below(workspace: Workspace, run: Run) -> None:
    """A failing line that is wider than the pane is not wrapped, so that the carets are right below it."""
    workspace["bad"] = f"def register(ctx):\n    x = {'1 + ' * 40}(1 / 0)\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await opened(it, "bad", "! FAIL")
        await it.shows("> 2 |     x = 1 + 1")
        lines = it.text.splitlines()
        failing = next(index for index, line in enumerate(lines) if "> 2 |" in line)
        assert lines[failing + 1].strip().startswith("|")


DEEP = (
    "".join(f"def f{n}():\n    return f{n + 1}()\n\n\n" for n in range(12))
    + "def f12():\n    return 1 / 0\n\n\n"
    "def register(ctx):\n    f0()\n"
)


async def test_brackets_walk_through_the_frames(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bracket keys move the cursor from frame to frame, and say so at either end.

    A cursor that is not on the screen comes to the first or the last frame there. ``y``
    copies the frame under the cursor, and ``e`` opens the editor there.
    """
    workspace["deep"] = DEEP
    mark, editor = workspace.root / "opened", workspace.root / "code"
    editor.write_text(f'#!/bin/sh\necho "$@" > {mark}.new && mv {mark}.new {mark}\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("deep"))
        await it.press("2", "left_square_bracket")
        await it.toasted("first frame")
        await it.press("right_square_bracket")
        await it.until(lambda: "▶ plugins/deep/plugin.py:46 in f11" in it.text and "in f12" not in it.text)
        await it.press("y")
        copied = "ZeroDivisionError: division by zero\nplugins/deep/plugin.py:46 in f11\n"
        await it.until(lambda: it.app.clipboard.startswith(copied))
        assert "> 46 |     return f12()\n" in it.app.clipboard
        await it.press("e")
        await it.until(lambda: mark.exists() and mark.read_text().endswith("/plugins/deep/plugin.py:46\n"))
        await it.press("left_square_bracket")
        await it.shows("in f12")
        for _ in range(3):
            await it.press("right_square_bracket")
        await it.shows("▶ plugins/deep/plugin.py:38 in f9")
        await it.press("g", "right_square_bracket")
        await it.shows("▶ plugins/deep/plugin.py:50 in f12")
        await it.press("G", "right_square_bracket")
        await it.until(lambda: "▶" in it.text and "in register" in it.text)
        first = next(line for line in it.text.splitlines() if "plugin.py:" in line and " in " in line)
        assert "▶" in first
        await it.press("g", "left_square_bracket")
        await it.shows("▶ plugins/deep/plugin.py:46 in f11")
        await it.press("G", *["right_square_bracket"] * 20)
        await it.toasted("last frame")


async def test_keys_that_scroll_and_keys_that_move_the_cursor_act_in_their_order(
    workspace: Workspace, run: Run
) -> None:
    """After ``g ]`` in one breath the frame under the cursor is on the screen, not the top."""
    workspace["deep"] = DEEP
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("deep"))
        await it.press("2", *("right_square_bracket",) * 5)
        await it.until(lambda: "▶ plugins/deep/plugin.py:30 in f7" in it.text)
        for keys in (
            ("g", "right_square_bracket"),
            ("G", "left_square_bracket"),
            ("g", *("right_square_bracket",) * 6, *("left_square_bracket",) * 6),
        ):
            for key in (*keys, "y"):
                it.app.post_message(events.Key(key, key_to_character(key)))
            await it.toasted("Copied")
            await it.press()  # until the screen is painted
            assert "▶ plugins/deep/plugin.py" in it.text, keys
            it.main.query_one(Notice).hide()


async def test_the_failing_line_is_on_the_screen_whatever_stands_above(
    workspace: Workspace, run: Run
) -> None:
    """With a message, notes and causes above it, the root cause's own line is visible at 80x24."""
    message = "".join(f"line {number}\\n" for number in range(9))
    workspace["bad"] = CAUSES.replace('value = read("{")', 'value = read("x")').replace(
        "return json.loads(text)",
        f"""error = ValueError('{message}')
        error.add_note('one')
        error.add_note('two')
        raise error""",
    )
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await opened(it, "bad", "! FAIL")
        await it.shows("plugin.py:11 in read", "> 11 |         raise error", "^^^^^^^^^^^")


async def test_a_click_on_a_place_opens_the_editor_there(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A click on a frame's file and line opens the editor, whatever characters the path has."""
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "no-such-editor")
    workspace["bad['x']"] = "def register(ctx):\n    1 / 0\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("bad['x']"))
        await it.press("2")
        await it.shows("plugin.py:2")
        rows = it.text.splitlines()
        row = next(number for number, line in enumerate(rows) if "plugin.py:2 in register" in line)
        await it.click(rows[row].index("plugin.py:2"), row)
        await it.toasted("No editor no-such-editor")


DEAD = "def register(ctx):\n    @ctx.thread\n    def work(): raise ValueError('gone')\n"


async def test_a_dead_thread_is_an_error_of_its_plugin(workspace: Workspace, run: Run) -> None:
    """A ``ctx.thread`` that raised is in the row, the status line, the Error tab, and among the problems."""
    workspace["greet"] = DEAD
    workspace["well"] = GOOD
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok !" in it.row("greet"))
        await it.press("exclamation_mark")
        await it.until(lambda: not it.row("well"))
        await it.press("2")
        await it.shows("ValueError: gone", "in thread of greet, at", "in thread 'greet.work'", "! 1 fault")


async def test_a_failed_on_unload_names_its_generation(workspace: Workspace, run: Run) -> None:
    """A failed ``on_unload`` is in the row of the new version, and the Error tab names the old one."""
    workspace["greet"] = "def register(ctx): ctx.on_unload(lambda: 1 / 0)\n"
    running = run(workspace.config())
    workspace["greet"] = GOOD
    running.manager.rebuild()
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok !" in it.row("greet"))
        await it.press("2")
        await it.shows("ZeroDivisionError", "in unload of greet, generation 1, at", "(generation 2)")
        await it.press("1")
        await it.shows("in unload of generation 1; press 2")


async def test_a_failed_call_is_shown_with_its_arguments(workspace: Workspace, run: Run) -> None:
    """The Error tab names the hook point and the arguments of the call that failed."""
    workspace["greet"] = GOOD
    running = run(workspace.config())
    running.host.call("greet", "Ada", 2)
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok !" in it.row("greet"))
        await it.press("2")
        await it.shows("TypeError", "called as greet('Ada', 2)")
