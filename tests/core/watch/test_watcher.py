from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from hotload_tui.core.watch.notifier import notifier_for
from hotload_tui.core.watch.scanner import PluginChange
from hotload_tui.core.watch.watcher import Watcher
from tests.conftest import Workspace, answering
from tests.core.watch.conftest import Heard, Watch
from tests.waiting import PATIENCE


def sed(root: Path) -> None:
    """Edit as ``sed -i`` does: write a temporary file and rename it over the original."""
    subprocess.run(["sed", "-i", "s/one/two/", str(root / "greet" / "plugin.py")], check=True)


def save_atomically(root: Path) -> None:
    """Save by renaming a temporary file, as most editors do."""
    new = root / "greet" / ".plugin.py.new"
    new.write_text(answering("two"))
    new.replace(root / "greet" / "plugin.py")


def save_in_place(root: Path) -> None:
    """Truncate the file and write it."""
    (root / "greet" / "plugin.py").write_text(answering("two"))


def save_with_backup(root: Path) -> None:
    """Move the old file away and write a new one, as vim does with ``backupcopy=no``."""
    path = root / "greet" / "plugin.py"
    path.rename(path.with_name("plugin.py~"))
    path.write_text(answering("two"))


def switch_off(root: Path) -> None:
    """Rename the directory to disable the plugin."""
    (root / "greet").rename(root / "_greet")


def switch_off_and_on(root: Path) -> None:
    """Rename the directory and back, with a change in between."""
    (root / "greet").rename(root / "_greet")
    (root / "_greet" / "plugin.py").write_text(answering("two"))
    (root / "_greet").rename(root / "greet")


def rename_and_back(root: Path) -> None:
    """Rename the directory and back, without a change in between."""
    (root / "greet").rename(root / "elsewhere")
    (root / "elsewhere").rename(root / "greet")


def delete(root: Path) -> None:
    """Delete the directory."""
    shutil.rmtree(root / "greet")


def add_deep(root: Path) -> None:
    """Add a file in a new nested folder."""
    (root / "greet" / "a" / "b").mkdir(parents=True)
    (root / "greet" / "a" / "b" / "new.txt").write_text("x")


@pytest.mark.parametrize(
    "change",
    [
        sed,
        save_atomically,
        save_in_place,
        save_with_backup,
        switch_off,
        switch_off_and_on,
        rename_and_back,
        delete,
        add_deep,
    ],
)
def test_every_kind_of_change_is_reported_with_the_plugins_name(
    workspace: Workspace, watch: Watch, notifier: str, change: Callable[[Path], None]
) -> None:
    """Any change of a file or directory is reported under its plugin's name, and no other plugin is."""
    heard = watch(notifier=notifier)
    change(workspace.plugins)
    assert heard.wait_for(lambda: "greet" in heard.names)
    between = {"elsewhere"} if change is rename_and_back else set()  # a scan may come between the renames
    assert heard.names - between == {"greet"}


def test_a_new_directory_is_reported(workspace: Workspace, watch: Watch, notifier: str) -> None:
    """A new directory is reported, here one that is moved in as a whole."""
    heard = watch(notifier=notifier)
    draft = workspace.root / "draft"
    shutil.copytree(workspace.plugins / "greet", draft)
    draft.rename(workspace.plugins / "third")
    assert heard.wait_for(lambda: "third" in heard.names)


def test_noise_is_not_reported(workspace: Workspace, watch: Watch, notifier: str) -> None:
    """Swap files, caches and hidden directories are not reported, but the save after them is."""
    heard = watch(notifier=notifier)
    for place in ("greet/.plugin.py.swp", "greet/__pycache__/plugin.pyc", "greet/4913", "greet/plugin.py~",
                  ".git/index", "__pycache__/x.pyc"):  # fmt: skip
        workspace[place] = "noise"
    workspace["other"] = answering("saved")
    assert heard.wait_for(lambda: "other" in heard.names)
    assert "greet" not in heard.names
    assert not {"git", "pycache__", ".git"} & heard.names


