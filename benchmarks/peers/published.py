"""Edit published plugins while their program runs, and print a line of JSON for each.

The arguments are the program, and a folder, first on the import path, with copies of the plugins.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from pathlib import Path
from types import ModuleType

from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core.events import PluginFailed, PluginLoaded, PluginMended
from hotload_tui.integrations.pluggy import serve_hooks

PATIENCE = 10.0  # seconds
FOLDER = Path(sys.argv[2])


class Program:
    """A program with a manager, which watches."""

    def __init__(self, **settings: object) -> None:
        self.host = HookHost()
        project = FOLDER.parent
        folders = {"runtime_dir": str(project / "plugins"), "compiled_dir": str(project / "compiled")}
        self.manager = HotloadManager(self.host, Config(**folders, load_timeout=60.0, **settings))

        self.failed: set[str] = set()
        """The plugins whose newest version does not load."""
        self.manager.subscribe(self._note)

    def _note(self, event: object) -> None:
        if isinstance(event, PluginFailed):
            self.failed.add(event.name)
        elif isinstance(event, (PluginLoaded, PluginMended)):
            self.failed.discard(event.name)

    def edit(self, file: str, old: str, new: str, ask: Callable[[], bool]) -> None:
        """Save an edit after which ``ask`` is to be true, then a mistake, then the file as it was."""
        path = FOLDER / file
        name = Path(file).parts[0].removesuffix(".py")
        source = path.read_text()
        assert old in source, file
        assert not ask(), file
        path.write_text(source.replace(old, new))
        follows = until(ask)
        path.write_text(source.replace(old, new) + "\n1 / 0\n")
        refuses = until(lambda: name in self.failed)
        row = {"package": name, "follows": follows, "keeps": refuses and follows and ask()}
        print(json.dumps(row), file=REPORT, flush=True)
        path.write_text(source)
        until(lambda: name not in self.failed)


def until(is_so: Callable[[], bool]) -> bool:
    """Wait until ``is_so``; return whether it is in time."""
    end = time.monotonic() + PATIENCE
    while not (found := is_so()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def of_llm() -> None:
    """Edit a model and a loader of templates."""
    import llm
    import llm.cli
    import llm.plugins

    program = Program(entry_points=("llm",))
    serve_hooks(llm.plugins.pm, program.host, live=True)

    def load() -> str:
        try:
            llm.cli.load_template("gh:x")
        except Exception as error:
            return str(error)
        return ""

    with program.manager:
        echo = '"prompt": prompt_text,'
        program.edit(
            "llm_echo.py",
            echo,
            f'{echo} "hot": 1,',
            lambda: '"hot": 1' in llm.get_model("echo").prompt("x").text(),
        )
        program.edit("llm_templates_github.py", "GitHub template", "Hot template", lambda: "Hot" in load())


def of_datasette() -> None:
    """Edit what makes pages of one running server."""
    from datasette.app import Datasette
    from datasette.plugins import pm

    database = FOLDER.parent / "shop.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table shop (latitude float, longitude float, link text, text text)")
        link = json.dumps({"href": "https://example.org/", "label": "link"})
        connection.execute("insert into shop values (1.5, 2.5, ?, ?)", (link, '{"a": 1}'))
    program = Program(entry_points=("datasette",))
    serve_hooks(pm, program.host, live=True)
    with program.manager, asyncio.Runner() as runner:
        server = Datasette([str(database)])

        def shows(text: str, path: str = "/shop/shop", at: Datasette | None = None) -> bool:
            return text in runner.run((at or server).client.get(path)).text

        shows("")
        for name, old, new, path in (
            ("cluster_map", "tile.openstreetmap.org", "tile.example.org", "/shop/shop"),
            ("pretty_json", "pre-wrap", "pre-line", "/shop/shop"),
            ("json_html", "<a href=", "<a id=hot href=", "/shop/shop"),
            ("leaflet", "datasette.leaflet = ", "datasette.hot = ", "/shop/shop"),
            ("block_robots", "User-agent: *", "User-agent: hot", "/robots.txt"),
            ("copyable", 'delimiter="\\t"', 'delimiter=";"', "/shop/shop.copyable?_raw=1"),
        ):
            wanted = {"copyable": "latitude;"}.get(name, new)
            file = f"datasette_{name}/__init__.py"
            program.edit(file, old, new, lambda wanted=wanted, path=path: shows(wanted, path))
        query = "/shop.json?sql=select+hot_soundex('x')"
        program.edit(
            "datasette_jellyfish/__init__.py",
            "create_function(fn, 1",
            'create_function(f"hot_{fn}", 1',
            lambda: shows("X000", query, Datasette([str(database)])),  # a new one connects again
        )


def of_pytest() -> None:
    """Edit plugins during a run of pytest, in its only test."""
    import pytest

    program = Program(entry_points=("pytest11",), drain_timeout=0.1)

    class Plugin:
        def pytest_addoption(self, pluginmanager: pytest.PytestPluginManager) -> None:
            serve_hooks(pluginmanager, program.host)
            program.manager.start()

        def pytest_unconfigure(self) -> None:
            program.manager.stop()

        @pytest.fixture
        def edits(self, request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> None:
            hook = pytestconfig.hook
            fixtures = request._fixturemanager.getfixturedefs("mocker", request.node)  # noqa: SLF001

            def compared() -> str:
                return str(hook.pytest_assertrepr_compare(config=pytestconfig, op="==", left=[1], right=[2]))

            def header() -> str:
                return str(hook.pytest_report_header(config=pytestconfig, start_path=FOLDER))

            def status() -> str:
                report = pytest.TestReport("x", ("x", 1, "x"), {}, "passed", None, "call")
                return str(hook.pytest_report_teststatus(report=report, config=pytestconfig))

            program.edit("pytest_clarity/plugin.py", "diff shown]", "hot]", lambda: "hot]" in compared())
            program.edit("pytest_randomly/__init__.py", "Using --", "Hot --", lambda: "Hot" in header())
            program.edit(
                "pytest_mock/plugin.py",
                "    result = MockerFixture(pytestconfig)\n",
                "    result = MockerFixture(pytestconfig)\n    result.is_hot = True\n",
                # As the next test does: the setup of this one goes on with the versions that it began with.
                lambda: Context().run(lambda: hasattr(next(fixtures[-1].func(pytestconfig)), "is_hot")),
            )
            letter = "colored(THEME.symbol_passed, THEME.success)"
            program.edit("pytest_sugar.py", letter, "'hot'", lambda: "hot" in status())

    test = FOLDER.parent / "test_edits.py"
    test.write_text("def test_edits(edits): pass\n")
    options = ["-vv", "-s", "-p", "no:cacheprovider", "--force-sugar", "--randomly-seed=1", str(test)]
    pytest.main(options, plugins=[Plugin()])


def of_discord() -> None:
    """Edit a package of cogs; a plugin of the program owns the cog."""
    import discord
    from discord.ext import commands

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def connected() -> commands.Bot:
        bot = commands.Bot("!", intents=discord.Intents.none())
        await bot._async_setup_hook()  # noqa: SLF001 - without a server
        return bot

    def run(coroutine: Coroutine[object, object, object]) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    chat = sys.modules["chat"] = ModuleType("chat")
    bot = chat.bot = run(connected())
    plugin = FOLDER.parent / "plugins" / "cogs" / "plugin.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(COGS)
    program = Program(shared=("jishaku",))

    class Command:
        def __init__(self) -> None:
            self.said = ""

        async def send(self, text: str) -> None:
            self.said = text

    def said() -> str:
        command, context = bot.get_command("jishaku hide"), Command()
        command.cog.jsk.hidden = True
        run(command.callback(command.cog, context))
        return context.said

    with program.manager:
        file = "jishaku/features/root_command.py"
        program.edit(file, "already hidden", "hot", lambda: "hot" in said())
    loop.call_soon_threadsafe(loop.stop)


COGS = """
from chat import bot
from hotload_tui.integrations.registries import own_cog
from jishaku import Jishaku


def register(ctx) -> None:
    own_cog(ctx, bot, Jishaku(bot=bot))
"""

if __name__ == "__main__":
    REPORT = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the programs print
    {"llm": of_llm, "datasette": of_datasette, "pytest": of_pytest, "discord": of_discord}[sys.argv[1]]()
