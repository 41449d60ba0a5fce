"""An artifact becomes a live generation, a live one a retired one."""

from hotload_tui.core.loader.live import LivePlugin
from hotload_tui.core.loader.loader import Loader
from hotload_tui.core.loader.retirement import Retirement

__all__ = ["LivePlugin", "Loader", "Retirement"]
