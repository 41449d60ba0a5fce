"""Hook points: what plugins register there, who is calling, and the host's way of calling."""

from hotload_tui.core.hooks.flight import CallRecord
from hotload_tui.core.hooks.handler import Handler, HookFunction
from hotload_tui.core.hooks.host import FaultObserver, HookHost
from hotload_tui.core.hooks.table import HookTable

__all__ = ["CallRecord", "FaultObserver", "Handler", "HookFunction", "HookHost", "HookTable"]
