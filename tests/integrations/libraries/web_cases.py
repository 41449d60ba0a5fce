from __future__ import annotations

import asyncio
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hotload_tui.core.model import PluginState
from tests.integrations.conftest import Program

BLUEPRINT = """
from flask import Blueprint
from hotload_tui.integrations.web import own_blueprint
from program import app

pages = Blueprint("{name}", __name__)

@pages.route("/{path}")
def page():
    return "{version}"

@pages.before_app_request
def before():
    app.seen.append("{version}")

@pages.app_errorhandler(404)
def missing(error):
    return "missing in {version}", 404

def register(ctx):
    own_blueprint(ctx, app, pages)
"""


class Site(Flask):
    """An application that records what runs before each request."""

    def __init__(self) -> None:
        super().__init__("site")
        self.seen: list[str] = []

    def body(self, path: str) -> str:
        """Return the body of a page."""
        self.seen.clear()
        return self.test_client().get(path).text


@pytest.fixture
def site(program: Program) -> Site:
    """Return an application that has answered a request."""
    program.app = site = Site()
    site.body("/")
    return site


def blueprint(version: str, path: str = "page", name: str = "pages") -> str:
    """Return a plugin with a blueprint."""
    return BLUEPRINT.format(version=version, path=path, name=name)


def test_a_route_that_an_edit_removes_is_gone(program: Program, site: Site) -> None:
    """Routes, functions before requests and error handlers are those of the live version only."""
    program.save(blueprint("a", "old"))
    assert (site.body("/old"), site.seen, site.body("/other")) == ("a", ["a"], "missing in a")
    program.save(blueprint("b", "new"))
    assert (site.body("/new"), site.seen, site.body("/old")) == ("b", ["b"], "missing in b")
    program.running.manager.disable("it")
    assert ("missing in" in site.body("/new"), site.seen) == (False, [])
    assert "pages" not in site.blueprints
    assert not any(site.before_request_funcs.values())


def test_two_plugins_share_an_application(program: Program, site: Site) -> None:
    """The reload of one plugin leaves the routes of another plugin alone."""
    program.save(blueprint("a", "one", "first"), "first")
    program.save(blueprint("a", "two", "second"), "second")
    program.save(blueprint("b", "one", "first"), "first")
    assert (site.body("/one"), sorted(site.seen), site.body("/two")) == ("b", ["a", "b"], "a")
    program.running.manager.disable("second")
    assert (site.body("/one"), site.seen) == ("b", ["b"])


def test_what_the_program_adds_later_stays(program: Program) -> None:
    """Views and functions that the program adds after the plugin survive its reloads."""
    program.app = site = Site()
    program.save(blueprint("a"))
    site.add_url_rule("/mine", view_func=lambda: "of the program", endpoint="mine")
    site.before_request(lambda: site.seen.append("program"))
    program.save(blueprint("b"))
    assert (site.body("/mine"), sorted(site.seen)) == ("of the program", ["b", "program"])
    program.running.manager.disable("it")
    assert (site.body("/mine"), site.seen) == ("of the program", ["program"])


def test_a_view_of_the_program_is_not_replaced(program: Program) -> None:
    """A name that the application has from other code is refused, and the application stays as it is."""
    program.app = site = Site()
    site.add_url_rule("/mine", view_func=lambda: "of the program", endpoint="mine")
    view = (
        "from hotload_tui.integrations.web import own_view\nfrom program import app\n"
        "def register(ctx):\n    own_view(ctx, app, '/hot', lambda: 'hot', endpoint='{}')\n"
    )
    assert program.save(view.format("mine")) is PluginState.FAIL
    assert "mine" in program.problem()
    assert (site.body("/mine"), site.test_client().get("/hot").status_code) == ("of the program", 404)
    assert program.save(view.format("hot")) is PluginState.OK
    assert site.body("/hot") == "hot"
    assert site.test_client().options("/hot").status_code == 200


def test_an_edited_template_is_rendered(program: Program, site: Site) -> None:
    """A template in the plugin's folder is part of the version, although Flask keeps compiled templates."""
    source = (
        "from flask import Blueprint, render_template\nfrom program import app\n"
        "from hotload_tui.integrations.web import own_blueprint\n"
        "pages = Blueprint('pages', __name__, template_folder='templates')\n"
        "pages.get('/page')(lambda: render_template('page.html'))\n"
        "def register(ctx):\n    own_blueprint(ctx, app, pages)\n"
    )
    for text in ("first", "second"):
        program.workspace["it"] = source
        program.workspace["it/templates/page.html"] = text
        program.running.manager.scan_and_load_all()
        assert site.body("/page") == text


# ---- FastAPI and Starlette


def fetch(app: Starlette, path: str) -> str:
    """Return the body of a page of an ASGI application."""

    async def ask() -> str:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            return (await client.get(path)).text

    return asyncio.run(ask())


ROUTER = """
from fastapi import APIRouter
from hotload_tui.integrations.web import own_router
from program import app

router = APIRouter()

@router.get("/page")
def page():
    return "{version}"

def register(ctx):
    own_router(ctx, app, router, prefix="/hot")
{more}
"""


def test_a_router_keeps_its_place(program: Program) -> None:
    """Routes that the program adds after the router stay behind it, also if an edit adds routes."""
    program.app = app = FastAPI()
    program.save(ROUTER.format(version="a", more=""))
    app.get("/{path:path}")(lambda path: f"anything: {path}")
    more = (
        "    extra = APIRouter()\n    extra.get('/extra')(lambda: 'more')\n    own_router(ctx, app, extra)\n"
    )
    program.save(ROUTER.format(version="b", more=""))
    assert (fetch(app, "/hot/page"), fetch(app, "/x")) == ('"b"', '"anything: x"')
    program.save(ROUTER.format(version="c", more=more))
    assert (fetch(app, "/hot/page"), fetch(app, "/x")) == ('"c"', '"anything: x"')
    program.running.manager.disable("it")
    assert fetch(app, "/hot/page") == '"anything: hot/page"'


def test_a_router_has_the_settings_of_its_application(program: Program) -> None:
    """Dependencies of the application apply to a plugin's routes, and the program can override them."""

    def who() -> str:
        raise AssertionError("the program overrides it")

    seen: list[str] = []

    def see(name: Annotated[str, Depends(who)]) -> None:
        seen.append(name)

    see.__annotations__["name"] = Annotated[str, Depends(who)]
    program.app = app = FastAPI(dependencies=[Depends(see)])
    app.dependency_overrides[who] = lambda: "Ada"
    program.save(ROUTER.format(version="a", more=""))
    assert (fetch(app, "/hot/page"), seen) == ('"a"', ["Ada"])


def test_starlette_takes_a_list_of_routes(program: Program) -> None:
    """For Starlette, a plugin gives its routes as a list."""

    async def index(_: Request) -> PlainTextResponse:
        return PlainTextResponse("of the program")

    program.app = app = Starlette(routes=[Route("/", index)])
    source = (
        "from starlette.responses import PlainTextResponse\nfrom starlette.routing import Route\n"
        "from hotload_tui.integrations.web import own_router\nfrom program import app\n"
        "async def page(request):\n    return PlainTextResponse('{version}')\n"
        "def register(ctx):\n    own_router(ctx, app, [Route('/page', page)])\n"
    )
    program.save(source.format(version="a"))
    program.save(source.format(version="b"))
    assert (fetch(app, "/page"), fetch(app, "/"), len(app.routes)) == ("b", "of the program", 2)
    program.running.manager.disable("it")
    assert (fetch(app, "/page"), len(app.routes)) == ("Not Found", 1)
