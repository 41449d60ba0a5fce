"""Plugins that reload while the program runs.

>>> from hotload_tui import Config, HookHost, HotloadManager
>>> host = HookHost()
>>> with HotloadManager(host, Config()) as manager:  # scan, compile, load, watch
...     host.call("greet", "Ada")  # values, in order of priority
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotload_tui.core.api import ManagerApi
    from hotload_tui.core.compiler import Compiler
    from hotload_tui.core.config import Config
    from hotload_tui.core.config_files import load_config
    from hotload_tui.core.errors import HotloadError
    from hotload_tui.core.hooks.host import HookHost, running_host
    from hotload_tui.core.hooks.point import HookPoint
    from hotload_tui.core.manager.manager import HotloadManager, follow_config
    from hotload_tui.core.model import Fault, PluginState, PluginStatus
    from hotload_tui.core.runtime.context import PluginContext
    from hotload_tui.core.runtime.loader import Loader
    from hotload_tui.core.watch.watcher import Watcher
    from hotload_tui.integrations.prometheus import prometheus_text

__all__ = [
    "Compiler",
    "Config",
    "Fault",
    "HookHost",
    "HookPoint",
    "HotloadError",
    "HotloadManager",
    "Loader",
    "ManagerApi",
    "PluginContext",
    "PluginState",
    "PluginStatus",
    "Watcher",
    "follow_config",
    "load_config",
    "prometheus_text",
    "running_host",
]

# Each name is imported on first access, so that a command does not wait for imports that it does not need.
_HOMES = {
    "Compiler": "hotload_tui.core.compiler",
    "Config": "hotload_tui.core.config",
    "Fault": "hotload_tui.core.model",
    "HookHost": "hotload_tui.core.hooks.host",
    "HookPoint": "hotload_tui.core.hooks.point",
    "HotloadError": "hotload_tui.core.errors",
    "HotloadManager": "hotload_tui.core.manager.manager",
    "Loader": "hotload_tui.core.runtime.loader",
    "ManagerApi": "hotload_tui.core.api",
    "PluginContext": "hotload_tui.core.runtime.context",
    "PluginState": "hotload_tui.core.model",
    "PluginStatus": "hotload_tui.core.model",
    "Watcher": "hotload_tui.core.watch.watcher",
    "follow_config": "hotload_tui.core.manager.manager",
    "load_config": "hotload_tui.core.config_files",
    "load_ipython_extension": "hotload_tui.integrations.ipython",
    "prometheus_text": "hotload_tui.integrations.prometheus",
    "running_host": "hotload_tui.core.hooks.host",
    "unload_ipython_extension": "hotload_tui.integrations.ipython",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
