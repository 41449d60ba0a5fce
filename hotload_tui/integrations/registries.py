"""Entries of libraries that know each name once: metrics, jobs, commands, cogs.

Each function declares one entry in ``register``; it exists while the version is live::

    REQUESTS = Counter("requests", "Requests so far", registry=None)

    def register(ctx):
        own_metric(ctx, REQUESTS)

A reload exchanges the entry in one step, unless its name changes. If the new version does not load, the entry
stays as it is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from hotload_tui.core.runtime.context import PluginContext

if TYPE_CHECKING:
    import click
    from discord.ext import commands
    from prometheus_client.registry import Collector, CollectorRegistry

_T = TypeVar("_T")
_PATIENCE: Final = 5.0  # seconds for the event loop of a bot


# ---- prometheus_client


def own_metric(ctx: PluginContext, metric: Collector, registry: CollectorRegistry | None = None) -> None:
    """Publish a metric that was made with ``registry=None``, by default in ``prometheus_client.REGISTRY``.

    Its values start at zero in each version, as after a restart, which ``rate`` and ``increase`` expect.
    """
    from prometheus_client import REGISTRY

    at = REGISTRY if registry is None else registry

    def acquire() -> Collector:
        try:
            at.register(metric)
        except ValueError as error:
            error.add_note("a metric for own_metric is made with registry=None")
            raise
        return metric

    def replace(previous: Collector) -> Collector:
        at.unregister(previous)
        try:
            return acquire()
        except ValueError:
            at.register(previous)
            raise

    names = [family.name for family in getattr(metric, "describe", list)()]
    ctx.own(f"metric {', '.join(names) or type(metric).__name__}", acquire, at.unregister, replace=replace)


# ---- APScheduler


class Scheduler(Protocol):
    """A scheduler of APScheduler 3."""

    def add_job(  # type: ignore[explicit-any] # any parameters
        self,
        func: Callable[..., object],
        trigger: object,
        *,
        id: str,  # noqa: A002 - the name that APScheduler uses
        replace_existing: bool,
        **options: object,
    ) -> object:
        """Add a job."""
        ...

    def modify_job(self, job_id: str, *, func: Callable[..., object]) -> object:  # type: ignore[explicit-any] # any parameters
        """Change the function of a job."""
        ...

    def remove_job(self, job_id: str) -> None:
        """Remove a job."""
        ...


def own_job(  # type: ignore[explicit-any] # a job takes any parameters
    ctx: PluginContext,
    scheduler: Scheduler,
    function: Callable[..., object],
    trigger: object,
    *,
    id: str,  # noqa: A002 - the name that APScheduler uses
    **options: object,
) -> None:
    """Run ``function`` as the job ``id``; the arguments are those of ``scheduler.add_job``.

    A reload that changes only the function does not move the job's next run.
    """
    schedule = repr((trigger, options))

    def add(*, replace_existing: bool) -> str:
        scheduler.add_job(function, trigger, id=id, replace_existing=replace_existing, **options)
        return schedule

    def replace(previous: str) -> str:
        if previous != schedule:
            return add(replace_existing=True)
        scheduler.modify_job(id, func=function)
        return schedule

    ctx.own(
        f"job {id}",
        lambda: add(replace_existing=False),
        lambda: scheduler.remove_job(id),
        replace=replace,
    )


# ---- click


def own_command(
    ctx: PluginContext, group: click.Group, command: click.Command, name: str | None = None
) -> None:
    """Add a command to a group; the command that had the name before returns when the plugin is unloaded."""
    called = name or command.name or ""

    def add() -> click.Command | None:
        before = group.commands.get(called)
        group.add_command(command, called)
        return before

    def remove(before: click.Command | None) -> None:
        if before is None:
            del group.commands[called]
        else:
            group.add_command(before, called)

    def replace(before: click.Command | None) -> click.Command | None:
        group.add_command(command, called)
        return before

    ctx.own(f"command {group.name} {called}", add, remove, replace=replace)


# ---- discord.py


def own_cog(ctx: PluginContext, bot: commands.Bot, cog: commands.Cog) -> None:
    """Add a cog to a bot of discord.py.

    The coroutines ``cog_load`` and ``cog_unload`` run on the bot's event loop if it runs, else on a loop of
    their own. ``bot.tree.sync`` remains the task of the program.
    """
    name = cog.qualified_name

    async def exchange(previous: commands.Cog) -> commands.Cog:
        await bot.remove_cog(name)
        try:
            await bot.add_cog(cog)
        except BaseException:
            await bot.add_cog(previous)
            raise
        return cog

    async def add() -> commands.Cog:
        await bot.add_cog(cog)
        return cog

    ctx.own(
        f"cog {name}",
        lambda: _run(bot, add),
        lambda: _run(bot, lambda: bot.remove_cog(name)),
        replace=lambda previous: _run(bot, lambda: exchange(previous)),
    )


def _run(bot: commands.Bot, function: Callable[[], Coroutine[object, object, _T]]) -> _T:
    """Run a coroutine function where the bot lives, and return its value."""
    loop: object = bot.loop  # an object that is no loop, until the bot starts
    if not isinstance(loop, asyncio.AbstractEventLoop) or not loop.is_running():
        return asyncio.run(function())
    is_given_up = threading.Event()

    async def run() -> _T:
        if is_given_up.is_set():  # the cancellation may come after the first step
            raise asyncio.CancelledError
        return await function()

    future = asyncio.run_coroutine_threadsafe(run(), loop)
    try:
        return future.result(_PATIENCE)
    except TimeoutError as error:
        if future.done():  # the coroutine raised it
            raise
        is_given_up.set()
        future.cancel()
        problem = "the event loop of the bot did not answer: on that loop, reload with asyncio.to_thread"
        raise RuntimeError(problem) from error
