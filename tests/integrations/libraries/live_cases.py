"""Handles in the libraries that keep functions: each runs the live version, and keeps none in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import click
import httpx
import pytest
from blinker import Signal
from click.testing import CliRunner
from django.dispatch import Signal as DjangoSignal
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from flask import Flask, g
from starlette.applications import Starlette
from starlette.routing import Route

from hotload_tui import HookPoint
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.hooks.point import HookFunction
from hotload_tui.core.model import PluginState
from tests.integrations.conftest import Program

pytest_plugins = "pytester"


def _kept() -> dict[str, HookFunction]:
    """Return what the program keeps."""
    raise NotImplementedError


KEPT = HookPoint(_kept, live=True)


def kept(program: Program, source: str) -> dict[str, HookFunction]:
    """Load a version that says ``one``, and return the handles of its functions and classes."""
    program.source = f"{source}\ndef register(ctx):\n    ctx.hook('_kept', lambda: dict(KEPT))\n"
    assert say(program, "one") is PluginState.OK, program.problem()
    return program.running.host.call(KEPT)[0]


def say(program: Program, word: str) -> PluginState:
    """Save a version that says ``word``."""
    return program.save(str(program.source).replace("{word}", word))


def follows(program: Program, ask: Callable[[], object], *, memory: str = "freed") -> None:
    """Check that what the library answers is old after a failed load, and new after a save."""
    assert ask() == "one"
    assert program.save("def register(ctx):\n    raise ValueError\n") is PluginState.STALE
    assert ask() == "one"
    say(program, "two")
    assert ask() == "two"
    gone = program.running.told(PluginRetired, "it")
    assert program.running.wait_for(lambda: bool(program.running.told(PluginRetired, "it"))), gone
    assert program.running.told(PluginRetired, "it")[-1].memory.startswith(memory)
    assert ask() == "two"


def answer(app: FastAPI | Starlette, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """Return the answer to a request."""

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(get())


FASTAPI = """
from __future__ import annotations
from typing import Annotated
from fastapi import Depends, Header

def user(x_user: Annotated[str, Header()] = "nobody") -> str:
    return x_user

def opened():
    yield "{word}"

def page(number: int, name: Annotated[str, Depends(user)]) -> list:
    "The docstring."
    return [number, name]

async def later(number: int) -> str:
    return "{word}"

async def stream(number: int):
    for _ in range(number):
        yield "{word}"

KEPT = {"page": page, "later": later, "opened": opened, "stream": stream}
"""


def test_fastapi_routes(program: Program) -> None:
    """A route reads path, header and dependencies of the handle's signature, and runs the live function."""
    things = kept(program, FASTAPI)
    app = FastAPI()
    app.get("/page/{number}")(things["page"])
    app.get("/later/{number}")(things["later"])
    given = Depends(things["opened"])
    app.get("/given")(lambda word=given: word)
    stream = cast("Callable[[int], AsyncIterator[str]]", things["stream"])
    app.get("/stream")(lambda: StreamingResponse(stream(2)))
    operation = app.openapi()["paths"]["/page/{number}"]["get"]
    assert operation["description"] == "The docstring."
    assert [each["name"] for each in operation["parameters"]] == ["number", "x-user"]
    assert answer(app, "/page/a word").status_code == 422
    assert answer(app, "/page/1", {"x-user": "Ada"}).json()[:2] == [1, "Ada"]

    def ask() -> object:
        word = answer(app, "/later/1").json()
        assert answer(app, "/stream").text == word * 2
        assert answer(app, "/given").json() == word
        return word if answer(app, "/page/1").json() == [1, "nobody"] else ""

    follows(program, ask, memory="alive: it.plugin.user")


STARLETTE = """
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse

def plain(request):
    return PlainTextResponse("{word}")

async def later(request):
    return PlainTextResponse("{word}")

class Endpoint(HTTPEndpoint):
    def get(self, request):
        return PlainTextResponse("{word}")

class Pages:
    def __init__(self):
        self.calls = 0
    async def page(self, request):
        self.calls += 1
        return PlainTextResponse("{word}")

pages = Pages()
KEPT = {"plain": plain, "later": later, "endpoint": Endpoint, "method": pages.page}
"""


