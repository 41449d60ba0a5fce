"""What stands in ``sys.modules`` for a retired generation that somebody still holds.

The standard library looks a class's module up there: for ``inspect.getsource``, pickles, type hints.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from types import ModuleType

from hotload_tui.core.generation.origin import Origin


class Remnant(ModuleType):
    """Stands for a module without holding it; but for the name of its file, its contents are the module's."""

    def __init__(self, name: str, module: ModuleType, file: str, origin: Origin) -> None:
        super().__init__(name, module.__doc__)
        self._module = weakref.ref(module)
        self._file = file
        self._origin = weakref.ref(origin)

    @property
    def __file__(self) -> str:  # type: ignore[override]  # the name under which linecache has its lines
        origin = self._origin()
        return self._file if origin is None else origin.name_of(self._file)

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]  # for vars(), which type hints ask
        module = self._module()
        return {} if module is None else vars(module)

    def __getattr__(self, name: str) -> object:
        module = self._module()
        if module is None:
            raise AttributeError(f"module '{self.__name__}' is freed; it has no attribute '{name}'")
        return getattr(module, name)


def remove(names: Iterable[str]) -> None:
    """Take remnants of these names out of ``sys.modules``."""
    for name in names:
        if type(sys.modules.get(name)) is Remnant:
            del sys.modules[name]
