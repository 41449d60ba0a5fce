"""The console in a browser: a page on this machine, whose address contains a secret token.

Each tab is a console of its own, attached to the one host. The address is on the terminal only: no command
line contains it, which other users could read. Written against textual-serve 1.1.3, some of whose private
parts it uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

PATIENCE: Final = 2.0
"""Seconds that a console has to end."""

HOST: Final = "127.0.0.1"

_HEADERS: Final = {
    # Nothing comes from elsewhere, not even the page's fonts, and no other page can show this one in a frame.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data: ws:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Tab(AppService):
    """The console of one tab; it has ended when ``stop`` returns."""

    async def stop(self) -> None:
        """Ask the console to quit, and end it if it does not."""
        process = self._process
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await super().stop()
        if process is not None and process.returncode is None:
            self.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


class Page(Server):
    """Shows a console in each tab."""

    def __init__(self, console: Path) -> None:
        """``console`` is the socket of the manager to which the consoles attach.

        Raises:
            OSError: the system has no free port.

        """
        self._listener = socket.create_server((HOST, 0))
        port = self._listener.getsockname()[1]
        command = "exec " + shlex.join([sys.executable, "-m", "hotload_tui", "attach", str(console)])
        super().__init__(command, HOST, port, title="hotload")
        self._tabs: set[Tab] = set()
        self._token = secrets.token_urlsafe(32)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"{self.public_url}/{self._token}/"

    def run(self, ready: Callable[[], None]) -> None:
        """Answer until SIGINT, SIGTERM or SIGHUP; call ``ready`` when the page can be reached."""
        asyncio.run(self._answer(ready))

    async def _answer(self, ready: Callable[[], None]) -> None:
        async with self._listening():
            ended = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, ended.set)
            ready()
            await ended.wait()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        page = web.Application(middlewares=[_guarded])
        await self._add(page)
        runner = web.AppRunner(page, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, self._listener).start()
            yield
        finally:
            await asyncio.gather(*(tab.stop() for tab in self._tabs))
            await runner.cleanup()

    async def _add(self, page: web.Application) -> None:
        """Put the parts of the page below the token."""
        page.add_subapp(f"/{self._token}/", await self._make_app())

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a console for a tab until the tab is closed, or the user quits."""
        connection = web.WebSocketResponse(heartbeat=15)
        await connection.prepare(request)

        async def close() -> None:
            await connection.close()

        tab = Tab(
            self.command,
            write_bytes=connection.send_bytes,
            write_str=connection.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        await tab.start(*(to_int(request.query.get(side, ""), 80) for side in ("width", "height")))
        self._tabs.add(tab)
        try:
            await self._process_messages(connection, tab)
        finally:
            self._tabs.discard(tab)
            await tab.stop()
        return connection

    async def on_startup(self, app: web.Application) -> None:
        """Do nothing: the command prints the address."""


@web.middleware
async def _guarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    response = await handler(request)
    response.headers.update(_HEADERS)
    return response
