import asyncio
import contextlib
import contextvars
import gc
import signal
import threading
import weakref
from collections import UserDict
from collections.abc import AsyncIterator, Callable, ItemsView
from typing import cast

import pytest

from hotload_tui import Config, Fault
from hotload_tui.core.errors import ConfigError
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.hooks.inflight import CallsInFlight
from hotload_tui.core.hooks.point import Handler, HookFunction, HookPoint
from tests.conftest import Running, Workspace
from tests.waiting import PATIENCE, until


def handler(call: object, plugin: str = "greet", *, point: str = "greet", priority: int = 100) -> Handler:
    """Return a handler of generation 1."""
    return Handler(point, cast(HookFunction, call), plugin=plugin, generation=1, priority=priority)


def serving(*calls: object) -> HookHost:
    """Return a host with one plugin that has these handlers."""
    host = HookHost()
    host.swap({"greet": [handler(call) for call in calls]})
    return host


def says(value: object) -> HookFunction:
    """Return a handler that returns ``value``."""

    def answer(*_: object, **__: object) -> object:
        return value

    return answer


def broken(*_: object, **__: object) -> object:
    """Raise an error, as a faulty handler does."""
    raise ValueError("broken")


def stop(loop: asyncio.AbstractEventLoop) -> None:
    """Stop an event loop."""
    loop.stop()


def cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all tasks of an event loop, as an orderly shutdown does."""
    for task in asyncio.all_tasks(loop):
        task.cancel()


async def later(value: object = "later") -> object:
    """Return ``value`` after yielding to the event loop once."""
    await asyncio.sleep(0)
    return value


def test_values_come_in_order_of_priority_then_name_then_registration() -> None:
    """Handlers run by priority, then plugin name, then registration order, not in load order."""
    host = HookHost()
    host.swap(
        {"b": [handler(says("b1"), "b"), handler(says("b2"), "b"), handler(says("last"), "b", priority=200)]}
    )
    host.swap({"a": [handler(says("a"), "a"), handler(says("first"), "a", priority=1)]})
    assert host.call("greet") == ["first", "a", "b1", "b2", "last"]


def test_a_reload_changes_no_order() -> None:
    """A reload leaves the plugin's handlers in their places."""
    host = HookHost()
    host.swap({name: [handler(says(name), name)] for name in "cab"})
    for _ in range(3):
        for name in "bca":
            host.swap({name: [handler(says(name), name)]})
    assert host.call("greet") == ["a", "b", "c"]


def test_first_and_pipe() -> None:
    """``first`` stops at the first answer, and ``pipe`` passes each value on."""
    assert serving(says(None), broken, says("yes"), says("no")).first("greet") == "yes"
    assert serving(says(None)).first("greet") is None
    host = serving(lambda value, **_: f"{value}!", broken, lambda value, **_: f"<{value}>")
    assert host.pipe("greet", "hi") == "<hi!>"
    assert host.pipe("nowhere", "hi") == "hi"


def test_a_call_does_the_same_whether_it_is_timed_or_not() -> None:
    """All calls treat coroutines that are not awaited, faults and keywords alike, timed or not."""

    async def awaits(*_: object, **__: object) -> None:
        pass

    faults: list[Fault] = []
    host = serving(awaits, broken, lambda value, *, mark="": f"{value}{mark}")
    host.observe(lambda fault, _: faults.append(fault), "hotplug")
    for number in range(1, 130):
        assert host.call("greet", "hi") == ["hi"]
        assert host.call("greet", "hi", mark="!") == ["hi!"]
        assert [fault.type for fault in faults].count("HookError") == 2 * number
    calls = [handler.calls for handler in host.points()[0].handlers]
    assert calls == [258, 258, 258]


def test_each_way_to_call_is_counted_also_when_another_plugin_is_reloaded() -> None:
    """A handler's call count lasts for its life; a hook point's count goes on across reloads."""
    host = HookHost()
    stays, goes, comes = handler(says(1), "stays"), handler(says(2), "other"), handler(says(3), "other")
    host.call("greet")
    host.swap({"stays": [stays], "other": [goes]})
    for _ in range(3):
        host.call("greet")
    assert host.first("greet") == 2  # the handler of other comes before that of stays, which is not called
    host.swap({"other": [comes]})
    host.call("greet")
    host.pipe("greet", 0)
    host.invoke("greet")
    host.swap({"stays": [], "other": []})
    host.call("greet")
    assert [each.status().calls for each in (stays, goes, comes)] == [6, 4, 3]
    assert [(point.point, point.calls) for point in host.points()] == [("greet", 9)]


