"""Hostile text, in every place where the console shows foreign text."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from rich.cells import cell_len

from hotload_tui.core.config_files import resolve
from hotload_tui.tui.calls import HookCall
from hotload_tui.tui.dialogs import SettingsScreen
from hotload_tui.tui.text import clean
from hotload_tui.tui.view_state import ViewState, ViewStore
from hotload_tui.tui.widgets.hooks_view import HooksView
from tests.conftest import Workspace
from tests.counts import ALL_CASES
from tests.tui.console import Console, Run, console
from tests.tui.hostile import EVERYTHING, HARM, IN_A_NAME
from tests.tui.layout import broken_layout

SIZES = ((80, 24), (120, 36), (200, 50))
LOGGED = f"{HARM}\x00"  # without lone surrogates, which a test report cannot contain
BAD = f'''
"""{HARM.replace(chr(92), "").replace(chr(13), "")}"""
# {HARM.replace(chr(13), "")}
Odd = type({EVERYTHING.replace(chr(0), "").replace(chr(0xD800), "")!r}, (ValueError,), {{}})

class Value:
    def __repr__(self):
        return {EVERYTHING!r} * 3

def register(ctx):
    value = Value()
    print({HARM!r})
    ctx.log.error({LOGGED!r})
    error = Odd({LOGGED!r})
    error.add_note({EVERYTHING!r})
    raise error from ExceptionGroup({EVERYTHING!r}, [KeyError({EVERYTHING!r})])
'''
GOOD = f'''
"""{HARM.replace(chr(92), "").replace(chr(13), "")}"""
import threading

def answer(*arguments):
    return {EVERYTHING!r}

class Odd:
    def __repr__(self):
        return {EVERYTHING!r}

def raises(*arguments):
    raise ValueError({LOGGED!r})

def register(ctx):
    answer.__qualname__ = raises.__name__ = {HARM!r}
    for handler in (answer, raises, lambda *_: Odd()):
        ctx.hook({HARM!r}, handler)
    threading.Thread(target=threading.Event().wait, name={HARM!r}, daemon=True).start()
'''


def dangerous(it: Console) -> list[str]:
    """Return the characters on the screen that could control a terminal, reverse text or hide in it."""
    found = {sign for sign in it.text if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return sorted(map(ascii, found - {"\n", "\u200c"}))


def check(it: Console) -> None:
    """Check that the screen has no dangerous character and a sound layout."""
    assert not dangerous(it), it.text
    assert not broken_layout(it), it.text


def in_terminals(text: str) -> int:
    """Return the width of a text in a terminal without support for emoji sequences, as most are."""
    return sum(map(cell_len, text))


@pytest.fixture
def hostile(workspace: Workspace) -> Workspace:
    """Return a project with hostile text in every place that a plugin can provide."""
    workspace[f"good{IN_A_NAME}"] = GOOD
    workspace[f"good{IN_A_NAME}/{IN_A_NAME}.txt"] = EVERYTHING.encode("utf-8", "replace")
    workspace[f"bad{IN_A_NAME}"] = BAD
    workspace[f"syntax{IN_A_NAME}"] = f"# {HARM}\ndef register(ctx:\n    '{IN_A_NAME[:20]}'\n".encode(
        "utf-8", "replace"
    )
    return workspace


@pytest.mark.parametrize("size", SIZES if ALL_CASES else SIZES[:1], ids="{0[0]}x{0[1]}".format)
async def test_no_foreign_text_is_interpreted_anywhere(
    hostile: Workspace, run: Run, size: tuple[int, int]
) -> None:
    """In each tab of a live and of failed plugins, all foreign text is plain, and the layout is sound."""
    folders = [folder.name for folder in hostile.plugins.iterdir()]
    settings = {folder: {"settings": {"[/x]\x1b[2J": "[/y]\x1b]0;owned\x07\u202e"}} for folder in folders}
    running = run(hostile.config(plugins=settings))
    names = [status.name for status in running.manager.snapshot().plugins]
    async with console(running.manager, hostile.root, size) as it:
        await it.until(lambda: [it.row(name)[:1] for name in sorted(names)] == ["!", "+", "!"])
        for name in names:
            it.main.selection.choose(name)
            await it.selected(name)
            for tab in "1234567":
                await it.type(tab, *{"2": ("v", "x"), "4": ("v", "v")}.get(tab, ()))
                await it.press("Y")
                check(it)


async def test_no_foreign_text_is_interpreted_in_dialogs(hostile: Workspace, run: Run) -> None:
    """Foreign text in the palette, a plan, a filter, a toast, a prompt and call results is plain."""
    running = run(hostile.config())
    name = next(status.name for status in running.manager.snapshot().plugins if status.name[:4] == "good")
    async with console(running.manager, hostile.root, (120, 36)) as it:
        await it.until(lambda: "+ ok" in it.row(name))
        it.main.selection.choose(name)
        await it.until(lambda: it.chosen == name)
        await it.press("colon", *"plugin: plan good")
        await it.until(lambda: "plugin: plan good" in it.text and "clean good" not in it.text)
        check(it)
        await it.press("down", "enter")
        await it.shows("asked for")
        check(it)
        await it.press("escape", "slash", *"[/x]")
        await it.until(lambda: "filter [/x]" in it.text)
        check(it)
        await it.press("escape", "7", "enter")
        await it.shows("JSON with commas")
        check(it)
        await it.press(*"[/x]", "enter")
        await it.until(lambda: "ValueError" in it.main.query_one(HooksView).text_to_copy())
        await it.press("space", "plus")
        await it.shows("pinned")
        check(it)
        it.main.say(EVERYTHING)
        await it.until(lambda: bool(it.toasts))
        check(it)
        await it.press("q")
    assert ViewStore(hostile.root).read().selected == name


async def test_no_foreign_text_of_the_configuration_is_interpreted(workspace: Workspace, run: Run) -> None:
    """Keys and values of the configuration are shown as plain text."""
    file = workspace.root / "hotload.toml"
    file.write_text('[plugins."[/x]\\u001b[2J".settings]\n"[/x]\\u202e" = "[/y]\\u001b]0;owned\\u0007"\n')
    async with console(run(workspace.config()).manager, workspace.root, settings=lambda: resolve(file)) as it:
        await it.press("comma")
        await it.until(lambda: isinstance(it.app.screen, SettingsScreen))
        await it.press("end")
        await it.shows("[/y]")
        check(it)


async def test_lines_of_a_megabyte_do_not_freeze_anything(workspace: Workspace, run: Run) -> None:
    """Megabytes in docstrings, source, logs, reprs, exception names, notes and results are cut."""
    long = '"x" * 1_000_000'
    workspace["bad"] = f"""
