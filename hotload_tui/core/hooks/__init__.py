"""Hook points: what plugins register there, who is calling, and the host's way of calling."""

from hotload_tui.core.hooks.fence import FaultObserver
from hotload_tui.core.hooks.flight import CallRecord
from hotload_tui.core.hooks.handler import Handler, HookFunction
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.hooks.point import Decorator, Fitting, HookPoint, NamedPoint, place_of
from hotload_tui.core.hooks.table import HookTable

__all__ = [
    "CallRecord",
    "Decorator",
    "FaultObserver",
    "Fitting",
    "Handler",
    "HookFunction",
    "HookHost",
    "HookPoint",
    "HookTable",
    "NamedPoint",
    "place_of",
]
