import asyncio
import signal
import sys
import threading
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginFailed, PluginRetired
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import Stage, retired
from tests.waiting import PATIENCE, auntil

Run = Callable[[Config], Running]


def reload(running: Running, workspace: Workspace) -> PluginRetired:
    """Replace the plugin by another version, and return the event of the previous one."""
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    assert running.host.call("greet") == ["new"]
    return retired(running)


def threads() -> list[str]:
    """Return the names of the plugin's threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("greet.")]


POLL = """
import stage

def register(ctx):
    ctx.on_unload(lambda: stage.told.append("closed"))

    @ctx.thread
    def poll(stop):
        stage.told.append("began")
        stage.entered.set()
        stop.wait()
        stage.told.append("ended")
"""

TASKS = """
import asyncio, stage

async def poll(name):
    try:
        stage.told.append(f"{name} began")
        stage.entered.set()
        await asyncio.sleep(1000)
    finally:
        stage.told.append(f"{name} ended")

def register(ctx):
    ctx.on_unload(lambda: stage.told.append("closed"))
    ctx.task(poll("a"))
"""


def test_a_thread_is_asked_to_stop_and_waited_for(workspace: Workspace, run: Run, stage: Stage) -> None:
    """A thread ends before ``on_unload`` runs, and leaves nothing behind."""
    workspace["greet"] = POLL
    running = run(workspace.config())
    assert stage.entered.wait(PATIENCE)
    (standing,) = running.manager.detail("greet").ledger
    assert (standing.category, standing.what.split(" running ")[0]) == ("thread", "'greet.poll'")
    event = reload(running, workspace)
    assert stage.told == ["began", "ended", "closed"]
    assert (event.memory, event.ledger, threads()) == ("freed", (), [])


def test_a_task_is_cancelled_and_waited_for(workspace: Workspace, run: Run, stage: Stage) -> None:
    """A task that ``register`` starts runs on the plugin's event loop, and ends before ``on_unload``."""
    workspace["greet"] = TASKS
    running = run(workspace.config())
    assert stage.entered.wait(PATIENCE)
    event = reload(running, workspace)
    assert stage.told == ["a began", "a ended", "closed"]
    assert (event.memory, event.ledger, threads()) == ("freed", (), [])


async def test_a_handler_starts_tasks_on_its_own_loop(workspace: Workspace, run: Run, stage: Stage) -> None:
    """Tasks of a coroutine handler run on its event loop, and end with the plugin."""
    workspace["greet"] = (
        f"{TASKS}\ndef register(ctx):\n    async def greet():\n        ctx.task(poll('b'))\n"
        "        return id(asyncio.get_running_loop())\n    ctx.hook('greet', greet)\n"
    )
    running = run(workspace.config())
    assert await running.host.acall("greet") == [id(asyncio.get_running_loop())]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stage.told == ["b began"]
    event = await asyncio.to_thread(reload, running, workspace)
    assert (stage.told, event.memory) == (["b began", "b ended"], "freed")


@pytest.mark.parametrize("source", [POLL, TASKS])
def test_nothing_begins_where_the_load_fails(
    workspace: Workspace, run: Run, stage: Stage, source: str
) -> None:
    """Threads and tasks of a ``register`` that raises never run."""
    workspace["greet"] = f"{source}\n    raise ValueError\n".replace("\n\n    raise", "\n    raise")
    running = run(workspace.config())
    assert running.fault("greet").type == "ValueError"
    assert (stage.told, threads()) == ([], [])


