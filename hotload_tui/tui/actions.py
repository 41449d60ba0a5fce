"""``Actions``: what keys and the palette do beside the view: commands, dialogs, the editor, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from textual.screen import ModalScreen

from hotload_tui.core.config_files import Resolved
from hotload_tui.core.model import Plan, PluginStatus
from hotload_tui.tui.dialogs import AskNameScreen, ConfirmScreen, PlanScreen, SettingsScreen
from hotload_tui.tui.requests import NOTHING_SELECTED, Requests
from hotload_tui.tui.selection import Selection
from hotload_tui.tui.text import failing_file, failing_line
from hotload_tui.tui.widgets.error_view import LINES, FailureReport
from hotload_tui.tui.widgets.log_view import LogBook


class Restart(Protocol):
    """Restarts the host."""

    def __call__(self, *, anyway: bool) -> str:
        """Restart a host that hangs, or with ``anyway`` any host; return why not, or an empty text."""
        ...


class Desk(Protocol):
    """The parts of the screen that actions use."""

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast; do nothing for an empty text."""

    def open(self, dialog: ModalScreen[None]) -> None:
        """Open a dialog."""

    def ask(self, dialog: ModalScreen[bool], accepted: Callable[[], None]) -> None:
        """Open a dialog, and call ``accepted`` if the user accepts."""

    def edit(self, file: Path, line: int) -> None:
        """Open the editor at a line."""

    def copy(self, text: str) -> None:
        """Copy a text to the clipboard and to a file."""


class Actions:
    """Turns keys into requests; a toast shows why a request makes no sense now."""

    def __init__(
        self,
        desk: Desk,
        requests: Requests,
        selection: Selection,
        project: Path,
        book: LogBook,
        *,
        restart: Restart | None,
        settings: Callable[[], Resolved] | None,
    ) -> None:
        """``restart`` is ``None`` where the console cannot restart the host.

        ``settings`` reads the configuration; ``None`` where a program created the configuration itself.
        """
        self._desk = desk
        self._requests = requests
        self._selection = selection
        self._project = project
        self._book = book
        self._restart = restart
        self._settings = settings

    def rebuild(self) -> None:
        """Rebuild the selected plugin."""
        self._desk.say(self._requests.rebuild(self._selection.plugin))

    def rebuild_all(self) -> None:
        """Rebuild the plugins that changed or fail, or every plugin if there are none."""
        self._desk.say(self._requests.rebuild_all())

    def enable(self) -> None:
        """Enable the selected plugin."""
        self._desk.say(self._requests.enable(self._selection.plugin))

    def disable(self) -> None:
        """Disable the selected plugin."""
        self._desk.say(self._requests.disable(self._selection.plugin))

    def clean(self) -> None:
        """Remove the selected plugin's artifacts."""
        self._desk.say(self._requests.clean(self._selection.plugin))

    def clean_all(self) -> None:
        """Ask, then remove all artifacts."""
        question = (
            "Remove the artifacts of all plugins? Live versions stay live; R builds the artifacts again."
        )
        self._desk.ask(ConfirmScreen(question, "Remove"), lambda: self._desk.say(self._requests.clean_all()))

    def new(self) -> None:
        """Ask for a name, then create a plugin."""
        self._desk.open(AskNameScreen(self._requests.new))

    def undo(self) -> None:
        """Undo the last disable, enable or clean."""
        self._desk.say(self._requests.undo())

    def release(self) -> None:
        """Release the selected plugin, so that it follows its source again."""
        self._desk.say(self._requests.release(self._selection.plugin))

    def roll_back(self, name: str, generation: int) -> None:
        """Roll a plugin back to an earlier generation."""
        self._desk.say(self._requests.rollback(name, generation))

    @property
    def is_paused(self) -> bool:
        """Whether the watcher collects saves instead of applying them."""
        snapshot = self._selection.snapshot
        return snapshot is not None and snapshot.watcher.paused

    def pause(self) -> None:
        """Collect saves for later, or apply the collected saves."""
        self._desk.say(self._requests.resume() if self.is_paused else self._requests.pause())

    def plan(self) -> None:
        """Request the plan for a rebuild of all that changed."""
        self._desk.say(self._requests.plan(None))

    def plan_plugin(self) -> None:
        """Request the plan for a rebuild of the selected plugin."""
        plugin = self._selection.plugin
        self._desk.say(self._requests.plan(plugin) if plugin else NOTHING_SELECTED)

    def show_plan(self, plan: Plan, plugin: PluginStatus | None) -> None:
        """Show the plan for ``plugin``, or for all, and carry it out if the user accepts it."""

        def accepted() -> None:
            self._desk.say(self._requests.rebuild(plugin) if plugin else self._requests.rebuild_all())

        self._desk.ask(PlanScreen(plan), accepted)

    def restart(self) -> None:
        """Restart a host that hangs, without the plugin that hangs; ask first if the host answers."""
        restart = self._restart
        if restart is None:
            self._desk.say("The host is another program; restart it there.")
        elif restart(anyway=False):
            question = "The host answers. Restart it all the same? What plugins keep in memory is lost."
            self._desk.ask(ConfirmScreen(question, "Restart"), lambda: self._desk.say(restart(anyway=True)))

    def show_settings(self) -> None:
        """Show each value of the configuration and its source."""
        if self._settings is None:
            self._desk.say("The program made its configuration itself: no file says it.")
            return
        snapshot = self._selection.snapshot
        fault = snapshot.host.config_fault if snapshot else ""
        self._desk.open(SettingsScreen(self._settings, fault, self._project))

    def edit(self) -> None:
        """Open the editor at the failing line of the selected plugin."""
        plugin, source = self._selection.plugin, self._selection.source
        if plugin is None:
            self._desk.say(NOTHING_SELECTED)
            return
        line = failing_line(plugin, source.disk if source else None)
        self._desk.edit(self._project / plugin.path / failing_file(plugin), line)

    def report(self, *, markdown: bool = False) -> None:
        """Copy the whole report about the selected plugin."""
        plugin, snapshot = self._selection.plugin, self._selection.snapshot
        if plugin is None or snapshot is None:
            self._desk.say(NOTHING_SELECTED)
            return
        closeup = self._selection.closeup
        newest = [self._book[i].text for i in range(max(0, len(self._book) - LINES), len(self._book))]
        report = FailureReport(
            plugin, snapshot.host, closeup.detail if closeup else None, newest, self._project
        )
        self._desk.copy(report.markdown() if markdown else report.plain())
