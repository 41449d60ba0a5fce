"""``Actions``: what keys and the palette do beside the view: commands, dialogs, the editor, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypedDict, TypeVar

from textual.screen import ModalScreen

from hotload_tui.core.api import ManagerApi, roll_back
from hotload_tui.core.config_files import Resolved
from hotload_tui.core.model import Plan, PluginState, PluginStatus
from hotload_tui.tui.chain import failing_file, failing_line
from hotload_tui.tui.dialogs import AskNameScreen, ConfirmScreen, PlanScreen, SettingsScreen
from hotload_tui.tui.programs import Debug
from hotload_tui.tui.requests import Requests
from hotload_tui.tui.selection import Selection
from hotload_tui.tui.text import clean_line, count
from hotload_tui.tui.widgets.error_view import LINES, FailureReport
from hotload_tui.tui.widgets.log_view import LogBook

NOTHING_SELECTED: Final = "No plugin is selected: the table is empty. n makes one."

_R = TypeVar("_R")


def _nothing(_: object) -> str:
    """Say nothing: events report the result."""
    return ""


class Restart(Protocol):
    """Restarts the host."""

    def __call__(self, *, anyway: bool) -> str:
        """Restart a host that hangs, or with ``anyway`` any host; return why not, or an empty text."""
        ...


class HostControls(TypedDict, total=False):
    """What the console can do with its host besides the operations of ``ManagerApi``."""

    start: Callable[[], None]
    """Scans, loads and watches; missing if another program does so."""
    stop: Callable[[], None]
    """Unloads the plugins; missing if they stay when the console ends."""
    restart: Restart
    debug: Debug
    settings: Callable[[], Resolved]
    """Reads the configuration; missing where a program created the configuration itself."""


class ScreenAccess(Protocol):
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

    def show_made(self, plugin: PluginStatus) -> None:
        """Show a plugin that was made from the template."""


class Actions:
    """Sends the user's commands to the manager; a toast shows why a command makes no sense now."""

    def __init__(
        self,
        screen: ScreenAccess,
        api: ManagerApi,
        requests: Requests,
        selection: Selection,
        *,
        project: Path,
        book: LogBook,
        host: HostControls,
    ) -> None:
        self._screen = screen
        self._api = api
        self._requests = requests
        self._selection = selection
        self._project = project
        self._book = book
        self._host = host

    def rebuild(self) -> None:
        """Compile and load the selected plugin again; events report the result."""
        self._rebuild(self._selection.plugin)

    def _rebuild(self, plugin: PluginStatus | None) -> None:
        if plugin is not None and plugin.state is PluginState.OFF:
            self._screen.say(f"{clean_line(plugin.name)} is off; d enables it.")
        else:
            self._request("rebuild", plugin, lambda name: self._api.rebuild(name, force=True))

    def rebuild_all(self) -> None:
        """Rebuild the plugins that changed or fail, or every plugin if there are none."""
        nothing = "There are no plugins to rebuild; n makes one."
        self._command("rebuild all", self._api.rebuild, lambda rebuilt: "" if rebuilt else nothing)

    def request(self, operation: str) -> None:
        """Run an operation of the manager on the selected plugin; events report the result."""
        run: Callable[[str], object] = getattr(self._api, operation)
        self._request(operation, self._selection.plugin, run)

    def clean(self) -> None:
        """Remove the selected plugin's artifacts."""
        plugin = self._selection.plugin

        def removed(number: int) -> str:
            name = clean_line(plugin.name) if plugin else ""
            return f"{name}: {count(number, 'artifact')} removed; r builds it again, z brings it back"

        self._request("clean", plugin, self._api.clean, removed)

    def clean_all(self) -> None:
        """Ask, then remove the artifacts of all plugins."""
        question = (
            "Remove the artifacts of all plugins? Live versions stay live; R builds the artifacts again."
        )

        def removed(number: int) -> str:
            return f"{count(number, 'artifact')} removed; R builds all again, z brings them back"

        self._screen.ask(
            ConfirmScreen(question, "Remove"),
            lambda: self._command("clean all", self._api.clean, removed),
        )

    def new(self) -> None:
        """Ask for a name, then create a plugin from the template."""

        def make(name: str) -> str:
            return self._requests.submit(f"new {name}", lambda: self._api.new(name), self._screen.show_made)

        self._screen.open(AskNameScreen(make))

    def undo(self) -> None:
        """Undo the last disable, enable, clean or rollback."""
        self._command("undo", self._api.undo, lambda undone: f"Taken back: {clean_line(undone)}")

    def release(self) -> None:
        """Release the selected plugin, so that it follows its source again."""
        plugin = self._selection.plugin
        if plugin is not None and not plugin.held:
            self._screen.say(f"{clean_line(plugin.name)} is not held: it follows its source.")
            return

        def released(status: PluginStatus) -> str:
            return f"{clean_line(status.name)} released: it follows its source again"

        self._request("release", plugin, self._api.release, released)

    def roll_back(self, name: str, generation: int) -> None:
        """Make an earlier generation live again, and hold the plugin there; it may be live already."""
        self._command(
            f"rollback {name}",
            lambda: roll_back(self._api, name, generation),
            lambda text: f"{clean_line(text)}; z takes it back, h releases it",
        )

    def is_offered(self, command: str, plugin: PluginStatus | None) -> bool:
        """Return whether a key or the palette offers a command: only one command of each pair makes sense."""
        snapshot = self._selection.snapshot
        is_off = plugin is not None and plugin.state is PluginState.OFF
        is_paused = snapshot is not None and snapshot.watcher.paused
        pairs = {
            "actions.request enable": is_off,
            "actions.request disable": not is_off,
            "actions.resume": is_paused,
            "actions.pause": not is_paused,
        }
        return pairs.get(command, True)

    def pause(self) -> None:
        """Collect saves for later instead of applying them."""
        self._command("pause", self._api.pause, lambda _: "Paused: changes wait until p applies them")

    def resume(self) -> None:
        """Apply the collected saves and follow saves again."""

        def resumed(plugins: tuple[PluginStatus, ...]) -> str:
            what = count(len(plugins), "changed plugin") if plugins else "nothing had changed"
            return f"Watching again: {what}"

        self._command("resume", self._api.resume, resumed)

    def plan(self) -> None:
        """Show the plan for a rebuild of all that changed, and carry it out if the user accepts it."""
        self._plan(None)

    def plan_plugin(self) -> None:
        """Show the plan for a rebuild of the selected plugin, and carry it out if the user accepts it."""
        if plugin := self._selection.plugin:
            self._plan(plugin)
        else:
            self._screen.say(NOTHING_SELECTED)

    def _plan(self, plugin: PluginStatus | None) -> None:
        name = plugin.name if plugin else None

        def show(plan: Plan) -> None:
            self._screen.ask(
                PlanScreen(plan), lambda: self._rebuild(plugin) if plugin else self.rebuild_all()
            )

        self._submit(f"plan {name or 'all'}", lambda: self._api.plan(name), show)

    def _request(
        self,
        verb: str,
        plugin: PluginStatus | None,
        operation: Callable[[str], _R],
        said: Callable[[_R], str] = _nothing,
    ) -> None:
        """Run an operation on a plugin, if there is one."""
        if plugin is None:
            self._screen.say(NOTHING_SELECTED)
            return
        name = plugin.name
        self._command(f"{verb} {name}", lambda: operation(name), said)

    def _command(self, label: str, operation: Callable[[], _R], said: Callable[[_R], str] = _nothing) -> None:
        """Run an operation; ``said`` turns its result into the words for the user."""
        self._submit(label, operation, lambda result: self._screen.say(said(result)))

    def _submit(self, label: str, work: Callable[[], _R], then: Callable[[_R], None]) -> None:
        self._screen.say(self._requests.submit(label, work, then))

    def restart(self) -> None:
        """Restart a host that hangs, without the plugin that hangs; ask first if the host answers."""
        restart = self._host.get("restart")
        if restart is None:
            self._screen.say("The host is another program; restart it there.")
        elif restart(anyway=False):
            question = "The host answers. Restart it all the same? What plugins keep in memory is lost."
            self._screen.ask(
                ConfirmScreen(question, "Restart"), lambda: self._screen.say(restart(anyway=True))
            )

    def show_settings(self) -> None:
        """Show each value of the configuration and its source."""
        settings = self._host.get("settings")
        if settings is None:
            self._screen.say("The program made its configuration itself: no file says it.")
            return
        snapshot = self._selection.snapshot
        fault = snapshot.host.config_fault if snapshot else ""
        self._screen.open(SettingsScreen(settings, fault, self._project))

    def edit(self) -> None:
        """Open the editor at the failing line of the selected plugin."""
        plugin, source = self._selection.plugin, self._selection.closeup.source
        if plugin is None:
            self._screen.say(NOTHING_SELECTED)
            return
        line = failing_line(plugin, source.disk if source else None)
        self._screen.edit(self._project / plugin.folder / failing_file(plugin), line)

    def report(self, style: str = "plain") -> None:
        """Copy the whole report about the selected plugin as ``plain`` text or as ``markdown``."""
        plugin, snapshot = self._selection.plugin, self._selection.snapshot
        if plugin is None or snapshot is None:
            self._screen.say(NOTHING_SELECTED)
            return
        newest = [self._book[i].text for i in range(max(0, len(self._book) - LINES), len(self._book))]
        detail = self._selection.closeup.detail
        report = FailureReport(plugin, snapshot.host, detail, newest, self._project)
        self._screen.copy(report.markdown() if style == "markdown" else report.plain())