def test_a_thread_that_does_not_stop_is_named_with_its_line(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A thread that does not stop is abandoned after ``drain_timeout``; a fault and ``left`` name its line.

    The handlers of the earlier version are not named beside it: the thread alone holds them.
    """
    workspace["greet"] = (
        "import stage\ndef register(ctx):\n    @ctx.thread\n    def deaf():\n        stage.entered.set()\n"
        "        stage.gate.wait()\n    ctx.hook('greet', greet)\ndef greet(): return 'hello'\n"
    )
    running = run(workspace.config(drain_timeout=0.1))
    assert stage.entered.wait(PATIENCE)
    event = reload(running, workspace)
    (fault,) = [e.fault for e in running.told(PluginFailed)]
    assert fault.message == "thread 'greet.deaf' did not end within drain_timeout = 0.1 s of its stop signal"
    assert fault.place is not None
    assert fault.place.line == 6
    (entry,) = event.ledger
    assert (entry.category, entry.outcome, entry.line, entry.now) == ("thread", "named", 3, ":6")
    assert event.memory.startswith("alive")
    assert running.status("greet").left == (entry.describe(),)
    stage.gate.set()
    for thread in threading.enumerate():
        if thread.name == "greet.deaf":
            thread.join(PATIENCE)
    assert running.wait_for(lambda: bool(running.manager.snapshot()) and "is freed now" in running.said())
    assert (running.status("greet").memory, running.status("greet").left) == ("freed", ())


def test_a_task_that_does_not_end_is_named_with_its_line(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A task that does not end is named in a fault and in the ledger."""
    workspace["greet"] = (
        "import asyncio, stage\nasync def deaf():\n    stage.entered.set()\n"
        "    while not stage.gate.is_set():\n"
        "        try:\n            await asyncio.sleep(0.01)\n        except asyncio.CancelledError: pass\n"
        "def register(ctx): ctx.task(deaf)\n"
    )
    running = run(workspace.config(drain_timeout=0.1))
    assert stage.entered.wait(PATIENCE)
    event = reload(running, workspace)
    (fault,) = [e.fault for e in running.told(PluginFailed)]
    assert fault.message == "task 'greet.deaf' did not end within drain_timeout = 0.1 s of being cancelled"
    assert ("asyncio task", "named") in [(entry.category, entry.outcome) for entry in event.ledger]


@pytest.mark.own_process
def test_details_are_available_while_tasks_of_the_program_end(workspace: Workspace, run: Run) -> None:
    """``detail`` works while other tasks of the program end during its search for tasks."""
    workspace["greet"] = answering("hello")
    running = run(workspace.config())
    ended, before = threading.Event(), sys.getswitchinterval()

    async def brief() -> None:
        await asyncio.sleep(0)

    async def work() -> None:
        while not ended.is_set():
            await asyncio.gather(*(brief() for _ in range(50)))

    sys.addaudithook(lambda *_: None)  # a look at a coroutine then runs Python code, and other threads go on
    loop = threading.Thread(target=asyncio.run, args=(work(),))
    loop.start()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            assert running.manager.detail("greet").status.name == "greet"
    finally:
        sys.setswitchinterval(before)
        ended.set()
        loop.join(PATIENCE)


@pytest.mark.parametrize("command", ["rebuild('greet')", "disable('greet')", "stop()"])
@pytest.mark.parametrize("kind", ["thread", "task", "task in a thread"])
def test_a_thread_or_task_may_reload_its_own_plugin(
    workspace: Workspace, run: Run, stage: Stage, kind: str, command: str
) -> None:
    """A thread or task that reloads its own plugin finishes its command, and nothing deadlocks."""
    act = f"        stage.running.manager.{command}\n        stage.told.append('returned')\n"
    lines = {
        "thread": f"    @ctx.thread\n    def act():\n        stage.gate.wait()\n{act}",
        "task": f"    @ctx.task\n    async def act():\n        stage.gate.wait()\n{act}",
        "task in a thread": (
            "    def command():\n        stage.gate.wait()\n"
            f"{act}    @ctx.task\n    async def act():\n"
            "        await asyncio.to_thread(command)\n        stage.told.append('went on')\n"
        ),
    }
    workspace["greet"] = (
        f"import asyncio, stage\ndef register(ctx):\n    if ctx.generation > 1: return\n{lines[kind]}"
    )
    stage.running = running = run(workspace.config(drain_timeout=PATIENCE))
    stage.gate.set()
    retired(running)
    expected = ["returned", "went on"] if kind == "task in a thread" else ["returned"]
    for thread in threading.enumerate():
        if thread.name.startswith("greet."):
            thread.join(PATIENCE)
    assert (stage.told, running.told(PluginFailed)) == (expected, [])


def test_a_worker_that_raises_is_reported_and_forgotten(workspace: Workspace, run: Run) -> None:
    """An error in a thread or task is logged under the plugin's name, and keeps nothing alive."""
    workspace["greet"] = (
        "async def fail_task(): raise ValueError('of a task')\n"
        "def register(ctx):\n    ctx.task(fail_task)\n"
        "    @ctx.thread\n    def fail_thread(): raise ValueError('of a thread')\n"
    )
    running = run(workspace.config())
    assert running.wait_for(lambda: "of a task" in running.said() and "of a thread" in running.said())
    assert "error greet: thread 'greet.fail_thread' raised" in running.said()
    assert reload(running, workspace).memory == "freed"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ctx.thread(1)", "ctx.thread needs a plain function"),
        ("ctx.thread(work)", "ctx.thread needs a plain function"),
        ("ctx.task(1)", "ctx.task needs a coroutine"),
        ("ctx.task(print)", "ctx.task needs a coroutine"),
    ],
)
def test_what_cannot_run_is_refused(workspace: Workspace, run: Run, line: str, problem: str) -> None:
    """An unsuitable argument of ``ctx.thread`` or ``ctx.task`` is a fault that says what is needed."""
    workspace["greet"] = f"async def work(): ...\ndef register(ctx):\n    {line}\n"
    assert problem in run(workspace.config()).fault("greet").message


