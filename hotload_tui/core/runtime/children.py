"""Child processes that ``multiprocessing`` spawns find the plugins' modules, as forked ones do.

Such a child imports each function and class that it gets by the name of its module, and names such as
``hotplug.greet.work`` exist only in the process of the host. So the preparation data, which the child gets
first, contains an object that leaves a finder in the child when it is unpickled. The finder takes the modules
from the artifacts that are live in the host, and costs nothing in a child that needs no plugin.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeAlias

MODULE = "multiprocessing.spawn"
_FUNCTION = "get_preparation_data"
_KEY = "hotload"


class ChildPlugin(NamedTuple):
    """A version of a plugin, as a child process loads it."""

    artifact: str
    root_dir: str
    number: int
    shared: tuple[str, ...]


_Plugins: TypeAlias = Callable[[], tuple[str, Sequence[ChildPlugin]]]
"""Returns the package name above all plugins, and the plugins that are live."""

# The child's sys.path is not set yet, and importing this package takes longer than most children live.
_SCRIPT = """
import sys
from importlib.machinery import ModuleSpec

class Plugins:
    def find_spec(self, name, path=None, target=None):
        if name != head or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        from hotload_tui.core.runtime.generation import install
        install(head, plugins)
        return ModuleSpec(name, self, is_package=True) if name in sys.modules else None

    def create_module(self, spec):
        return sys.modules[spec.name]

    def exec_module(self, module):
        pass

sys.meta_path.append(Plugins())
"""


class _Preparation:
    """Leaves the finder in the process that unpickles it."""

    def __init__(self, head: str, plugins: Iterable[ChildPlugin]) -> None:
        self._names: dict[str, object] = {"head": head, "plugins": [tuple(plugin) for plugin in plugins]}

    def __reduce__(self) -> tuple[object, tuple[str, dict[str, object]]]:
        return exec, (_SCRIPT, self._names)


class Children:
    """Adds the plugins to the preparation data of child processes while any plugin is loaded."""

    def __init__(self, plugins: _Plugins) -> None:
        self._plugins = plugins
        self._real: Callable[[str], dict[str, object]] | None = None

    def begin(self) -> None:
        """Change ``multiprocessing.spawn`` if it is imported; ``spec`` changes it at a later import."""
        module = sys.modules.get(MODULE)
        real = getattr(module, _FUNCTION, None)
        if self._real is None and real is not None:
            self._real = real
            setattr(module, _FUNCTION, self._prepared)

    def end(self) -> None:
        """Restore ``multiprocessing.spawn``."""
        module, real = sys.modules.get(MODULE), self._real
        self._real = None
        if real is not None and getattr(module, _FUNCTION, None) == self._prepared:
            setattr(module, _FUNCTION, real)

    def _prepared(self, name: str) -> dict[str, object]:
        assert self._real is not None, "only ``begin`` installs this function"
        head, plugins = self._plugins()
        return {_KEY: _Preparation(head, plugins), **self._real(name)} if plugins else self._real(name)

    def spec(self, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of ``multiprocessing.spawn``, which is about to be imported."""
        spec = importlib.machinery.PathFinder.find_spec(MODULE, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenBegin(spec.loader, self.begin)
        return spec


class _ThenBegin(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, begin: Callable[[], None]) -> None:
        self._loader = loader
        self._begin = begin

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._begin()


def child_plugin(path: Path, root_dir: Path, number: int, shared: Iterable[str]) -> ChildPlugin:
    """Return a version of a plugin as plain values, which can be pickled."""
    return ChildPlugin(str(path.absolute()), str(root_dir), number, tuple(sorted(shared)))
