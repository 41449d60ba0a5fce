"""Every key of the console, in every pane, at three sizes: it does what help promises."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.widgets import DataTable, OptionList

from hotload_tui.core.config_files import resolve
from hotload_tui.tui import keys
from hotload_tui.tui.dialogs import AskNameScreen, ConfirmScreen, HelpScreen, SettingsScreen
from hotload_tui.tui.widgets import status
from hotload_tui.tui.widgets.status import Notice
from tests.conftest import Workspace, answering
from tests.counts import ALL_CASES
from tests.tui.console import Console, Run, console, void
from tests.tui.layout import broken_layout, text_of
from tests.waiting import PATIENCE

LONG = "x" * 300
TAIL = f"# {LONG}\n" * 80
APPLE = f'''
"""{"Described at length. " * 200}"""

def an_apple():
    return "an apple"

def register(ctx):
    for number in range(100):
        ctx.log.info("line %s of {LONG}", number)
    for number in range(60):
        ctx.hook(f"point{{number:02}}", an_apple)
'''
BROKEN = f"""
import json

def read(text, depth):
    return read(text, depth - 1) if depth else json.loads(text)  # {LONG}

def register(ctx):
    try:
        1 / 0
    except ZeroDivisionError:
        read("{{", 15)

{TAIL}
"""

SIZES = ((80, 24), (120, 36), (200, 50))
See = Callable[[Console], bool]


class Key(NamedTuple):
    """A binding: the check that holds after each of its keys, and does not hold before."""

    name: str
    """Its name in ``[keys]``, or the key itself if it cannot be changed."""
    does: See
    back: tuple[str, ...] = ()
    """Keys after which the check does not hold any more."""
    before: tuple[str, ...] = ()
    """Keys that are pressed first, with the pane at its top."""


class Pane(NamedTuple):
    """A pane: its key, and its own bindings."""

    plugin: str
    """The plugin to select."""
    key: str
    own: tuple[Key, ...]


def toast(pattern: str) -> See:
    """Return a check that a toast matches a pattern."""
    return lambda it: any(re.search(pattern, toast) for toast in it.toasts)


def chosen(name: str) -> See:
    """Return a check that the cursor is on this plugin."""
    return lambda it: it.chosen == name


def row(name: str, text: str) -> See:
    """Return a check that a plugin's row contains a text."""
    return lambda it: text in it.row(name)


def shown(text: str) -> See:
    """Return a check that a text is on the screen."""
    return lambda it: text in it.text


def inside(pattern: str) -> See:
    """Return a check that the focused pane matches a pattern."""
    return lambda it: (pane := it.app.focused) is not None and bool(re.search(pattern, text_of(it, pane)))


def focused(kind: str) -> See:
    """Return a check that a widget of this class has the focus."""
    return lambda it: type(it.app.focused).__name__ == kind


def no(other: See) -> See:
    """Return the opposite check."""
    return lambda it: not other(it)


def either(one: See, other: See) -> See:
    """Return a check that one of two checks holds."""
    return lambda it: one(it) or other(it)


def over(screen: type) -> See:
    """Return a check that a dialog of this class is open."""
    return lambda it: isinstance(it.app.screen, screen)


def scrolled(it: Console) -> bool:
    """Return whether the focused pane is below its top."""
    return it.app.focused is not None and round(it.app.focused.scroll_y) > 0


def at_end(it: Console) -> bool:
    """Return whether the focused pane is at its end and below its top."""
    return scrolled(it) and it.app.focused is not None and it.app.focused.is_vertical_scroll_end


def moved_right(it: Console) -> bool:
    """Return whether the focused pane is scrolled to the right."""
    return it.app.focused is not None and round(it.app.focused.scroll_x) > 0


def cursor(is_there: Callable[[int, int], bool]) -> See:
    """Return a check of the focused table's cursor row and row count."""

    def see(it: Console) -> bool:
        table = it.app.focused
        return isinstance(table, DataTable) and is_there(table.cursor_row, table.row_count)

    return see


