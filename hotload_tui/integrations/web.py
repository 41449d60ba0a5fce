"""Routes of a running web application, for Flask, FastAPI and Starlette.

The frameworks add routes before the first request, and remove none. The functions here build the next table
of routes beside the current one, and put it in place in one assignment: each request finds the routes of the
previous version or of the new one::

    def register(ctx):
        own_router(ctx, app, router, prefix="/notes")
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from hotload_tui.core.runtime.context import PluginContext

if TYPE_CHECKING:
    from flask import Blueprint, Flask
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute, Router
    from werkzeug.routing import Map, Rule

_T = TypeVar("_T")
_Table = TypeVar("_Table", dict[object, object], list[object])

# ---- FastAPI and Starlette


def own_router(
    ctx: PluginContext,
    app: Starlette,
    router: Router | Sequence[BaseRoute],
    *,
    key: str = "",
    **options: object,
) -> None:
    """Include a router in an application of FastAPI or Starlette while this version is live.

    ``options`` are those of ``FastAPI.include_router``, such as ``prefix`` and ``dependencies``; Starlette
    has none. The routes keep their place among the others. Events and ``lifespan`` of the router do not run:
    use ``ctx.own``. A plugin with several routers gives each its own ``prefix`` or ``key``.

    Raises:
        RegisterError: as ``ctx.own``.

    """
    routes = _routes_of(app, router, options)

    def acquire() -> list[BaseRoute]:
        _set_routes(app, [*app.router.routes, *routes])
        return routes

    def replace(previous: list[BaseRoute]) -> list[BaseRoute]:
        current = [*app.router.routes]
        first = next((index for index, route in enumerate(current) if _is_in(route, previous)), len(current))
        before, after = (_without(part, previous) for part in (current[:first], current[first:]))
        _set_routes(app, [*before, *routes, *after])
        return routes

    def release(previous: list[BaseRoute]) -> None:
        _set_routes(app, _without(app.router.routes, previous))

    ctx.own(f"router {key or options.get('prefix', '')}", acquire, release, replace=replace)
    ctx.on_unload(_clear_caches)


def _clear_caches() -> None:
    """Clear what FastAPI has found out about functions: its caches hold the functions of a version."""
    for name, module in [*sys.modules.items()]:
        if name.startswith("fastapi."):
            for function in vars(module).values():
                if isinstance(function, functools._lru_cache_wrapper):  # noqa: SLF001 - it has no other name
                    function.cache_clear()


def _routes_of(
    app: Starlette, router: Router | Sequence[BaseRoute], options: dict[str, object]
) -> list[BaseRoute]:
    """Return the routes that a router adds to an application, without adding them."""
    if isinstance(router, Sequence):
        return [*router]
    if not hasattr(app.router, "include_router"):
        return [*router.routes]
    stand_in = copy.copy(app.router)
    stand_in.routes = []
    for events in ("on_startup", "on_shutdown"):
        if hasattr(stand_in, events):
            setattr(stand_in, events, [])
    stand_in.include_router(router, **options)
    return [*stand_in.routes]


def _set_routes(app: Starlette, routes: list[BaseRoute]) -> None:
    """Set the routes in one assignment: a request goes on with the list that it has begun to search."""
    app.router.routes = routes
    if hasattr(app, "openapi_schema"):
        app.openapi_schema = None  # FastAPI builds the documentation again


def _is_in(route: object, routes: Sequence[object]) -> bool:
    return any(route is each for each in routes)


def _without(routes: Sequence[BaseRoute], left_out: Sequence[BaseRoute]) -> list[BaseRoute]:
    return [route for route in routes if not _is_in(route, left_out)]


# ---- Flask

_TABLES: Final = (
    "blueprints",
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "teardown_appcontext_funcs",
    "template_context_processors",
    "url_value_preprocessors",
    "url_default_functions",
    "error_handler_spec",
)  # the tables of an application that hold functions, besides ``view_functions``


def own_blueprint(ctx: PluginContext, app: Flask, blueprint: Blueprint, **options: object) -> None:
    """Register a blueprint with a Flask application while this version is live, also after the first request.

    ``options`` are those of ``Flask.register_blueprint``. Template filters and commands that the blueprint
    adds to the whole application stay there.

    Raises:
        RegisterError: as ``ctx.own``.

    """
    name = options.get("name", blueprint.name)

    def set_up(part: Flask) -> None:
        part.register_blueprint(blueprint, **options)

    _own_setup(ctx, f"blueprint {name}", app, set_up)


def own_view(  # type: ignore[explicit-any] # a view has any parameters
    ctx: PluginContext, app: Flask, rule: str, view: Callable[..., object], **options: object
) -> None:
    """Add a view to a Flask application while this version is live, also after the first request.

    ``options`` are those of ``Flask.add_url_rule``, such as ``methods``.

    Raises:
        RegisterError: as ``ctx.own``.

    """
    endpoint = options.get("endpoint") or view.__name__

    def set_up(part: Flask) -> None:
        part.add_url_rule(rule, view_func=view, **options)  # type: ignore[arg-type] # Flask checks them

    _own_setup(ctx, f"view {endpoint}", app, set_up)


def _own_setup(ctx: PluginContext, key: str, app: Flask, set_up: Callable[[Flask], object]) -> None:
    """Own everything that ``set_up`` adds to an application."""
    part = _part_of(app, set_up)

    def exchange(previous: Flask | None, new: Flask | None) -> None:
        views = _minus(app.view_functions, previous.view_functions) if previous else {**app.view_functions}
        blueprints = _minus(app.blueprints, previous.blueprints) if previous else app.blueprints
        if new is not None:
            _refuse_second({*views, *blueprints}, [*new.view_functions, *new.blueprints])
            views.update(new.view_functions)
        url_map = _map(app.url_map, previous, new)
        # Until the routes change, requests still find the views of the previous version.
        app.view_functions = _Views({**app.view_functions, **views})
        for name in _TABLES:
            table = getattr(app, name)
            table = table if previous is None else _minus(table, getattr(previous, name))
            setattr(app, name, table if new is None else _plus(table, getattr(new, name)))
        app.url_map = url_map
        app.view_functions = _Views(views)
        _clear_templates(app)

    def acquire() -> Flask:
        exchange(None, part)
        return part

    def replace(previous: Flask) -> Flask:
        exchange(previous, part)
        return part

    ctx.own(key, acquire, lambda previous: exchange(previous, None), replace=replace)


def _part_of(app: Flask, set_up: Callable[[Flask], object]) -> Flask:
    """Return a copy of an application that has only the routes and functions of ``set_up``."""
    part = copy.copy(app)
    part._got_first_request = False  # noqa: SLF001 - else the copy refuses to be set up
    part.url_map = _empty(app.url_map)
    part.view_functions = {}
    for name in _TABLES:
        setattr(part, name, _cleared(getattr(app, name)))
    set_up(part)
    return part


def _clear_templates(app: Flask) -> None:
    """Clear the compiled templates: a version may come with other texts under the same names."""
    environment = vars(app).get("jinja_env")  # Flask makes it when it is first used
    if environment is not None and environment.cache is not None:
        environment.cache.clear()


def _refuse_second(present: Iterable[str], new: Iterable[str]) -> None:
    for name in new:
        if name in present:
            raise ValueError(f'the application has "{name}" already, from other code')


class _Views(dict[str, _T]):
    """The views of an application; a request whose view has just left is answered with 404, not 500."""

    def __missing__(self, endpoint: str) -> _T:
        from werkzeug.exceptions import NotFound

        raise NotFound


def _cleared(table: _Table) -> _Table:
    """Return an empty table or list of the same kind."""
    empty = copy.copy(table)
    empty.clear()
    return empty


def _plus(one: _T, other: object) -> _T:
    """Return a copy of a table or list, with the entries of another one, at all levels."""
    both = copy.copy(one)
    if isinstance(both, list) and isinstance(other, list):
        both.extend(other)
    elif isinstance(both, dict) and isinstance(other, dict):
        for key, value in other.items():
            is_table = isinstance(value, dict | list)
            both[key] = _plus(both[key] if key in both else _cleared(value), value) if is_table else value
    return both


def _minus(one: _T, other: object) -> _T:
    """Return a copy of a table or list, without the objects of another one, at all levels."""
    rest = copy.copy(one)
    if isinstance(rest, list) and isinstance(other, list):
        rest[:] = [each for each in rest if not _is_in(each, other)]
    elif isinstance(rest, dict) and isinstance(other, dict):
        for key, value in other.items():
            if isinstance(value, dict | list) and key in rest:
                rest[key] = _minus(rest[key], value)
            if key in rest and (rest[key] is value or rest[key] in ({}, [])):
                del rest[key]
    return rest


def _empty(like: Map) -> Map:
    """Return a map of routes with the settings of another one."""
    new = type(like)(
        default_subdomain=like.default_subdomain,
        strict_slashes=like.strict_slashes,
        merge_slashes=like.merge_slashes,
        redirect_defaults=like.redirect_defaults,
        sort_parameters=like.sort_parameters,
        sort_key=like.sort_key,
        host_matching=like.host_matching,
    )
    new.converters = like.converters
    return new


def _map(current: Map, previous: Flask | None, new: Flask | None) -> Map:
    """Return a map with the current routes, but those of ``new`` instead of those of ``previous``."""
    gone = set(previous.view_functions) if previous else ()
    rules = [rule for rule in current.iter_rules() if rule.endpoint not in gone]
    built = _empty(current)
    for rule in [*rules, *(new.url_map.iter_rules() if new else ())]:
        built.add(_unbound(rule))
    return built


def _unbound(rule: Rule) -> Rule:
    unbound = copy.copy(rule)  # Rule.empty() leaves out settings of Flask and of websockets
    unbound.map = None  # type: ignore[assignment] # as in a rule that was never bound
    return unbound
