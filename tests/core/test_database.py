"""Settings of plugins in a database: rows override files, and a running host follows them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hotload_tui import Config, HookHost, HotloadManager, follow_config, load_config
from hotload_tui.cli.boundary import execute
from hotload_tui.core.config_files import resolve
from hotload_tui.core.errors import ConfigError
from hotload_tui.core.model import PluginState
from tests.conftest import Workspace
from tests.waiting import until

SHOWS = """
def shown():
    return VALUES

def register(ctx):
    VALUES.update(ctx.settings)
    ctx.hook(shown)

VALUES = {}
"""
EXAMPLES = Path(__file__).parents[2] / "docs" / "sql-examples.sql"


class Project:
    """A project whose settings are in a file and in a database of SQLite."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.file = workspace.root / "hotload.toml"
        self.path = workspace.root / "settings.db"
        self.write("")

    def write(self, tables: str, database: str = 'url = "sqlite:///settings.db"') -> None:
        """Write hotload.toml."""
        self.file.write_text(f"[database]\n{database}\n{tables}")

    def sql(self, *statements: str) -> None:
        """Run statements as another program does."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def config(self) -> Config:
        """Return the configuration."""
        return load_config(self.file)

    def problem(self) -> str:
        """Return why the configuration cannot be used."""
        with pytest.raises(ConfigError) as error:
            self.config()
        return str(error.value)


@pytest.fixture
def project(workspace: Workspace) -> Project:
    """Return a project whose database has the empty table."""
    found = Project(workspace)
    assert execute(["--config", str(found.file), "database", "init"]) == 0
    return found


def test_a_row_overrides_the_file_value_by_value(project: Project) -> None:
    """A value that a row leaves NULL comes from the file; each value has its origin."""
    project.write('[plugins.greet]\npriority = 5\nhook_point = "say"\nsettings = {a = 1, b = 2}\n')
    project.sql(
        "INSERT INTO hotload_plugins (content, priority, enabled, settings)"
        " VALUES ('greet', 7, 0, '{\"b\": 3}'), ('other', NULL, 1, NULL)"
    )
    config = project.config()
    greet = config.of("greet")
    assert (greet.priority, greet.hook_point, greet.enabled) == (7, "say", False)
    assert greet.settings == {"a": 1, "b": 3}
    origins = {each.key: each.source for each in resolve(project.file).settings}
    row = f"sqlite:///{project.path} hotload_plugins, row 'greet'"
    assert origins["plugins.greet.priority"] == row
    assert origins["plugins.greet.settings.a"] == str(project.file)
    assert origins["plugins.greet.settings.b"] == row


def test_a_running_host_follows_the_rows(project: Project) -> None:
    """A change of a row reloads that plugin only; a broken row changes nothing until it is fixed."""
    for name in ("greet", "other"):
        project.workspace[name] = SHOWS
        project.sql(f"INSERT INTO hotload_plugins (content, hook_point) VALUES ('{name}', 'show')")
    host = HookHost()
    with HotloadManager(host, project.config()) as manager:
        end = follow_config(manager, project.file, interval=0.01)

        def generations() -> dict[str, int]:
            return {each.name: each.generation for each in manager.snapshot().plugins}

        project.sql("UPDATE hotload_plugins SET settings = '{\"a\": 1}' WHERE content = 'greet'")
        until(lambda: host.call("show") == [{"a": 1}, {}])
        until(lambda: generations() == {"greet": 2, "other": 1})
        project.sql("UPDATE hotload_plugins SET priority = 'first' WHERE content = 'greet'")
        until(lambda: "row 'greet': plugins.greet.priority" in manager.snapshot().host.config_fault)
        assert host.call("show") == [{"a": 1}, {}]
        project.sql("UPDATE hotload_plugins SET priority = 200 WHERE content = 'greet'")
        until(lambda: host.call("show") == [{}, {"a": 1}])
        until(lambda: manager.snapshot().host.config_fault == "")
        project.sql("UPDATE hotload_plugins SET enabled = 0 WHERE content = 'other'")
        until(lambda: host.call("show") == [{"a": 1}])
        until(lambda: manager.snapshot().plugins[1].state is PluginState.OFF)
        project.sql("DELETE FROM hotload_plugins WHERE content = 'other'")
        project.write('[plugins.other]\nhook_point = "show"\n')
        until(lambda: host.call("show") == [{}, {"a": 1}])
        end()


def test_a_database_that_goes_and_comes_back_changes_nothing(project: Project) -> None:
    """Without its table, the last good settings stay; once it is there again, the host follows it."""
    project.workspace["greet"] = SHOWS
    row = "INSERT INTO hotload_plugins (content, hook_point, settings) VALUES ('greet', 'show', '{\"a\": 1}')"
    project.sql(row)
    host = HookHost()
    with HotloadManager(host, project.config()) as manager:
        end = follow_config(manager, project.file, interval=0.01)
        project.sql("ALTER TABLE hotload_plugins RENAME TO elsewhere")
        until(lambda: "there is no table hotload_plugins" in manager.snapshot().host.config_fault)
        assert host.call("show") == [{"a": 1}]
        project.sql(
            "ALTER TABLE elsewhere RENAME TO hotload_plugins",
            "UPDATE hotload_plugins SET settings = '{\"a\": 2}'",
        )
        until(lambda: host.call("show") == [{"a": 2}])
        end()


@pytest.mark.parametrize(
    ("database", "statement", "problem"),
    [
        ('url = "sqlite:///settings.db"', "DROP TABLE hotload_plugins", "'hotload database init' makes it"),
        (
            'url = "sqlite:///settings.db"',
            "ALTER TABLE hotload_plugins DROP COLUMN priority",
            "hotload_plugins has no column priority; docs/sql-examples.sql has the whole table",
        ),
        (
            'url = "sqlite:///settings.db"',
            "INSERT INTO hotload_plugins (content, settings) VALUES ('greet', '{1')",
            "row 'greet': settings: not valid JSON: ",
        ),
        (
            'url = "sqlite:///settings.db"',
            "INSERT INTO hotload_plugins (content, settings) VALUES ('greet', '[1]')",
            "row 'greet': plugins.greet.settings: expected a table, got a list",
        ),
        (
            'url = "sqlite:///settings.db"',
            "INSERT INTO hotload_plugins (content, reload) VALUES ('greet', 'now')",
            'row \'greet\': plugins.greet.reload: must be "swap" or "replace"',
        ),
        ('url = "sqlite:///nowhere/settings.db"', "SELECT 1", "unable to open database file"),
        ('url = "settings.db"', "SELECT 1", "database.url is not the URL of a database; such as sqlite:///"),
        ('url = "nosuch://host/name"', "SELECT 1", "database.url is not the URL of a database"),
        ("url = 1", "SELECT 1", "database.url: expected text in quotes, got a whole number"),
        (
            'url = "sqlite:///settings.db"\ntable = "a b"',
            "SELECT 1",
            'database.table = "a b": must be a name without blanks and quotes',
        ),
    ],
)
def test_what_is_wrong_is_said(project: Project, database: str, statement: str, problem: str) -> None:
    """A missing table or column, a wrong value or address: the message says what, where and what to do."""
    project.sql(statement)
    project.write("", database)
    assert problem in project.problem()


def test_a_password_is_never_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot be reached is named without its password, which may be in the environment only."""
    monkeypatch.setenv("HOTLOAD_DATABASE_URL", "postgresql+psycopg://me:hunter2@127.0.0.1:1/none")
    problem = project.problem()
    assert problem.startswith("postgresql+psycopg://me:***@127.0.0.1:1/none: ")
    assert "hunter2" not in problem


