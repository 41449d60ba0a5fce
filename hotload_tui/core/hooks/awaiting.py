"""A handler that is a coroutine function, called from where nothing can be awaited."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from types import CoroutineType
from typing import TYPE_CHECKING, NoReturn

from hotload_tui.core.errors import HookError
from hotload_tui.core.hooks.handler import Handler

if TYPE_CHECKING:
    import asyncio  # 20 ms, which a host without an event loop does not pay


def refuse(handler: Handler, coroutine: CoroutineType[object, object, object]) -> NoReturn:
    """Close a coroutine that nobody would await.

    Raises: HookError.
    """
    coroutine.close()
    message = "the handler is a coroutine function; the host must use acall, afirst or apipe"
    code = coroutine.cr_code
    raise HookError(handler.plugin, message, file=code.co_filename, line=code.co_firstlineno)


def waited_for(handler: Handler, value: object, loop: asyncio.AbstractEventLoop | None) -> object:
    """Return what is awaited, on ``loop`` if that runs, else on a loop of its own; other values as they are.

    Raises: HookError in a thread whose event loop would have to stand still meanwhile.
    """
    if not inspect.isawaitable(value):
        return value
    import asyncio

    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - asyncio documents it
        return refuse(handler, value) if type(value) is CoroutineType else value
    awaitable: Awaitable[object] = value

    async def waiting() -> object:
        try:
            return await awaitable
        except asyncio.CancelledError:
            raise HookError(handler.plugin, "the handler was cancelled") from None

    if loop is not None and loop.is_running():
        return asyncio.run_coroutine_threadsafe(waiting(), loop).result()
    return asyncio.run(waiting())
