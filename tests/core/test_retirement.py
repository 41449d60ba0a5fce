import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from hotload_tui import Config, Fault
from hotload_tui.core.events import PluginFailed
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import Stage, retired
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]


def unload_faults(running: Running) -> list[Fault]:
    """Return the faults of retirements."""
    return [event.fault for event in running.told(PluginFailed) if event.fault.phase == "unload"]


SLOW = "import stage\ndef slow():\n    return stage.wait()\ndef register(ctx):\n    ctx.hook('greet', slow)\n"


def test_a_call_that_does_not_leave_is_named_with_its_place(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """After ``drain_timeout`` the fault names hook point, thread and line, and the new version is live."""
    workspace["greet"] = SLOW
    running = run(workspace.config(drain_timeout=0.1))
    caller = threading.Thread(target=running.host.call, args=("greet",), name="visitor")
    caller.start()
    assert stage.entered.wait(PATIENCE)
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    event = retired(running)
    place = f"hook point 'greet' in thread 'visitor', {workspace.plugins}/greet/plugin.py:3 in slow"
    assert event.memory.startswith("alive")
    assert "handler at hook point" not in event.memory  # the version's own, which the call holds
    assert event.memory.endswith(f"(1 call is still inside: {place})")
    (fault,) = unload_faults(running)
    assert (fault.plugin, fault.message) == (
        "greet", f"after drain_timeout = 0.1 s 1 call is still inside: {place}",
    )  # fmt: skip
    assert fault.place is not None
    assert fault.place.lines[fault.place.line - fault.place.first_line] == "    return stage.wait()"
    assert running.host.call("greet") == ["new"]
    stage.gate.set()
    caller.join()


async def test_a_suspended_task_is_named_with_its_place(workspace: Workspace, run: Run) -> None:
    """A suspended coroutine handler is in flight: retirement waits for it, then names its line."""
    workspace["greet"] = (
        "async def inner(gate):\n    await gate.wait()\n    return 'old'\n"
        "async def slow(gate):\n    return await inner(gate)\n"
        "def register(ctx):\n    ctx.hook('greet', slow)\n"
    )
    running = run(workspace.config(drain_timeout=0.1))
    gate = asyncio.Event()
    task = asyncio.create_task(running.host.acall("greet", gate), name="visitor")
    await asyncio.sleep(0)
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    event = await asyncio.to_thread(retired, running)
    assert f"'greet' in task 'visitor', {workspace.plugins}/greet/plugin.py:2 in inner" in event.memory
    gate.set()
    assert await task == ["old"]
    assert await running.host.acall("greet") == ["new"]


def test_clean_up_waits_for_the_last_call(workspace: Workspace, run: Run, stage: Stage) -> None:
    """``on_unload`` runs after the last call of the old version, which still imports its own modules."""
    workspace["greet/lazy.py"] = "VALUE = 'old'\n"
    workspace["greet"] = (
        "import asyncio, stage\n"
        "async def slow():\n    await asyncio.to_thread(stage.wait)\n    from . import lazy\n"
        "    stage.told.append('call')\n    return lazy.VALUE\n"
        "def register(ctx):\n    ctx.hook('greet', slow)\n"
        "    ctx.on_unload(lambda: stage.told.append('unload'))\n"
    )
    running = run(workspace.config())
    with ThreadPoolExecutor() as pool:
        call = pool.submit(asyncio.run, running.host.acall("greet"))
        assert stage.entered.wait(PATIENCE)
        workspace["greet/lazy.py"] = "VALUE = 'new'\n"
        running.manager.scan_and_load_all()
        stage.gate.set()
        assert call.result(PATIENCE) == ["old"]
    assert retired(running).memory == "freed"
    assert (stage.told, unload_faults(running)) == (["call", "unload"], [])


def test_a_generator_of_the_old_version_ends_in_it(workspace: Workspace, run: Run) -> None:
    """A generator of the old version goes on with its own modules, even with late imports."""
    workspace["greet/lazy.py"] = "VALUE = 'old'\n"
    workspace["greet"] = (
        "def count():\n    yield 1\n    from . import lazy\n    yield lazy.VALUE\n"
        "def register(ctx):\n    ctx.hook('greet', count)\n"
    )
    running = run(workspace.config())
    numbers = cast("Iterator[object]", running.host.first("greet"))
    assert next(numbers) == 1
    workspace["greet/lazy.py"] = "VALUE = 'new'\n"
    running.manager.scan_and_load_all()
    assert "alive" in retired(running).memory
    assert next(numbers) == "old"


def test_a_coroutine_called_by_hand_is_named_with_its_own_place(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A coroutine that is called by hand is named with its own line, not with the waiting event loop's."""
    workspace["greet"] = (
        "import asyncio, stage\n"
        "async def slow():\n    stage.entered.set()\n    await asyncio.to_thread(stage.gate.wait)\n"
        "def register(ctx):\n    ctx.hook('greet', slow)\n"
    )
    running = run(workspace.config(drain_timeout=0.1))
    caller = threading.Thread(target=running.manager.invoke, args=("greet",))
    caller.start()
    assert stage.entered.wait(PATIENCE)
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    assert f"{workspace.plugins}/greet/plugin.py:4 in slow" in retired(running).memory
    stage.gate.set()
    caller.join()


def test_only_calls_that_reach_the_old_version_are_waited_for(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """Retirement does not wait for calls that began before the version was loaded."""
    workspace["slow"] = SLOW
    workspace["greet"] = answering(1, "other")
    running = run(workspace.config(drain_timeout=0.1))
    caller = threading.Thread(target=running.host.call, args=("greet",))
    caller.start()
    assert stage.entered.wait(PATIENCE)
    workspace["greet"] = answering(2, "other")
    running.manager.scan_and_load_all()
    assert "1 call is still inside" in retired(running).memory
    workspace["greet"] = answering(3, "other")
    running.manager.scan_and_load_all()
    assert retired(running, times=2).memory == "freed"
    assert len(unload_faults(running)) == 1
    stage.gate.set()
    caller.join()


# ---- on_unload

ENDLESS = {
    "waits": ("stage.wait()", "goes on in thread 'hotload-unload-greet', left behind"),
    "spins": ("\n        while not stage.gate.is_set(): pass", "was interrupted"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_on_unload_that_never_ends_is_left_behind(
    workspace: Workspace, run: Run, stage: Stage, kind: str
) -> None:
    """An endless ``on_unload`` is named with its line, the others still run, and ``stop`` returns."""
    line, ending = ENDLESS[kind]
    workspace["greet"] = (
        "import stage\ndef register(ctx):\n    ctx.on_unload(lambda: stage.told.append('first'))\n"
        f"    @ctx.on_unload\n    def endless():\n        {line}\n"
        "    ctx.on_unload(lambda: stage.told.append('last'))\n"
    )
    running = run(workspace.config(drain_timeout=0.2))
    running.manager.stop()
    assert stage.told == ["last", "first"]
    (fault,) = unload_faults(running)
    assert "endless did not end within drain_timeout = 0.2 s and " + ending in fault.message
    assert fault.place is not None
    assert fault.place.file == str(workspace.plugins / "greet" / "plugin.py")
    assert fault.place.line >= 6
    assert retired(running).generation == 1


UNLOADERS = [
    ("m.rebuild('greet')", "RefusedError"),
    ("m.scan_and_load_all()", ""),
    ("m.disable('greet')", ""),
    ("m.rebuild('other')", ""),
    ("m.stop()", ""),
    ("ctx.hook('late', print)", "RefusedError"),
    ("ctx.on_unload(print)", "RefusedError"),
    ("host.call('greet')", ""),
    ("raise SystemExit", "SystemExit"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("return later()", "TypeError"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "kind"), UNLOADERS)
def test_on_unload_runs_once_whatever_it_does(
    workspace: Workspace, stage: Stage, command: str, kind: str
) -> None:
    """``on_unload`` may command the manager; a refused command is a fault, and the other functions run."""
    workspace["other"] = answering("other", "other")
    workspace["greet"] = (
        "import stage\nasync def later(): ...\n"
        "def register(ctx):\n    m, host = stage.running.manager, stage.running.host\n"
        "    ctx.hook('greet', lambda: 1)\n    ctx.on_unload(lambda: stage.told.append('first'))\n"
        f"    @ctx.on_unload\n    def act():\n        stage.told.append('act')\n        {command}\n"
    )
    stage.running = running = Running(workspace.config())
    running.manager.start()
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    assert running.host.call("greet") in (["new"], [])
    retired(running)
    running.manager.stop()
    assert stage.told == ["act", "first"]
    assert [fault.type for fault in unload_faults(running)] == ([kind] if kind else [])
    assert running.host.points() == () or running.host.call("greet") == []


def test_nothing_is_loaded_while_everything_is_unloaded(workspace: Workspace, run: Run, stage: Stage) -> None:
    """During ``stop``, an ``on_unload`` that loads another plugin is refused."""
    workspace["other"] = answering("other", "other")
    workspace["greet"] = (
        "import stage\ndef register(ctx):\n"
        "    ctx.on_unload(lambda: stage.running.manager.rebuild('other'))\n"
    )
    stage.running = running = run(workspace.config())
    running.manager.stop()
    (fault,) = unload_faults(running)
    assert "being stopped" in fault.message
    assert running.host.call("other") == []
    running.manager.start()
    assert running.host.call("other") == ["other"]


def test_clean_up_also_runs_at_the_end_of_the_interpreter(workspace: Workspace) -> None:
    """``on_unload`` also runs if the manager is stopped in ``atexit``, where no thread can be started."""
    workspace["greet"] = "def register(ctx):\n    ctx.on_unload(lambda: print('cleaned'))\n"
    program = (
        "import atexit\nfrom hotload_tui import Config, HookHost, HotloadManager\n"
        f"config = Config(runtime_dir={str(workspace.plugins)!r}, compiled_dir={str(workspace.compiled)!r})\n"
        "manager = HotloadManager(HookHost(), config)\nmanager.start()\natexit.register(manager.stop)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("cleaned\n", "")


# ---- a plugin that commands its own manager

COMMANDS = {
    "rebuild('greet')": [1],
    "disable('greet')": [],
    "stop()": [],
    "rebuild()": [1],
}
PLACES = {
    "hook": "    act()\n",
    "thread": "    t = threading.Thread(target=act)\n    t.start()\n    t.join()\n",
    "coroutine": "    async def task(): act()\n    asyncio.run(task())\n",
    "thread of a task": "    asyncio.run(asyncio.to_thread(act))\n",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", [name for name in PLACES if name != "thread"])
def test_a_plugin_commands_its_own_manager_inside_its_hook(
    workspace: Workspace, run: Run, stage: Stage, command: str, place: str
) -> None:
    """A command in a hook does not wait for its own call, which ends in the old version."""
    workspace["greet"] = (
        "import asyncio, stage, threading\n"
        "def greet(busy=True):\n    def act():\n"
        f"        stage.told.append(threading.get_ident())\n        stage.running.manager.{command}\n"
        f"    if not busy: return 1\n{PLACES[place]}    return 'ended'\n"
        "def register(ctx):\n    ctx.hook('greet', greet)\n"
        "    ctx.on_unload(lambda: stage.told.append('unload'))\n"
    )
    stage.running = running = run(workspace.config(drain_timeout=5.0))
    assert running.host.call("greet") == ["ended"]
    retired(running)
    assert (len(stage.told), stage.told[1], unload_faults(running)) == (2, "unload", [])
    assert running.host.call("greet", busy=False) == COMMANDS[command]


@pytest.mark.parametrize("command", ["rebuild('greet')", "disable('greet')", "stop()"])
def test_a_plugin_commands_its_own_manager_in_a_thread_that_on_unload_joins(
    workspace: Workspace, run: Run, stage: Stage, command: str
) -> None:
    """A background thread may unload its own plugin, although ``on_unload`` joins that thread."""
    workspace["greet"] = (
        "import stage, threading\n"
        "def register(ctx):\n    if ctx.generation > 1: return\n"
        f"    def act():\n        stage.gate.wait()\n        stage.running.manager.{command}\n"
        "    thread = threading.Thread(target=act)\n"
        "    thread.start()\n    ctx.on_unload(lambda: thread.join(20))\n"
        "    ctx.on_unload(lambda: stage.told.append(1))\n"
    )
    limit = 0.5 if command == "stop()" else 5.0
    stage.running = running = run(workspace.config(drain_timeout=limit))
    stage.gate.set()
    retired(running)
    assert stage.told == [1]
    # stop() waits for on_unload, which waits for the thread that calls stop(): one of them has to give up.
    assert len(unload_faults(running)) == (command == "stop()")


async def test_stop_on_the_event_loop_waits_for_no_call_of_that_loop(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """``stop`` on an event loop does not wait for calls that are suspended on the same loop."""
    workspace["greet"] = (
        "import stage\nasync def slow(gate):\n    await gate.wait()\n    return 'old'\n"
        "def register(ctx):\n    ctx.hook('greet', slow)\n"
        "    ctx.hook('stop', lambda: stage.running.manager.stop())\n"
    )
    stage.running = running = run(workspace.config(drain_timeout=0.5))
    gate = asyncio.Event()
    task = asyncio.create_task(running.host.acall("greet", gate))
    await asyncio.sleep(0)
    await running.host.acall("stop")
    assert unload_faults(running) == []
    gate.set()
    assert await task == ["old"]


def test_a_manager_that_was_never_started_retires_too(workspace: Workspace, stage: Stage) -> None:
    """A manager that is used without ``start`` also runs ``on_unload``, at a reload and at the end."""
    workspace["greet"] = (
        "import stage\n\n\ndef register(ctx):\n"
        "    number = ctx.generation\n    ctx.on_unload(lambda: stage.told.append(number))\n"
    )
    running = Running(workspace.config())
    running.manager.scan_and_load_all()
    running.manager.rebuild("greet")
    assert retired(running).memory == "freed"
    assert stage.told == [1]
    running.manager.stop()
    assert stage.told == [1, 2]


def test_what_fails_in_the_background_ends_no_later_retirement(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the retire thread is logged, and later generations still retire."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())

    def full(_: int) -> None:
        raise MemoryError("no room for it")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        workspace["greet"] = answering("two")
        running.manager.rebuild("greet")
        assert running.wait_for(lambda: "no room for it" in running.said())
    workspace["greet"] = answering("three")
    running.manager.rebuild("greet")
    assert retired(running, times=2).generation == 2


FAILING = "def register(ctx):\n    ctx.on_unload(lambda: 1 / 0)\n"


def test_a_failing_on_unload_is_shown_until_a_later_version_retires_well(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """The fault stays beside the new versions until one of them retires without a fault; history keeps it."""
    workspace["greet"] = FAILING
    running = run(workspace.config())
    workspace["greet"] = f"{FAILING}# new\n"
    running.manager.scan_and_load_all()
    retired(running)
    assert running.fault("greet").step(2) == "unload of generation 1"
    workspace["greet"] = answering("good")
    running.manager.scan_and_load_all()
    retired(running, times=2)
    assert running.fault("greet").step(3) == "unload of generation 2"
    assert running.status("greet").sign == "+ ok !"
    running.manager.rebuild()  # as the user does who has seen it
    retired(running, times=3)
    assert (running.status("greet").generation, running.status("greet").sign) == (4, "+ ok")
    counted = [entry for entry in running.manager.history("greet") if entry.count]
    assert [(entry.count, entry.fault and entry.fault.generation) for entry in counted] == [(1, 1), (1, 2)]


def test_a_failing_on_unload_is_shown_on_a_disabled_plugin(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A plugin that is off shows that its last version did not retire well."""
    workspace["greet"] = FAILING
    running = run(workspace.config())
    running.manager.disable("greet")
    retired(running)
    assert running.status("greet").sign == "- off !"
    assert running.fault("greet").type == "ZeroDivisionError"
