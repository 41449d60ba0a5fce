"""Build a ``Config`` from files, environment and flags, and record the origin of each value."""

from __future__ import annotations

import difflib
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from hotload_tui.core.config import Config, DatabaseConfig
from hotload_tui.core.database import Database
from hotload_tui.core.errors import ConfigError, nearest
from hotload_tui.core.packages import empty_group

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_MISMATCH: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_WORDS: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "object": "a table",
    "array": "a list",
    "date": "a date",
    "datetime": "a date and time",
    "time": "a time",
}
_EXAMPLES: Final = {"bool": "true", "int": "10", "float": "1.5", "str": '"text"', "array": '["text"]'}


def problems_in(value: object, expected: object, key: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every mismatch, key by key; msgspec stops at the first one and writes ``[...]`` for a name."""
    if isinstance(expected, type) and issubclass(expected, msgspec.Struct):
        if isinstance(value, Mapping):
            yield from _struct_problems(value, expected, key)
        else:
            yield from _misfit(value, dict[str, object], key)
    elif get_origin(expected) is dict and isinstance(value, Mapping):
        for name, item in value.items():
            yield from problems_in(item, get_args(expected)[1], (*key, name))
    else:
        yield from _misfit(value, expected, key)


def _struct_problems(
    table: Mapping[str, object], expected: type[msgspec.Struct], key: tuple[str, ...]
) -> Iterator[str]:
    hints = get_type_hints(expected)
    for name, item in table.items():
        if name in hints:
            yield from problems_in(item, hints[name], (*key, name))
        else:
            yield f"{dotted((*key, name))}: unknown key; {nearest(name, hints)}"


def _misfit(value: object, expected: object, key: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, float) and expected is float and not math.isfinite(value):
        yield f"{dotted(key)}: expected a number of seconds, got {value}"
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        mismatch = _MISMATCH.search(str(error))
        literals = [part for part in (expected, *get_args(expected)) if get_origin(part) is Literal]
        words = [f'"{word}"' for literal in literals for word in get_args(literal)]
        if words:
            yield f"{dotted(key)}: must be {' or '.join(words)}"
        elif mismatch is None:
            yield f"{dotted(key)}: {error}"
        else:
            wanted = mismatch[1].removesuffix(" | null")
            written = f"{key[-1]} = {_EXAMPLES[wanted]}" if wanted in _EXAMPLES else f"[{dotted(key)}]"
            got = str(value) if type(value) is float else _WORDS.get(mismatch[2], mismatch[2])
            yield f"{dotted(key)}: {_expected(wanted, got, written)}"


def _expected(wanted: str, got: str, written: str) -> str:
    return f"expected {_WORDS.get(wanted, wanted)}, got {got}; such as: {written}"


def dotted(key: tuple[str, ...]) -> str:
    """Return a key as TOML writes it, so that a user can search for it in the file."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in key)


FILE_NAME: Final = "hotload.toml"
PROJECT_FILE: Final = "pyproject.toml"
PREFIX: Final = "HOTLOAD_"
FOLDERS: Final = ("runtime_dir", "compiled_dir")
DATABASE_URL: Final = f"{PREFIX}DATABASE_URL"

_NEAR: Final = 0.75  # similarity, at most 1; a variable below it belongs to another program


class Layer(Struct, frozen=True):
    """The settings from one place, under the keys of ``hotload.toml``."""

    source: str
    """The place as the user calls it: a file, a variable or a flag."""
    table: dict[str, object]
    problems: tuple[str, ...] = ()
    """The problems that are found before the keys are checked."""


def file_layers(path: Path | None) -> list[Layer]:
    """Read ``pyproject.toml`` and ``hotload.toml``, or ``path`` and the ``pyproject.toml`` beside it.

    Raises:
        ConfigError: a file cannot be read, or is not valid TOML.

    """
    project, file = files_of(path)
    layers = []
    if project.exists():
        layers += [_of_project(project, _read(project))]
    if file != project and (path is not None or file.exists()):
        layers += [Layer(str(file), _read(file))]
    if file == project and not layers:
        raise ConfigError(f"{file}: there is no such file; leave --config out to use the defaults")
    return [Layer(layer.source, _beside(file, layer.table), layer.problems) for layer in layers]


def files_of(path: Path | None) -> tuple[Path, Path]:
    """Return the two files to read, the one with priority last; they may be the same file, or missing."""
    file = Path(FILE_NAME) if path is None else path
    return file.parent / PROJECT_FILE, file


def environment_layers(environment: Mapping[str, str]) -> list[Layer]:
    """Return one layer for each variable ``HOTLOAD_<KEY>``; empty variables are ignored."""
    return [
        _of_variable(_variable(key), text, key, expected)
        for key, expected in _scalars().items()
        if (text := environment.get(_variable(key)))
    ]


def stored_layers(path: Path | None, environment: Mapping[str, str] = os.environ) -> list[Layer]:
    """Return the layers of the files, and that of the address of the database.

    Raises:
        ConfigError: a file cannot be read, or a value in it is wrong.

    """
    layers = file_layers(path)
    if url := environment.get(DATABASE_URL):  # for an address with a password, which is in no file
        layers.append(Layer(DATABASE_URL, {"database": {"url": url}}))
    _check(layers)
    return layers


def plugin_tables(layers: Iterable[Layer]) -> dict[str, dict[str, object]]:
    """Return the ``[plugins.*]`` tables of the layers, by plugin."""
    table: dict[str, object] = {}
    for layer in layers:
        table = _merged(table, layer.table)
    plugins = table.get("plugins", {})
    return msgspec.convert(plugins, dict[str, dict[str, object]])


def database_layers(layers: Iterable[Layer]) -> list[Layer]:
    """Return one layer for each row of the database that ``layers`` name; none if they name no database.

    Raises:
        ConfigError: the database cannot be used.

    """
    database = database_of(layers)
    return [
        Layer(row.source, {"plugins": {name: row.values}}, (row.problem,) if row.problem else ())
        for name, row in (database.rows().items() if database else ())
    ]


def database_of(layers: Iterable[Layer]) -> Database | None:
    """Return the database that the last of the layers names; raises ``ConfigError``."""
    found: dict[str, object] = {}
    for layer in layers:
        table = layer.table.get("database")
        found |= table if isinstance(table, dict) else {}
    config = msgspec.convert(found, DatabaseConfig)
    return Database(config.url, config.table) if config.url else None


def misspelled(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each variable whose name is nearly one of ours; other variables are ignored."""
    names = [*map(_variable, _scalars()), DATABASE_URL]
    known = [name.removeprefix(PREFIX) for name in names]
    for name in sorted(environment):
        word = name.removeprefix(PREFIX)
        if name.startswith(PREFIX) and word not in known:
            near = difflib.get_close_matches(word, known, n=1, cutoff=_NEAR)
            if near:
                yield f"{name}: no such setting, so it is ignored; did you mean {PREFIX}{near[0]}?"


def _variable(key: str) -> str:
    return f"{PREFIX}{key.upper()}"


def _scalars() -> dict[str, type]:
    hints = get_type_hints(Config)
    return {key: hints[key] for key in Config.__struct_fields__ if hints[key] in (str, float, int, bool)}


def _of_variable(name: str, text: str, key: str, expected: type) -> Layer:
    try:
        value: object = msgspec.convert(text, expected, strict=False)
    except msgspec.ValidationError:
        default: object = getattr(Config(), key)
        example = str(default).lower() if isinstance(default, bool) else str(default)
        return Layer(name, {}, (_expected(expected.__name__, f'"{text}"', f"{name}={example}"),))
    return Layer(name, {key: value})


def _of_project(file: Path, content: Mapping[str, object]) -> Layer:
    tool = content.get("tool")
    table = tool.get("hotload", {}) if isinstance(tool, dict) else {}
    source = f"{file} [tool.hotload]"
    if isinstance(table, dict):
        return Layer(source, table)
    return Layer(source, {}, ("expected a table, with the keys of hotload.toml",))


def _beside(file: Path, table: dict[str, object]) -> dict[str, object]:
    """Make the folders and files that a file names relative to the folder of that file."""
    folders = {name: table[name] for name in FOLDERS if isinstance(table.get(name), str)}
    placed: dict[str, object] = {name: str(file.parent / str(folder)) for name, folder in folders.items()}
    shared = table.get("shared")
    if isinstance(shared, list):
        placed["shared"] = [str(file.parent / each) if isinstance(each, str) else each for each in shared]
    database = table.get("database")
    if isinstance(database, dict) and isinstance(url := database.get("url"), str):
        placed["database"] = {**database, "url": _placed(file.parent, url)}
    return {**table, **placed}


def _placed(folder: Path, url: str) -> str:
    """Return the address of a file of SQLite below ``folder``; any other address as it is."""
    scheme, _, place = url.partition(":///")
    if not scheme.startswith("sqlite") or not place or place == ":memory:" or Path(place).is_absolute():
        return url
    return f"{scheme}:///{folder / place}"


def _read(file: Path) -> dict[str, object]:
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: there is no such file; leave --config out to use the defaults") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}: line {line}: not UTF-8; save the file in that encoding") from error
    import tomllib  # imported only if there is a file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {_syntax_error(str(error), text)}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deeply") from error


def _syntax_error(message: str, text: str) -> str:
    """Move the place from the end of tomllib's message, ``… (at line 3, column 7)``, to the front."""
    what, _, place = message.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    where = found[0] if found else f"line {text.rstrip().count(chr(10)) + 1}"  # "(at end of document)"
    return f"{where}: not valid TOML: {what}"


DEFAULT = "default"

logger = logging.getLogger("hotload.config")


class Setting(Struct, frozen=True):
    """One value and its origin."""

    key: str
    value: object
    source: str
    """A file, a variable, a flag, or ``default``."""


class Resolved(Struct, frozen=True):
    """A configuration with the origin of its values."""

    config: Config
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...]
    """Probable mistakes, which do not affect ``config``."""


def load_config(
    path: Path | None = None,
    *,
    runtime_dir: Path | None = None,
    compiled_dir: Path | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
) -> Config:
    """Return the configuration of the project in the working directory, or of the file ``path``.

    The sources in rising priority are ``[tool.hotload]`` in ``pyproject.toml``, ``hotload.toml`` beside it,
    the rows of the database that these name, the environment (``HOTLOAD_LOAD_TIMEOUT=3``), and the arguments:
    the folders, and other settings that a program has taken from its command line, by key
    (``given={"entry": "main.py"}``). A relative folder in a file is relative to that file. A relative folder
    in the environment or in an argument is relative to the working directory.

    Raises:
        ConfigError: the configuration is wrong; the text has one line for each problem.

    """
    resolved = resolve(path, runtime_dir=runtime_dir, compiled_dir=compiled_dir, given=given)
    for warning in resolved.warnings:
        logger.warning("%s", warning)
    return resolved.config


def resolve(
    path: Path | None = None,
    *,
    runtime_dir: Path | None = None,
    compiled_dir: Path | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
    environment: Mapping[str, str] = os.environ,
) -> Resolved:
    """Do the same as ``load_config``, and also return the origin of each value.

    Raises:
        ConfigError: the configuration is wrong; the text has one line for each problem.

    """
    folders = (("--plugins", "runtime_dir", runtime_dir), ("--compiled", "compiled_dir", compiled_dir))
    files = stored_layers(path, environment)
    layers = [*files, *database_layers(files), *environment_layers(environment)]
    layers += [Layer(flag, {key: str(folder)}) for flag, key, folder in folders if folder is not None]
    layers += [Layer(f"--{key}", {key: value}) for key, value in given.items()]
    _check(layers)
    home = Path() if path is None else path.parent
    table: dict[str, object] = {name: str(home / str(getattr(Config(), name))) for name in FOLDERS}
    for layer in layers:
        table = _merged(table, layer.table)
    config = msgspec.convert(table, Config)
    return Resolved(config, tuple(_settings(config, table, layers)), tuple(misspelled(environment)))


def unmatched_entries(config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """Return a warning for each setting that no plugin has.

    That is a ``[plugins.<name>]`` without a directory among ``names``, or a group of entry points without a
    package.
    """
    known = set(names)
    groups = tuple(filter(None, map(empty_group, config.entry_points)))
    return groups + tuple(
        f"[{dotted(('plugins', entry))}] has no plugin directory of that name;"
        f" {nearest(entry, known) or 'there are none'}"
        for entry in config.plugins
        if entry not in known
    )


def _check(layers: Iterable[Layer]) -> None:
    problems = [f"{layer.source}: {problem}" for layer in layers for problem in _problems(layer)]
    if problems:
        raise ConfigError("\n".join(problems))


def _problems(layer: Layer) -> list[str]:
    """Check a layer by itself, so that each problem is reported for the place that causes it."""
    problems = [*layer.problems, *problems_in(layer.table, Config)]
    if not problems:
        try:
            msgspec.convert(layer.table, Config)
        except (ConfigError, msgspec.ValidationError) as error:
            problems.append(str(error))
    return problems


def _merged(low: Mapping[str, object], high: Mapping[str, object]) -> dict[str, object]:
    """Merge the table ``high`` over ``low``, key by key, including nested tables."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _settings(config: Config, table: Mapping[str, object], layers: list[Layer]) -> Iterator[Setting]:
    """Yield every top-level value, and the values inside tables that a layer sets."""
    sources = {
        key: layer.source for layer in layers for key, _ in _leaves(layer.table)
    }  # the last one counts
    for name in Config.__struct_fields__:
        value: object = getattr(config, name)
        if not isinstance(value, (dict, Struct)):
            yield Setting(name, value, sources.get((name,), DEFAULT))
        for key, leaf in _leaves(table.get(name), (name,)):
            yield Setting(dotted(key), leaf, sources[key])


def _leaves(value: object, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield the values of a table and of the tables in it, each with its key."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict):
                yield from _leaves(item, (*key, name))
            else:
                yield (*key, name), item