def test_calls_within_a_call_that_began_before_a_reload_are_counted() -> None:
    """Nested calls of a call that began before a swap are counted for the handlers of its own table."""
    host = HookHost()
    stays, goes, comes = handler(says(1), "stays"), handler(says(2), "other"), handler(says(3), "other")

    def reload_and_call() -> object:
        host.swap({"other": [comes]})
        return [host.call("greet") for _ in range(5)]

    outer = handler(reload_and_call, "outer", point="outer")
    host.swap({"stays": [stays], "other": [goes], "outer": [outer]})
    assert host.call("outer") == [[[2, 1]] * 5]
    host.call("greet")
    assert [each.status().calls for each in (stays, goes, comes)] == [6, 5, 1]
    assert [(point.point, point.calls) for point in host.points()] == [("greet", 6), ("outer", 1)]


def test_no_call_is_left_uncounted_while_plugins_are_reloaded() -> None:
    """Call counts stay exact while threads call during swaps."""
    host = HookHost()
    stays = handler(says(1), "stays")
    host.swap({"stays": [stays]})
    made: list[int] = []
    is_over = threading.Event()

    def go_on() -> None:
        calls = 0
        while not is_over.is_set():
            host.call("greet")
            calls += 1
        made.append(calls)

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        others = {f"other{n}": [handler(says(n), f"other{n}", point=f"point{n}")] for n in range(100)}
        host.swap({"reloaded": [handler(says(2), "reloaded")], **others})
    is_over.set()
    for thread in threads:
        thread.join(PATIENCE)
    calls = next(point.calls for point in host.points() if point.point == "greet")
    assert (calls, stays.status().calls) == (sum(made), sum(made))


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError, SystemExit, RecursionError, MemoryError, StopIteration),
        *(GeneratorExit, asyncio.CancelledError),
    ],
)
def test_a_handler_that_raises_is_fenced(error: type[BaseException]) -> None:
    """A handler's error becomes a fault, the other handlers run, and the caller gets no exception."""

    def fails() -> object:
        raise error("broken")

    host = serving(says(1), fails, says(2))
    told: list[Fault] = []
    host.observe(lambda fault, _: told.append(fault), "hotplug")
    assert host.call("greet") == [1, 2]
    assert [(fault.phase, fault.plugin, fault.type) for fault in told] == [("hook", "greet", error.__name__)]
    assert host.points()[0].handlers[1].faults == 1


class Unwound(BaseException):
    """Unwinds the stack, as ``trio.Cancelled`` does."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, Unwound])
def test_what_ends_the_caller_passes(error: type[BaseException]) -> None:
    """KeyboardInterrupt and what unwinds the host's stack reach the caller; the call is not in flight."""

    def fails() -> object:
        raise error

    host = serving(fails)
    with pytest.raises(error):
        host.call("greet")
    host.swap({"greet": ()})
    assert len(host.drain(0.0)) == 0


BASE = """
import asyncio, signal

class Quit(BaseException): ...

class Stop(KeyboardInterrupt): ...

def register(ctx):
    def fails(): raise {error}
    async def later(): raise {error}
    def last(*values): return 'last'
    ctx.hook("plain", fails)
    ctx.hook("awaited", later)
    for point in ("plain", "awaited"): ctx.hook(point, last, priority=200)
"""


