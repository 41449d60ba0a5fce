"""``Generation``: one load of one artifact, with module objects of its own.

Its modules are named ``<module_path>.<plugin>.g<N>_<hash12>.<module>``: two generations live side by side,
and whatever has such a name is the plugin's. They are executed from the artifact alone, never from disk.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import keyword
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import ModuleType

from hotload_tui.core.artifact import DIGITS, Artifact
from hotload_tui.core.generation import remnant
from hotload_tui.core.generation.imports import PrivateImport
from hotload_tui.core.generation.origin import Origin
from hotload_tui.core.generation.resources import ArtifactResources
from hotload_tui.core.source import ENTRY

_INIT = "__init__.py"
_NATIVE = (".so", ".pyd", ".dylib")


class Generation:
    """The modules of one load; nothing runs before ``execute``."""

    def __init__(self, artifact: Artifact, *, root_dir: Path, module_path: str, number: int) -> None:
        """Prepare generation ``number`` of ``artifact``, whose source lies in ``root_dir``."""
        self.artifact = artifact
        self.plugin = artifact.manifest.plugin
        self.number = number
        self.parent = f"{module_path}.{identifier(self.plugin)}"
        self.root = f"{self.parent}.g{number}_{artifact.manifest.digest[:DIGITS]}"
        self.root_dir = root_dir
        self.modules: dict[str, ModuleType] = {}
        """Its modules by unique name, once it has left ``sys.modules``; before that they are found there."""
        self._paths = dict(_module_paths(artifact))
        self.top_names = frozenset(name for name in self._paths if name and "." not in name)
        self.is_released = False
        self._has_remnants = False
        self._reach = threading.RLock()
        self._depth = 0
        self.origin = Origin(number)
        self._builtins = {**vars(builtins), "__import__": PrivateImport(self)}

    def execute(self) -> ModuleType:
        """Run the plugin's package and its entry; returns the entry's module.

        The entry may have put another object in its place. Raises whatever the plugin's code raises.
        """
        _finder.add(self)
        _ensure_parents(self.parent)
        # Another loader of this process can have left some of a generation with this number and these files.
        remnant.remove(f"{self.root}.{name}".rstrip(".") for name in self._paths)
        entry = f"{self.root}.{ENTRY.removesuffix('.py')}"
        __import__(entry)  # not import_module: its frame would stand in every traceback of a plugin
        return sys.modules[entry]

    def confirm(self) -> None:
        """Forget what this generation would put back if it failed: it serves now."""
        self.origin.confirm()

    def release(self) -> None:
        """Take the modules out of ``sys.modules``.

        Whoever still runs their code keeps them, and their code can go on importing.
        """
        if self.parent not in sys.modules:
            return  # nothing was executed
        with self._reach:
            self.is_released = True
            self._withdraw()
            # The import system made the package an attribute of the one above, which stays.
            vars(sys.modules[self.parent]).pop(self.root.rpartition(".")[2], None)
            self.origin.retire()

    def leave_remnants(self) -> None:
        """Let the standard library find its modules as long as somebody holds it; call when it retired."""
        if not self._has_remnants:
            self._has_remnants = True
            weakref.finalize(self, remnant.remove, tuple(self.modules)).atexit = False
        with self._reach:
            for name, module in self.modules.items():
                file = vars(module).get("__file__") if type(module) is ModuleType else None
                if type(file) is str:
                    sys.modules[name] = remnant.Remnant(name, module, file, self.origin)

    def owns(self, module_name: str) -> bool:
        """Tell whether a module of this name belongs to this generation."""
        return module_name == self.root or module_name.startswith(f"{self.root}.")

    def importing(self, load: Callable[[], ModuleType]) -> ModuleType:
        """Run ``load`` with the modules in ``sys.modules``, where the import system looks for them."""
        if not self.is_released:
            return load()
        with self._in_reach():
            return load()

    def find_spec(self, fullname: str) -> importlib.machinery.ModuleSpec:
        """Return the spec of one of its modules.

        Raises:
            ImportError: there is none; the text has the name as the author wrote it.

        """
        name = fullname[len(self.root) + 1 :]
        if name not in self._paths:
            raise self._missing(name, fullname)
        path, folder = self._paths[name]
        loader = GenerationLoader(self, path, folder)
        spec = importlib.machinery.ModuleSpec(
            fullname, loader, origin=loader.file, is_package=folder is not None
        )
        spec.has_location = True
        if folder is not None:
            spec.submodule_search_locations = [str(self.root_dir / folder)]
        return spec

    def prepare(self, module: ModuleType) -> None:
        """Give a module the private builtins before its code runs."""
        module.__dict__["__builtins__"] = self._builtins

    @contextmanager
    def _in_reach(self) -> Iterator[None]:
        with self._reach:
            sys.modules.update(self.modules)
            _finder.add(self)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:  # an import inside an import must leave the outer one's modules there
                    self._withdraw()
                    if self._has_remnants:
                        self.leave_remnants()

    def _withdraw(self) -> None:
        _finder.remove(self)
        self.modules = {name: module for name, module in sys.modules.copy().items() if self.owns(name)}
        for name in self.modules:
            sys.modules.pop(name, None)

    def _missing(self, name: str, fullname: str) -> ImportError:
        stem = name.replace(".", "/")
        native = [p for p in self.artifact.members if p.startswith(f"{stem}.") and p.endswith(_NATIVE)]
        if native:
            # Not ModuleNotFoundError: `from . import x` would pass over that, and tell nothing.
            message = (
                f"{native[0]} of plugin {self.plugin} is a native module; only Python modules are loaded"
            )
            return ImportError(message, name=fullname)
        return ModuleNotFoundError(f"No module named '{self.plugin}.{name}'", name=fullname)


class GenerationLoader(importlib.abc.InspectLoader):
    """Loads one module of a generation from its artifact."""

    def __init__(self, generation: Generation, path: str, folder: str | None) -> None:
        """Load ``path``; ``folder`` is that of a package (``None``: a plain module)."""
        self._generation = generation
        self._path = path
        self._folder = folder
        self.file = str(generation.root_dir / path)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:  # noqa: ARG002 - the import protocol's
        """Let the import system make an ordinary module."""
        return

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code with the generation's builtins."""
        self._generation.prepare(module)
        if self._path not in self._generation.artifact.members:
            return  # a folder without __init__.py
        artifact = self._generation.artifact
        code = artifact.code_object(self._path, self.file)
        self._generation.origin.adopt(self.file, artifact.source(self._path), code)
        exec(code, module.__dict__)  # noqa: S102 - our job

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002 - the import protocol's
        """Tell whether it is a package."""
        return self._folder is not None

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol's
        """Return the source file's path."""
        return self.file

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol's
        """Return the source as it was loaded."""
        if self._path not in self._generation.artifact.members:
            return ""
        return importlib.util.decode_source(self._generation.artifact.source(self._path))

    def get_data(self, path: str) -> bytes:
        """Return a file of the plugin as it was loaded; ``OSError`` where there is none."""
        try:
            relative = Path(path).relative_to(self._generation.root_dir)
            return self._generation.artifact.source(relative.as_posix())
        except (ValueError, KeyError):
            raise FileNotFoundError(f"{path} is no file of plugin {self._generation.plugin}") from None

    def get_resource_reader(self, fullname: str) -> ArtifactResources:  # noqa: ARG002 - the import protocol's
        """Return the package's files for ``importlib.resources``."""
        folder = self._folder if self._folder is not None else str(PurePosixPath(self._path).parent)
        return ArtifactResources(self._generation.artifact, "" if folder == "." else folder)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of all generations; stands first in ``sys.meta_path`` while there are any."""

    def __init__(self) -> None:
        self._generations: dict[str, Generation] = {}
        self._lock = threading.Lock()

    def add(self, generation: Generation) -> None:
        with self._lock:
            self._generations[generation.root] = generation
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)

    def remove(self, generation: Generation) -> None:
        with self._lock:
            self._generations.pop(generation.root, None)
            if not self._generations and self in sys.meta_path:
                sys.meta_path.remove(self)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a generation's module, ``None`` for all others."""
        generation = self._generations.get(".".join(fullname.split(".", 3)[:3]))
        return None if generation is None else generation.find_spec(fullname)


