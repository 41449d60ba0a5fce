"""A plugin whose old version is still called is OLD, and its status names the caller and the holder."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import cast

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.events import PluginOld, PluginOldEnded
from hotload_tui.core.interpreter import CALLS, works
from hotload_tui.core.runtime import old_calls
from tests.conftest import Running, Workspace
from tests.core.conftest import Stage, retired
from tests.kept import GIVES, VIEW, Caller, Route, route_page, routes
from tests.waiting import PATIENCE

COUNTS = sys.version_info >= (3, 12)  # also the steps of a generator

counted = pytest.mark.skipif(not works(CALLS), reason="each call is reported only with this trick")


@pytest.fixture
def calling() -> Iterator[Callable[[Callable[[], object]], Caller]]:
    """Yield a function that starts a ``Caller``; stop all callers and forget the routes afterwards."""
    started: list[Caller] = []

    def start(function: Callable[[], object]) -> Caller:
        started.append(Caller(function))
        return started[-1]

    yield start
    for caller in started:
        caller.stop()
    routes.clear()


Starts = Callable[[Config], Running]
Calls = Callable[[Callable[[], object]], Caller]


def changed(workspace: Workspace, running: Running, source: str, times: int = 1) -> None:
    """Save another version of the plugin ``greet``, load it, and wait until the previous one has retired."""
    workspace["greet"] = source
    running.manager.rebuild("greet")
    retired(running, times=times)


def becomes(running: Running, state: PluginState) -> str:
    """Wait until the plugin ``greet`` is in a state, and return how its old version is called."""
    assert running.wait_for(lambda: running.status("greet").state is state)
    return running.status("greet").old


@counted
@pytest.mark.unfrozen
def test_a_function_that_the_host_keeps_and_calls(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """The status names the generation, the rate, the host's line and the object that keeps the function."""
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    changed(workspace, running, VIEW.replace("answer", "other"))
    becomes(running, PluginState.OLD)
    assert running.wait_for(lambda: "/s" in running.status("greet").old)
    said = running.status("greet").old
    assert said.startswith("generation 1 is still called, ")
    assert "/s, by kept.py:" in said
    assert "in route_page; kept by " in said
    assert said.endswith("routes[0].view")
    assert running.wait_for(lambda: "warning greet: generation 1 is still called" in running.said())
    (event,) = running.told(PluginOld, "greet")
    assert event.reason.startswith("generation 1 is still called")
    assert f"warning greet: {event.reason}" in running.said()
    assert running.status("greet").sign == "~ OLD"