def opened(_: Console) -> bool:
    """Return whether the editor was started since the last look."""
    try:
        Path(os.environ["OPENED"]).unlink()
    except FileNotFoundError:  # no separate look: the editor may start right after it
        return False
    return True


def palette(it: Console) -> bool:
    """Return whether the palette is open."""
    return isinstance(it.app.screen, CommandPalette)


TEXT = (
    Key("down", scrolled, ("g",)),
    Key("bottom", at_end, ("g",)),
    Key("up", no(at_end), before=("G",)),
    Key("top", no(scrolled), before=("G",)),
)
SIDEWAYS = (Key("right", moved_right, ("left",)), Key("left", no(moved_right), before=("right",)))
ROWS = (
    Key("down", cursor(lambda row, _: row == 1), ("k",)),
    Key("bottom", cursor(lambda row, rows: row == rows - 1 > 0), ("g",)),
    Key("up", cursor(lambda row, _: row == 0), before=("j",)),
    Key("top", cursor(lambda row, _: row == 0), before=("G",)),
)
FIRST_FRAME = ("right_square_bracket",) * 4 + ("left_square_bracket",) * 4
OWN = {
    "TABLE": Pane("apple", "0", (*ROWS, Key("open", focused("Overview"), ("0",)))),
    "SCROLL": Pane("apple", "1", TEXT),
    "ERROR": Pane(
        "banana",
        "2",
        (
            *TEXT,
            *SIDEWAYS,
            Key("frames", shown("decoder.py"), ("x",)),
            Key("edit", opened),
            Key("locals", inside(r"text = '"), ("v",), before=("right_square_bracket",)),
            Key("next_frame", inside(r"▶ .*read +. 15"), ("left_square_bracket",), before=FIRST_FRAME),
            Key("last_frame", inside(r"(?m)▶ .*read$"), before=(*FIRST_FRAME, "right_square_bracket")),
        ),
    ),
    "LOG": Pane(
        "apple",
        "3",
        (
            *TEXT,
            *SIDEWAYS,
            Key("follow", toast("Following new lines"), ("f",)),
            Key("wrap", inside(r"(?m)^[^\d\s]"), ("w",)),
            Key("timestamps", no(inside(r"\d\d:\d\d:\d\d")), ("t",)),
            Key("steps", toast("With all steps"), ("v",)),
            Key("level", toast("no debug lines"), ("l", "l", "l")),
        ),
    ),
    "SOURCE": Pane(
        "banana", "4", (*TEXT, *SIDEWAYS, Key("version", inside(r"\(-\) to the disk \(\+\)"), ("v", "v")))
    ),
    "WIDE": Pane("apple", "5", (*TEXT, *SIDEWAYS)),
    "HISTORY": Pane("date", "6", (*ROWS, Key("rollback", row("date", "= HELD"), before=("j",)))),
    "HOOKS": Pane(
        "apple",
        "7",
        (
            *ROWS,
            Key("call", focused("Prompt"), ("escape",)),
            Key("pin", toast("enter pins that"), ("escape",)),
            Key("call_fault", toast("No call has failed")),
        ),
    ),
}
"""The bindings of each pane, by the name of their list in ``keys.py``."""

