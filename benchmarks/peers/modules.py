"""The plugins as plain modules, for peers that reload imported modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import cast

from protocol import Task


def imported(task: Task) -> list[ModuleType]:
    """Import each plugin's plugin.py.

    Bytecode caches are off: those of modules that are saved twice in a second would be stale.
    """
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(task.root / "plugins"))
    return [importlib.import_module(f"{name}.plugin") for name in task.names]


def lowest_of(modules: list[ModuleType]) -> int:
    """Return the least of the plugins' answers."""
    return min(cast("Callable[[], int]", module.answer)() for module in modules)
