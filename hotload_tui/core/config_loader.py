"""``hotload.toml`` becomes a ``Config``; what is wrong in it is named by file and line or key."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, get_args, get_origin, get_type_hints

import msgspec

from hotload_tui.core.config import Config
from hotload_tui.core.errors import ConfigError

FILE_NAME: Final = "hotload.toml"

_FOLDERS: Final = ("runtime_dir", "compiled_dir")
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


def load_config(
    path: Path | None = None, *, runtime_dir: Path | None = None, compiled_dir: Path | None = None
) -> Config:
    """Read ``path``, or ``./hotload.toml`` where there is one, and put the given folders over it.

    Relative folders belong to the file's own folder, also those that the file does not mention;
    ``runtime_dir`` and ``compiled_dir`` given here belong to the working directory.

    Raises:
        ConfigError: the file cannot be read or is wrong; one line for each thing that is.

    """
    file = Path(FILE_NAME) if path is None else path
    table = {} if path is None and not file.exists() else _read(file)
    problems = list(_problems(table, Config, ()))
    if problems:
        raise ConfigError("\n".join(f"{file}: {problem}" for problem in problems))
    defaults = {name: getattr(Config(), name) for name in _FOLDERS}
    here = {name: str(file.parent / str(table.get(name, defaults[name]))) for name in _FOLDERS}
    given = {"runtime_dir": runtime_dir, "compiled_dir": compiled_dir}
    over = {name: str(folder) for name, folder in given.items() if folder is not None}
    try:
        return msgspec.convert({**table, **here, **over}, Config)
    except (ConfigError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from error


def unmatched_entries(config: Config, names: Iterable[str]) -> tuple[str, ...]:
    """Warn of each ``[plugins.<name>]`` for which there is no directory among ``names``."""
    known = sorted(names)
    return tuple(
        f"[{_dotted(('plugins', entry))}] has no plugin directory of that name{_suggestion(entry, known)}"
        for entry in config.plugins
        if entry not in known
    )


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


def _problems(value: object, expected: object, key: tuple[str, ...]) -> Iterator[str]:
    """Say what does not fit, key by key; msgspec stops at the first and writes ``[...]`` for a name."""
    if isinstance(expected, type) and issubclass(expected, msgspec.Struct):
        if isinstance(value, Mapping):
            yield from _struct_problems(value, expected, key)
        else:
            yield from _misfit(value, dict[str, object], key)
    elif get_origin(expected) is dict and isinstance(value, Mapping):
        for name, item in value.items():
            yield from _problems(item, get_args(expected)[1], (*key, name))
    else:
        yield from _misfit(value, expected, key)


def _struct_problems(
    table: Mapping[str, object], expected: type[msgspec.Struct], key: tuple[str, ...]
) -> Iterator[str]:
    hints = get_type_hints(expected)
    for name, item in table.items():
        if name in hints:
            yield from _problems(item, hints[name], (*key, name))
        else:
            yield f"{_dotted((*key, name))}: unknown key{_suggestion(name, sorted(hints))}"


def _misfit(value: object, expected: object, key: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, float) and expected is float and not math.isfinite(value):
        yield f"{_dotted(key)}: expected a number of seconds, got {value}"
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        mismatch = _MISMATCH.search(str(error))
        if mismatch is None:
            yield f"{_dotted(key)}: {error}"
        else:
            wanted = mismatch[1].removesuffix(" | null")
            yield (
                f"{_dotted(key)}: expected {_WORDS.get(wanted, wanted)},"
                f" got {_WORDS.get(mismatch[2], mismatch[2])}"
            )


def _dotted(key: tuple[str, ...]) -> str:
    """Write a key as TOML does, so that it can be searched for in the file."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in key)


def _suggestion(name: str, known: list[str]) -> str:
    if not known:
        return ""
    near = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(known)}"
