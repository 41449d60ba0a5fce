"""Keys, clicks, pastes and resizes in any order, from the first moment on: the console never crashes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import shutil
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest
from rich.style import Style
from textual import events
from textual.command import CommandPalette
from textual.drivers.headless_driver import HeadlessDriver
from textual.geometry import Size
from textual.keys import key_to_character
from textual.screen import Screen
from textual.widgets import OptionList

from hotload_tui.tui.app import ConsoleApp
from hotload_tui.tui.widgets.history_view import HistoryView
from tests.conftest import Workspace, answering
from tests.counts import MONKEY_EVENTS, MONKEY_SEED
from tests.tui.console import Run
from tests.tui.hostile import HARM
from tests.waiting import auntil

KEYS = (
    *"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    *(
        "enter",
        "escape",
        "tab",
        "shift+tab",
        "up",
        "down",
        "left",
        "right",
        "pageup",
        "pagedown",
        "home",
        "end",
    ),
    *("backspace", "delete", "space", "f1", "ctrl+c", "ctrl+p", "ctrl+q", "ctrl+z", "question_mark", "slash"),
    *("colon", "plus", "exclamation_mark", "comma", "left_square_bracket", "right_square_bracket"),
)
SOURCES = (
    answering("well"),
    "def register(ctx):\n    1 / 0\n",
    "def register(ctx:\n",
    "def bad(*args):\n    raise KeyError('EUR')\n\ndef register(ctx):\n    ctx.hook('greet', bad)\n",
    f"def register(ctx):\n    raise RuntimeError({HARM!r})\n",
)
SIZES = ((80, 24), (120, 36), (200, 50), (40, 10), (3, 2), (60, 15))


def key(name: str) -> events.Key:
    """Return the event of a key."""
    return events.Key(name, key_to_character(name))


async def session(app: ConsoleApp, play: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a console and ``play`` with it from its first moment on, until it ends; raise what ended it."""

    async def playing() -> None:
        while not app.is_running:  # noqa: ASYNC110 - a turn of the loop is the unit of these tests
            await asyncio.sleep(0)
        await play()
        app.exit()

    player = asyncio.create_task(playing())
    await app.run_async(headless=True, size=(80, 24))
    player.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await player
    if app._exception is not None:  # noqa: SLF001 - what run_test raises
        raise app._exception  # noqa: SLF001