@pytest.mark.parametrize(
    "error",
    [
        "Quit",
        "BaseException",
        "KeyboardInterrupt",
        "Stop",
        "SystemExit",
        "GeneratorExit",
        "asyncio.CancelledError",
        "BaseExceptionGroup('both', [Quit()])",
    ],
)
def test_whatever_a_plugin_raises_itself_is_a_fault(
    workspace: Workspace, run: Callable[[Config], Running], error: str
) -> None:
    """A plugin's own BaseException or ``raise KeyboardInterrupt`` ends neither the call nor the host."""
    workspace["greet"] = BASE.format(error=error)
    kind = error.partition("(")[0].removeprefix("asyncio.")
    running = run(workspace.config())
    host = running.host
    assert host.call("plain") == ["last"]
    assert host.first("plain") == "last"
    assert host.pipe("plain", 1) == "last"
    for point in ("plain", "awaited"):
        assert asyncio.run(host.acall(point)) == ["last"]
        invocation = running.manager.invoke(point)
        is_cancelled = (point, kind) == ("awaited", "CancelledError")
        assert (invocation.values, [fault.type for fault in invocation.faults]) == (
            ("last",),
            ["HookError" if is_cancelled else kind],
        )
    assert sum(each.faults for point in host.points() for each in point.handlers) == 7
    with pytest.raises(Exception, match="both" if "Group" in error else kind):
        host.call("plain", strict=True)
    assert running.fault("greet").phase == "hook"


