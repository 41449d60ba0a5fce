"""The layers of the configuration: where each is found, and what it says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, get_type_hints

import msgspec
from msgspec import Struct

from hotload_tui.core.config import Config
from hotload_tui.core.config_loader.problems import problem_of
from hotload_tui.core.errors import ConfigError

FILE_NAME: Final = "hotload.toml"
PROJECT_FILE: Final = "pyproject.toml"
PREFIX: Final = "HOTLOAD_"
FOLDERS: Final = ("runtime_dir", "compiled_dir")

_NEAR: Final = 0.75  # of 1: variables of others that begin alike are not to be taken for mistakes


class Layer(Struct, frozen=True):
    """What one place says, under the keys of ``hotload.toml``."""

    source: str
    """The place as its user calls it: a file, a variable or a flag."""
    table: dict[str, object]
    problems: tuple[str, ...] = ()
    """What is wrong with it, where that is known before its keys are looked at."""


def file_layers(path: Path | None) -> list[Layer]:
    """Read ``pyproject.toml`` and ``hotload.toml``, or ``path`` and the ``pyproject.toml`` beside it.

    Raises:
        ConfigError: a file cannot be read, or is no TOML.

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
    """Return the two files that may be read, the weightier last; they may be the same, or missing."""
    file = Path(FILE_NAME) if path is None else path
    return file.parent / PROJECT_FILE, file


def environment_layers(environment: Mapping[str, str]) -> list[Layer]:
    """Return what the variables ``HOTLOAD_<KEY>`` say, a layer each; an empty one says nothing."""
    return [
        _of_variable(_variable(key), environment[_variable(key)], key, expected)
        for key, expected in _scalars().items()
        if environment.get(_variable(key))
    ]


def misspelled(environment: Mapping[str, str]) -> Iterator[str]:
    """Warn of each variable that is nearly one of ours; all others belong to somebody else."""
    known = [_variable(key) for key in _scalars()]
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
            if near:
                yield f"{name}: no such setting, so it is ignored; did you mean {near[0]}?"


def _variable(key: str) -> str:
    return f"{PREFIX}{key.upper()}"


def _scalars() -> dict[str, type]:
    hints = get_type_hints(Config)
    return {key: hints[key] for key in Config.__struct_fields__ if hints[key] in (str, float, int, bool)}


def _of_variable(name: str, text: str, key: str, expected: type) -> Layer:
    try:
        value: object = msgspec.convert(text, expected, strict=False)
    except msgspec.ValidationError:
        return Layer(name, {}, (problem_of(expected, f'"{text}"', f"{name}={_example(key)}"),))
    return Layer(name, {key: value})


def _example(key: str) -> str:
    value: object = getattr(Config(), key)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_project(file: Path, content: Mapping[str, object]) -> Layer:
    tool = content.get("tool")
    table = tool.get("hotload", {}) if isinstance(tool, dict) else {}
    source = f"{file} [tool.hotload]"
    if isinstance(table, dict):
        return Layer(source, table)
    return Layer(source, {}, ("expected a table, with the keys of hotload.toml",))


def _beside(file: Path, table: dict[str, object]) -> dict[str, object]:
    """Take the folders that a file names as relative to its own."""
    folders = {name: table[name] for name in FOLDERS if isinstance(table.get(name), str)}
    return {**table, **{name: str(file.parent / str(folder)) for name, folder in folders.items()}}


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
    import tomllib  # for those only who have a file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {_syntax_error(str(error), text)}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deeply") from error


def _syntax_error(message: str, text: str) -> str:
    """Put tomllib's ``… (at line 3, column 7)`` in front, where a reader looks for it."""
    what, _, place = message.partition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    where = found[0] if found else f"line {text.rstrip().count(chr(10)) + 1}"  # "(at end of document)"
    return f"{where}: not valid TOML: {what}"
