"""Leaves a function in a list of the program."""

from keeper import callbacks


def notify() -> str:
    return "saved"


def subscribe() -> None:
    callbacks.append(notify)


def register(ctx) -> None:
    ctx.hook("subscribe", subscribe)
