"""Mistakes that type checkers must find: a missed one makes its ``type: ignore`` an error."""

from __future__ import annotations

from hotload_tui import HookHost, HookPoint, PluginContext


@HookPoint
def greet(name: str) -> str:
    """Return a greeting."""
    raise NotImplementedError


def of_a_number(name: int) -> str:
    """Take another type."""
    return str(name)


def returning_a_number(name: str) -> int:
    """Return another type."""
    return len(name)


def with_one_more(name: str, greeting: str) -> str:
    """Require an additional argument."""
    return greeting + name


def with_another_name(who: str) -> str:
    """Rename a parameter, which the program may pass by name."""
    return who


async def returning_a_number_later(name: str) -> int:
    """Return another type asynchronously."""
    return len(name)


def register(ctx: PluginContext) -> None:
    """Register handlers that do not fit."""
    ctx.hook(greet, of_a_number)  # type: ignore[misc]
    ctx.hook(greet, returning_a_number)  # type: ignore[misc]
    ctx.hook(greet, with_one_more)  # type: ignore[misc]
    ctx.hook(greet, with_another_name)  # type: ignore[misc]
    ctx.hook(greet, returning_a_number_later)  # type: ignore[misc]
    ctx.hook(greet)(of_a_number)  # type: ignore[arg-type]
    ctx.hook(greet, "hello")  # type: ignore[misc]
    ctx.own(1, int)  # type: ignore[arg-type]
    ctx.own("it", str, with_one_more)  # type: ignore[arg-type]
    ctx.own("it", int, replace=lambda: 1)  # type: ignore[arg-type, misc]
    ctx.listen("127.0.0.1")  # type: ignore[call-arg]


def run(host: HookHost) -> None:
    """Call hook points with arguments and results that do not fit."""
    host.call(greet, 1)  # type: ignore[call-overload]
    host.call(greet)  # type: ignore[call-overload]
    host.call(greet, who="Ada")  # type: ignore[call-overload]
    host.first(greet, "Ada", "Eve")  # type: ignore[call-overload]
    numbers: list[int] = host.call(greet, "Ada")  # type: ignore[call-overload]
    assert numbers
