"""The witness: hears of every step into a plugin's code before it is taken.

A process that dies in such a step can tell nothing any more; what its witness wrote down names the plugin.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from hotload_tui.core.plugin import Phase


class Witness(Protocol):
    """Called before a step; what it returns is entered, and left when the step is over."""

    def __call__(self, phase: Phase, plugin: str, digest: str = "") -> AbstractContextManager[object]:
        """Hear that ``plugin``'s code is about to run; ``digest`` is that of its source, if it is known."""
        ...


def nobody(
    phase: Phase,  # noqa: ARG001 - a Witness's signature
    plugin: str,  # noqa: ARG001
    digest: str = "",  # noqa: ARG001
) -> AbstractContextManager[object]:
    """Hear nothing."""
    return _NOTHING


_NOTHING: AbstractContextManager[object] = nullcontext()