def test_nothing_is_started_after_the_end(workspace: Workspace, run: Run) -> None:
    """``ctx.task`` is refused after the plugin has been unloaded."""
    workspace["greet"] = (
        "async def work(): ...\ndef register(ctx):\n"
        "    @ctx.on_unload\n    def late():\n        ctx.task(work)\n"
    )
    running = run(workspace.config())
    reload(running, workspace)
    (fault,) = [e.fault for e in running.told(PluginFailed)]
    assert (fault.type, "has been unloaded" in fault.message) == ("RefusedError", True)


DYING = {
    "thread": (
        "    @ctx.thread\n    def work():\n        stage.gate.wait()\n        raise ValueError('gone')\n"
    ),
    "task": (
        "    @ctx.task\n    async def work():\n        await asyncio.to_thread(stage.gate.wait)\n"
        "        raise ValueError('gone')\n"
    ),
}


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_a_worker_that_raises_is_a_fault_of_its_plugin(
    workspace: Workspace, run: Run, stage: Stage, kind: str
) -> None:
    """A thread or task that raises marks the plugin until another version is live; history keeps it."""
    workspace["greet"] = f"import asyncio, stage\ndef register(ctx):\n{DYING[kind]}"
    running = run(workspace.config())
    assert running.status("greet").sign == "+ ok"
    stage.gate.set()
    assert running.wait_for(lambda: running.status("greet").sign == "+ ok !")
    fault = running.fault("greet")
    assert (fault.phase, fault.message, fault.generation) == (kind, "gone", 1)
    assert fault.notes[0] == f"in {kind} 'greet.work'"
    line = f"error greet: {kind} failed: ValueError: gone ("
    assert running.wait_for(lambda: line in running.said())
    reload(running, workspace)
    assert running.status("greet").sign == "+ ok"
    assert [entry.fault for entry in running.manager.history("greet") if entry.count] == [fault]


def test_a_worker_that_raises_at_once_is_not_missed(workspace: Workspace, run: Run) -> None:
    """A thread that fails before the load is reported marks the version that started it."""
    workspace["greet"] = (
        "def register(ctx):\n    @ctx.thread\n    def fail(): raise ValueError(ctx.generation)\n"
    )
    running = run(workspace.config())
    for generation in (1, 2, 3):
        assert running.wait_for(lambda: running.status("greet").fault is not None)
        status = running.status("greet")
        assert (status.generation, running.fault("greet").message) == (generation, str(generation))
        running.manager.rebuild("greet", force=True)
    (entry,) = [entry for entry in running.manager.history("greet") if entry.count]
    assert (entry.count >= 3, entry.digest) == (True, running.status("greet").digest)


