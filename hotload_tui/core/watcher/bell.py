"""The bell: the system's notification of changes, as an interface that tests can make deaf."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeAlias


class Ended(Protocol):
    """Asked at every step whether to go on listening."""

    def is_set(self) -> bool:
        """Tell whether to stop; the first question says that the bell listens now."""
        ...


class Bell(Protocol):
    """Listens below some directories, at the latest from the first ``wait`` on, until it is closed."""

    def wait(self, ended: Ended) -> Collection[str] | None:
        """Return paths where something happened; ``None`` once ``ended``, or if some may have been lost.

        Raises whatever makes it useless; a new one is made then.
        """
        ...

    def interrupt(self) -> None:
        """Have ``wait`` ask soon whether it is ended; called from other threads."""
        ...

    def close(self) -> None:
        """Give back what the system lent; nothing else is called afterwards."""
        ...


Hang: TypeAlias = Callable[[Sequence[str], bool], Bell]
"""Makes a bell for directories and all below them; with ``True``, of those that can be watched."""
