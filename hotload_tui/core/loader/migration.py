"""``STATE_VERSION`` and ``migrate_state``: what a new version does with the state that an older one left."""

from __future__ import annotations

import contextlib
import inspect
from types import AsyncGeneratorType, CodeType, CoroutineType, GeneratorType, ModuleType

from hotload_tui.core.context import PluginState
from hotload_tui.core.errors import LoadError

_SIGNATURE = "def migrate_state(state, from_version) -> None: ..."


def defined(module: object, name: str) -> object:
    """Return what a plugin's entry defines under ``name``, or ``None``; may raise what its code raises."""
    # A module that put another object in its place in sys.modules is that object.
    return vars(module).get(name) if type(module) is ModuleType else getattr(module, name, None)


def migrate(plugin: str, module: object, state: PluginState, file: str) -> None:
    """Bring the state to the ``STATE_VERSION`` of ``module``, as it will be if the load succeeds.

    Nothing is called where an earlier generation left no state, or one of the same version.

    Raises:
        LoadError: ``STATE_VERSION`` is no whole number, ``migrate_state`` is missing, or it raised.

    """
    version = _version(plugin, module, file)
    before, state.version = state.kept_version, version
    if before is None or before == version:
        return
    change = f"the state of version {before} to STATE_VERSION {version}"
    try:
        function = defined(module, "migrate_state")
        returned = function(state, before) if callable(function) else None
    except BaseException as error:  # foreign code: whatever it raises, the old generation serves on
        with contextlib.suppress(Exception):  # an exception of the plugin's own may take no notes
            BaseException.add_note(error, f"migrate_state was to bring {change}")
        raise LoadError(plugin, f"migrate_state(state, {before}) raised") from error
    if not callable(function):
        problem = f"nothing brings {change}; add: {_SIGNATURE}"
    elif is_unfinished(returned):
        problem = (
            f"migrate_state returned a coroutine or generator, which nobody would run; write: {_SIGNATURE}"
        )
    else:
        return
    raise LoadError(plugin, problem, file=file, line=_line_of(function))


def is_unfinished(value: object) -> bool:
    """Tell whether a function of a plugin returned a coroutine or generator instead of doing its work."""
    if type(value) is CoroutineType or type(value) is GeneratorType:
        value.close()  # the interpreter would complain that nobody awaited it
    return type(value) in (CoroutineType, GeneratorType, AsyncGeneratorType)


def _version(plugin: str, module: object, file: str) -> int:
    try:
        version = defined(module, "STATE_VERSION")
    except BaseException as error:  # foreign code, as above
        raise LoadError(plugin, "looking at STATE_VERSION raised") from error
    if version is None:
        return 0
    if type(version) is not int:
        kind = type(version).__name__
        raise LoadError(plugin, f"STATE_VERSION must be a whole number, not a {kind}", file=file, line=1)
    return version


def _line_of(function: object) -> int:
    code = inspect.unwrap(function).__code__ if inspect.isfunction(function) else None
    return code.co_firstlineno if type(code) is CodeType else 1
