"""``hotplug.<plugin>`` and ``hotplug.<plugin>.<module>``: stable names for whatever serves.

Host code imports them, patches through them and unpickles by them. Such a module holds nothing: each access
goes to the generation that serves at that moment, and code of a generation reaches its own. The name of a
generation that is gone (``hotplug.greet.g3_<hash>.part`` in an old pickle) means the same as the stable one.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterable, Mapping
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from hotload_tui.core.generation.imports import PrivateImport

if TYPE_CHECKING:
    from hotload_tui.core.generation.modules import Generation

_OWN = frozenset({"__name__", "__spec__", "__loader__", "__package__", "__path__"})
_HERE = __name__.rpartition(".")[0]


class Serving:
    """Which generations serve, the newest of each plugin last."""

    def __init__(self) -> None:
        self._generations: dict[str, list[Generation]] = {}

    def add(self, generation: Generation) -> None:
        """Let a generation serve."""
        self._generations.setdefault(generation.parent, []).append(generation)

    def remove(self, generation: Generation) -> None:
        """Take it out; nothing happens if it never served."""
        left = [other for other in self._generations.get(generation.parent, ()) if other is not generation]
        self._generations.pop(generation.parent, None)
        if left:
            self._generations[generation.parent] = left

    def current(self, parent: str) -> Generation | None:
        """Return the generation that the calling code means by the plugin's stable name.

        Its own; of a plugin that it requires, the one that it was loaded with; else what serves.
        """
        own = calling_generation()
        if own is not None and own.parent == parent:
            return own
        bound = own.peer(parent) if own is not None else None
        if bound is not None:
            return bound
        serving = self._generations.get(parent)
        return serving[-1] if serving else None


serving = Serving()


def calling_generation() -> Generation | None:
    """Return the generation whose code is asking, ``None`` for a host's.

    The nearest frame outside the standard library decides: ``pickle`` and ``mock`` ask for their callers.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the only way to see a caller
    while frame is not None:
        imports = frame.f_builtins.get("__import__")
        if type(imports) is PrivateImport:
            return imports.generation
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith(_HERE):
            return None
        frame = frame.f_back
    return None


class Facade(ModuleType):
    """A module of whichever generation serves."""

    _facade: tuple[str, str]

    def __init__(self, name: str, parent: str, module: str) -> None:
        """Stand for ``module`` (empty: the package) of the plugin below ``parent``."""
        super().__init__(name)
        super().__delattr__("__doc__")
        super().__setattr__("_facade", (parent, module))

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]
        """The namespace of the module that serves; one of its own while there is none, as tools expect it."""
        generation = serving.current(self._facade[0])
        module = generation.loaded(self._facade[1]) if generation is not None else None
        own: dict[str, object] = super().__dict__
        return own if module is None else vars(module)

    def __getattr__(self, name: str) -> object:
        if name in _OWN:
            raise AttributeError(name)
        value = getattr(self._target(name), name)
        parent, _ = self._facade
        generation = serving.current(parent)
        if issubclass(type(value), ModuleType) and generation is not None and generation.owns(value.__name__):
            # Whoever keeps what he got would keep that generation.
            return importlib.import_module(f"{parent}{value.__name__.removeprefix(generation.root)}")
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if name in _OWN:
            super().__setattr__(name, value)
        elif not (isinstance(value, ModuleType) and value.__name__.startswith(f"{self._facade[0]}.")):
            # The import system makes each module an attribute of the one above; here nothing is held.
            setattr(self._target(name), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._target(name), name)

    def __dir__(self) -> Iterable[str]:
        return sorted(vars(self))

    def _target(self, asked: str) -> ModuleType:
        parent, module = self._facade
        generation = serving.current(parent)
        found = generation.loaded(module) if generation is not None else None
        if found is not None:
            return found
        reason = ""
        if generation is None:
            reason = "nothing of the plugin is loaded"
        elif not generation.has(module):
            reason = "the plugin has no such module"
        elif asked.startswith("__"):
            reason = "the module is not loaded yet"  # who looks through sys.modules must wake nobody
        if generation is None or reason:
            raise AttributeError(f"{self.__name__}.{asked}: {reason}", name=asked, obj=self)
        target = f"{generation.root}.{module}"
        return generation.importing(lambda: importlib.import_module(target))


class FacadeLoader(importlib.abc.Loader):
    """Makes facades; they have no code to run."""

    def __init__(self, parent: str, module: str) -> None:
        self._place = (parent, module)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Facade:
        """Return the facade."""
        return Facade(spec.name, *self._place)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it is."""


def facade_spec(parent: str, fullname: str, module: str) -> importlib.machinery.ModuleSpec:
    """Return the spec of the facade ``fullname`` for a plugin's ``module``.

    Raises:
        ModuleNotFoundError: nothing of the plugin is loaded, or what is has no such module.

    """
    generation = serving.current(parent)
    if generation is None:
        raise ModuleNotFoundError(
            f"No module named '{fullname}': nothing of the plugin is loaded", name=fullname
        )
    if not generation.has(module):
        raise ModuleNotFoundError(
            f"No module named '{fullname}': the plugin has no module '{module}'", name=fullname
        )
    return importlib.machinery.ModuleSpec(fullname, FacadeLoader(parent, module), is_package=True)


def place_parents(parent: str) -> None:
    """Put the facade of a plugin into ``sys.modules``, and the empty package above it."""
    above, _, name = parent.partition(".")
    package = sys.modules.get(above)
    if package is None:
        package = sys.modules[above] = _Above(above, "Plugins loaded by hotload_tui.")
        package.__path__ = []
    if parent not in sys.modules:
        facade = sys.modules[parent] = Facade(parent, parent, "")
        facade.__path__ = []
        setattr(package, name, facade)


def remove_parents(parent: str, in_use: Mapping[str, object]) -> None:
    """Take out what stands for a plugin of which nothing is loaded; ``in_use`` has the other plugins."""
    for name, module in sys.modules.copy().items():
        if type(module) is Facade and (name == parent or name.startswith(f"{parent}.")):
            sys.modules.pop(name, None)
    above, _, name = parent.partition(".")
    package = sys.modules.get(above)
    if package is not None:
        vars(package).pop(name, None)
    if type(package) is _Above and not in_use:
        sys.modules.pop(above, None)


class _Above(ModuleType):
    """The package above all plugins, unless the host has one of that name."""