def test_a_worker_that_fails_in_a_stale_plugin_is_shown_when_the_source_is_fixed(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """The fault of a broken source comes first; once it is mended, the dead worker is shown."""
    good = f"import asyncio, stage\ndef register(ctx):\n{DYING['thread']}"
    workspace["greet"] = good
    running = run(workspace.config())
    workspace["greet"] = "broken("
    running.manager.scan_and_load_all()
    stage.gate.set()
    assert running.wait_for(lambda: bool(running.told(PluginFailed)[1:]))
    assert (running.status("greet").state, running.fault("greet").type) == ("STALE", "SyntaxError")
    workspace["greet"] = good
    running.manager.scan_and_load_all()
    assert running.status("greet").sign == "+ ok !"
    assert running.fault("greet").message == "gone"


def test_a_failed_call_does_not_hide_that_a_worker_has_ended(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A worker that raised stays the plugin's fault when a handler raises later; the history has both."""
    workspace["greet"] = (
        f"import asyncio, stage\ndef register(ctx):\n{DYING['thread']}    ctx.hook('odd', lambda: 1 / 0)\n"
    )
    running = run(workspace.config())
    stage.gate.set()
    assert running.wait_for(lambda: running.status("greet").fault is not None)
    assert running.host.invoke("odd").faults
    assert (running.fault("greet").phase, running.fault("greet").message) == ("thread", "gone")
    kinds = {entry.fault.phase for entry in running.manager.history("greet") if entry.fault and entry.count}
    assert kinds == {"thread", "hook"}


@pytest.mark.usefixtures("stage")
def test_a_thread_that_does_not_stop_marks_the_plugin(workspace: Workspace, run: Run) -> None:
    """A thread that goes on after its version retired is a fault of that generation."""
    workspace["greet"] = (
        "import stage\ndef register(ctx):\n    @ctx.thread\n    def deaf(): stage.gate.wait()\n"
    )
    running = run(workspace.config(drain_timeout=0.1))
    reload(running, workspace)
    status = running.status("greet")
    assert (status.sign, status.generation) == ("+ ok !", 2)
    assert running.fault("greet").step(2) == "unload of generation 1"


def test_a_task_that_exits_ends_alone_and_is_a_fault(workspace: Workspace, run: Run, stage: Stage) -> None:
    """``sys.exit`` in a task marks the plugin, and its other tasks go on."""
    workspace["greet"] = (
        "import asyncio, stage, sys\n"
        "def register(ctx):\n"
        "    @ctx.task\n    async def leave(): sys.exit(2)\n"
        "    @ctx.task\n    async def stay():\n"
        "        while not stage.gate.is_set(): await asyncio.sleep(0.01)\n"
        "        raise ValueError('still here')\n"
    )
    running = run(workspace.config())
    assert running.wait_for(lambda: running.status("greet").fault is not None)
    assert (running.fault("greet").phase, running.fault("greet").type) == ("task", "SystemExit")
    stage.gate.set()
    assert running.wait_for(lambda: running.fault("greet").message == "still here")
    running.manager.stop()  # which ends the loop's thread


def test_a_task_that_awaits_a_cancelled_one_and_ends_is_a_fault(workspace: Workspace, run: Run) -> None:
    """A task is dead if the cancellation of something else reaches it; its own cancellation is no fault."""
    workspace["greet"] = (
        "import asyncio\n"
        "def register(ctx):\n"
        "    @ctx.task\n    async def poll():\n"
        "        request = asyncio.create_task(asyncio.sleep(60))\n"
        "        request.cancel()\n"
        "        await request\n"
        "    @ctx.task\n    async def leave():\n"
        "        asyncio.current_task().cancel()\n        await asyncio.sleep(60)\n"
    )
    running = run(workspace.config())
    assert running.wait_for(lambda: running.status("greet").fault is not None)
    fault = running.fault("greet")
    assert (fault.phase, fault.type) == ("task", "CancelledError")
    assert fault.place is not None
    assert fault.place.line == 7
    assert any("something that it awaited was cancelled" in note for note in fault.notes)
    running.manager.stop()
    assert [entry.count for entry in running.manager.history("greet") if entry.count] == [1]


@pytest.mark.parametrize("line", ["sys.exit(2)", "raise KeyboardInterrupt", "raise Quit"])
def test_a_task_on_the_loop_of_the_host_does_not_end_it(workspace: Workspace, run: Run, line: str) -> None:
    """What a plugin's task raises is a fault of the plugin, and the host's loop goes on."""
    workspace["greet"] = (
        "import sys\nclass Quit(BaseException): ...\n"
        f"async def leave():\n    {line}\n"
        "def register(ctx): ctx.hook('start', lambda: bool(ctx.task(leave)))\n"
    )
    running = run(workspace.config())

    async def host() -> None:
        assert running.host.call("start") == [True]
        await auntil(lambda: running.status("greet").fault is not None)

    asyncio.run(host())
    expected = line.removeprefix("raise ") if line.startswith("raise") else "SystemExit"
    assert (running.fault("greet").phase, running.fault("greet").type) == ("task", expected)
    reload(running, workspace)


def test_ctrl_c_in_a_task_on_the_loop_of_the_host_reaches_the_host(workspace: Workspace, run: Run) -> None:
    """A signal that arrives while a plugin's task runs ends the host as always, and is no fault."""
    workspace["greet"] = (
        "import asyncio, signal\nasync def work():\n    signal.raise_signal(signal.SIGINT)\n"
        "def register(ctx): ctx.hook('start', lambda: bool(ctx.task(work)))\n"
    )
    running = run(workspace.config())

    async def host() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else the loop's own handler waits
        assert running.host.call("start") == [True]
        await asyncio.sleep(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(host())
    reload(running, workspace)


ENDS_BADLY = {
    "thread": "    @ctx.thread\n    def work(stop):\n        stop.wait()\n        raise ValueError('late')\n",
    "task": "    @ctx.task\n    async def work():\n        try: await asyncio.sleep(60)\n"
    "        finally: raise ValueError('late')\n",
}


@pytest.mark.parametrize("kind", ENDS_BADLY)
def test_a_worker_that_raises_when_it_is_to_end(workspace: Workspace, run: Run, kind: str) -> None:
    """It did not leave well: the new version shows this, as for an ``on_unload`` that raises."""
    workspace["greet"] = f"import asyncio\ndef register(ctx):\n{ENDS_BADLY[kind]}"
    running = run(workspace.config())
    workspace["greet"] = answering("new")
    running.manager.rebuild()
    retired(running)
    assert running.status("greet").sign == "+ ok !"
    fault = running.fault("greet")
    assert (fault.step(2), fault.message) == ("unload of generation 1", "late")
    running.manager.rebuild("greet", force=True)
    assert running.wait_for(lambda: running.status("greet").fault is None)
