"""What stands in ``sys.modules`` for a retired generation that somebody still holds.

The standard library looks a class's module up there: for ``inspect.getsource``, pickles, type hints.
"""

from __future__ import annotations

import sys
import weakref
from types import ModuleType

from hotload_tui.core.generation.origin import Origin


class Remnant(ModuleType):
    """Stands for a module without holding it; but for the name of its file, its contents are the module's."""

    _module: weakref.ref[ModuleType]
    _file: str
    _origin: weakref.ref[Origin]

    def __init__(self, name: str, module: ModuleType, file: str, origin: Origin) -> None:
        super().__init__(name, module.__doc__)
        for inherited in ("__doc__", "__spec__", "__loader__", "__package__"):
            super().__delattr__(inherited)  # the module's own are asked for
        super().__setattr__("_module", weakref.ref(module))
        super().__setattr__("_file", file)
        super().__setattr__("_origin", weakref.ref(origin))

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

    def __setattr__(self, name: str, value: object) -> None:
        module = self._module()
        if module is not None:
            setattr(module, name, value)

    def __delattr__(self, name: str) -> None:
        module = self._module()
        if module is not None:
            delattr(module, name)


def remove(root: str) -> None:
    """Take the remnants of a generation that is freed out of ``sys.modules``; ``root`` is its unique name."""
    for name, module in sys.modules.copy().items():
        if type(module) is Remnant and (name == root or name.startswith(f"{root}.")):
            sys.modules.pop(name, None)
