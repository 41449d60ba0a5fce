"""The user's calls of hook points: parse typed text into arguments, and format results as lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from pprint import pformat
from typing import Final, NamedTuple

from textual.content import Content

from hotload_tui.core.model import Fault, Invocation
from hotload_tui.tui.text import cells, clean_line, clock_time, count, milliseconds

_NAME: Final = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)")
_NEXT: Final = re.compile(rf",(?={_NAME.pattern})")
_DECODER: Final = json.JSONDecoder()


class Arguments(NamedTuple):
    """The arguments of a call."""

    positional: tuple[object, ...]
    keywords: dict[str, object]
    twice: str = ""
    """The first keyword that is given twice, whose last value alone would count; empty for none."""


def arguments_of(typed: str) -> Arguments:
    """Parse typed arguments: JSON values, with commas between them, and ``name=value`` for keywords.

    The first argument and a keyword's value may be plain text, which extends to the next keyword. Text that
    does not parse becomes a single argument.
    """
    positional: list[object] = []
    keywords: dict[str, object] = {}
    twice = ""
    at = 0 if typed.strip() else -1
    while at >= 0:
        named = _NAME.match(typed, at)
        found = _value(typed, named.end() if named else at, is_text_fine=at == 0 or named is not None)
        if found is None:
            return Arguments((typed.strip(),), {})
        value, end = found
        if named:
            twice = twice or named[1] * (named[1] in keywords)
            keywords[named[1]] = value
        else:
            positional.append(value)
        at = end + 1 if end < len(typed) else -1
    return Arguments(tuple(positional), keywords, twice)


def _value(typed: str, start: int, *, is_text_fine: bool) -> tuple[object, int] | None:
    """Return the value at ``start`` and its end, a comma or the end of ``typed``; ``None``: no value."""
    start += len(typed[start:]) - len(typed[start:].lstrip())
    try:
        value, end = _DECODER.raw_decode(typed, start)
    except (ValueError, RecursionError):  # no JSON, or brackets nested too deeply
        pass
    else:
        end += len(typed[end:]) - len(typed[end:].lstrip())
        if typed[end : end + 1] in ("", ","):
            return value, end
    if not is_text_fine:
        return None
    following = _NEXT.search(typed, start)
    end = following.start() if following else len(typed)
    return typed[start:end].strip(), end


SHOWN: Final = 600
"""The maximum number of characters shown of a value."""


class HookCall(NamedTuple):
    """A call of a hook point, as the user typed it."""

    point: str
    typed: str

    @property
    def arguments(self) -> Arguments:
        """The parsed arguments."""
        return arguments_of(self.typed)

    def __str__(self) -> str:
        """Return the call in Python syntax."""
        positional, keywords, twice = self.arguments
        if twice:
            return f"{self.point}({self.typed})"
        parts = [*map(repr, positional), *(f"{name}={value!r}" for name, value in keywords.items())]
        return f"{self.point}({', '.join(parts)})"


class Answer(NamedTuple):
    """The result of one handler."""

    who: str
    seconds: float
    text: str
    """The handler's value as text, or the fault that it raised."""
    failed: bool
    plugin: str = ""
    """The handler's plugin."""
    lines: tuple[str, ...] = ()
    """The text laid out in lines, if it does not fit into one."""


class CallResult(NamedTuple):
    """The result of a call; ``trouble`` is the reason why there was no call at all."""

    call: HookCall
    at: float
    answers: tuple[Answer, ...] = ()
    trouble: str = ""


def call_result(call: HookCall, at: float, invocation: Invocation) -> CallResult:
    """Combine each handler with its value or fault and its duration."""
    values, faults = iter(invocation.values), iter(invocation.faults)
    answers = []
    for handler, seconds in zip(invocation.handlers, invocation.seconds, strict=True):
        who = f"{handler.plugin}.{short_name(handler.function)}"
        if handler.failed:
            answers.append(
                Answer(who, seconds, _fault_line(next(faults)), failed=True, plugin=handler.plugin)
            )
            continue
        text = repr(value := next(values))
        lines = laid_out(value, text)
        answers.append(Answer(who, seconds, text, failed=False, plugin=handler.plugin, lines=lines))
    return CallResult(call, at, tuple(answers))


_WIDTH: Final = 72
"""The cells for a line of a value, and for a row of a table of records."""

_LAID_OUT: Final = 20_000
"""The maximum number of characters of a value that is laid out."""

_LINES: Final = 60
"""The maximum number of lines shown of a value."""


def laid_out(value: object, text: str) -> tuple[str, ...]:
    """Return the lines of a value whose ``repr`` is ``text``; none if that fits into one line.

    A text is shown as it is, a list of records as a table, and other data with one item per line.
    """
    if isinstance(value, str):
        lines = value.expandtabs(4).split("\n") if "\n" in value.strip() else []
    elif len(text) > _LAID_OUT:
        lines = []
    else:
        lines = list(_table(value)) or pformat(value, width=_WIDTH, sort_dicts=False).split("\n")
    hidden = len(lines) - _LINES
    if hidden > 0:
        lines[_LINES:] = [f"… {count(hidden, 'more line')}"]
    return tuple(lines) if len(lines) > 1 else ()


