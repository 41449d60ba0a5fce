"""The commands that can be taken back, newest last."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hotload_tui.core.errors import RefusedError

_KEPT = 20


class Undo:
    """Remembers how to take commands back; used by one thread at a time."""

    def __init__(self) -> None:
        self._steps: deque[tuple[str, Callable[[], object]]] = deque(maxlen=_KEPT)

    def add(self, command: str, reverse: Callable[[], object]) -> None:
        """Note a command that was carried out, and how to take it back."""
        self._steps.append((command, reverse))

    def last(self) -> str:
        """Take the last command back, and return it; one that cannot be taken back is forgotten.

        Raises ``RefusedError``: there is none; and what taking it back raises.
        """
        if not self._steps:
            raise RefusedError(
                "there is nothing to undo: no disable, enable or clean is left to be taken back"
            )
        command, reverse = self._steps.pop()
        reverse()
        return command
