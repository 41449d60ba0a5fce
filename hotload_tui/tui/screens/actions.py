"""``ActionScreen``: what the keys do on the console's main screen."""

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
from hotload_tui.tui.screens.dialogs import AskNameScreen, ConfirmScreen
from hotload_tui.tui.text import clean, failing_file, failing_line
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.error_view import FailureReport
from hotload_tui.tui.widgets.plugin_table import PluginTable


class Restart(Protocol):
    """Restarts the host."""

    def __call__(self, *, anyway: bool) -> str:
        """Restart one that hangs, or ``anyway``; returns why not, or nothing."""
        ...


class ActionScreen(Screen[None]):
    """Turns keys into requests; why one makes no sense now is said in a toast."""

    requests: Requests
    project: Path
    restart: Restart | None
    """``None`` where restarting the host is not the console's to do."""
    debug: Debug | None
    """``None`` where the host has a terminal of its own."""
    settings: Callable[[], Resolved] | None
    """Reads the configuration; ``None`` where a program made its own."""
    is_leaving = False
    """Whether the plugins are being unloaded: there is nothing left to do but to wait."""

    @property
    @abstractmethod
    def selected(self) -> PluginStatus | None:
        """The plugin under the table's cursor."""

    @property
    @abstractmethod
    def source(self) -> SourcePair | None:
        """The selected plugin's file, once it was read."""

    @abstractmethod
    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast; nothing for an empty text."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Tell which keys there are: d is one of two, c means clean only in the table; none at the end."""
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
        """Rebuild what changed, or all."""
        self.say(self.requests.rebuild_all())

    def action_restart(self) -> None:
        """Restart a host that hangs, without the plugin that does; ask first if it answers."""
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
        """Hand the terminal to a ``breakpoint()`` that waits."""
        if self.debug is None:
            self.say("The host is another program: breakpoint() stops in its own terminal.")
        elif connection := self.debug():
            await hand_over(self.app, connection)
        else:
            self.say("No breakpoint() waits. Where one does is told in the status line.")

    def action_enable(self) -> None:
        """Switch the selected plugin on."""
        self.say(self.requests.enable(self.selected))

    def action_disable(self) -> None:
        """Switch the selected plugin off."""
        self.say(self.requests.disable(self.selected))

    def action_clean(self) -> None:
        """Remove the selected plugin's artifacts."""
        self.say(self.requests.clean(self.selected))

    def action_clean_all(self) -> None:
        """Ask, then remove all artifacts."""

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - called by Textual
            if yes:
                self.say(self.requests.clean_all())

        question = "Remove the artifacts of all plugins? What serves goes on serving; R builds them again."
        self.app.push_screen(ConfirmScreen(question, "Remove"), answered)

    def action_new(self) -> None:
        """Ask for a name, then make a plugin."""
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
        """Copy what is marked, or what is under the cursor."""
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
        """What there is to report of the selected plugin."""

    def action_report(self, *, markdown: bool = False) -> None:
        """Copy the whole report of the selected plugin."""
        report = self.report
        if report is None:
            self.say(NOTHING_SELECTED)
            return
        self._copy(report.markdown() if markdown else report.plain())

    def action_plan(self) -> None:
        """Show what a rebuild of what changed would do."""
        self.say(self.requests.plan(None))

    def action_plan_plugin(self) -> None:
        """Show what a rebuild of the selected plugin would do."""
        self.say(self.requests.plan(self.selected) if self.selected else NOTHING_SELECTED)

    def on_plan_made(self, message: PlanMade) -> None:
        """Show the plan; its user may have it done."""

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - called by Textual
            if yes and message.plugin is None:
                self.say(self.requests.rebuild_all())
            elif yes:
                self.say(self.requests.rebuild(message.plugin))

        from hotload_tui.tui.screens.dialogs import PlanScreen  # as all dialogs: not for the first picture

        self.app.push_screen(PlanScreen(message.plan), answered)

    def action_undo(self) -> None:
        """Take back the last disable, enable or clean."""
        self.say(self.requests.undo())

    @property
    @abstractmethod
    def is_paused(self) -> bool:
        """Whether saves are kept for later."""

    def action_pause(self) -> None:
        """Keep what is saved for later, or apply it."""
        self.say(self.requests.resume() if self.is_paused else self.requests.pause())

    def action_release(self) -> None:
        """Let the selected plugin follow its source."""
        self.say(self.requests.release(self.selected))

    def action_edit_at(self, file: str, line: int) -> None:
        """Open the editor at a place that was clicked."""
        self.run_worker(self._edit(Path(file), line), group="editor", exclusive=True)

    @property
    @abstractmethod
    def config_fault(self) -> str:
        """What is wrong in the configuration's files."""

    def action_settings(self) -> None:
        """Show each value of the configuration, and where it came from."""
        from hotload_tui.tui.screens.dialogs import SettingsScreen

        if self.settings is None:
            self.say("The program made its configuration itself: no file says it.")
        else:
            self.app.push_screen(SettingsScreen(self.settings, self.config_fault, self.project))

    def action_help(self) -> None:
        """Show the keys of the pane that has the focus."""
        from hotload_tui.tui.screens.dialogs import HelpScreen, key_lines

        self.app.push_screen(HelpScreen(*key_lines(self)))

    def action_back(self) -> None:
        """Go one level back."""
        table = self.query_one(PluginTable)
        if table.has_focus:
            self.say("Nothing to go back to; q quits.")
        self.set_focus(table)

    @abstractmethod
    def show_pane(self, name: str) -> None:
        """Make sure that no other pane hides this one."""

    def action_focus_table(self) -> None:
        """Go to the table."""
        self.show_pane("plugins")
        self.set_focus(self.query_one(PluginTable))  # at once: focus() would let the next key overtake it

    async def action_open_tab(self, name: str) -> None:
        """Go to a tab."""
        self.show_pane("detail")
        await self.query_one(DetailTabs).open(name)
