from __future__ import annotations

from pathlib import Path

from hotload_tui.core.model import Fault, Frame, PluginState, PluginStatus
from hotload_tui.tui.text import failing_file, failing_line, moved_text
from hotload_tui.tui.widgets.error_view import FaultOptions, fault_text

STATUS = PluginStatus("p", PluginState.FAIL, "/project/plugins/p")
OPTIONS = FaultOptions(Path("/project"))


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
