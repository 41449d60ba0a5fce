from __future__ import annotations

import time
from operator import attrgetter
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.keys import format_key

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.errors import ConfigError
from hotload_tui.tui.app import ConsoleApp
from hotload_tui.tui.dialogs import STATES, HelpRow, key_row
from hotload_tui.tui.keys import COMMANDS, GROUPS, check_keys
from hotload_tui.tui.screen import ConsoleScreen
from tests.tui.fakes import Manager

ROOT = Path(__file__).parents[2]
HELP_AT_80 = 70  # cells of a line of the help: the rest is frame, padding and scroll bar


def test_every_key_is_in_the_documentation() -> None:
    """The page about the console names each key, as it is written on a keyboard."""
    page = (ROOT / "docs" / "console.md").read_text("utf-8")
    keys = {binding.key for group in GROUPS for binding in Binding.make_bindings(group) if binding.id}
    written = {shown if (shown := format_key(key)).isascii() else key for key in keys}
    assert [key for key in sorted(written) if f"`{key}`" not in page] == []


def test_every_line_of_the_help_fits_into_80_columns() -> None:
    """No meaning of a key or a state is wrapped in the smallest usual terminal."""
    bindings = [binding for group in GROUPS for binding in Binding.make_bindings(group)]
    keys = [HelpRow("", binding.id or "", binding.tooltip) for binding in bindings if binding.tooltip]
    lines = [line.plain for line in map(key_row, (*keys, *STATES))]
    assert [line for line in lines if len(line) > HELP_AT_80] == []


@pytest.mark.parametrize("command", dict.fromkeys(command.run for command in COMMANDS))
def test_every_command_has_its_method(tmp_path: Path, command: str) -> None:
    """Each command of a key or of the palette names a method, and an operation that the manager has."""
    path, *arguments = command.split()
    owner = ConsoleApp if path.startswith("app.") else ConsoleScreen(Manager(), tmp_path, {}, time.time)
    assert callable(attrgetter(path.removeprefix("app."))(owner))
    assert path != "actions.request" or hasattr(ManagerApi, arguments[0])


def test_known_names_with_free_keys_are_accepted() -> None:
    """Any binding can have another key or several keys, and two bindings can swap theirs."""
    check_keys({})
    check_keys({"rebuild": "f5,ctrl+r", "help": "m"})
    check_keys({"rebuild": "d", "toggle": "r"})


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    """A misspelled binding is refused with the nearest name."""
    with pytest.raises(ConfigError, match=r'\[keys\] rebiuld: no such binding; did you mean "rebuild"'):
        check_keys({"rebiuld": "x"})


def test_a_key_that_is_taken_is_refused_with_its_owner() -> None:
    """A key that another binding has is refused with the names of both."""
    with pytest.raises(ConfigError, match='"q" would be both "quit" and "rebuild"'):
        check_keys({"rebuild": "q"})
    with pytest.raises(ConfigError, match='"question_mark" would be both'):
        check_keys({"rebuild": "?"})


@pytest.mark.parametrize("key", ["", " ", "x,"])
def test_no_key_at_all_is_refused(key: str) -> None:
    """An empty key is refused."""
    with pytest.raises(ConfigError, match="no key is named"):
        check_keys({"rebuild": key})


@pytest.mark.parametrize("key", ["foo+bar", "foo", "ctrl+", "ctrl+foo", "strg+x", "x,f99"])
def test_what_is_no_key_is_refused(key: str) -> None:
    """A key that no terminal can send is refused with the file's name."""
    with pytest.raises(ConfigError, match=r'^my.toml: \[keys\] quit = ".*": there is no key "'):
        check_keys({"quit": key}, "my.toml")


@pytest.mark.parametrize("key", ["m", "X", "?", "question_mark", "comma", "f5", "ctrl+x", "alt+up", "ö", "+"])
def test_all_keys_of_a_keyboard_are_accepted(key: str) -> None:
    """Characters, key names and keys with modifiers are accepted."""
    check_keys({"quit": key, "help": "f11", "maximise": "f12", "settings": "f9"})
