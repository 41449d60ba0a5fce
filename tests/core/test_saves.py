"""Saves by another program while a manager runs."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.config import WatchConfig
from hotload_tui.core.errors import ConfigError
from hotload_tui.core.events import PluginCompiled, PluginFailed, PluginLoaded, PluginRetired
from hotload_tui.core.watch import debounce
from tests.conftest import Running, Workspace, answering
from tests.core.ear import EAR
from tests.waiting import PATIENCE, until

Run = Callable[[Config], Running]

ONE, TWO, THREE = answering("one"), answering("two"), answering("three")


@pytest.fixture
def watched(workspace: Workspace, run: Run) -> Running:
    """Return a manager that watches one plugin."""
    workspace["greet"] = ONE
    return run(workspace.config(enable_watch=True))


def answers(running: Running, value: object) -> bool:
    """Wait until the plugin returns this value."""
    return running.wait_for(lambda: running.host.call("greet") == [value])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_version_that_finds_no_room_is_loaded_once_there_is_room(
    workspace: Workspace, run: Run, code: int
) -> None:
    """A full disk is reported in words, the old version stays live, and no further save is needed."""

    def refuse(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(code, os.strerror(code))

    workspace["greet"] = ONE
    watched = run(workspace.config(enable_watch=True, sweep_interval=0.1))
    with pytest.MonkeyPatch.context() as disk:
        disk.setattr(tempfile, "mkstemp", refuse)
        workspace["greet"] = TWO
        assert watched.wait_for(lambda: watched.status("greet").state == "STALE")
        fault = watched.fault("greet")
        assert (fault.type, os.strerror(code) in fault.message) == ("StorageError", True)
        assert "hotload tries again once" in fault.message
        assert watched.host.call("greet") == ["one"]
    assert answers(watched, "two")
    assert len(watched.told(PluginFailed, "greet")) == 1
    assert watched.wait_for(lambda: watched.status("greet").fault is None)


def test_one_save_is_one_load(workspace: Workspace, watched: Running) -> None:
    """One save causes one load, and neither the sweep nor the load itself causes another."""
    workspace["greet"] = TWO
    assert watched.wait_for(lambda: len(watched.told(PluginLoaded, "greet")) == 2)
    assert watched.host.call("greet") == ["two"]
    quiet(workspace, watched)
    assert len(watched.told(PluginLoaded, "greet")) == 2


def test_a_half_written_file_makes_no_fault(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written in two pieces goes from the old version to the new one without a fault."""
    monkeypatch.setattr(debounce, "SETTLED", PATIENCE)  # on a busy machine the pieces may be far apart
    workspace["greet"] = ONE
    watched = run(workspace.config(enable_watch=True, debounce_time=PATIENCE))
    with (workspace.plugins / "greet" / "plugin.py").open("w") as file:
        file.write(TWO[:10])
        file.flush()
        workspace["other"] = answering("other", "other")
        assert watched.wait_for(lambda: watched.host.call("other") == ["other"])  # this event came later
        file.write(TWO[10:])
    assert answers(watched, "two")
    assert watched.told(PluginFailed) == []


def test_an_unchanged_failure_is_reported_once(workspace: Workspace, watched: Running) -> None:
    """An unchanged broken file causes one fault, and a fix is noticed."""
    workspace["greet"] = "def register(:\n"
    assert watched.wait_for(lambda: watched.told(PluginFailed, "greet") != [])
    quiet(workspace, watched)
    assert watched.status("greet").state == "STALE"
    assert len(watched.told(PluginFailed, "greet")) == 1
    workspace["greet"] = TWO
    assert answers(watched, "two")


def test_a_version_that_does_not_end_is_tried_once(workspace: Workspace, run: Run) -> None:
    """A save whose load never ends is a fault after ``load_timeout``: no second attempt delays the fault."""
    workspace["greet"] = ONE
    running = run(workspace.config(enable_watch=True, load_timeout=1.0))
    begun = workspace.root / "begun"
    workspace["greet"] = f"with open({str(begun)!r}, 'a') as file: file.write('.')\nwhile True: pass\n{TWO}"
    assert running.wait_for(lambda: running.status("greet").state == "STALE")
    quiet(workspace, running)
    assert begun.read_text() == "."


def test_a_load_that_became_stale_does_not_become_live(workspace: Workspace, watched: Running) -> None:
    """If a save comes during a load, that load never becomes live, and the newer source does."""
    fifo = workspace.root / "go on"
    os.mkfifo(fifo)
    workspace["greet"] = f"import pathlib\npathlib.Path({str(fifo)!r}).read_text()\n{TWO}"
    with fifo.open("w") as opened:  # returns when the load begins to read
        workspace["greet"] = THREE
        opened.write("go on")
    assert answers(watched, "three")
    assert watched.wait_for(lambda: "generation 2 never was live" in watched.said())
    assert watched.wait_for(lambda: watched.told(PluginRetired, "greet") != [])
    assert [event.generation for event in watched.told(PluginRetired, "greet")] == [1]
    assert [event.generation for event in watched.told(PluginLoaded, "greet")] == [1, 3]


