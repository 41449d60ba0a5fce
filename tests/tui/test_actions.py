from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.screen import ModalScreen

from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui.actions import NOTHING_SELECTED, Actions, Restart
from hotload_tui.tui.keys import COMMANDS
from hotload_tui.tui.requests import CloseUp
from hotload_tui.tui.selection import Selection
from hotload_tui.tui.widgets.log_view import LogBook
from hotload_tui.tui.widgets.plugin_table import PluginTable
from tests.tui.fakes import Manager, Timers, plugin, snapshot


class Screen:
    """Records what actions ask of the screen, and accepts a dialog when the test does."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.accept: Callable[[], None] = lambda: None
        self.dialogs: list[str] = []
        self.edited: list[tuple[Path, int]] = []
        self.copied: list[str] = []

    def say(self, text: str, *, bad: bool = False) -> None:  # noqa: ARG002 - the screen's signature
        """Record a toast."""
        if text:
            self.said.append(text)

    def open(self, dialog: ModalScreen[None]) -> None:
        """Record a dialog."""
        self.dialogs.append(type(dialog).__name__)

    def ask(self, dialog: ModalScreen[bool], accepted: Callable[[], None]) -> None:
        """Record a dialog and what follows if the user accepts."""
        self.dialogs.append(type(dialog).__name__)
        self.accept = accepted

    def edit(self, file: Path, line: int) -> None:
        """Record the place."""
        self.edited.append((file, line))

    def copy(self, text: str) -> None:
        """Record the text."""
        self.copied.append(text)

    def show_made(self, plugin: PluginStatus) -> None:
        """Record the plugin."""
        self.said.append(f"made {plugin.name}")


class Room:
    """Actions on some plugins, the first of which is selected."""

    def __init__(self, *plugins: PluginStatus, paused: bool = False, restart: Restart | None = None) -> None:
        self.screen, self.manager = Screen(), Manager()
        table = PluginTable(time.time)
        table.chosen = plugins[0].name if plugins else ""
        selection = Selection(table, lambda _: None, lambda _: None, Timers().set)
        selection.take(snapshot(*plugins, paused=paused), CloseUp())
        self.actions = Actions(
            self.screen,
            self.manager,
            self.manager.requests(),
            selection,
            project=Path("/project"),
            book=LogBook(time.time),
            host={"restart": restart} if restart else {},
        )
        self._selection = selection

    def run(self, command: str) -> None:
        """Run a command of ``keys.py``, as the screen does."""
        path, *arguments = command.removeprefix("actions.").split()
        getattr(self.actions, path)(*arguments)

    def is_offered(self, command: str) -> bool:
        """Return whether a command is offered for the selected plugin."""
        return self.actions.is_offered(command, self._selection.plugin)


@pytest.mark.parametrize(
    "command",
    ["actions.report", *(each.run for each in COMMANDS if each.entry and "{}" in each.entry.title)],
)
def test_without_a_selected_plugin_an_action_says_why_it_does_nothing(command: str) -> None:
    """The empty table names the key that makes a plugin."""
    it = Room()
    it.run(command)
    assert it.screen.said == [NOTHING_SELECTED]


def test_an_operation_on_the_selected_plugin_needs_only_its_name() -> None:
    """A command of ``keys.py`` passes the plugin to the manager's operation that it names."""
    it = Room(plugin("one"), plugin("two"))
    it.run("actions.request clean")
    it.manager.finish()
    assert it.manager.commands == ["clean one"]


def test_a_plugin_that_is_off_is_not_rebuilt() -> None:
    """The toast names the key that enables it."""
    it = Room(plugin("one", PluginState.OFF))
    it.actions.rebuild()
    assert it.screen.said == ["one is off; d enables it."]


