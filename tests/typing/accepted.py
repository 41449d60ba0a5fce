"""A program and its plugin that use the whole public API; type checkers must accept it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from hotload_tui import (
    Config,
    Fault,
    HookHost,
    HookPoint,
    HotloadError,
    HotloadManager,
    ManagerApi,
    PluginContext,
    PluginState,
    PluginStatus,
    follow_config,
    load_config,
)
from hotload_tui.core.events import AnyEvent, PluginLoaded

# ---- shared by program and plugins


@HookPoint
def greet(name: str, *, loud: bool = False) -> str:
    """Return a greeting."""
    raise NotImplementedError


@HookPoint
def polish(text: str, language: str) -> str:
    """Return a better text."""
    raise NotImplementedError


def routes(prefix: str) -> dict[str, Callable[[str], str]]:
    """Return the function for each path."""
    raise NotImplementedError


kept = HookPoint(routes, live=True)


# ---- the plugin


def hello(name: str, *, loud: bool = False) -> str:
    """Return an answer, with exactly the hook point's parameters."""
    return name.upper() if loud else name


def generous(name: object, greeting: str = "Hello", *, loud: object = None) -> str:
    """Accept more than the hook point requires."""
    return f"{greeting} {name} {loud}"


async def later(name: str, *, loud: bool = False) -> str:
    """Return an answer that the program awaits."""
    await asyncio.sleep(0)
    return hello(name, loud=loud)


def later_text(name: str) -> str:
    """Return the text of a page."""
    return name


class Greeter:
    """A class that the program may keep."""

    def __init__(self, name: str) -> None:
        self.name = name


def register(ctx: PluginContext) -> None:
    """Use the whole of ``ctx``."""
    ctx.hook(greet, hello)
    ctx.hook(greet, generous, priority=50)
    ctx.hook(greet, later)

    @ctx.hook(greet)
    def again(name: str, *, loud: bool = False) -> str:
        return hello(name, loud=loud)

    @ctx.hook(polish, priority=10)
    async def polished(text: str, language: str) -> str:
        return await later(text + language)

    @ctx.hook("by name")
    def untyped(number: int) -> int:
        return number + 1

    ctx.hook("by name", untyped)
    ctx.hook(untyped)
    ctx.on_unload(lambda: None)
    ctx.state["greeted"] = again("Ada")
    ctx.log.info("%s %d %s", ctx.name, ctx.generation, ctx.settings.get("x"))
    live: Callable[[str], str] = ctx.live(later_text)

    @ctx.hook(kept)
    def pages(prefix: str) -> dict[str, Callable[[str], str]]:
        return {prefix: live}

    ctx.state["class"] = ctx.live(Greeter)("Ada").name

    @ctx.live
    def inner(number: int) -> int:
        return number

    ctx.state["number"] = inner(1) + sum(ctx.live([len])[0](text) for text in "ab")
    ctx.thread(lambda: None)
    ctx.task(polished("a", "b"))
    ctx.plugin("other")
    owned = ctx.own("port", lambda: socket.create_server(("127.0.0.1", 0)), socket.socket.close)
    port: int = owned.value.fileno()
    ctx.own("name", lambda: port, lambda: None, replace=lambda number: number + 1)
    ctx.own("flag", list[int]).value.append(1)
    listening: socket.socket = ctx.listen("127.0.0.1", 0, backlog=5, reuse_port=True)
    listening.settimeout(0.1)


# ---- the program


def report(fault: Fault | None, state: PluginState) -> str:
    """Use the public records."""
    return f"{state.glyph} {fault.message}" if fault is not None else state.value


def watch(manager: ManagerApi) -> list[str]:
    """Use the interface that consoles use."""

    def hear(event: AnyEvent) -> None:
        if isinstance(event, PluginLoaded):
            event.describe()

    undo = manager.subscribe(hear)
    undo()
    statuses: tuple[PluginStatus, ...] = manager.snapshot().plugins
    return [report(status.fault, status.state) for status in statuses]


def run() -> int:
    """Call hook points from a script."""
    host = HookHost()
    try:
        config = load_config(Path("hotload.toml"))
        with HotloadManager(host, config) as manager:
            follow_config(manager)
            texts: list[str] = host.call(greet, "Ada", loud=True)
            first: str | None = host.first(greet, "Ada")
            piped: str = host.pipe(polish, "text", "en")
            values: list[object] = host.call("by name", 1)
            pages: dict[str, Callable[[str], str]] = host.first(kept, "/") or {}
            values += [page("Ada") for page in pages.values()]
            texts += host.strict.call(greet, "Ada", loud=True)
            values += host.call("by name", 1, strict=True)
            shown = host.invoke(greet, "Ada").values
            return len([*texts, first, piped, *values, *shown, *watch(manager)])
    except HotloadError as error:
        return error.exit_code


async def run_async() -> str:
    """Call hook points from asyncio."""
    host = HookHost()
    async with HotloadManager(host, Config(enable_watch=False)) as manager:
        async with manager.events() as events:
            async for event in events:
                if isinstance(event, PluginLoaded):
                    break
        texts: list[str] = await host.acall(greet, "Ada")
        first: str | None = await host.afirst(greet, "Ada", loud=True)
        piped: str = await host.apipe(polish, "text", "en")
        return "".join([*texts, first or "", piped])
