"""Parts of the standard library that look modules up by name, as code of one generation sees them.

``importlib.import_module("part")`` looks in ``sys.modules``, where only unique names stand. A plugin that
imports one of these modules gets a stand-in, which maps the author's names first and forwards the rest.
That of ``atexit`` remembers what is registered: the interpreter does not tell, and not with which arguments.
"""

from __future__ import annotations

import atexit
import builtins
import functools
import importlib
import importlib.machinery
import importlib.util
import logging.config
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from hotload_tui.core.generation.listing import Listing

if TYPE_CHECKING:
    from hotload_tui.core.generation.imports import PrivateImport
    from hotload_tui.core.generation.modules import Generation

_R = TypeVar("_R")
_P = ParamSpec("_P")


class Standard:
    """The stand-ins of one generation, made when they are first asked for."""

    def __init__(self, generation: Generation, private: PrivateImport) -> None:
        self._generation = generation
        self._private = private
        self._made: dict[str, _StandIn] = {}

    def instead_of(self, module: ModuleType, name: str, *, has_fromlist: bool) -> ModuleType:
        """Return what ``import name`` (or ``from name import …``) gives, if not the ``module`` it gave."""
        head, _, rest = name.partition(".")
        if head == "logging" and not (has_fromlist or rest):
            return module  # `import logging` is frequent and needs nothing
        return self.of(name if has_fromlist else head, module)

    def of(self, name: str, module: ModuleType) -> ModuleType:
        """Return the stand-in for a module, or itself."""
        if name not in _PARTS:
            return module
        if name not in self._made:
            self._made[name] = _StandIn(module, self, _PARTS[name](self._generation, self._private))
        return self._made[name]


class _StandIn(ModuleType):
    """A module with some of its functions replaced."""

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
        elif not isinstance(value, ModuleType):  # the import system sets submodules
            super().__setattr__(name, value)

    def __dir__(self) -> Iterable[str]:
        return dir(self._real)


def _importlib(generation: Generation, private: PrivateImport) -> Mapping[str, object]:
    def import_module(name: str, package: str | None = None) -> ModuleType:
        target = private.absolute(name, package)
        if target.startswith("."):
            return importlib.import_module(target, package)  # which says what is wrong
        return generation.importing(lambda: importlib.import_module(target))

    return {"import_module": import_module, "__import__": private}


def _importlib_util(generation: Generation, private: PrivateImport) -> Mapping[str, object]:
    def find_spec(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        target = private.absolute(name, package)
        try:
            return generation.importing(lambda: importlib.util.find_spec(target, package))
        except ModuleNotFoundError as error:
            if error.name != target:
                raise  # a package above it is missing
            return None

    return {"find_spec": find_spec}


def _importlib_resources(generation: Generation, private: PrivateImport) -> Mapping[str, object]:
    import importlib.resources

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
            else:  # the module that calls, which the real one would take to be this one
                values = (sys._getframe(1).f_globals["__name__"],)  # noqa: SLF001 - as the real one does
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


def _pkgutil(generation: Generation, private: PrivateImport) -> Mapping[str, object]:
    def get_data(package: str, resource: str) -> bytes | None:
        target = private.absolute(package)
        return generation.importing(lambda: pkgutil.get_data(target, resource))

    listing = Listing(generation)
    return {
        "get_data": get_data,
        "iter_modules": listing.iter_modules,
        "walk_packages": listing.walk_packages,
    }


def _logging_config(_: Generation, private: PrivateImport) -> Mapping[str, object]:
    class Configurator(logging.config.DictConfigurator):
        """Resolves the author's names."""

        importer = staticmethod(private)

    def dict_config(config: dict[str, object]) -> None:
        Configurator(config).configure()

    # fileConfig has no such hook: the module's functions run in a namespace of their own, which imports so.
    namespace = {**vars(logging.config), "__builtins__": {**vars(builtins), "__import__": private}}
    for name, value in vars(logging.config).items():
        if type(value) is FunctionType and value.__module__ == "logging.config":
            namespace[name] = FunctionType(value.__code__, namespace, name, value.__defaults__)
    file_config = namespace["fileConfig"]
    return {"dictConfig": dict_config, "DictConfigurator": Configurator, "fileConfig": file_config}


def _atexit(generation: Generation, _: PrivateImport) -> Mapping[str, object]:
    def register(function: Callable[_P, _R], *values: _P.args, **named: _P.kwargs) -> Callable[_P, _R]:
        entry = functools.partial(function, *values, **named)  # which is nobody else's, as `print` may be
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


_Make: TypeAlias = "Callable[[Generation, PrivateImport], Mapping[str, object]]"
_PARTS: Mapping[str, _Make] = {
    "atexit": _atexit,
    "importlib": _importlib,
    "importlib.util": _importlib_util,
    "importlib.resources": _importlib_resources,
    "pkgutil": _pkgutil,
    "logging": lambda *_: {},  # only the way to logging.config
    "logging.config": _logging_config,
}