@pytest.mark.parametrize(
    ("wanted", "after", "said"),
    [
        (1, 4, "generation 1 is live again as generation 4, held"),
        (1, 3, "generation 1 is the same version as generation 3, which stays live, held"),
        (3, 3, "generation 3 stays live, held"),
    ],
)
def test_a_rollback_says_what_is_live(
    monkeypatch: pytest.MonkeyPatch, wanted: int, after: int, said: str
) -> None:
    """The toast says whether another version was loaded; the live one may be the wanted one already."""
    it = Room(plugin("one", generation=3))
    monkeypatch.setattr(it.manager, "snapshot", lambda: snapshot(plugin("one", generation=3)))
    monkeypatch.setattr(
        it.manager, "rollback", lambda name, _: plugin(name, PluginState.HELD, generation=after)
    )
    it.actions.roll_back("one", wanted)
    it.manager.finish()
    assert it.screen.said == [f"one: {said}; z takes it back, h releases it"]


def test_all_artifacts_are_removed_only_if_the_user_accepts() -> None:
    """The action asks; the command follows the answer."""
    it = Room(plugin("one"))
    it.actions.clean_all()
    assert (it.screen.dialogs, it.manager.commands) == (["ConfirmScreen"], [])
    it.screen.accept()
    it.manager.finish()
    assert it.manager.commands == ["clean all"]


def test_a_plan_is_carried_out_for_the_plugins_that_it_is_about() -> None:
    """An accepted plan for one plugin rebuilds this plugin, and a plan for all rebuilds what changed."""
    it = Room(plugin("one"))
    for request in (it.actions.plan_plugin, it.actions.plan):
        request()
        it.manager.finish()
        it.screen.accept()
        it.manager.finish()
    assert it.manager.commands == ["plan one", "rebuild one by force", "plan all", "rebuild all"]


@pytest.mark.parametrize(
    ("room", "offered", "other"),
    [
        (Room, "pause", "resume"),
        (lambda: Room(paused=True), "resume", "pause"),
        (lambda: Room(plugin("one")), "request disable", "request enable"),
        (lambda: Room(plugin("one", PluginState.OFF)), "request enable", "request disable"),
    ],
)
def test_one_key_has_the_command_that_makes_sense(room: Callable[[], Room], offered: str, other: str) -> None:
    """It depends on the state as of the last read; the other command of the pair is not offered."""
    it = room()
    assert it.is_offered(f"actions.{offered}")
    assert not it.is_offered(f"actions.{other}")


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_watching_is_paused_and_resumed(command: str) -> None:
    """Each of the two commands goes to the manager."""
    it = Room()
    it.run(f"actions.{command}")
    it.manager.finish()
    assert it.manager.commands == [command]


def test_a_host_that_answers_is_restarted_only_if_the_user_accepts() -> None:
    """A host that hangs is restarted at once; another program's host is not restarted."""
    asked: list[bool] = []

    def hangs(*, anyway: bool) -> str:
        asked.append(anyway)
        return ""

    def is_well(*, anyway: bool) -> str:
        asked.append(anyway)
        return "" if anyway else "The host is well."

    hanging, well, foreign = Room(restart=hangs), Room(restart=is_well), Room()
    hanging.actions.restart()
    assert (hanging.screen.dialogs, asked) == ([], [False])
    well.actions.restart()
    assert (well.screen.dialogs, asked) == (["ConfirmScreen"], [False, False])
    well.screen.accept()
    assert asked == [False, False, True]
    foreign.actions.restart()
    assert foreign.screen.said == ["The host is another program; restart it there."]


def test_the_editor_opens_the_entry_of_a_plugin_without_a_fault() -> None:
    """The path begins at the project."""
    it = Room(plugin("one"))
    it.actions.edit()
    assert it.screen.edited == [(Path("/project/plugins/one/plugin.py"), 1)]


def test_the_settings_of_a_program_without_files_are_not_shown() -> None:
    """A toast says who made the configuration."""
    it = Room()
    it.actions.show_settings()
    assert it.screen.said == ["The program made its configuration itself: no file says it."]