class Value:
    def __repr__(self):
        return {long}

def register(ctx):
    value = Value()
    text = "{"x" * 1_000_000}"
    print({long})
    ctx.log.info({long})
    error = type({long}, (ValueError,), {{}})({long})
    error.add_note({long})
    raise error  # {"漢" * 300_000}
"""
    workspace["good"] = f'''
"""{"x" * 1_000_000}"""
def answer(*_):
    return {long}

def register(ctx):
    answer.__qualname__ = {long}
    ctx.hook("p" * 100_000, answer)
'''
    async with console(run(workspace.config()).manager, workspace.root) as it:
        await it.until(lambda: "! FAIL" in it.row("bad") and "+ ok" in it.row("good"))
        for name in ("bad", "good"):
            it.main.selection.choose(name)
            await it.selected(name)
            for tab in "1234567":
                await it.type(tab, *{"2": ("v", "x"), "3": ("w",), "4": ("v",)}.get(tab, ()))
                await it.press("G")
                check(it)
        await it.press("7", "enter", "enter")
        await it.until(lambda: "xxx" in it.main.query_one(HooksView).text_to_copy())
        assert len(it.main.query_one(HooksView).text_to_copy()) < 5_000
        check(it)


def test_what_is_clean_takes_the_same_room_in_every_terminal() -> None:
    """Cleaned text has the same width in every terminal: emoji sequences are split, and letters stay."""
    assert len(clean(EVERYTHING)) == len(EVERYTHING)
    assert cell_len(clean(HARM)) == in_terminals(clean(HARM))
    for text in (
        "e\u0301",
        "漢字",
        "\u0646\u0648\u0634\u062a\u0647\u200c\u0647\u0627",
        "हिन्दी",
        "\U0001f469",
    ):
        assert clean(text) == text


@pytest.mark.parametrize("typed", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, '"\\ud800"'])
def test_whatever_is_typed_as_arguments_is_taken(typed: str) -> None:
    """Typed text that is not readable JSON is one argument, and raises nothing."""
    call = HookCall("point", typed)
    assert len(call.arguments.positional) == 1
    assert str(call)


def test_a_name_that_is_not_utf_8_is_remembered(tmp_path: Path) -> None:
    """A selected plugin whose name is not UTF-8 is stored and read again."""
    store = ViewStore(tmp_path, {"XDG_STATE_HOME": str(tmp_path)})
    name = os.fsdecode(b"caf\xe9")
    store.write(ViewState(selected=name, earlier=[HookCall("\ud800", "\udcff")]))
    assert store.read().selected == name
