"""The recipes of docs/recipes.md, each with the real library, through edit, break, fix, disable and enable.

``pytest -s tests/integrations/libraries/recipes_cases.py`` prints the table of recipes and steps.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import http.client
import json
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace
from tests.counts import WEB_RELOADS
from tests.integrations.conftest import django_is_set_up
from tests.test_stories import DOCS, FENCE
from tests.waiting import PATIENCE, until

Run = Callable[[Config], Running]
Live = Callable[[], list[str]]

BREAKS = {
    "syntax error": "\ndef (",
    "exception at import": "\nraise RuntimeError('broken')\n",
    "exception in register": "\n    raise RuntimeError('broken')\n",
    "exception at the hand-over": "\n    ctx.own('last', lambda: 1 / 0)\n",
}


@functools.cache
def blocks() -> dict[str, str]:
    """Return the documented files by their paths."""
    return {file: text for _, file, text in FENCE.findall((DOCS / "recipes.md").read_text()) if file}


class Bench:
    """A running manager with the plugin of one recipe, and the program's module of that recipe."""

    def __init__(self, workspace: Workspace, run: Run, plugin: str, module: ModuleType | None) -> None:
        self.workspace = workspace
        self.plugin = plugin
        self.module = module
        self.cleanups = ExitStack()
        self.port = free_port()
        settings = {plugin: {"settings": {"port": self.port}}}
        self.running = run(workspace.config(plugins=settings))

    def save(self, version: str, more: str = "") -> None:
        """Save a version of the plugin, and load it if it loads."""
        self.workspace[self.plugin] = (
            blocks()[f"plugins/{self.plugin}/plugin.py"].replace("v1", version) + more
        )
        self.running.manager.scan_and_load_all()

    def state(self) -> PluginState:
        """Return the state of the plugin."""
        return self.running.status(self.plugin).state

    def call(self, point: str, *arguments: object) -> list[object]:
        """Call a hook point."""
        return self.running.host.call(point, *arguments)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


# ---- one function per recipe: it returns a function that uses the library, and tells which versions answer


def receiver(bench: Bench) -> Live:
    """Send a blinker signal."""
    saved = bench.module.saved  # type: ignore[union-attr]
    return lambda: [answer.removesuffix(" received it") for _, answer in saved.send("shop", note="it")]


def implementation(bench: Bench) -> Live:
    """Call a singledispatch function."""
    show = bench.module.show  # type: ignore[union-attr]

    def live() -> list[str]:
        assert (int in show.registry) == (show(3) != "something")
        assert show("text") == "something"
        return [show(True).removesuffix(" of number True")] if int in show.registry else []

    return live


def handler(bench: Bench) -> Live:
    """Raise a signal of the system; without the plugin, the program's handler gets it."""
    of_program: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: of_program.append(number))
    bench.cleanups.callback(lambda: signal.signal(signal.SIGUSR1, before))

    def live() -> list[str]:
        received: list[list[str]] = bench.running.host.call("received")  # type: ignore[assignment]
        of_program.clear()
        for each in received:
            each.clear()
        signal.raise_signal(signal.SIGUSR1)
        assert len(of_program) + sum(map(len, received)) == 1
        return [text for each in received for text in each]

    return live


def metric(bench: Bench) -> Live:
    """Count, and scrape."""
    from prometheus_client import REGISTRY, generate_latest

    def live() -> list[str]:
        before = REGISTRY.get_sample_value("requests_total")
        bench.call("request")
        after = REGISTRY.get_sample_value("requests_total")
        assert before is after is None or (before is not None and after == before + 1)
        lines = generate_latest(REGISTRY).decode().splitlines()
        return [line.split()[-1] for line in lines if line.startswith("# HELP requests_total ")]

    return live


def job(bench: Bench) -> Live:
    """Wait for a run of the job."""
    module = bench.module
    assert module is not None
    module.scheduler.start()
    bench.cleanups.callback(module.scheduler.shutdown)

    def live() -> list[str]:
        module.ran.clear()
        jobs = module.scheduler.get_jobs()
        if jobs:
            until(lambda: len(module.ran) > 1)
        assert [each.id for each in jobs] == ["tick"][: len(jobs)]
        return sorted(set(module.ran))

    return live


def command(bench: Bench) -> Live:
    """Invoke the command."""
    from click.testing import CliRunner

    def live() -> list[str]:
        result = CliRunner().invoke(bench.module.tool, ["greet", "Ada"])  # type: ignore[union-attr]
        return [] if result.exit_code == 2 else [result.output.removesuffix(" greets Ada\n")]

    return live


