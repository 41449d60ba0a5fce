"""``LivePlugin``: a proven generation, from its swap to its retirement."""

from __future__ import annotations

from dataclasses import dataclass

from hotload_tui.core.context import PluginContext, PluginState
from hotload_tui.core.events import Step
from hotload_tui.core.generation import Generation
from hotload_tui.core.hooks import Handler
from hotload_tui.core.ledger import Ledger
from hotload_tui.core.plugin import HookPlace

_NEVER = 0.0


@dataclass(eq=False, slots=True)
class LivePlugin:
    """A generation with what it registered."""

    name: str
    generation: Generation
    context: PluginContext
    state: PluginState
    handlers: tuple[Handler, ...]
    load_seconds: float
    ledger: Ledger
    """What it started or changed in the process."""
    steps: tuple[Step, ...] = ()
    """What took how long while it was loaded."""
    loaded_at: float = _NEVER
    """When it was swapped in, seconds since the epoch; 0 before that."""

    @property
    def places(self) -> tuple[HookPlace, ...]:
        """Where it is registered, in order of name."""
        return tuple(sorted({HookPlace(handler.point, handler.priority) for handler in self.handlers}))
