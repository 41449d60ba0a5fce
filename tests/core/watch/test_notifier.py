"""The configured notifier is used, or else the next available one, and the log says so."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator

import pytest
import watchfiles

from hotload_tui.core.config import Config, WatchConfig
from hotload_tui.core.errors import ConfigError
from tests.conftest import Running, Workspace, answering
from tests.core.watch.conftest import Watch
from tests.waiting import until

TWO = answering("two")
INSTEAD = "watchfiles reports changes instead"


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make a package unavailable."""
    monkeypatch.setitem(sys.modules, package, None)


def on_a_kernel_without_inotify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse inotify as some sandboxes do."""
    inotify_simple = pytest.importorskip("inotify_simple", reason="of Linux")

    def refuse(**_options: bool) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(inotify_simple, "INotify", refuse)


@pytest.mark.parametrize(
    "take_away",
    [lambda monkeypatch: without(monkeypatch, "inotify_simple"), on_a_kernel_without_inotify],
    ids=["package", "kernel"],
)
def test_where_inotify_cannot_be_had_watchfiles_takes_its_place(
    workspace: Workspace,
    run: Callable[[Config], Running],
    monkeypatch: pytest.MonkeyPatch,
    take_away: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """Without inotify, watchfiles reports changes, the log says so once, and saves go live."""
    take_away(monkeypatch)
    workspace["greet"] = answering("one")
    running = run(workspace.config(enable_watch=True, watch={"notifier": "inotify"}))
    running.wait_for(lambda: INSTEAD in running.said())
    workspace["greet"] = TWO
    running.wait_for(lambda: running.host.call("greet") == ["two"])
    assert running.said().count(INSTEAD) == 1
    assert running.manager.snapshot().watcher.state == "watching"


@pytest.mark.parametrize("notifier", ["watchfiles", "sweep"])
def test_what_is_not_configured_is_not_asked_for(
    workspace: Workspace, run: Callable[[Config], Running], monkeypatch: pytest.MonkeyPatch, notifier: str
) -> None:
    """If another notifier is configured, a missing inotify is not mentioned."""
    without(monkeypatch, "inotify_simple")
    workspace["greet"] = answering("one")
    running = run(workspace.config(enable_watch=True, sweep_interval=0.1, watch={"notifier": notifier}))
    workspace["greet"] = TWO
    running.wait_for(lambda: running.host.call("greet") == ["two"])
    assert "inotify" not in running.said()
    assert running.manager.snapshot().watcher.state == "watching"


def test_where_nothing_notifies_the_sweep_finds_changes(
    workspace: Workspace, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any notifier, the status names the missing package, and the sweep is fast."""
    without(monkeypatch, "inotify_simple")
    without(monkeypatch, "watchfiles")
    heard = watch(sweep_interval=3600.0)
    assert heard.watcher.status().state == "degraded"
    assert "watchfiles" in heard.watcher.status().trouble
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == TWO)


def test_a_refused_watchfiles_reports_as_much_as_it_can(
    workspace: Workspace, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If watchfiles refuses a directory at its first batch, the status says so, and saves are still found."""
    real = watchfiles.watch
    asked: list[int] = []

    def refused(
        *paths: str, ignore_permission_denied: bool, **options: object
    ) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        asked.append(len(paths))
        if not ignore_permission_denied:
            raise PermissionError(errno.EACCES, "Permission denied")
        yield from real(*paths, ignore_permission_denied=True, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(watchfiles, "watch", refused)
    heard = watch(notifier="watchfiles")
    until(lambda: heard.watcher.status().state == "degraded")
    assert "Permission denied" in heard.watcher.status().trouble
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == TWO)
    assert asked[:2] == [1, 3]


def test_batches_of_watchfiles_are_no_news_in_the_log(
    workspace: Workspace, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO level the log has no watchfiles lines of the watcher, but those of the program itself."""
    caplog.set_level(logging.INFO)
    heard = watch(notifier="watchfiles")
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == TWO)
    logging.getLogger("watchfiles.main").info("1 change detected, of the program's own")
    assert [record.message for record in caplog.records if record.name == "watchfiles.main"] == [
        "1 change detected, of the program's own"
    ]


def test_a_notifier_that_does_not_exist_is_refused() -> None:
    """An unknown notifier is refused with the key, the value and the possible values."""
    with pytest.raises(
        ConfigError,
        match=r'watch\.notifier = "fsevents": must be one of "inotify", "watchfiles", "sweep"',
    ):
        Config(watch=WatchConfig(notifier="fsevents"))
