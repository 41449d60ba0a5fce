"""A handler that is a coroutine function, called from where nothing can be awaited."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Coroutine
from types import AsyncGeneratorType, CoroutineType
from typing import TYPE_CHECKING, Final, NoReturn

from hotload_tui.core.errors import HookError
from hotload_tui.core.hooks.flight import CallRecord
from hotload_tui.core.hooks.handler import Handler

if TYPE_CHECKING:
    import asyncio  # 20 ms, which a host without an event loop does not pay

_LOOK: Final = 1.0
"""Seconds between two looks whether the event loop that is waited for still runs."""


def refuse(handler: Handler, coroutine: CoroutineType[object, object, object]) -> NoReturn:
    """Close a coroutine that nobody would await.

    Raises: HookError.
    """
    coroutine.close()
    message = "the handler is a coroutine function; the host must use acall, afirst or apipe"
    code = coroutine.cr_code
    raise HookError(handler.plugin, message, file=code.co_filename, line=code.co_firstlineno)


def unread(handler: Handler, generator: AsyncGeneratorType[object, object]) -> HookError:
    """Return why what a handler gave cannot be shown; the host that asks for it reads it."""
    message = (
        "the handler is an asynchronous generator, which a call by hand does not read; the host does, with"
        " 'async for'"
    )
    code = generator.ag_code
    return HookError(handler.plugin, message, file=code.co_filename, line=code.co_firstlineno)


def waited_for(handler: Handler, value: object, record: CallRecord) -> object:
    """Return what is awaited, on the host's event loop if that runs, else on a new one; others as they are.

    ``record`` tells meanwhile where it is.

    Raises: HookError in a thread whose event loop would have to stand still meanwhile.
    """
    if not inspect.isawaitable(value):
        return value
    import asyncio

    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - asyncio documents it
        return refuse(handler, value) if type(value) is CoroutineType else value
    awaitable: Awaitable[object] = value

    async def waiting() -> object:
        record.task = task = asyncio.current_task()
        try:
            return await awaitable
        except asyncio.CancelledError:
            if task and task.cancelling():  # by Ctrl-C, or the end of the host's loop
                raise
            raise HookError(handler.plugin, "the handler was cancelled") from None
        finally:
            record.task = None

    flight = record.table.flight
    loop = flight.loop if flight is not None else None
    if loop is not None and loop.is_running():
        return _elsewhere(handler, waiting(), loop)
    return asyncio.run(waiting())


def _elsewhere(
    handler: Handler, coroutine: Coroutine[object, object, object], loop: asyncio.AbstractEventLoop
) -> object:
    """Wait for what runs on the event loop of another thread, as long as that goes on."""
    import asyncio
    from concurrent.futures import CancelledError, wait

    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        while loop.is_running() and not wait([future], _LOOK).done:
            pass
    finally:
        future.cancel()  # if it is not done: the loop ended, or who waits was interrupted
    try:
        return future.result()
    except CancelledError:
        message = "the host's event loop ended before the handler did"
        raise HookError(handler.plugin, message) from None
