"""What does not fit in a table of the configuration, key by key: what was found, and what to write."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, get_args, get_origin, get_type_hints

import msgspec

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
    """Say what does not fit, key by key; msgspec stops at the first and writes ``[...]`` for a name."""
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
            yield f"{dotted((*key, name))}: unknown key{suggestion(name, sorted(hints))}"


def _misfit(value: object, expected: object, key: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, float) and expected is float and not math.isfinite(value):
        yield f"{dotted(key)}: expected a number of seconds, got {value}"
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        mismatch = _MISMATCH.search(str(error))
        if mismatch is None:
            yield f"{dotted(key)}: {error}"
        else:
            wanted = mismatch[1].removesuffix(" | null")
            written = f"{key[-1]} = {_EXAMPLES[wanted]}" if wanted in _EXAMPLES else f"[{dotted(key)}]"
            got = str(value) if type(value) is float else _WORDS.get(mismatch[2], mismatch[2])
            yield f"{dotted(key)}: {_expected(wanted, got, written)}"


def problem_of(expected: type, got: str, written: str) -> str:
    """Say what belongs in place of a text that is no ``expected``, and how that is ``written``."""
    return _expected(expected.__name__, got, written)


def _expected(wanted: str, got: str, written: str) -> str:
    return f"expected {_WORDS.get(wanted, wanted)}, got {got}; such as: {written}"


def dotted(key: tuple[str, ...]) -> str:
    """Write a key as TOML does, so that it can be searched for in the file."""
    return ".".join(part if _BARE_KEY.fullmatch(part) else f'"{part}"' for part in key)


def suggestion(name: str, known: list[str]) -> str:
    """Return the nearest known name, else all of them, as the end of a message."""
    if not known:
        return ""
    near = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(known)}"
