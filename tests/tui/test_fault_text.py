from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from msgspec.structs import replace

from hotload_tui.core.model import Fault, Frame, PluginState, PluginStatus
from hotload_tui.tui.chain import failing_file, failing_line, moved_text
from hotload_tui.tui.widgets.error_view import FaultOptions, fault_text

STATUS = PluginStatus("p", PluginState.FAIL, "/project/plugins/p")
OPTIONS = FaultOptions(Path("/project"))
TIMES = "\N{MULTIPLICATION SIGN}"


def frame(line: str, column: int = -1, end: int = -1, owner: str = "plugin", number: int = 7) -> Frame:
    """Return a frame with one line of source."""
    return Frame(
        "/project/plugins/p/plugin.py",
        number,
        "f",
        "library" if owner == "library" else "plugin",
        end_line=number,
        column=column,
        end_column=end,
        lines=(line,),
        first_line=number,
    )


def text(fault: Fault, options: FaultOptions = OPTIONS) -> list[str]:
    """Return the lines of the fault's text."""
    return fault_text(STATUS, fault, "", options).plain.split("\n")


def fault(*frames: Frame, causes: tuple[Fault, ...] = (), message: str = "m") -> Fault:
    """Return a fault with these frames."""
    return Fault("load", "p", "E", message, 0.0, frames=frames, causes=causes)


def test_carets_are_aligned_under_wide_characters_and_tabs() -> None:
    """The carets are aligned in cells, with wide characters and tabs before them."""
    shown = text(fault(frame("\tx = '漢字' + 1/0", 12, 15)))
    source = next(line for line in shown if line.startswith("> 7 |"))
    carets = shown[shown.index(source) + 1]
    assert source == "> 7 |     x = '漢字' + 1/0"
    assert carets == "    |                  ^^^"


def test_a_place_without_columns_has_no_carets() -> None:
    """Without columns, only the line is marked."""
    assert not any("^" in line for line in text(fault(frame("x = 1"))))


def test_an_error_at_the_end_of_a_line_has_one_caret_behind_it() -> None:
    """A syntax error after the last character has one caret there."""
    assert "    |    ^" in text(fault(frame("f((", 3, 3)))


def test_a_fault_with_library_frames_only_shows_them() -> None:
    """Library frames are not folded if there are no others."""
    shown = text(fault(frame("boom()", owner="library")))
    assert any("boom()" in line for line in shown)
    assert not any("folded" in line for line in shown)


def test_consecutive_foreign_frames_are_one_counted_line() -> None:
    """Consecutive frames of host and libraries are one line with their count."""
    frames = [frame("a()"), *(frame("b()", owner="library") for _ in range(3)), frame("c()")]
    shown = text(fault(*frames))
    assert sum("3 frames of the host and libraries folded" in line for line in shown) == 1
    assert not any("b()" in line for line in shown)


def test_members_of_a_group_are_numbered() -> None:
    """Each exception of a group is a block with its number and the group's size."""
    members = tuple(Fault("load", "p", name, "", 0.0, relation="member") for name in ("KeyError", "OSError"))
    shown = text(fault(causes=members))
    assert [line for line in shown if "in the group" in line] == [
        "1 of 2 in the group",
        "2 of 2 in the group",
    ]


def test_a_long_message_is_wrapped_and_its_lines_are_kept() -> None:
    """A long message is wrapped to the pane, and its line breaks are kept."""
    shown = text(fault(message="word " * 30 + "\nsecond"), OPTIONS._replace(width=40))
    assert all(len(line) <= 40 for line in shown)
    assert "second" in shown


def test_hostile_text_is_shown_and_not_interpreted() -> None:
    """Markup and escape sequences in messages, names and source are shown as plain characters."""
    hostile = Frame(
        "/x/\x1b[2J", 1, "[/b]\x1b]0;t\x07", "plugin", lines=("'\x1b[31m' [/x]",), locals=(("\x00", "\x1b"),)
    )
    shown = "\n".join(text(fault(hostile, message="[/red]\x1b[2J\u202e"), OPTIONS._replace(locals=True)))
    assert "[/red]" in shown
    assert "[/x]" in shown
    assert not any(character in shown for character in "\x1b\x07\x00\u202e")


