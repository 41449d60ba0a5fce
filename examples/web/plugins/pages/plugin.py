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
    """Answer this plugin's paths, and leave others to other plugins."""
    if request.url.path == "/":
        return JSONResponse({"versions": [VERSION]})
    if request.url.path == "/slow":  # time for a reload in between
        await asyncio.sleep(0.01)
        from .texts import VERSION as later  # noqa: N811 - of this version, even if there is a newer one

        return JSONResponse({"versions": [VERSION, later]})
    return None


def register(ctx: PluginContext) -> None:
    """Register the pages."""
    ctx.hook("route", route)
