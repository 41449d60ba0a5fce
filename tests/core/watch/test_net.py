"""Changes that cause no notification are found, and trouble with the notifications is shown."""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from hotload_tui.core.source import Listing
from hotload_tui.core.watch import scanner
from hotload_tui.core.watch.notifier import SilentNotifier, StopFlag, notifier_for, overflow
from hotload_tui.core.watch.scanner import PluginChange, Scanner, Verdict
from hotload_tui.core.watch.watcher import Watcher
from tests.conftest import Workspace, answering
from tests.core.watch.conftest import Heard, Limited, Watch
from tests.waiting import PATIENCE

ONE, TWO = answering("one"), answering("two")


class Overflowing(SilentNotifier):
    """A notifier whose first batch is as long as the system's queue, and that reports nothing else."""

    rings: queue.SimpleQueue[Collection[str]] = queue.SimpleQueue()

    def wait(self, ended: StopFlag) -> Collection[str] | None:
        """Return the long batch once."""
        while not ended.is_set():
            try:
                return self.rings.get(timeout=0.001)
            except queue.Empty:
                continue
        return None


class Unreadable(Limited):
    """A notifier that is refused for one directory, as by its permissions."""

    heard: list[Sequence[str]]

    def __init__(self, directories: Sequence[str], is_partial: bool) -> None:  # noqa: FBT001 - see Hang
        if is_partial:
            self.heard.append(directories)
        super().__init__(directories, is_partial)


def test_a_failed_notifier_is_replaced(workspace: Workspace, watch: Watch) -> None:
    """If the sweep finds a change before its notification, the watcher makes a new notifier."""
    heard = watch(sweep_interval=0.1, make_notifier=SilentNotifier)
    for content in (TWO, ONE):  # the look after the notifier's creation may find the first one
        workspace["greet"] = content
        assert heard.wait_for(lambda content=content: heard.content("greet") == content)  # type: ignore[misc]
    assert heard.hung.acquire(timeout=PATIENCE)


def test_a_change_that_rang_hangs_no_new_bell(workspace: Workspace, watch: Watch) -> None:
    """A change that was notified causes no new notifier, even with a fast sweep."""
    heard = watch(sweep_interval=0.1)
    for number in range(20):
        workspace["greet"] = answering(number)
        assert heard.wait_for(lambda number=number: heard.content("greet") == answering(number))  # type: ignore[misc]
    heard.wait_for_quiet()
    assert not heard.hung.acquire(blocking=False)


def test_an_overflow_is_taken_as_one(workspace: Workspace, watch: Watch) -> None:
    """After a batch as long as the system's queue, all plugins are checked and a new notifier is made."""
    heard = watch(make_notifier=Overflowing)
    assert heard.watcher.status().state == "watching"
    workspace["other"] = TWO
    Overflowing.rings.put([f"{workspace.plugins}/greet/x{number}.tmp" for number in range(overflow())])
    assert heard.wait_for(lambda: heard.content("other") == TWO)
    assert heard.hung.acquire(timeout=PATIENCE)


def test_a_refused_watch_is_shown_and_made_up_for(workspace: Workspace, watch: Watch) -> None:
    """If the system's watch limit is reached, the status says so, and the sweep is fast."""
    heard = watch(make_notifier=Limited, sweep_interval=3600.0)
    assert heard.wait_for(lambda: heard.watcher.status().state == "degraded")
    assert "limit reached" in heard.watcher.status().trouble
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == TWO)


def test_one_refused_directory_does_not_silence_the_others(workspace: Workspace, watch: Watch) -> None:
    """After a refusal, a partial notifier gets each plugin's directory by name, so that none blocks all."""
    Unreadable.heard = []
    heard = watch(make_notifier=Unreadable)
    assert heard.wait_for(lambda: heard.watcher.status().state == "degraded")
    names = [workspace.plugins, workspace.plugins / "greet", workspace.plugins / "other"]
    assert list(map(Path, Unreadable.heard[0])) == names


# The thread may die while it reads a directory, which then stays open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["hotload-notify", "hotload-watch"])
def test_a_dead_thread_is_replaced(workspace: Workspace, watch: Watch, name: str) -> None:
    """If a watcher thread dies, the status shows it, and the next save is reported."""
    before = set(threading.enumerate())
    heard = watch()
    (dying,) = [thread for thread in set(threading.enumerate()) - before if thread.name == name]
    assert dying.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(dying.ident), ctypes.py_object(SystemExit))
    dying.join(PATIENCE)
    assert heard.wait_for(lambda: any(dying.name in trouble for trouble in heard.statuses))
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == TWO)
    assert heard.wait_for(lambda: heard.watcher.status().state == "watching")


