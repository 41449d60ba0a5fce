"""Measures the entropy of a file in bits per byte: first in Rust, then in Python.

It is high for keys and compressed files, and low for prose and code.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from hotload_tui import PluginContext

from . import twin
from .fast import library

library.entropy.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
library.entropy.restype = ctypes.c_double


def in_rust(path: str) -> float:
    """Measure with the function of ``src/lib.rs``."""
    content = Path(path).read_bytes()
    return round(float(library.entropy(content, len(content))), 6)


def in_python(path: str) -> float:
    """Measure with the function of ``twin.py``."""
    return round(twin.entropy(Path(path).read_bytes()), 6)


def register(ctx: PluginContext) -> None:
    """Put both at one hook point, so that one call shows both results and both times."""
    ctx.hook("entropy", in_rust, priority=10)
    ctx.hook("entropy", in_python, priority=20)
