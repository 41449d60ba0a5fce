"""When the watcher checks saved plugins: soon, and at the same moment if they are saved together."""

from __future__ import annotations

from hotload_tui.core.watch.debounce import Debouncer

MS = 0.001


def pace() -> Debouncer:
    """Return a debouncer with the default settings."""
    return Debouncer(settle_time=2 * MS, debounce_time=2.0)


def test_plugins_saved_in_quick_succession_are_looked_at_together() -> None:
    """Fifty saves a millisecond apart are due together, as soon as the last one is quiet."""
    saved = pace()
    names = [f"p{number:02}" for number in range(50)]
    for number, name in enumerate(names):
        assert saved.due(number * MS) == []
        saved.notify(name, number * MS)
    assert saved.due(50.5 * MS) == []
    assert saved.next_due() == 51 * MS
    assert saved.due(51 * MS) == names


def test_a_single_save_does_not_wait() -> None:
    """A plugin that is saved after another one has become quiet is due on its own."""
    saved = pace()
    saved.notify("one", 0.0)
    assert saved.due(2 * MS) == ["one"]
    saved.looked("one", 2 * MS)
    saved.notify("two", 5 * MS)
    assert saved.due(7 * MS) == ["two"]


def test_a_plugin_that_is_written_without_end_holds_up_no_other() -> None:
    """A plugin that is saved once is due after a tenth of a second, even if another is written endlessly."""
    saved, now = pace(), 0.0
    saved.notify("once", now)
    while "once" not in saved.due(now):
        now += MS
        saved.notify("endless", now)
    assert now <= 0.1 + 2 * MS


def test_a_long_quiet_that_its_user_wants_is_kept() -> None:
    """With ``settle_time = 1`` each plugin is due after its own second."""
    saved = Debouncer(settle_time=1.0, debounce_time=2.0)
    saved.notify("one", 0.0)
    saved.notify("two", 0.5)
    assert saved.due(1.0) == ["one"]
    assert saved.due(1.5) == ["one", "two"]
