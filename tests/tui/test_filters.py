from __future__ import annotations

from pathlib import Path

from hotload_tui.core.model import PluginState
from hotload_tui.tui.filters import Filters
from hotload_tui.tui.view_state import ViewState
from hotload_tui.tui.widgets.panes import Prompt
from hotload_tui.tui.widgets.status import StatusLine
from tests.tui.fakes import plugin


class View:
    """Filters with the orders that they showed, and the texts that they said."""

    def __init__(self, state: ViewState) -> None:
        self.said: list[str] = []
        self.shown: list[list[str]] = []
        self.status = StatusLine(Path())
        self.filters = Filters(
            state,
            Prompt(id="filter"),
            self.status,
            tuple,
            arrange=self._arrange,
            focus=lambda _: None,
            say=self.said.append,
        )

    def _arrange(self) -> None:
        plugins = (plugin("apple"), plugin("banana", PluginState.FAIL))
        self.shown.append([one.name for one in self.filters.arrangement.of(plugins)])

    def stored(self) -> ViewState:
        """Return the view state for the next session."""
        state = ViewState()
        self.filters.store(state)
        return state


def test_order_and_problems_are_shown_at_once() -> None:
    """Each key arranges the table again; the next column is named."""
    it = View(ViewState())
    it.filters.reverse()
    it.filters.toggle_problems()
    it.filters.toggle_problems()
    it.filters.reverse()
    it.filters.sort()
    assert it.shown == [
        ["banana", "apple"],
        ["banana"],
        ["banana", "apple"],
        ["apple", "banana"],
        ["banana", "apple"],
    ]
    assert it.said == ["Sorted by state."]
    assert it.stored() == ViewState(sort="state")


def test_a_filter_is_stored_only_if_the_user_keeps_it() -> None:
    """The next session begins with the filter that was kept, keeps it again, and can stop keeping it."""
    it = View(ViewState())
    it.filters.toggle_kept()
    assert it.said == ["The table has no filter; / makes one."]
    it.filters.toggle_problems()
    assert it.stored() == ViewState()
    it.filters.toggle_kept()
    assert it.stored() == ViewState(problems=True)
    later = View(it.stored())
    later.filters.show()
    assert later.status.filtered == "problems only"
    assert later.stored() == ViewState(problems=True)
    later.filters.toggle_kept()
    assert later.stored() == ViewState()
    assert [*it.said[1:], *later.said] == [
        "The table's problems only is kept for the next time.",
        "It is not kept any more.",
    ]