_finder = _Finder()


def identifier(plugin: str) -> str:
    """Return a Python identifier that stands for a plugin's name, and for no other's."""
    if plugin.isidentifier() and not keyword.iskeyword(plugin):
        return plugin
    readable = re.sub(r"\W", "_", plugin)
    return f"p_{readable}_{hashlib.sha256(plugin.encode()).hexdigest()[:6]}"


def _module_paths(artifact: Artifact) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Yield (dotted name, (path, folder of a package)); ``''`` is the plugin's directory itself.

    Folders without ``__init__.py`` are packages too, with the path at which it would stand.
    """
    modules = [path for path, member in artifact.members.items() if member.code_size]
    folders = {str(parent).lstrip(".") for path in modules for parent in PurePosixPath(path).parents}
    packages = {folder: (f"{folder}/{_INIT}".lstrip("/"), folder) for folder in folders}
    # Later ones win: a module beats a bare folder of its name, a package with __init__.py beats the module.
    for folder, place in packages.items():
        yield folder.replace("/", "."), place
    for path in modules:
        yield path.removesuffix(".py").replace("/", "."), (path, None)
    for folder, place in packages.items():
        if place[0] in artifact.members:
            yield folder.replace("/", "."), place


def _ensure_parents(parent: str) -> None:
    """Put the packages above a generation into ``sys.modules``; they are empty and stay."""
    names = parent.split(".")
    for depth in range(1, len(names) + 1):
        name = ".".join(names[:depth])
        if name not in sys.modules:
            package = ModuleType(name, "Plugins loaded by hotload_tui.")
            package.__path__ = []
            sys.modules[name] = package
