import pytest

from hotload_tui.cli.report import fault_lines, table
from hotload_tui.core.model import Fault, Frame, PluginState, PluginStatus


def shown(source: str, *, column: int, end_column: int, end_line: int = 5) -> list[str]:
    """Return the printed lines of a fault in line 5 of a plugin."""
    frame = Frame(
        "/p/plugin.py",
        5,
        "go",
        "plugin",
        end_line=end_line,
        column=column,
        end_column=end_column,
        lines=("before", source, "after"),
        first_line=4,
    )
    fault = Fault("load", "greet", "ValueError", "no", 0.0, frames=(frame,))
    return list(fault_lines(fault))[2:]


@pytest.mark.parametrize(
    ("source", "column", "end_column", "carets"),
    [
        ("    x = 1 / 0", 8, 13, "    ^^^^^"),
        ("\tx =\t1 / 0", 5, 10, "   \t^^^^^"),
        ("s = '日本' + 1", 4, 12, "    ^^^^^^^^^^"),
        ("'日本' + x", 7, 8, "         ^"),
        ("x", 0, 1, "^"),
        ("x = f(", 4, -1, "    ^"),
    ],
)
def test_carets_are_under_the_failing_expression(
    source: str, column: int, end_column: int, carets: str
) -> None:
    """The carets are under the failing expression, even with tabs and wide letters."""
    assert shown(source, column=column, end_column=end_column) == [
        f"    5 | {source.strip()}",
        f"      | {carets}",
    ]


def test_an_expression_over_several_lines_is_marked_to_the_end() -> None:
    """An expression of several lines is marked to the end of its first line."""
    assert shown("x = f(a,  ", column=4, end_column=2, end_line=6)[1] == "      |     ^^^^"


def test_without_a_column_there_are_no_marks() -> None:
    """If only the line is known, no carets are printed."""
    assert shown("x = 1", column=-1, end_column=-1) == ["    5 | x = 1"]


def test_only_the_plugins_own_frames_are_shown() -> None:
    """Frames of libraries are left out, unless there are no others; then the last one is shown."""
    library = Frame("/lib/json.py", 9, "loads", "library")
    own = Frame("/p/plugin.py", 2, "go", "plugin")
    both = Fault("hook", "greet", "E", "m", 0.0, frames=(own, library))
    assert list(fault_lines(both)) == ["greet: hook: E: m", "  /p/plugin.py:2, in go"]
    alien = Fault("hook", "greet", "E", "m", 0.0, frames=(library,))
    assert list(fault_lines(alien)) == ["greet: hook: E: m", "  /lib/json.py:9, in loads"]


def test_notes_and_causes_follow() -> None:
    """Notes, causes and contexts of an exception are printed below it."""
    cause = Fault("load", "greet", "KeyError", "'x'", 0.0, relation="cause")
    context = Fault("load", "greet", "OSError", "gone", 0.0, relation="context")
    fault = Fault("load", "greet", "E", "m", 0.0, notes=("did you mean y?",), causes=(cause, context))
    assert list(fault_lines(fault)) == [
        "greet: load: E: m",
        "  note: did you mean y?",
        "  caused by KeyError: 'x'",
        "  while handling OSError: gone",
    ]


def test_an_error_that_was_reported_twice_is_shown_once() -> None:
    """A context with the same type, message and place as the fault is not printed."""
    place = Frame("/p/plugin.py", 2, "", "plugin")
    echo = Fault("compile", "greet", "SyntaxError", "bad", 0.0, frames=(place,), relation="context")
    fault = Fault("compile", "greet", "SyntaxError", "bad", 0.0, frames=(place,), causes=(echo,))
    assert list(fault_lines(fault)) == ["greet: compile: SyntaxError: bad", "  /p/plugin.py:2"]


def test_columns_are_aligned() -> None:
    """The table's columns are aligned, even with wide letters."""
    statuses = [PluginStatus(name, PluginState.NEW, "") for name in ("a", "日本語", "long-name")]
    lines = table(statuses)
    assert [line.split() for line in lines[1:]] == [
        ["?", "new", name, "-", "-", "-", "-", "-"] for name in ("a", "日本語", "long-name")
    ]
    assert [line.index("-  ") for line in lines[1:3]] == [18, 15]
