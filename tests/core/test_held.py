"""What a reload does to free the version that it replaced."""

import gc
import threading
import time
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.requirements import in_order
from tests.conftest import Running, Workspace

GIVES = "def give():\n    return give\n\n\ndef register(ctx):\n    ctx.hook('give', give)\n"


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """List the waits of the retire thread, in seconds; a search for holders begins with one."""
    seconds: list[float] = []
    sleep = time.sleep

    def nap(duration: float) -> None:
        if threading.current_thread().name == "hotload-retire":
            seconds.append(duration)
        sleep(duration)

    monkeypatch.setattr(time, "sleep", nap)
    return seconds


def rebuild(running: Running) -> str:
    """Rebuild the plugin ``greet``, wait for the end of the previous version, and return its memory."""
    count = len(running.told(PluginRetired))
    running.manager.rebuild("greet")
    running.wait_for(lambda: len(running.told(PluginRetired)) > count)
    return running.told(PluginRetired)[-1].memory


def test_a_clean_plugin_is_freed_at_once(
    workspace: Workspace, run: Callable[[Config], Running], naps: list[float]
) -> None:
    """Thirty versions leave without a search for holders."""
    workspace["greet"] = GIVES
    running = run(workspace.config())
    assert {rebuild(running) for _ in range(30)} == {"freed"}
    assert naps == []


def test_a_holder_that_is_garbage_itself_needs_no_search(
    workspace: Workspace, run: Callable[[Config], Running], naps: list[float]
) -> None:
    """An object that outlived a collection, and that only a young cycle holds, goes with the cycle."""
    workspace["greet"] = GIVES
    running = run(workspace.config())
    kept = running.host.call("give")
    gc.collect()
    gc.disable()  # else the cycle could go before the reload
    try:
        cycle: list[object] = [kept]
        cycle.append(cycle)
        del kept, cycle
        assert rebuild(running) == "freed"
    finally:
        gc.enable()
    assert naps == []


def test_ordering_by_requirement_leaves_nothing_for_the_collector() -> None:
    """What is ordered would stay in memory until the next collection."""
    gc.collect()
    assert in_order(["a", "b", "c"], {"a": ["c"], "b": [], "c": ["b"]}.__getitem__) == ["b", "c", "a"]
    assert gc.collect() == 0