def test_an_error_in_the_scan_of_one_plugin_is_reported_and_the_others_are_watched(
    workspace: Workspace, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unforeseen error in a scan is logged once, the plugin is reported, and no thread ends."""
    look = Scanner.look

    def fail(self: Scanner, name: str, *, settled: bool, again: bool = False) -> PluginChange | Verdict:
        if name == "greet":
            raise RuntimeError("no such thing")
        return look(self, name, settled=settled, again=again)

    heard = watch()
    monkeypatch.setattr(Scanner, "look", fail)
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: "greet" in heard.names)
    workspace["greet"] = ONE
    workspace["other"] = TWO
    assert heard.wait_for(lambda: heard.content("other") == TWO)
    assert [record.getMessage() for record in caplog.records if "greet" in record.getMessage()] == [
        "looking for changes of greet failed; the others are watched"
    ]
    monkeypatch.undo()
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == TWO)
    assert heard.statuses == []


def test_a_plugin_that_can_be_read_again_is_reported(
    workspace: Workspace, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin whose folder could not be read for a moment is reported with its files afterwards."""
    heard = watch()

    def refuse(*_: object) -> Listing:
        raise PermissionError("not now")

    monkeypatch.setattr(scanner, "scan", refuse)
    (workspace.plugins / "greet" / "note.txt").touch()
    assert heard.wait_for(lambda: "greet" in heard.names)
    monkeypatch.undo()
    (workspace.plugins / "greet" / "note.txt").unlink()
    assert heard.wait_for(lambda: heard.content("greet") == ONE)


def test_stopping_does_not_wait_for_a_long_load(workspace: Workspace) -> None:
    """``stop`` returns during a load, and no other load begins afterwards."""
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def hear(changes: Sequence[PluginChange]) -> Collection[str]:
        calls.append(changes)
        begun.set()
        assert go_on.wait(PATIENCE)
        return ()

    workspace["greet"] = ONE
    watcher = Watcher(
        workspace.plugins,
        hear,
        settle_time=0.002,
        debounce_time=1.0,
        sweep_interval=60.0,
        make_notifier=notifier_for("watchfiles"),
    )
    before = set(threading.enumerate())
    watcher.start()
    workspace["greet"] = TWO
    assert begun.wait(PATIENCE)
    watcher.stop()
    assert not go_on.is_set()
    workspace["greet"] = ONE
    go_on.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    assert len(calls) == 1


def test_a_plugin_whose_name_is_not_utf8_is_watched(
    workspace: Workspace, watch: Watch, notifier: str
) -> None:
    """A change of a plugin whose name is not UTF-8 is found, by the sweep if not by a notification."""
    plugin = Path(os.fsdecode(os.fsencode(workspace.plugins) + b"/caf\xe9"))
    plugin.mkdir()
    (plugin / "plugin.py").write_text(ONE)
    heard = watch(sweep_interval=0.2, notifier=notifier)
    (plugin / "plugin.py").write_text(TWO)
    assert heard.wait_for(lambda: heard.content("caf\\xe9") == TWO)


def test_all_names_of_one_directory_are_reported(workspace: Workspace, watch: Watch, notifier: str) -> None:
    """A change is reported for all names of a directory, although the system reports only one."""
    (workspace.plugins / "alias").symlink_to("greet")
    heard = watch(notifier=notifier)
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == heard.content("alias") == TWO)


def test_a_plugin_that_is_a_link_follows_it(workspace: Workspace, watch: Watch, notifier: str) -> None:
    """If a plugin's link changes to another directory, that change and later saves there are reported."""
    for name in ("first", "second"):
        (workspace.root / name).mkdir()
        (workspace.root / name / "plugin.py").write_text(answering(name))
    link = workspace.plugins / "linked"
    link.symlink_to(workspace.root / "first")
    heard = watch(notifier=notifier)
    new = workspace.root / "new"
    new.symlink_to(workspace.root / "second")
    new.replace(link)
    assert heard.wait_for(lambda: heard.content("linked") == answering("second"))
    assert heard.hung.acquire(timeout=PATIENCE)
    (workspace.root / "second" / "plugin.py").write_text(TWO)
    assert heard.wait_for(lambda: heard.content("linked") == TWO)


