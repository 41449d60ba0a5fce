"""``Ready``: a proven trial that waits for the swap of its batch, and how its plugin stands after it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.events import PluginLoaded, Step
from hotload_tui.core.loader import LivePlugin
from hotload_tui.core.plugin import Fault, PluginState, PluginStatus


class Ready(Struct, frozen=True):
    """A trial, and what the status needs besides it."""

    trial: LivePlugin
    compile_seconds: float
    source_digest: str
    fault: Fault | None = None
    """Why it is not the newest source that serves; ``None`` when it is."""
    held: str = ""
    """Why the plugin does not follow its source."""

    @property
    def digest(self) -> str:
        """Digest of its artifact."""
        return self.trial.generation.artifact.manifest.digest

    def status(self, before: PluginStatus) -> PluginStatus:
        """Return how the plugin stands once the trial serves."""
        trial = self.trial
        state = PluginState.OK if self.fault is None else PluginState.STALE
        return replace(
            before,
            state=PluginState.HELD if self.held else state,
            digest=self.digest,
            source_digest=self.source_digest,
            generation=trial.generation.number,
            points=trial.places,
            compile_seconds=self.compile_seconds,
            load_seconds=trial.load_seconds,
            loaded_at=trial.loaded_at,
            reloads=before.reloads + (before.generation != 0),
            fault=self.fault,
            memory="",
            left=(),
            held=self.held,
            waits="",
        )

    def event(self, swap_seconds: float) -> PluginLoaded:
        """Return what is told once it serves; the swap is that of its whole batch."""
        trial = self.trial
        return PluginLoaded(
            trial.loaded_at,
            trial.name,
            trial.generation.number,
            self.digest,
            trial.places,
            trial.load_seconds,
            (*trial.steps, Step("swap", swap_seconds)),
        )


def unserved(status: PluginStatus) -> PluginStatus:
    """Return how a plugin stands of which nothing serves; why is for the caller to say."""
    return replace(
        status,
        digest="",
        generation=0,
        points=(),
        loaded_at=0.0,
        load_seconds=0.0,
        fault=None,
        held="",
        waits="",
    )
