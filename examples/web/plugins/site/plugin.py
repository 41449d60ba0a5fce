"""The answer to a request: calls the routes, wrapped in the middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from hotload_tui import HookHost, PluginContext

Endpoint = Callable[[Request], Awaitable[Response]]


async def answer(request: Request, host: HookHost) -> Response:
    """Answer a request with the plugins that are live when it begins."""

    async def ask_routes(request: Request) -> Response:
        found = await host.afirst("route", request)
        return found if isinstance(found, Response) else PlainTextResponse("no such page", status_code=404)

    endpoint = cast(Endpoint, host.pipe("middleware", ask_routes))  # each plugin wraps the previous result
    return await endpoint(request)


def register(ctx: PluginContext) -> None:
    """Register the answer to all requests."""
    ctx.hook("request", answer)