def test_a_stale_load_becomes_live_if_the_newer_source_does_not_compile(
    workspace: Workspace, watched: Running
) -> None:
    """If the newer source does not compile, the version that is loading becomes live."""
    fifo = workspace.root / "go on"
    os.mkfifo(fifo)
    workspace["greet"] = f"import pathlib\npathlib.Path({str(fifo)!r}).read_text()\n{TWO}"
    with fifo.open("w") as opened:
        workspace["greet"] = "def half("
        opened.write("go on")
    assert answers(watched, "two")
    assert watched.wait_for(lambda: watched.status("greet").state == "STALE")


def test_a_plugin_that_changes_its_own_files_does_not_run_in_circles(
    workspace: Workspace, watched: Running
) -> None:
    """A plugin that changes its own files at each load is soon left alone, and a warning names the file."""
    count = "import pathlib, time\nfile = pathlib.Path(__file__).with_name('count.txt')\n"
    count += "file.write_text(str(time.time_ns()))\n"
    workspace["greet"] = count + TWO
    assert watched.wait_for(lambda: "changes its own files at each load (count.txt)" in watched.said())
    quiet(workspace, watched)
    loads = len(watched.told(PluginLoaded, "greet"))
    assert loads <= 6
    assert watched.host.call("greet") == ["two"]
    workspace["greet"] = THREE
    assert answers(watched, "three")


def test_files_that_are_ignored_reload_nothing(workspace: Workspace, run: Run) -> None:
    """An ignored file causes no reload, and belongs neither to the digest nor to the artifact."""
    workspace["greet"] = ONE
    workspace["greet/run.log"] = "begun\n"
    running = run(workspace.config(enable_watch=True, watch={"ignore": ["*.log"]}))
    workspace["greet/run.log"] = "more\n"
    workspace["greet"] = TWO
    assert answers(running, "two")
    quiet(workspace, running)
    assert len(running.told(PluginCompiled, "greet")) == 2
    assert [file.path for file in running.manager.detail("greet").files] == ["plugin.py"]


def test_a_pattern_that_is_none_is_refused() -> None:
    """An invalid ignore pattern is refused with its key."""
    with pytest.raises(ConfigError, match=r'watch\.ignore: "!" is no pattern'):
        Config(watch=WatchConfig(ignore=("*.log", "!")))


@pytest.mark.parametrize("source", [ONE, "def register(ctx)\n"], ids=["whole", "broken"])
def test_a_rename_that_is_reverted_at_once_brings_the_plugin_back(
    workspace: Workspace, run: Run, source: str
) -> None:
    """If a rename by hand undoes ``disable`` before the watcher looks, the plugin has its state again."""
    workspace["greet"] = source
    running = run(workspace.config(enable_watch=True))
    before = running.status("greet").state
    running.manager.disable("greet")
    (workspace.plugins / "_greet").rename(workspace.plugins / "greet")
    assert running.wait_for(lambda: running.status("greet").state is before)


def test_nothing_is_loaded_after_the_end(workspace: Workspace, run: Run) -> None:
    """A change that the watcher has read is dropped if the manager stops before it can load."""
    fifo = workspace.root / "go on"
    workspace["greet"] = ONE
    workspace["slow"] = (
        f"import pathlib\nfifo = pathlib.Path({str(fifo)!r})\nif fifo.exists(): fifo.read_text()\n"
        "def register(ctx): ...\n"
    )
    running = run(workspace.config(enable_watch=True))
    os.mkfifo(fifo)
    threads = [threading.Thread(target=lambda: running.manager.rebuild("slow", force=True))]
    threads[0].start()
    with fifo.open("w"):  # opening returns when the load reads; closing lets the load go on
        with EAR.listening(workspace.plugins):
            workspace["greet"] = TWO
            until(lambda: EAR.opened.count("greet/plugin.py") > 1)  # written here, read by the watcher
        threads += [each for each in threading.enumerate() if each.name == "hotload-watch"]
        threads.append(threading.Thread(target=running.manager.stop))
        threads[-1].start()
        until(lambda: running.manager.snapshot().watcher.state == "off")
    for thread in threads:
        thread.join()
    assert running.host.call("greet") == []
    assert [event.generation for event in running.told(PluginLoaded, "greet")] == [1]


def quiet(workspace: Workspace, running: Running) -> None:
    """Wait until the sweep has found an unnotified change of a plugin that was saved after all others."""
    entry, link = workspace.plugins / "later" / "plugin.py", workspace.root / "link.py"
    workspace["later"] = answering("seen", "later")
    assert running.wait_for(lambda: running.host.call("later") == ["seen"])
    link.hardlink_to(entry)  # outside of the watched folder
    link.write_text(answering("seen again", "later"))
    assert running.wait_for(lambda: running.host.call("later") == ["seen again"])
    link.unlink()
