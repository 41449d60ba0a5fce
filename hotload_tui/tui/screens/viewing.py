"""``ViewingScreen``: what its user sees of the facts: filters, order, size; and how that is kept."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from textual.widget import Widget
from textual.widgets import Input

from hotload_tui.tui.screens.actions import ActionScreen
from hotload_tui.tui.view_state import Arrangement, ViewState
from hotload_tui.tui.widgets.detail_tabs import DetailTabs
from hotload_tui.tui.widgets.log_view import LogView
from hotload_tui.tui.widgets.panes import Filterable, Prompt
from hotload_tui.tui.widgets.plugin_table import PluginTable
from hotload_tui.tui.widgets.status import StatusLine

_HINT: Final = "text, !text; enter keeps it, esc clears it"
_TABLE_HINT: Final = "text, !text, s:fail by state; enter keeps it, esc clears it"


class ViewingScreen(ActionScreen):
    """Arranges what is shown; nothing here asks the manager for anything but calls of hook points."""

    arrangement = Arrangement()
    _keeps_filter = False
    _narrowing: Filterable | PluginTable | None = None
    _came_from: Widget | None = None

    @abstractmethod
    def rearrange(self) -> None:
        """Show the plugins anew."""

    def restore(self, state: ViewState) -> None:
        """Begin as its user left it."""
        self.arrangement = Arrangement(state.filter, state.problems, state.sort, state.reverse)
        self._keeps_filter = bool(self.arrangement.describe())

    def view_state(self, state: ViewState) -> ViewState:
        """Return how it is now; ``state`` is how it began."""
        tabs = self.query_one(DetailTabs)
        hooks, log = tabs.hooks, tabs.log_view
        kept = self.arrangement if self._keeps_filter else Arrangement()
        state.filter, state.problems = kept.filter, kept.problems
        state.sort, state.reverse = self.arrangement.sort, self.arrangement.reverse
        state.selected = self.query_one(PluginTable).chosen
        state.tab = tabs.active
        state.wraps, state.stamped = log.wraps, log.stamped
        state.earlier, state.pinned = list(hooks.earlier), list(hooks.pinned)
        return state

    # The table

    def _arrange(self, arrangement: Arrangement) -> None:
        self.arrangement = arrangement
        self.rearrange()

    def action_problems(self) -> None:
        """Show only what has a problem, or everything."""
        self._arrange(self.arrangement._replace(problems=not self.arrangement.problems))

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._arrange(self.arrangement.next_sort())
        self.say(f"Sorted by {self.arrangement.sort}.")

    def action_reverse(self) -> None:
        """Turn the order around."""
        self._arrange(self.arrangement._replace(reverse=not self.arrangement.reverse))

    # Filters

    def action_filter(self) -> None:
        """Ask what the focused pane is to show."""
        pane = self._pane
        if pane is None:
            return
        self._narrowing, self._came_from = pane, self.focused
        if isinstance(pane, PluginTable):
            kind, hint, text = "table", _TABLE_HINT, self.arrangement.filter
        else:
            kind, hint, text = pane.KIND, _HINT, pane.filter
        self.query_one("#filter", Prompt).open(f"Filter the {kind}", hint, text)

    def action_keep_filter(self) -> None:
        """Keep what the table is narrowed to for the next time, or not any more."""
        narrowed = self.arrangement.describe()
        self._keeps_filter = bool(narrowed) and not self._keeps_filter
        if self._keeps_filter:
            self.say(f"The table's {narrowed} is kept for the next time.")
        else:
            self.say("It is not kept any more." if narrowed else "The table has no filter; / makes one.")

    @property
    def _pane(self) -> Filterable | PluginTable | None:
        """What can be narrowed and has the focus."""
        within = self.focused.ancestors_with_self if self.focused else ()
        return next((pane for pane in within if isinstance(pane, (Filterable, PluginTable))), None)

    def tell_filters(self) -> None:
        """Say which filters are at work in what is seen."""
        panes = (self.query_one(DetailTabs).seen, self.query_one("#strip", LogView))
        parts = [self.arrangement.describe(), *(pane.describe() for pane in panes if pane.is_on_screen)]
        self.query_one(StatusLine).narrowed = ", ".join(filter(None, parts))

    def on_tabbed_content_tab_activated(self) -> None:
        """Say which filter the tab that is opened has."""
        self.call_after_refresh(self.tell_filters)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Narrow the pane while its user types."""
        if event.input.id == "filter" and event.input.has_class("-open"):
            self._narrow(event.value.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and go back to the pane."""
        if event.input.id == "filter":
            self._leave_filter()

    def _narrow(self, text: str) -> None:
        if isinstance(self._narrowing, Filterable):
            self._narrowing.narrow(text)
            self.tell_filters()
        elif self._narrowing is not None:
            self._arrange(self.arrangement._replace(filter=text))

    def _leave_filter(self) -> None:
        self.set_focus(self._came_from)
        self.query_one("#filter", Prompt).close()

    def action_back(self) -> None:
        """Go one level back: out of a line, out of a filter, out of a maximised pane, to the table."""
        if not any(step() for step in (self._left_line, self._cleared_filter, self._restored)):
            super().action_back()

    def _left_line(self) -> bool:
        if self.query_one("#filter", Prompt).has_class("-open"):
            self._narrow("")
            self._leave_filter()
            return True
        return self.query_one(DetailTabs).hooks.leave_prompt()

    def _cleared_filter(self) -> bool:
        pane = self._pane
        if isinstance(pane, Filterable) and pane.filter:
            pane.narrow("")
            self.tell_filters()
            return True
        if isinstance(pane, PluginTable) and self.arrangement.describe():
            self._arrange(self.arrangement._replace(filter="", problems=False))
            return True
        return False

    # The pane

    @property
    def _maximised(self) -> str:
        return next((name for name in ("plugins", "detail", "strip") if self.has_class(f"-max-{name}")), "")

    def action_maximise(self) -> None:
        """Give the whole screen to the pane that has the focus, or take it back."""
        if self._restored():
            return
        pane = self.focused
        if isinstance(pane, PluginTable):
            self.add_class("-max-plugins")
        elif pane is not None:
            self.add_class("-max-strip" if pane.id == "strip" else "-max-detail")

    def _restored(self) -> bool:
        name = self._maximised
        self.remove_class(f"-max-{name}")
        return bool(name)

    def show_pane(self, name: str) -> None:
        """Take back a maximised pane that hides the one that is to be seen."""
        if self._maximised not in ("", name):
            self._restored()

    # Hook points

    def action_pin(self) -> None:
        """Let the newest call of a hook point run again after each reload, or not."""
        self.say(self.query_one(DetailTabs).hooks.toggle_pin())
