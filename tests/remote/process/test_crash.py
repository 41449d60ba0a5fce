import contextlib
import os
import signal
import sys
import threading

import pytest

from hotload_tui.core.errors import HotloadError
from hotload_tui.core.model import PluginState
from tests.counts import ALL_CASES
from tests.remote.process.conftest import Console

SEGFAULT = "import ctypes\ndef boom():\n    ctypes.string_at(0)\ndef register(ctx):\n    boom()\n"
GREET = "def register(ctx):\n    ctx.hook('greet', lambda: 'hello')\n"


def test_a_crash_is_shown_with_its_signal_and_its_line(console: Console) -> None:
    """After a segfault the plugin is HELD with the signal and the Python stack, and the new host works."""
    console.workspace["boom"] = SEGFAULT
    console.wait_for(lambda: console.state("boom") is PluginState.HELD)
    fault = console.fault("boom")
    assert (fault.type, fault.phase) == ("SIGSEGV", "load")
    assert [(frame.function, frame.line) for frame in fault.frames[:2]] == [("register", 5), ("boom", 3)]
    console.wait_for(lambda: console.state("good") is PluginState.OK)
    assert console.manager.invoke("good").values == ("good",)


def test_a_held_plugin_is_tried_again_when_it_changes(console: Console) -> None:
    """A fix of the source loads the held plugin, and the log still has the lines from before the crash."""
    console.workspace["boom"] = SEGFAULT
    console.wait_for(lambda: console.state("boom") is PluginState.HELD)
    console.workspace["boom"] = GREET
    console.wait_for(lambda: console.state("boom") is PluginState.OK)
    assert console.manager.invoke("greet").values == ("hello",)
    console.wait_for_line("error boom: the host died of signal 11")


def test_the_line_of_a_second_crash_is_shown_as_it_is_then(console: Console) -> None:
    """The fault of a second crash shows the edited line."""

    def lines() -> list[str]:
        status = console.status("boom")
        frames = status.fault.frames if status is not None and status.fault is not None else ()
        return [frame.lines[0].strip() for frame in frames if frame.function == "boom"]

    console.workspace["boom"] = SEGFAULT
    console.wait_for(lambda: lines() == ["ctypes.string_at(0)"])
    console.workspace["boom"] = SEGFAULT.replace("string_at(0)", "memset(0, 1, 1)")
    console.wait_for(lambda: lines() == ["ctypes.memset(0, 1, 1)"])


def test_its_user_can_have_it_loaded_as_it_is(console: Console) -> None:
    """``rebuild`` loads a held plugin unchanged; if it crashes again, it is held again."""
    console.workspace["boom"] = SEGFAULT
    console.wait_for(lambda: console.state("boom") is PluginState.HELD)
    first = console.pid
    try:
        console.manager.rebuild("boom")
    except Exception as error:  # the command ends the host
        assert "host" in str(error)  # noqa: PT017 - the command may end with either error
    console.wait_for(lambda: console.pid != first and console.state("boom") is PluginState.HELD)
    assert len(console.lines("error boom: the host died")) == 2


def test_the_previous_version_is_live_meanwhile(console: Console) -> None:
    """A new version that crashes while loading is held, and the new host runs the last good one."""
    console.workspace["greet"] = GREET
    console.wait_for(lambda: console.state("greet") is PluginState.OK)
    console.workspace["greet"] = SEGFAULT
    console.wait_for(lambda: console.state("greet") is PluginState.HELD)
    console.wait_for(lambda: (status := console.status("greet")) is not None and status.generation > 0)
    assert console.manager.invoke("greet").values == ("hello",)


def test_a_version_that_crashes_at_its_first_call_gives_way_to_the_one_before(console: Console) -> None:
    """A crash in a call after a good load is reported with plugin and signal, and the version before runs."""
    for answer in ("one", "two"):
        console.workspace["boom"] = f"def register(ctx):\n    ctx.hook('boom', lambda: {answer!r})\n"
        console.wait_for(lambda answer=answer: console.answers("boom") == (answer,))  # type: ignore[misc]
    console.workspace["boom"] = SEGFAULT.replace("    boom()\n", "    ctx.hook('boom', boom)\n")
    console.wait_for(lambda: console.generation("boom") == 3)
    done = console.command("call", "boom")
    assert done.returncode == 1
    assert done.stderr.startswith("boom: hook: SIGSEGV: the plugin crashed the process: Segmentation fault")
    console.wait_for(lambda: console.answers("boom") == ("two",))
    console.wait_for(lambda: console.state("boom") is PluginState.HELD)
    assert console.fault("boom").notes == (
        "this version is not loaded again: save a fix; 'hotload release boom' (console: r) loads it as it is",
    )


def test_a_fix_is_not_blamed_for_what_the_old_version_does_when_it_leaves(console: Console) -> None:
    """If on_unload of the old version kills the host, the saved fix is live in the next one."""
    console.workspace["boom"] = SEGFAULT.replace("    boom()\n", "    ctx.on_unload(boom)\n")
    console.wait_for(lambda: console.state("boom") is PluginState.OK)
    console.workspace["boom"] = GREET
    console.wait_for_line("error boom: the host died of signal 11")
    console.wait_for(lambda: console.answers("greet") == ("hello",))
    console.wait_for(lambda: console.state("boom") is PluginState.OK)


SLOW = """
import pathlib, time
def register(ctx):
    pathlib.Path({mark!r}).touch()
    time.sleep(0.4)
"""


def reload(console: Console, name: str) -> None:
    """Load a plugin again; the host may end meanwhile."""
    with contextlib.suppress(HotloadError):
        console.manager.rebuild(name)


