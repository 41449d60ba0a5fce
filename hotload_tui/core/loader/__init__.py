"""An artifact becomes a live generation, a live one a retired one."""

from hotload_tui.core.loader.live import LivePlugin
from hotload_tui.core.loader.load import Outcome, Wanted
from hotload_tui.core.loader.loader import Loader
from hotload_tui.core.loader.retirement import Retirement
from hotload_tui.core.loader.trials import MainTrials, Trials, WorkerTrials

__all__ = ["LivePlugin", "Loader", "MainTrials", "Outcome", "Retirement", "Trials", "Wanted", "WorkerTrials"]
