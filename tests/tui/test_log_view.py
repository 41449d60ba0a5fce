from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui.core.model import LogLine
from hotload_tui.tui.text import cells, cut
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.log_view import KEPT, STAMP, LogBook, LogLook, LogRows
from tests.conftest import Workspace
from tests.tui.console import Run, console
from tests.tui.layout import text_of

CHATTY = """
import sys
def register(ctx):
    print("hello from [/b] \\x1b[2J print")
    print("and from stderr", file=sys.stderr)
    ctx.log.warning("a %s warning", "real")
"""


async def test_what_a_plugin_prints_and_logs_is_in_the_log(workspace: Workspace, run: Run) -> None:
    """Prints, standard error and log lines of a plugin are in the Log tab, harmless, and nowhere else."""
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (100, 40)) as it:
        workspace["chatty"] = CHATTY
        await it.press("3", "R")
        await it.shows(
            "hello from [/b] \N{REPLACEMENT CHARACTER}[2J print", "and from stderr", "a real warning"
        )
        assert not any("hello" in line for line in it.text.splitlines()[:3])


async def test_an_unfinished_line_waits_for_its_end() -> None:
    """A line that is printed in pieces is one line of the log."""
    book = LogBook(lambda: 0.0)
    book.add_print("one, ", stderr=False)
    book.add_print("err\n", stderr=True)
    assert len(book) == 1
    book.add_print("two\nthree", stderr=False)
    assert [book[index].text[11:] for index in range(len(book))] == ["stderr: err", "print: one, two"]


async def test_the_log_keeps_the_newest_lines_only() -> None:
    """The log is bounded, and drops its oldest lines first."""
    book = LogBook(lambda: 0.0)
    book.add(LogLine(number, 0.0, "info", "", str(number)) for number in range(KEPT + 10))
    assert len(book) == KEPT
    assert book[0].text.endswith(" 10")
    assert book.newest.endswith(f" {KEPT + 9}")


async def test_lines_of_one_message_are_lines_of_the_log() -> None:
    """A message of several lines keeps them, one below the other."""
    book = LogBook(lambda: 0.0)
    book.add([LogLine(1, 0.0, "error", "p", "first\nsecond\n")])
    assert len(book) == 2
    assert book[0].text[9:] == "! p: first"
    assert book[1].text == " " * 14 + "second"


async def test_the_log_follows_its_end_unless_its_user_scrolls_away(workspace: Workspace, run: Run) -> None:
    """The log scrolls to new lines, stops after ``g``, and scrolls again after ``G``."""
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        tab, below = it.main.query_one(DetailTabs), it.main.query_one("#strip")

        def seen(text: str) -> Callable[[], bool]:
            return lambda: text in text_of(it, tab)

        await it.press("3")
        for number in range(100):
            print("line", number)  # noqa: T201 - as a plugin would
        await it.until(seen("line 99"))
        await it.press("g")
        await it.until(lambda: not seen("line 99")())
        print("line 100")  # noqa: T201
        await it.until(lambda: "line 100" in text_of(it, below))
        assert not seen("line 100")()
        await it.press("G")
        await it.until(seen("line 100"))
        print("line 101")  # noqa: T201
        await it.until(seen("line 101"))


async def test_a_flood_of_lines_arrives_completely(workspace: Workspace, run: Run) -> None:
    """Of twenty thousand printed lines the last one is shown, and all others can be found."""
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.press("3")
        sys.stdout.write("".join(f"flood {number}\n" for number in range(20_000)))
        await it.shows("flood 19999")
        await it.press("slash", *"flood 7777", "enter")
        await it.until(lambda: "flood 7777" in it.text and "flood 19999" not in it.text)
        await it.press("escape", "g")
        await it.shows("flood 0", "flood 5")


