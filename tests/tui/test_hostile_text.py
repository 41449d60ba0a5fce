from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.cells import cell_len

from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui.screen import ConsoleScreen
from tests.conftest import Workspace
from tests.counts import ALL_CASES
from tests.tui.console import Console, Run, console

NASTY = "[/x][red]\x1b]0;owned\x07\x1b[2J\x9b2J\u202e漢\x00"
PLUGIN = f'''
"""Docs {NASTY.replace(chr(0), "")}."""
def register(ctx):
    print({NASTY!r})
    ctx.log.error({NASTY!r})
    ctx.hook("[/p]\\x1b[1m", lambda: None)
'''
NAME = "[@click=quit]n\x1b[2J"


def harmless(it: Console) -> bool:
    """Return whether the screen has no control characters."""
    return not any(character in it.text for character in "\x1b\x07\x9b\x00\u202e")


@pytest.mark.parametrize("size", [(80, 24), (200, 50)][: 1 + ALL_CASES])
async def test_text_of_plugins_is_shown_and_never_interpreted(
    workspace: Workspace, run: Run, size: tuple[int, int]
) -> None:
    """Markup and escapes in names, docs, prints, logs, messages, hook points and source are plain text."""
    workspace[NAME] = PLUGIN
    workspace["bad[b]"] = f"def register(ctx):\n    raise ValueError({NASTY!r})\n"
    running = run(workspace.config())
    async with console(running.manager, workspace.root, size) as it:
        await it.until(lambda: "+ ok" in it.row(NAME) and "! FAIL" in it.row("bad[b]"))
        for name in (NAME, "bad[b]"):
            it.main.selection.choose(name)
            await it.selected(name)
            for tab in "1234567":
                await it.press(tab)
                await it.shows("[@click=quit]n")
                assert harmless(it)
        await it.press("r", "colon", *"rebuild")
        await it.until(lambda: "plugin: rebuild [@click=quit]n" in it.text)
        assert harmless(it)


async def test_nasty_names_in_toasts_and_dialogs(workspace: Workspace, run: Run) -> None:
    """A toast shows a name with markup as plain text."""
    workspace["a[b]"] = "def register(ctx): ..."
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("a[b]"))
        await it.press("c")
        await it.until(lambda: any(toast.startswith("a[b]: 1 artifact") for toast in it.toasts))
        await it.shows("a[b]: 1 artifact")


async def test_a_message_of_a_megabyte_does_not_stall_the_console(workspace: Workspace, run: Run) -> None:
    """Of a huge message, in one line or in many, the beginning is shown."""
    workspace["long"] = "def register(ctx):\n    raise ValueError('x' * 1_000_000)\n"
    workspace["many"] = "def register(ctx):\n    raise ValueError('x\\n' * 100_000)\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("long") and "! FAIL" in it.row("many"))
        await it.press("enter")
        await it.shows("ValueError:", "xxxx")
        await it.press("0", "j", "enter")
        await it.shows("ValueError: x")


async def test_a_thousand_plugins_are_a_table(workspace: Workspace, run: Run) -> None:
    """A table of a thousand rows is shown, ``G`` goes to the last one, and a change of it is drawn."""
    running = run(workspace.config())
    statuses = tuple(PluginStatus(f"p{number:04}", PluginState.NEW, f"/p/{number}") for number in range(1000))
    answer = running.manager.snapshot()
    given = [statuses]

    def snapshot() -> object:
        from msgspec.structs import replace

        return replace(answer, plugins=given[0])

    running.manager.snapshot = snapshot  # type: ignore[assignment,method-assign]
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "? new" in it.row("p0000"))
        await it.press("G")
        await it.until(lambda: it.chosen == "p0999")
        given[0] = (*statuses[:-1], PluginStatus("p0999", PluginState.OK, "/p/999"))
        assert isinstance(it.main, ConsoleScreen)
        it.main.selection.read_again()
        await it.until(lambda: "+ ok" in it.row("p0999"))
        assert it.chosen == "p0999"


MEGABYTE = f"{NASTY.replace(chr(0), '')}{'x' * 1_000_000}"
HOOKED = f"""
def nasty(*arguments):
    return [{NASTY!r}, {{"[/k]": "\\u05d0\\u202e\\u0301" * 5}}]

def loud(*arguments):
    raise ValueError({NASTY!r} + "x" * 1_000_000)

class Odd:
    def __repr__(self):
        return {NASTY!r} * 1000

def register(ctx):
    ctx.hook("[/p]\\x1b[1m", nasty)
    ctx.hook("[/p]\\x1b[1m", loud)
    ctx.hook("[/p]\\x1b[1m", lambda *_: Odd())
"""


@pytest.mark.parametrize("size", [(80, 24), (120, 36)][: 1 + ALL_CASES])
async def test_results_of_calls_are_shown_and_never_interpreted(
    workspace: Workspace, run: Run, size: tuple[int, int]
) -> None:
    """Arguments, values, reprs and faults of calls are shown as plain text, however long they are."""
    workspace[NAME] = HOOKED
    async with console(run(workspace.config()).manager, workspace.root, size) as it:
        await it.until(lambda: "+ ok" in it.row(NAME))
        await it.press("7", "enter", *"[/x]", "enter")
        await it.shows("[/p]", "('[/x]')")
        assert harmless(it)
        await it.press("space", "r")
        await it.until(lambda: "pinned" in it.text)
        assert harmless(it)
        await it.press("plus")
        await it.shows("ValueError")
        assert harmless(it)
        assert len(it.text.splitlines()) == size[1]


