"""``Peer``: another plugin, as the one that requires it sees it."""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from hotload_tui.core.source import ENTRY

if TYPE_CHECKING:
    from hotload_tui.core.generation.modules import Generation

_ENTRY = ENTRY.removesuffix(".py")


class Peer(ModuleType):
    """What a plugin's ``plugin.py`` defines, and its other modules.

    It is bound to one generation: whoever requires a plugin is loaded anew with it, so that both go and come
    together, and a call in flight meets the versions that it began with. It keeps nothing in memory.
    """

    def __init__(self, generation: Generation) -> None:
        super().__init__(generation.plugin)
        super().__setattr__("_generation", weakref.ref(generation))

    def __getattr__(self, name: str) -> object:
        generation = self._reach()
        entry = generation.loaded(_ENTRY)
        if entry is not None and hasattr(entry, name):
            return getattr(entry, name)
        if name.startswith("__") or not generation.has(name):
            reason = f"plugin {self.__name__} has no '{name}' in {ENTRY}, and no module of that name"
            raise AttributeError(reason, name=name, obj=self)
        return generation.importing(lambda: importlib.import_module(f"{generation.root}.{name}"))

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._reach().loaded(_ENTRY), name, value)

    def __dir__(self) -> Iterable[str]:
        generation = self._reach()
        modules = (name for name, _ in generation.modules_in(""))
        return sorted({*dir(generation.loaded(_ENTRY)), *modules})

    def __repr__(self) -> str:
        return f"<plugin {self.__name__!r}>"

    def generation(self) -> Generation | None:
        """Return the generation, unless it has been freed."""
        found: weakref.ref[Generation] = super().__getattribute__("_generation")
        return found()

    def _reach(self) -> Generation:
        generation = self.generation()
        if generation is None:
            raise AttributeError(
                f"the version of plugin {self.__name__} that was required here has been unloaded and freed"
            )
        return generation
