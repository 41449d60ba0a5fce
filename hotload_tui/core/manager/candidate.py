"""``Candidate``: what is to be tried of a plugin; once proven it waits for the swap of its batch."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.discovery import PluginDirectory
from hotload_tui.core.history import Hold
from hotload_tui.core.loader import LivePlugin
from hotload_tui.core.manager.attempts import Attempt
from hotload_tui.core.manager.ready import Ready
from hotload_tui.core.plugin import Fault, PluginState, PluginStatus
from hotload_tui.core.source import Source, SourceFile


class Candidate(Struct):
    """An artifact, and how its plugin stood before."""

    directory: PluginDirectory
    status: PluginStatus
    artifact: Artifact
    source_digest: str
    attempt: Attempt | None = None
    """Of a new source; ``None`` for an artifact from before."""
    is_settled: bool = True
    """Whether a failure is to be told at once: the file is not half-written."""
    hold: Hold | None = None
    """Why it is this artifact."""
    fault: Fault | None = None
    """Why it is not the newest source."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.directory.name

    def source(self) -> Source | None:
        """Return the source that was tried, with its files; ``None`` for an artifact from before."""
        if self.attempt is None:
            return None
        if self.attempt.source.files:
            return self.attempt.source
        members = [member for member in self.artifact.manifest.members if member.code_size]
        files = (SourceFile(each.path, self.artifact.source(each.path), each.sha256) for each in members)
        return replace(self.attempt.source, files=tuple(files))

    def ready(self, trial: LivePlugin) -> Ready:
        """Return what waits for the swap."""
        if self.attempt is not None:
            return Ready(trial, self.attempt.compile_seconds, self.attempt.source.digest)
        held, fault = (self.hold.reason, self.hold.fault) if self.hold else ("", self.fault)
        return Ready(trial, 0.0, self.source_digest, fault, held)


def again(directory: PluginDirectory, status: PluginStatus, live: LivePlugin) -> Candidate:
    """Return what serves of a plugin, to be loaded once more with what it requires."""
    is_held = status.state is PluginState.HELD
    hold = Hold(status.source_digest, status.digest, status.held, status.fault) if is_held else None
    return Candidate(
        directory, status, live.generation.artifact, status.source_digest, hold=hold, fault=status.fault
    )
