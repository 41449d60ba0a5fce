"""Errors that nothing catches in threads, finalizers and event loops are faults of the plugin that raised."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from hotload_tui import Config, Fault
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import Stage, retired
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OWN_THREAD = """
import stage, threading

def work():
    stage.gate.wait()
    raise ValueError("of my own thread")

def register(ctx):
    threading.Thread(target=work, name="mine", daemon=True).start()
"""


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """Set the program's own hooks, and yield the names of the exceptions that they get."""
    found: list[str] = []
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda args: found.append(args.exc_type.__name__)
    sys.unraisablehook = lambda args: found.append(args.exc_type.__name__)
    yield found
    threading.excepthook, sys.unraisablehook = before


def fault_of(running: Running) -> Fault:
    """Wait for the fault of a plugin that is ok, and return it."""
    assert running.wait_for(lambda: running.status("greet").fault is not None)
    assert running.status("greet").sign == "+ ok !"
    return running.fault("greet")


def joined(name: str) -> None:
    """Wait until the threads of this name have ended."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE)


def test_a_thread_of_a_plugin_that_raises_is_its_fault(
    workspace: Workspace, run: Run, stage: Stage, heard: list[str]
) -> None:
    """A plugin's own thread that raises marks the plugin, and the program's hook is still called."""
    workspace["greet"] = OWN_THREAD
    running = run(workspace.config())
    stage.gate.set()
    fault = fault_of(running)
    assert (fault.phase, fault.type, fault.generation) == ("thread", "ValueError", 1)
    assert fault.notes[0] == "in thread 'mine'"
    assert fault.place is not None
    assert fault.place.line == 6
    joined("mine")
    assert heard == ["ValueError"]


def test_a_thread_in_code_of_a_library_is_of_the_plugin_that_started_it(
    workspace: Workspace, run: Run, stage: Stage, heard: list[str]
) -> None:
    """If a thread has no frame of the plugin, the plugin whose load started it has the fault."""
    workspace["greet"] = (
        "import json, stage, threading\n"
        "def register(ctx):\n"
        "    threading.Thread(target=json.load, args=(stage.reader,), daemon=True).start()\n"
    )

    class Reader:
        def read(self) -> str:
            stage.gate.wait(PATIENCE)
            return "{"

    vars(stage)["reader"] = Reader()
    running = run(workspace.config())
    stage.gate.set()
    assert fault_of(running).type == "JSONDecodeError"
    assert running.wait_for(lambda: heard == ["JSONDecodeError"])


def test_a_hook_that_the_program_sets_later_is_called_too(
    workspace: Workspace, run: Run, stage: Stage, heard: list[str]
) -> None:
    """A program that sets its hook after the start still gets the error, and so does the plugin."""
    workspace["greet"] = answering(1)
    running = run(workspace.config())
    later: list[str] = []
    threading.excepthook = lambda args: later.append(args.exc_type.__name__)
    workspace["greet"] = OWN_THREAD
    running.manager.rebuild()
    stage.gate.set()
    assert fault_of(running).phase == "thread"
    joined("mine")
    assert (later, heard) == (["ValueError"], [])


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_hook_that_the_program_sets_later_hides_no_fault(
    workspace: Workspace,
    run: Run,
    stage: Stage,
    is_loaded: bool,  # noqa: FBT001
) -> None:
    """A program that sets its hook after the last load still shows the fault, also one of the next load."""
    workspace["greet"] = OWN_THREAD if is_loaded else answering(1)
    running = run(workspace.config())
    threading.excepthook = lambda _: None
    if is_loaded:
        running.manager.snapshot()
    else:
        source = OWN_THREAD.replace("    stage.gate.wait()\n", "")
        workspace["greet"] = f"{source}    [t.join() for t in threading.enumerate() if t.name == 'mine']\n"
        running.manager.rebuild()
    stage.gate.set()
    assert fault_of(running).phase == "thread"
    joined("mine")


def test_after_the_stop_the_hooks_are_the_programs_again(workspace: Workspace, run: Run) -> None:
    """A manager that has stopped leaves the hooks as they were."""
    before = threading.excepthook, sys.unraisablehook, asyncio.BaseEventLoop.call_exception_handler
    workspace["greet"] = answering(1)
    running = run(workspace.config())
    assert threading.excepthook is not before[0]
    running.manager.stop()
    after = threading.excepthook, sys.unraisablehook, asyncio.BaseEventLoop.call_exception_handler
    assert after == before


def test_threads_of_the_program_and_sys_exit_are_no_faults(
    workspace: Workspace, run: Run, stage: Stage, heard: list[str]
) -> None:
    """A thread of the program that raises, and a plugin's thread that calls ``sys.exit``, are no faults."""
    workspace["greet"] = OWN_THREAD.replace('ValueError("of my own thread")', "SystemExit")
    running = run(workspace.config())

    def fail() -> None:
        raise KeyError

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join(PATIENCE)
    stage.gate.set()
    joined("mine")
    assert (running.status("greet").fault, heard) == (None, ["KeyError", "SystemExit"])


