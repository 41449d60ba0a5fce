"""``Generation``: one load of one artifact with separate module objects, and the imports that reach them.

The keys of the modules in ``sys.modules`` are ``<module_path>.<plugin>.g<N>_<hash12>.<module>``, so two
generations can exist side by side. ``__name__`` in the modules, and so ``__module__`` of their objects, is
``<module_path>.<plugin>.<module>`` in each generation; ``module_names`` tells them apart. The code of the
modules comes only from the artifact, never from the source on disk.

Imports. Each generation has its own builtins dictionary, whose ``__import__`` maps the short names that a
plugin's author writes (``import utils`` for a file beside ``plugin.py``, or ``import greet.utils`` in the
plugin ``greet``) and relative names to the generation's unique names. The standard library wins over plugin
files of the same name, and these win over installed packages.

Facades. ``hotplug.<plugin>`` and ``hotplug.<plugin>.<module>`` are stable names for the live generation. Host
code imports them, patches through them and unpickles by them, and the standard library finds the module of a
class by them. A facade keeps no reference: each access goes to the generation whose code acts, or of whose
object a function of the standard library looks up the module, or else to the generation that is live at
that moment. The unique name of a generation that no longer exists (in an old pickle, for example) resolves
like the stable name. ``hotplug.<plugin>.<name>`` also gives handles of what ``plugin.py`` defines.

A plugin that is a package on the import path has facades under its own name, too, while a generation of it is
there. They give handles to the program, whose ``from package import name`` would else keep one version, and
the objects themselves to the plugins that require it.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path, PurePosixPath
from types import FunctionType, MappingProxyType, ModuleType
from typing import TypeAlias, TypeVar, cast

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.compiled import DIGITS
from hotload_tui.core.errors import ArtifactError, PluginError
from hotload_tui.core.hooks.live import HandleMaker
from hotload_tui.core.interpreter import caller
from hotload_tui.core.leak_path import is_module, namespace_of
from hotload_tui.core.leaks import forget_loggers
from hotload_tui.core.module_names import ModuleNames, names_below, unique_name
from hotload_tui.core.primitives import RLock
from hotload_tui.core.runtime import children, naming, native, stand_ins
from hotload_tui.core.runtime.children import ChildPlugin, Children, child_plugin
from hotload_tui.core.runtime.naming import ModulePlace, Origin, identifier, module_places
from hotload_tui.core.runtime.stand_ins import ArtifactResources, Standard, find_distributions
from hotload_tui.core.undo.owner import Owner, handled_modules


class Peer(ModuleType):
    """A required plugin: the names that its ``plugin.py`` defines, and its other modules.

    A peer is bound to one generation. When a plugin reloads, the plugins that require it reload with it, so
    they change together, and a call in flight keeps the versions that it started with. A peer keeps nothing
    in memory.
    """

    def __init__(self, generation: Generation) -> None:
        super().__init__(generation.plugin)
        super().__setattr__("_generation", weakref.ref(generation))

    def __getattr__(self, name: str) -> object:
        generation = self._reach()
        entry = generation.loaded(generation.entry.module)
        if entry is not None and hasattr(entry, name):
            return getattr(entry, name)
        if name.startswith("__") or not generation.has(name):
            missing = f"has no '{name}' in {generation.entry.file}, and no module of that name"
            reason = f"plugin {self.__name__} {missing}"
            raise AttributeError(reason, name=name, obj=self)
        return generation.importing(lambda: importlib.import_module(f"{generation.root}.{name}"))

    def __setattr__(self, name: str, value: object) -> None:
        generation = self._reach()
        setattr(generation.loaded(generation.entry.module), name, value)

    def __dir__(self) -> Iterable[str]:
        generation = self._reach()
        modules = (name for name, _ in generation.modules_in(""))
        return sorted({*dir(generation.loaded(generation.entry.module)), *modules})

    def __repr__(self) -> str:
        return f"<plugin {self.__name__!r}>"

    def generation(self) -> Generation | None:
        """Return the generation; ``None`` if it has been freed."""
        found: weakref.ref[Generation] = super().__getattribute__("_generation")
        return found()

    def _reach(self) -> Generation:
        generation = self.generation()
        if generation is None:
            raise AttributeError(
                f"the version of plugin {self.__name__} that was required here has been unloaded and freed"
            )
        return generation


_R = TypeVar("_R")


class PrivateImport:
    """The ``__import__`` of one generation."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.root = generation.root
        self._standard = Standard(generation, self)

    def __call__(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the signature of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import a module as the ``import`` statement does."""
        real = builtins.__import__
        generation = self.generation
        if level:
            target = bound = self._relative(name, globals or {}, level)
            if (shared := generation.shared_name(target)) is not None:
                return self(shared, globals, locals, fromlist or ("",))
            if not generation.owns(target):
                return generation.importing(lambda: real(name, globals, locals, fromlist or (), level))
        elif (own := self.own_name(name)) is not None:
            target, bound = own
        elif name.startswith(generation.parent):  # the stable name, or a unique name from a pickle
            target = bound = self.absolute(name)
            if not (fromlist and generation.owns(target)):
                if generation.owns(target):  # the facade may be there without the generation's module
                    generation.importing(lambda: real(target))
                return generation.importing(lambda: real(name, globals, locals, fromlist or (), 0))
        else:
            return self._from_outside(name, globals, locals, fromlist)
        if fromlist:
            return generation.importing(lambda: self._with_parts(real, target, fromlist))
        return generation.importing(lambda: _imported(real, target, bound))

    def _from_outside(
        self,
        name: str,
        names: Mapping[str, object] | None,
        local_names: Mapping[str, object] | None,
        fromlist: Sequence[str] | None,
    ) -> ModuleType:
        """Import a module that does not belong to the plugin."""
        generation, real = self.generation, builtins.__import__
        if package := generation.package(name):  # even if the program has imported it before hotload
            target = f"{package}{name[name.find('.') :]}" if "." in name else package
            found = generation.importing(lambda: real(target, names, local_names, fromlist or (), 0))
            return found if fromlist else sys.modules[package]
        try:
            module = real(name, names, local_names, fromlist or (), 0)
        except ModuleNotFoundError as error:
            head = name.partition(".")[0]
            refusal = native.refusal(generation.artifact, head) if error.name == head else None
            if refusal is None:
                raise
            raise refusal from None
        if generation.on_import is not None:
            generation.on_import(name)
        if name == "sys" and not generation.reads_modules(names or {}):
            return module
        return self._standard.instead_of(module, name, has_fromlist=bool(fromlist))

    def _relative(self, name: str, names: Mapping[str, object], level: int) -> str:
        """Return the unique name that a relative import means in a module with the namespace ``names``."""
        spec = names.get("__spec__")
        package = spec.parent if type(spec) is ModuleSpec else names.get("__package__")
        if type(package) is not str:
            return ""
        above = self.absolute(package).rsplit(".", level - 1)
        if len(above) < level:
            return ""  # the import system raises the error
        return f"{above[0]}.{name}" if name else above[0]

    def _with_parts(self, real: Callable[[str], ModuleType], target: str, parts: Iterable[str]) -> ModuleType:
        """Import a module, and those of its ``parts`` that are modules.

        The import system does the latter by the package's ``__name__``, which is not the unique name.
        """
        real(target)
        module = sys.modules[target]
        if hasattr(module, "__path__"):
            names = (*parts, *getattr(module, "__all__", ())) if "*" in parts else parts
            for name in (f"{target}.{part}" for part in names if part != "*" and not hasattr(module, part)):
                if (shared := self.generation.shared_name(name)) is not None:
                    setattr(module, shared, importlib.import_module(shared))
                    continue
                try:
                    real(name)
                except ModuleNotFoundError as error:
                    if error.name != name:
                        raise
        return module

    def own_name(self, name: str) -> tuple[str, str] | None:
        """Return the unique names of the module that ``name`` means and of the module that an import binds.

        Return ``None`` if ``name`` means no module of the plugin.
        """
        generation = self.generation
        head, _, rest = name.partition(".")
        if head in sys.stdlib_module_names:
            return None
        if head == generation.plugin and not self._is_sibling(head, rest):
            return (f"{generation.root}.{rest}" if rest else generation.root), generation.root
        if head in generation.top_names:
            return f"{generation.root}.{name}", f"{generation.root}.{head}"
        return None

    def _is_sibling(self, head: str, rest: str) -> bool:
        """Return whether the plugin's name means a module of the same name beside ``plugin.py``."""
        beside = self.generation.top_names
        return head in beside and (not rest or rest.partition(".")[0] not in beside)

    def absolute(self, name: str, package: str | None = None) -> str:
        """Return the unique name for an author's or a stable name; a name outside the plugin stays as it is.

        A relative name without a ``package`` stays as it is, too.
        """
        if name.startswith("."):
            return importlib.util.resolve_name(name, self.absolute(package)) if package else name
        generation = self.generation
        if name.startswith(generation.parent):
            unique = f"{generation.root}{name[len(generation.parent) :]}"
            return unique if generation.owns_module(unique) else name
        own = self.own_name(name)
        return own[0] if own else name


def _imported(real: Callable[[str], ModuleType], target: str, bound: str) -> ModuleType:
    real(target)  # not import_module: its frame would appear in every traceback of a plugin
    return sys.modules[bound]


_SET_BY_IMPORT = frozenset({"__name__", "__spec__", "__loader__", "__package__", "__path__"})
_SHARED = vars(builtins)
_HERE = {__name__, native.__name__, naming.__name__, stand_ins.__name__}


def calling_generation() -> Generation | None:
    """Return the generation whose code is calling; ``None`` for code of the host.

    The nearest frame outside the standard library decides: ``pickle`` and ``mock`` act for their callers.
    """
    frame = caller()
    while frame is not None:
        imports = frame.f_builtins.get("__import__")
        if type(imports) is PrivateImport:
            return imports.generation
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in sys.stdlib_module_names and name not in _HERE:
            return None
        frame = frame.f_back
    return None


def acting_generation(parent: str) -> Generation | None:
    """Return the generation of the plugin ``parent`` for whose code the caller acts, or ``None``.

    The nearest frame of the plugin decides, even if a library or the host is between it and the caller. Code
    of a plugin that requires this one acts with the generation that it was loaded with.
    """
    frame = caller()
    while frame is not None:
        names = frame.f_builtins
        if names is not _SHARED:
            imports = names.get("__import__")
            if type(imports) is PrivateImport:
                own = imports.generation
                found = own if own.parent == parent else own.peer(parent)
                if found is not None:
                    return found
        frame = frame.f_back
    return None


def handled_generation(known: Mapping[str, weakref.ref[Generation]]) -> Generation | None:
    """Return the generation of the object that the calling function of the standard library handles.

    ``known`` are the generations of the plugin by unique name.
    """
    for name in handled_modules():
        found = known.get(".".join(name.split(".", 3)[:3]))
        if found is not None:
            return found()
    return None


class Facade(ModuleType):
    """A proxy for a module of the generation that acts, or of the live generation."""

    _facade: tuple[str, str]

    def __init__(self, name: str, parent: str, module: str) -> None:
        """Create the proxy for ``module`` (empty: the package); ``parent`` is the plugin's stable name."""
        super().__init__(name)
        for own in ("__doc__", "__spec__", "__loader__", "__package__"):
            super().__delattr__(own)  # so that lookups reach the module's values
        super().__setattr__("_facade", (parent, module))

    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]
        """The module's namespace, or the facade's if no module is loaded, because tools expect one."""
        parent, name = self._facade
        generation = finder.current(parent)
        module = generation.loaded(name) if generation is not None else None
        if module is not None:
            return module.__dict__
        own: dict[str, object] = super().__dict__
        return own

    def __getattr__(self, name: str) -> object:
        parent, module = self._facade
        generation = finder.current(parent)
        if name in ("__spec__", "__path__") and generation is not None and generation.waits(module):
            spec = generation.find_spec(f"{generation.root}.{module}")
            if name == "__spec__":
                return _SpecToCome(self.__name__, spec.loader, origin=spec.origin)
            if spec.submodule_search_locations is not None:
                return spec.submodule_search_locations
        target = self._target(generation, name)
        assert generation is not None
        own = self.__name__
        above = parent if own.startswith(parent) else own.partition(".")[0]  # the name of the package
        try:
            value: object = getattr(target, name)
        except AttributeError:
            if module or name.startswith("__"):
                raise
            value = generation.kept(name)
        if name == "__file__" and type(value) is str:
            return generation.origin.name_of(value)  # the name under which linecache has its lines
        if issubclass(type(value), ModuleType):
            unique = unique_name(cast("ModuleType", value).__name__)
            if type(unique) is str and generation.owns(unique):
                # A caller that stores the module itself would keep its generation alive: return its facade.
                return finder.facade(parent, unique[len(generation.root) + 1 :], above)
        if above != parent and not name.startswith("__") and acting_generation(parent) is None:
            return generation.handle(value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # The import system sets each module as an attribute of its package; a facade must not hold it.
        if name not in _SET_BY_IMPORT and type(value) is not Facade:
            setattr(self._target(finder.current(self._facade[0]), name), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._target(finder.current(self._facade[0]), name), name)

    def __dir__(self) -> Iterable[str]:
        return sorted(vars(self))

    def _target(self, generation: Generation | None, asked: str) -> ModuleType:
        _, module = self._facade
        found = generation.loaded(module) if generation is not None else None
        if found is not None:
            return found
        reason = ""
        if generation is None:
            reason = "nothing of the plugin is loaded"
        elif not generation.has(module):
            reason = "the plugin has no such module"
        elif asked.startswith("__"):
            reason = "the module is not loaded yet"  # a search of sys.modules must not import it
        if generation is None or reason:
            raise AttributeError(f"{self.__name__}.{asked}: {reason}", name=asked, obj=self)
        target = f"{generation.root}.{module}"
        return generation.importing(lambda: importlib.import_module(target))


class _SpecToCome(ModuleSpec):
    """The spec of a facade whose module has not run yet; an import on behalf of a plugin's code runs it."""

    @property
    def _initializing(self) -> bool:  # only the import system reads it
        _run_for_plugin(self.name)
        return False

    @_initializing.setter
    def _initializing(self, value: bool) -> None: ...


def _run_for_plugin(name: str) -> None:
    """Import the module with a stable name if the caller acts for the plugin: it wants the module to run.

    For the host, a facade imports its module on demand.
    """
    parent = ".".join(name.split(".", 2)[:2])
    generation = acting_generation(parent)
    if generation is not None and generation.owns_module(f"{generation.root}{name[len(parent) :]}"):
        generation.import_module(name)


class FacadeLoader(importlib.abc.Loader):
    """Creates facades, which have no code to run."""

    def __init__(self, parent: str, module: str) -> None:
        self._place = (parent, module)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Facade:
        """Return the facade."""
        return Facade(spec.name, *self._place)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module itself if a plugin's code imports it."""
        _run_for_plugin(module.__name__)


def facade_spec(parent: str, fullname: str, module: str) -> importlib.machinery.ModuleSpec:
    """Return the spec of the facade ``fullname`` for a plugin's ``module``.

    Raises:
        ModuleNotFoundError: no generation of the plugin is live, or the live one has no such module.

    """
    generation = finder.current(parent)
    if fullname.endswith("."):  # of __import__(name, fromlist=[""]), which must not find the package again
        raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)
    if generation is None:
        raise ModuleNotFoundError(
            f"No module named '{fullname}': nothing of the plugin is loaded", name=fullname
        )
    if not generation.owns_module(f"{generation.root}.{module}"):
        raise ModuleNotFoundError(
            f"No module named '{fullname}': the plugin has no module '{module}'", name=fullname
        )
    return importlib.machinery.ModuleSpec(fullname, FacadeLoader(parent, module), is_package=True)


