"""``ActionScreen``: the actions of the keys on the console's main screen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from textual.screen import Screen

from hotload_tui.core.config_files import Resolved
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui.clipboard import Copyable, hand_out, keep_copy
from hotload_tui.tui.editor import Debug, hand_over, open_editor
from hotload_tui.tui.requests import NOTHING_SELECTED, PlanMade, Requests, SourcePair
from hotload_tui.tui.screens.dialogs import (
    AskNameScreen,
    ConfirmScreen,
    HelpScreen,
    PlanScreen,
    SettingsScreen,
    key_lines,
)
from hotload_tui.tui.text import clean, failing_file, failing_line
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.error_view import FailureReport
from hotload_tui.tui.widgets.plugin_table import PluginTable


class Restart(Protocol):
    """Restarts the host."""

    def __call__(self, *, anyway: bool) -> str:
        """Restart a host that hangs, or with ``anyway`` any host; return why not, or an empty text."""
        ...


class ActionScreen(Screen[None]):
    """Turns keys into requests; a toast shows why a request makes no sense now."""

    requests: Requests
    project: Path
    restart: Restart | None
    """``None`` where the console cannot restart the host."""
    debug: Debug | None
    """``None`` where the console cannot reach a debugger of the host."""
    settings: Callable[[], Resolved] | None
    """Reads the configuration; ``None`` where a program created the configuration itself."""
    is_leaving = False
    """Whether the plugins are being unloaded; the user can then only wait or quit."""

    @property
    @abstractmethod
    def selected(self) -> PluginStatus | None:
        """The plugin under the table's cursor."""

    @property
    @abstractmethod
    def source(self) -> SourcePair | None:
        """The selected plugin's file; ``None`` until it has been read."""

    @abstractmethod
    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast; do nothing for an empty text."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Return whether an action is available now.

        d either enables or disables, and the clean actions need the focus in the table. While the plugins are
        being unloaded, no action is available.
        """
        if self.is_leaving:
            return False
        plugin = self.selected if self.is_mounted else None
        off = plugin is not None and plugin.state is PluginState.OFF
        if action in ("enable", "disable"):
            return off == (action == "enable")
        if action in ("clean", "clean_all"):
            return isinstance(self.focused, PluginTable)
        return True

    def action_rebuild(self) -> None:
        """Rebuild the selected plugin."""
        self.say(self.requests.rebuild(self.selected))

    def action_rebuild_all(self) -> None:
        """Rebuild the plugins that changed or fail, or every plugin if there are none."""
        self.say(self.requests.rebuild_all())

    def action_restart(self) -> None:
        """Restart a host that hangs, without the plugin that hangs; ask first if the host answers."""
        restart = self.restart

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - called by Textual
            if yes and restart is not None:
                self.say(restart(anyway=True))

        if restart is None:
            self.say("The host is another program; restart it there.")
        elif restart(anyway=False):
            question = "The host answers. Restart it all the same? What plugins keep in memory is lost."
            self.app.push_screen(ConfirmScreen(question, "Restart"), answered)

    async def action_debug(self) -> None:
        """Lend the terminal to a waiting ``breakpoint()``."""
        if self.debug is None:
            self.say("The host is another program: breakpoint() stops in its own terminal.")
        elif connection := self.debug():
            await hand_over(self.app, connection)
        else:
            self.say("No breakpoint() waits. The status line shows when one does.")

    def action_enable(self) -> None:
        """Enable the selected plugin."""
        self.say(self.requests.enable(self.selected))

    def action_disable(self) -> None:
        """Disable the selected plugin."""
        self.say(self.requests.disable(self.selected))

    def action_clean(self) -> None:
        """Remove the selected plugin's artifacts."""
        self.say(self.requests.clean(self.selected))

    def action_clean_all(self) -> None:
        """Ask, then remove all artifacts."""

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - called by Textual
            if yes:
                self.say(self.requests.clean_all())

        question = (
            "Remove the artifacts of all plugins? Live versions stay live; R builds the artifacts again."
        )
        self.app.push_screen(ConfirmScreen(question, "Remove"), answered)

    def action_new(self) -> None:
        """Ask for a name, then create a plugin."""
        self.app.push_screen(AskNameScreen(self.requests.new))

    def action_edit(self) -> None:
        """Open the editor at the failing line of the selected plugin."""
        plugin = self.selected
        if plugin is None:
            self.say(NOTHING_SELECTED)
            return
        file = self.project / plugin.path / failing_file(plugin)
        line = failing_line(plugin, self.source.disk if self.source else None)
        self.run_worker(self._edit(file, line), group="editor", exclusive=True)

    async def _edit(self, file: Path, line: int) -> None:
        self.say(await open_editor(self.app, file, line), bad=True)

    def action_copy(self) -> None:
        """Copy the marked text, or the text of the focused pane."""
        pane: object = self.focused
        text = self.get_selected_text() or (pane.text_to_copy() if isinstance(pane, Copyable) else "")
        if not text:
            self.say("There is nothing to copy here.")
            return
        self._copy(text)

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(clean(text))
        hand_out(clean(text))
        self.say(keep_copy(text))

    @property
    @abstractmethod
    def report(self) -> FailureReport | None:
        """The report about the selected plugin; ``None`` if no plugin is selected."""

    def action_report(self, *, markdown: bool = False) -> None:
        """Copy the whole report about the selected plugin."""
        report = self.report
        if report is None:
            self.say(NOTHING_SELECTED)
            return
        self._copy(report.markdown() if markdown else report.plain())

    def action_plan(self) -> None:
        """Request the plan for a rebuild of all that changed."""
        self.say(self.requests.plan(None))

    def action_plan_plugin(self) -> None:
        """Request the plan for a rebuild of the selected plugin."""
        self.say(self.requests.plan(self.selected) if self.selected else NOTHING_SELECTED)

    def on_plan_made(self, message: PlanMade) -> None:
        """Show the plan, and carry it out if the user accepts it."""

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - called by Textual
            if yes and message.plugin is None:
                self.say(self.requests.rebuild_all())
            elif yes:
                self.say(self.requests.rebuild(message.plugin))

        self.app.push_screen(PlanScreen(message.plan), answered)

    def action_undo(self) -> None:
        """Undo the last disable, enable or clean."""
        self.say(self.requests.undo())

    @property
    @abstractmethod
    def is_paused(self) -> bool:
        """Whether the watcher collects saves instead of applying them."""

    def action_pause(self) -> None:
        """Collect saves for later, or apply the collected saves."""
        self.say(self.requests.resume() if self.is_paused else self.requests.pause())

    def action_release(self) -> None:
        """Release the selected plugin, so that it follows its source again."""
        self.say(self.requests.release(self.selected))

    def action_edit_at(self, file: str, line: int) -> None:
        """Open the editor at a place that the user clicked."""
        self.run_worker(self._edit(Path(file), line), group="editor", exclusive=True)

    @property
    @abstractmethod
    def config_fault(self) -> str:
        """The fault in the configuration files; empty if there is none."""

    def action_settings(self) -> None:
        """Show each value of the configuration and its source."""
        if self.settings is None:
            self.say("The program made its configuration itself: no file says it.")
        else:
            self.app.push_screen(SettingsScreen(self.settings, self.config_fault, self.project))

    def action_help(self) -> None:
        """Show the keys of the pane that has the focus."""
        self.app.push_screen(HelpScreen(*key_lines(self)))

    def action_back(self) -> None:
        """Go one level back: focus the table."""
        table = self.query_one(PluginTable)
        if table.has_focus:
            self.say("Nothing to go back to; q quits.")
        self.set_focus(table)

    @abstractmethod
    def show_pane(self, name: str) -> None:
        """Make sure that no other pane hides the pane ``name``."""

    def action_focus_table(self) -> None:
        """Focus the table."""
        self.show_pane("plugins")
        self.set_focus(self.query_one(PluginTable))  # focus() would act after the next key

    async def action_open_tab(self, name: str) -> None:
        """Open a tab and focus it."""
        self.show_pane("detail")
        await self.query_one(DetailTabs).open(name)
