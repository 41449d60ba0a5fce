from __future__ import annotations

from hotload_tui.core.events import (
    AnyEvent,
    PluginDisabled,
    PluginDiscovered,
    PluginFailed,
    PluginHeld,
    PluginLoaded,
    PluginMended,
)
from hotload_tui.core.model import Fault
from hotload_tui.tui.widgets.status import News


class Shown:
    """The toasts about events, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.texts: list[tuple[str, bool]] = []
        self.news = News(lambda: self.now)

    def report(self, *events: AnyEvent, reading: str = "") -> None:
        """Record the toast about these events, if there is one."""
        if text := self.news.add(events, reading):
            self.texts.append((text, self.news.is_bad))


def loaded(name: str, generation: int = 2) -> PluginLoaded:
    """Return the event of a load."""
    return PluginLoaded(0, name, generation, "", (), 0)


def failed(name: str) -> PluginFailed:
    """Return the event of a failure."""
    return PluginFailed(0, name, Fault("load", name, "KeyError", "'a'", 0), 1)


def test_what_happens_within_two_seconds_is_one_line() -> None:
    """Events within two seconds are one toast, which is shown again as more events join it."""
    shown = Shown()
    shown.report(loaded("a"))
    shown.now += 1
    shown.report(*[loaded(str(number)) for number in range(6)])
    shown.report(failed("x"))
    assert [text for text, _ in shown.texts] == [
        "a reloaded",
        "7 reloaded",
        "7 reloaded, x failed (KeyError: 'a')",
    ]
    assert shown.texts[-1][1]


def test_after_two_seconds_a_new_line_begins() -> None:
    """A toast does not repeat events that are more than two seconds old."""
    shown = Shown()
    shown.report(failed("x"))
    shown.now += 2.1
    shown.report(loaded("a"))
    assert shown.texts[-1] == ("a reloaded", False)


def test_the_last_word_on_a_plugin_counts() -> None:
    """A plugin that failed and was fixed within two seconds is reported only as loaded."""
    shown = Shown()
    shown.report(PluginDiscovered(0, "a"), failed("a"), loaded("a", 1))
    assert shown.texts[-1][0] == "a loaded"


def test_a_fault_that_is_over_without_a_load_is_not_shown_any_longer() -> None:
    """A plugin whose source matches its live version again replaces its failure, soon or late."""
    shown = Shown()
    shown.report(failed("a"))
    shown.report(PluginMended(0, "a"))
    assert shown.texts[-1] == ("a fixed", False)
    shown.report(failed("a"))
    shown.now += 3
    shown.report(PluginMended(0, "a"))
    assert shown.texts[-1] == ("a fixed", False)


def test_a_disabled_plugin_names_the_key_that_brings_it_back() -> None:
    """The toast of a disabled plugin names the keys that enable it."""
    shown = Shown()
    shown.report(PluginDisabled(0, "a"))
    assert shown.texts == [("a disabled (d or z enables it)", False)]


def test_a_rollback_names_the_keys_that_end_it() -> None:
    """The toast of a plugin that the user holds names the keys that undo this; that of a fault stays."""
    shown = Shown()
    shown.report(loaded("a"), PluginHeld(0, "a", 2, "rolled back to generation 1"))
    assert shown.texts[-1] == ("a held (z takes it back, h releases it)", False)
    shown.report(failed("b"), PluginHeld(0, "b", 2, "it ended the host", is_by_fault=True))
    assert shown.texts[-1][0].endswith("b failed (KeyError: 'a')")


def test_a_plugin_that_reloads_and_then_fails_is_reported_as_failed() -> None:
    """A plugin that reloads and then fails is reported only as failed."""
    shown = Shown()
    shown.report(loaded("a"), failed("a"))
    assert shown.texts[-1] == ("a failed (KeyError: 'a')", True)


def test_a_fault_that_is_being_read_is_no_news() -> None:
    """A fault of the plugin whose error is open is not reported; faults of other plugins are."""
    shown = Shown()
    shown.report(failed("a"), reading="a")
    assert shown.texts == []
    shown.report(failed("b"), reading="a")
    assert shown.texts[-1][0] == "b failed (KeyError: 'a')"