def test_an_invocation_on_the_loop_of_the_host_does_not_end_it(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A handler that exits on the host's event loop is a fault; the loop goes on."""
    workspace["greet"] = BASE.format(error="SystemExit")
    running = run(workspace.config())

    async def host() -> None:
        await running.host.acall("awaited")
        invocation = await asyncio.to_thread(running.manager.invoke, "awaited")
        assert [fault.type for fault in invocation.faults] == ["SystemExit"]

    asyncio.run(host())


def test_ctrl_c_passes_a_plugin(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """Ctrl-C reaches the caller of a plugin's handler, and is no fault."""
    workspace["greet"] = (
        "import signal\ndef register(ctx):\n"
        "    def fails():\n        signal.raise_signal(signal.SIGINT)\n    ctx.hook('greet', fails)\n"
    )
    running = run(workspace.config())
    with pytest.raises(KeyboardInterrupt):
        running.host.call("greet")
    assert running.status("greet").fault is None


WAITING = """
import asyncio

async def waits(future):
    await future

async def cleans_up(future):
    try:
        await future
    except asyncio.CancelledError:
        raise asyncio.CancelledError("cleaned up") from None

def register(ctx):
    ctx.hook("waits", waits)
    ctx.hook("cleans_up", cleans_up)
    for point in ("waits", "cleans_up"):
        ctx.hook(point, lambda _: "last", priority=200)
"""


@pytest.mark.parametrize("point", ["waits", "cleans_up"])
def test_cancellation_of_the_caller_is_no_fault(
    workspace: Workspace, run: Callable[[Config], Running], point: str
) -> None:
    """A cancelled or closed call ends and is no fault; a cancelled future that a handler awaits is one."""
    workspace["greet"] = WAITING
    running = run(workspace.config())

    async def host() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await running.host.acall(point, loop.create_future())
        call = running.host.acall(point, loop.create_future())
        call.send(None)
        call.close()
        assert running.status("greet").fault is None
        future = loop.create_future()
        future.cancel()
        assert await running.host.acall(point, future) == ["last"]

    asyncio.run(host())
    assert running.fault("greet").type == "CancelledError"


def test_an_observer_is_undone() -> None:
    """After the undo, the observer receives no fault."""
    host = serving(broken)
    told: list[Fault] = []
    undo = host.observe(lambda fault, _: told.append(fault), "hotplug")
    undo()
    host.call("greet")
    assert told == []


def test_a_coroutine_handler_is_refused_in_call_and_awaited_in_acall() -> None:
    """``call`` refuses a coroutine handler with a fault that names ``acall``, which awaits it."""
    host = serving(later, says("now"))
    told: list[Fault] = []
    host.observe(lambda fault, _: told.append(fault), "hotplug")
    assert host.call("greet") == ["now"]
    assert "acall" in told[0].message
    assert told[0].place is not None
    assert (told[0].type, told[0].place.file) == ("HookError", __file__)
    assert "async def later" in told[0].place.lines[told[0].place.line - told[0].place.first_line]
    assert asyncio.run(host.acall("greet")) == ["later", "now"]


async def test_the_awaiting_forms_fence_and_order() -> None:
    """``afirst`` and ``apipe`` accept coroutine handlers and otherwise work like ``first`` and ``pipe``."""

    async def fails(*_: object) -> object:
        raise ValueError

    async def mark(value: object) -> object:
        return f"{value}!"

    host = serving(fails, says(None), later)
    assert await host.afirst("greet") == "later"
    assert await serving(mark, fails, mark).apipe("greet", "hi") == "hi!!"


def test_invoke_waits_for_coroutine_handlers() -> None:
    """``invoke`` awaits coroutine handlers, and reports a fault if one fails or is cancelled."""

    async def fails() -> object:
        await asyncio.sleep(0)
        raise ValueError("broken")

    async def cancelled() -> object:
        raise asyncio.CancelledError

    found = serving(later, fails, cancelled, says("now")).invoke("greet")
    assert found.values == ("later", "now")
    assert [(fault.type, fault.message) for fault in found.faults] == [
        ("ValueError", "broken"),
        ("HookError", "the handler was cancelled"),
    ]
    assert len(found.seconds) == 4


async def test_invoke_waits_on_the_hosts_own_event_loop() -> None:
    """``invoke`` runs coroutine handlers on the host's event loop; in that loop's thread it refuses them."""

    async def where() -> object:
        return asyncio.get_running_loop()

    host = serving(where)
    loop = asyncio.get_running_loop()
    assert await host.acall("greet") == [loop]
    assert (await asyncio.to_thread(host.invoke, "greet")).values == (loop,)
    assert "acall" in host.invoke("greet").faults[0].message


@pytest.mark.parametrize("end", [stop, cancel_all])
def test_invoke_does_not_wait_for_a_loop_that_ends(end: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    """If the host's event loop stops or cancels its tasks, ``invoke`` reports a fault and other values."""

    async def waits() -> object:
        loop.call_soon(end, loop)
        return await loop.create_future()

    host = HookHost()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(host.acall("greet"), loop).result()
    host.swap({"greet": [handler(waits), handler(says("now"), priority=200)]})
    found = host.invoke("greet")
    assert found.values == ("now",)
    assert [fault.message for fault in found.faults] == ["the host's event loop ended before the handler did"]
    if loop.is_running():
        loop.call_soon_threadsafe(loop.stop)
    thread.join()
    left = asyncio.all_tasks(loop)
    assert not left or loop.run_until_complete(asyncio.wait(left, timeout=PATIENCE))[1] == set()
    loop.close()


def test_ctrl_c_ends_an_invocation_that_waits() -> None:
    """Ctrl-C interrupts an ``invoke`` that waits for a coroutine handler."""

    async def hangs() -> object:
        signal.raise_signal(signal.SIGINT)
        return await asyncio.get_running_loop().create_future()

    with pytest.raises(KeyboardInterrupt):
        serving(hangs, says("now")).invoke("greet")


def test_an_asynchronous_generator_is_refused_and_no_fault_of_its_plugin() -> None:
    """``invoke`` refuses an asynchronous generator with its line, and counts no fault of the plugin."""

    async def streams() -> AsyncIterator[str]:
        yield "never"

    async def returns_one() -> object:
        return streams()

    host = serving(streams, returns_one, says("now"))
    booked: list[Fault] = []
    host.observe(lambda fault, _: booked.append(fault), "hotplug")
    found = host.invoke("greet")
    assert found.values == ("now",)
    assert [call.failed for call in found.handlers] == [True, True, False]
    for fault in found.faults:
        assert "asynchronous generator" in fault.message
        assert fault.place is not None
        assert fault.place.line == streams.__code__.co_firstlineno
    assert booked == []
    assert sum(each.faults for each in host.points()[0].handlers) == 0


def test_invoke_returns_values_faults_and_seconds() -> None:
    """``invoke`` returns the values, the faults, and a duration for each handler."""
    found = serving(says(1), broken, later).invoke("greet")
    assert found.values == (1, "later")
    assert [fault.type for fault in found.faults] == ["ValueError"]
    assert len(found.seconds) == 3


def test_points_show_calls_and_handlers() -> None:
    """``points`` lists both a point that is called without handlers and a point that is never called."""
    host = serving(says(1))
    host.call("nowhere")
    host.call("nowhere")
    shown = {point.point: (point.calls, len(point.handlers)) for point in host.points()}
    assert shown == {"greet": (0, 1), "nowhere": (2, 0)}


def test_nested_calls_see_the_table_of_the_outermost() -> None:
    """A nested call sees the hook table of its outermost call, even after a swap."""
    host = HookHost()

    def outer() -> object:
        host.swap({"other": [handler(says("new"), "other", point="inner")]})
        return host.call("inner")

    host.swap({"greet": [handler(outer)], "other": [handler(says("old"), "other", point="inner")]})
    assert host.call("greet") == [["old"]]
    assert host.call("inner") == ["new"]


def test_nested_calls_through_another_host_see_it_too() -> None:
    """A nested call through a second host still sees the first host's table."""
    host, second = HookHost(), HookHost()

    def outer() -> object:
        host.swap({"other": [handler(says("new"), "other", point="inner")]})
        return second.call("detour")

    def detour() -> object:
        return host.call("inner")

    second.swap({"x": [handler(detour, "x", point="detour")]})
    host.swap({"greet": [handler(outer)], "other": [handler(says("old"), "other", point="inner")]})
    assert host.call("greet") == [[["old"]]]


async def test_a_task_that_outlives_the_call_sees_the_current_table() -> None:
    """A task that outlives the call that started it sees the current table."""
    host = HookHost()
    go = asyncio.Event()
    tasks: list[asyncio.Task[list[object]]] = []

    async def call_later() -> list[object]:
        await go.wait()
        return await host.acall("inner")

    async def outer() -> object:
        tasks.append(asyncio.create_task(call_later()))
        return "started"

    host.swap({"greet": [handler(outer)], "other": [handler(says("old"), "other", point="inner")]})
    await host.acall("greet")
    host.swap({"other": [handler(says("new"), "other", point="inner")]})
    go.set()
    assert await tasks[0] == ["new"]


async def test_a_nested_call_that_outlives_its_outer_one_is_waited_for() -> None:
    """A call in a task that outlives its outer call counts as in flight until it ends."""
    host = HookHost()
    entered, go = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[list[object]]] = []

    async def inner() -> object:
        entered.set()
        await go.wait()
        return "old"

    async def outer() -> object:
        tasks.append(asyncio.create_task(host.acall("inner")))
        await entered.wait()
        return "started"

    host.swap({"greet": [handler(outer), handler(inner, point="inner")]})
    await host.acall("greet")
    host.swap({"greet": ()})
    assert len(host.drain(0.0)) == 1
    go.set()
    assert await tasks[0] == ["old"]
    assert len(host.drain(0.0)) == 0


def test_drain_waits_for_calls_of_other_threads() -> None:
    """``drain`` waits for calls of other threads that began before the swap."""
    host = HookHost()
    entered, go = threading.Event(), threading.Event()

    def slow() -> object:
        entered.set()
        return go.wait(20)

    host.swap({"greet": [handler(slow)]})
    caller = threading.Thread(target=host.call, args=("greet",))
    caller.start()
    assert entered.wait(20)
    host.swap({"greet": ()})
    assert len(host.drain(0.0)) == 1
    go.set()
    assert len(host.drain(20.0)) == 0
    caller.join()


def draining(flight: CallsInFlight) -> threading.Thread:
    """Return a thread that waits for the calls in flight, when it waits."""
    thread = threading.Thread(target=flight.drain, args=(PATIENCE,), daemon=True)
    thread.start()
    until(lambda: flight._waiting)  # noqa: SLF001 - no one else knows
    return thread


def test_a_call_that_moves_to_the_new_table_ends_the_wait() -> None:
    """A caller that had entered just before the swap, and starts over, is no longer waited for."""
    flight = CallsInFlight()
    record = contextvars.copy_context().run(flight.enter, "greet")
    flight.swap({})
    waiting = draining(flight)
    flight._start_over(record)  # noqa: SLF001 - as ``enter`` does
    waiting.join(PATIENCE / 6)
    assert not waiting.is_alive()


def test_a_call_may_end_inside_a_swap() -> None:
    """The collector may close a generator, and so end its call, while another thread ends its wait."""
    flight = CallsInFlight()
    record = contextvars.copy_context().run(flight.enter, "greet")
    flight.swap({})
    waiting = draining(flight)

    class Changes(UserDict[str, list[Handler]]):
        def items(self) -> ItemsView[str, list[Handler]]:
            another = threading.Thread(target=flight.drain, args=(0.0,), daemon=True)
            another.start()
            another.join(0.05)
            flight.leave(record)
            return super().items()

    swapping = threading.Thread(target=flight.swap, args=(Changes(),), daemon=True)
    swapping.start()
    for thread in (swapping, waiting):
        thread.join(PATIENCE / 6)
        assert not thread.is_alive()


def test_drain_does_not_wait_for_its_own_call() -> None:
    """A handler that triggers its own reload does not wait for itself, however deeply it is nested."""
    host = HookHost()

    def inner() -> object:
        host.swap({})
        return len(host.drain(5.0))

    host.swap({"greet": [handler(lambda: host.call("inner")), handler(inner, point="inner")]})
    assert host.call("greet") == [[0]]


def test_a_call_that_is_abandoned_in_mid_air_is_not_waited_for() -> None:
    """A coroutine call that is dropped before its end is no longer in flight."""
    host = serving(later)
    abandoned = host.acall("greet")
    contextvars.copy_context().run(abandoned.send, None)
    abandoned.close()
    del abandoned
    gc.collect()
    host.swap({"greet": ()})
    assert len(host.drain(0.0)) == 0


def test_several_plugins_are_swapped_in_one_assignment() -> None:
    """A swap of several plugins is atomic: no caller sees new handlers beside old ones."""
    host, seen, stop = HookHost(), set(), threading.Event()

    def version(number: int) -> dict[str, list[Handler]]:
        return {name: [handler(says(number), name)] for name in "abcd"}

    def call() -> None:
        while not stop.is_set():
            seen.add(len(set(host.call("greet"))))

    host.swap(version(0))
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 300):
        host.swap(version(number))
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == {1}


def test_old_tables_are_forgotten() -> None:
    """After a drain, the host holds no handlers of old tables."""
    host = HookHost()
    answers: list[weakref.ref[HookFunction]] = []
    for _ in range(10):
        answer = says(1)
        answers.append(weakref.ref(answer))
        host.swap({"greet": [handler(answer)]})
        host.call("greet")
        del answer
    host.drain(0.0)
    gc.collect()
    assert [answer() is None for answer in answers] == [True] * 9 + [False]


def test_arguments_reach_the_handlers() -> None:
    """Positional and named arguments arrive as given, even with the names of the host's own parameters."""
    got: list[tuple[object, ...]] = []

    def take(*args: object, **kwargs: object) -> object:
        got.append((args, kwargs))
        return None

    serving(take).call("greet", 1, point=2, self=3)
    assert got == [((1,), {"point": 2, "self": 3})]


STRICT = pytest.mark.parametrize("method", ["call", "first", "pipe", "acall", "afirst", "apipe"])
"""Every way to call a hook point."""


async def result(made: object) -> object:
    """Return what a call returned, awaited if it is a coroutine."""
    return await made if asyncio.iscoroutine(made) else made


@STRICT
@pytest.mark.parametrize("is_timed", [True, False])
@pytest.mark.parametrize("spelling", ["host.strict", "strict=True"])
async def test_a_strict_call_raises_what_the_handler_raised(
    method: str, spelling: str, *, is_timed: bool
) -> None:
    """A strict call runs the other handlers, reports the fault, and then raises the handler's exception."""
    ran: list[object] = []
    host = serving(broken, lambda *args, **_: ran.append(args))
    told: list[Fault] = []
    host.observe(lambda fault, _: told.append(fault), "hotplug")
    if not is_timed:
        host.call("greet", "Ada")
        ran.clear()
        told.clear()
    caller = host.strict if spelling == "host.strict" else host
    named = {} if spelling == "host.strict" else {"strict": True}
    with pytest.raises(ValueError, match="broken"):
        await result(getattr(caller, method)("greet", "Ada", **named))
    assert ran == [("Ada",)]
    assert [(fault.point, fault.arguments) for fault in told] == [("greet", ("'Ada'",))]


@STRICT
async def test_several_errors_are_raised_as_a_group(method: str) -> None:
    """If several handlers raise, a strict call raises a group of their exceptions."""

    def exits(*_: object) -> None:
        raise SystemExit(3)

    host = serving(broken, exits, broken)
    with pytest.raises(ExceptionGroup, match="3 handlers at hook point 'greet' raised") as caught:
        await result(getattr(host.strict, method)("greet", "Ada"))
    assert [type(error).__name__ for error in caught.value.exceptions] == [
        "ValueError", "HookError", "ValueError",
    ]  # fmt: skip
    assert isinstance(caught.value.exceptions[1].__cause__, SystemExit)


@STRICT
async def test_a_strict_call_without_errors_returns_as_ever(method: str) -> None:
    """A strict call that nothing fails returns the same as another call, also without handlers."""
    host = serving(lambda value: f"{value}!")
    for point in ("greet", "nowhere"):
        plain = await result(getattr(host, method)(point, "hi"))
        assert await result(getattr(host.strict, method)(point, "hi")) == plain
        assert await result(getattr(host, method)(point, "hi", strict=True)) == plain


@STRICT
async def test_a_handlers_own_keyword_strict_is_passed_on(method: str) -> None:
    """A keyword ``strict`` goes to handlers that have it, and such a call is not strict."""
    seen: list[object] = []

    def check(text: str, *, strict: bool = False) -> None:
        seen.append(strict)
        raise ValueError(text)

    host = serving(check)
    await result(getattr(host, method)("greet", "a", strict=True))
    with pytest.raises(ValueError, match="b"):
        await result(getattr(host.strict, method)("greet", "b", strict=True))
    assert seen == [True, True]


def test_a_typed_hook_point_decides_whose_keyword_strict_is() -> None:
    """A ``HookPoint`` with a parameter ``strict`` keeps it; at another one, it asks for a strict call."""

    def lenient(text: str) -> None: ...
    def exact(text: str, *, strict: bool = False) -> None: ...

    seen: list[dict[str, object]] = []

    def fails(_: str, **named: object) -> str:
        seen.append(named)
        raise ValueError("broken")

    host = HookHost()
    host.swap({"greet": [handler(fails, point="lenient"), handler(fails, point="exact")]})
    host.call(HookPoint(exact), "a", strict=True)
    with pytest.raises(ValueError, match="broken"):
        host.call(cast(str, HookPoint(lenient)), "a", strict=True)
    assert seen == [{"strict": True}, {}]


def test_an_error_that_was_raised_is_freed_with_the_last_reference() -> None:
    """A strict call leaves no cycle that would keep the frames of the handlers."""

    class Local: ...

    links: list[weakref.ref[Local]] = []

    def fails() -> None:
        local = Local()
        links.append(weakref.ref(local))
        raise ValueError

    gc.disable()
    try:
        for calls in (1, 2):
            host = serving(*[fails] * calls)
            for _ in range(3):
                with contextlib.suppress(ValueError, ExceptionGroup):
                    host.strict.call("greet")
        assert [link() for link in links] == [None] * 9
    finally:
        gc.enable()


def test_a_fault_names_the_call_and_contains_a_repr_that_raises() -> None:
    """A fault has short representations of the arguments; secrets and long values are cut."""

    class Order:
        def __repr__(self) -> str:
            return "Order(7, token='abc')"

    class Odd:
        def __repr__(self) -> str:
            raise KeyError

    host = serving(broken)
    (fault,) = host.invoke("greet", "x" * 1000, Order(), Odd(), password="p", times=2).faults
    assert fault.call.startswith("greet('xxx")
    assert len(fault.call) < 400
    assert fault.arguments[1:] == (
        "Order(7, token=••• (masked))", "<Odd: its repr raised KeyError>", "password=••• (masked)", "times=2",
    )  # fmt: skip
    assert host.invoke("greet", *range(100)).faults[0].arguments[-1] == "and 92 more"


@pytest.mark.parametrize("value", ["raise", "collect", "log"])
def test_the_configuration_makes_every_call_strict(
    workspace: Workspace, run: Callable[[Config], Running], value: str
) -> None:
    """With ``on_fault = "raise"`` every call raises, also after a reload; otherwise it does not."""
    workspace["greet"] = "def register(ctx): ctx.hook('greet', lambda: 1 / 0)\n"
    running = run(workspace.config(on_fault=value))
    for _ in range(2):
        if value == "raise":
            with pytest.raises(ZeroDivisionError):
                running.host.call("greet")
        else:
            assert running.host.call("greet") == []
        running.manager.rebuild(force=True)


def test_an_unknown_value_of_on_fault_is_refused() -> None:
    """A misspelled ``on_fault`` is refused, with the values that it can have."""
    with pytest.raises(ConfigError, match='on_fault = "rise": must be one of "collect", "raise", "log"'):
        Config(on_fault="rise")