async def test_lines_of_the_log_come_in_order_and_once(workspace: Workspace, run: Run) -> None:
    """Each line of the host's log is shown exactly once and in order, however often the log is read."""
    workspace["one"] = "def register(ctx):\n    for n in range(50):\n        ctx.log.info('n=%d;', n)\n"
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (70, 600)) as it:
        await it.press("3", "r", "r", "R")
        await it.until(lambda: not it.main.is_building)
        lines = [line.text for line in running.manager.log()]
        numbers = re.compile(r"n=\d+;")
        wanted = numbers.findall(" ".join(lines))
        await it.until(lambda: numbers.findall(it.text) == wanted, lambda: f"of {wanted}")
        assert wanted.count("n=49;") == running.status("one").generation


async def test_a_reload_is_one_line_and_v_shows_its_steps(workspace: Workspace, run: Run) -> None:
    """A reload is one line with both generations, the time and the changed files; ``v`` shows the steps."""
    workspace["greet"] = "def register(ctx): ..."
    workspace.plugins.joinpath("greet/words.txt").write_text("Hello")
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        await it.press("3")
        await it.shows("greet: loaded generation 1  ")
        workspace["greet"] = "def register(ctx): pass"
        workspace.plugins.joinpath("greet/words.txt").write_text("Bye")
        running.manager.rebuild()
        await it.until(lambda: bool(re.search(r"greet 1 → 2  [\d.]+ ms  2 files changed", it.text)))
        assert "compiled" not in it.text
        assert it.text.count("loaded generation") == 2  # in the tab and in the log below
        await it.press("v")
        await it.shows("greet: compiled", "greet: loaded generation 2 (")
        await it.press("v")
        await it.until(lambda: "compiled" not in it.text)
        running.manager.rebuild("greet", force=True)
        await it.until(lambda: bool(re.search(r"greet 2 → 3  [\d.]+ ms  no file changed", it.text)))


async def test_l_chooses_the_lowest_level(workspace: Workspace, run: Run) -> None:
    """``l`` hides lines below a level, names the level in the status line, and shows all lines at last."""
    workspace["chatty"] = CHATTY
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        tab = it.main.query_one(DetailTabs)
        await it.press("3")
        await it.until(lambda: "loaded generation 1" in text_of(it, tab) and "warning" in text_of(it, tab))
        await it.press("l", "l")
        await it.shows("log warnings and errors")
        await it.until(lambda: "a real warning" in text_of(it, tab) and "loaded" not in text_of(it, tab))
        await it.press("l")
        await it.until(lambda: "lines are errors only: l chooses the level" in text_of(it, tab))
        await it.press("l")
        await it.until(lambda: "loaded generation 1" in text_of(it, tab))
        assert "log errors" not in it.text.splitlines()[0]


@pytest.mark.parametrize("room", [20, 30, 34, 40, 60, 90, 200])
def test_a_file_and_line_is_never_cut(room: int) -> None:
    """A line that does not fit ends in ``…``, and its ``file:line`` is whole in every width that holds it."""
    text = "12:00:00 ! stats: load failed: ValueError: no '日本' (plugins/stats/plugin.py:12); 1 stays live"
    shown = cut(text, room)
    assert cells(shown) <= room
    assert "plugin.py:12" in shown
    assert room < 30 or "plugins/stats/plugin.py:12" in shown
    assert (shown == text) == (cells(text) <= room)
    assert "…" in shown or shown == text
    assert cut("word " * 20, 10) == "word word…"


async def test_the_log_cuts_the_message_and_not_its_place(workspace: Workspace, run: Run) -> None:
    """An error with a long message shows its file and line in the log and in the status line."""
    workspace["bad"] = broken = f"raise ValueError({'long ' * 40!r})\ndef register(ctx): ..."
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.press("3")
        await it.shows("load failed: ValueError")
        workspace["bad"] = f"{broken}  # again"
        running.manager.rebuild()
        await it.until(lambda: "plugins/bad/plugin.py:1" in text_of(it, it.main.query_one(DetailTabs)))
        await it.until(lambda: "bad/plugin.py:1" in it.text.splitlines()[0])
        assert "no version is live" not in it.text
        await it.press("w")
        await it.shows("no version is live")


