"""Ends its process when its hook is called: it reads memory that is not there."""

import ctypes


def crash() -> bytes:
    return ctypes.string_at(0)


def register(ctx) -> None:
    ctx.hook("crash", crash)
