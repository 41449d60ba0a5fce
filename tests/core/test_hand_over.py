"""Exclusive resources and workers pass from one version of a plugin to the next, or back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.errors import RegisterError
from hotload_tui.core.events import PluginFailed
from hotload_tui.core.faults import TWICE
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace
from tests.core.conftest import Stage, retired
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]


def owner(version: str, *more: str, name: str = "greet", acquire: str = "return 1", head: str = "") -> str:
    """Return a plugin that tells the stage when it acquires and releases its resource."""
    lines = "".join(f"    {line}\n" for line in more)
    return (
        f"import stage\ndef tell(what): stage.told.append('{name} {version} ' + what)\n"
        f"def acquire():\n    tell('acquires')\n    {acquire}\n"
        f"{head}\n"
        f"def register(ctx):\n    ctx.hook('{name}', lambda: '{version}')\n"
        f"    ctx.own('it', acquire, lambda: tell('releases'))\n{lines}"
    )


def save(running: Running, workspace: Workspace, source: str, name: str = "greet") -> None:
    """Replace the plugin by another version, if that goes live."""
    workspace[name] = source
    running.manager.scan_and_load_all()


def told(stage: Stage) -> list[object]:
    """Return what the plugins have told since the last look."""
    found, stage.told[:] = [*stage.told], []
    return found


def test_the_old_version_releases_before_the_new_one_acquires(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A resource is claimed at the swap, in the order release, acquire; unloading releases it."""
    workspace["greet"] = owner("a")
    running = run(workspace.config())
    assert told(stage) == ["greet a acquires"]
    save(running, workspace, owner("b"))
    assert (running.host.call("greet"), running.status("greet").state) == (["b"], PluginState.OK)
    assert retired(running).memory == "freed"
    running.manager.disable("greet")
    assert told(stage) == ["greet a releases", "greet b acquires", "greet b releases"]
    running.manager.enable("greet")
    running.manager.stop()
    assert told(stage) == ["greet b acquires", "greet b releases"]


