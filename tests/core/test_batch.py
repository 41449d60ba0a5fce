"""Plugins that start together: no plugin is affected by the side effects, delays or errors of another."""

import threading
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginLoaded, PluginRetired
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]

COMPARES_THREADS = """
import sys
import threading
from builtins import of_the_test

def seen():
    return type(sys.gettrace()), type(sys.getprofile()), hasattr(of_the_test.local, "value")

here, in_a_new_thread = seen(), []
thread = threading.Thread(target=lambda: in_a_new_thread.append(seen()))
thread.start()
thread.join()
{leaves}

def register(ctx):
    ctx.hook("is_alone", lambda: [here] == in_a_new_thread)
"""
COUNTS = "import builtins\nbuiltins.of_the_test.executed.append(__name__.split('.')[1])\n"
WAITS = "import builtins\nbuiltins.of_the_test.end.wait({seconds})\n"
LEAVES = {
    "nothing": "",
    "a local": "of_the_test.local.value = 1",
    "a tracer": "sys.settrace(lambda *_: None)",
    "a profiler": "sys.setprofile(lambda *_: None)",
    "a tracer for threads to come": "threading.settrace(None if threading.gettrace() else (lambda *_: None))",
}


class Shared:
    """The objects that the plugins share with the test."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.end = threading.Event()
        self.local = threading.local()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Shared:
    """Give plugins a list to record their execution in, and an event to wait for."""
    found = Shared()
    monkeypatch.setattr("builtins.of_the_test", found, raising=False)
    return found


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("kind", LEAVES)
def test_no_load_meets_what_another_one_set_for_its_thread(kind: str, workspace: Workspace, run: Run) -> None:
    """Each plugin of a batch sees the same thread state as code in a new thread."""
    for name in ("a", "b", "c"):
        workspace[name] = COMPARES_THREADS.format(leaves=LEAVES[kind] if name == "b" else "")
    assert run(workspace.config()).host.call("is_alone") == [True, True, True]


def test_a_context_variable_of_one_load_is_not_seen_by_the_next(workspace: Workspace, run: Run) -> None:
    """Each load sees the default decimal context, although an earlier load changed its own."""
    source = (
        "import decimal\nBEFORE = decimal.getcontext().prec\ndecimal.getcontext().prec = 7\n\n\n"
        "def register(ctx):\n    ctx.hook('precision', lambda: BEFORE)\n"
    )
    for name in ("a", "b"):
        workspace[name] = source
    assert run(workspace.config()).host.call("precision") == [28, 28]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise OSError", "OSError"),
        ("raise SystemExit", "SystemExit"),
        ("while True: pass", "was interrupted"),
        (WAITS.format(seconds=""), "cannot be interrupted"),
    ],
)
def test_one_of_many_that_fails_is_executed_once_and_stops_no_other(
    code: str, said: str, workspace: Workspace, run: Run, shared: Shared
) -> None:
    """If one plugin of a batch fails, even much later, the others are live, and each is executed once."""
    for name in ("a", "b", "d", "e"):
        workspace[name] = COUNTS + answering(name)
    workspace["c"] = f"{COUNTS}{code}\n{answering('c')}"
    running = run(workspace.config(load_timeout=1.0))
    assert running.host.call("greet") == ["a", "b", "d", "e"]
    fault = running.fault("c")
    assert said in f"{fault.type}: {fault.message}"
    left = [thread for thread in threading.enumerate() if thread.name == "hotload-load-c"]
    assert bool(left) is ("cannot" in said)
    shared.end.set()
    for thread in left:
        thread.join()
    assert shared.executed == ["a", "b", "c", "d", "e"]
    assert [event.generation for event in running.told(PluginLoaded)] == [1] * 4


def test_a_load_that_was_left_behind_holds_no_version_of_others(
    workspace: Workspace, run: Run, shared: Shared
) -> None:
    """Versions loaded before and after an abandoned load are freed when new versions replace them."""
    for name in ("a", "e"):
        workspace[name] = answering(name)
    workspace["c"] = WAITS.format(seconds="") + answering("c")
    running = run(workspace.config(load_timeout=1.0))
    for name in ("a", "e"):
        workspace[name] = answering(f"new {name}")
    running.manager.rebuild("a")
    running.manager.rebuild("e")
    assert running.wait_for(lambda: len(running.told(PluginRetired)) == 2)
    assert [event.memory for event in running.told(PluginRetired)] == ["freed", "freed"]
    assert not shared.end.is_set()
    shared.end.set()


def test_a_limit_is_that_of_each_load_and_not_of_all(workspace: Workspace, run: Run, shared: Shared) -> None:
    """Several slow plugins start although their total load time exceeds the limit of one load."""
    for name in ("a", "b", "c", "d", "e"):
        workspace[name] = WAITS.format(seconds=0.3) + answering(name)
    assert len(run(workspace.config(load_timeout=1.0)).host.call("greet")) == 5
    assert not shared.end.is_set()
