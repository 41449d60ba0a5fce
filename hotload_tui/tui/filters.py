"""``Filters``: the filter and order of the table, the filters of the other panes, and the filter line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from textual.widget import Widget

from hotload_tui.tui.view_state import Arrangement, ViewState
from hotload_tui.tui.widgets.panes import Filterable, Prompt
from hotload_tui.tui.widgets.plugin_table import PluginTable
from hotload_tui.tui.widgets.status import StatusLine

_HINT: Final = "text, !text; enter keeps it, esc clears it"
_TABLE_HINT: Final = "text, !text, s:fail by state; enter keeps it, esc clears it"


class Filters:
    """Filters and sorts as the user wishes, and names the active filters in the status line."""

    def __init__(
        self,
        state: ViewState,
        line: Prompt,
        status: StatusLine,
        panes: Callable[[], Iterable[Filterable]],
        *,
        arrange: Callable[[], None],
        focus: Callable[[Widget | None], None],
        say: Callable[[str], None],
    ) -> None:
        """Begin with the stored view state.

        ``panes`` returns the panes beside the table that the user may see; ``arrange`` shows the table again.
        """
        self.arrangement = Arrangement(state.filter, state.problems, state.sort, state.reverse)
        self._is_kept = bool(self.arrangement.describe())
        self._line = line
        self._status = status
        self._panes = panes
        self._arrange = arrange
        self._focus = focus
        self._say = say
        self._pane: Filterable | PluginTable | None = None
        """The pane whose filter the line contains."""
        self._came_from: Widget | None = None

    def store(self, state: ViewState) -> None:
        """Write the order to ``state``, and the table's filter if the user asked to keep it."""
        kept = self.arrangement if self._is_kept else Arrangement()
        state.filter, state.problems = kept.filter, kept.problems
        state.sort, state.reverse = self.arrangement.sort, self.arrangement.reverse

    def toggle_problems(self) -> None:
        """Show only the plugins that have a problem, or all plugins again."""
        self._set(self.arrangement._replace(problems=not self.arrangement.problems))

    def sort(self) -> None:
        """Sort the table by the next column."""
        self._set(self.arrangement.next_sort())
        self._say(f"Sorted by {self.arrangement.sort}.")

    def sort_by(self, title: str) -> None:
        """Sort the table by the column with this title; a second time, reverse the order."""
        self._set(self.arrangement.sort_by(title))

    def reverse(self) -> None:
        """Reverse the order of the table."""
        self._set(self.arrangement._replace(reverse=not self.arrangement.reverse))

    def toggle_kept(self) -> None:
        """Keep the table's filter for the next session, or stop keeping it."""
        filtered = self.arrangement.describe()
        self._is_kept = bool(filtered) and not self._is_kept
        if self._is_kept:
            self._say(f"The table's {filtered} is kept for the next time.")
        else:
            self._say("It is not kept any more." if filtered else "The table has no filter; / makes one.")

    def show(self) -> None:
        """Show the active filters of the visible panes in the status line."""
        seen = [pane.describe() for pane in self._panes() if pane.is_on_screen]
        self._status.filtered = ", ".join(filter(None, [self.arrangement.describe(), *seen]))

    def open(self, focused: Widget | None) -> None:
        """Open the line for the filter of the focused pane; do nothing if the pane has no filter."""
        pane = _filterable(focused)
        if pane is None:
            return
        self._pane, self._came_from = pane, focused
        if isinstance(pane, PluginTable):
            kind, hint, text = "table", _TABLE_HINT, self.arrangement.filter
        else:
            kind, hint, text = pane.KIND, _HINT, pane.filter
        self._line.open(f"Filter the {kind}", hint, text)

    def narrow(self, text: str) -> None:
        """Filter the pane by the text in the line."""
        if self._line.is_open and self._pane is not None:
            self._apply(self._pane, text.strip())

    def close(self) -> None:
        """Close the line, keep the filter and return the focus to the pane."""
        self._focus(self._came_from)
        self._line.close()

    def cancel(self) -> bool:
        """Close the line and clear its filter; return whether the line was open."""
        if not self._line.is_open:
            return False
        self.narrow("")
        self.close()
        return True

    def clear(self, focused: Widget | None) -> bool:
        """Clear the filter of the focused pane; return whether there was one."""
        pane = _filterable(focused)
        if isinstance(pane, PluginTable) and self.arrangement.describe():
            self._set(self.arrangement._replace(filter="", problems=False))
        elif isinstance(pane, Filterable) and pane.filter:
            self._apply(pane, "")
        else:
            return False
        return True

    def _apply(self, pane: Filterable | PluginTable, text: str) -> None:
        if isinstance(pane, PluginTable):
            self._set(self.arrangement._replace(filter=text))
        else:
            pane.narrow(text)
            self.show()

    def _set(self, arrangement: Arrangement) -> None:
        self.arrangement = arrangement
        self._arrange()


def _filterable(focused: Widget | None) -> Filterable | PluginTable | None:
    """Return the filterable pane that has the focus, or that contains the focused widget."""
    within = focused.ancestors_with_self if focused else ()
    return next((pane for pane in within if isinstance(pane, (Filterable, PluginTable))), None)
