"""A web program whose routes and middleware are plugins: ``python server.py [--plugins DIR] [--port N]``."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hotload_tui import Config, HookHost, HotloadManager

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def make_app(config: Config) -> Starlette:
    """Return the program, which loads the plugins when it starts and unloads them when it ends."""
    host = HookHost()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with HotloadManager(host, config):
            yield

    async def answer(request: Request) -> Response:
        # One call, in which the plugins make further ones: a request sees one version of each plugin from its
        # beginning to its end, and a reload lets it finish.
        response = await host.afirst("request", request, host)
        return response if isinstance(response, Response) else PlainTextResponse("failed", status_code=500)

    return Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)], lifespan=lifespan)


def serve(plugins: Path, port: int) -> None:
    """Run on the loopback interface until interrupted, and print the address on standard output."""
    with tempfile.TemporaryDirectory(prefix="compiled-") as compiled:
        app = make_app(Config(runtime_dir=str(plugins), compiled_dir=compiled))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        with socket.create_server(("127.0.0.1", port)) as listener:
            # asyncio does this only if the protocol is named; otherwise each answer waits 40 ms for nothing
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/\n")
            sys.stdout.flush()
            asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--plugins", type=Path, default=Path(__file__).parent / "plugins")
    options.add_argument("--port", type=int, default=8000, help="0: any that is free")
    given = options.parse_args()
    serve(given.plugins, given.port)
