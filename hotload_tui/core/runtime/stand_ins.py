"""Parts of the standard library as a plugin sees them: resources, distributions and module lookups.

Parts of the standard library look up modules by name in ``sys.modules``, which has only the unique names of a
generation. A plugin that imports one of these parts gets a stand-in, which maps the author's names first and
forwards the rest. The stand-in for ``atexit`` also records the registered functions, because the interpreter
does not list them.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import functools
import importlib
import importlib.machinery
import importlib.metadata
import importlib.resources
import importlib.util
import inspect
import io
import logging.config
import pickle
import pkgutil
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from importlib.resources.abc import Traversable, TraversableResources
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import IO, Final, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from hotload_tui.core.artifact import Artifact
from hotload_tui.core.interpreter import caller
from hotload_tui.core.module_names import is_of_plugin, unique_name

_R = TypeVar("_R")
_P = ParamSpec("_P")


class GenerationModules(Protocol):
    """The modules of one generation, as the stand-ins need them."""

    artifact: Artifact
    parent: str
    """The start of the stable names."""
    root: str
    """The start of the unique names."""
    root_dir: Path
    exit_calls: list[Callable[[], object]]
    """The functions that the plugin registered with ``atexit``, the oldest first."""
    on_import: Callable[[str], None] | None
    """Called during the load with the name of each shared module that the plugin has imported."""

    def importing(self, load: Callable[[], _R]) -> _R:
        """Run ``load`` while the modules are in ``sys.modules``."""
        ...

    def import_module(self, name: str) -> ModuleType:
        """Import a module by the author's name for it."""
        ...

    def find_spec(self, fullname: str) -> importlib.machinery.ModuleSpec:
        """Return the spec of a module by its unique name."""
        ...

    def modules_in(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Yield the name of each module directly in a folder and whether it is a package."""
        ...

    def loaded(self, module: str) -> ModuleType | None:
        """Return the module of a dotted name; ``None`` if it has not been imported."""
        ...

    def loaded_modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Yield the dotted name of each imported module and the module."""
        ...

    def place(self, module: str, thing: ModuleType | None) -> None:
        """Make ``thing`` the module of a dotted name; ``None`` removes it."""
        ...


class Importer(Protocol):
    """The ``__import__`` of one generation."""

    def absolute(self, name: str, package: str | None = None) -> str:
        """Return the unique name for an author's name; a name outside the plugin stays as it is."""
        ...

    def own_name(self, name: str) -> tuple[str, str] | None:
        """Return the unique names of the module that ``name`` means and of the one that an import binds."""
        ...


class ArtifactPath(Traversable):
    """A file or folder inside an artifact."""

    def __init__(self, artifact: Artifact, path: str) -> None:
        self._artifact = artifact
        self._path = path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rpartition("/")[2]

    def iterdir(self) -> Iterator[ArtifactPath]:
        """Yield the files and folders directly inside."""
        start = f"{self._path}/" if self._path else ""
        heads = {
            path[len(start) :].partition("/")[0] for path in self._artifact.members if path.startswith(start)
        }
        for head in sorted(heads):
            yield ArtifactPath(self._artifact, start + head)

    def is_file(self) -> bool:
        """Return whether the path is a file."""
        return self._path in self._artifact.members

    def is_dir(self) -> bool:
        """Return whether the path is a folder."""
        return not self.is_file() and any(True for _ in self.iterdir())

    def joinpath(self, *descendants: object) -> ArtifactPath:
        """Return a path below this one; ``..`` is not resolved, and a leading ``/`` is ignored."""
        parts = [part for name in descendants for part in str(name).split("/") if part not in ("", ".")]
        return ArtifactPath(self._artifact, "/".join([*filter(None, [self._path]), *parts]))

    def read_bytes(self) -> bytes:
        """Return the file's bytes; raises ``FileNotFoundError`` if there is no such file."""
        try:
            return self._artifact.source(self._path)
        except KeyError:
            raise FileNotFoundError(f"{self._path} is not in {self._artifact.path}") from None

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the file's text, decoded as UTF-8 by default."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(  # type: ignore[override]  # the typeshed overloads differ between Python versions
        self,
        mode: str = "r",
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[bytes] | IO[str]:
        """Open the file for reading; raises ``ValueError`` for other modes."""
        if mode not in ("r", "rb"):
            raise ValueError(f"mode {mode!r}: files of an artifact can only be read")
        stream = io.BytesIO(self.read_bytes())
        if mode == "rb":
            return stream
        return io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)

    def __repr__(self) -> str:
        return f"ArtifactPath({str(self._artifact.path)!r}, {self._path!r})"