def test_the_editor_goes_to_where_the_line_is_now() -> None:
    """The editor opens the equal line in the current file that is nearest to the failing one."""
    status = PluginStatus("p", PluginState.FAIL, "/project/plugins/p", fault=fault(frame("boom()", number=2)))
    assert failing_file(status) == "plugin.py"
    assert failing_line(status, "a\nboom()\n") == 2
    assert failing_line(status, "a\nb\nc\nboom()\n" + "d\n" * 9 + "boom()\n") == 4
    assert failing_line(status, "rewritten\n") == 2


def test_a_line_that_is_gone_is_said_to_be_gone() -> None:
    """If the failing line is not in the file any more, the text says so."""
    assert "no longer contains the text of line" in moved_text(fault(frame("boom()")), "rewritten\n")
    assert moved_text(fault(frame("boom()", number=1)), "boom()\n") == ""


def test_a_fault_outside_the_plugin_leads_to_its_entry() -> None:
    """For a fault in a library's file, the editor opens plugin.py at its top."""
    foreign = Frame("/usr/lib/json.py", 9, "loads", "library")
    status = PluginStatus("p", PluginState.FAIL, "/project/plugins/p", fault=fault(foreign))
    assert (failing_file(status), failing_line(status, "x\n")) == ("plugin.py", 1)


def test_the_editor_opens_the_file_of_a_plugin_that_is_one_file() -> None:
    """For a single file, the editor opens that file, also if the fault is in another plugin's."""
    other, own = (Frame(f"/project/plugins/{name}.py", 9, "f", "plugin") for name in ("q", "p"))
    for place, line in ((other, 1), (own, 9)):
        status = PluginStatus(
            "p", PluginState.FAIL, "/project/plugins/p.py", fault=fault(place), entry="p.py"
        )
        assert (str(status.folder), failing_file(status)) == ("/project/plugins", "p.py")
        assert failing_line(status, "x\n" * 12) == line


def test_an_error_that_was_reported_twice_is_shown_once() -> None:
    """A context with the same type, message and place is not shown, but its own context is."""
    place = frame("x = (")
    deep = Fault("load", "p", "KeyError", "'k'", 0.0, relation="context")
    echo = Fault("load", "p", "E", "m", 0.0, frames=(place,), causes=(deep,), relation="context")
    shown = text(fault(place, causes=(echo,)))
    assert shown.count("E: m") == 1
    assert shown.count("while this was being handled") == 1
    assert "KeyError: 'k'" in shown
    other = Fault("load", "p", "E", "m", 0.0, frames=(frame("y = (", number=9),), relation="context")
    assert text(fault(place, causes=(other,))).count("E: m") == 2


def chained(relation: Literal["cause", "context"], raising: str = "raise PluginError() from error") -> Fault:
    """Return a ``PluginError`` in place of a ``KeyError``, both of one function of the plugin."""
    key = Fault("hook", "p", "KeyError", "'EUR'", 0.0, frames=(frame("RATES[c]", 0, 8),), relation=relation)
    library = frame("run()", owner="library")
    return Fault(
        "hook", "p", "PluginError", "no rate", 0.0, frames=(library, frame(raising, number=9)), causes=(key,)
    )


@pytest.mark.parametrize("relation", ["cause", "context"])
def test_the_root_cause_comes_first(relation: Literal["cause", "context"]) -> None:
    """The first line shows the chain, then come the root cause and its frame, then what it has caused."""
    broken = chained(relation)
    shown = text(broken)
    assert shown[:2] == ["PluginError ← KeyError: 'EUR'", "KeyError: 'EUR'"]
    order = [
        next(index for index, line in enumerate(shown) if part in line)
        for part in ("plugin.py:7", "the above", "PluginError: no rate", "plugin.py:9", "1 frame of the host")
    ]
    assert order == sorted(order)
    status = PluginStatus("p", PluginState.FAIL, "/project/plugins/p", fault=broken)
    assert failing_line(status, None) == 7