def test_the_swap_comes_between_the_claims_and_the_workers(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """Old workers end, old resources go, new ones come; then hooks change and new workers begin."""
    stage.running = None
    worker = (
        "@ctx.thread\n    def work(stop):\n        tell('begins')\n        stage.entered.set()\n"
        "        stop.wait()\n        tell('ends')"
    )
    acquire = "tell(str(stage.running and stage.running.host.call('greet')))"
    workspace["greet"] = owner("a", worker, acquire=acquire)
    stage.running = running = run(workspace.config())
    assert stage.entered.wait(PATIENCE)
    told(stage)
    stage.entered.clear()
    save(running, workspace, owner("b", worker, acquire=acquire))
    assert stage.entered.wait(PATIENCE)
    assert told(stage) == [
        "greet a ends",
        "greet a releases",
        "greet b acquires",
        "greet b ['a']",
        "greet b begins",
    ]
    running.manager.stop()  # the fixture waits for threads on the stage


def test_several_resources_are_released_in_reverse_order(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """The newest resource is released first; ``release`` gets the value if it takes an argument."""
    more = (
        "ctx.own('two', lambda: tell('acquires two') or 2, lambda value: tell(f'releases {value}'))",
        "owned = ctx.own('three', lambda: 3)",
        "ctx.hook('value', lambda: owned.value)",
    )
    workspace["greet"] = owner("a", *more)
    running = run(workspace.config())
    assert running.host.call("value") == [3]
    running.manager.disable("greet")
    assert told(stage) == [
        "greet a acquires",
        "greet a acquires two",
        "greet a releases 2",
        "greet a releases",
    ]


def test_a_failed_register_claims_nothing(workspace: Workspace, run: Run, stage: Stage) -> None:
    """A version whose ``register`` raises never touches the resource of the live one."""
    workspace["greet"] = owner("a")
    running = run(workspace.config())
    save(running, workspace, owner("b", "raise ValueError"))
    assert running.status("greet").state is PluginState.STALE
    assert told(stage) == ["greet a acquires"]


def test_the_old_version_takes_back_what_the_new_one_cannot_acquire(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """If ``acquire`` raises, the old version acquires again and stays live, and the fault shows the line."""
    workspace["greet"] = owner("a")
    running = run(workspace.config())
    told(stage)
    more = "ctx.own('second', lambda: 1 / 0)"
    save(running, workspace, owner("b", more))
    assert told(stage) == [
        "greet a releases",
        "greet b acquires",
        "greet b releases",
        "greet a acquires",
    ]
    status, fault = running.status("greet"), running.fault("greet")
    assert (status.state, status.generation) == (PluginState.STALE, 1)
    assert running.host.call("greet") == ["a"]
    assert (fault.phase, fault.type) == ("register", "ZeroDivisionError")
    assert fault.place is not None
    assert fault.place.lines[fault.place.line - fault.place.first_line].strip() == more
    assert "in acquire of ctx.own('second')" in fault.notes
    save(running, workspace, owner("c"))
    assert (running.host.call("greet"), running.status("greet").state) == (["c"], PluginState.OK)
    assert told(stage) == ["greet a releases", "greet c acquires"]


def test_a_first_version_that_cannot_acquire_does_not_load(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """Without a previous version, the plugin is FAIL, nothing of it is registered, and a fix loads it."""
    workspace["greet"] = owner("a", acquire="raise ValueError('taken')")
    running = run(workspace.config())
    assert (running.status("greet").state, running.fault("greet").message) == (PluginState.FAIL, "taken")
    assert running.host.call("greet") == []
    save(running, workspace, owner("b"))
    assert (running.host.call("greet"), told(stage)) == (["b"], ["greet a acquires", "greet b acquires"])


def test_a_resource_that_neither_version_gets_is_a_fault_with_both_errors(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """If the old version cannot acquire again either, the fault says so and contains both errors."""
    workspace["greet"] = owner("a", acquire="return [1 / 0] if stage.gate.is_set() else 1")
    running = run(workspace.config())
    stage.gate.set()
    save(running, workspace, owner("b", acquire="raise ValueError('new')"))
    fault = running.fault("greet")
    assert running.status("greet").state is PluginState.STALE
    assert "could not take everything back" in fault.message
    assert [cause.type for cause in fault.causes if cause.relation == "member"] == [
        "ValueError",
        "ZeroDivisionError",
    ]
    save(running, workspace, owner("c"))
    assert (running.host.call("greet"), running.status("greet").state) == (["c"], PluginState.OK)
    assert told(stage)[-2:] == ["greet a acquires", "greet c acquires"]  # nothing was there to release


def test_an_acquire_that_takes_too_long_fails(workspace: Workspace, run: Run, stage: Stage) -> None:
    """``acquire`` may take as long as a load; after that, the old version acquires again."""
    workspace["greet"] = owner("a")
    running = run(workspace.config(load_timeout=1.0))
    told(stage)
    save(running, workspace, owner("b", acquire="stage.wait()"))
    assert running.status("greet").state is PluginState.STALE
    assert running.fault("greet").message.startswith(
        "acquire of ctx.own('it') did not end within load_timeout"
    )
    assert "in acquire of ctx.own('it')" in running.fault("greet").notes
    assert told(stage) == ["greet a releases", "greet b acquires", "greet a acquires"]


SLOW = {
    "release": ("ctx.own('slow', int, stage.wait)", "release of ctx.own('slow')", "load_timeout = 1 s"),
    "on_unload": ("ctx.on_unload(stage.wait)", "on_unload function Stage.wait", "drain_timeout = 0.2 s"),
}


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("reload", ["swap", "replace"])
def test_a_fault_names_the_function_that_took_too_long(
    workspace: Workspace, run: Run, kind: str, reload: str
) -> None:
    """An old version that leaves slowly is not reported as a load; the new version goes live."""
    line, what, limit = SLOW[kind]
    head = f"RELOAD = '{reload}'\n"
    workspace["greet"] = owner("a", line, head=head)
    running = run(workspace.config(load_timeout=1.0, drain_timeout=0.2))
    save(running, workspace, owner("b", head=head))
    assert (running.host.call("greet"), running.status("greet").state) == (["b"], PluginState.OK)
    assert running.wait_for(lambda: bool(running.told(PluginFailed)))
    (event,) = running.told(PluginFailed)
    assert "no version is live" not in event.describe()
    fault = event.fault
    assert (fault.phase, fault.type) == ("unload", "TimeoutError")
    assert fault.message.startswith(f"{what} did not end within {limit}")


@pytest.mark.usefixtures("stage")
def test_a_replace_that_takes_too_long_is_named(workspace: Workspace, run: Run) -> None:
    """The fault of a slow ``replace`` names that function, and the old version stays live."""
    workspace["greet"] = replacing("a")
    running = run(workspace.config(load_timeout=1.0))
    save(running, workspace, replacing("b", replace="lambda _: stage.wait()"))
    assert running.fault("greet").message.startswith("replace of ctx.own('router') did not end within")
    assert (running.host.call("greet"), running.status("greet").state) == (["a"], PluginState.STALE)


def test_a_reload_that_blocks_its_own_event_loop_says_so(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """An ``acquire`` that needs the loop whose thread asked for the reload fails with the way out."""
    running = run(workspace.config(load_timeout=1.0))
    acquire = "return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, 1), stage.loop).result()"
    workspace["greet"] = f"import asyncio\n{owner('a', acquire=acquire)}"

    async def host() -> None:
        vars(stage)["loop"] = asyncio.get_running_loop()
        running.manager.scan_and_load_all()
        fault = running.fault("greet")
        assert any("await asyncio.to_thread(manager.rebuild)" in note for note in fault.notes), fault
        await asyncio.to_thread(running.manager.rebuild, "greet")

    asyncio.run(host())
    assert running.host.call("greet") == ["a"]


def test_a_release_that_raises_is_a_fault_of_the_old_version(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """The new version goes live even if the old ``release`` raises; the fault is reported."""
    assert told(stage) == []
    workspace["greet"] = owner("a").replace("lambda: tell('releases')", "lambda: 1 / 0")
    running = run(workspace.config())
    save(running, workspace, owner("b"))
    retired(running)
    assert (running.host.call("greet"), running.status("greet").state) == (["b"], PluginState.OK)
    (fault,) = [event.fault for event in running.told(PluginFailed)]
    assert (fault.phase, fault.type) == ("unload", "ZeroDivisionError")
    assert "in release of ctx.own('it')" in fault.notes


REPLACE = "ctx.own('{key}', lambda: ['{v}'], lambda value: tell(f'releases {{value}}'), replace={replace})"


def replacing(version: str, *more: str, replace: str = "lambda old: tell(f'gets {old}') or ['%s']") -> str:
    """Return a plugin that takes its resource over from its previous version."""
    line = REPLACE.format(key="router", v=version, replace=replace.replace("%s", version))
    return owner(version, line, *more).replace("    ctx.own('it', acquire, lambda: tell('releases'))\n", "")


def test_a_resource_with_replace_passes_on_without_a_gap(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """``replace`` of the new version gets the old value; nothing is released or acquired in between."""
    workspace["greet"] = replacing("a")
    running = run(workspace.config())
    save(running, workspace, replacing("b"))
    save(running, workspace, replacing("c"))
    running.manager.disable("greet")
    assert told(stage) == ["greet b gets ['a']", "greet c gets ['b']", "greet c releases ['c']"]


@pytest.mark.parametrize(
    ("replace", "expected"),
    [
        ("lambda old: tell(f'gets {old}') or ['%s']", ["greet a gets ['b']"]),
        ("None", ["greet b releases ['b']"]),
    ],
)
def test_a_replaced_resource_goes_back(
    workspace: Workspace, run: Run, stage: Stage, replace: str, expected: list[str]
) -> None:
    """After a failure, the old ``replace`` gets the new value; without one, the resource is claimed again."""
    workspace["greet"] = replacing("a", replace=replace)
    running = run(workspace.config())
    save(running, workspace, replacing("b", "ctx.own('other', lambda: 1 / 0)"))
    assert running.status("greet").state is PluginState.STALE
    assert told(stage) == ["greet b gets ['a']", *expected]
    running.manager.disable("greet")
    assert told(stage) == ["greet a releases ['a']"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ctx.own('it', print)", "ctx.own('it') is called twice"),
        ("ctx.own(1, print)", "ctx.own needs a key"),
        ("ctx.own('', print)", "ctx.own needs a key"),
        ("ctx.own('a', 1)", "needs a plain function as acquire, not a int"),
        ("ctx.own('a', later)", "needs a plain function as acquire, not a coroutine function"),
        ("ctx.own('a', steps)", "needs a plain function as acquire, not a generator function"),
        ("ctx.own('a', print, later)", "needs a plain function as release"),
        ("ctx.own('a', print, replace=1)", "needs a plain function as replace"),
    ],
)
def test_a_wrong_claim_is_refused(
    workspace: Workspace, run: Run, stage: Stage, line: str, problem: str
) -> None:
    """A wrong argument of ``ctx.own`` is a fault of ``register`` that says what is needed."""
    workspace["greet"] = owner("a", line, head="async def later(): ...\ndef steps(): yield")
    fault = run(workspace.config()).fault("greet")
    assert (fault.phase, fault.type, problem in fault.message) == ("register", "RegisterError", True)
    assert told(stage) == []


LATER = "async def later():\n    tell('never runs')\n"


@pytest.mark.parametrize("kind", ["acquire", "release", "replace"])
@pytest.mark.usefixtures("stage")
def test_a_result_that_nobody_awaits_is_a_fault(workspace: Workspace, run: Run, kind: str) -> None:
    """A lambda that returns a coroutine has done nothing, so that version does not count as the owner."""
    functions = {"acquire": "int", "release": "None", "replace": "None", kind: "lambda *_: later()"}
    line = "ctx.own('late', {acquire}, {release}, replace={replace})".format_map(functions)
    good = "ctx.own('late', int)"
    workspace["greet"] = owner("a", line if kind == "release" else good, head=LATER)
    running = run(workspace.config())
    save(running, workspace, owner("b", good if kind == "release" else line, head=LATER))
    assert running.wait_for(lambda: bool(running.told(PluginFailed)))
    (fault,) = [event.fault for event in running.told(PluginFailed)]
    assert "returned a coroutine, which nobody awaits" in fault.message
    assert f"in {kind} of ctx.own('late')" in fault.notes
    expected = ("b", PluginState.OK) if kind == "release" else ("a", PluginState.STALE)
    assert (running.host.call("greet"), running.status("greet").state) == ([expected[0]], expected[1])


@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("previous", ["released it", "may hold it"])
def test_the_hint_names_the_previous_version_only_if_it_can_hold_it(
    workspace: Workspace, run: Run, previous: str
) -> None:
    """A name that the previous version has released is taken by somebody else: the hint would be wrong."""
    taken = "raise OSError(98, 'Address already in use')"
    claim = f"def claim():\n    {taken}\n"
    workspace["greet"] = owner("a", head=claim)
    if previous == "may hold it":
        workspace["greet"] = f"{claim}def register(ctx): ..."
    running = run(workspace.config())
    save(running, workspace, owner("b", acquire=taken))
    assert (TWICE in running.fault("greet").notes) is (previous == "may hold it")


# ---- real sockets


PORT = """
import socket

def claim():
    listening = socket.create_server(("127.0.0.1", {port}))
    listening.settimeout(0.01)
    return listening

def register(ctx):
    owned = ctx.own("port", claim, socket.socket.close)

    @ctx.thread
    def serve(stop):
        while not stop.is_set():
            try:
                connection, _ = owned.value.accept()
            except TimeoutError:
                continue
            with connection:
                connection.sendall(b"{version}")
{more}
"""


def answer(port: int) -> str:
    """Return what the server at a port says."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        return connection.recv(100).decode()


def test_a_port_passes_from_version_to_version(workspace: Workspace, run: Run) -> None:
    """A port that one process can bind once survives an edit, a break, a fix, disable and enable."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]

    def source(version: str, more: str = "") -> str:
        return PORT.format(port=port, version=version, more=more)

    workspace["greet"] = source("a")
    running = run(workspace.config())
    assert answer(port) == "a"
    save(running, workspace, source("b"))
    assert (answer(port), running.status("greet").state) == ("b", PluginState.OK)
    save(running, workspace, source("c", "    ctx.own('other', lambda: 1 / 0)"))
    assert (answer(port), running.status("greet").state) == ("b", PluginState.STALE)
    save(running, workspace, source("d"))
    assert (answer(port), running.status("greet").state) == ("d", PluginState.OK)
    running.manager.disable("greet")
    with socket.create_server(("127.0.0.1", port)):
        pass
    running.manager.enable("greet")
    assert answer(port) == "d"
    running.manager.stop()
    with socket.create_server(("127.0.0.1", port)):
        pass


# ---- workers


WORKERS = """
import asyncio

async def poll(kind):
    tell(f"{{kind}} begins")
    stage.entered.set()
    try:
        await asyncio.sleep(1000)
    finally:
        tell(f"{{kind}} ends")

async def function():
    await poll("function")
"""


def test_workers_start_again_if_the_hand_over_fails(workspace: Workspace, run: Run, stage: Stage) -> None:
    """The old version's thread and task end before ``acquire``, and start again if it raises."""
    thread = (
        "@ctx.thread\n    def work(stop):\n        tell('work begins')\n        stop.wait()\n"
        "        tell('work ends')"
    )
    workspace["greet"] = owner(
        "a", thread, "ctx.task(function)", "ctx.task(poll('object'))", head=WORKERS.format()
    )
    running = run(workspace.config())
    begun = {"greet a acquires", "greet a work begins", "greet a function begins", "greet a object begins"}
    assert running.wait_for(lambda: set(stage.told) == begun)
    told(stage)
    save(running, workspace, owner("b", acquire="raise ValueError"))
    again = {"greet a acquires", "greet a work begins", "greet a function begins"}
    assert running.wait_for(lambda: set(stage.told[5:]) == again)
    assert set(stage.told[:3]) == {"greet a work ends", "greet a function ends", "greet a object ends"}
    assert stage.told[3:5] == ["greet a releases", "greet b acquires"]
    (note,) = [note for note in running.fault("greet").notes if "poll" in note]
    assert "task 'greet.poll' does not start again" in note
    told(stage)
    save(running, workspace, owner("c"))
    assert retired(running).memory == "freed"
    assert stage.told[2:] == ["greet a releases", "greet c acquires"]
    assert set(stage.told[:2]) == {"greet a work ends", "greet a function ends"}


def test_a_worker_that_does_not_end_is_reported_once(workspace: Workspace, run: Run, stage: Stage) -> None:
    """A hand-over waits for a worker as long as for a call, and then goes on without it."""
    workspace["greet"] = owner("a", "@ctx.thread\n    def deaf():\n        stage.wait()")
    running = run(workspace.config(drain_timeout=0.2))
    assert stage.entered.wait(PATIENCE)
    save(running, workspace, owner("b"))
    assert running.host.call("greet") == ["b"]
    stage.gate.set()
    retired(running)
    (fault,) = [event.fault for event in running.told(PluginFailed)]
    assert "thread 'greet.deaf' did not end" in fault.message


def test_a_worker_that_waits_for_a_command_does_not_delay_it(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A hand-over does not wait for a thread that itself waits to command the manager."""
    lines = (
        "@ctx.thread\n    def ask(stop):\n        stage.entered.set()\n        stop.wait()\n"
        "        stage.running.manager.scan()\n        stage.gate.set()"
    )
    workspace["greet"] = owner("a", lines)
    stage.running = running = run(workspace.config(drain_timeout=PATIENCE))
    assert stage.entered.wait(PATIENCE)
    save(running, workspace, owner("b"))
    assert stage.gate.wait(PATIENCE)
    retired(running)
    assert (running.host.call("greet"), running.told(PluginFailed)) == (["b"], [])


# ---- several plugins


def test_the_other_plugins_of_a_batch_go_live(workspace: Workspace, run: Run, stage: Stage) -> None:
    """If one plugin of a batch cannot acquire, the others go live, each after one hand-over."""
    for name in ("greet", "other"):
        workspace[name] = owner("a", name=name)
    running = run(workspace.config())
    told(stage)
    workspace["other"] = owner("b", name="other")
    save(running, workspace, owner("b", acquire="raise ValueError"))
    assert (running.status("greet").state, running.status("other").state) == (
        PluginState.STALE,
        PluginState.OK,
    )
    assert (running.host.call("greet"), running.host.call("other")) == (["a"], ["b"])
    assert sorted(map(str, told(stage))) == [
        "greet a acquires",
        "greet a releases",
        "greet b acquires",
        "other a releases",
        "other b acquires",
    ]


TAKEN = """
def take(key):
    if key in stage.taken:
        raise OSError(98, f"{{key}} is already in use")
    stage.taken.add(key)

def register(ctx):
    ctx.hook("{name}", lambda: "{version}")
    ctx.own("{mine}", lambda: take("{mine}"), lambda: stage.taken.discard("{mine}"))
{more}
"""


def exchange(workspace: Workspace, version: str, more: str = "", **keys: str) -> None:
    """Save plugins that each claim one of the keys that several plugins share."""
    for name, mine in keys.items():
        own = more if name == max(keys) else ""
        workspace[name] = "import stage\n" + TAKEN.format(name=name, version=version, mine=mine, more=own)


@pytest.mark.parametrize("ring", [("one", "two"), ("one", "two", "three")])
def test_plugins_that_exchange_resources_go_live_together(
    workspace: Workspace, run: Run, stage: Stage, ring: tuple[str, ...]
) -> None:
    """All plugins of a batch release before one of them acquires, so each can take what another had."""
    vars(stage)["taken"] = taken = set[str]()
    names = [f"p{number}" for number in range(len(ring))]
    exchange(workspace, "a", **dict(zip(names, ring, strict=True)))
    running = run(workspace.config())
    exchange(workspace, "b", **dict(zip(names, (*ring[1:], ring[0]), strict=True)))
    running.manager.scan_and_load_all()
    assert {name: running.status(name).state for name in names} == dict.fromkeys(names, PluginState.OK)
    assert [running.host.call(name) for name in names] == [["b"]] * len(names)
    assert taken == set(ring)


def test_a_failed_exchange_is_undone_completely(workspace: Workspace, run: Run, stage: Stage) -> None:
    """If one of two plugins cannot acquire, each old version has its own resource again, and its workers."""
    vars(stage)["taken"] = taken = set[str]()
    vars(stage)["begun"] = begun = list[bool]()
    worker = (
        "    owned = ctx.own('held', lambda: 1)\n    @ctx.thread\n    def work(stop):\n"
        "        stage.begun.append(owned.is_held and 'two' in stage.taken)\n        stop.wait()"
    )
    exchange(workspace, "a", worker, p0="one", p1="two")
    running = run(workspace.config())
    exchange(workspace, "b", "    ctx.own('bad', lambda: 1 / 0)", p0="two", p1="one")
    running.manager.scan_and_load_all()
    assert [running.host.call(name) for name in ("p0", "p1")] == [["a"], ["a"]]
    assert (running.fault("p1").type, running.fault("p0").message) == (
        "ZeroDivisionError",
        "[Errno 98] two is already in use",
    )
    assert running.wait_for(lambda: len(begun) == 2)
    assert (begun, taken) == ([True, True], {"one", "two"})
    exchange(workspace, "c", p0="two", p1="one")
    running.manager.scan_and_load_all()
    assert [running.host.call(name) for name in ("p0", "p1")] == [["c"], ["c"]]
    assert taken == {"one", "two"}


@pytest.mark.parametrize("failing", ["low", "high"])
def test_plugins_that_require_each_other_hand_over_together(
    workspace: Workspace, run: Run, stage: Stage, failing: str
) -> None:
    """If one of two plugins that require each other cannot acquire, both stay at their old versions."""
    requires = {"low": "", "high": "REQUIRES = ['low']"}
    for name, head in requires.items():
        workspace[name] = owner("a", name=name, head=head)
    running = run(workspace.config())
    told(stage)
    for name, head in requires.items():
        acquire = "raise ValueError" if name == failing else "return 1"
        workspace[name] = owner("b", name=name, head=head, acquire=acquire)
    running.manager.scan_and_load_all()
    answers = {name: running.host.call(name) for name in requires}
    owners = dict.fromkeys(requires, "a")
    for each in map(str, told(stage)):
        name, version, what = each.split()
        owners[name] = version if what == "acquires" else owners.get(name, "")
    assert {name: [version] for name, version in owners.items()} == answers
    assert answers == {"low": ["a"], "high": ["a"]}
    assert {running.status(name).state for name in requires} == {PluginState.STALE}


def test_a_rollback_hands_over(workspace: Workspace, run: Run, stage: Stage) -> None:
    """A rollback passes the resource on to the earlier version; one that cannot acquire changes nothing."""
    workspace["greet"] = owner("a", acquire="return [1 / 0] if stage.gate.is_set() else 1")
    running = run(workspace.config())
    save(running, workspace, owner("b"))
    told(stage)
    stage.gate.set()
    with pytest.raises(RegisterError):
        running.manager.rollback("greet", 1)
    assert (running.host.call("greet"), running.status("greet").state) == (["b"], PluginState.OK)
    assert told(stage) == ["greet b releases", "greet a acquires", "greet b acquires"]
    stage.gate.clear()
    running.manager.rollback("greet", 1)
    assert (running.host.call("greet"), running.status("greet").state) == (["a"], PluginState.HELD)
    assert told(stage) == ["greet b releases", "greet a acquires"]
    running.manager.release("greet")
    assert (running.host.call("greet"), told(stage)) == (["b"], ["greet a releases", "greet b acquires"])


def test_a_plugin_without_resources_is_not_handed_over(workspace: Workspace, run: Run) -> None:
    """The steps of a load name the hand-over only where there is one."""
    workspace["greet"] = "def register(ctx): ctx.hook('greet', lambda: 1)"
    running = run(workspace.config())
    assert "hand over" not in running.said()
    save(running, workspace, "def register(ctx): ctx.own('it', lambda: 1)")
    assert "hand over" in running.said()
