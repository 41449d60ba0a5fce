"""``DetailTabs``: what is known about the chosen plugin, a tab for each kind of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from textual import events, on
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
from hotload_tui.tui.widgets.narrowed import Narrowed
from hotload_tui.tui.widgets.overview import Overview
from hotload_tui.tui.widgets.source_view import SourceView

_TITLES: Final = {
    "overview": ("1 Overview", "1 Over"),
    "error": ("2 Error", "2 Err"),
    "log": ("3 Log", "3 Log"),
    "source": ("4 Source", "4 Src"),
    "hashes": ("5 Hashes", "5 Hash"),
    "history": ("6 History", "6 Hist"),
    "hooks": ("7 Hooks", "7 Hooks"),
}
"""The tabs' names and what they are called; the short words are for where the others would be cut."""

_FAULTY: Final = " (1)"
_ROOM: Final = sum(len(whole) + 1 for whole, _ in _TITLES.values()) - 1 + len(_FAULTY)
"""Cells that the row of tabs needs with whole words."""


class Facts(NamedTuple):
    """What the tabs show."""

    status: PluginStatus | None = None
    closeup: CloseUp | None = None
    faulty: tuple[str, ...] = ()
    """All plugins that have a fault."""
    points: tuple[HookPointStatus, ...] = ()


class DetailTabs(Vertical):
    """Holds the tabs and hands each what it shows.

    Only the one that was open the last time is mounted for the first picture; the others follow behind it, or
    when they are opened.
    """

    def __init__(self, project: Path, book: LogBook, clock: Callable[[], float], state: ViewState) -> None:
        super().__init__(id="detail")
        self.log_view = LogView(book, wraps=state.wraps, stamped=state.stamped)
        self.hooks = HooksView(state.earlier, state.pinned)
        self._facts = Facts()
        self._filling = asyncio.Lock()
        self._panes: dict[str, Narrowed] = {
            "overview": Overview(project, clock),
            "error": ErrorView(project),
            "log": self.log_view,
            "source": SourceView(),
            "hashes": HashesView(),
            "history": HistoryView(),
            "hooks": self.hooks,
        }
        self._first = state.tab if state.tab in self._panes else next(iter(self._panes))
        self._is_narrow = False

    def compose(self) -> ComposeResult:
        """Make the tabs; their numbers are their keys."""
        with TabbedContent(initial=self._first):
            for name, content in self._panes.items():
                with TabPane(Content(self._title(name)), id=name):
                    if name == self._first:
                        yield content

    def on_mount(self) -> None:
        """Let the focus go to what is in a tab, never to the row of tabs."""
        self.query_one(Tabs).can_focus = False
        self.border_title = "Details"

    def on_resize(self, event: events.Resize) -> None:
        """Name the tabs with words that fit."""
        is_narrow = event.size.width < _ROOM
        if is_narrow != self._is_narrow:
            self._is_narrow = is_narrow
            for name in self._panes:
                self._label(name)

    @on(events.DescendantFocus)
    @on(events.DescendantBlur)
    def mark_focus(self) -> None:
        """Let the line on top tell whether the focus is in a tab.

        With ``:focus-within`` Textual works out the styles of all tabs anew whenever the focus moves.
        """
        self.set_class(self.has_focus_within, "-focused", update=False)
        self.app.stylesheet.update_nodes([self])

    @property
    def active(self) -> str:
        """The name of the tab that is seen."""
        return self.query_one(TabbedContent).active

    @property
    def seen(self) -> Narrowed:
        """What is in the tab that is seen."""
        return self._panes[self.active or self._first]

    async def open(self, name: str) -> None:
        """Show a tab and focus it."""
        await self.fill()
        self.query_one(TabbedContent).active = name
        # At once: the next key may be here already, and is meant for this tab.
        with self.prevent(TabPane.Focused):  # it comes behind the next key, and would take its tab back
            self.screen.set_focus(self._content_of(name))
        if name == "hooks":
            self.hooks.draw_table()  # behind the focus, with which the newest facts come

    async def fill(self) -> None:
        """Mount what no tab has yet."""
        async with self._filling:
            if not self.is_attached:  # the console was left at once
                return
            missing = [(name, content) for name, content in self._panes.items() if not content.is_attached]
            for name, content in missing:
                await self.query_one(f"#{name}", TabPane).mount(content)
        if missing:
            self._hand_on()

    def show(self, facts: Facts) -> None:
        """Show these facts."""
        is_first = self._facts.status is None
        status, self._facts = facts.status, facts
        # Each of the two has the screen laid out or painted anew, also when it is set to what it is.
        title = Content(clean_line(status.name, 60) if status else "Details")
        if title.markup != self.border_title:
            self.border_title = title
        self._label("error")
        self._hand_on()
        if is_first and status is not None:
            self.call_after_refresh(self.fill)

    def _hand_on(self) -> None:
        status, closeup, faulty, points = self._facts
        detail, source, history = (
            (closeup.detail, closeup.source, closeup.history) if closeup else (None, None, ())
        )
        for content in self._panes.values():
            if not content.is_mounted:
                continue
            match content:
                case Overview():
                    content.show(status, detail, history)
                case ErrorView():
                    content.show(status, source, faulty)
                case SourceView():
                    content.show(status, source)
                case HashesView():
                    content.show(detail)
                case HistoryView():
                    content.show(status, history)
                case HooksView():
                    content.show(points)
                case _:
                    pass  # the log reads its book

    async def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        """Keep the focus in the tabs, if it was there, when another tab is clicked."""
        if event.pane.id != self._first:
            await self.fill()
        if event.pane.id != self.active:
            return  # another tab was opened meanwhile
        focused = self.screen.focused
        is_there = focused is not None and event.pane in focused.ancestors  # perhaps in a line to type in
        if self.has_focus_within and event.pane.id and not is_there:
            self._content_of(event.pane.id).focus()

    def _content_of(self, name: str) -> Widget:
        content = self._panes[name]
        return content.table if isinstance(content, HooksView) else content

    def _title(self, name: str) -> str:
        status = self._facts.status
        is_faulty = name == "error" and status is not None and status.fault is not None
        return _TITLES[name][self._is_narrow] + _FAULTY * is_faulty

    def _label(self, name: str) -> None:
        tab, label = self.query_one(TabbedContent).get_tab(name), Content(self._title(name))
        if not label.is_same(tab.label):
            tab._layout_updates += 1  # noqa: SLF001 - as in Body, Textual measures but once
            tab.label = label
