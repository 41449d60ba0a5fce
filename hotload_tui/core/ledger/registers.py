"""All registers of the process that are small enough to be read whole at each load."""

from __future__ import annotations

import gc
import locale
import logging
import os
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import cast

from hotload_tui.core.ledger.codings import SearchFunctions, error_handlers
from hotload_tui.core.ledger.endings import ExitFunctions, Finalizers, Signals
from hotload_tui.core.ledger.logs import Logging
from hotload_tui.core.ledger.register import Environment, Register, Sequence, Setting, Table


def registers(is_plugins: Callable[[object], bool]) -> Iterator[Register]:
    """Yield one of each category; ``is_plugins`` tells what belongs to any plugin."""
    yield Environment()
    yield from _settings()
    yield from _lists()
    yield Signals(is_plugins)
    yield Logging(is_plugins)
    yield ExitFunctions()
    yield Finalizers()
    yield SearchFunctions()
    yield Table("codec error handler", ("register_error",), error_handlers)
    yield Table("codec", ("codecs",), _of_module("encodings", "_cache"))
    yield Table("copyreg", ("copyreg",), _of_module("copyreg", "dispatch_table"))
    yield Table("sqlite3 adapter", ("register_adapter",), _of_module("sqlite3", "adapters"))
    yield Table("sqlite3 converter", ("register_converter",), _of_module("sqlite3", "converters"))


def _settings() -> Iterator[Setting]:
    yield Setting("working directory", ("chdir", "fchdir"), os.getcwd, lambda to: os.chdir(str(to)))
    yield Setting(
        "locale",
        ("setlocale",),
        lambda: locale.setlocale(locale.LC_ALL),
        lambda to: locale.setlocale(locale.LC_ALL, str(to)),
    )
    yield Setting(
        "recursion limit",
        ("setrecursionlimit",),
        sys.getrecursionlimit,
        lambda to: sys.setrecursionlimit(cast("int", to)),
    )
    yield Setting(
        "switch interval",
        ("setswitchinterval",),
        sys.getswitchinterval,
        lambda to: sys.setswitchinterval(cast("float", to)),
    )
    yield Setting(
        "garbage collection",
        ("gc",),
        gc.isenabled,
        lambda to: gc.enable() if to else gc.disable(),
    )
    yield Setting(
        "logging threshold",
        ("disable",),
        lambda: logging.root.manager.disable,
        lambda to: logging.disable(cast("int", to)),
    )


def _lists() -> Iterator[Sequence]:
    yield Sequence("sys.path", ("path", "addsitedir"), lambda: cast("list[object]", sys.path))
    yield Sequence("sys.meta_path", ("meta_path",), lambda: cast("list[object]", sys.meta_path))
    yield Sequence("sys.path_hooks", ("path_hooks",), lambda: cast("list[object]", sys.path_hooks))
    yield Sequence("gc.callbacks", ("callbacks",), lambda: cast("list[object]", gc.callbacks))
    yield Sequence("mock patcher", ("patch",), _active_patches)
    yield Sequence(
        "warnings filter",
        ("simplefilter", "filterwarnings", "filters", "resetwarnings"),
        lambda: cast("list[object]", warnings.filters),
        getattr(warnings, "_filters_mutated", None),  # else the registries of modules do not notice
    )


def _active_patches() -> list[object]:
    """Return what ``unittest.mock`` keeps of patches that were started, for ``patch.stopall``."""
    patcher = getattr(sys.modules.get("unittest.mock"), "_patch", None)
    return cast("list[object]", getattr(patcher, "_active_patches", []))


def _of_module(module: str, name: str) -> Callable[[], MutableMapping[Hashable, object] | None]:
    """Return a function that gives a module's dictionary, if it is imported."""
    return lambda: cast(
        "MutableMapping[Hashable, object] | None", getattr(sys.modules.get(module), name, None)
    )
