"""The pages: ``/`` and ``/slow``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import texts

if TYPE_CHECKING:
    from hotload_tui import PluginContext

VERSION = texts.VERSION


async def route(request: Request) -> Response | None:
    """Answer the paths that are ours; leave others to other plugins."""
    if request.url.path == "/":
        return JSONResponse({"versions": [VERSION]})
    if request.url.path == "/slow":  # time for a reload in the middle of it
        await asyncio.sleep(0.01)
        from .texts import VERSION as later  # noqa: N811 - this version's own, also when there is a newer one

        return JSONResponse({"versions": [VERSION, later]})
    return None


def register(ctx: PluginContext) -> None:
    """Serve the pages."""
    ctx.hook("route", route)
