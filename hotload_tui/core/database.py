"""Settings of plugins in a database: one row for each plugin, read through SQLAlchemy Core.

A row has the values of a ``[plugins.<name>]`` table. ``Config.database`` says where the rows are.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from hotload_tui.core.config import DatabaseConfig
from hotload_tui.core.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

CONTENT: Final = "content"
"""The column with the plugin's name, which is that of its directory."""

VALUES: Final = ("hook_point", "priority", "enabled", "settings", "reload")
"""The columns with the values of a plugin; NULL leaves a value to the file, or to its default."""

_INSTALL: Final = "pip install 'hotload-tui[database]'"
_EXAMPLE: Final = "sqlite:///settings.db or postgresql+psycopg://user@host/name"
_NAME: Final = re.compile(r"[A-Za-z_]\w*")

_POSTGRESQL: Final = (
    """
    CREATE OR REPLACE FUNCTION {0}_changed() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_notify(''{0}'', ''''); RETURN NULL; END'
    """,
    """
    CREATE TRIGGER {0}_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {0}
    FOR EACH STATEMENT EXECUTE FUNCTION {0}_changed()
    """,
)
"""The statements after which PostgreSQL reports each change on a channel with the table's name."""


class Row(NamedTuple):
    """The settings of one plugin."""

    source: str
    """How messages and the display of settings name the row."""
    values: dict[str, object]
    problem: str
    """Why a value cannot be read; empty if all can."""