async def turns(number: int) -> None:
    """Let the event loop turn."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.parametrize("moment", [0, 3, 10, 30])
async def test_keys_before_the_first_paint_take_effect(workspace: Workspace, run: Run, moment: int) -> None:
    """Keys that arrive before the panes exist act on the panes in their order."""
    workspace["greet"] = SOURCES[1]
    app = ConsoleApp(run(workspace.config()).manager, project=workspace.root)

    async def type_early() -> None:
        await turns(moment)
        for name in "257eY6":
            app.post_message(key(name))
        await auntil(lambda: isinstance(app.focused, HistoryView))

    await session(app, type_early)


async def test_text_for_a_dialog_may_arrive_with_the_key_that_opens_it(
    workspace: Workspace, run: Run
) -> None:
    """``n`` and a name in one piece, as a paste into a terminal sends them, make a plugin of this name."""
    manager = run(workspace.config()).manager
    app = ConsoleApp(manager, project=workspace.root)

    async def type_fast() -> None:
        for name in ("n", *"tea", "enter"):
            app.post_message(key(name))
        await auntil(lambda: [plugin for plugin in manager.snapshot().plugins if plugin.name == "tea"])

    await session(app, type_fast)


async def test_a_dialog_that_closes_twice_closes_nothing_else(workspace: Workspace, run: Run) -> None:
    """Clicks beside the palette close the palette once, and not the screen below."""
    app = ConsoleApp(run(workspace.config()).manager, project=workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p")
        await auntil(lambda: isinstance(app.screen, CommandPalette))
        palette = app.screen
        for _ in range(3):
            palette.post_message(events.Click(palette, 0, 0, 0, 0, 1, False, False, False, 0, 0))
        await auntil(lambda: not isinstance(app.screen, CommandPalette))
        await pilot.pause()
        assert app.is_running
        assert len(app.screen_stack) == 1


async def test_a_click_on_an_entry_that_has_gone_closes_the_palette(workspace: Workspace, run: Run) -> None:
    """A click reaches the palette's list after a search has made it shorter: only the palette closes."""
    app = ConsoleApp(run(workspace.config()).manager, project=workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+p")
        await auntil(lambda: isinstance(app.screen, CommandPalette))
        entries = app.screen.query_one(OptionList)
        gone = Style(meta={"option": 1000})
        entries.post_message(events.Click(entries, 0, 0, 0, 0, 1, False, False, False, 0, 0, gone))
        await auntil(lambda: not isinstance(app.screen, CommandPalette))
        await pilot.pause()
        assert app.is_running


async def test_two_sizes_at_once_end_in_one_layout(workspace: Workspace, run: Run) -> None:
    """Of sizes that arrive faster than they are painted, the last one stays, and then the screen is quiet."""
    app = ConsoleApp(run(workspace.config()).manager, project=workspace.root)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app._size = Size(40, 10)  # noqa: SLF001 - the newest size that the terminal has reported
        laid_out: list[Screen[object]] = []
        app.screen.screen_layout_refresh_signal.subscribe(app, laid_out.append)
        for size in (Size(120, 36), Size(40, 10)):
            app.screen.post_message(events.Resize(size, size))
            app.screen.call_later(lambda: None)
        await pilot.pause()
        await auntil(lambda: app.screen.size == Size(40, 10))
        await turns(200)
        assert len(laid_out) < 20


class Monkey:
    """Sends random events to a console, and changes the plugins behind it."""

    def __init__(self, workspace: Workspace, seed: int) -> None:
        self._workspace = workspace
        self._random = random.Random(seed)
        self.done: list[str] = []

    def event(self, app: ConsoleApp) -> None:
        """Send one event, or change a plugin."""
        chance, pick = self._random.random(), self._random.choice
        if chance < 0.75:
            self._send(app, key(pick(KEYS)))
        elif chance < 0.88:
            for event in self._click(app):
                self._send(app, event)
        elif chance < 0.91:
            self._send(app, events.Paste(pick((HARM, "greet", "[1, 2]", "a\nb", ""))))
        elif chance < 0.95:
            self._resize(app, *pick(SIZES))
        else:
            self._change(pick(("one", "two", "three")), pick((*SOURCES, "")))

    def _send(self, app: ConsoleApp, event: events.Event) -> None:
        self.done.append(str(event))
        app.post_message(event)

    def _click(self, app: ConsoleApp) -> Iterator[events.MouseEvent]:
        width, height = app.size
        x, y = self._random.randrange(max(1, width)), self._random.randrange(max(1, height))
        kinds: tuple[type[events.MouseEvent], ...] = (events.MouseDown, events.MouseUp)
        if self._random.random() < 0.3:
            kinds = (self._random.choice((events.MouseScrollDown, events.MouseScrollUp, events.MouseMove)),)
        for kind in kinds:
            yield kind(None, x, y, 0, 0, 1, False, False, False, x, y)

    def _resize(self, app: ConsoleApp, width: int, height: int) -> None:
        size = Size(width, height)
        assert isinstance(app._driver, HeadlessDriver)  # noqa: SLF001 - as Pilot.resize_terminal
        app._driver._size = size  # noqa: SLF001
        self._send(app, events.Resize(size, size))

    def _change(self, name: str, source: str) -> None:
        self.done.append(f"change {name}")
        if source:
            self._workspace[name] = source
        else:
            shutil.rmtree(self._workspace.plugins / name, ignore_errors=True)


# Textual drops this coroutine if a screen ends in the moment in which its selection changes.
@pytest.mark.filterwarnings("ignore:coroutine 'Screen._watch_selections' was never awaited:RuntimeWarning")
@pytest.mark.timeout(900)
async def test_a_monkey_at_the_keyboard(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Random keys, clicks, pastes and resizes over plugins that fail and vanish raise no exception."""
    for name, value in (("VISUAL", "true"), ("EDITOR", "true"), ("HOME", str(tmp_path)), ("PATH", "/bin")):
        monkeypatch.setenv(name, value)
    for name, source in zip(("one", "two", "three"), SOURCES, strict=False):
        workspace[name] = source
    manager = run(workspace.config()).manager
    monkey = Monkey(workspace, MONKEY_SEED)
    while len(monkey.done) < MONKEY_EVENTS:  # the monkey quits, too
        try:
            await _one_session(ConsoleApp(manager, project=workspace.root), monkey)
        except BaseException as error:
            error.add_note(f"the last events: {monkey.done[-30:]}")
            raise
    gc.collect()  # a later test does not ignore the warning


async def _one_session(app: ConsoleApp, monkey: Monkey) -> None:
    """Let the monkey use a console until it quits, or until it has done enough."""

    async def play() -> None:
        await turns(len(monkey.done) % 40)
        while len(monkey.done) < MONKEY_EVENTS:
            monkey.event(app)
            await asyncio.sleep(0)
            if len(monkey.done) % 10 == 0:
                await auntil(lambda: app.message_queue_size == 0 or app.return_code is not None)

    await session(app, play)