EVERYWHERE = Pane(
    "apple",
    "0",
    (
        Key("release", no(row("date", "= HELD")), before=("G",)),
        Key("rebuild", toast("apple reloaded")),
        Key("rebuild_all", toast("^banana failed")),
        Key("toggle", row("apple", "- off"), ("d",)),
        Key("clean", toast("apple: . artifacts? removed")),
        Key("undo", toast("Taken back")),
        Key("clean_all", over(ConfirmScreen), ("escape",)),
        Key("restart", over(ConfirmScreen), ("escape",)),
        Key("settings", over(SettingsScreen), ("escape",)),
        Key("debug", toast("stops in its own terminal")),
        Key("edit", opened),
        Key("new", over(AskNameScreen), ("escape",)),
        Key("copy", toast("Copied 1 line")),
        Key("report", toast(r"Copied \d\d+ lines")),
        Key("help", over(HelpScreen), ("escape",)),
        Key("pause", shown("PAUSED"), ("p",)),
        Key("filter", focused("Prompt"), ("escape",)),
        Key("problems", no(row("apple", "apple")), ("exclamation_mark",)),
        Key("follow_new", shown("follow off"), ("F",)),
        Key("next_problem", lambda it: chosen("banana")(it) and shown("2 Error (1)")(it)),
        Key("last_problem", lambda it: chosen("banana")(it) and shown("2 Error (1)")(it)),
        Key("sort", toast("Sorted by state"), ("s", "s", "s")),
        Key("reverse", lambda it: it.text.find(" banana ") < it.text.find(" apple "), ("S",)),
        Key("maximise", no(shown("1 Overview")), ("plus",)),
        Key("back", focused("PluginTable"), before=("1",)),
        Key("table", focused("PluginTable"), before=("1",)),
        Key("overview", focused("Overview"), ("0",)),
        Key("error", focused("ErrorView"), ("0",)),
        Key("log", focused("LogView"), ("0",)),
        Key("source", focused("SourceView"), ("0",)),
        Key("hashes", focused("HashesView"), ("0",)),
        Key("history", focused("HistoryView"), ("0",)),
        Key("hooks", focused("HooksTable"), ("0",)),
        Key("log_below", focused("LogView"), ("0",)),
        Key("timeline", either(focused("Timeline"), toast("needs 160 columns")), ("0",)),
        Key("palette", palette, ("escape",)),
        Key("ctrl+p", palette, ("escape",)),
        Key("suspend", toast("no shell below")),
        Key("quit", shown("q quits at once")),
        Key("ctrl+q", lambda it: not it.app.is_running),
    ),
)


def bindings(*groups: str) -> Iterator[tuple[str, Binding]]:
    """Yield the bindings of these lists in ``keys.py``, one per key, with their names."""
    for group in groups:
        for binding in Binding.make_bindings(getattr(keys, group)):
            yield binding.id or binding.key, binding


def test_no_key_is_without_a_row_here() -> None:
    """Each key in ``keys.py`` has a row above that checks its effect."""
    groups = {name for name, value in vars(keys).items() if name[0].isupper() and isinstance(value, list)}
    assert groups == {*OWN, "APP", "SCREEN"}
    rows = {"everywhere": {key.name for key in EVERYWHERE.own}}
    rows |= {group: {key.name for key in pane.own} for group, pane in OWN.items()}
    wanted = {"everywhere": {name for name, _ in bindings("APP", "SCREEN")}}
    wanted |= {group: {name for name, _ in bindings(group)} for group in OWN}
    assert rows == wanted