FINALIZERS = {
    "__del__": """
    class Thing:
        def __del__(self): raise ValueError("at the end")
    Thing()
""",
    "weakref": """
    def gone(_): raise ValueError("at the end")
    class Thing: ...
    thing = Thing()
    link = weakref.ref(thing, gone)
    del thing
""",
    "finalize": """
    def gone(): raise ValueError("at the end")
    class Thing: ...
    weakref.finalize(Thing(), gone)
""",
}


@pytest.mark.parametrize("body", FINALIZERS.values(), ids=FINALIZERS.keys())
def test_a_finalizer_that_raises_is_a_fault(
    workspace: Workspace, run: Run, heard: list[str], body: str
) -> None:
    """An exception in ``__del__`` or a weak reference's callback marks the plugin."""
    workspace["greet"] = f"import weakref\ndef act():\n{body}\ndef register(ctx): ctx.hook('greet', act)\n"
    running = run(workspace.config())
    running.host.call("greet")
    gc.collect()
    fault = fault_of(running)
    assert (fault.phase, fault.message, fault.generation) == ("finalizer", "at the end", 1)
    assert heard == ["ValueError"]


def test_a_finalizer_that_raises_where_the_program_holds_a_lock_blocks_nothing(
    workspace: Workspace, run: Run, heard: list[str]
) -> None:
    """A ``__del__`` that the collector runs in the middle of the manager's own work deadlocks nothing."""
    workspace["greet"] = (
        "class Thing:\n    def __del__(self): raise ValueError('at the end')\n"
        "def make(): return Thing()\ndef register(ctx): ctx.hook('greet', make)\n"
    )
    running = run(workspace.config())
    (thing,) = running.host.call("greet")
    with running.manager._store._lock:  # noqa: SLF001 - as when the collector runs there
        del thing
    assert fault_of(running).phase == "finalizer"
    assert heard == ["ValueError"]


CALLBACK = """
import asyncio

def fail(): raise ValueError("in a callback")

async def fail_later(): raise ValueError("in a task")

def call(): asyncio.get_running_loop().call_soon(fail)

def forget(): asyncio.ensure_future(fail_later())

def register(ctx):
    ctx.hook("callback", call)
    ctx.hook("task", forget)
"""


@pytest.mark.parametrize("has_handler", [True, False], ids=["the program's handler", "the default handler"])
@pytest.mark.parametrize("kind", ["callback", "task"])
async def test_a_callback_or_a_forgotten_task_that_raises_is_a_fault(
    workspace: Workspace, run: Run, kind: str, *, has_handler: bool
) -> None:
    """What a plugin's callback or forgotten task raises on the program's loop marks the plugin, once."""
    workspace["greet"] = CALLBACK
    running = run(workspace.config())
    told: list[object] = []
    if has_handler:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    running.host.call(kind)
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    fault = await asyncio.to_thread(fault_of, running)
    assert (fault.phase, fault.message) == (kind, f"in a {kind}")
    assert [(entry.count, entry.fault) for entry in running.manager.history("greet") if entry.count] == [
        (1, fault)
    ]
    assert len(told) == has_handler


FUTURES = {
    "a callback of a future": "pool = ThreadPoolExecutor(1)\n"
    "    pool.submit(int).add_done_callback(lambda _: fail())",
    "the start of a worker": "pool = ThreadPoolExecutor(1, initializer=fail)\n    pool.submit(int)",
}


@pytest.mark.parametrize("body", FUTURES.values(), ids=FUTURES)
def test_what_an_executor_only_logs_is_a_fault(workspace: Workspace, run: Run, body: str) -> None:
    """The standard library logs what these functions raise, and nobody else hears of it."""
    workspace["greet"] = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def fail(): raise ValueError('in an executor')\n"
        f"def act():\n    {body}\n    pool.shutdown()\n"
        "def register(ctx): ctx.hook('greet', act)\n"
    )
    running = run(workspace.config())
    running.host.call("greet")
    fault = fault_of(running)
    assert (fault.phase, fault.message, fault.generation) == ("callback", "in an executor", 1)


def test_a_fault_of_a_retired_generation_names_it(
    workspace: Workspace, run: Run, stage: Stage, heard: list[str]
) -> None:
    """A thread of a replaced version that raises is shown as a fault of that generation."""
    workspace["greet"] = OWN_THREAD
    running = run(workspace.config())
    workspace["greet"] = answering("new")
    running.manager.rebuild()
    retired(running)
    stage.gate.set()
    assert running.wait_for(lambda: running.status("greet").fault is not None)
    fault = running.fault("greet")
    assert fault.step(running.status("greet").generation) == "thread of generation 1"
    line = "thread of generation 1 failed: ValueError: of my own thread"
    assert running.wait_for(lambda: line in running.said())
    assert running.host.call("greet") == ["new"]
    joined("mine")
    assert heard == ["ValueError"]