def place_parents(parent: str) -> None:
    """Put the facade of a plugin and the empty package above it into ``sys.modules``."""
    above, _, name = parent.partition(".")
    package = sys.modules.get(above)
    if package is None:
        package = sys.modules[above] = _Above(above, "Plugins loaded by hotload_tui.")
        package.__path__ = []
    if parent not in sys.modules:
        facade = sys.modules[parent] = Facade(parent, parent, "")
        setattr(package, name, facade)


def remove_parents(parent: str, in_use: Mapping[str, object]) -> None:
    """Remove the facades of a plugin without generations; ``in_use`` contains the other plugins.

    The package above is removed, too, if no other plugin uses it.
    """
    for name, module in sys.modules.copy().items():
        if name.startswith(f"{parent}.") or (name == parent and type(module) is Facade):
            sys.modules.pop(name, None)
    forget_loggers(parent)
    above, _, name = parent.partition(".")
    package = sys.modules.get(above)
    if package is not None:
        vars(package).pop(name, None)
    if type(package) is _Above and not in_use:
        sys.modules.pop(above, None)


class _Above(ModuleType):
    """The package above all plugins, unless the host has a package of that name."""


_NUMBERED = re.compile(rf"^g\d+_[0-9a-f]{{{DIGITS}}}x*(?:\.|$)")