def test_without_sqlalchemy_the_message_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is an extra."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert "pip install 'hotload-tui[database]'" in project.problem()


def test_import_copies_the_tables_of_the_file(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """``hotload database import`` writes a row for each plugin; what a row cannot have stays in the file."""
    project.write(
        '[plugins.greet]\npriority = 5\nsettings = {a = [1, "ä"]}\nrequires = ["other"]\n'
        "[plugins.other]\nenabled = false\n[plugins.third]\nforget = true\n"
    )
    before = project.config()
    assert execute(["--config", str(project.file), "database", "import"]) == 0
    assert "rows of greet, other" in capsys.readouterr().err
    assert project.config() == before
    project.sql("UPDATE hotload_plugins SET priority = 6 WHERE content = 'greet'")
    assert project.config().of("greet").priority == 6
    assert project.config().of("greet").requires == ("other",)


def test_commands_need_a_database(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an address, the command says where to write one."""
    file = workspace.root / "hotload.toml"
    file.write_text("")
    assert execute(["--config", str(file), "database", "init"]) == 2
    assert f'add [database] url = "sqlite:///settings.db" to {file}' in capsys.readouterr().err


def statements() -> list[str]:
    """Return the statements of the examples."""
    text = re.sub(r"--[^\n]*", "", EXAMPLES.read_text("utf-8"))
    return [each.strip() for each in text.split(";") if each.strip()]


def ran(project: Project, run: Callable[[str], None]) -> Iterator[Config]:
    """Run each statement of the examples; yield the configuration after it."""
    for statement in statements():
        run(statement)
        yield project.config()


def test_each_example_of_sql_works_on_sqlite(project: Project) -> None:
    """The statements in docs/sql-examples.sql do what their comments say."""
    project.sql("DROP TABLE hotload_plugins")
    check_examples(ran(project, project.sql))


def check_examples(configs: Iterator[Config]) -> None:
    """Check the configuration after each statement of the examples."""
    (made, registered, given, changed, disabled, enabled, first, later, replaced, _, _, left) = configs
    assert made.plugins == {}
    assert (registered.of("todo_scanner").hook_point, registered.of("todo_scanner").priority) == ("scan", 20)
    assert given.of("text_stats").settings == {"words_per_minute": 238}
    assert changed.of("text_stats").settings == {"words_per_minute": 180}
    assert not disabled.of("todo_scanner").enabled
    assert enabled.of("todo_scanner").enabled
    assert first.of("text_stats").priority == 10
    assert later.of("todo_scanner").priority == 120
    assert replaced.of("todo_scanner").reload == "replace"
    assert list(left.plugins) == ["todo_scanner"]


class Server:
    """A PostgreSQL of its own, as Debian installs it, with one database."""

    def __init__(self, folder: Path) -> None:
        (self._programs,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
        self._folder = folder
        self._user = (
            ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        )  # it refuses to run as root
        if self._user:
            shutil.chown(folder, "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "me")
        self.start()
        self.url = f"postgresql+psycopg://me@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *arguments: str) -> str:
        command = [*self._user, str(self._programs / program), *arguments]
        log = self._folder / "log"
        with log.open("a") as output:
            done = subprocess.run(command, cwd=self._folder, stdout=output, stderr=output, check=False)
        assert done.returncode == 0, log.read_text()
        return log.read_text()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = f"-p {self.port} -k {self._folder} -h 127.0.0.1"
        self._run("pg_ctl", "-D", "data", "-l", "server.log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stop the server."""
        self._run("pg_ctl", "-D", "data", "-m", "fast", "-w", "stop")

    def sql(self, *statements: str) -> None:
        """Run statements with psql."""
        for statement in statements:
            self._run(
                "psql",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
                "-U",
                "me",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
                "postgres",
            )


@pytest.fixture
def server() -> Iterator[Server]:
    """Yield a running server, in a folder that its user can reach: that of the tests is for ours only."""
    with tempfile.TemporaryDirectory(prefix="hotload-postgresql-") as folder:
        found = Server(Path(folder))
        yield found
        found.stop()


@pytest.mark.terminal
def test_each_example_of_sql_works_on_postgresql(project: Project, server: Server) -> None:
    """The statements in docs/sql-examples.sql do on PostgreSQL what their comments say."""
    project.write("", f'url = "{server.url}"')
    check_examples(ran(project, server.sql))


@pytest.mark.terminal
@pytest.mark.parametrize("makes", [True, False], ids=["with reports of the server", "without them"])
def test_a_running_host_follows_the_rows_of_postgresql(
    project: Project, server: Server, *, makes: bool
) -> None:
    """A change goes live, and a server that is gone changes nothing until it is back."""
    project.workspace["greet"] = SHOWS
    project.write("", f'url = "{server.url}"')
    if makes:
        assert execute(["--config", str(project.file), "database", "init"]) == 0
    else:
        server.sql(statements()[0])
    insert = (
        "INSERT INTO hotload_plugins (content, hook_point, settings) VALUES ('greet', 'show', '{\"a\": 1}')"
    )
    server.sql(insert)
    host = HookHost()
    with HotloadManager(host, project.config()) as manager:
        end = follow_config(manager, project.file, interval=0.01)
        server.sql("UPDATE hotload_plugins SET settings = '{\"a\": 2}'")
        until(lambda: host.call("show") == [{"a": 2}])
        server.stop()
        until(lambda: "postgresql+psycopg://me@127.0.0.1" in manager.snapshot().host.config_fault)
        assert host.call("show") == [{"a": 2}]
        server.start()
        server.sql("UPDATE hotload_plugins SET settings = '{\"a\": 3}'")
        until(lambda: host.call("show") == [{"a": 3}])
        until(lambda: manager.snapshot().host.config_fault == "")
        end()
