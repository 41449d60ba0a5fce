"""Hook implementations that are marked for pluggy, as handlers; their plugin needs no ``register``.

A mark is an attribute of the function, ``<project>_impl``, which a ``pluggy.HookimplMarker`` sets. Fixtures
of pytest count, too. Nothing here needs pluggy or pytest.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Final, NamedTuple, TypeAlias

from hotload_tui.core.errors import RefusedError
from hotload_tui.core.hooks.point import signature_of
from hotload_tui.core.layout import EntryPoint
from hotload_tui.core.leak_path import in_class
from hotload_tui.core.runtime.context import PluginContext

_FIRST, _USUAL, _LAST = 50, None, 150  # priorities; None is the plugin's default, usually 100
_WRAPPERS: Final = ("wrapper", "hookwrapper")
_MARK: Final = "_impl"
_PYTEST: Final = "pytest"

_FUNCTIONS: Final = (FunctionType, MethodType)
MarkedFunction: TypeAlias = FunctionType | MethodType

USUAL: Final[dict[str, object]] = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}
"""The options of a mark that sets none."""


def register_marked(ctx: PluginContext, plugin: object, project: str) -> None:
    """Register every function of ``plugin`` that is marked for ``project``.

    ``plugin`` is a namespace (``globals()``), or an object with marked methods. ``project`` is the name of
    the ``pluggy.HookimplMarker``; as in pytest, functions ``pytest_…`` need no mark for ``pytest``. They are
    handlers of hook points, too: by the name of the hook, with priority 50 for ``tryfirst`` and 150 for
    ``trylast``; wrappers at ``<hook> (wrapper)``.

    Raises:
        RefusedError: no function is marked.

    """
    if not _register(ctx, plugin, project):
        raise RefusedError(f'no function is marked with pluggy.HookimplMarker("{project}")')


def is_marked(plugin: object) -> bool:
    """Return whether a module or an object has a function that is marked for any project, or is ``pytest_…``.

    So does a fixture of pytest.
    """
    names = _names_in(plugin)
    return bool(_projects(names)) or any(True for _ in _fixtures_of(names))


def register_all_marked(ctx: PluginContext, plugin: object, point: EntryPoint | None = None) -> None:
    """Register every function of a module or an object that is marked for any project, or is ``pytest_…``.

    Fixtures of pytest are handlers at the hook point ``<name> (fixture)``. ``point`` is the entry point that
    names the module or object, if there is one.
    """
    names = _names_in(plugin)
    for project in _projects(names):
        _register(ctx, names, project, point)
    for name, fixture in _fixtures_of(names):
        ctx.hook(
            f"{name} (fixture)", Marked(fixture.function, name, _PYTEST, {**USUAL}, point, fixture=fixture)
        )


class Fixture(NamedTuple):
    """A fixture of pytest, from version 8.4 on."""

    function: MarkedFunction
    decorate: Callable[[object], object]
    """Makes such a fixture of another function."""


def _fixtures_of(plugin: object) -> Iterator[tuple[str, Fixture]]:
    for name, each in plugin.items() if isinstance(plugin, Mapping) else ():
        kind = type(each)
        if (kind.__module__, kind.__name__) == ("_pytest.fixtures", "FixtureFunctionDefinition"):
            yield name, Fixture(each._fixture_function, each._fixture_function_marker)  # noqa: SLF001


def _names_in(plugin: object) -> object:
    return vars(plugin) if type(plugin) is ModuleType else plugin


def _projects(plugin: object) -> dict[str, None]:
    marked = ((name, each) for name, _, each in _functions_of(plugin))
    return dict.fromkeys(project for name, each in marked for project in _projects_of(name, each))


def _register(ctx: PluginContext, plugin: object, project: str, point: EntryPoint | None = None) -> bool:
    marked = [
        Marked(function, name, project, options, point)
        for name, function, holder in _functions_of(plugin)
        if (options := _options_of(name, project, holder, function)) is not None
    ]
    for each in marked:
        priority = _FIRST if each.options["tryfirst"] else _LAST if each.options["trylast"] else _USUAL
        ctx.hook(wrappers_at(each.hook) if each.is_wrapper else each.hook, each, priority=priority)
    return bool(marked)


def _functions_of(plugin: object) -> Iterator[tuple[str, MarkedFunction, object]]:
    """Yield the names and functions of a namespace, or methods of an object, and what can have the mark.

    No property is evaluated.
    """
    if isinstance(plugin, Mapping):
        yield from ((name, each, each) for name, each in plugin.items() if isinstance(each, _FUNCTIONS))
        return
    kind = plugin if isinstance(plugin, type) else type(plugin)
    own: Mapping[str, object] = getattr(plugin, "__dict__", {}) if kind is not plugin else {}
    for name in dir(plugin):
        static = own[name] if name in own else in_class(kind, name)
        if isinstance(static, (*_FUNCTIONS, classmethod, staticmethod)):
            yield name, getattr(plugin, name), static


def _projects_of(name: str, marked: object) -> Iterator[str]:
    for attribute, options in getattr(marked, "__dict__", {}).items():
        if attribute.endswith(_MARK) and isinstance(options, dict) and USUAL.keys() & options:
            yield attribute.removesuffix(_MARK)
    if name.startswith(f"{_PYTEST}_"):
        yield _PYTEST


def _options_of(name: str, project: str, *marked: object) -> dict[str, object] | None:
    for each in marked:
        options = getattr(each, f"{project}{_MARK}", None)
        if isinstance(options, dict):
            return USUAL | options
    return {**USUAL} if project == _PYTEST and name.startswith(f"{_PYTEST}_") else None


class Marked:
    """A marked function as a handler; the host passes it only those named arguments that it takes."""

    def __init__(
        self,
        function: MarkedFunction,
        attribute: str,
        project: str,
        options: dict[str, object],
        point: EntryPoint | None = None,
        *,
        fixture: Fixture | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.attribute = attribute
        self.project = project
        self.options = options
        self.point = point
        """The entry point whose name is that of the plugin for pluggy; ``None``: the hot plugin's name is."""
        self.fixture = fixture
        self.hook = str(options["specname"] or attribute)
        self.is_wrapper = any(options[each] for each in _WRAPPERS)
        parameters = signature_of(function).parameters.values()
        self._takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
        self._known = {each.name for each in parameters}

    def __call__(self, *arguments: object, **named: object) -> object:
        """Call the function."""
        if not self._takes_all:
            named = {name: value for name, value in named.items() if name in self._known}
        return self.function(*arguments, **named)


def wrappers_at(hook: str) -> str:
    """Return the hook point of the wrappers of a hook, which the host's own calls must not reach."""
    return f"{hook} (wrapper)"