class GenerationLoader(importlib.abc.InspectLoader):
    """Loads one module of a generation from its artifact."""

    def __init__(self, generation: Generation, place: ModulePlace) -> None:
        self._generation = generation
        self._path = place.path
        self._folder = place.folder
        self.file = generation.file_of(place.path)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:  # noqa: ARG002 - the import protocol
        """Let the import system create an ordinary module."""
        return

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code with the generation's builtins."""
        self._generation.prepare(module)
        generation, artifact = self._generation, self._generation.artifact
        if self._path not in artifact.members:
            return  # a folder without __init__.py
        code, source = artifact.code_object(self._path, self.file), artifact.source(self._path)
        generation.origin.adopt(self.file, source, code)
        generation.note(module, source)
        with generation.placed(module):
            exec(code, module.__dict__)  # noqa: S102 - the plugin's code must run
        generation.adopt(module.__dict__)

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002 - the import protocol
        """Return whether the module is a package."""
        return self._folder is not None

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol
        """Return the source file's path."""
        return self.file

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the import protocol
        """Return the source as it was loaded."""
        if self._path not in self._generation.artifact.members:
            return ""
        return importlib.util.decode_source(self._generation.artifact.source(self._path))

    def get_data(self, path: str) -> bytes:
        """Return a plugin file's bytes as loaded; raises ``FileNotFoundError`` if there is no such file."""
        try:
            relative = Path(path).relative_to(self._generation.root_dir)
            return self._generation.artifact.source(relative.as_posix())
        except (ValueError, KeyError):
            raise FileNotFoundError(f"{path} is no file of plugin {self._generation.plugin}") from None

    def get_resource_reader(self, fullname: str) -> ArtifactResources:  # noqa: ARG002 - the import protocol
        """Return the package's files for ``importlib.resources``."""
        folder = self._folder if self._folder is not None else str(PurePosixPath(self._path).parent)
        return ArtifactResources(self._generation.artifact, "" if folder == "." else folder)


