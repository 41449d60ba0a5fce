"""``hotload --web``: the console in a browser, spoken to as a browser does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pyte
import pytest

from tests.conftest import Workspace, answering
from tests.waiting import PATIENCE, until

HOTLOAD = str(Path(sys.executable).with_name("hotload"))
COLUMNS, ROWS = 100, 30


class Browser:
    """The command, and what belongs to it."""

    def __init__(self, project: Path) -> None:
        self._mark = f"HOTLOAD_TEST_MARK={project}"
        environment = dict(os.environ, HOTLOAD_TEST_MARK=str(project))
        self.process = subprocess.Popen(
            [HOTLOAD, "--web"], cwd=project, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.address = self.process.stderr.readline().split()[0]

    @property
    def processes(self) -> list[str]:
        """The command lines of all processes that the command has started, and its own."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and self._mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it has ended
                continue
        return [line for line in found if line]

    @property
    def tabs(self) -> int:
        """The number of consoles."""
        return sum(" attach " in line for line in self.processes)


@pytest.fixture
def browser(workspace: Workspace) -> Iterator[Browser]:
    """Yield the command on a project with the plugins apple and pear."""
    workspace["apple"], workspace["pear"] = answering("an apple", "apple"), answering("a pear", "pear")
    found = Browser(workspace.root)
    yield found
    found.process.kill()
    found.process.wait()
    assert found.process.stderr is not None
    found.process.stderr.close()


class Tab:
    """A tab, as its user sees it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)

    async def shows(self, pattern: str) -> str:
        """Wait until the screen matches a pattern, and return the match."""
        while (found := re.search(pattern, "\n".join(self._screen.display))) is None:
            message = await self.socket.receive(timeout=PATIENCE)
            assert message.type is aiohttp.WSMsgType.BINARY, (message, self._screen.display)
            self._stream.feed(message.data)
        return found[0]


async def test_tabs_share_one_host_and_leave_nothing_behind(browser: Browser) -> None:
    """Each tab is a console on the one host; a closed tab ends its console, and SIGTERM ends everything."""
    socket = f"{browser.address.replace('http', 'ws')}ws?width={COLUMNS}&height={ROWS}"
    async with aiohttp.ClientSession() as session, session.ws_connect(socket) as one:
        first = Tab(one)
        await first.shows(r"\+ ok     apple")
        async with session.ws_connect(socket) as other:
            second = Tab(other)
            assert await second.shows(r"attached to \d+") == await first.shows(r"attached to \d+")
            await other.send_json(["stdin", "7"])
            await second.shows(r"apple\.answer")
            assert browser.tabs == 2
        until(lambda: browser.tabs == 1)
        browser.process.send_signal(signal.SIGTERM)
        assert browser.process.wait(PATIENCE) == 0
    until(lambda: not browser.processes)


async def test_a_tab_outlives_the_host(browser: Browser) -> None:
    """If the host dies, another one takes its place, and the tab goes on with it."""
    socket = f"{browser.address.replace('http', 'ws')}ws?width={COLUMNS}&height={ROWS}"
    async with aiohttp.ClientSession() as session, session.ws_connect(socket) as one:
        tab = Tab(one)
        host = (await tab.shows(r"attached to \d+")).split()[-1]
        os.kill(int(host), signal.SIGKILL)
        await tab.shows(rf"attached to (?!{host}\b)\d+  \+ ok 2")


async def test_only_the_whole_address_reaches_the_page(browser: Browser) -> None:
    """Without the token there is nothing, and the page takes nothing from elsewhere."""
    root, token = browser.address.rstrip("/").rsplit("/", 1)
    assert root.startswith("http://127.0.0.1:")
    assert len(token) >= 40
    assert not any(token in line for line in browser.processes)
    async with aiohttp.ClientSession() as session:
        for path in ("", "/", "/ws", "/static/js/textual.js", f"/{token[:-1]}/", f"/{token[::-1]}/ws"):
            async with session.get(root + path) as refused:
                assert refused.status == 404, path
        async with session.get(browser.address) as page:
            assert page.status == 200
            assert page.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'self'" in page.headers["Content-Security-Policy"]