def test_a_burst_is_reported_once_it_is_over(workspace: Workspace, watch: Watch) -> None:
    """Twenty files of two plugins that are saved at once cause few reports."""
    heard = watch(settle_time=0.2)
    before = len(heard.calls)
    for number in range(10):
        workspace[f"greet/f{number}.txt"] = "x"
        workspace[f"other/f{number}.txt"] = "x"
    assert heard.wait_for(lambda: heard.names == {"greet", "other"})
    assert len(heard.calls) - before <= 3


def test_an_endless_stream_is_still_reported(workspace: Workspace, watch: Watch) -> None:
    """A file that is written all the time delays the report by at most ``debounce_time``."""
    heard = watch(settle_time=0.5, debounce_time=0.2)
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.01):
            workspace["greet/stream.txt"] = str(time.time())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert heard.wait_for(lambda: "greet" in heard.names)
    finally:
        stop.set()
        writer.join()


def test_a_root_that_is_deleted_and_made_again_is_watched_again(
    workspace: Workspace, watch: Watch, notifier: str
) -> None:
    """A deleted root is reported with its plugins and in the status, and a new one is watched."""
    heard = watch(notifier=notifier)
    shutil.rmtree(workspace.plugins)
    assert heard.wait_for(lambda: heard.names == {"greet", "other"})
    assert heard.wait_for(lambda: "no plugin directory" in heard.watcher.status().trouble)
    heard.names.clear()
    workspace["third"] = answering("new")
    assert heard.wait_for(lambda: "third" in heard.names)
    assert heard.wait_for(lambda: heard.watcher.status().trouble == "")


def test_silent_changes_are_found_by_the_sweep(workspace: Workspace, watch: Watch) -> None:
    """The sweep finds a change of a linked file outside the root, which causes no notification."""
    outside = workspace.root / "outside.txt"
    outside.write_text("one")
    (workspace.plugins / "greet" / "linked.txt").symlink_to(outside)
    heard = watch(sweep_interval=0.1)
    outside.write_text("two")
    assert heard.wait_for(lambda: "greet" in heard.names)


def test_a_failing_listener_does_not_end_the_watching(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """If the listener raises, the log has the error, and the next change is reported."""
    told = threading.Semaphore(0)

    def fails(_changes: Sequence[PluginChange]) -> Collection[str]:
        told.release()
        raise ValueError("listener")

    workspace["greet"] = answering("one")
    watcher = Watcher(
        workspace.plugins,
        fails,
        settle_time=0.01,
        debounce_time=1.0,
        sweep_interval=60.0,
        make_notifier=notifier_for("watchfiles"),
    )
    watcher.start()
    try:
        workspace["greet"] = answering("two")
        assert told.acquire(timeout=PATIENCE)
        workspace["greet"] = answering("three")
        assert told.acquire(timeout=PATIENCE)
    finally:
        watcher.stop()
    assert "listener" in caplog.text


def test_start_and_stop_leave_no_threads(workspace: Workspace, notifier: str) -> None:
    """Starting and stopping several times, even without a root, leaves no threads."""
    before = set(threading.enumerate())
    heard = Heard(workspace.plugins, notifier=notifier)
    for _ in range(5):
        heard.watcher.start()
        heard.watcher.start()
        assert heard.watcher.status().state == "watching"
        heard.watcher.stop()
        heard.watcher.stop()
    workspace.plugins.rmdir()
    heard.watcher.start()
    assert heard.wait_for(lambda: heard.watcher.status().state == "failed")
    heard.watcher.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    assert set(threading.enumerate()) <= before
    assert heard.watcher.status().state == "off"


def test_names_that_are_not_utf8_do_not_stop_it(workspace: Workspace, watch: Watch, notifier: str) -> None:
    """A file whose name is not UTF-8 is reported, and so are later changes."""
    heard = watch(sweep_interval=0.2, notifier=notifier)
    Path(os.fsdecode(os.fsencode(workspace.plugins / "greet") + b"/caf\xe9.txt")).write_text("x")
    assert heard.wait_for(lambda: "greet" in heard.names)
    workspace["other"] = answering("two")
    assert heard.wait_for(lambda: "other" in heard.names)
