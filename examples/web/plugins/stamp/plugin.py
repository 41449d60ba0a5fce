"""Middleware that writes its version of the pages into headers, read before and after the page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from hotload_tui import PluginContext

Endpoint = Callable[[Request], Awaitable[Response]]

REQUIRES = ["pages"]  # reloaded together with this plugin, in one swap


def register(ctx: PluginContext) -> None:
    """Register the middleware for every page."""
    version = str(ctx.plugin("pages").VERSION)

    def wrap(page: Endpoint) -> Endpoint:
        async def stamped(request: Request) -> Response:
            before = version
            response = await page(request)
            response.headers["x-versions"] = f"{before},{version}"
            return response

        return stamped

    ctx.hook("middleware", wrap)