async def test_a_status_line_without_room_has_the_hint_and_no_part_of_a_place(
    workspace: Workspace, run: Run
) -> None:
    """Where the ``file:line`` of the newest line does not fit, the status line ends with the hint."""
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        workspace["bad"] = "def register(ctx):\n    1 / 0\n"
        await it.press("R")
        await it.until(lambda: "plugin.py:2" in it.text.split("\n")[0])
        await it.resize(66, 20)
        await it.until(lambda: it.text.split("\n")[0].endswith("? help"))


async def test_w_wraps_lines_and_t_hides_their_times(workspace: Workspace, run: Run) -> None:
    """``w`` wraps long lines and ``t`` hides the times; a second press of both reverts that."""
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.press("3")
        print("word " * 20 + "the end")  # noqa: T201
        await it.shows("print: word word")
        assert "the end" not in it.text
        await it.press("w")
        await it.shows("the end")
        await it.press("t")
        await it.until(lambda: any(line.startswith("  print: word") for line in it.text.splitlines()))
        await it.press("w", "t")
        await it.until(lambda: "the end" not in it.text and ":" in it.text.split("print: word")[0][-11:])


async def test_f_stops_following_and_follows_again(workspace: Workspace, run: Run) -> None:
    """After ``f`` new lines do not move the view, and after another ``f`` they do."""
    running = run(workspace.config())
    async with console(running.manager, workspace.root, (120, 36)) as it:
        tab, below = it.main.query_one(DetailTabs), it.main.query_one("#strip")
        await it.press("3", "f")
        await it.until(lambda: it.toasts == ["Staying here; f follows."])
        for number in range(50):
            print(f"line {number};")  # noqa: T201
        await it.until(lambda: "line 49;" in text_of(it, below))
        assert "line 49;" not in text_of(it, tab)
        await it.press("f")
        await it.until(lambda: "line 49;" in text_of(it, tab))


async def test_paths_in_the_log_are_those_of_the_project(tmp_path: Path) -> None:
    """Paths in the log are relative to the project, so that file and line stay visible."""
    book = LogBook(lambda: 0.0, tmp_path)
    book.add([LogLine(1, 0.0, "error", "p", f"bad ({tmp_path}/plugins/p/plugin.py:3)")])
    assert book.newest.endswith("! p: bad (plugins/p/plugin.py:3)")


def test_wrapped_rows_keep_pace_with_a_book_that_drops_lines() -> None:
    """Wrapped rows of dropped lines are removed, and wide characters are never split."""
    book = LogBook(lambda: 0.0)
    rows = LogRows(book)
    rows.lay_out(LogLook(width=10, stamped=False))
    book.add([LogLine(1, 0.0, "info", "", "日本語日本語")])
    rows.keep_pace()
    assert [rows[index].text for index in range(len(rows))] == ["  日本語日", "本語"]
    book.add(LogLine(number, 0.0, "info", "", str(number)) for number in range(KEPT))
    rows.keep_pace()
    assert (len(rows), rows[0].text.strip()) == (KEPT, "0")


def test_the_widest_row_is_known_however_rows_are_shown() -> None:
    """The widest row is measured in cells, of all or of the filtered lines, with or without times."""
    book = LogBook(lambda: 0.0)
    book.add(LogLine(number, 0.0, "info", "", text) for number, text in enumerate(("日本語", "seven b")))
    rows = LogRows(book)
    stamped = len("00:00:00   seven b")
    for wanted, with_time, widest in (
        ("", True, stamped),
        ("", False, stamped - STAMP),
        ("本", False, stamped - STAMP - 1),
    ):
        rows.lay_out(LogLook(stamped=with_time, wanted=wanted))
        rows.keep_pace()
        assert rows.widest == widest