@contextlib.contextmanager
def _as_file(place: ArtifactPath) -> Iterator[Path]:
    """Yield the path of a temporary copy of a file or folder with its name."""
    with tempfile.TemporaryDirectory(prefix="hotload-") as folder:
        copy = Path(folder, place.name or "files")
        _copy(place, copy)
        yield copy


# Python 3.11 copies only files, and the name of the copy is another one.
getattr(importlib.resources.as_file, "register")(ArtifactPath, _as_file)  # noqa: B009 - not in the stubs


def _copy(place: ArtifactPath, target: Path) -> None:
    if place.is_dir():
        target.mkdir()
        for part in place.iterdir():
            _copy(part, target / part.name)
    else:
        target.write_bytes(place.read_bytes())


class ArtifactResources(TraversableResources):
    """The resources of one package."""

    def __init__(self, artifact: Artifact, folder: str) -> None:
        self._root = ArtifactPath(artifact, folder)

    def files(self) -> ArtifactPath:
        """Return the package's folder inside the artifact."""
        return self._root


_FOLDER = re.compile(r"([^/]+)\.(?:dist|egg)-info/(?:METADATA|PKG-INFO)")


class VendoredDistribution(importlib.metadata.Distribution):
    """One distribution inside an artifact."""

    def __init__(self, generation: GenerationModules, folder: str) -> None:
        """Read ``folder``, such as ``Jinja2-3.1.6.dist-info``."""
        self._generation = generation
        self._folder = folder

    def read_text(self, filename: str) -> str | None:
        """Return the text of a file in the folder; ``None`` if there is no such file."""
        path = f"{self._folder}/{filename}"
        if path not in self._generation.artifact.members:
            return None
        return self._generation.artifact.source(path).decode()

    def locate_file(self, path: object) -> Path:
        """Return the source path of a file of the distribution."""
        return self._generation.root_dir / str(path)

    @property
    def entry_points(self) -> importlib.metadata.EntryPoints:
        """Return the entry points, which load their objects from the generation."""
        generation = self._generation
        return importlib.metadata.EntryPoints(
            _EntryPoint(point.name, point.value, point.group).of(self, generation.import_module)
            for point in super().entry_points
        )


class _EntryPoint(importlib.metadata.EntryPoint):
    """An entry point that resolves module names inside the plugin."""

    def of(self, distribution: VendoredDistribution, load: Callable[[str], ModuleType]) -> _EntryPoint:
        """Bind the entry point to its distribution; instances do not allow ordinary assignment."""
        vars(self).update(dist=distribution, _load=load)
        return self

    def load(self) -> object:
        """Import the module and return the object that the entry point names."""
        load: Callable[[str], ModuleType] = vars(self)["_load"]
        parts = filter(None, self.attr.split("."))
        return functools.reduce(getattr, parts, load(self.module))