class _GivenLoader(importlib.abc.Loader):
    """Takes over an object that a plugin's code has put into ``sys.modules`` below its ``__name__``."""

    def __init__(self, parent: str, module: str, given: ModuleType) -> None:
        self._place = (parent, module)
        self._given = given
        self._spec = _spec_of(given)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:  # noqa: ARG002
        """Return the object."""
        return self._given

    def exec_module(self, module: ModuleType) -> None:
        """Put the facade in its place: the next version may have an object of its own."""
        _give_back(module, self._spec)
        finder.facade(*self._place)


class _NotingLoader(importlib.abc.Loader):
    """Asks the loader of ``spec`` for its module, and notes the spec that the module already has."""

    def __init__(self, spec: ModuleSpec) -> None:
        self._loader = spec.loader
        self.noted: ModuleSpec | None = None
        if hasattr(self._loader, "create_module"):
            spec.loader = self

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module of the loader, which is the spec's loader again."""
        spec.loader = self._loader
        assert self._loader is not None
        module = self._loader.create_module(spec)
        self.noted = _spec_of(module)
        return module


class _ImporterLoader(importlib.abc.Loader):
    """Loads a module that an importer of the plugin finds, by the name that the importer knows."""

    def __init__(self, parent: str, module: str, found: ModuleSpec) -> None:
        self._place = (parent, module)
        self._found = found
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:  # noqa: ARG002
        """Return the importer's module; it may be a shared module, as ``six.moves.queue``."""
        with self._named():
            noting = _NotingLoader(self._found)
            module = importlib.util.module_from_spec(self._found)
            self._spec = noting.noted
            return module

    def exec_module(self, module: ModuleType) -> None:
        """Let the importer run the module."""
        _give_back(module, self._spec)
        loader = self._found.loader
        if loader is not None:
            with self._named():
                loader.exec_module(module)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Take the facade out of ``sys.modules``: the importer would use it as its module."""
        sys.modules.pop(self._found.name, None)
        try:
            yield
        finally:
            finder.facade(*self._place)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of all generations; inserted first in ``sys.meta_path`` while any exists."""

    def __init__(self) -> None:
        # By the plugin's stable name, then by unique name, the newest last.
        self._generations: dict[str, dict[str, Generation]] = {}
        self._packages: dict[str, tuple[str, str]] = {}  # import name: stable name, and the module that it is
        self._shared: dict[str, str] = {}
        self._children = Children(self._for_children)
        self._lock = RLock()

    def add(self, generation: Generation) -> None:
        """Register ``generation``, so that its modules can be imported."""
        with self._lock:
            self._generations.setdefault(generation.parent, {})[generation.root] = generation
            place_parents(generation.parent)
            if generation.plugin in generation.entry.packages:
                module = generation.entry.module if generation.entry.is_alone else ""
                self._packages[generation.plugin] = generation.parent, module
            if not sys.meta_path or sys.meta_path[0] is not self:
                # Before the finders of plugins: they would be asked for the modules of each other.
                sys.meta_path.insert(0, self)
                self._leave_after(1)
            self._children.begin()

    def share(self, names: Iterable[str], folder: str) -> None:
        """Find these packages in ``folder``, unless another plugin shares a package of that name."""
        for name in names:
            self._shared.setdefault(name, folder)

    def remove(self, generation: Generation) -> None:
        """Unregister ``generation``; remove the plugin's facades with its last generation."""
        with self._lock:
            of_plugin = self._generations.get(generation.parent, {})
            if of_plugin.pop(generation.root, None) is None:
                return
            if not of_plugin:
                del self._generations[generation.parent]
                remove_parents(generation.parent, self._generations)
                self._remove_package(generation.plugin)
            elif generation.is_released:
                for name in generation.places_not_in(of_plugin.values()):
                    sys.modules.pop(f"{generation.parent}.{name}", None)
                    if generation.plugin in self._packages:
                        self._drop(f"{generation.plugin}.{name}")
            if not self._generations and self._leave_after(0):
                self._children.end()

    def _remove_package(self, name: str) -> None:
        if self._packages.pop(name, None) is not None:
            for each in [each for each in sys.modules if each.partition(".")[0] == name]:
                self._drop(each)

    @staticmethod
    def _drop(name: str) -> None:
        if type(sys.modules.get(name)) is Facade:  # not the package itself, imported before
            del sys.modules[name]

    def _leave_after(self, first: int) -> bool:
        """Remove this finder from ``sys.meta_path``, from place ``first`` on; return whether it was there."""
        for place, each in enumerate(sys.meta_path):
            if each is self and place >= first:  # not remove(): a comparison could run code of a plugin
                del sys.meta_path[place]
                return True
        return False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,  # noqa: ARG002 - the import protocol
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a generation's module or of a facade; ``None`` for any other module."""
        parts = fullname.split(".", 3)
        parent = ".".join(parts[:2])
        of_plugin = self._generations.get(parent)
        if of_plugin is None:
            if fullname == children.MODULE:
                return self._children.spec(path)
            if (package := self._packages.get(parts[0])) is not None:
                rest = fullname[len(parts[0]) + 1 :]
                return facade_spec(package[0], fullname, rest or package[1])
            folder = self._shared.get(fullname)
            return PathFinder.find_spec(fullname, [folder]) if folder is not None else None
        generation = of_plugin.get(".".join(parts[:3]))
        if generation is not None and generation.is_importable:
            return generation.find_spec(fullname, path)
        # The unique name of a generation that is not to be found resolves like the stable name.
        return facade_spec(parent, fullname, _NUMBERED.sub("", ".".join(parts[2:]), count=1))

    def current(self, parent: str) -> Generation | None:
        """Return the generation that the stable name ``parent`` of a plugin means for the calling code.

        Code of the plugin, and what it calls, gets its own generation. Code of a plugin that requires it gets
        the generation that it was loaded with. All other code gets the live generation, or ``None`` if there
        is none.
        """
        known = _in_memory.get(parent)
        if known is None:
            return None
        if len(known) == 1 and (live := self._live(parent)) is not None:
            return live  # the usual case: there is no other
        return acting_generation(parent) or handled_generation(known) or self._live(parent)

    def _live(self, parent: str) -> Generation | None:
        of_plugin = [*self._generations.get(parent, {}).values()]
        return next((generation for generation in of_plugin[::-1] if generation.is_live), None)

    def _for_children(self) -> tuple[str, list[ChildPlugin]]:
        """Return the package above all plugins, and the versions that the calling code would get."""
        found = [generation for parent in [*self._generations] if (generation := self.current(parent))]
        head = found[0].parent.partition(".")[0] if found else ""
        same = (each for each in found if each.parent.partition(".")[0] == head)
        return head, [
            child_plugin(each.artifact.path, each.root_dir, each.number, each.shared) for each in same
        ]

    def facade(self, parent: str, module: str, above: str = "") -> ModuleType:
        """Return the facade of a plugin's ``module`` below ``above`` (or ``parent``), in ``sys.modules``."""
        above = above or parent
        name = f"{above}.{module}" if module else above
        facade = sys.modules.get(name)
        if type(facade) is not Facade:
            facade = sys.modules[name] = Facade(name, parent, module)
        return facade

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context
    ) -> Iterable[importlib.metadata.Distribution]:
        """Return the distributions beside ``plugin.py`` for its code; those of shared packages for all."""
        generation = calling_generation()
        if generation is not None:
            return find_distributions(generation, context.name)
        folder = self._shared.get((context.name or "").lower().replace("-", "_"), "")
        shared = importlib.metadata.DistributionFinder.Context(name=context.name, path=[folder])
        found = importlib.metadata.MetadataPathFinder.find_distributions(shared)
        return found if folder else ()


