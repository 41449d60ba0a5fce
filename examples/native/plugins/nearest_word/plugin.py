"""Finds the word of a file that is nearest to a given one: first in Cython, then in Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hotload_tui import PluginContext

from . import fast, twin


def nearest(distance: Callable[[str, str], int], path: str, word: str) -> str:
    """Return the word with the smallest distance to ``word``; of several, the first by the alphabet."""
    words = sorted({*re.findall(r"\w+", Path(path).read_text())})
    return min(words, key=lambda each: distance(each, word), default="")


def in_cython(path: str, word: str) -> str:
    """Compare with the function of ``fast.pyx``."""
    return nearest(fast.distance, path, word)


def in_python(path: str, word: str) -> str:
    """Compare with the function of ``twin.py``."""
    return nearest(twin.distance, path, word)


def register(ctx: PluginContext) -> None:
    """Put both at one hook point, so that one call shows both results and both times."""
    ctx.hook("nearest_word", in_cython, priority=10)
    ctx.hook("nearest_word", in_python, priority=20)
