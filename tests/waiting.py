"""The one way to wait in tests for a fact that arrives in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE: Final = 60.0
"""Seconds until a test gives up waiting; many, for a busy machine: no passing test waits that long."""

_STEP: Final = 0.005  # seconds between two checks

T = TypeVar("T")


def until(fact: Callable[[], T], why: Callable[[], str] = str) -> T:
    """Return the first true value of ``fact``; fail with the text of ``why`` after the time limit."""
    deadline = time.monotonic() + PATIENCE
    while not (value := fact()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain; {why()}"
        time.sleep(_STEP)
    return value


async def auntil(fact: Callable[[], T], why: Callable[[], str] = str) -> T:
    """Wait like ``until``, while the event loop runs."""
    deadline = time.monotonic() + PATIENCE
    while not (value := fact()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain; {why()}"
        await asyncio.sleep(_STEP)
    return value
