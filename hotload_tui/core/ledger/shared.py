"""``SharedModules``: the modules that are no plugin's, listed again and again while plugins are loaded."""

from __future__ import annotations

import sys
from itertools import filterfalse
from types import ModuleType

from hotload_tui.core.ledger.owner import Owner


class SharedModules:
    """The names of shared modules, in the order in which they were first seen."""

    def __init__(self, plugins: Owner) -> None:
        self._plugins = plugins
        self._seen: set[object] = set()
        self._names: list[str] = []
        self._last: object = None
        self._count = self._head = self._first = 0

    def names(self) -> list[str]:
        """Return those that are there, and perhaps some that are gone; the list grows in place."""
        came = self._came()
        is_whole = came is None
        came = self._all() if came is None else came
        unseen = list(filterfalse(self._seen.__contains__, came))
        self._seen.update(unseen)
        self._names += [name for name in unseen if type(name) is str and not self._plugins.has_name(name)]
        if is_whole:
            self._head, self._first = self._count, len(self._names)
        return self._names

    def modules(self) -> list[ModuleType | None]:
        """Return the same modules as before as long as none came, went or was replaced."""
        names = self.names()
        # The first of all lie side by side; to look up each by name takes twice as long.
        return [*list(sys.modules.values())[: self._head], *map(sys.modules.get, names[self._first :])]

    def let_go(self) -> None:
        """Have the next look be at all of them."""
        self._last = None

    def _came(self) -> list[object] | None:
        """Return the names that came since the last look; ``None`` if it takes a look at all to tell."""
        came: list[object] = []
        if self._last is None:
            return None
        try:
            for name in reversed(sys.modules):  # thousands of plugins' stand before the one that was loaded
                if name is self._last:
                    break
                came.append(name)
        except RuntimeError:  # another thread imports meanwhile
            return None
        if self._count + len(came) != len(sys.modules):  # something was taken out
            return None
        if came:
            self._last, self._count = came[0], self._count + len(came)
        return came[::-1]

    def _all(self) -> list[object]:
        # Hundreds of modules of others, and thousands of plugins', at each load: no calls but C's.
        names: list[object] = list(sys.modules)
        self._last, self._count = names[-1], len(names)
        if len(self._seen) > 2 * len(names):  # mostly names of generations that are gone
            self._seen.clear()
            self._names.clear()
        return names