def test_an_exception_that_was_handled_when_other_code_failed_comes_last() -> None:
    """If a call in an ``except`` block fails, that call is the line to fix, and no cause stands before it."""
    shown = text(chained("context", raising="return convert(c)"))
    assert shown[0] == "PluginError: no rate"
    assert shown.index("while this was being handled") > shown.index("> 9 | return convert(c)")


def test_exceptions_that_only_libraries_have_seen_are_one_line() -> None:
    """Below the root cause, exceptions without a frame of the plugin are named in one line until ``x``."""
    inner: tuple[Fault, ...] = ()
    for kind in ("OSError", "RetryError", "ConnectionError"):
        own = (frame("get()"),) if kind == "ConnectionError" else ()
        frames = (*own, frame("raise", owner="library"))
        inner = (Fault("hook", "p", kind, kind, 0.0, frames=frames, causes=inner, relation="cause"),)
    shown = text(inner[0])
    assert shown[:2] == ["ConnectionError ← RetryError ← OSError: OSError", "OSError: OSError"]
    assert "RetryError and 2 frames of the host and libraries folded (x shows)" in shown
    assert "RetryError: RetryError" not in shown
    assert "RetryError: RetryError" in text(inner[0], OPTIONS._replace(folded=False))


def test_the_members_of_a_group_come_before_its_own_frames() -> None:
    """Below the message of a group come its members with their frames, then the line that raised it."""
    members = (Fault("load", "p", "KeyError", "1", 0.0, frames=(frame("boom()"),), relation="member"),)
    shown = text(fault(frame("raise", number=9), causes=members, message="all (1 sub-exception)"))
    assert shown[0] == "E: all (1 sub-exception)"
    assert shown.index("> 7 | boom()") < shown.index("the group") < shown.index("> 9 | raise")


def test_a_long_message_is_folded() -> None:
    """Of a message or note of more than ten lines, three are shown until ``x``; ten are shown at once."""
    long, short = ("\n".join(map(str, range(number))) for number in (11, 10))
    assert text(fault(message=long))[:4] == ["E: 0", "1", "2", "… 8 more lines (x shows)"]
    assert "10" in text(fault(message=long), OPTIONS._replace(folded=False))
    assert "9" in text(fault(message=short))
    assert text(replace(fault(), notes=(long,)))[1:5] == ["0", "1", "2", "… 8 more lines (x shows)"]


def test_repeated_frames_are_one() -> None:
    """Frames of a recursion are one frame with their number, also if several functions take turns."""
    one, other = frame("one()"), frame("other()", number=9)
    shown = text(fault(replace(one, repeats=240), *[one] * 59))
    assert [line for line in shown if "plugin.py:7" in line] == [f"plugins/p/plugin.py:7 in f  {TIMES} 299"]
    shown = text(fault(other, *[one, other] * 20))
    assert [line for line in shown if "plugin.py" in line] == [
        f"plugins/p/plugin.py:9 in f  {TIMES} 20",
        f"plugins/p/plugin.py:7 in f  {TIMES} 20",
        "plugins/p/plugin.py:9 in f",
    ]
    assert not any(TIMES in line for line in text(fault(one, one)))


def test_code_that_is_cut_is_marked() -> None:
    """If a failing expression goes on below the last line shown, a line says so, and ``x`` shows the rest."""
    lines = ("f(", *map(str, range(9)), ")")
    long = Frame("/project/plugins/p/plugin.py", 1, "f", "plugin", end_line=11, lines=lines)
    assert "    … 6 more lines of this expression (x shows them)" in text(fault(long))
    assert not any("more line" in line for line in text(fault(long), OPTIONS._replace(folded=False)))
    cut = replace(long, lines=lines[:8])
    assert any(
        "3 more lines of this expression" in line for line in text(fault(cut), OPTIONS._replace(folded=False))
    )


def test_the_cursor_shows_the_locals_of_its_frame_alone() -> None:
    """A sign marks the frame under the cursor, and only this frame shows its local variables."""
    first, second = (replace(frame("x"), locals=((name, "1"),), function=name) for name in ("one", "two"))
    shown = text(fault(first, second), OPTIONS._replace(locals=True, cursor=1))
    assert "▶ plugins/p/plugin.py:7 in one" in shown
    assert "    one = 1" in shown
    assert "    two = 1" not in shown
