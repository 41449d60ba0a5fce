"""Modules that plugins failed for want of: which can be found by now, and are not being installed still."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from hotload_tui.core.compiler import is_installed

_SIGHTS: Final = 2
"""Looks in a row that find the same of a module before it is imported."""

_CACHE: Final = "__pycache__"  # an import that fails writes there, too

_Extent: TypeAlias = tuple[int, ...]


class Installs:
    """Looks for missing modules; half of one could not be loaded, and would stay in the process."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[_Extent, int]] = {}  # what was found of a module, how often in a row

    def ready(self, lacking: Mapping[str, str]) -> list[str]:
        """Return the plugins to be tried again: once, and anew when what was found has changed.

        ``lacking`` has the module that each of them failed for want of.
        """
        before, self._seen = self._seen, {}
        if lacking:
            importlib.invalidate_caches()
        for module in set(lacking.values()):
            extent = _extent(module)
            if extent is not None:
                seen, times = before.get(module, ((), 0))
                self._seen[module] = extent, times + 1 if seen == extent else 1
        return [name for name, module in lacking.items() if self._seen.get(module, ((), 0))[1] == _SIGHTS]


def _extent(module: str) -> _Extent | None:
    """Return figures that change while a module is being installed; ``None`` if there is none.

    What lies beside it counts: a package may come in several folders, and its metadata comes last.
    """
    if not is_installed(module):
        return None
    try:
        spec = importlib.util.find_spec(module)
        roots = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []
        sizes = [path.stat().st_size for root in roots for path in _files(Path(root))]
        beside = [path for path in Path(roots[0]).parent.iterdir() if path.name != _CACHE]
    except Exception:  # foreign code: a finder of somebody else's; or files that come and go
        return ()
    return len(beside), len(sizes), sum(sizes)


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each != _CACHE]
        yield from (Path(folder, name) for name in names)
