from __future__ import annotations

import pytest

from hotload_tui.core.model import Fault, HandlerCall, Invocation
from hotload_tui.tui.calls import CallResult, HookCall, call_result, change_words, result_text


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        ("", ()),
        ('"Ada", 3', ("Ada", 3)),
        ('{"a": [1, null]}', ({"a": [1, None]},)),
        ("Ada Lovelace", ("Ada Lovelace",)),
        ("3", (3,)),
        ("[1", ("[1",)),
    ],
)
def test_what_is_typed_is_json_or_else_one_text(typed: str, arguments: tuple[object, ...]) -> None:
    """JSON values separated by commas are arguments, and any other text is a single argument."""
    assert HookCall("greet", typed).arguments == (arguments, {}, "")


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("times=3", "greet(times=3)"),
        ('"Ada", times = 3, sep=", a=b"', "greet('Ada', times=3, sep=', a=b')"),
        ("name=Ada Lovelace, times=3", "greet(name='Ada Lovelace', times=3)"),
        ("Ada Lovelace, times=3", "greet('Ada Lovelace', times=3)"),
        ("text=one, two", "greet(text='one, two')"),
        ("name=", "greet(name='')"),
        ('"a=b"', "greet('a=b')"),
        ("a == b, 1=2", "greet('a == b, 1=2')"),
        ("http://host/?q=1", "greet('http://host/?q=1')"),
        ("3, four", "greet('3, four')"),
        ('{"a": "b=1"}, "c"', "greet({'a': 'b=1'}, 'c')"),
        ("a=1, 2", "greet(2, a=1)"),
        ("1, 2,", "greet('1, 2,')"),
    ],
)
def test_a_name_before_a_value_makes_it_a_keyword_argument(typed: str, written: str) -> None:
    """``name=value`` is a keyword argument with a JSON or text value; a quoted text is never one."""
    assert str(HookCall("greet", typed)) == written


def result(*texts: object, call: HookCall | None = None) -> CallResult:
    """Return a result in which each handler returned one of these texts."""
    handlers = tuple(HandlerCall("p", f"f{number}", failed=False) for number in range(len(texts)))
    invocation = Invocation(texts, (), (0.001,) * len(texts), handlers)
    return call_result(call or HookCall("greet", ""), 0.0, invocation)


def test_each_handler_has_its_own_value_or_fault_and_time() -> None:
    """Each handler has its own value or fault and its duration, in the order of the calls."""
    invocation = Invocation(
        (1, 3),
        (Fault("hook", "b", "ValueError", "no", 0.0),),
        (0.001, 0.002, 0.003),
        (
            HandlerCall("a", "f", failed=False),
            HandlerCall("b", "g", failed=True),
            HandlerCall("c", "h", failed=False),
        ),
    )
    text = result_text(call_result(HookCall("p", "7"), 0.0, invocation), None, pinned=False).plain
    lines = [line.strip() for line in text.split("\n")]
    assert lines[0].startswith("p(7)")
    assert lines[0].endswith("6.0 ms")
    assert lines[1:] == ["a.f  1.0 ms", "1", "! b.g  2.0 ms", "ValueError: no", "c.h  3.0 ms", "3"]


def test_what_changed_is_marked_by_more_than_colour() -> None:
    """After a reload a changed answer has a star, with the old value above the new one."""
    before, after = result("Hi, Ada", "same"), result("Hello, Ada", "same")
    text = result_text(after, before, pinned=True).plain
    assert "* p.f0" in text
    assert "was 'Hi, Ada'" in text
    assert "now 'Hello, Ada'" in text
    assert "* p.f1" not in text
    assert change_words(after, before) == "greet(): 1 answer changed"
    assert change_words(before, before) == ""


@pytest.mark.parametrize(("old", "new"), [("ab", "aab"), ("aab", "ab"), ("", "x"), ("aaaa", "aa"), ("x", "")])
def test_the_new_answer_is_whole_whatever_was_cut_out_as_changed(old: str, new: str) -> None:
    """However the change is marked, the new answer is shown without a lost or doubled character."""
    assert f"now {new!r}" in result_text(result(new), result(old), pinned=True).plain


def shown(value: object) -> list[str]:
    """Return the lines below the handler's name."""
    lines = result_text(result(value), None, pinned=False).plain.split("\n")[2:]
    return [line.removeprefix("    ") for line in lines]


def test_values_are_laid_out() -> None:
    """A text is shown as text, records are a table, and other data has one item per line if it is long."""
    assert shown("one line") == ["'one line'"]
    assert shown("# Title\n\n<b>text</b>\n") == ["# Title", "", "<b>text</b>", ""]
    assert shown([{"id": 1, "name": "an apple"}, {"id": 20, "name": "日本"}]) == [
        "id  name",
        " 1  an apple",
        "20  日本",
    ]
    assert shown({"a": [1, 2]}) == ["{'a': [1, 2]}"]
    nested = {"rates": {f"currency {number}": number / 10 for number in range(4)}, "ok": True}
    assert shown(nested) == [
        "{'rates': {'currency 0': 0.0,",
        "           'currency 1': 0.1,",
        "           'currency 2': 0.2,",
        "           'currency 3': 0.3},",
        " 'ok': True}",
    ]
    assert shown([{"id": 1}, {"name": 2}]) == ["[{'id': 1}, {'name': 2}]"], "these are no records"
    assert shown("\n".join(map(str, range(100))))[-1] == "… 40 more lines"


def test_a_change_of_a_long_value_is_shown_line_by_line() -> None:
    """Lines that came have a plus sign, lines that went have a minus sign, and the others are shown once."""
    before, after = result("one\ntwo\nthree"), result("one\n2\nthree")
    lines = result_text(after, before, pinned=True).plain.split("\n")[1:]
    assert lines == ["* p.f0  1.0 ms", "    one", "  - two", "  + 2", "    three"]
    records = [{"id": 1, "price": 2.5}, {"id": 2, "price": 3.0}]
    changed = [{"id": 1, "price": 2.5}, {"id": 2, "price": 4.0}]
    text = result_text(result(changed), result(records), pinned=True).plain
    assert "     1    2.5\n  -  2    3.0\n  +  2    4.0" in text


def test_handlers_that_came_and_went_are_shown() -> None:
    """A new handler has a plus sign, and one that no longer answers is named."""
    text = result_text(result("a", "b"), result("a"), pinned=True).plain
    assert "+ p.f1" in text
    text = result_text(result("a"), result("a", "b"), pinned=True).plain
    assert "- p.f1 does not answer any more" in text