class Database:
    """The table with the settings of plugins; one thread at a time may use it."""

    def __init__(self, url: str, table: str) -> None:
        """Prepare; nothing is connected before the first use.

        Raises:
            ConfigError: ``url`` is not the URL of a database, a package that it needs is missing, or
                ``table`` is no name.

        """
        if not _NAME.fullmatch(table):
            raise ConfigError(f'database.table = "{table}": must be a name without blanks and quotes')
        try:
            import sqlalchemy as sql  # takes 150 ms, so it is imported only where there is a database
        except ImportError:
            raise ConfigError(f"database.url needs SQLAlchemy, which is not installed: {_INSTALL}") from None
        try:
            address = sql.make_url(url)
            self._engine: Final = sql.create_engine(address, poolclass=sql.NullPool)
        except sql.exc.ArgumentError:
            raise ConfigError(f"database.url is not the URL of a database; such as {_EXAMPLE}") from None
        except ImportError as error:
            raise ConfigError(f"database.url needs {error.name}: pip install {error.name}") from None
        self.name: Final = address.render_as_string(hide_password=True)
        """The address without its password, for messages."""
        self._table: Final = table
        self._watching: Connection | None = None
        self._reports = False
        """Whether the database reports each change."""
        self._changes = 0

    def close(self) -> None:
        """Close the connection that ``stamp`` keeps."""
        watching, self._watching = self._watching, None
        if watching is not None:
            with contextlib.suppress(Exception):  # of the driver: the server may be gone
                watching.close()

    def make(self) -> bool:
        """Create the table; return false if it is there already. Raises ``ConfigError``."""
        import sqlalchemy as sql

        table = sql.Table(
            self._table,
            sql.MetaData(),
            sql.Column(CONTENT, sql.String(200), primary_key=True),
            sql.Column("hook_point", sql.String(200)),
            sql.Column("priority", sql.Integer),
            sql.Column("enabled", sql.Boolean, server_default=sql.true()),
            sql.Column("settings", sql.JSON),
            sql.Column("reload", sql.String(10)),
        )
        with self._connected() as connection:
            if sql.inspect(connection).has_table(self._table):
                return False
            table.create(connection)
            for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else ():
                connection.execute(sql.text(statement.format(self._table)))
            connection.commit()
        return True

    def rows(self) -> dict[str, Row]:
        """Return the rows by plugin.

        Raises:
            ConfigError: the database cannot be reached, or the table or a column is missing.

        """
        import sqlalchemy as sql

        with self._connected() as connection:
            inspector = sql.inspect(connection)
            if not inspector.has_table(self._table):
                advice = "'hotload database init' makes it"
                raise ConfigError(f"{self.name}: there is no table {self._table}; {advice}")
            there = {str(column["name"]) for column in inspector.get_columns(self._table)}
            if missing := [name for name in (CONTENT, *VALUES) if name not in there]:
                advice = "docs/sql-examples.sql has the whole table"
                raise ConfigError(f"{self.name}: {self._table} has no column {', '.join(missing)}; {advice}")
            columns: list[sql.ColumnElement[object]] = [
                sql.literal_column(name) for name in (CONTENT, *VALUES)
            ]
            found = connection.execute(sql.select(*columns).select_from(sql.table(self._table)))
            return {str(content): self._row(str(content), values) for content, *values in found}

    def put(self, rows: Mapping[str, Mapping[str, object]]) -> None:
        """Insert a row for each plugin, or replace the row that is there. Raises ``ConfigError``."""
        import sqlalchemy as sql

        table = sql.table(
            self._table, *(sql.column(name, sql.types.NullType()) for name in (CONTENT, *VALUES))
        )
        with self._connected() as connection:
            for content, values in rows.items():
                settings = values.get("settings")
                row = {name: values.get(name) for name in VALUES}
                row["settings"] = None if settings is None else json.dumps(settings)
                connection.execute(sql.delete(table).where(table.c[CONTENT] == content))
                connection.execute(sql.insert(table).values({CONTENT: content, **row}))
            connection.commit()

    def stamp(self) -> object:
        """Return a value that is another one after a change of the table.

        If the database cannot be reached, it is the reason.
        """
        try:
            with self._explained():
                return self._stamp()
        except Exception as error:  # also of the driver itself, which waits for reports
            self.close()
            return str(error)

    def _stamp(self) -> object:
        import sqlalchemy as sql

        if self._watching is None:
            self._watching = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._changes += 1  # what has happened before is not known
            self._reports = self._listens(self._watching)
        if self._reports:
            raw = self._watching.connection.driver_connection
            assert raw is not None
            self._changes += sum(1 for _ in raw.notifies(timeout=0))
            return self._changes
        if self._watching.dialect.name == "sqlite":
            return self._changes, self._watching.execute(sql.text("PRAGMA data_version")).scalar()
        # To read a table of this size costs no more than to ask for its version.
        every = sql.select(sql.text("*")).select_from(sql.table(self._table))
        return sorted(map(repr, self._watching.execute(every)))

    def _listens(self, connection: Connection) -> bool:
        """Listen to the reports of PostgreSQL; return false where there are none."""
        import sqlalchemy as sql

        if (connection.dialect.name, connection.dialect.driver) != ("postgresql", "psycopg"):
            return False
        connection.execute(sql.text(f"LISTEN {self._table}"))
        # A table that was not made by ``make`` may have no trigger.
        trigger = sql.text(
            "SELECT count(*) FROM pg_trigger WHERE tgname = :name AND tgrelid = to_regclass(:table)"
        )
        names = {"name": f"{self._table}_changed", "table": self._table}
        return bool(connection.execute(trigger, names).scalar())

    def _row(self, content: str, values: list[object]) -> Row:
        table = {name: value for name, value in zip(VALUES, values, strict=True) if value is not None}
        problem = ""
        if table.get("enabled") in (0, 1):  # some databases have no truth values
            table["enabled"] = bool(table["enabled"])
        if isinstance(settings := table.get("settings"), (str, bytes)):
            try:
                table["settings"] = json.loads(settings)
            except ValueError as error:
                table.pop("settings")
                problem = f"settings: not valid JSON: {error}"
        return Row(f"{self.name} {self._table}, row '{content}'", table, problem)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._explained(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of the database into ``ConfigError``."""
        import sqlalchemy as sql

        try:
            yield
        except sql.exc.SQLAlchemyError as error:
            text = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise ConfigError(f"{self.name}: {text}") from None


class DatabaseWatch:
    """Notices changes of the rows that a configuration names."""

    def __init__(self) -> None:
        self._config = DatabaseConfig()
        self._database: Database | None = None

    def use(self, config: DatabaseConfig) -> None:
        """Look at this database from now on; raises ``ConfigError``."""
        if config != self._config:
            self.close()
            self._config = config
            self._database = Database(config.url, config.table) if config.url else None

    def stamp(self) -> object:
        """Return a value that is another one after a change; ``None`` without a database."""
        return self._database.stamp() if self._database else None

    def close(self) -> None:
        """Close the connection to the database."""
        if self._database is not None:
            self._database.close()
