"""Whether a retired generation is gone from memory, and what is left of it."""

from hotload_tui.core.leaks.caches import collect, forget
from hotload_tui.core.leaks.remains import FREED, Remains
from hotload_tui.core.leaks.young import collect_young

__all__ = ["FREED", "Remains", "collect", "collect_young", "forget"]
