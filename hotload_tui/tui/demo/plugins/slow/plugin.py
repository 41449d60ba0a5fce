"""Needs a second and a half to load, as a plugin that reads a large file."""

import time

time.sleep(1.5)


def search(text: str) -> list[str]:
    return [word for word in ("hot", "reload", "hotload") if text in word]


def register(ctx) -> None:
    ctx.hook("search", search)
