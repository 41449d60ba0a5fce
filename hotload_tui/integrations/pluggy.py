"""Hot plugins behind a ``pluggy.PluginManager``; needs the extra ``hotload-tui[pluggy]``.

A program that calls its plugins through pluggy can let hot plugins answer, too::

    hooks = pluggy.PluginManager("app")
    hooks.add_hookspecs(Hooks)
    serve_hooks(hooks, host)
    hooks.hook.greet(name="Ada")  # pluggy's plugins first, then hot plugins

In its ``register``, a hot plugin calls ``register_marked`` to register functions that are marked for pluggy.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Mapping
from types import FunctionType
from typing import Final, Protocol, cast

import pluggy

from hotload_tui.core.errors import RefusedError
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.hooks.point import HookPoint, signature_of
from hotload_tui.core.runtime.context import PluginContext

_NAME: Final = "hotload"
_FIRST, _USUAL, _LAST = 50, None, 150  # priorities; None is the plugin's default, usually 100


class _Handler(Protocol):
    def __call__(self, *arguments: object, **named: object) -> object: ...


def serve_hooks(hooks: pluggy.PluginManager, host: HookHost, *, name: str = _NAME) -> Callable[[], None]:
    """Let the plugins of ``host`` answer every hook that ``hooks`` specifies now; return the undo function.

    A hook calls the handlers at the hook point with its name, and passes all arguments by name. One call sees
    one version of every plugin. A handler that raises becomes a fault of its plugin, not an exception in the
    program. Hot plugins run after pluggy's own plugins; for a hook with ``firstresult`` they run only if
    those give no answer.

    Raises:
        RefusedError: a hook is historic, which suits only plugins that never leave; or ``hooks`` already has
            a plugin with this ``name``.

    """
    if hooks.has_plugin(name):
        raise RefusedError(f'a plugin "{name}" is registered with pluggy already')
    answers = {hook.name: _answer(hook, host) for hook in vars(hooks.hook).values() if hook.spec is not None}
    mark = pluggy.HookimplMarker(hooks.project_name)(wrapper=True)
    bridge = type("HotPlugins", (), {point: staticmethod(answer) for point, answer in answers.items()})()
    for answer in answers.values():
        mark(answer)
    hooks.register(bridge, name)

    def stop() -> None:
        if hooks.get_plugin(name) is bridge:
            hooks.unregister(bridge)

    return stop


def _answer(hook: pluggy.HookCaller, host: HookHost) -> FunctionType:
    """Return a wrapper for a hook that adds the answers of the host's plugins."""
    if hook.is_historic():
        raise RefusedError(
            f"the hook {hook.name} is historic: hot plugins, which come and go, cannot answer it"
        )
    assert hook.spec is not None
    is_first = bool(hook.spec.opts.get("firstresult"))
    point = hook.name
    if "strict" in hook.spec.argnames:  # a call by name could take it for its own keyword
        point = cast("str", HookPoint(hook.spec.function))

    def add(named: dict[str, object]) -> Generator[None, object, object]:
        said = yield
        if is_first:
            return host.first(point, **named) if said is None else said
        own = said if isinstance(said, list) else []
        return [*own, *(value for value in host.call(point, **named) if value is not None)]

    # pluggy reads the names of a hook's arguments from the code of the function that implements it.
    names = hook.spec.argnames
    named = ", ".join(f"{name!r}: {name}" for name in names)
    source = f"lambda {', '.join(names)}: (yield from __add({{{named}}}))"
    wrapper: FunctionType = eval(source, {"__add": add})  # noqa: S307 - contains only names of arguments
    return wrapper


def register_marked(ctx: PluginContext, namespace: Mapping[str, object], project: str) -> None:
    """Register every function of ``namespace`` (such as ``globals()``) that is marked for ``project``.

    ``project`` is the name of the ``pluggy.HookimplMarker``. ``specname``, ``tryfirst`` (priority 50) and
    ``trylast`` (150) apply, and a function may take fewer arguments than its hook has.

    Raises:
        RefusedError: no function is marked, or a marked function is a wrapper around other plugins.

    """
    marked = [
        (function, options)
        for function in namespace.values()
        if isinstance(function, FunctionType)
        and isinstance(options := getattr(function, f"{project}_impl", None), dict)
    ]
    if not marked:
        raise RefusedError(f'no function is marked with pluggy.HookimplMarker("{project}")')
    for function, options in marked:
        if options.get("wrapper") or options.get("hookwrapper"):
            raise RefusedError(f"{function.__name__}: a wrapper around other plugins cannot be a hot plugin")
        priority = _FIRST if options.get("tryfirst") else _LAST if options.get("trylast") else _USUAL
        ctx.hook(options.get("specname") or function.__name__, _sparing(function), priority=priority)


def _sparing(function: FunctionType) -> _Handler:
    """Return a function that passes on only those named arguments that ``function`` takes."""
    parameters = signature_of(function).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return function
    known = {each.name for each in parameters}

    def call(*arguments: object, **named: object) -> object:
        return function(*arguments, **{name: value for name, value in named.items() if name in known})

    functools.update_wrapper(call, function)
    return call
