from __future__ import annotations

import time

from hotload_tui.tui.requests import CloseUp, SourcePair
from hotload_tui.tui.selection import Selection
from hotload_tui.tui.widgets.panes import DetailFacts
from hotload_tui.tui.widgets.plugin_table import PluginTable
from tests.tui.fakes import Timers, plugin, snapshot


class Details:
    """A selection with the details that it requested and showed."""

    def __init__(self) -> None:
        self.requested: list[str] = []
        self.shown: list[DetailFacts] = []
        self.timers = Timers()
        self.table = PluginTable(time.time)
        self.selection = Selection(self.table, self.requested.append, self.shown.append, self.timers.set)

    def read(self, name: str) -> None:
        """Let a state arrive with the details of a plugin."""
        closeup = CloseUp(name, None, SourcePair("plugin.py", None, name))
        self.selection.take(snapshot(plugin("one"), plugin("two")), closeup)
        self.selection.show_read()

    def move_to(self, name: str) -> None:
        """Put the cursor on a plugin."""
        self.table.chosen = name
        self.selection.follow(name)


def test_details_of_another_plugin_replace_the_old_ones_when_they_have_been_read() -> None:
    """After a move, a read of the previous plugin changes nothing; a read of the new one is shown."""
    it = Details()
    it.table.chosen = "one"
    it.read("one")
    it.move_to("two")
    it.read("one")
    assert [(facts.status and facts.status.name) for facts in it.shown] == ["one"]
    assert it.selection.closeup.source is None
    it.read("two")
    assert it.requested == ["two"]
    assert it.shown[-1].status == plugin("two")
    assert it.selection.closeup.source == SourcePair("plugin.py", None, "two")


def test_details_that_are_late_do_not_leave_the_old_ones_on_the_screen() -> None:
    """After a short time, or when a key needs them, the new plugin is shown without its details."""
    it = Details()
    it.table.chosen = "one"
    it.read("one")
    it.move_to("two")
    it.timers.run()
    assert it.shown[-1] == DetailFacts(plugin("two"), CloseUp(), (), it.shown[0].points)
    it.move_to("one")
    it.selection.show_due()
    shown = len(it.shown)
    it.timers.run()
    it.selection.show_due()
    assert len(it.shown) == shown


def test_without_plugins_nothing_is_selected() -> None:
    """Before the first read, there is neither a plugin nor a state."""
    selection = Details().selection
    assert (selection.plugin, selection.plugins, selection.closeup.source, selection.snapshot) == (
        None,
        (),
        None,
        None,
    )