@counted
def test_the_end_of_the_calls(
    workspace: Workspace, run: Starts, calling: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plugin is ok again some time after the last call, and OLD again when the calls go on."""
    monkeypatch.setattr(old_calls, "RECENT", 0.5)
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    caller = calling(route_page)
    changed(workspace, running, VIEW.replace("answer", "other"))
    becomes(running, PluginState.OLD)
    caller.stop()
    assert becomes(running, PluginState.OK) == ""
    assert running.wait_for(lambda: running.told(PluginOldEnded, "greet") != [])
    known = len(running.told(PluginOld, "greet"))
    calling(route_page)
    becomes(running, PluginState.OLD)
    assert running.wait_for(lambda: len(running.told(PluginOld, "greet")) > known)


@counted
@pytest.mark.parametrize("module", ["", "class Odd: ...\nsys.modules[__name__] = Odd()\n"])
def test_the_host_lets_go(workspace: Workspace, run: Starts, calling: Calls, module: str) -> None:
    """A plugin is ok again as soon as its old version is freed, also if an object replaced a module."""
    workspace["greet/part.py"] = f"import sys\n{module}"
    source = f"import part\n{VIEW}"
    workspace["greet"] = source
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    changed(workspace, running, source.replace("answer", "other"))
    becomes(running, PluginState.OLD)
    routes[0].view = cast("Callable[[], object]", running.host.first("give"))
    becomes(running, PluginState.OK)
    assert running.wait_for(lambda: running.status("greet").memory == "freed")


@counted
def test_a_reload_that_frees_the_old_version(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """A later reload keeps the state while the first version is called, and names only that version."""
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    changed(workspace, running, VIEW.replace("answer", "second"))
    becomes(running, PluginState.OLD)
    changed(workspace, running, VIEW.replace("answer", "third"), times=2)
    assert running.status("greet").generation == 3
    assert becomes(running, PluginState.OLD).startswith("generation 1 ")
    routes.clear()
    changed(workspace, running, VIEW.replace("answer", "fourth"), times=3)
    becomes(running, PluginState.OK)


@counted
def test_several_old_versions(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """Each old version that is called is named, the newest first."""
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    changed(workspace, running, VIEW.replace("answer", "second"))
    routes.append(Route(running.host.first("give")))
    changed(workspace, running, VIEW.replace("answer", "third"), times=2)
    calling(route_page)
    assert running.wait_for(lambda: "also generation 1 " in running.status("greet").old)
    assert running.status("greet").old.startswith("generation 2 ")


@counted
@pytest.mark.parametrize(
    "source",
    [
        GIVES.format("Shop().price") + "class Shop:\n    def price(self):\n        return 1\n",
        GIVES.format("lambda: 1"),
        GIVES.format("outer()") + "def outer():\n    def inner():\n        return 1\n    return inner\n",
        GIVES.format("Shop")
        + "import dataclasses\n@dataclasses.dataclass\nclass Shop:\n    price: int = 0\n",
        GIVES.format("names['price']") + "names = {}\nexec('def price(): return 1', names)\n",
    ],
    ids=["bound method", "lambda", "closure", "generated __init__", "function of a text"],
)
def test_what_a_host_keeps(workspace: Workspace, run: Starts, calling: Calls, source: str) -> None:
    """It does not matter what kind of callable the host keeps."""
    workspace["greet"] = source
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    changed(workspace, running, f"{source}\n# changed\n")
    assert "in route_page" in becomes(running, PluginState.OLD)


@counted
@pytest.mark.usefixtures("stage")
@pytest.mark.parametrize("keeper", ["another plugin", "its own state"])
def test_an_old_function_at_a_hook_point(
    workspace: Workspace, run: Starts, calling: Calls, keeper: str
) -> None:
    """An old function that another plugin, or a newer version, gave to a hook point is an old call."""
    state = "ctx.state.setdefault('view', answer)" if keeper == "its own state" else "answer"
    source = (
        "import stage\ndef answer(): return 'a'\ndef register(ctx):\n"
        f"    stage.view = {state}\n    ctx.hook('own', stage.view)\n"
    )
    workspace["greet"] = source
    running = run(workspace.config())
    workspace["other"] = "import stage\ndef register(ctx): ctx.hook('page', stage.view)\n"
    running.manager.rebuild("other")
    point, user = ("own", "greet") if keeper == "its own state" else ("page", "other")
    calling(lambda: running.host.first(point))
    changed(workspace, running, source.replace("'a'", "'b'"))
    assert running.host.first(point) == "a"
    said = becomes(running, PluginState.OLD)
    assert f"by hook point '{point}', which plugin {user} gave the function to" in said
    if user == "other":
        assert "kept by plugin other's handler at hook point 'page'" in said


@counted
def test_a_new_version_that_calls_an_old_object(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """An object that is still of an old class is found through the calls of its methods."""
    source = (
        "import functools\nclass Shop:\n    def price(self):\n        return 1\n\ndef register(ctx):\n"
        "    price = ctx.state.setdefault('price', functools.partial(Shop().price))\n"
        "    ctx.hook('price', lambda: price())\n"
    )
    workspace["greet"] = source
    running = run(workspace.config())
    calling(lambda: running.host.call("price"))
    changed(workspace, running, f"{source}\n# changed\n")
    assert "by plugin.py:8 in <lambda>" in becomes(running, PluginState.OLD)


@pytest.mark.skipif(not COUNTS, reason="Python 3.11 reports no steps of generators")
@counted
def test_a_generator_that_the_host_keeps(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """Each step of an old generator counts as a call."""
    source = GIVES.format("numbers()") + "def numbers():\n    while True:\n        yield 'a'\n"
    workspace["greet"] = source
    running = run(workspace.config())
    numbers = cast("Generator[str]", running.host.first("give"))
    next(numbers)
    routes.append(Route(lambda: next(numbers)))
    calling(route_page)
    changed(workspace, running, source.replace("'a'", "'b'"))
    assert "is still called" in becomes(running, PluginState.OLD)


@counted
def test_an_async_function_that_the_host_keeps(workspace: Workspace, run: Starts) -> None:
    """An old coroutine function counts when the host awaits it."""
    source = GIVES.format("view") + "async def view():\n    return 'a'\n"
    workspace["greet"] = source
    running = run(workspace.config())
    view = cast("Callable[[], AsyncIterator[str]]", running.host.first("give"))
    changed(workspace, running, source.replace("'a'", "'b'"))

    async def serve() -> None:
        while running.status("greet").state is not PluginState.OLD:
            await view()  # type: ignore[misc]  # a coroutine
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(serve(), PATIENCE))
    assert "in serve" in running.status("greet").old


THREAD = """\
import threading

import stage


def loop():
    while not stage.gate.wait(0.01):
        tick()


def tick():
    pass


def register(ctx):
    thread = threading.Thread(target=loop, name="ticker")
    thread.start()
"""


def test_a_thread_of_the_old_version(workspace: Workspace, run: Starts, stage: Stage) -> None:
    """A thread that the old version started and that runs on makes the plugin OLD until it ends."""
    workspace["greet"] = THREAD
    running = run(workspace.config())
    changed(workspace, running, "def register(ctx):\n    pass\n")
    said = becomes(running, PluginState.OLD)
    assert said.startswith("generation 1 still runs in thread 'ticker' in loop (plugin.py:6)")
    stage.gate.set()
    becomes(running, PluginState.OK)


@counted
def test_a_timer_of_the_old_version(workspace: Workspace, run: Starts, stage: Stage) -> None:
    """A timer of threads that start each other makes the plugin OLD until it stops."""
    workspace["greet"] = (
        "import threading\n\nimport stage\n\n\ndef tick():\n    if not stage.gate.wait(0.01):\n"
        "        threading.Thread(target=tick, name='timer').start()\n\n\n"
        "def register(ctx):\n    ctx.hook('start', tick)\n"
    )
    running = run(workspace.config())
    running.host.call("start")
    changed(workspace, running, "def register(ctx):\n    pass\n")
    assert "thread 'timer'" in becomes(running, PluginState.OLD)
    stage.gate.set()
    becomes(running, PluginState.OK)


WAITS = """\
import stage


def wait():
    inside()
    return "a"


def inside():
    return stage.wait()


"""


def test_a_hook_call_in_flight_is_no_later_call(workspace: Workspace, run: Starts, stage: Stage) -> None:
    """A hook call that began before the swap does not make the plugin OLD, whatever it calls."""
    source = WAITS.replace("inside()", "while stage.wait() != 'end':\n        inside()", 1)
    workspace["greet"] = source + "def register(ctx):\n    ctx.hook('wait', wait)\n"
    running = run(workspace.config(drain_timeout=0.1))
    steps = itertools.chain(itertools.repeat("on", 50), itertools.repeat("end"))

    def wait() -> str:
        stage.entered.set()
        stage.gate.wait(0.01)
        return next(steps)

    stage.wait = wait  # type: ignore[method-assign]
    thread = threading.Thread(target=running.host.call, args=("wait",))
    thread.start()
    stage.entered.wait(PATIENCE)
    changed(workspace, running, "def register(ctx):\n    pass\n")
    seen = {running.status("greet").state for _ in iter(thread.is_alive, False)}
    thread.join(PATIENCE)
    assert seen <= {PluginState.OK}
    assert not running.told(PluginOld)


@counted
def test_a_direct_call_in_flight_is_no_later_call(workspace: Workspace, run: Starts, stage: Stage) -> None:
    """A call of a kept function that began before the swap does not make the plugin OLD."""
    workspace["greet"] = WAITS + GIVES.format("wait")
    running = run(workspace.config())
    view = cast("Callable[[], object]", running.host.first("give"))

    def serve() -> None:
        view()

    thread = threading.Thread(target=serve)
    thread.start()
    stage.entered.wait(PATIENCE)
    changed(workspace, running, "def register(ctx):\n    pass\n")
    for _ in range(20):
        assert running.status("greet").state is PluginState.OK
    stage.gate.set()
    thread.join(PATIENCE)
    assert not running.told(PluginOld)


def test_a_worker_that_does_not_end_is_no_later_call(workspace: Workspace, run: Starts, stage: Stage) -> None:
    """A ``ctx.thread`` that does not end is a fault of its retirement, and no call of the old version."""
    workspace["greet"] = (
        "import stage\n\n\ndef step():\n    stage.entered.set()\n\n\ndef loop(stop):\n"
        "    while not stage.gate.wait(0.01):\n        step()\n\n\ndef register(ctx):\n    ctx.thread(loop)\n"
    )
    running = run(workspace.config(drain_timeout=0.1))
    stage.entered.wait(PATIENCE)
    changed(workspace, running, "def register(ctx):\n    pass\n")
    for _ in range(20):
        assert running.status("greet").state is PluginState.OK
    stage.gate.set()
    assert not running.told(PluginOld)


@counted
def test_a_worse_state_stays(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """A broken save makes an OLD plugin STALE; the call of the old version is still in its status."""
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    changed(workspace, running, VIEW.replace("answer", "other"))
    becomes(running, PluginState.OLD)
    workspace["greet"] = "def broken(:\n"
    running.manager.rebuild("greet")
    status = running.status("greet")
    assert (status.state, status.old.startswith("generation 1 ")) == (PluginState.STALE, True)
    workspace["greet"] = VIEW.replace("answer", "other")
    running.manager.rebuild("greet")
    assert running.status("greet").state is PluginState.OLD


@counted
def test_a_handler_that_fails_beside(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """A plugin that is OLD shows the fault of its live version, too."""
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    source = "def fail():\n    raise KeyError\n\n\ndef register(ctx):\n    ctx.hook('fail', fail)\n"
    changed(workspace, running, source)
    becomes(running, PluginState.OLD)
    running.host.call("fail")
    assert running.wait_for(lambda: running.status("greet").sign == "~ OLD !")


@counted
def test_a_removed_plugin_whose_code_is_called(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """A disabled plugin stays off, and its status says that its code is still called."""
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    running.manager.disable("greet")
    assert running.wait_for(lambda: "is still called" in running.status("greet").old)
    assert running.status("greet").state is PluginState.OFF


@counted
def test_a_deleted_plugin_whose_code_is_called(workspace: Workspace, run: Starts, calling: Calls) -> None:
    """A plugin that is gone has no status; the event and the log say that its code is still called."""
    workspace["greet"] = VIEW
    running = run(workspace.config())
    routes.append(Route(running.host.first("give")))
    caller = calling(route_page)
    shutil.rmtree(workspace.plugins / "greet")
    running.manager.scan_and_load_all()
    assert running.wait_for(lambda: running.told(PluginOld, "greet") != [])
    (event,) = running.told(PluginOld, "greet")
    assert "in route_page" in event.reason
    assert event.reason.endswith("; the plugin itself is gone")
    caller.stop()
    routes.clear()
    assert running.wait_for(lambda: running.told(PluginOldEnded, "greet") != [])
    assert len(running.told(PluginOld, "greet")) == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has no tools")
@counted
def test_the_watch_ends_with_the_manager(workspace: Workspace, calling: Calls) -> None:
    """A stopped manager watches no code, and gives its tool identifier back."""
    workspace["greet"] = VIEW
    running = Running(workspace.config())
    running.manager.start()
    routes.append(Route(running.host.first("give")))
    calling(route_page)
    changed(workspace, running, VIEW.replace("answer", "other"))
    becomes(running, PluginState.OLD)
    assert "hotload" in tools()
    running.manager.stop()
    assert "hotload" not in tools()


def tools() -> list[str | None]:
    """Return the names of the tools that monitor code."""
    if sys.version_info < (3, 12):
        return []
    return [sys.monitoring.get_tool(number) for number in range(6)]


def test_without_reports_of_calls(
    workspace: Workspace, run: Starts, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without reports of calls, a call of an old function is found while it runs."""
    monkeypatch.setattr(old_calls._reports, "begin", lambda functions: ([], list(functions)))  # noqa: SLF001
    workspace["greet"] = WAITS + GIVES.format("wait")
    running = run(workspace.config())
    view = cast("Callable[[], object]", running.host.first("give"))
    changed(workspace, running, "def register(ctx):\n    pass\n")
    running.wait_for(lambda: running.status("greet").memory != "")

    def serve() -> None:
        view()

    thread = threading.Thread(target=serve)
    thread.start()
    said = becomes(running, PluginState.OLD)
    stage.gate.set()
    thread.join(PATIENCE)
    assert "in serve" in said


@counted
@pytest.mark.own_process
def test_an_old_audit_hook(workspace: Workspace, run: Starts, stage: Stage) -> None:
    """An audit hook of the old version, which every look at a frame calls, works as before."""
    stage.told.clear()
    workspace["greet"] = (
        "import sys\n\nimport stage\n\n\ndef hook(event, args):\n    if event == 'stage.test':\n"
        "        stage.told.append(args)\n\n\ndef register(ctx):\n    sys.addaudithook(hook)\n"
    )
    running = run(workspace.config())
    changed(workspace, running, "def register(ctx):\n    pass\n")

    def is_old() -> bool:
        sys.audit("stage.test", 1)
        return running.status("greet").state is PluginState.OLD

    assert COUNTS or running.wait_for(is_old)  # later versions switch monitoring off in audit hooks
    sys.audit("stage.test", 1)
    assert set(stage.told) == {(1,)}
