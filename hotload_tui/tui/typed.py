"""What is typed as the arguments of a call: JSON with commas between, or text; ``name=`` makes a keyword."""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)")
_NEXT: Final = re.compile(rf",(?={_NAME.pattern})")
_DECODER: Final = json.JSONDecoder()
_UNREAD: Final = -1


class Arguments(NamedTuple):
    """The arguments of a call."""

    positional: tuple[object, ...]
    keywords: dict[str, object]
    twice: str = ""
    """The keyword that is given twice, of which only the last value would be heard; empty for none."""


def arguments_of(typed: str) -> Arguments:
    """Read arguments. The first one and keywords may be text, which reaches to the next keyword.

    What cannot be read so is one argument as a whole.
    """
    positional: list[object] = []
    keywords: dict[str, object] = {}
    twice = ""
    at = 0 if typed.strip() else -1
    while at >= 0:
        named = _NAME.match(typed, at)
        value, end = _value(typed, named.end() if named else at, is_text_fine=at == 0 or named is not None)
        if end == _UNREAD:
            return Arguments((typed.strip(),), {})
        if named:
            twice = twice or named[1] * (named[1] in keywords)
            keywords[named[1]] = value
        else:
            positional.append(value)
        at = end + 1 if end < len(typed) else -1
    return Arguments(tuple(positional), keywords, twice)


def _value(typed: str, start: int, *, is_text_fine: bool) -> tuple[object, int]:
    """Return the value that begins there, and where it ends: at a comma, or at the end of all."""
    start += len(typed[start:]) - len(typed[start:].lstrip())
    try:
        value, end = _DECODER.raw_decode(typed, start)
    except (ValueError, RecursionError):  # brackets within brackets without end
        pass
    else:
        end += len(typed[end:]) - len(typed[end:].lstrip())
        if typed[end : end + 1] in ("", ","):
            return value, end
    if not is_text_fine:
        return None, _UNREAD
    following = _NEXT.search(typed, start)
    end = following.start() if following else len(typed)
    return typed[start:end].strip(), end
