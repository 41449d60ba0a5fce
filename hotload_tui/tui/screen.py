"""``ConsoleScreen``: composes the widgets, and routes messages and keys between them and the controllers."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen, Screen
from textual.theme import Theme
from textual.widgets import Input
from textual.worker import Worker

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.events import HostReached
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.actions import Actions, HostControls
from hotload_tui.tui.dialogs import AskNameScreen, HelpRow, HelpScreen, key_lines
from hotload_tui.tui.filters import Filters
from hotload_tui.tui.follow import Follow
from hotload_tui.tui.framework import Punctual
from hotload_tui.tui.guide import Guide
from hotload_tui.tui.lifecycle import Shutdown, Startup
from hotload_tui.tui.programs import Copyable, hand_out, hand_over, keep_copy, open_editor
from hotload_tui.tui.requests import FactReader, FactsFailed, FactsRead, Requests
from hotload_tui.tui.selection import Selection
from hotload_tui.tui.text import clean, clean_line
from hotload_tui.tui.tour import Scene, Tour
from hotload_tui.tui.view_state import ViewStore, figures
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.error_view import ErrorView
from hotload_tui.tui.widgets.history_view import HistoryView, Timeline
from hotload_tui.tui.widgets.hooks_view import HooksView
from hotload_tui.tui.widgets.log_view import LogBook, LogView
from hotload_tui.tui.widgets.panes import DetailFacts, Prompt
from hotload_tui.tui.widgets.plugin_table import PluginPane, PluginTable
from hotload_tui.tui.widgets.status import Caption, KeyLine, News, Notice, StatusLine, TooSmall
from hotload_tui.tui.workbench import Workbench

_FIRST_FACTS: Final = 0.1
"""Seconds that the first paint waits for the state."""


@dataclass
class SceneShown(Message):
    """The tour goes on to another scene."""

    scene: Scene


class ConsoleScreen(Punctual, Screen[None]):
    """The console's main screen."""

    BINDINGS = keys.SCREEN
    AUTO_FOCUS = "PluginTable"

    def __init__(
        self,
        api: ManagerApi,
        project: Path,
        host: HostControls,
        clock: Callable[[], float],
        tour: Tour | None = None,
    ) -> None:
        super().__init__()
        self._tour = tour
        self._store = ViewStore(project)
        self._stored = self._store.read()
        self._clock = clock
        self._host = host
        self._facts = FactReader(api, self.post_message)
        self._book = LogBook(clock, project)
        self._until_facts = ExitStack()
        self._was_seen = False
        self._has_facts = False
        self._offers_enable = False
        self._reads_details = False
        """Whether the details had the focus last."""

        self._status = StatusLine(project)
        self._pane = PluginPane(clock)
        self._table = self._pane.table
        self._tabs = DetailTabs(project, self._book, clock, self._stored)
        self._strip = LogView(self._book, id="strip")
        self._timeline = Timeline()
        self._foot = Horizontal(self._strip, self._timeline, id="foot")
        self._line = Prompt(id="filter")
        self._notice = Notice(self._free_border)
        self._key_line = KeyLine()
        self._caption = Caption()

        self.requests = Requests(self.call_later, self._show_failure, self._show_running)
        self.selection = Selection(self._table, self._facts.look_at, self._show_details, self.set_timer)
        self.filters = Filters(
            self._stored,
            self._line,
            self._status,
            lambda: (self._tabs.seen, self._strip),
            arrange=self._arrange,
            focus=self.set_focus,
            say=self.say,
        )
        self.actions = Actions(
            self, api, self.requests, self.selection, project=project, book=self._book, host=host
        )
        self.startup = Startup(
            host.get("start"), self.requests, self._status, self.set_timer, ended=self._show_started
        )
        self.follow = Follow(self, self.selection, self._status, clock, knows_first=self.startup.is_ready)
        self._news = News(clock)
        self._guide = Guide(self._stored.learned)
        self.workbench = Workbench(
            self._stored,
            self._tabs.hooks,
            api,
            self.requests,
            clock,
            say=self.say,
            keep=self.keep_view,
            read_again=self.selection.read_again,
        )
        self.shutdown = Shutdown(self.requests, self._status, self._leave)

    def compose(self) -> ComposeResult:
        """Compose the panes; the screen's size decides which of them are visible."""
        self._facts.look_at(self._stored.selected)
        self._facts.start()  # the first read runs during the composition
        yield self._status
        yield Container(self._pane, self._tabs, id="body")
        yield self._foot
        yield self._line
        yield self._notice
        yield TooSmall()
        yield self._key_line
        yield self._caption

    def on_mount(self) -> None:
        """Apply the stored theme and selection, capture printed text, and begin."""
        if self._stored.theme in self.app.available_themes:
            self.app.theme = self._stored.theme
        self._table.chosen = self._stored.selected
        self.app.theme_changed_signal.subscribe(self, self._recolour)
        self.app.begin_capture_print(self)
        self._strip.border_title = "Log"
        self._book.subscribe(self._show_newest)
        self._until_facts.enter_context(self.app.batch_update())
        self.set_timer(_FIRST_FACTS, self._until_facts.close)
        self.startup.begin()

    def _recolour(self, _theme: Theme) -> None:
        """Draw what has a colour of the previous theme in its text."""
        self._table.recolour()
        self._tabs.recolour()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        """Skip the style update of the first resume: every widget was styled when it was mounted."""
        event.refresh_styles &= self._was_seen
        self._was_seen = True

    def on_resize(self, event: events.Resize) -> None:
        """Show the newest log line in the status line if the log below is hidden now.

        A size that is out of date is left out: Textual would lay out both sizes in turn for ever, because
        each layout announces its size once more.
        """
        if event.size != self.app.size:
            event.prevent_default()
            return
        self._fit()
        self.call_after_refresh(self._show_newest)

    def on_unmount(self) -> None:
        """Stop reading the state, and end the tour."""
        if self._tour is not None:
            self._tour.end()
        self._facts.stop()

    @property
    def is_building(self) -> bool:
        """Whether a request or a build is under way."""
        return bool(self.requests.running) or any(
            plugin.state is PluginState.BUILD for plugin in self.selection.plugins
        )

    def keep_view(self) -> None:
        """Store the view state for the next session; the project of a tour has none."""
        if self._tour is not None:
            return
        state, log = self._stored, self._tabs.log_view
        self.filters.store(state)
        state.learned = sorted(self._guide.learned)
        self.workbench.store(state)
        state.theme = self.app.theme
        state.selected = self._table.chosen
        state.tab = self._tabs.active
        state.wraps, state.stamped, state.steps, state.least = log.wraps, log.stamped, log.steps, log.least
        self._store.write(state)

    def unload(self, stop: Callable[[], None]) -> None:
        """Unload the plugins; the console leaves when unloading has ended."""
        self.shutdown.begin(stop, self.selection.plugins)
        self.refresh_bindings()

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast; do nothing for an empty text."""
        if text:
            self._notice.show(text, bad=bad)

    def open(self, dialog: ModalScreen[None]) -> None:
        """Open a dialog."""
        self.app.push_screen(dialog)

    def ask(self, dialog: ModalScreen[bool], accepted: Callable[[], None]) -> None:
        """Open a dialog, and call ``accepted`` if the user accepts."""

        def answered(yes: bool | None) -> None:  # noqa: FBT001 - called by Textual
            if yes:
                accepted()

        self.app.push_screen(dialog, answered)

    def edit(self, file: Path, line: int) -> None:
        """Open the editor at a line."""

        async def edit() -> None:
            self.say(await open_editor(self.app, file, line), bad=True)

        # A coroutine would never be awaited if a second key came before the first one's turn.
        _: Worker[None] = self.run_worker(edit, group="editor", exclusive=True)

    def copy(self, text: str) -> None:
        """Copy a text to the clipboard and to a file."""
        self.app.copy_to_clipboard(clean(text))
        hand_out(clean(text))
        self.say(keep_copy(text))

    def on_facts_read(self, message: FactsRead) -> None:
        """Pass the state to the widgets; during unloading, show only log lines and unloaded plugins."""
        if self.shutdown.has_begun:
            self._book.add(message.lines)
            self.shutdown.follow(message.events)
            return
        self._until_facts.close()
        host = message.snapshot.host
        self.selection.take(message.snapshot, message.closeup)
        self._status.is_foreign = "restart" not in self._host and host.pid != os.getpid()
        self._status.snapshot = message.snapshot
        self._status.trouble = host.trouble or self.startup.trouble
        self._arrange()
        self._timeline.show(message.snapshot.plugins, self._clock())
        self._book.add(message.lines)
        self.selection.show_read()
        if self.startup.is_ready:
            self.workbench.follow(message.events)
        self._report(message)
        self.selection.choose_made()

    def _report(self, message: FactsRead) -> None:
        """Follow a new fault, and show toasts about the events; the loads of the start are no news."""
        plugin = self.selection.plugin
        read = plugin.name if plugin and self._tabs.active == "error" else ""
        followed = self.follow.take_new()
        if self._has_facts:
            events = [event for event in message.events if event.at > self.startup.ready_at]
            for event in events:
                if isinstance(event, HostReached):
                    self.say(event.describe())
            self.say(self._news.add(events, read, followed), bad=self._news.is_bad)
        self._has_facts = True

    def _arrange(self) -> None:
        """Show the filtered plugins in their order, or why there are none."""
        every, snapshot, arrangement = (
            self.selection.plugins,
            self.selection.snapshot,
            self.filters.arrangement,
        )
        self.filters.show()
        points = snapshot.points if snapshot else ()
        self._table.since, self._table.order = self.startup.ready_at, arrangement
        self._table.show(arrangement.of(every, figures(points)), len(every), points)
        self._pane.problems.list(every)
        self._show_empty()
        self._show_guide()

    def _show_guide(self) -> None:
        """Show a new user what to press next, and give the table the room that it needs."""
        plugin = self.selection.plugin
        is_read = plugin is not None and self._tabs.active == "error"
        self._pane.guide(self._guide.next(self.selection.plugins, plugin.name if plugin and is_read else ""))
        self._fit()

    def _fit(self) -> None:
        """Give the table the room that it needs."""
        if self.focused is not None:  # it is ``None`` while the terminal has lost the focus
            self._reads_details = self._tabs in self.focused.ancestors
        is_alone = self._maximised == "plugins"
        self._pane.fit(self.app.size, is_small=self._reads_details, is_alone=is_alone)

    def _show_empty(self) -> None:
        every = self.selection.plugins
        if not every:
            self._pane.empty = self.startup.why_empty(self.selection.snapshot)
        else:
            self._pane.empty = "" if self._table.row_count else self.filters.arrangement.nothing(len(every))

    def _show_details(self, facts: DetailFacts) -> None:
        self._tabs.show(facts)
        self.filters.show()  # with the new numbers of matches
        self._show_steps()
        off = facts.status is not None and facts.status.state is PluginState.OFF
        if off != self._offers_enable:
            self._offers_enable = off
            self.refresh_bindings()

    def _free_border(self) -> int:
        """Return the free cells of the border below the status line, on the right of the panes' titles."""
        top = [pane for pane in (self._table, self._tabs, self._strip) if pane.region.y == 1]
        last = max(top, key=lambda pane: pane.region.x, default=self._table)
        title = Content.from_markup(last.border_title or "")
        return self.size.width - last.region.x - title.cell_length - 4

    def _show_steps(self) -> None:
        """Show the keys that matter for the selected plugin, but not that of the tab that has the focus."""
        plugin = self.selection.plugin
        steps = keys.next_steps(plugin)
        if self._reads_details:
            tab = "error" if plugin and plugin.fault else "overview"
            steps = tuple((tab if name == keys.OPEN else name, label) for name, label in steps)
            steps = tuple(step for step in steps if step[0] != self._tabs.active)
        self._key_line.show_steps(steps)

    def _show_newest(self) -> None:
        self._status.newest = "" if self._foot.display else self._book.newest

    def on_facts_failed(self, message: FactsFailed) -> None:
        """Show that the state on the screen may be out of date."""
        self._status.trouble = message.reason

    def _show_started(self) -> None:
        """Show why there are no plugins, repeat the calls of the previous session, and begin the tour."""
        self._show_empty()
        self.workbench.repeat()
        self.selection.read_again()
        if self._tour is not None:
            self._tour.begin(lambda scene: self.post_message(SceneShown(scene)))

    async def on_scene_shown(self, message: SceneShown) -> None:
        """Show what the tour speaks of; the focus stays where it is."""
        scene = message.scene
        self._caption.text = scene.caption
        if scene.plugin:
            self.selection.choose(scene.plugin)
        if scene.tab:
            self._reveal("detail")
            await self._tabs.open(scene.tab, takes_focus=False)

    def show_key(self, shown: str) -> None:
        """Show an audience which key was pressed."""
        self._caption.key = shown

    def _leave(self, trouble: str) -> None:
        """Leave, and print an error in the place of the console."""
        self.app.exit(message=Text(clean_line(trouble)) if trouble else None)

    def _show_failure(self, command: str, reason: str) -> None:
        """Show why a command failed."""
        dialog = self.app.screen
        if isinstance(dialog, AskNameScreen) and command.startswith("new "):
            dialog.refuse(reason)
        else:
            self.say(f"{command}: {reason}", bad=True)

    def _show_running(self) -> None:
        """Show the commands under way that take long."""
        self._status.running = ", ".join(self.requests.running)

    def show_made(self, plugin: PluginStatus) -> None:
        """Show a plugin that was made from the template."""
        if isinstance(self.app.screen, AskNameScreen):
            self.app.screen.dismiss()
        self.say(f"Made {clean_line(plugin.path)}; e opens it")
        self.selection.choose_made(plugin.name)  # the last read may precede this message
        self.startup.repeat()

    def on_hooks_view_call_typed(self, message: HooksView.CallTyped) -> None:
        """Call the hook point."""
        self.workbench.call(message.call, is_pinned=message.is_pinned)

    async def show_call_fault(self) -> None:
        """Select the plugin whose handler failed in a call by hand, and open its Error tab."""
        name = self.workbench.faulty_plugin()
        if not name:
            self.say("No call has failed; enter calls the hook point.")
            return
        self.selection.choose(name)
        if self._table.chosen == name:
            await self.open_tab("error")
        else:
            self.say(f"The filter hides {clean_line(name, 40)}: esc in the table clears it.")

    def on_error_view_edit_wanted(self, message: ErrorView.EditWanted) -> None:
        """Open the editor at a frame of the Error tab."""
        self.edit(Path(message.file), message.line)

    def on_history_view_wanted(self, message: HistoryView.Wanted) -> None:
        """Roll back to an earlier generation."""
        self.actions.roll_back(message.name, message.generation)

    def on_plugin_table_chosen(self, message: PluginTable.Chosen) -> None:
        """Show the details of another plugin."""
        self.selection.follow(message.name)

    async def on_plugin_table_opened(self) -> None:
        """Open the Overview tab, or the Error tab if the plugin has a fault."""
        await self.open_tab(_first_tab(self.selection.plugin))

    @property
    def is_typed_into(self) -> bool:
        """Whether an input line has the focus or a dialog is open."""
        return self.app.screen is not self or isinstance(self.focused, Input)

    async def open_problem(self, plugin: PluginStatus) -> None:
        """Open the Error tab of the selected plugin, or its Overview if it has no fault; keep the focus."""
        self._reveal("detail")
        await self._tabs.open(_first_tab(plugin), takes_focus=False)

    def open_soon(self, plugin: PluginStatus) -> None:
        """Do the same after the next refresh: the first read may precede the row of tabs."""
        self.call_after_refresh(self.open_problem, plugin)

    def on_tabbed_content_tab_activated(self) -> None:
        """Show the filter and the next steps of the tab that was opened."""
        self._show_steps()
        self._show_guide()
        self.call_after_refresh(self.filters.show)

    def on_log_view_narrowed(self) -> None:
        """Show the level of the log in the status line."""
        self.filters.show()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter the pane while the user types."""
        if event.input is self._line:
            self.filters.narrow(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and return the focus to the pane."""
        if event.input is self._line:
            self.filters.close()

    def on_print(self, event: events.Print) -> None:
        """Add printed text to the log."""
        self._book.add_print(event.text, stderr=event.stderr)

    def watch_focused(self) -> None:
        """Show pending details at once: the next key may be meant for them."""
        self.selection.show_due()
        self._fit()
        self._show_steps()

    def on_plugin_table_sort_wanted(self, message: PluginTable.SortWanted) -> None:
        """Sort the table by the column whose header was clicked."""
        self.filters.sort_by(message.title)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action is available now: clean needs the focus in the table.

        While the plugins are being unloaded, no action is available.
        """
        if self.shutdown.has_begun:
            return False
        if action != "run":
            return True
        command = str(parameters[0])
        if command in ("actions.clean", "actions.clean_all") and self.focused is not self._table:
            return False
        return self.actions.is_offered(command, self.selection.plugin)

    def action_run(self, command: str) -> object:
        """Run a command of ``keys.py``: call a method of the screen or of a controller."""
        path, *arguments = command.split()
        method: Callable[[*tuple[str, ...]], object] = attrgetter(path)(self)
        return method(*arguments)

    async def debug(self) -> None:
        """Lend the terminal to a waiting ``breakpoint()``."""
        debug = self._host.get("debug")
        if debug is None:
            self.say("The host is another program: breakpoint() stops in its own terminal.")
        elif connection := debug():
            await hand_over(self.app, connection)
        else:
            self.say("No breakpoint() waits. The status line shows when one does.")

    def copy_focused(self) -> None:
        """Copy the marked text, or the text of the focused pane."""
        within = self.focused.ancestors_with_self if self.focused else ()
        pane = next((each for each in within if isinstance(each, Copyable)), None)
        text = self.get_selected_text() or (pane.text_to_copy() if pane else "")
        if text:
            self.copy(text)
        else:
            self.say("There is nothing to copy here.")

    def action_edit_at(self, file: str, line: int) -> None:
        """Open the editor at a place that the user clicked."""
        self.edit(Path(file), line)

    def open_filter(self) -> None:
        """Open the line for the filter of the focused pane."""
        self.filters.open(self.focused)

    def save_screenshot(self) -> None:
        """Save the screen as SVG once the palette has closed."""
        self.set_timer(0.1, self.app.deliver_screenshot)

    def show_help(self) -> None:
        """Show the keys of the pane that has the focus, and do what the user chooses."""

        async def chosen(row: HelpRow | None) -> None:
            if row is not None and row.run is not None:
                await row.run()

        self.app.push_screen(HelpScreen(*key_lines(self)), chosen)

    def go_back(self) -> None:
        """Go one level back: close an input line, clear a filter, restore the panes, or focus the table."""
        if (
            self.filters.cancel()
            or self._tabs.hooks.leave_prompt()
            or self.filters.clear(self.focused)
            or self._restore()
        ):
            return
        if self._table.has_focus:
            self.say("Nothing to go back to; q quits.")
        self.set_focus(self._table)

    def focus_table(self) -> None:
        """Focus the table."""
        self._reveal("plugins")
        self.set_focus(self._table)  # focus() would act after the next key

    async def focus_log(self) -> None:
        """Focus the log at the bottom; open the Log tab if there is none."""
        self._reveal("strip")
        if self._foot.display:
            self.set_focus(self._strip)
        else:
            await self.open_tab("log")

    def focus_timeline(self) -> None:
        """Focus the timeline, if the terminal is large enough to show it."""
        self._reveal("timeline")
        if self._foot.display and self._timeline.display:
            self.set_focus(self._timeline)
        else:
            self.say("The timeline needs 160 columns and 30 rows.")

    async def open_tab(self, name: str) -> None:
        """Open a tab and focus it."""
        self._reveal("detail")
        await self._tabs.open(name)

    def maximise(self) -> None:
        """Give the whole screen to the focused pane, or restore the maximised pane."""
        if self._restore() or self.focused is None:
            return
        if self.focused is self._table:
            self.add_class("-max-plugins")
            self._fit()
        else:
            beside = {self._strip: "-max-strip", self._timeline: "-max-timeline"}
            self.add_class(beside.get(self.focused, "-max-detail"))

    @property
    def _maximised(self) -> str:
        return next(
            (name for name in ("plugins", "detail", "strip", "timeline") if self.has_class(f"-max-{name}")),
            "",
        )

    def _restore(self) -> bool:
        """Restore the maximised pane; return whether there was one."""
        name = self._maximised
        self.remove_class(f"-max-{name}")
        self._fit()
        return bool(name)

    def _reveal(self, name: str) -> None:
        """Restore a maximised pane that hides the pane ``name``."""
        if self._maximised not in ("", name):
            self._restore()


def _first_tab(plugin: PluginStatus | None) -> str:
    return "error" if plugin and plugin.fault else "overview"