@pytest.mark.parametrize("how", ["link", "parent"])
def test_another_root_in_its_place_is_noticed(tmp_path: Path, notifier: str, how: str) -> None:
    """A root is noticed as a new one if its link changes or its parent is replaced."""
    for place, content in (("a", ONE), ("b", TWO)):
        (tmp_path / place / "plugins" / "greet").mkdir(parents=True)
        (tmp_path / place / "plugins" / "greet" / "plugin.py").write_text(content)
    project = tmp_path / "project"
    project.symlink_to("a") if how == "link" else (tmp_path / "a").rename(project)
    heard = Heard(project / "plugins", notifier=notifier)
    heard.begin()
    try:
        if how == "link":
            (tmp_path / "new").symlink_to("b")
            (tmp_path / "new").replace(project)
        else:
            project.rename(tmp_path / "gone")
            (tmp_path / "b").rename(project)
        assert heard.wait_for(lambda: heard.content("greet") == TWO)
        assert heard.hung.acquire(timeout=PATIENCE)
        (project / "plugins" / "greet" / "plugin.py").write_text(ONE)
        assert heard.wait_for(lambda: heard.content("greet") == ONE)
    finally:
        heard.watcher.stop()


def test_a_checkout_is_one_batch(workspace: Workspace, watch: Watch) -> None:
    """While git holds its lock, changes wait, and then they are reported together."""
    (workspace.root / ".git").mkdir()
    names = [f"p{number}" for number in range(10)]
    for name in names:
        workspace[name] = ONE
    heard = watch(debounce_time=20.0, sweep_interval=0.5)
    lock = workspace.root / ".git" / "index.lock"
    lock.touch()
    for name in names:
        workspace[name] = TWO
    heard.wait_for_quiet()
    assert not heard.names
    lock.unlink()
    assert heard.wait_for(lambda: heard.names == set(names))
    assert len(heard.calls) == 1


@pytest.mark.own_process
def test_git_that_begins_while_a_plugin_is_read_is_waited_for(workspace: Workspace, watch: Watch) -> None:
    """If git takes its lock while a plugin is read, the half checkout is not reported."""
    (workspace.root / ".git").mkdir()
    lock = workspace.root / ".git" / "index.lock"
    workspace["greet/half.py"] = workspace["greet/other.py"] = ONE
    heard = watch(debounce_time=20.0, sweep_interval=0.5)
    begins = threading.Event()
    has_begun = threading.Event()

    def checkout(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.scandir" and begins.is_set() and str(arguments[0]).endswith("greet"):
            begins.clear()
            lock.touch()
            workspace["greet/half.py"] = TWO
            has_begun.set()

    sys.addaudithook(checkout)
    begins.set()
    workspace["greet"] = TWO
    assert has_begun.wait(PATIENCE)
    heard.wait_for_quiet()
    assert not heard.names
    workspace["greet/other.py"] = TWO
    lock.unlink()
    assert heard.wait_for(lambda: heard.content("greet", "other.py") == TWO)
    assert heard.content("greet", "half.py") == heard.content("greet") == TWO
    assert len(heard.calls) == 1


def test_a_lock_that_git_left_behind_holds_nothing_up(workspace: Workspace, watch: Watch) -> None:
    """A lock file that is older than ``debounce_time`` does not delay a report."""
    (workspace.root / ".git").mkdir()
    (workspace.root / ".git" / "index.lock").touch()
    os.utime(workspace.root / ".git" / "index.lock", (1e9, 1e9))
    heard = watch(debounce_time=3600.0)
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet") == TWO)


def test_a_failure_is_reported_again_once_the_files_are_stable(workspace: Workspace, watch: Watch) -> None:
    """A broken plugin is reported twice with the same bytes: first unsettled, then settled."""
    broken = b"def register(:\n"
    heard = watch(broken=[broken], sweep_interval=0.5)
    workspace["greet"] = broken
    assert heard.wait_for(lambda: len(heard.changes) == 2)
    first, second = heard.changes
    assert (first.is_settled, second.is_settled) == (False, True)
    assert first.source == second.source
    heard.wait_for_quiet()
    assert len(heard.changes) == 2


def test_an_emptied_file_waits_for_its_content(workspace: Workspace, watch: Watch) -> None:
    """An emptied file is reported only when it has stayed empty."""
    heard = watch()
    workspace["greet/data.txt"] = ""
    workspace["greet"] = TWO
    assert heard.wait_for(lambda: heard.content("greet", "data.txt") == "")
    assert all(change.is_settled for change in heard.changes)
