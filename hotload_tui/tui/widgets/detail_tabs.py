"""``DetailTabs``: what is known about the chosen plugin, a tab for each kind of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import TabbedContent, TabPane, Tabs

from hotload_tui.core.plugin import HookPointStatus, PluginStatus
from hotload_tui.tui.log_book import LogBook
from hotload_tui.tui.messages import CloseUp
from hotload_tui.tui.text import clean_line
from hotload_tui.tui.view_state import ViewState
from hotload_tui.tui.widgets.error_view import ErrorView
from hotload_tui.tui.widgets.hashes_view import HashesView
from hotload_tui.tui.widgets.history_view import HistoryView
from hotload_tui.tui.widgets.hooks_view import HooksView
from hotload_tui.tui.widgets.log_view import LogView
from hotload_tui.tui.widgets.overview import Overview
from hotload_tui.tui.widgets.source_view import SourceView


class DetailTabs(Vertical):
    """Holds the tabs and hands each what it shows."""

    def __init__(self, project: Path, book: LogBook, clock: Callable[[], float], state: ViewState) -> None:
        super().__init__(id="detail")
        self._panes: tuple[tuple[str, str, Widget], ...] = (
            ("1 Overview", "overview", Overview(project, clock)),
            ("2 Error", "error", ErrorView(project)),
            ("3 Log", "log", LogView(book, wraps=state.wraps, stamped=state.stamped)),
            ("4 Source", "source", SourceView()),
            ("5 Hashes", "hashes", HashesView()),
            ("6 History", "history", HistoryView()),
            ("7 Hooks", "hooks", HooksView(state.earlier, state.pinned)),
        )

    def compose(self) -> ComposeResult:
        """Make the tabs; their numbers are their keys."""
        with TabbedContent():
            for title, name, content in self._panes:
                with TabPane(Content(title), id=name):
                    yield content

    def on_mount(self) -> None:
        """Let the focus go to what is in a tab, never to the row of tabs."""
        self.query_one(Tabs).can_focus = False
        self.border_title = "Details"

    @property
    def active(self) -> str:
        """The name of the tab that is seen."""
        return self.query_one(TabbedContent).active

    def open(self, name: str) -> None:
        """Show a tab and focus it."""
        self.query_one(TabbedContent).active = name
        if name == "hooks":
            self.query_one(HooksView).draw_table()
        # At once: the next key may be here already, and is meant for this tab.
        self.screen.set_focus(self._content_of(name))

    def show(
        self,
        status: PluginStatus | None,
        closeup: CloseUp | None,
        faulty: tuple[str, ...],
        points: tuple[HookPointStatus, ...],
    ) -> None:
        """Show this plugin; ``faulty`` are all plugins that have a fault."""
        detail, source = (closeup.detail, closeup.source) if closeup else (None, None)
        # Each of the two has the screen laid out or painted anew, also when it is set to what it is.
        title = Content(clean_line(status.name, 60) if status else "Details")
        if title.markup != self.border_title:
            self.border_title = title
        tab, label = self.query_one(TabbedContent).get_tab("error"), Content(_error_label(status))
        if not label.is_same(tab.label):
            tab.label = label
        self.query_one(Overview).show(status, detail, closeup.history if closeup else ())
        self.query_one(ErrorView).show(status, source, faulty)
        self.query_one(SourceView).show(status, source)
        self.query_one(HashesView).show(detail)
        self.query_one(HistoryView).show(status, closeup.history if closeup else ())
        self.query_one(HooksView).show(points)

    def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        """Keep the focus in the tabs, if it was there, when another tab is clicked."""
        if event.pane.id != self.active:
            return  # another tab was opened meanwhile
        focused = self.screen.focused
        is_there = focused is not None and event.pane in focused.ancestors  # perhaps in a line to type in
        if self.has_focus_within and event.pane.id and not is_there:
            self._content_of(event.pane.id).focus()

    def _content_of(self, name: str) -> Widget:
        content = next(content for _, pane, content in self._panes if pane == name)
        return content.table if isinstance(content, HooksView) else content


def _error_label(status: PluginStatus | None) -> str:
    return "2 Error (1)" if status and status.fault else "2 Error"
