"""``Generation``: one load of one artifact, with module objects of its own.

Its modules are named ``<module_path>.<plugin>.g<N>_<hash12>.<module>``: two generations live side by side,
and whatever has such a name is the plugin's. They are executed from the artifact alone, never from disk.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TypeVar

from hotload_tui.core.artifact import DIGITS, Artifact
from hotload_tui.core.generation import native, remnant
from hotload_tui.core.generation.facade import serving
from hotload_tui.core.generation.finder import GenerationLoader, finder
from hotload_tui.core.generation.imports import PrivateImport
from hotload_tui.core.generation.names import identifier, module_places
from hotload_tui.core.generation.origin import Origin
from hotload_tui.core.generation.peer import Peer
from hotload_tui.core.source import ENTRY

_R = TypeVar("_R")


class Generation:
    """The modules of one load; nothing runs before ``execute``."""

    def __init__(self, artifact: Artifact, *, root_dir: Path, module_path: str, number: int) -> None:
        """Prepare generation ``number`` of ``artifact``, whose source lies in ``root_dir``."""
        self.artifact = artifact
        self.plugin = artifact.manifest.plugin
        self.number = number
        self.parent = f"{module_path}.{identifier(self.plugin)}"
        self.root = f"{self.parent}.g{number}_{artifact.manifest.digest[:DIGITS]}"
        while self.root in sys.modules:  # of another manager in this process, or one that is still held
            self.root += "x"
        self.root_dir = root_dir
        self._folder = str(root_dir)
        self.modules: dict[str, ModuleType] = {}
        """Its modules by unique name, once it has left ``sys.modules``; before that they are found there."""
        self._places = dict(module_places(artifact))
        self.top_names = frozenset(name for name in self._places if name and "." not in name)
        self.peers: Mapping[str, Peer] = MappingProxyType({})
        """The plugins that it requires, by their names."""
        self.exit_calls: list[Callable[[], object]] = []
        """What it gave to ``atexit``, the oldest first."""
        self.is_released = False
        self._has_remnants = False
        self._is_confirmed = False
        self._reach = threading.RLock()
        self._importing = 0
        self.origin = Origin(number)
        self._imports = PrivateImport(self)
        self._builtins = {**vars(builtins), "__import__": self._imports}

    def execute(self) -> ModuleType:
        """Run the plugin's package and its entry; returns the entry's module.

        The entry may have put another object in its place. Raises whatever the plugin's code raises.
        """
        finder.add(self)
        if (
            self._places[""].path not in self.artifact.members
        ):  # there is no code for the import system to run
            package = importlib.util.module_from_spec(self.find_spec(self.root))
            self.prepare(package)
            sys.modules[self.root] = package
        entry = f"{self.root}.{ENTRY.removesuffix('.py')}"
        __import__(entry)  # not import_module: its frame would stand in every traceback of a plugin
        return sys.modules[entry]

    def peer(self, parent: str) -> Generation | None:
        """Return the generation of a required plugin, by its stable package, that belongs to this one."""
        bound = (peer.generation() for peer in self.peers.values())
        return next((other for other in bound if other is not None and other.parent == parent), None)

    def confirm(self) -> None:
        """Forget what this generation would put back if it failed: it serves now."""
        self.origin.confirm()
        self._is_confirmed = True
        serving.add(self)

    def release(self) -> None:
        """Take the modules out of ``sys.modules``.

        Whoever still runs their code keeps them, and their code can go on importing.
        """
        serving.remove(self)
        with self._reach:
            self.is_released = True
            self.modules = dict(self._found())
            if not (self._importing and self._is_confirmed):  # else the import that runs does it when it ends
                self._withdraw()
            if self._is_confirmed:
                self.origin.retire()
            else:
                self.origin.withdraw()

    def leave_remnants(self) -> None:
        """Let the standard library find its modules as long as somebody holds it; call when it retired."""
        if not self._has_remnants:
            self._has_remnants = True
            weakref.finalize(self, remnant.remove, self.root).atexit = False
        with self._reach:
            for name, module in self.modules.items():
                file = vars(module).get("__file__") if type(module) is ModuleType else None
                if type(file) is str:
                    sys.modules[name] = remnant.Remnant(name, module, file, self.origin)

    def owns(self, module_name: str) -> bool:
        """Tell whether a module of this name belongs to this generation."""
        return module_name == self.root or module_name.startswith(f"{self.root}.")

    def has(self, module: str) -> bool:
        """Tell whether it has a module of this dotted name; empty: its package."""
        return module in self._places

    def loaded(self, module: str) -> ModuleType | None:
        """Return the module if it has been executed."""
        name = f"{self.root}.{module}".rstrip(".")
        return self.modules.get(name) if self.is_released else sys.modules.get(name)

    def modules_in(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Yield name and whether it is a package of each module directly in a folder, in order of name."""
        for name, place in sorted(self._places.items()):
            above, _, last = name.rpartition(".")
            if last not in ("", "__init__") and above == folder.replace("/", "."):
                yield last, place.folder is not None

    def importing(self, load: Callable[[], _R]) -> _R:
        """Run ``load`` with the modules in ``sys.modules``, where the import system looks for them."""
        with self._reach:
            self._importing += 1
            if self.is_released and self._importing == 1:
                sys.modules.update(self.modules)
                finder.add(self)
        try:
            return load()
        finally:
            with self._reach:
                self._importing -= 1
                if self.is_released and not self._importing:
                    self._withdraw()

    def import_module(self, name: str) -> ModuleType:
        """Import a module by the name that the author writes."""
        return self._imports.import_module(name)

    def find_spec(self, fullname: str) -> importlib.machinery.ModuleSpec:
        """Return the spec of one of its modules.

        Raises:
            ImportError: there is none; the text has the name as the author wrote it.

        """
        name = fullname[len(self.root) + 1 :]
        place = self._places.get(name)
        if place is None:
            message = f"No module named '{self.plugin}.{name}'"
            raise native.refusal(self.artifact, name) or ModuleNotFoundError(message, name=fullname)
        loader: GenerationLoader | native.NativeLoader
        if place.is_native:
            loader = native.NativeLoader(self.artifact, place.path, self.file_of(place.path))
        else:
            loader = GenerationLoader(self, place)
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=loader.file)
        spec.has_location = True
        spec.cached = _cached(loader.file)
        if place.folder is not None:
            spec.submodule_search_locations = [self.file_of(place.folder)]
        return spec

    def file_of(self, path: str) -> str:
        """Return where a file of the plugin lies."""
        return f"{self._folder}{os.sep}{path.replace('/', os.sep)}" if path else self._folder

    def prepare(self, module: ModuleType) -> None:
        """Give a module the private builtins before its code runs."""
        module.__dict__["__builtins__"] = self._builtins

    def _found(self) -> Iterator[tuple[str, ModuleType]]:
        root, start = self.root, f"{self.root}."
        return (
            (name, module)
            for name, module in sys.modules.copy().items()
            if name.startswith(start) or name == root
        )

    def _withdraw(self) -> None:
        finder.remove(self)
        self.modules = dict(self._found())
        for name in self.modules:
            sys.modules.pop(name, None)
        folder = str(self.root_dir)
        for path in list(sys.path_importer_cache):
            if path.startswith(folder):  # somebody listed the folder; what is needed again comes again
                sys.path_importer_cache.pop(path, None)
        if self._has_remnants:
            self.leave_remnants()


def _cached(file: str) -> str | None:
    """Return where the import system would keep the code of a file, as far as that is told in a moment."""
    folder, _, name = file.rpartition(os.sep)
    tag = sys.implementation.cache_tag
    if not tag or sys.pycache_prefix is not None or sys.flags.optimize or not name.endswith(".py"):
        return None  # it finds out by itself
    return f"{folder}{os.sep}__pycache__{os.sep}{name[:-3]}.{tag}.pyc"
