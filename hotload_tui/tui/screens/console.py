"""``ConsoleScreen``: composes the widgets and routes messages between them and the manager."""

from __future__ import annotations

import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.timer import Timer

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.config_files import Resolved
from hotload_tui.core.events import AnyEvent, PluginDisabled, PluginLoaded, PluginRemoved, PluginRetired
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.editor import Debug
from hotload_tui.tui.requests import (
    CallsEnded,
    CloseUp,
    CommandEnded,
    FactReader,
    FactsFailed,
    FactsRead,
    Remark,
    Requests,
    SourcePair,
    StartEnded,
    StopEnded,
)
from hotload_tui.tui.screens.actions import ActionScreen, Restart
from hotload_tui.tui.screens.dialogs import AskNameScreen
from hotload_tui.tui.screens.viewing import ViewingScreen
from hotload_tui.tui.terminal import settle
from hotload_tui.tui.text import clean_line
from hotload_tui.tui.view_state import ViewStore
from hotload_tui.tui.widgets.detail_tabs import DetailFacts, DetailTabs
from hotload_tui.tui.widgets.error_view import LINES, FailureReport
from hotload_tui.tui.widgets.history_view import HistoryView, Timeline
from hotload_tui.tui.widgets.hooks_view import HooksView
from hotload_tui.tui.widgets.log_view import LogBook, LogView
from hotload_tui.tui.widgets.panes import Prompt
from hotload_tui.tui.widgets.plugin_table import PluginPane, PluginTable
from hotload_tui.tui.widgets.status import KeyLine, Notice, StatusLine, Toasts, TooSmall

_ANSWERS_ANEW = (PluginLoaded, PluginDisabled, PluginRemoved)
"""After these events, a hook point may answer differently."""


class WorkbenchScreen(ViewingScreen):
    """Makes the calls that the Hooks tab requests."""

    clock: Callable[[], float]
    is_ready: bool
    _call_again = False

    @abstractmethod
    def read_again(self) -> None:
        """Read the state again without an event."""

    @abstractmethod
    def keep_view(self) -> None:
        """Store the view state for the next session."""

    def on_hooks_view_wanted(self, message: HooksView.Wanted) -> None:
        """Call the requested hook points."""
        self.say(self.requests.call(message.calls, self.clock))

    def on_hooks_view_kept(self) -> None:
        """Store the earlier and the pinned calls now, because the console may not end in order."""
        self.keep_view()

    def on_calls_ended(self, message: CallsEnded) -> None:
        """Show the handlers' results."""
        hooks = self.query_one(DetailTabs).hooks
        self.say(hooks.take(message.results, reloaded=message.reloaded))
        self.read_again()  # no event reports calls
        if self._call_again:
            self.call_pinned()

    def call_pinned(self, events: tuple[AnyEvent, ...] = (), *, anyway: bool = False) -> None:
        """Run the pinned calls again if an event may change their answers, or with ``anyway``.

        While the same calls are under way, they run once more afterwards.
        """
        self._call_again |= anyway
        pinned = tuple(self.query_one(DetailTabs).hooks.pinned)
        if not pinned or not self.is_ready:
            return
        if self._call_again or any(isinstance(event, _ANSWERS_ANEW) for event in events):
            self._call_again = bool(self.requests.call(pinned, self.clock, reloaded=True))


SETTLED: Final = 1.0
"""Seconds after the first scan in which all rows should appear."""

PATIENCE: Final = 10.0
"""Seconds after which the collector is enabled again even if the first scan has not ended."""