def test_a_kill_from_outside_only_makes_a_plugin_suspected(console: Console) -> None:
    """A plugin that loads while the host is killed is only shown as suspected.

    It is barred if that happens again within a minute.
    """
    mark = console.workspace.root / "mark"
    console.workspace["slow"] = SLOW.format(mark=str(mark))
    console.wait_for(mark.exists)
    os.kill(console.pid, signal.SIGKILL)
    console.wait_for_line("warning slow: the host died of signal 9", "(load)", "suspected")
    console.wait_for(lambda: console.state("slow") is PluginState.OK)
    assert not console.lines("error slow")
    status = console.status("slow")
    assert status is not None
    assert status.suspected.startswith("the host died of signal 9 on ")
    mark.unlink()
    first = console.pid
    threading.Thread(target=reload, args=(console, "slow"), daemon=True).start()
    console.wait_for(mark.exists)
    os.kill(first, signal.SIGKILL)
    console.wait_for_line("error slow: the host died of signal 9 twice within a minute")
    console.wait_for(lambda: console.state("slow") is PluginState.HELD)


POLL = """
import os, pathlib, threading, time
def poll():
    while not pathlib.Path({mark!r}).exists():
        time.sleep(0.01)
    {act}
def register(ctx):
    threading.Thread(target=poll, daemon=True).start()
"""


@pytest.mark.parametrize(
    "act", ["os.closerange(3, 500)", "os._exit(3)", "os.kill(os.getpid(), 15)"][: 1 + 2 * ALL_CASES]
)
def test_a_thread_that_ends_the_host_is_found_while_another_plugin_loads(console: Console, act: str) -> None:
    """The plugin is blamed whose thread closes the descriptors or exits, not the one that loads meanwhile."""
    mark = console.workspace.root / "mark"
    console.workspace["poll"] = POLL.format(mark=str(mark), act=act)
    console.wait_for(lambda: console.state("poll") is PluginState.OK)
    console.workspace["slow"] = SLOW.format(mark=str(mark))
    console.wait_for(lambda: console.state("poll") is PluginState.HELD)
    assert console.fault("poll").frames[0].function == "poll"
    console.wait_for(lambda: console.state("slow") is PluginState.OK)
    assert not console.lines("error slow")
    assert not console.lines("warning slow")


@pytest.mark.skipif(
    not ALL_CASES or sys.platform != "linux",
    reason="make soak runs it, on the system that shows which thread is busy",
)
def test_a_thread_that_blocks_the_host_is_found_while_another_plugin_loads(console: Console) -> None:
    """The plugin is blamed whose thread holds the interpreter's lock, not the one that loads meanwhile."""
    mark = console.workspace.root / "mark"
    console.workspace["poll"] = POLL.format(mark=str(mark), act="sum(range(10**13))")
    console.wait_for(lambda: console.state("poll") is PluginState.OK)
    console.workspace["slow"] = SLOW.format(mark=str(mark))
    console.wait_for_line("error poll: hangs at plugin.py:6 in poll (thread)")
    assert console.manager.restart() == ""
    console.wait_for(lambda: console.state("slow") is PluginState.OK)
    console.wait_for(lambda: console.state("poll") is PluginState.HELD)


def test_three_deaths_without_a_known_culprit_are_enough(console: Console) -> None:
    """A host that is killed from outside is restarted twice; at the third death the console gives up."""
    seen: set[int] = set()
    for _ in range(3):
        console.wait_for(lambda: console.state("good") is PluginState.OK and console.pid not in seen)
        seen.add(console.pid)
        console.wait_for_quiet()
        os.kill(console.pid, signal.SIGKILL)
        console.wait_for_line("error : the host died of signal 9; no plugin was being loaded or called")
        count = len(seen)
        console.wait_for(lambda count=count: len(console.lines("no plugin was being loaded")) == count)  # type: ignore[misc]
    console.wait_for(lambda: "3 times within a minute" in console.manager.snapshot().host.trouble)
    assert console.manager.restart() == ""
    console.wait_for(lambda: console.manager.snapshot().host.trouble == "" and console.pid not in seen)


def test_a_host_that_is_well_is_restarted_when_that_is_wanted(console: Console) -> None:
    """A forced restart replaces a healthy host, without blaming or holding a plugin."""
    console.wait_for(lambda: console.state("good") is PluginState.OK)
    first = console.pid
    assert console.manager.restart() == "The host is well; r loads a plugin again."
    assert console.manager.restart(anyway=True) == ""
    console.wait_for(lambda: console.pid != first and console.state("good") is PluginState.OK)
    console.wait_for(lambda: console.manager.snapshot().host.trouble == "")
    assert not console.lines("the host died")
    assert not console.lines("the host ended")


def test_a_pause_outlives_the_host(console: Console) -> None:
    """After a crash the pause goes on in the new host, which has loaded the changes that were waiting."""
    console.manager.pause()
    console.workspace["greet"] = GREET
    console.wait_for(lambda: console.manager.snapshot().watcher.waiting == ("greet",))
    first = console.pid
    console.wait_for_quiet()
    os.kill(first, signal.SIGKILL)
    console.wait_for(lambda: console.state("greet") is PluginState.OK and console.pid != first)
    console.workspace["good"] = GREET
    console.wait_for(lambda: console.manager.snapshot().watcher.waiting == ("good",))
    assert [status.name for status in console.manager.resume()] == ["good"]
    assert console.manager.invoke("greet").values == ("hello", "hello")
