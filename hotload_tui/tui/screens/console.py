"""``ConsoleScreen``: composes the widgets, routes messages between them, turns keys into requests."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.timer import Timer

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.config_loader import Resolved
from hotload_tui.core.plugin import PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.debugger import Debug
from hotload_tui.tui.log_book import LogBook
from hotload_tui.tui.messages import (
    CloseUp,
    CommandEnded,
    FactReader,
    FactsFailed,
    FactsRead,
    Remark,
    SourcePair,
)
from hotload_tui.tui.report import LINES, Report
from hotload_tui.tui.requests import Requests
from hotload_tui.tui.screens.actions import Restart
from hotload_tui.tui.screens.ask_name import AskNameScreen
from hotload_tui.tui.screens.leaving import LeavingScreen
from hotload_tui.tui.screens.starting import StartingScreen
from hotload_tui.tui.toasts import Toasts
from hotload_tui.tui.view_state import ViewStore
from hotload_tui.tui.widgets.detail_tabs import DetailTabs, Facts
from hotload_tui.tui.widgets.history_view import HistoryView
from hotload_tui.tui.widgets.key_line import KeyLine
from hotload_tui.tui.widgets.log_view import LogView
from hotload_tui.tui.widgets.notice import Notice
from hotload_tui.tui.widgets.plugin_pane import PluginPane
from hotload_tui.tui.widgets.plugin_table import PluginTable
from hotload_tui.tui.widgets.prompt import Prompt
from hotload_tui.tui.widgets.status_line import StatusLine
from hotload_tui.tui.widgets.timeline import Timeline
from hotload_tui.tui.widgets.too_small import TooSmall

_FIRST_FACTS = 0.1
"""Seconds that the first picture waits for what it is to show."""

_DETAILS_DELAY = 0.1
"""Seconds in which the facts of another plugin should be there."""


class ConsoleScreen(StartingScreen, LeavingScreen):
    """The console's main screen."""

    BINDINGS = keys.SCREEN
    AUTO_FOCUS = "PluginTable"

    def __init__(
        self,
        api: ManagerApi,
        project: Path,
        start: Callable[[], None] | None,
        clock: Callable[[], float],
        *,
        restart: Restart | None = None,
        debug: Debug | None = None,
        settings: Callable[[], Resolved] | None = None,
    ) -> None:
        super().__init__()
        self._store = ViewStore(project)
        self._state = self._store.read()
        self.restore(self._state)
        self.restart = restart
        self.debug = debug
        self.settings = settings
        self.project = project
        self.start = start
        self.is_ready = start is None
        self.clock = clock
        self._facts = FactReader(api, self.post_message)
        self.requests = Requests(api, self.post_message)
        self._toasts = Toasts(self._toast, clock)
        self._book = LogBook(clock, project)
        self._plugins: dict[str, PluginStatus] = {}
        self._closeup: CloseUp | None = None
        self._telling = False
        self._was_seen = False
        self._until_facts = ExitStack()
        self._offers_enable = False
        self._made = ""
        self._details_due: Timer | None = None

    def compose(self) -> ComposeResult:
        """Lay out the panes; which of them are seen depends on the size."""
        self._facts.look_at(self._state.selected)
        self._facts.start()  # it reads meanwhile
        yield StatusLine(self.project)
        with Container(id="body"):
            yield PluginPane(self.clock)
            yield DetailTabs(self.project, self._book, self.clock, self._state)
        with Horizontal(id="foot"):
            yield LogView(self._book, id="strip")
            yield Timeline()
        yield Prompt(id="filter")
        yield Notice()
        yield TooSmall()
        yield KeyLine()

    @property
    def selected(self) -> PluginStatus | None:
        """The plugin under the table's cursor."""
        return self._plugins.get(self.query_one(PluginTable).chosen)

    @property
    def source(self) -> SourcePair | None:
        """The selected plugin's file, once it was read."""
        plugin, closeup = self.selected, self._closeup
        return closeup.source if plugin and closeup and closeup.name == plugin.name else None

    @property
    def report(self) -> Report | None:
        """What there is to report of the selected plugin."""
        plugin, snapshot, closeup = self.selected, self.query_one(StatusLine).snapshot, self._closeup
        if plugin is None or snapshot is None:
            return None
        detail = closeup.detail if closeup and closeup.name == plugin.name else None
        newest = range(max(0, len(self._book) - LINES), len(self._book))
        return Report(plugin, snapshot.host, detail, [self._book[i].text for i in newest], self.project)

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast; nothing for an empty text."""
        self._toasts.say(text, bad=bad)

    @property
    def plugins(self) -> tuple[PluginStatus, ...]:
        """All plugins, as they were last read."""
        return tuple(self._plugins.values())

    @property
    def is_paused(self) -> bool:
        """Whether saves are kept for later."""
        snapshot = self.query_one(StatusLine).snapshot
        return snapshot is not None and snapshot.watcher.paused

    @property
    def config_fault(self) -> str:
        """What is wrong in the configuration's files."""
        snapshot = self.query_one(StatusLine).snapshot
        return snapshot.host.config_fault if snapshot else ""

    @property
    def is_building(self) -> bool:
        """Whether a request is under way."""
        return bool(self.requests.running) or any(
            plugin.state is PluginState.BUILD for plugin in self._plugins.values()
        )

    def on_mount(self) -> None:
        """Catch what plugins print, and begin."""
        if self._state.theme in self.app.available_themes:
            self.app.theme = self._state.theme
        self.query_one(PluginTable).chosen = self._state.selected
        self.app.begin_capture_print(self)
        self.query_one("#strip", LogView).border_title = "Log"
        self._book.subscribe(self._tell_newest)
        self._until_facts.enter_context(self.app.batch_update())
        self.set_timer(_FIRST_FACTS, self._until_facts.close)
        self.begin()

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        """Open without matching all styles a second time: every widget got its own when it was mounted."""
        event.refresh_styles &= self._was_seen
        self._was_seen = True

    def on_resize(self) -> None:
        """Show the newest log line where the log itself is not to be seen now."""
        self.call_after_refresh(self._tell_newest)

    def on_unmount(self) -> None:
        """Stop reading."""
        self._facts.stop()

    def read_again(self) -> None:
        """Read the facts, though nothing is known to have happened."""
        self._facts.look_at(self.query_one(PluginTable).chosen)

    def keep_view(self) -> None:
        """Remember how things look for the next time."""
        self._state.theme = self.app.theme
        self._store.write(self.view_state(self._state))

    # What happens

    def on_facts_read(self, message: FactsRead) -> None:
        """Hand the facts to the widgets; at the end only what is waited for is of interest."""
        if self.is_leaving:
            self._book.add(message.lines)
            self.tell_unloaded(message.events)
            return
        self._until_facts.close()
        self._plugins = {plugin.name: plugin for plugin in message.snapshot.plugins}
        self._closeup = message.closeup
        status = self.query_one(StatusLine)
        status.is_foreign = self.restart is None and message.snapshot.host.pid != os.getpid()
        status.snapshot = message.snapshot
        status.trouble = message.snapshot.host.trouble or self.trouble
        self.rearrange()
        self.query_one(Timeline).show(message.snapshot.plugins, self.clock())
        self._book.add(message.lines)
        is_of_chosen = (
            message.closeup is not None and message.closeup.name == self.query_one(PluginTable).chosen
        )
        if is_of_chosen or self._details_due is None:
            self._show_details()
        self.call_pinned(message.events)
        if self._telling:
            reads_error = self.query_one(DetailTabs).active == "error" and self.selected is not None
            news = [event for event in message.events if event.at > self.ready_at]
            self._toasts.tell(news, self.selected.name if reads_error and self.selected else "")
        self._telling = self.is_ready  # the loads of the start itself are on the screen already
        self._choose_made()

    def rearrange(self) -> None:
        """Show the plugins that are to be shown, in their order."""
        every = self.plugins
        self.tell_filters()
        snapshot = self.query_one(StatusLine).snapshot
        points = snapshot.points if snapshot else ()
        self.query_one(PluginTable).since = self.ready_at
        self.query_one(PluginTable).show(self.arrangement.of(every), len(every), points)
        self.show_empty()

    def on_history_view_wanted(self, message: HistoryView.Wanted) -> None:
        """Go back to an earlier generation."""
        self.say(self.requests.rollback(message.name, message.generation))

    def on_facts_failed(self, message: FactsFailed) -> None:
        """Say that what is on the screen may be old."""
        self.query_one(StatusLine).trouble = message.reason

    def on_command_ended(self, message: CommandEnded) -> None:
        """Tell how a request ended."""
        dialog = self.app.screen
        if isinstance(dialog, AskNameScreen) and message.failed and message.command.startswith("new "):
            dialog.refuse(message.text)
            return
        if isinstance(dialog, AskNameScreen) and message.made:
            dialog.dismiss()
        words = f"{message.command}: " if message.command else ""
        self._toasts.say(f"{words}{message.text}" if message.text else "", bad=message.failed)
        self._made = message.made or self._made
        self._choose_made()  # its facts may have come before the end of the request, and no more may come
        if message.made:
            self.start_again()

    def _choose_made(self) -> None:
        if self._made in self._plugins:
            self.choose(self._made)
            self._made = ""

    def on_remark(self, message: Remark) -> None:
        """Show what a pane has to say."""
        self._toasts.say(message.text)

    def on_plugin_table_chosen(self, message: PluginTable.Chosen) -> None:
        """Show the details of another plugin."""
        self._facts.look_at(message.name)
        # The cursor's row is painted first: the details come with the next facts, or without them.
        if self._details_due is not None:
            self._details_due.stop()
        self._details_due = self.set_timer(_DETAILS_DELAY, self._show_details)

    def watch_focused(self) -> None:
        """Have the details ready for the next key, which may be here already and is meant for them."""
        if self._details_due is not None:
            self._show_details()

    async def on_plugin_table_opened(self) -> None:
        """Go to the details; to the error of what failed."""
        plugin = self.selected
        await self.action_open_tab("error" if plugin and plugin.fault else "overview")

    def on_print(self, event: events.Print) -> None:
        """Keep what was printed in the log."""
        self._book.add_print(event.text, stderr=event.stderr)

    def _tell_newest(self) -> None:
        seen = self.query_one("#foot").display
        self.query_one(StatusLine).newest = "" if seen else self._book.newest

    def _show_details(self) -> None:
        if self._details_due is not None:
            self._details_due.stop()
            self._details_due = None
        plugin, closeup = self.selected, self._closeup
        if closeup is not None and (plugin is None or closeup.name != plugin.name):
            closeup = None
        faulty = tuple(other.name for other in self._plugins.values() if other.fault)
        snapshot = self.query_one(StatusLine).snapshot
        points = snapshot.points if snapshot else ()
        self.query_one(DetailTabs).show(Facts(plugin, closeup, faulty, points))
        self.tell_filters()  # of how many, now
        off = plugin is not None and plugin.state is PluginState.OFF
        if off != self._offers_enable:
            self._offers_enable = off
            self.refresh_bindings()

    def _toast(self, text: str, *, bad: bool) -> None:
        self.query_one(Notice).show(text, bad=bad)

    def choose(self, name: str) -> None:
        """Put the table's cursor on a plugin."""
        self.query_one(PluginTable).choose(name)