class StartingScreen(WorkbenchScreen):
    """Starts the search for plugins and shows its progress."""

    start: Callable[[], None] | None
    is_ready: bool
    """Whether the first scan has ended."""
    ready_at = math.inf
    """When the first scan ended; earlier events are on the screen already and are not news."""
    trouble = ""
    """Why the first scan failed; empty if it succeeded."""
    _missing = False

    @property
    @abstractmethod
    def plugins(self) -> tuple[PluginStatus, ...]:
        """All plugins, as of the last read."""

    def begin(self) -> None:
        """Begin the search for plugins."""
        if self.is_ready:
            self.ready_at = -math.inf
            self.query_one(StatusLine).busy = ""
        self.set_timer(SETTLED if self.is_ready else PATIENCE, settle)
        self.run_start()

    def run_start(self) -> None:
        """Scan, load and watch; ``StartEnded`` reports the result."""
        if self.start is not None:
            self.requests.start(self.start)

    def on_start_ended(self, message: StartEnded) -> None:
        """Show that the console is ready, or why it is not."""
        self.is_ready, self.ready_at = True, time.time()
        self.set_timer(SETTLED, settle)
        self._missing = message.folder_missing
        status = self.query_one(StatusLine)
        self.trouble = status.trouble = message.trouble
        status.busy = ""
        self.show_empty()
        self.call_pinned(anyway=True)  # the calls pinned in the previous session
        self.read_again()

    def start_again(self) -> None:
        """Repeat the search for plugins if their folder was missing."""
        if self._missing:
            self._missing, self.trouble = False, ""
            self.run_start()

    def show_empty(self) -> None:
        """Show why the table has no rows, and which key adds one."""
        pane = self.query_one(PluginPane)
        if self.plugins:
            shown = self.query_one(PluginTable).row_count
            pane.empty = "" if shown else self.arrangement.nothing(len(self.plugins))
        elif not self.is_ready:
            pane.empty = "Looking for plugins …"
        elif trouble := self.trouble or self._watcher_trouble():
            pane.empty = f"{clean_line(trouble)}\nn makes it with a first plugin from the template."
        else:
            pane.empty = "No plugins yet. n makes one from the template."

    def _watcher_trouble(self) -> str:
        snapshot = self.query_one(StatusLine).snapshot
        return snapshot.watcher.trouble if snapshot and snapshot.watcher.state == "failed" else ""


class LeavingScreen(ActionScreen):
    """Unloads the plugins and leaves the console."""

    _waiting: tuple[tuple[str, int], ...] = ()
    """Name and generation of each plugin that is not unloaded yet."""

    @property
    @abstractmethod
    def plugins(self) -> tuple[PluginStatus, ...]:
        """All plugins, as of the last read."""

    def unload(self, stop: Callable[[], None]) -> None:
        """Unload the plugins; the console leaves when unloading has ended."""
        self.is_leaving = True
        self.refresh_bindings()
        self.query_one(StatusLine).snapshot = None
        self._tell_waiting((one.name, one.generation) for one in self.plugins if one.generation)
        self.requests.stop(stop)

    def tell_unloaded(self, events: Iterable[AnyEvent]) -> None:
        """Remove the plugins that are now unloaded from the status line."""
        gone = {(event.name, event.generation) for event in events if isinstance(event, PluginRetired)}
        self._tell_waiting(one for one in self._waiting if one not in gone)

    def _tell_waiting(self, generations: Iterable[tuple[str, int]]) -> None:
        """Show the plugins that are not unloaded yet in the status line."""
        self._waiting = tuple(generations)
        names = ", ".join(name for name, _ in self._waiting)
        whom = f" {clean_line(names, 30)}" if names else ""
        self.query_one(StatusLine).busy = f"unloading{whom}… (q quits at once)"

    def on_stop_ended(self, message: StopEnded) -> None:
        """Leave, and print an error in the place of the console."""
        self.app.exit(message=Text(clean_line(message.trouble)) if message.trouble else None)


_FIRST_FACTS = 0.1
"""Seconds that the first paint waits for the state."""