async def test_a_report_of_nasty_text_is_plain(workspace: Workspace, run: Run, state_folder: Path) -> None:
    """The copied report has no control characters and a limited size."""
    workspace[NAME] = f"def register(ctx):\n    raise ValueError({MEGABYTE!r})\n"
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row(NAME))
        await it.press("Y")
        await it.toasted("Copied")
    report = (state_folder / "hotload" / "copied.txt").read_text("utf-8")
    assert "ValueError" in report
    assert not any(character in report for character in "\x1b\x07\x9b\x00\u202e")
    assert len(report) < 50_000


# Clipboard and device sequences, C1 controls, both directions, a wide character, an accent, joined emoji.
SEQUENCES = (
    "[/x][@click=quit]\x1b]52;c;b3duZWQ=\x07\x1bPq\x1b\\\x9b2J\x85"
    "\u202e\u2067\u200f漢e\u0301👩\u200d👩\u200d👧"
)
LONE = SEQUENCES + "\udc80"  # not for logged text, because a test report cannot contain it
NAMES = f"""
class Odd(Exception):
    pass

def answer(*arguments):
    return {LONE!r} + "r" * 1_000_000

def loud(*arguments):
    raising({LONE!r})

def raising(text):
    error = Odd(text + "m" * 1_000_000)
    error.add_note("note " + text)
    error.add_note("n" * 1_000_000)
    raise error

for named in (Odd, answer, loud, raising):
    named.__name__ = named.__qualname__ = named.__name__[0] + {SEQUENCES!r}
"""
SERVES = f"""
{NAMES}
def register(ctx):
    ctx.log.error({SEQUENCES!r})
    ctx.log.info("i" * 1_000_000)
    print("o" * 1_000_000)
    ctx.hook("p" + {SEQUENCES!r}, answer)
    ctx.hook("p" + {SEQUENCES!r}, loud)
"""
FAILS = f"""
{NAMES}
def register(ctx):
    local, long = {LONE!r}, "l" * 1_000_000
    raising(local); text = "{"s" * 1_000_000}"  # {SEQUENCES.replace(chr(0x85), "")}
"""


def interpretable(text: str) -> set[str]:
    """Return the characters that a terminal could interpret: controls, surrogates, direction marks."""
    return {
        sign
        for sign in text
        if (unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") and sign != "\n")
        or unicodedata.bidirectional(sign) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        or sign in "\u061c\u200e\u200f"
    }


def check_painted(it: Console) -> None:
    """Check that the screen has no such character, and that every row is exactly as wide as the screen."""
    width, height = it.app.size
    assert [sum(cell_len(segment.text) for segment in strip) for strip in it.strips] == [width] * height
    assert interpretable(it.text) == set()


async def test_nothing_foreign_is_interpreted_in_any_pane(workspace: Workspace, run: Run) -> None:
    """Names, notes, local variables, source and log lines are shown as plain text in every tab."""
    workspace["serves"], workspace["fails\x1b[2J\u202e"] = SERVES, FAILS
    workspace["serves/d\x1b[2J\u202e[/x].txt"] = "a file"
    running = run(workspace.config())
    async with console(running.manager, workspace.root) as it:
        await it.until(lambda: "+ ok" in it.row("serves") and "! FAIL" in it.row("fails\x1b[2J\u202e"))
        for name in ("serves", "fails\x1b[2J\u202e"):
            it.main.selection.choose(name)
            await it.selected(name)
            # Each tab, with locals, unfolded frames, wrapped lines and the other versions of the source.
            for keys in ("1", "2v", "x", "3w", "4v", "5", "6", "7"):
                await it.press(*keys, "y")
                check_painted(it)
                assert interpretable(it.app.clipboard.replace("\t", " ")) == set()
            await it.press("Y")
            assert interpretable(it.app.clipboard) == set()


async def test_nothing_foreign_is_interpreted_in_results(workspace: Workspace, run: Run) -> None:
    """The prompt, huge results, odd class names, toasts and pinned calls are shown as plain text."""
    workspace["serves"] = SERVES
    async with console(run(workspace.config()).manager, workspace.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row("serves"))
        await it.press("7", "enter")
        await it.shows("JSON with commas")
        check_painted(it)
        await it.press("a", "enter")
        await it.shows("('a')", "rrrr", " characters)")
        check_painted(it)
        await it.press("space")
        await it.shows("pinned")
        check_painted(it)
        await it.until(lambda: "+ ok !" in it.row("serves"))  # the fault of the call
        await it.press("0", "enter")
        await it.shows("2 Error (1)", "mmmm")
        check_painted(it)


def test_nothing_foreign_is_interpreted_on_the_command_line(workspace: Workspace) -> None:
    """Commands print odd names and messages without characters that a terminal could interpret."""
    # Lines that a plugin logs or prints itself during the check are not filtered.
    workspace["serves"] = SERVES.replace("ctx.log.error", "str").replace("print(", "str(")
    workspace["fails\x1b[2J\u202e"] = FAILS
    for command in ("check", "build", "status"):
        done = subprocess.run(
            [sys.executable, "-m", "hotload_tui", command],
            cwd=workspace.root,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        said = done.stdout + done.stderr
        assert "Traceback (most" not in said
        assert interpretable(said) == set(), (command, said[:2000])
