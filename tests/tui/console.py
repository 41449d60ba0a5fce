"""A console under test: its screen as text, its keys, and ways to wait for a result."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Unpack

os.environ["TEXTUAL_ANIMATIONS"] = "none"  # read when textual is imported

from textual import events
from textual.keys import key_to_character
from textual.pilot import Pilot
from textual.strip import Strip

from hotload_tui import Config
from hotload_tui.core.api import ManagerApi
from hotload_tui.tui.actions import HostControls
from hotload_tui.tui.app import ConsoleApp
from hotload_tui.tui.screen import ConsoleScreen
from hotload_tui.tui.tour import Tour
from hotload_tui.tui.widgets.plugin_table import PluginTable
from hotload_tui.tui.widgets.status import Notice
from tests.conftest import Running
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]
"""Starts a host with a configuration."""


def void(_value: object) -> None:
    """Ignore a value."""


class Console:
    """The running console, as its user sees it."""

    def __init__(self, app: ConsoleApp, pilot: Pilot[None]) -> None:
        self.app = app
        self._pilot = pilot

    @property
    def strips(self) -> list[Strip]:
        """The whole screen as it is painted, one strip per row."""
        return self.app.screen._compositor.render_strips()  # noqa: SLF001 - Textual has no public way

    @property
    def text(self) -> str:
        """The whole screen, one line per row."""
        return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in self.strips)

    @property
    def said_at_exit(self) -> str:
        """The text that the console leaves in the terminal when it ends."""
        return str(self.app._exit_renderables)  # noqa: SLF001 - as above

    @property
    def main(self) -> ConsoleScreen:
        """The main screen, even while a dialog covers it."""
        screen = self.app.screen_stack[0]
        assert isinstance(screen, ConsoleScreen)
        return screen

    @property
    def toasts(self) -> list[str]:
        """The text of the toast, if there is one."""
        text = self.main.query_one(Notice).text
        return [text] if text else []

    @property
    def chosen(self) -> str:
        """The plugin under the cursor."""
        return self.main.query_one(PluginTable).chosen

    def row(self, name: str) -> str:
        """Return the table's row of a plugin, as text; empty if there is none."""
        table = self.main.query_one(PluginTable)
        if name not in {key.value for key in table.rows}:
            return ""
        return " ".join(str(cell) for cell in table.get_row(name))

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self._pilot.press(*keys)
        await self._pilot.pause()

    async def type(self, *keys: str) -> None:
        """Press keys as soon as each one is handled, painted or not."""
        for key in keys:
            self.app.post_message(events.Key(key, key_to_character(key)))
            await self._pilot._wait_for_screen()  # noqa: SLF001 - as above

    async def painted(self) -> None:
        """Wait until all that has been asked for is painted."""
        await self._pilot.pause()

    async def click(self, column: int, row: int, times: int = 1) -> None:
        """Click at a position on the screen."""
        await self._pilot.click(offset=(column, row), times=times)
        await self._pilot.pause()

    async def resize(self, width: int, height: int) -> None:
        """Change the size of the terminal."""
        await self._pilot.resize_terminal(width, height)
        await self._pilot.pause()

    async def until(self, is_so: Callable[[], bool], why: Callable[[], str] = str) -> None:
        """Wait until ``is_so``; fail with the screen and the text of ``why`` after the time limit."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end, f"waited in vain, toasts {self.toasts}; {why()}\n{self.text}"
            await self._pilot.pause()
            await asyncio.sleep(0)  # let threads' messages arrive

    async def shows(self, *texts: str) -> None:
        """Wait until all these texts are on the screen."""
        await self.until(lambda: all(text in self.text for text in texts))

    async def toasted(self, text: str) -> None:
        """Wait until a toast contains this text."""
        await self.until(lambda: any(text in toast for toast in self.toasts))

    async def selected(self, name: str) -> None:
        """Wait until the cursor is on a plugin and its details have been read."""
        await self.until(lambda: self.chosen == name and self.main.selection.closeup.source is not None)


@asynccontextmanager
async def console(
    api: ManagerApi,
    project: Path,
    size: tuple[int, int] = (80, 24),
    *,
    keys: Mapping[str, str] = MappingProxyType({}),
    clock: Callable[[], float] = time.time,
    follows: bool = False,
    tour: Tour | None = None,
    **host: Unpack[HostControls],
) -> AsyncIterator[Console]:
    """Open the console on a manager; only if it ``follows``, a fault may come to the screen by itself.

    With a ``tour``, the console is for an audience.
    Otherwise the user always seems to be at work: a fault would change the screen between two keys.
    """
    app = ConsoleApp(
        api, project=project, keys=keys, clock=clock, presents=tour is not None, tour=tour, **host
    )
    if not follows:
        app._console.follow._used_at = math.inf  # noqa: SLF001 - the tests' own user
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        yield Console(app, pilot)
