"""What a failed step becomes: a fault of its plugin, with the lines that were read."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from hotload_tui.core.errors import DiscoverError, HotloadError, LoadError, RegisterError, RequirementError
from hotload_tui.core.faults import TextOf, fault_of
from hotload_tui.core.plugin import Fault, Phase
from hotload_tui.core.source import Source, decoded


def failure(error: HotloadError, plugin: str, module_path: str, source: Source | None = None) -> Fault:
    """Return the fault of a plugin that could not be built or loaded; ``source`` is what was read of it."""
    return fault_of(
        error, phase=_phase(error), plugin=plugin, module_path=module_path, text_of=_texts(source)
    )


def is_same(fault: Fault, before: Fault | None) -> bool:
    """Tell whether the fault differs from the one before in nothing but its time."""
    return before is not None and replace(before, at=fault.at) == fault


def _phase(error: HotloadError) -> Phase:
    match error:
        case DiscoverError():
            return "discover"
        case LoadError() | RequirementError():
            return "load"
        case RegisterError():
            return "register"
        case _:
            return "compile"


def _texts(source: Source | None) -> TextOf:
    """Return the texts of a source that was read, by absolute path."""
    contents = {str(Path(source.root, file.path)): file.content for file in source.files} if source else {}

    def text_of(file: str) -> str | None:
        content = contents.get(file)
        return None if content is None else decoded(content)

    return text_of
