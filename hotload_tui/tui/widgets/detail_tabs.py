"""``DetailTabs``: the details of the selected plugin, in one tab for each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import TabbedContent, TabPane, Tabs

from hotload_tui.core.model import HandlerStatus, HistoryEntry, PluginDetail, PluginStatus
from hotload_tui.tui import keys
from hotload_tui.tui.framework import measure_again
from hotload_tui.tui.text import NO_PLUGIN, clean_line, clock_time, count, duration, milliseconds, short_path
from hotload_tui.tui.view_state import ViewState
from hotload_tui.tui.widgets.error_view import ErrorView
from hotload_tui.tui.widgets.files_view import HashesView, SourceView
from hotload_tui.tui.widgets.history_view import HistoryView
from hotload_tui.tui.widgets.hooks_view import HooksView
from hotload_tui.tui.widgets.log_view import LogBook, LogView
from hotload_tui.tui.widgets.panes import DetailFacts, DetailPane, TextPane

_LABEL: Final = 12
_BARS: Final = "▁▂▃▄▅▆▇█"
_RELOADS: Final = 30
"""The maximum number of load times drawn."""

Row: TypeAlias = tuple[str, str]
"""A label and its value."""


class Overview(TextPane):
    """Shows the status and the details of one plugin."""

    BINDINGS = keys.SCROLL
    KIND = "overview"

    def __init__(self, project: Path, clock: Callable[[], float]) -> None:
        super().__init__(is_wrapped=True)
        self._project = project
        self._clock = clock

    def shown_facts(self, facts: DetailFacts) -> object:
        """Return the plugin; its details and history may come later than its status."""
        return facts.status, facts.closeup.detail, facts.closeup.history

    def on_mount(self) -> None:
        """Update the age once a second."""
        self.set_interval(1, self.redraw)

    def on_resize(self) -> None:
        """Wrap to the new width."""
        self.redraw()

    def text_to_copy(self) -> str:
        """Return the whole text, without the filter."""
        return self._text(self.facts.status).plain if self.facts.status else ""

    def text(self) -> Content:
        """Return the lines that match the filter."""
        status = self.facts.status
        return self.of_lines(self._text(status)) if status else Content(NO_PLUGIN)

    def _text(self, status: PluginStatus) -> Content:
        detail = self.facts.closeup.detail
        width = max(20, self.scrollable_content_region.width - 2)
        title = Content.assemble((clean_line(status.name, 200), "bold"), f"  {status.sign}")
        text = Content(clean_line(detail.description)).wrap(width) if detail and detail.description else []
        rows = [*self._rows(status), *(_details(detail) if detail else ())]
        lines = [line for label, value in rows for line in _row(label, value, width)]
        return Content("\n").join([title, *text, Content(""), *lines])

    def _rows(self, status: PluginStatus) -> Iterator[Row]:
        if status.fault is not None:
            fault = status.fault
            yield ("trouble", f"{clean_line(fault.type, 100)}: {clean_line(fault.message, 300)}")
            step = fault.step(status.generation)
            where = f"in {step}; " if step != fault.phase else ""
            yield ("", f"{where}press 2 for the traceback")
        if status.old:
            yield ("old code", clean_line(status.old, 500))
        kind = "folder" if status.folder == Path(status.path) else "file"
        yield (kind, short_path(status.path, self._project))
        yield ("running", clean_line(status.digest) or "nothing")
        same = status.source_digest and status.source_digest == status.digest
        yield ("on disk", "the same" if same else clean_line(status.source_digest) or "unknown")
        yield ("generation", f"{status.generation or 'none'}, {count(status.reloads, 'reload')}")
        if status.loaded_at:
            age = duration(self._clock() - status.loaded_at)
            yield ("loaded", f"{clock_time(status.loaded_at)}, {age} ago")
            build = (
                _took(status.compile_seconds) if status.compile_seconds else "none, the artifact was there"
            )
            yield ("took", f"load {_took(status.load_seconds)}, build {build}")
        yield from _reload(status)
        if len(history := [entry for entry in self.facts.closeup.history if not entry.count]) > 1:
            yield ("load times", _load_times(history[-_RELOADS:]))
        points = ", ".join(f"{clean_line(place.point, 80)} ({place.priority})" for place in status.points)
        yield ("hook points", points or "none")
        yield from _why(status)
        if status.memory:
            yield ("memory", f"earlier version: {clean_line(status.memory, 300)}")
        for each in status.outdated:
            yield ("outdated", clean_line(each, 300))
        for left in status.left:
            yield ("left", f"earlier version: {clean_line(left, 300)}")


def _why(status: PluginStatus) -> Iterator[Row]:
    """Yield why a plugin does not follow its source, or is suspected."""
    if status.waits:
        yield ("waits", clean_line(status.waits, 300))
    if status.held:
        way_out = "save a fix, or h loads its source as it is" if status.is_held_by_fault else "h releases it"
        yield ("held", f"{clean_line(status.held, 300)}; {way_out}")
    if status.suspected:
        yield ("suspected", clean_line(status.suspected, 300))


def _reload(status: PluginStatus) -> Iterator[Row]:
    """Yield how a plugin reloads, if it is not swapped."""
    if status.reload == "replace":
        yield ("reload", "replace: it leaves before a new version loads")
        if status.gap_seconds:
            yield ("gap", f"{_took(status.gap_seconds)} without a live version")


def _load_times(history: Sequence[HistoryEntry]) -> str:
    """Draw a bar for each load, the newest on the right, and ``!`` for each failure."""
    times = [entry.load_seconds for entry in history if entry.fault is None]
    if not times:
        return "!" * len(history)
    low, high = min(times), max(times)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    bars = "".join(
        "!" if entry.fault else _BARS[round((entry.load_seconds - low) / step)] for entry in history
    )
    return f"{bars}  {milliseconds(low)} to {milliseconds(high)} ms"


def _took(seconds: float) -> str:
    return f"{milliseconds(seconds)} ms"


def _row(label: str, value: str, width: int) -> Iterator[Content]:
    """Yield the lines of a row; the lines after the first begin below the value."""
    for line in Content(value).wrap(width - _LABEL - 1):
        yield Content.assemble((f"{label:<{_LABEL}} ", "$foreground-muted"), line)
        label = ""


def _details(detail: PluginDetail) -> Iterator[Row]:
    for label, names in (("requires", detail.requires), ("required by", detail.required_by)):
        if names:
            yield (label, clean_line(", ".join(names), 300))
    for name, value in detail.settings.items():
        yield ("setting", f"{clean_line(name, 80)} = {clean_line(repr(value), 200)}")
    for point in detail.handlers:
        for handler in point.handlers:
            yield ("handler", f"{clean_line(point.point, 80)}: {_handler(handler)}")
    for entry in detail.ledger:
        yield (entry.outcome, clean_line(entry.describe(), 200))
    for file in detail.files:
        yield ("file", f"{clean_line(file.path, 120)}  {file.sha256[:12]}  {count(file.size, 'byte')}")


def _handler(handler: HandlerStatus) -> str:
    time = f", {milliseconds(handler.mean_seconds)} ms each" if handler.mean_seconds else ""
    faults = f", {count(handler.faults, 'fault')}" if handler.faults else ""
    return f"{clean_line(handler.function, 80)}, {count(handler.calls, 'call')}{faults}{time}"


_TITLES: Final = {
    "overview": ("1 Overview", "1 Over"),
    "error": ("2 Error", "2 Err"),
    "log": ("3 Log", "3 Log"),
    "source": ("4 Source", "4 Src"),
    "hashes": ("5 Hashes", "5 Hash"),
    "history": ("6 History", "6 Hist"),
    "hooks": ("7 Hooks", "7 Hooks"),
}
"""The long and the short title of each tab; the short titles are for a pane that would cut the long ones."""

_FAULTY: Final = " (1)"
_ROOM: Final = sum(len(whole) + 1 for whole, _ in _TITLES.values()) - 1 + len(_FAULTY)
"""Cells that the row of tabs needs for the long titles."""


class DetailTabs(Vertical):
    """Holds the tabs and passes each tab the values that it shows.

    For the first paint, only the content of the tab that was open in the previous session is mounted. The
    other contents follow afterwards, or when the user opens a tab.
    """

    def __init__(self, project: Path, book: LogBook, clock: Callable[[], float], state: ViewState) -> None:
        super().__init__(id="detail")
        self.log_view = LogView(
            book, wraps=state.wraps, stamped=state.stamped, steps=state.steps, least=state.least
        )
        self.hooks = HooksView()
        self._facts = DetailFacts()
        self._filling = asyncio.Lock()
        self._panes: dict[str, DetailPane] = {
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
        self._content = TabbedContent(initial=self._first)

    def compose(self) -> ComposeResult:
        """Compose the tabs; the number in a title is the tab's key."""
        with self._content:
            for name, content in self._panes.items():
                with TabPane(Content(self._title(name)), id=name):
                    if name == self._first:
                        yield content

    def on_mount(self) -> None:
        """Keep the focus off the row of tabs; only a tab's content takes it."""
        self.query_one(Tabs).can_focus = False
        self.border_title = "Details"

    def on_resize(self, event: events.Resize) -> None:
        """Use the tab titles that fit."""
        is_narrow = event.size.width < _ROOM
        if is_narrow != self._is_narrow:
            self._is_narrow = is_narrow
            for name in self._panes:
                self._label(name)

    @on(events.DescendantFocus)
    @on(events.DescendantBlur)
    def mark_focus(self) -> None:
        """Mark in the top border whether the focus is in a tab.

        With ``:focus-within``, Textual computes the styles of all tabs again whenever the focus moves.
        """
        self.set_class(self.has_focus_within, "-focused", update=False)
        self.app.stylesheet.update_nodes([self])

    @property
    def active(self) -> str:
        """The name of the visible tab."""
        return self._content.active

    @property
    def seen(self) -> DetailPane:
        """The content of the visible tab."""
        return self._panes[self.active or self._first]

    async def open(self, name: str, *, takes_focus: bool = True) -> None:
        """Show a tab; focus it if it ``takes_focus``, or if the focus is in another tab."""
        await self.fill()
        takes_focus |= self.has_focus_within
        self._content.active = name
        if not takes_focus:
            return
        # Set the focus at once: the next key may have arrived already and is meant for this tab.
        with self.prevent(TabPane.Focused):  # it would arrive after the next key and revert the key's tab
            self.screen.set_focus(self._content_of(name))
        if name == "hooks":
            self.hooks.redraw()  # after the focus, which brings the newest values

    async def fill(self) -> None:
        """Mount the contents that are not mounted yet."""
        async with self._filling:
            if not self.is_attached:  # the user left the console at once
                return
            missing = [(name, content) for name, content in self._panes.items() if not content.is_attached]
            for name, content in missing:
                pane = self._content.get_pane(name)
                if not pane.is_attached:  # in the first moments, or while the screen ends
                    self.call_after_refresh(self.fill)
                    break
                await pane.mount(content)
        if missing:
            self._hand_on()

    def show(self, facts: DetailFacts) -> None:
        """Show these values."""
        is_first = self._facts.status is None
        status, self._facts = facts.status, facts
        # Setting the title or the label lays out or paints the screen again, even with an equal value.
        title = Content(clean_line(status.name, 60) if status else "Details")
        if title.markup != self.border_title:
            self.border_title = title
        self._label("error")
        self._hand_on()
        if is_first and status is not None:
            self.call_after_refresh(self.fill)

    def recolour(self) -> None:
        """Draw what has a colour of the previous theme in its text."""
        for content in self._panes.values():
            if content.is_mounted:
                content.recolour()

    def _hand_on(self) -> None:
        for content in self._panes.values():
            if content.is_mounted:
                content.show(self._facts)

    async def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        """Keep the focus in the tabs, if it was there, when the user clicks another tab."""
        if event.pane.id != self._first:
            await self.fill()
        if event.pane.id != self.active:
            return  # the user has opened another tab meanwhile
        focused = self.screen.focused
        is_there = focused is not None and event.pane in focused.ancestors  # perhaps in an input line
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
        tab, label = self._content.get_tab(name), Content(self._title(name))
        if not label.is_same(tab.label):
            measure_again(tab)
            tab.label = label
