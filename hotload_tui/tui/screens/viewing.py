"""``ViewingScreen``: the filters, the order and the pane size that the user chose, and the view state."""

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
    """Arranges the view; its only requests to the manager are calls of hook points."""

    arrangement = Arrangement()
    _keeps_filter = False
    _narrowing: Filterable | PluginTable | None = None
    _came_from: Widget | None = None

    @abstractmethod
    def rearrange(self) -> None:
        """Show the plugins again, with the present filter and order."""

    def restore(self, state: ViewState) -> None:
        """Apply the stored view state."""
        self.arrangement = Arrangement(state.filter, state.problems, state.sort, state.reverse)
        self._keeps_filter = bool(self.arrangement.describe())

    def view_state(self, state: ViewState) -> ViewState:
        """Update ``state``, with which the screen began, to the present view, and return it."""
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

    def _arrange(self, arrangement: Arrangement) -> None:
        self.arrangement = arrangement
        self.rearrange()

    def action_problems(self) -> None:
        """Show only the plugins that have a problem, or all plugins again."""
        self._arrange(self.arrangement._replace(problems=not self.arrangement.problems))

    def action_sort(self) -> None:
        """Sort the table by the next column."""
        self._arrange(self.arrangement.next_sort())
        self.say(f"Sorted by {self.arrangement.sort}.")

    def action_reverse(self) -> None:
        """Reverse the order of the table."""
        self._arrange(self.arrangement._replace(reverse=not self.arrangement.reverse))

    def action_filter(self) -> None:
        """Open the filter line for the focused pane."""
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
        """Keep the table's filter for the next session, or stop keeping it."""
        filtered = self.arrangement.describe()
        self._keeps_filter = bool(filtered) and not self._keeps_filter
        if self._keeps_filter:
            self.say(f"The table's {filtered} is kept for the next time.")
        else:
            self.say("It is not kept any more." if filtered else "The table has no filter; / makes one.")

    @property
    def _pane(self) -> Filterable | PluginTable | None:
        """The filterable pane that has the focus."""
        within = self.focused.ancestors_with_self if self.focused else ()
        return next((pane for pane in within if isinstance(pane, (Filterable, PluginTable))), None)

    def tell_filters(self) -> None:
        """Show the active filters of the visible panes in the status line."""
        panes = (self.query_one(DetailTabs).seen, self.query_one("#strip", LogView))
        parts = [self.arrangement.describe(), *(pane.describe() for pane in panes if pane.is_on_screen)]
        self.query_one(StatusLine).filtered = ", ".join(filter(None, parts))

    def on_tabbed_content_tab_activated(self) -> None:
        """Show the filter of the tab that was opened."""
        self.call_after_refresh(self.tell_filters)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter the pane while the user types."""
        if event.input.id == "filter" and event.input.has_class("-open"):
            self._narrow(event.value.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and return the focus to the pane."""
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
        """Go one level back: close an input line, clear a filter, restore the panes, or focus the table."""
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

    @property
    def _maximised(self) -> str:
        return next((name for name in ("plugins", "detail", "strip") if self.has_class(f"-max-{name}")), "")

    def action_maximise(self) -> None:
        """Give the whole screen to the focused pane, or restore the maximised pane."""
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
        """Restore a maximised pane that hides the pane ``name``."""
        if self._maximised not in ("", name):
            self._restored()

    def action_pin(self) -> None:
        """Unpin a call of the hook point, or pin its newest call, which then runs again after each reload."""
        self.say(self.query_one(DetailTabs).hooks.toggle_pin())
