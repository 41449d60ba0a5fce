"""Whether a retired generation is gone from memory, and what is left of it."""

from hotload_tui.core.leaks.caches import collect, forget
from hotload_tui.core.leaks.remains import FREED, Remains

__all__ = ["FREED", "Remains", "collect", "forget"]
