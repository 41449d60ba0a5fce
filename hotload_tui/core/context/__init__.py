"""What ``register(ctx)`` gets: hooks, state, clean-up, and threads and tasks that end with the plugin."""

from hotload_tui.core.context.context import PluginContext, StagedHook
from hotload_tui.core.context.state import KeptState, PluginState
from hotload_tui.core.context.workers import Worker, current_worker

__all__ = [
    "KeptState",
    "PluginContext",
    "PluginState",
    "StagedHook",
    "Worker",
    "current_worker",
]
