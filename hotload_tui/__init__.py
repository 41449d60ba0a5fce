"""Plugins that reload while the program runs.

>>> from hotload_tui import Config, HookHost, HotloadManager
>>> host = HookHost()
>>> with HotloadManager(host, Config()) as manager:  # scan, compile, load, watch
...     host.call("greet", "Ada")  # values, in order of priority
"""

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.config import Config
from hotload_tui.core.config_loader import load_config
from hotload_tui.core.context import PluginContext
from hotload_tui.core.errors import HotloadError
from hotload_tui.core.hooks import HookHost
from hotload_tui.core.manager import HotloadManager
from hotload_tui.core.plugin import Fault, PluginState, PluginStatus

__all__ = [
    "Config",
    "Fault",
    "HookHost",
    "HotloadError",
    "HotloadManager",
    "ManagerApi",
    "PluginContext",
    "PluginState",
    "PluginStatus",
    "load_config",
]