finder = Finder()
_in_memory: dict[str, dict[str, weakref.ref[Generation]]] = {}
"""All generations that are not freed, by the plugin's stable name and the unique name."""


def _remember(generation: Generation) -> None:
    def freed(_: object) -> None:
        known.pop(root, None)
        if not known and _in_memory.get(parent) is known:
            del _in_memory[parent]

    root, parent = generation.root, generation.parent
    known = _in_memory.setdefault(parent, {})
    known[root] = weakref.ref(generation, freed)


class Generation:
    """The modules of one load; no code of the plugin runs before ``execute``."""

    def __init__(self, artifact: Artifact, *, root_dir: Path, module_path: str, number: int) -> None:
        """Prepare generation ``number`` of ``artifact``, whose source is in ``root_dir``."""
        self.artifact = artifact
        self.plugin = artifact.manifest.plugin
        self.entry = artifact.manifest.entry
        self.number = number
        self.parent = f"{module_path}.{identifier(self.plugin)}"
        self.root = f"{self.parent}.g{number}_{artifact.manifest.digest[:DIGITS]}"
        while names_below(self.root) is not None:  # another manager or a held generation uses it
            self.root += "x"
        self.names = ModuleNames(self.root, self.parent)
        self.root_dir = root_dir
        self._folder = str(root_dir)
        self.modules: dict[str, ModuleType] = {}
        """The modules by unique name, since ``hide`` or ``release``."""
        self._places = dict(module_places(artifact))
        self.top_names = frozenset(name for name in self._places if name and "." not in name)
        self.shared: frozenset[str] = frozenset()
        """The packages beside ``plugin.py`` that do not belong to the generation, because all share them."""
        self.peers: Mapping[str, Peer] = MappingProxyType({})
        """The required plugins by name."""
        self.exit_calls: list[Callable[[], object]] = []
        """The functions that the plugin registered with ``atexit``, the oldest first."""
        self.on_import: Callable[[str], None] | None = None
        """Called during the load with the name of each shared module that the plugin has imported."""
        self.maker: HandleMaker | None = None
        """Makes the handles that ``hotplug.<plugin>.<name>`` gives."""
        self.is_live = False
        """Whether the generation went live and is not released."""
        self.is_released = False
        self._is_hidden = False
        self._reach = RLock()
        self._importing = 0
        self._readers: set[str] = set()
        self._sets_names = False
        self._importers: list[object] = []
        self.origin = Origin(number)
        _remember(self)
        self._imports = PrivateImport(self)
        self._builtins = {**vars(builtins), **stand_ins.RUN_FUNCTIONS, "__import__": self._imports}

    def share(self, names: Iterable[str]) -> None:
        """Leave these packages to the process, which imports them once, under their real names."""
        self.shared = self.top_names.intersection(names)
        if self.shared:
            self.top_names -= self.shared
            places = self._places.items()
            self._places = {name: place for name, place in places if name.split(".")[0] not in self.shared}
            finder.share(self.shared, self._folder)

    def shared_name(self, unique: str) -> str | None:
        """Return the real name of the shared module that a unique name would mean, or ``None``."""
        name = unique[len(self.root) + 1 :] if self.shared and self.owns(unique) else ""
        return name if name.partition(".")[0] in self.shared else None

    def execute(self) -> ModuleType:
        """Execute the plugin's package and its entry, and return the entry's module.

        If the entry replaced itself in ``sys.modules`` with another object, return that object. Raises
        whatever the plugin's code raises.
        """
        self.begin()
        entry = f"{self.root}.{self.entry.module}".rstrip(".")
        if entry not in sys.modules:  # it is the package
            __import__(entry)  # not import_module: its frame would appear in every traceback of a plugin
        return sys.modules[entry]

    def begin(self) -> None:
        """Make the modules importable, and execute the plugin's package."""
        finder.add(self)
        # Not through the import system: it asks for the package above, a facade without anything behind it.
        spec = self.find_spec(self.root)
        package = sys.modules[self.root] = importlib.util.module_from_spec(spec)
        GenerationLoader(self, self._places[""]).exec_module(package)

    def peer(self, parent: str) -> Generation | None:
        """Return the generation of a required plugin that this one was loaded with, or ``None``.

        ``parent`` is the stable name of the required plugin.
        """
        bound = (peer.generation() for peer in self.peers.values())
        return next((other for other in bound if other is not None and other.parent == parent), None)

    def package(self, name: str) -> str:
        """Return the stable name of the package, a required plugin, of a module; empty if there is none."""
        if not self.entry.packages:
            return ""
        head = name.partition(".")[0]
        peer = self.peers.get(head) if head in self.entry.packages else None
        other = peer.generation() if peer is not None else None
        if other is None:
            return ""
        return f"{other.parent}.{other.entry.module}" if other.entry.is_alone else other.parent

    def copy_in_program(self) -> str:
        """Return the file of the package that the program has imported without hotload; empty for none."""
        module = sys.modules.get(self.plugin) if self.plugin in self.entry.packages else None
        return str(vars(module).get("__file__")) if type(module) is ModuleType else ""

    def confirm(self) -> None:
        """Make the generation live, and drop the ``linecache`` entries to restore after a failure."""
        self.origin.confirm()
        self.is_live = True
        self._importers = self._own_importers()  # kept: the next version may remove them

    def hide(self) -> None:
        """Take the modules out of ``sys.modules``, except while they import, until ``show`` or ``release``.

        A version of the same plugin that loads meanwhile may keep a copy of ``sys.modules``.
        """
        with self._reach:
            self._is_hidden = True
            if self._importing:  # it takes them out at its end
                self.modules = self._found() or self.modules
            else:
                self._take_out()

    def show(self) -> None:
        """Put the modules back into ``sys.modules``, after ``hide``."""
        with self._reach:
            if self._is_hidden and not self.is_released:
                sys.modules.update(self.modules)
                self._is_hidden = False

    @property
    def is_importable(self) -> bool:
        """Whether the import system finds the modules by their unique names."""
        return not self.is_out or self._importing > 0

    @property
    def is_out(self) -> bool:
        """Whether the modules are in ``sys.modules`` only during imports."""
        return self._is_hidden or self.is_released

    def release(self) -> None:
        """Remove the modules from ``sys.modules``.

        Code that still runs keeps its modules alive and can still import.
        """
        was_live, self.is_live = self.is_live, False
        with self._reach:
            self.is_released = True
            if self._importing and was_live:  # the import withdraws them at its end
                self.modules = self._found() or self.modules
            else:
                self._withdraw()
            if was_live:
                self.origin.retire()
            else:
                self.origin.withdraw()

    def owns(self, module_name: str) -> bool:
        """Return whether a module of this name belongs to this generation."""
        return module_name == self.root or module_name.startswith(f"{self.root}.")

    def waits(self, module: str) -> bool:
        """Return whether the generation has a module of this dotted name that is not loaded yet."""
        return module in self._places and self.loaded(module) is None

    def owns_module(self, unique: str) -> bool:
        """Return whether the generation has a module of this unique name, or an importer that finds it."""
        if not self.owns(unique):
            return False
        name = unique[len(self.root) + 1 :]
        return self.has(name) or self._from_importers(name, None) is not None

    def places_not_in(self, others: Iterable[Generation]) -> list[str]:
        """Return the names of the modules that no other generation has."""
        return [name for name in self._places if not any(other.has(name) for other in others)]

    def has(self, module: str) -> bool:
        """Return whether the generation has a module of this dotted name; empty: its package."""
        return module in self._places or self.loaded(module) is not None

    def loaded(self, module: str) -> ModuleType | None:
        """Return the module; ``None`` if it has not been imported."""
        name = f"{self.root}.{module}" if module else self.root
        found = None if self.is_out else sys.modules.get(name)
        # Asked again: another thread may have taken the modules out meanwhile.
        return self.modules.get(name) if found is None and self.is_out else found

    def modules_in(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Yield the name of each module directly in a folder and whether it is a package, sorted by name."""
        for name, place in sorted(self._places.items()):
            above, _, last = name.rpartition(".")
            if last not in ("", "__init__") and above == folder.replace("/", "."):
                yield last, place.folder is not None

    def importing(self, load: Callable[[], _R]) -> _R:
        """Run ``load`` while the modules are in ``sys.modules``, where the import system looks for them."""
        with self._reach:
            self._importing += 1
            if self.is_out and self._importing == 1:
                sys.modules.update(self.modules)
                if self.is_released:
                    finder.add(self)
        try:
            return load()
        finally:
            with self._reach:
                self._importing -= 1
                if self.is_out and not self._importing:
                    (self._withdraw if self.is_released else self._take_out)()

    def import_module(self, name: str) -> ModuleType:
        """Import a module by the author's name for it."""
        target = self._imports.absolute(name)
        return self.importing(lambda: importlib.import_module(target))

    def reach(self, module: str) -> ModuleType | None:
        """Return the module of this dotted name, imported now if need be; ``None`` if there is none."""
        found = self.loaded(module)
        if found is None and self.has(module):
            return self.importing(lambda: importlib.import_module(f"{self.root}.{module}"))
        return found

    def handle(self, value: object) -> object:
        """Return a handle of a function, method or class of the plugin that can have one, else ``value``."""
        with contextlib.suppress(PluginError):
            return self.maker.handle(value, self.plugin) if self.maker else value
        return value

    def kept(self, name: str) -> object:
        """Return a value of ``plugin.py``: of a function, method or class a handle, which may be kept.

        In a process without a host, such as a child, it is the function itself.

        Raises:
            AttributeError: ``plugin.py`` does not define it.

        """
        entry = self.loaded(self.entry.module) if self.maker else self.reach(self.entry.module)
        if not hasattr(entry, name):
            raise AttributeError(
                f"{self.parent}.{name}: no module has this name, nor does {self.entry.file} define it"
            )
        value: object = getattr(entry, name)
        return self.maker.handle(value, self.plugin) if self.maker else value

    def loaded_modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Yield the dotted name of each imported module and the module; ``''`` is the plugin's package."""
        found = self.modules if self.is_out else self._found()
        return ((name[len(self.root) + 1 :], module) for name, module in [*found.items()])

    def place(self, module: str, thing: ModuleType | None) -> None:
        """Make ``thing`` the module of a dotted name, as the plugin's code says; ``None`` removes it."""
        name = f"{self.root}.{module}" if module else self.root
        for table in (sys.modules, self.modules) if self.is_out else (sys.modules,):
            if thing is None:
                table.pop(name, None)
            elif table is self.modules or not self.is_out or self._importing:
                table[name] = thing

    def own_modules(self) -> dict[str, ModuleType]:
        """Return ``modules`` without the shared modules that the plugin has under a name of its own."""
        return {name: module for name, module in self.modules.items() if not self._is_shared(module)}

    def _is_shared(self, module: ModuleType) -> bool:
        name = getattr(_spec_of(module), "name", None)
        return type(name) is str and not self.owns(name) and sys.modules.get(name) is module

    def note(self, module: ModuleType, source: bytes) -> None:
        """Note what the code of a module, about to run, does with the names of modules."""
        if _READS_MODULES.search(source):
            self._readers.add(module.__name__)
        self._sets_names = self._sets_names or b"__module__" in source

    def reads_modules(self, names: Mapping[str, object]) -> bool:
        """Return whether the code of the module with this namespace uses ``sys.modules``."""
        return names.get("__name__") in self._readers

    def adopt(self, names: Mapping[str, object]) -> None:
        """Give classes and functions whose ``__module__`` the author has written the stable name instead.

        By the short name, neither the standard library nor the engine finds their module.
        """
        for thing in [*names.values()] if self._sets_names else ():
            kind = type(thing)
            if kind is not FunctionType and not issubclass(kind, type):
                continue
            name = thing.__module__ if kind is FunctionType else vars(thing).get("__module__")
            if type(name) is not str or unique_name(name) is not name:
                continue
            own = self._imports.own_name(name)
            if own is None or not self.owns_module(own[0]) or _is_of_shared(name, thing):
                continue
            with contextlib.suppress(TypeError):  # a type of C code
                (type if issubclass(kind, type) else object).__setattr__(
                    thing, "__module__", self.names.stable(own[0])
                )

    def _own_importers(self) -> list[object]:
        """Return the importers that the plugin's code has put on ``sys.meta_path``."""
        owner = Owner(self.root)
        found: list[object] = [each for each in sys.meta_path if each is not finder and owner.owns(each)]
        return [*found, *(each for each in self._importers if each not in found)]

    def _from_importers(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Return the spec of a module that only an importer of the plugin knows, or ``None``."""
        stable = f"{self.parent}.{name}"
        for importer in self._own_importers():
            find: _Find | None = getattr(importer, "find_spec", None)
            spec = find(stable, path, None) if find else None
            if spec is not None:
                loader = _ImporterLoader(self.parent, name, spec)
                is_package = spec.submodule_search_locations is not None
                return ModuleSpec(f"{self.root}.{name}", loader, origin=spec.origin, is_package=is_package)
        return None

    def find_spec(self, fullname: str, path: Sequence[str] | None = None) -> importlib.machinery.ModuleSpec:
        """Return the spec of a module of this generation.

        Raises:
            ImportError: there is no such module; the message has the author's name for it.

        """
        name = fullname[len(self.root) + 1 :]
        place = self._places.get(name)
        if place is None:
            given = sys.modules.get(f"{self.parent}.{name}")
            if given is not None and type(given) is not Facade:
                return ModuleSpec(fullname, _GivenLoader(self.parent, name, given))
            if (asked := self._from_importers(name, path)) is not None:
                return asked
            # Not None: the import system would look into the folder on disk.
            message = f"No module named '{self.plugin}.{name}'"
            raise native.refusal(self.artifact, name) or ModuleNotFoundError(message, name=fullname)
        loader: GenerationLoader | native.NativeLoader | native.LibraryLoader
        if place.is_native:
            loader = native.loader_for(self.artifact, place.path, self.file_of(place.path))
        else:
            loader = GenerationLoader(self, place)
        spec = importlib.machinery.ModuleSpec(fullname, loader, origin=loader.file)
        spec.has_location = True
        spec.cached = _cached(loader.file)
        if place.folder is not None:
            spec.submodule_search_locations = [self.file_of(place.folder)]
        return spec

    def file_of(self, path: str) -> str:
        """Return the source path of a file of the plugin."""
        return f"{self._folder}{os.sep}{path.replace('/', os.sep)}" if path else self._folder

    def prepare(self, module: ModuleType) -> None:
        """Give a module its stable names and the private builtins before its code runs."""
        spec = module.__spec__
        assert spec is not None
        names = vars(module)
        names["__builtins__"] = self._builtins
        names["__name__"] = self.names.stable(spec.name)
        names["__package__"] = self.names.stable(spec.parent or "")

    @contextlib.contextmanager
    def placed(self, module: ModuleType) -> Iterator[None]:
        """Make a module reachable while its code runs: by its stable name, and as a part of its package.

        The import system finds a part of a package in a circular import by the package's ``__name__``.
        """
        spec = module.__spec__
        assert spec is not None
        unique = spec.name
        place = unique[len(self.root) + 1 :]
        facade = finder.facade(self.parent, place)
        above, _, last = unique.rpartition(".")
        package = sys.modules.get(above)
        around = vars(package) if type(package) is ModuleType else {}
        around.setdefault(last, module)
        try:
            yield
        except BaseException:
            if around.get(last) is module:
                del around[last]
            raise
        finally:
            found = sys.modules.get(facade.__name__)
            if found is not facade:  # the module has replaced itself, by its name
                sys.modules[facade.__name__] = facade
                if found is not None:
                    sys.modules[unique] = found

    def _found(self) -> dict[str, ModuleType]:
        """Return the modules in ``sys.modules``, by unique name.

        One search in the names of all modules as one text: a program can have thousands, and a reload looks
        several times.
        """
        names = "\n".join(["", *sys.modules, ""])
        start = f"\n{self.root}"
        found = {}
        at = names.find(start)
        while at >= 0:
            end = names.index("\n", at + 1)
            name = names[at + 1 : end]
            if self.owns(name) and name in sys.modules:
                found[name] = sys.modules[name]
            at = names.find(start, end)
        return found

    def _take_out(self) -> None:
        self.modules = self._found() or self.modules
        for name in self.modules:
            sys.modules.pop(name, None)

    def _withdraw(self) -> None:
        self.modules = self._found() or self.modules  # after an interruption they may be gone
        finder.remove(self)
        own = {id(module) for module in self.own_modules().values()}
        for name, module in sys.modules.copy().items():
            if name in self.modules or id(module) in own:  # also under another name that the plugin chose
                sys.modules.pop(name, None)
        folder = str(self.root_dir)
        for path in list(sys.path_importer_cache):
            if path.startswith(folder):  # from a listing of the folder; added again on demand
                sys.path_importer_cache.pop(path, None)


def install(module_path: str, plugins: Iterable[tuple[str, str, int, tuple[str, ...]]]) -> None:
    """Make the modules of plugins importable in a child process; their entries do not run."""
    for path, root_dir, number, shared in plugins:
        with contextlib.suppress(ArtifactError):  # removed since; the import that needs it raises
            artifact = Artifact(Path(path), Path(root_dir).parent)
            generation = Generation(artifact, root_dir=Path(root_dir), module_path=module_path, number=number)
            generation.share(shared)
            generation.begin()
            generation.confirm()


_Find: TypeAlias = Callable[[str, Sequence[str] | None, None], ModuleSpec | None]
_READS_MODULES = re.compile(rb"sys\.modules|from\s+sys\s+import[^\n]*\bmodules\b")


def _spec_of(thing: object) -> ModuleSpec | None:
    """Return the spec of a module, without running its code."""
    spec = namespace_of(thing).get("__spec__") if is_module(thing) else None
    return cast("ModuleSpec | None", spec)


def _give_back(module: ModuleType, spec: ModuleSpec | None) -> None:
    """Restore the spec of a module that has one: the import system has replaced it by that of an alias."""
    if spec is not None:
        namespace_of(module)["__spec__"] = spec


def _is_of_shared(module: str, thing: object) -> bool:
    """Return whether ``thing`` is an object of the shared module with this name."""
    shared = sys.modules.get(module)
    return type(shared) is ModuleType and any(each is thing for each in vars(shared).copy().values())


def _cached(file: str) -> str | None:
    """Return the ``.pyc`` path of a source file; ``None`` if its computation is not trivial."""
    folder, _, name = file.rpartition(os.sep)
    tag = sys.implementation.cache_tag
    if not tag or sys.pycache_prefix is not None or sys.flags.optimize or not name.endswith(".py"):
        return None  # the import system computes it
    return f"{folder}{os.sep}__pycache__{os.sep}{name[:-3]}.{tag}.pyc"