class Stage:
    """The console with its plugins, for trying keys."""

    def __init__(self, it: Console, late: list[float]) -> None:
        self._it = it
        self._late = late

    async def go_to(self, pane: Pane) -> None:
        """Select the pane's plugin, and focus the pane, once earlier keys have had their effect."""
        await self._calm()
        if self._it.chosen == pane.plugin and focused("PluginTable")(self._it) and pane.key == "0":
            return
        self._it.main.selection.choose(pane.plugin)
        await self._it.type(pane.key)
        await self._it.until(
            lambda: self._it.chosen == pane.plugin and self._it.main.selection.closeup.source is not None
        )

    async def _calm(self) -> None:
        """Wait until earlier commands are reported, so that their toasts do not join the next one."""
        it = self._it
        if it.main.shutdown.has_begun:
            return
        await it.until(lambda: not it.main.requests.running)
        for _ in range(2):  # a read under way may have begun before the end
            before = it.main.selection.closeup.source
            it.main.selection.read_again()
            await it.until(lambda: it.main.selection.closeup.source is not before)  # noqa: B023 - awaited here

    async def try_key(self, key: Key, binding: Binding) -> None:
        """Press a key where it applies, and check its effect."""
        it = self._it
        self._late[0] += 10  # so that the toast does not repeat earlier news
        if key not in EVERYWHERE.own:
            await it.type("g")
            await it.until(lambda: not scrolled(it), lambda: f"g before {key.name}")
        await it.type(*key.before)
        it.main.query_one(Notice).hide()
        await it.until(lambda: not key.does(it), lambda: f"key {key.name} first")
        await it.type(binding.key)
        await it.until(lambda: key.does(it), lambda: f"key {key.name}")
        await self._look_around(key.name)
        if key.back:
            await it.type(*key.back)
            await it.until(lambda: not key.does(it), lambda: f"key {key.name} back")

    async def read_help(self, pane: Pane, *groups: str) -> None:
        """Check that help lists exactly the keys of this pane, with their descriptions."""
        it = self._it
        await it.type("f1")
        await it.until(lambda: over(HelpScreen)(it) and bool(it.app.screen.query(OptionList)))
        help_text = "\n".join(str(option.prompt) for option in it.app.screen.query_one(OptionList).options)
        for name, binding in bindings(*groups):
            if name in ("clean", "clean_all") and pane.key != "0":
                assert binding.tooltip not in help_text, f"{name} has no key here"
            elif binding.tooltip:
                line = rf"(?m)^  .*{name} +{re.escape(binding.tooltip)}$"
                assert re.search(line, help_text), f"help at {pane.key} does not tell of {name}:\n{help_text}"
        await self._look_around("help")
        await it.type("escape")
        await it.until(lambda: it.app.screen is it.main)

    async def _look_around(self, after: str) -> None:
        """Check the layout, once an opened dialog has its place."""
        it = self._it
        await it.until(
            lambda: not it.app.is_running or not broken_layout(it), lambda: f"{after}: {broken_layout(it)}"
        )


@pytest.fixture
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a project with plugins of all kinds, long enough for scrolling, and an editor."""
    workspace["apple"] = APPLE
    workspace["banana"] = answering("a banana", "banana") + TAIL
    workspace["_cherry"] = answering("a cherry", "cherry")
    workspace["date"] = answering("a date", "date")
    for number in range(30):
        workspace[f"apple/part{number}.py"] = ""
    workspace[f"apple/{'n' * 200}.py"] = ""
    editor = workspace.root / "code"
    editor.write_text(f'#!/bin/sh\necho "$@" > {workspace.root}/opened\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    monkeypatch.setenv("OPENED", str(workspace.root / "opened"))
    monkeypatch.setattr(status, "SHORT", PATIENCE)  # on a busy machine a toast may be gone before it is seen
    return workspace


@pytest.mark.timeout(600)  # a hundred keys, each until its effect is visible
@pytest.mark.parametrize("size", SIZES if ALL_CASES else SIZES[:1], ids="{0[0]}x{0[1]}".format)
async def test_every_key_does_what_help_says_of_it(
    project: Workspace, run: Run, size: tuple[int, int]
) -> None:
    """In each pane each key has its effect and is listed in help, and the layout stays sound."""
    running = run(project.config(enable_watch=True, settle_time=0.0))
    release, late = threading.Event(), [0.0]
    async with console(
        running.manager,
        project.root,
        size,
        stop=lambda: void(release.wait()),
        restart=lambda anyway: "The host answers.",  # noqa: ARG005 - by name
        settings=resolve,
        clock=lambda: time.time() + late[0],
    ) as it:
        await it.until(lambda: "+ ok" in it.row("date"))
        project["banana"], project["date"] = BROKEN, answering("another date", "date")
        await it.until(lambda: "STALE" in it.row("banana") and running.status("date").generation == 2)
        stage = Stage(it, late)
        for group, pane in OWN.items():
            await stage.go_to(pane)
            await stage.read_help(pane, group, "APP", "SCREEN")
            for key in pane.own:
                for name, binding in bindings(group):
                    if name == key.name:
                        await stage.try_key(key, binding)
        for key in EVERYWHERE.own:
            await stage.go_to(EVERYWHERE)
            # One key may have two bindings, of which one is active: d disables or enables.
            named = {binding.key: binding for name, binding in bindings("APP", "SCREEN") if name == key.name}
            for binding in named.values():
                await stage.try_key(key, binding)
        release.set()