def cog(bench: Bench) -> Live:
    """Dispatch an event, and invoke the command, on the loop of an offline bot."""
    bot = bench.module.bot  # type: ignore[union-attr]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(coroutine: object) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)  # type: ignore[arg-type]

    def close() -> None:
        do(bot.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    do(bot.__aenter__())
    bench.cleanups.callback(close)

    class Context:
        def __init__(self) -> None:
            self.sent: list[str] = []

        async def send(self, text: str) -> None:
            self.sent.append(text)

    async def use() -> list[str]:
        context, notes = Context(), list[str]()
        bot.dispatch("note", notes)
        if found := bot.get_command("greet"):
            await found(context)
        await asyncio.sleep(0)
        assert len(bot.extra_events.get("on_note", ())) == len(bot.cogs) == len(notes)
        assert [text.replace("listens", "greets") for text in notes] == context.sent
        return [text.removesuffix(" greets") for text in context.sent]

    return lambda: do(use())  # type: ignore[return-value]


def notes(bench: Bench) -> Live:
    """Insert and query through the plugin's class, and through the table of the program's metadata."""
    from sqlalchemy import select

    module = bench.module
    assert module is not None
    bench.cleanups.callback(module.engine.dispose)

    def live() -> list[str]:
        table = module.Base.metadata.tables.get("note")
        module.Base.metadata.create_all(module.engine)  # also resolves the foreign keys
        written = bench.call("add note")
        if table is None:
            assert written == []
            return []
        with module.engine.connect() as connection:
            assert connection.scalars(select(table.c.text)).all()[-1:] == written
        assert set(module.Base.metadata.tables) == {"user", "note"}
        return [table.c.text.comment]

    return live


def polls(bench: Bench) -> Live:
    """Create and query through the plugin's class, Django's registry and the foreign key's other side."""
    django_is_set_up()
    from django.apps import apps
    from django.contrib.auth.models import User
    from django.db import connection

    def live() -> list[str]:
        found = apps.all_models["polls"]
        tables = connection.introspection.table_names()
        for model in (User, *found.values()):
            if model._meta.db_table not in tables:  # noqa: SLF001 - Django's documented name
                with connection.schema_editor() as editor:
                    editor.create_model(model)
        author = User.objects.create(username=str(User.objects.count()))
        written = bench.call("add poll", author)
        if not found:
            assert (written, hasattr(User, "poll_set")) == ([], False)
            return []
        (model,) = found.values()
        assert author.poll_set.model is model
        assert [poll.title for poll in author.poll_set.all()] == written
        assert (
            list(model.objects.filter(author__username=author.username).values_list("title", flat=True))
            == written
        )
        return [model._meta.get_field("title").help_text]  # noqa: SLF001 - as above

    bench.cleanups.callback(connection.close)
    return live


def pages(bench: Bench) -> Live:
    """Request the pages of a blueprint, and a view."""
    app = bench.module.app  # type: ignore[union-attr]

    def live() -> list[str]:
        page, about = (app.test_client().get(path) for path in ("/pages/one", "/about"))
        if page.status_code == about.status_code == 404:
            assert set(app.view_functions) == {"static"}
            return []
        version, *rest = page.text.split()
        assert (rest, page.headers.getlist("X-Version")) == (["one", "/pages/next"], [version])
        assert (about.text, about.headers.getlist("X-Version")) == (f"{version} about", [])
        assert len([*app.url_map.iter_rules()]) == 3
        return [version]

    return live


def routes(bench: Bench) -> Live:
    """Request a path of a router, and the documentation."""
    import httpx

    transport = httpx.ASGITransport(bench.module.app)  # type: ignore[union-attr]

    async def get(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            return await client.get(path)

    def live() -> list[str]:
        answer = asyncio.run(get("/notes/one"))
        documented = asyncio.run(get("/openapi.json")).json()["paths"]
        if answer.status_code == 404:
            assert documented == {}
            return []
        version: str = answer.json().removesuffix(" one")
        assert [path["get"]["summary"] for path in documented.values()] == [version]
        return [version]

    return live


def port(bench: Bench) -> Live:
    """Connect."""

    def live() -> list[str]:
        try:
            with socket.create_connection(("127.0.0.1", bench.port), PATIENCE) as connection:
                return [connection.recv(100).decode()]
        except ConnectionError:
            return []

    return live


@dataclass(frozen=True)
class Recipe:
    """A recipe: its documented plugin, the program's module, and how to use it."""

    use: Callable[[Bench], Live]
    module: str = ""

    @property
    def plugin(self) -> str:
        """The name of the plugin."""
        return self.use.__name__


RECIPES = (
    Recipe(metric),
    Recipe(notes, "database"),
    Recipe(polls),
    Recipe(pages, "website"),
    Recipe(routes, "api"),
    Recipe(job, "jobs"),
    Recipe(cog, "chat"),
    Recipe(receiver, "events"),
    Recipe(implementation, "shapes"),
    Recipe(command, "tool"),
    Recipe(port),
    Recipe(handler),
)


@pytest.fixture
def bench(
    request: pytest.FixtureRequest, workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Bench, Live]]:
    """Yield the recipe's plugin, not saved yet, in a program."""
    recipe: Recipe = request.param
    module = None
    if recipe.plugin == "polls":
        django_is_set_up()
    if recipe.module:
        module = ModuleType(recipe.module)
        monkeypatch.setitem(sys.modules, recipe.module, module)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # discord.py imports audioop
            exec(blocks()[f"{recipe.module}.py"], vars(module))
    bench = Bench(workspace, run, recipe.plugin, module)
    gc.collect()
    gc.freeze()  # each collection of a reload would visit the library's objects, and no holder is looked for
    with bench.cleanups:
        yield bench, recipe.use(bench)
        bench.running.manager.stop()


def recipes(*recipes: Recipe) -> pytest.MarkDecorator:
    """Give a test each recipe."""
    return pytest.mark.parametrize("bench", recipes, indirect=True, ids=lambda recipe: recipe.plugin)


@recipes(*RECIPES)
def test_a_recipe_has_one_registration_after_each_step(bench: tuple[Bench, Live]) -> None:
    """Through edit, break, fix, disable and enable, the library has the right version exactly once."""
    plugin, live = bench
    row = [f"| {plugin.plugin} "]

    def check(step: str, versions: list[str], state: PluginState) -> None:
        until(
            lambda: live() == versions, lambda: f"{step}: {live()}, not {versions}; {plugin.running.said()}"
        )
        assert plugin.state() is state, step
        row.append(f"{step}: {', '.join(versions) or 'none'} ")

    plugin.save("v1")
    check("load", ["v1"], PluginState.OK)
    plugin.save("v2")
    check("edit", ["v2"], PluginState.OK)
    for what, more in BREAKS.items():
        plugin.save("v3", more)
        check(what, ["v2"], PluginState.STALE)
    plugin.save("v4")
    check("fix", ["v4"], PluginState.OK)
    plugin.running.manager.disable(plugin.plugin)
    check("disable", [], PluginState.OFF)
    plugin.running.manager.enable(plugin.plugin)
    check("enable", ["v4"], PluginState.OK)
    sys.stdout.write("|".join(row) + "|\n")


@recipes(*RECIPES)
def test_a_recipe_keeps_no_old_version(bench: tuple[Bench, Live]) -> None:
    """After an edit, the library holds nothing of the previous version."""
    plugin, live = bench
    plugin.save("v1")
    until(lambda: live() == ["v1"])
    plugin.save("v2")
    until(lambda: live() == ["v2"])
    until(lambda: plugin.running.told(PluginRetired), plugin.running.said)
    until(
        lambda: plugin.running.status(plugin.plugin).memory == "freed",
        lambda: plugin.running.status(plugin.plugin).memory,
    )


# ---- under load


@contextmanager
def hammering(ask: Callable[[], str]) -> Iterator[list[str]]:
    """Call ``ask`` in a loop of another thread; yield the list of its answers, or errors."""
    answers: list[str] = []
    is_over = threading.Event()

    def loop() -> None:
        while not is_over.is_set():
            try:
                answers.append(ask())
            except OSError as error:
                answers.append(repr(error))

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        thread.join()


def get(port: int, path: str) -> str:
    """Return the body of a page, or its status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    return text if response.status == 200 else str(response.status)


@contextmanager
def flask_server(app: object) -> Iterator[int]:
    """Serve a Flask application."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            """Print nothing."""

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def fastapi_server(app: object) -> Iterator[int]:
    """Serve a FastAPI application."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))  # type: ignore[arg-type]
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            until(lambda: server.started)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize(
    ("bench", "serve", "path"),
    [
        (Recipe(pages, "website"), flask_server, "/pages/one"),
        (Recipe(pages, "website"), flask_server, "/about"),
        (Recipe(routes, "api"), fastapi_server, "/notes/one"),
    ],
    indirect=["bench"],
    ids=["blueprint", "view", "router"],
)
def test_each_request_finds_a_route_through_reloads(
    bench: tuple[Bench, Live], serve: Callable[[object], Iterator[int]], path: str
) -> None:
    """A real server answers each request of a client with 200, through edits and failures."""
    plugin, _ = bench
    plugin.save("v1")
    with serve(plugin.module.app) as port, hammering(lambda: get(port, path)) as answers:  # type: ignore[attr-defined,union-attr]
        reload_under_load(plugin, answers)


@recipes(Recipe(port))
def test_no_connection_is_refused_through_reloads(bench: tuple[Bench, Live]) -> None:
    """A client that connects all the time gets an answer each time."""
    plugin, live = bench
    plugin.save("v1")
    with hammering(lambda: " ".join(live()) or "refused") as answers:
        reload_under_load(plugin, answers)


def reload_under_load(plugin: Bench, answers: list[str]) -> None:
    """Reload several times while a client asks, half of the times with a failure in between."""
    for number in range(WEB_RELOADS):
        version = f"v{number + 2}"
        if number % 2:
            plugin.save(version, BREAKS["exception at the hand-over"])
            assert plugin.state() is PluginState.STALE
        plugin.save(version)
        assert plugin.state() is PluginState.OK
        count = len(answers)
        until(lambda count=count: len(answers) > count + 2)  # type: ignore[misc]
        assert json.loads(json.dumps(answers[-1])).strip('"').split()[0] == version
    wrong = [answer for answer in answers if not answer.strip('"').startswith("v")]
    assert wrong == []
    sys.stdout.write(
        f"| {plugin.plugin} | {WEB_RELOADS} reloads | {len(answers)} answers | all from a live version |\n"
    )