_DETAILS_DELAY = 0.1
"""Seconds in which the details of another plugin should arrive."""


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
        """Compose the panes; the screen's size decides which of them are visible."""
        self._facts.look_at(self._state.selected)
        self._facts.start()  # the first read runs during the composition
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
        """The selected plugin's file; ``None`` until it has been read."""
        plugin, closeup = self.selected, self._closeup
        return closeup.source if plugin and closeup and closeup.name == plugin.name else None

    @property
    def report(self) -> FailureReport | None:
        """The report about the selected plugin; ``None`` without a plugin or before the first read."""
        plugin, snapshot, closeup = self.selected, self.query_one(StatusLine).snapshot, self._closeup
        if plugin is None or snapshot is None:
            return None
        detail = closeup.detail if closeup and closeup.name == plugin.name else None
        newest = range(max(0, len(self._book) - LINES), len(self._book))
        return FailureReport(
            plugin, snapshot.host, detail, [self._book[i].text for i in newest], self.project
        )

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show a toast; do nothing for an empty text."""
        self._toasts.say(text, bad=bad)

    @property
    def plugins(self) -> tuple[PluginStatus, ...]:
        """All plugins, as of the last read."""
        return tuple(self._plugins.values())

    @property
    def is_paused(self) -> bool:
        """Whether the watcher collects saves instead of applying them."""
        snapshot = self.query_one(StatusLine).snapshot
        return snapshot is not None and snapshot.watcher.paused

    @property
    def config_fault(self) -> str:
        """The fault in the configuration files; empty if there is none."""
        snapshot = self.query_one(StatusLine).snapshot
        return snapshot.host.config_fault if snapshot else ""

    @property
    def is_building(self) -> bool:
        """Whether a request or a build is under way."""
        return bool(self.requests.running) or any(
            plugin.state is PluginState.BUILD for plugin in self._plugins.values()
        )

    def on_mount(self) -> None:
        """Apply the stored theme and selection, capture printed text, and begin."""
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
        """Skip the style update of the first resume: every widget was styled when it was mounted."""
        event.refresh_styles &= self._was_seen
        self._was_seen = True

    def on_resize(self) -> None:
        """Show the newest log line in the status line if the log below is hidden now."""
        self.call_after_refresh(self._tell_newest)

    def on_unmount(self) -> None:
        """Stop reading the state."""
        self._facts.stop()

    def read_again(self) -> None:
        """Read the state again without an event."""
        self._facts.look_at(self.query_one(PluginTable).chosen)

    def keep_view(self) -> None:
        """Store the view state for the next session."""
        self._state.theme = self.app.theme
        self._store.write(self.view_state(self._state))

    def on_facts_read(self, message: FactsRead) -> None:
        """Pass the state to the widgets; during unloading, show only log lines and unloaded plugins."""
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
        self._telling = self.is_ready  # the loads of the start are on the screen already
        self._choose_made()

    def rearrange(self) -> None:
        """Show the filtered plugins in their order."""
        every = self.plugins
        self.tell_filters()
        snapshot = self.query_one(StatusLine).snapshot
        points = snapshot.points if snapshot else ()
        self.query_one(PluginTable).since = self.ready_at
        self.query_one(PluginTable).show(self.arrangement.of(every), len(every), points)
        self.show_empty()

    def on_history_view_wanted(self, message: HistoryView.Wanted) -> None:
        """Roll back to an earlier generation."""
        self.say(self.requests.rollback(message.name, message.generation))

    def on_facts_failed(self, message: FactsFailed) -> None:
        """Show that the state on the screen may be out of date."""
        self.query_one(StatusLine).trouble = message.reason

    def on_command_ended(self, message: CommandEnded) -> None:
        """Show how a command ended."""
        dialog = self.app.screen
        if isinstance(dialog, AskNameScreen) and message.failed and message.command.startswith("new "):
            dialog.refuse(message.text)
            return
        if isinstance(dialog, AskNameScreen) and message.made:
            dialog.dismiss()
        words = f"{message.command}: " if message.command else ""
        self._toasts.say(f"{words}{message.text}" if message.text else "", bad=message.failed)
        self._made = message.made or self._made
        self._choose_made()  # the last read may precede this message, and no other may follow
        if message.made:
            self.start_again()

    def _choose_made(self) -> None:
        if self._made in self._plugins:
            self.choose(self._made)
            self._made = ""

    def on_remark(self, message: Remark) -> None:
        """Show a pane's remark as a toast."""
        self._toasts.say(message.text)

    def on_plugin_table_chosen(self, message: PluginTable.Chosen) -> None:
        """Show the details of another plugin."""
        self._facts.look_at(message.name)
        # Paint the cursor's row first: the details follow with the next read, or after _DETAILS_DELAY.
        if self._details_due is not None:
            self._details_due.stop()
        self._details_due = self.set_timer(_DETAILS_DELAY, self._show_details)

    def watch_focused(self) -> None:
        """Show pending details at once: the next key may have arrived already and is meant for them."""
        if self._details_due is not None:
            self._show_details()

    async def on_plugin_table_opened(self) -> None:
        """Open the Overview tab, or the Error tab if the plugin has a fault."""
        plugin = self.selected
        await self.action_open_tab("error" if plugin and plugin.fault else "overview")

    def on_print(self, event: events.Print) -> None:
        """Add printed text to the log."""
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
        self.query_one(DetailTabs).show(DetailFacts(plugin, closeup, faulty, points))
        self.tell_filters()  # with the new numbers of matches
        off = plugin is not None and plugin.state is PluginState.OFF
        if off != self._offers_enable:
            self._offers_enable = off
            self.refresh_bindings()

    def _toast(self, text: str, *, bad: bool) -> None:
        self.query_one(Notice).show(text, bad=bad)

    def choose(self, name: str) -> None:
        """Put the table's cursor on a plugin."""
        self.query_one(PluginTable).choose(name)