def test_starlette_routes(program: Program) -> None:
    """Functions, coroutine functions, methods and endpoint classes are routes."""
    things = kept(program, STARLETTE)
    app = Starlette(routes=[Route(f"/{name}", thing) for name, thing in things.items()])

    def ask() -> object:
        answers = {answer(app, f"/{name}").text for name in things}
        return answers.pop() if len(answers) == 1 else answers

    follows(program, ask)


FLASK = """
def view(word):
    return "{word}"

async def later():
    return "{word}"

def before():
    from flask import g
    g.word = "{word}"

KEPT = {"view": view, "later": later, "before": before}
"""


def test_flask_views(program: Program) -> None:
    """Views, coroutine functions among them, and functions before requests are handles."""
    things = kept(program, FLASK)
    site = Flask("site")
    site.add_url_rule("/view/<word>", view_func=cast("Callable[[str], str]", things["view"]))
    site.add_url_rule("/later", view_func=cast("Callable[[], str]", things["later"]))
    site.before_request(cast("Callable[[], None]", things["before"]))
    site.route("/before")(lambda: g.word)
    assert site.view_functions["view"] is things["view"]
    client = site.test_client()

    def ask() -> object:
        answers = {client.get(path).text for path in ("/view/x", "/later", "/before")}
        return answers.pop() if len(answers) == 1 else answers

    follows(program, ask)


CLICK = '''
import click

@click.option("--loud", is_flag=True)
@click.argument("name")
def hello(name, loud):
    """Says hello."""
    click.echo("{word}")

KEPT = {"hello": hello}
'''


def test_click_commands(program: Program) -> None:
    """A command has the options that decorators left on the plugin's function, and its help."""
    hello = kept(program, CLICK)["hello"]
    command = click.command()(hello)
    runner = CliRunner()
    text = runner.invoke(command, ["--help"]).output
    assert ("--loud" in text, "Says hello." in text, command.name) == (True, True, "hello")

    def ask() -> object:
        return runner.invoke(command, ["Ada"]).output.strip()

    follows(program, ask)


SIGNAL = """
class Listener:
    def __init__(self):
        self.heard = []
    def hear(self, sender, **_):
        self.heard.append(sender)
        return "{word}", len(self.heard)

KEPT = {"hear": Listener().hear}
"""


def test_signals(program: Program) -> None:
    """A signal that holds its receivers weakly, and the bound method of an object, stay connected."""
    hear = kept(program, SIGNAL)["hear"]
    signal = Signal()
    signal.connect(hear)
    django = DjangoSignal()
    django.connect(hear)
    assert [answer for _, answer in django.send("sender")] == [("one", 1)]
    django.disconnect(hear)
    answers: list[object] = []

    def ask() -> object:
        ((_, answer),) = signal.send("sender")
        answers.append(answer)
        return answer[0]

    follows(program, ask)
    assert answers == [("one", 2), ("one", 3), ("two", 4), ("two", 5)]


PYTEST = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_it(number, word):
    assert (word, number) == ("{word}", 1)

def word():
    yield "{word}"

KEPT = {"test_it": test_it, "word": word}
"""


def test_pytest_collects_handles(program: Program, pytester: pytest.Pytester) -> None:
    """A test run collects a handle as a test with its marks and fixtures, and a generator as a fixture."""
    program.kept = kept(program, PYTEST)
    pytester.makepyfile(
        "import pytest, program\n"
        "test_it = program.kept['test_it']\nword = pytest.fixture(program.kept['word'])\n"
    )

    def ask() -> object:
        result = pytester.inline_run("-p", "no:cacheprovider", "-p", "no:asyncio")
        passed, _, failed = result.listoutcomes()
        names = [report.nodeid.partition("::")[2] for report in (*passed, *failed)]
        assert names == ["test_it[1]", "test_it[2]"]
        return next(word for word in ("one", "two") if f'("{word}", 1)' in str(failed[0].longrepr))

    assert ask() == "one"
    say(program, "two")
    assert ask() == "two"