def find_distributions(generation: GenerationModules, name: str | None) -> Iterator[VendoredDistribution]:
    """Yield the distributions beside ``plugin.py`` with this ``name``, or all if it is ``None``."""
    members: Mapping[str, object] = generation.artifact.members
    for path in members:
        match = _FOLDER.fullmatch(path)
        if match and (name is None or _normal(match[1].partition("-")[0]) == _normal(name)):
            yield VendoredDistribution(generation, path.partition("/")[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_OnError: TypeAlias = Callable[[str], object]


class FolderListing:
    """``pkgutil``'s functions that list modules, for one generation."""

    def __init__(self, generation: GenerationModules) -> None:
        self._generation = generation

    def iter_modules(
        self, path: Iterable[str] | None = None, prefix: str = ""
    ) -> Iterator[pkgutil.ModuleInfo]:
        """Yield the modules in folders as ``pkgutil.iter_modules`` does."""
        if path is None:
            yield from pkgutil.iter_modules(None, prefix)
            return
        for entry in path:
            try:
                folder = Path(entry).relative_to(self._generation.root_dir).as_posix().strip(".")
            except ValueError:
                yield from pkgutil.iter_modules([entry], prefix)
                continue
            finder = _FolderFinder(self._generation, folder)
            for name, is_package in self._generation.modules_in(folder):
                yield pkgutil.ModuleInfo(finder, f"{prefix}{name}", is_package)

    def walk_packages(
        self, path: Iterable[str] | None = None, prefix: str = "", onerror: _OnError | None = None
    ) -> Iterator[pkgutil.ModuleInfo]:
        """Yield the modules in folders and below as ``pkgutil.walk_packages`` does."""
        for info in self.iter_modules(path, prefix):
            yield info
            if info.ispkg:
                yield from self.walk_packages(self._path_of(info.name, onerror), f"{info.name}.", onerror)

    def _path_of(self, name: str, onerror: _OnError | None) -> list[str]:
        try:
            return list(self._generation.import_module(name).__path__)
        except Exception as error:  # foreign code: ``onerror`` handles packages that fail
            if onerror is not None:
                onerror(name)
            elif not isinstance(error, ImportError):
                raise
            return []


class _FolderFinder:
    """The finder that ``pkgutil.ModuleInfo`` names for the modules of one folder."""

    def __init__(self, generation: GenerationModules, folder: str) -> None:
        self._generation = generation
        self._folder = folder

    def find_spec(
        self,
        fullname: str,
        target: ModuleType | None = None,  # noqa: ARG002 - the finder protocol
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module in this folder."""
        above = ".".join([self._generation.root, *filter(None, self._folder.split("/"))])
        return self._generation.find_spec(f"{above}.{fullname.rpartition('.')[2]}")


class Standard:
    """The stand-ins of one generation, each created on first use."""

    def __init__(self, generation: GenerationModules, private: Importer) -> None:
        self._generation = generation
        self._private = private
        self._made: dict[str, _StandIn] = {}

    def instead_of(self, module: ModuleType, name: str, *, has_fromlist: bool) -> ModuleType:
        """Return the stand-in for the ``module`` that ``import name`` (or ``from name import …``) returned.

        Return ``module`` itself if it has no stand-in.
        """
        head, _, rest = name.partition(".")
        if head == "logging" and not (has_fromlist or rest):
            return module  # `import logging` is frequent and needs no stand-in
        return self.of(name if has_fromlist else head, module)

    def of(self, name: str, module: ModuleType) -> ModuleType:
        """Return the stand-in for ``module``, or ``module`` itself if it has none."""
        if name not in _PARTS:
            return module
        if name not in self._made:
            self._made[name] = _StandIn(module, self, _PARTS[name](self._generation, self._private))
        return self._made[name]


class _StandIn(ModuleType):
    """A module of the standard library with some functions replaced."""

    _real: ModuleType
    _standard: Standard

    def __init__(self, module: ModuleType, standard: Standard, own: Mapping[str, object]) -> None:
        super().__init__(module.__name__, module.__doc__)
        vars(self).update(own, __spec__=module.__spec__, _real=module, _standard=standard)

    def __getattr__(self, name: str) -> object:
        value: object = getattr(self._real, name)
        if type(value) is ModuleType:
            return self._standard.of(value.__name__, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if name not in vars(self):
            setattr(self._real, name, value)
        elif not isinstance(value, ModuleType):  # ignore submodules, which the import system sets
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name not in vars(self):
            delattr(self._real, name)

    def __dir__(self) -> Iterable[str]:
        return dir(self._real)


class _OwnModules(MutableMapping[str, ModuleType]):
    """``sys.modules`` as the code of a plugin expects it: its modules have short and stable names, too."""

    def __init__(self, generation: GenerationModules, private: Importer) -> None:
        self._generation = generation
        self._private = private

    def _own(self, name: str) -> str | None:
        """Return the dotted name of a module of the plugin; ``None`` for a name of another module."""
        generation = self._generation
        for start in (generation.root, generation.parent):
            if name == start or name.startswith(f"{start}."):
                return name[len(start) + 1 :]
        found = self._private.own_name(name) if type(name) is str else None
        return found[0][len(generation.root) + 1 :] if found else None

    def __getitem__(self, name: str) -> ModuleType:
        own = self._own(name)
        found = sys.modules[name] if own is None else self._generation.loaded(own)
        if found is None and own is not None:
            raise KeyError(name)
        return found  # type: ignore[return-value]  # None stops an import

    def __setitem__(self, name: str, module: ModuleType) -> None:
        own = self._own(name)
        if own is None:
            sys.modules[name] = module
        else:
            self._generation.place(own, module)

    def __delitem__(self, name: str) -> None:
        own = self._own(name)
        if own is None:
            del sys.modules[name]
        elif self._generation.loaded(own) is None:
            raise KeyError(name)
        else:
            self._generation.place(own, None)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(sys.modules.copy())
        for own, _ in self._generation.loaded_modules():
            names[f"{self._generation.parent}.{own}" if own else self._generation.parent] = None
            if self._own(own) == own != "":
                names[own] = None
        return iter([name for name in names if name in self])

    def __len__(self) -> int:
        return len([*iter(self)])

    def __repr__(self) -> str:
        return repr(self.copy())

    def copy(self) -> dict[str, ModuleType]:
        """Return the modules by name."""
        return dict(self)

    def clear(self) -> None:
        """Remove the modules of other code, as ``mock.patch.dict`` does before it restores all."""
        above = self._generation.parent.partition(".")[0]
        for name in sys.modules.copy():
            if name.partition(".")[0] != above:
                del sys.modules[name]


def _sys(generation: GenerationModules, private: Importer) -> Mapping[str, object]:
    return {"modules": _OwnModules(generation, private)}


def _pickle(generation: GenerationModules, private: Importer) -> Mapping[str, object]:
    class Unpickler(pickle.Unpickler):
        """Finds the plugin's classes by the author's names for their modules, too."""

        def find_class(self, module_name: str, global_name: str, /) -> object:
            if private.absolute(module_name) == module_name:
                return super().find_class(module_name, global_name)
            module = generation.import_module(module_name)
            return functools.reduce(getattr, global_name.split("."), module)

    def load(file: IO[bytes], **named: object) -> object:
        return Unpickler(file, **named).load()  # type: ignore[arg-type]

    def loads(data: bytes, /, **named: object) -> object:
        return Unpickler(io.BytesIO(data), **named).load()  # type: ignore[arg-type]

    return {"Unpickler": Unpickler, "load": load, "loads": loads}


def _importlib_metadata(generation: GenerationModules, _: Importer) -> Mapping[str, object]:
    class Kind(type):
        def __instancecheck__(cls, thing: object) -> bool:
            return isinstance(thing, importlib.metadata.EntryPoint)

    class EntryPoint(importlib.metadata.EntryPoint, metaclass=Kind):
        """An entry point that resolves module names inside the plugin."""

        def load(self) -> object:
            parts = filter(None, self.attr.split("."))
            return functools.reduce(getattr, parts, generation.import_module(self.module))

    return {"EntryPoint": EntryPoint}


def _importlib(generation: GenerationModules, private: Importer) -> Mapping[str, object]:
    def import_module(name: str, package: str | None = None) -> ModuleType:
        target = private.absolute(name, package)
        if target.startswith("."):
            return importlib.import_module(target, package)  # raises the usual error
        module = generation.importing(lambda: importlib.import_module(target))
        if generation.on_import is not None and target == name:
            generation.on_import(name)
        return module

    return {"import_module": import_module, "__import__": private}


def _importlib_util(generation: GenerationModules, private: Importer) -> Mapping[str, object]:
    def find_spec(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        target = private.absolute(name, package)
        try:
            return generation.importing(lambda: importlib.util.find_spec(target, package))
        except ModuleNotFoundError as error:
            if error.name != target:
                raise  # a parent package is missing
            return None

    return {"find_spec": find_spec}


def _importlib_resources(generation: GenerationModules, private: Importer) -> Mapping[str, object]:
    def unique(anchor: object) -> object:
        return private.absolute(anchor) if isinstance(anchor, str) else anchor

    def anchored(function: Callable[..., _R]) -> Callable[..., _R]:  # type: ignore[explicit-any]
        @functools.wraps(function)
        def call(*values: object, **named: object) -> _R:
            key = next((key for key in ("anchor", "package") if key in named), "")
            if key:
                named[key] = unique(named[key])
            elif values:
                values = (unique(values[0]), *values[1:])
            else:  # the calling module; the real function would use this module
                frame = caller()
                values = (unique(frame.f_globals["__name__"]) if frame else None,)
            return generation.importing(lambda: function(*values, **named))

        return call

    names = (
        "files",
        "open_binary",
        "open_text",
        "read_binary",
        "read_text",
        "path",
        "is_resource",
        "contents",
    )
    found = {name: getattr(importlib.resources, name, None) for name in names}
    return {name: anchored(function) for name, function in found.items() if function is not None}


def _pkgutil(generation: GenerationModules, private: Importer) -> Mapping[str, object]:
    def get_data(package: str, resource: str) -> bytes | None:
        target = private.absolute(package)
        return generation.importing(lambda: pkgutil.get_data(target, resource))

    listing = FolderListing(generation)
    return {
        "get_data": get_data,
        "iter_modules": listing.iter_modules,
        "walk_packages": listing.walk_packages,
    }


def _logging_config(_: GenerationModules, private: Importer) -> Mapping[str, object]:
    # A configurator that resolves the author's module names.
    configurator = type("Configurator", (logging.config.DictConfigurator,), {"importer": private})

    def dict_config(config: dict[str, object]) -> None:
        configurator(config).configure()

    # fileConfig has no ``importer``: run copies of the module's functions with ``private`` as ``__import__``.
    namespace = {**vars(logging.config), "__builtins__": {**vars(builtins), "__import__": private}}
    for name, value in vars(logging.config).items():
        if type(value) is FunctionType and value.__module__ == "logging.config":
            namespace[name] = FunctionType(value.__code__, namespace, name, value.__defaults__)
    file_config = cast("Callable[[object], None]", namespace["fileConfig"])
    return {
        "dictConfig": _sparing(dict_config),
        "DictConfigurator": configurator,
        "fileConfig": _sparing(file_config),
    }


def _sparing(configure: Callable[_P, None]) -> Callable[_P, None]:
    """Return ``configure`` without the part that disables the loggers of the host, which must be heard."""

    @functools.wraps(configure)
    def configured(*values: _P.args, **named: _P.kwargs) -> None:
        loggers = logging.root.manager.loggerDict.copy().values()
        enabled = [one for one in loggers if isinstance(one, logging.Logger) and not one.disabled]
        try:
            configure(*values, **named)
        finally:
            for logger in enabled:
                logger.disabled = False

    return configured


def _atexit(generation: GenerationModules, _: Importer) -> Mapping[str, object]:
    def register(function: Callable[_P, _R], *values: _P.args, **named: _P.kwargs) -> Callable[_P, _R]:
        entry = functools.partial(function, *values, **named)  # unique: the host may register `function`, too
        atexit.register(entry)
        generation.exit_calls.append(entry)
        given.append((function, entry))
        return function

    def unregister(function: Callable[_P, object]) -> None:
        atexit.unregister(function)
        for _, entry in [each for each in given if each[0] == function]:
            atexit.unregister(entry)
        given[:] = [each for each in given if each[0] != function]

    given: list[tuple[object, Callable[[], object]]] = []
    return {"register": register, "unregister": unregister}


_Make: TypeAlias = Callable[[GenerationModules, Importer], Mapping[str, object]]
_PARTS: Mapping[str, _Make] = {
    "atexit": _atexit,
    "importlib": _importlib,
    "importlib.metadata": _importlib_metadata,
    "importlib.util": _importlib_util,
    "importlib.resources": _importlib_resources,
    "pickle": _pickle,
    "pkgutil": _pkgutil,
    "sys": _sys,
    "logging": lambda *_: {},  # gives access to logging.config only
    "logging.config": _logging_config,
}


def _running(run: Callable[..., object]) -> Callable[..., object]:  # type: ignore[explicit-any]
    """Return ``exec`` or ``eval`` for the code of plugins.

    The interpreter gives code the builtins of the code that runs it. A shared module that is run by an import
    hook of a plugin must get the interpreter's own.
    """

    @functools.wraps(run)
    def call(source: object, /, *values: object, **named: object) -> object:
        given = dict(zip(("globals", "locals"), values, strict=False)) | named
        others = {name: value for name, value in named.items() if name not in ("globals", "locals")}
        space, inner = given.get("globals"), given.get("locals")
        frame = caller()
        assert frame is not None
        if space is None:
            space, inner = frame.f_globals, _locals_of(frame) if inner is None else inner
        if type(space) is dict:
            is_shared = _is_of_shared_module(space)
            space.setdefault("__builtins__", vars(builtins) if is_shared else frame.f_builtins)
        return run(source, space, inner, *values[2:], **others)

    return call


def _locals_of(frame: FrameType) -> object:
    """Return what ``exec`` takes as local names: from Python 3.13 on a copy of those of a function."""
    is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED
    return dict(frame.f_locals) if is_function and sys.version_info >= (3, 13) else frame.f_locals


def _is_of_shared_module(space: dict[str, object]) -> bool:
    name = space.get("__name__")
    if type(name) is not str or unique_name(name) is not name or is_of_plugin(name):
        return False
    module = sys.modules.get(name)
    is_module = issubclass(type(module), ModuleType)
    return is_module and vars(ModuleType)["__dict__"].__get__(module) is space


RUN_FUNCTIONS: Final[Mapping[str, object]] = {"exec": _running(exec), "eval": _running(eval)}
"""The functions that take the place of built-in ones for the code of plugins."""