def _table(records: object) -> Iterator[str]:
    """Yield the rows of a list of records with equal keys and simple values; nothing for another value."""
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        return
    keys = list(records[0]) if records else []
    if not keys or any(list(each) != keys for each in records):
        return
    if any(isinstance(value, (dict, list)) for each in records for value in each.values()):
        return
    rows = [[str(key) for key in keys], *([str(each[key]) for key in keys] for each in records)]
    widths = [max(cells(row[column]) for row in rows) for column in range(len(keys))]
    if sum(widths) + 2 * len(widths) > _WIDTH or any("\n" in cell for row in rows for cell in row):
        return
    figures = [all(isinstance(each[key], (int, float)) for each in records) for key in keys]
    for row in rows:
        padded = (
            f"{' ' * (width - cells(cell))}{cell}" if is_figure else f"{cell}{' ' * (width - cells(cell))}"
            for cell, width, is_figure in zip(row, widths, figures, strict=True)
        )
        yield "  ".join(padded).rstrip()


def short_name(function: str) -> str:
    """Return a function's name without its enclosing functions."""
    return function.rpartition(".<locals>.")[2] or function


def _fault_line(fault: Fault) -> str:
    place = fault.place
    where = f" ({place.file.rpartition('/')[2]}:{place.line})" if place and place.line else ""
    return f"{fault.type}: {fault.message}{where}"


def result_text(result: CallResult, before: CallResult | None, *, pinned: bool) -> Content:
    """Return the lines of a result; ``before`` is the result of the same call before the last reload."""
    return Content("\n").join(_lines(result, before, pinned=pinned))


def _lines(result: CallResult, before: CallResult | None, *, pinned: bool) -> Iterator[Content]:
    total = milliseconds(sum(answer.seconds for answer in result.answers))
    facts = f"  {clock_time(result.at)}" + (f", {total} ms" if result.answers else "")
    yield Content.assemble(
        (clean_line(str(result.call), 200), "bold"),
        (facts, "$foreground-muted"),
        ("  pinned" if pinned else "", "bold $text-accent"),
    )
    if result.trouble:
        yield Content.styled(f"! {clean_line(result.trouble, SHOWN)}", "bold $text-error")
    elif not result.answers:
        yield Content.styled("  nobody answers: the hook point has no handler", "$text-warning")
    old = {answer.who: answer for answer in before.answers} if before else {}
    for answer in result.answers:
        yield from _answer(answer, old.pop(answer.who, None), is_new=bool(before) and answer.who not in old)
    for answer in old.values():
        yield Content.styled(f"- {clean_line(answer.who, 80)} does not answer any more", "$text-warning")


def _answer(answer: Answer, old: Answer | None, *, is_new: bool) -> Iterator[Content]:
    changed = old is not None and (old.text, old.failed) != (answer.text, answer.failed)
    sign = "!" if answer.failed else "*" if changed else "+" if is_new and old is None else " "
    style = "bold $text-error" if answer.failed else "bold $text-warning" if changed else ""
    who, time = clean_line(answer.who, 80), milliseconds(answer.seconds)
    yield Content.assemble((f"{sign} {who}", style), (f"  {time} ms", "$foreground-muted"))
    if changed and old is not None and (answer.lines or old.lines):
        yield from _difference(old, answer)
        return
    if not changed or old is None:
        yield from _signed(" ", answer.lines or (answer.text,), "$text-error" if answer.failed else "")
        return
    yield Content.styled(f"    was {clean_line(old.text, SHOWN)}", "$foreground-muted")
    yield Content.assemble("    now ", *_marked(clean_line(old.text, SHOWN), clean_line(answer.text, SHOWN)))


def _difference(old: Answer, new: Answer) -> Iterator[Content]:
    """Yield the lines of the new answer; lines that came and went have a plus and a minus sign."""
    before, after = old.lines or (old.text,), new.lines or (new.text,)
    for kind, low, high, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from _signed(" ", after[start:end], "")
        else:
            yield from _signed("-", before[low:high], "$text-error")
            yield from _signed("+", after[start:end], "bold $text-success")


def _signed(sign: str, lines: Iterable[str], style: str) -> Iterator[Content]:
    return (Content.styled(f"  {sign} {clean_line(line, SHOWN)}", style) for line in lines)


def _marked(old: str, new: str) -> Iterable[tuple[str, str]]:
    """Split ``new`` into the beginning and the end that ``old`` shares, and mark the part between them."""
    start = _alike(old, new)
    end = min(_alike(old[::-1], new[::-1]), len(new) - start, len(old) - start)
    return (
        (new[:start], ""),
        (new[start : len(new) - end], "bold reverse"),
        (new[len(new) - end :] if end else "", ""),
    )


def _alike(old: str, new: str) -> int:
    pairs = enumerate(zip_longest(old, new))
    return next((index for index, (one, other) in pairs if one != other), len(new))


def change_words(result: CallResult, before: CallResult) -> str:
    """Describe in a few words how a reload changed a pinned call's answers; empty if it changed none."""
    old = {answer.who: answer.text for answer in before.answers}
    new = {answer.who: answer.text for answer in result.answers}
    changed = sum(old.get(who) != new.get(who) for who in old.keys() | new.keys())
    return f"{clean_line(str(result.call), 60)}: {count(changed, 'answer')} changed" if changed else ""
