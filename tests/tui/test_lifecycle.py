from __future__ import annotations

from pathlib import Path

from hotload_tui.core.errors import RuntimeDirError
from hotload_tui.core.events import PluginRetired
from hotload_tui.tui.lifecycle import Shutdown, Startup
from hotload_tui.tui.widgets.status import StatusLine
from tests.tui.fakes import Manager, Timers, plugin, snapshot


def test_a_search_without_a_folder_is_repeated_once_there_is_one() -> None:
    """The empty table names the reason and the key; ``repeat`` searches again only after such a failure."""
    runs: list[int] = []

    def start() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeDirError("there is no folder plugins")

    manager, status = Manager(), StatusLine(Path())
    startup = Startup(start, manager.requests(), status, Timers().set, ended=lambda: None)
    assert startup.why_empty(None) == "Looking for plugins …"
    startup.begin()
    for trouble in ("there is no folder plugins", ""):
        manager.finish()
        assert startup.is_ready
        assert (startup.trouble, status.trouble, status.busy) == (trouble, trouble, "")
        shown = startup.why_empty(snapshot())
        assert shown.startswith(trouble or "No plugins yet")
        startup.repeat()
    assert len(runs) == 2


def test_a_watcher_that_failed_is_the_reason_for_an_empty_table() -> None:
    """Without plugins, the table shows why none can be found."""
    startup = Startup(None, Manager().requests(), StatusLine(Path()), Timers().set, ended=lambda: None)
    assert startup.why_empty(snapshot(trouble="no folder")).startswith("no folder\n")


def test_the_status_line_names_the_plugins_that_are_not_unloaded_yet() -> None:
    """A plugin that has retired disappears from the line; the end is reported with its error."""

    def stop() -> None:
        raise OSError("no")

    manager, status = Manager(), StatusLine(Path())
    printed: list[str] = []
    shutdown = Shutdown(manager.requests(), status, printed.append)
    shutdown.begin(stop, [plugin("one"), plugin("two"), plugin("off", generation=0)])
    assert shutdown.has_begun
    assert status.busy == "unloading one, two… (q quits at once), 0 of 2 done"
    shutdown.follow([PluginRetired(0, "one", 1, "freed")])
    assert status.busy == "unloading two… (q quits at once), 1 of 2 done"
    manager.finish()
    assert printed == ["while unloading: OSError: no"]
