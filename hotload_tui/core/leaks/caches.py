"""What the standard library keeps of modules that are gone: loggers by name, caches of types."""

from __future__ import annotations

import ctypes
import gc
import inspect
import logging
import sys
import typing
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import cast

from hotload_tui.core.leaks.island import is_module, namespace_of, of_type


def collect() -> None:
    """Free what is only held by cycles; 0.1 s with a million objects."""
    gc.collect()


def forget(root: str) -> None:
    """Take what belongs to modules whose names begin with ``root`` out of registers that only grow."""
    _forget_loggers(root)
    for name, kind in (
        ("_overload_registry", typing),
        ("modulesbyfile", inspect),
        ("_filesbymodname", inspect),
    ):
        _forget_modules(getattr(kind, name, None), root)
    for clear in cast("Iterable[Callable[[], None]]", getattr(typing, "_cleanups", ())):
        clear()  # the caches of List[X] and the like
    _forget_types(getattr(ctypes, "_pointer_type_cache", None), root)
    _forget_warnings(root)


def is_within(name: object, root: str) -> bool:
    """Tell whether ``name`` is ``root``, or of something in it."""
    return type(name) is str and (name == root or name.startswith(f"{root}."))


def _forget_loggers(root: str) -> None:
    manager = logging.Logger.manager
    with logging._lock:  # type: ignore[attr-defined]  # noqa: SLF001 - as logging does; typeshed hides it
        for name in [name for name in manager.loggerDict if is_within(name, root)]:
            del manager.loggerDict[name]
        above = root
        while above:
            above = above.rpartition(".")[0]
            holder = manager.loggerDict.get(above)
            if isinstance(holder, logging.PlaceHolder):
                for logger in [logger for logger in holder.loggerMap if is_within(logger.name, root)]:
                    del holder.loggerMap[logger]


def _forget_modules(register: object, root: str) -> None:
    """Forget what is kept by module name, or is one."""
    if isinstance(register, dict):
        for key, value in dict.copy(register).items():
            if is_within(key, root) or is_within(value, root):
                register.pop(key, None)


def _forget_types(cache: object, root: str) -> None:
    """Forget what is kept by a class, or by a tuple with one in it."""
    if type(cache) is dict:
        for key in list(cache):
            kinds = [part for part in (key if type(key) is tuple else (key,)) if issubclass(type(part), type)]
            if any(is_within(of_type(kind, "__module__"), root) for kind in kinds):
                cache.pop(key, None)


def _forget_warnings(root: str) -> None:
    """Forget warnings of the plugin's own categories, noted in the namespaces of modules of others."""
    plugins = f"{root.rsplit('.', 2)[0]}."
    for name, module in sys.modules.copy().items():
        if type(module) is ModuleType:  # of thousands nearly all, and this is done for each generation
            registry = module.__dict__.get("__warningregistry__")
        elif is_module(module) and not (type(name) is str and name.startswith(plugins)):
            registry = namespace_of(module).get("__warningregistry__")
        else:
            continue  # a plugin's stable name: what it leads to is seen under its own
        if registry:
            _forget_types(registry, root)
    _forget_types(getattr(warnings, "onceregistry", None), root)
