"""A manager in an asyncio program: ``async with``, and events as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from hotload_tui import HookHost, HotloadManager
from hotload_tui.core.events import AnyEvent, EventBus, EventsMissed, PluginLoaded, Subscriber, WatcherChanged
from hotload_tui.core.manager.aio import LIMIT, EventStream
from tests.conftest import Workspace, answering
from tests.waiting import PATIENCE


class Gate:
    """A gate that stops a plugin while it loads: ``loading`` reports its arrival, ``go_on`` releases it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loading, self.go_on = threading.Event(), threading.Event()
        gate = ModuleType("gate")
        vars(gate).update(loading=self.loading, go_on=self.go_on)
        monkeypatch.setitem(sys.modules, "gate", gate)
        self.plugin = f"import gate\ngate.loading.set()\ngate.go_on.wait()\n{answering('hello')}"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Return a gate with the source of a plugin that stops at it."""
    return Gate(monkeypatch)


async def test_async_with_loads_and_unloads_beside_the_event_loop(workspace: Workspace, gate: Gate) -> None:
    """Other tasks run while plugins load in ``async with``, and after the block no plugin is live."""
    workspace["greet"] = gate.plugin

    async def let_it_go_on() -> None:
        assert await asyncio.to_thread(gate.loading.wait, PATIENCE)
        gate.go_on.set()

    host = HookHost()
    other = asyncio.create_task(let_it_go_on())
    async with HotloadManager(host, workspace.config()):
        assert await host.acall("greet") == ["hello"]
    assert await host.acall("greet") == []
    await other


async def test_cancelled_while_it_starts(workspace: Workspace, gate: Gate) -> None:
    """If ``async with`` is cancelled while plugins load, they are unloaded and the cancellation is raised."""
    workspace["greet"] = gate.plugin
    host = HookHost()

    async def embed() -> None:
        async with HotloadManager(host, workspace.config()):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(embed())
    assert await asyncio.to_thread(gate.loading.wait, PATIENCE)
    task.cancel()
    gate.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert host.call("greet") == []


async def test_cancelled_while_it_stops(workspace: Workspace) -> None:
    """A cancellation at the end of ``async with`` does not leave a plugin loaded."""
    workspace["greet"] = answering("hello")
    host = HookHost()
    serving = asyncio.Event()

    async def embed() -> None:
        async with HotloadManager(host, workspace.config()):
            serving.set()
        raise AssertionError("it was cancelled before")

    task = asyncio.create_task(embed())
    async with asyncio.timeout(PATIENCE):
        await serving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert host.call("greet") == []


async def test_events_come_in_order_and_end_with_the_manager(workspace: Workspace) -> None:
    """The iterator yields the events since its creation in order, and ends when the manager stops."""
    workspace["greet"] = answering("hello")
    async with asyncio.timeout(PATIENCE):
        async with HotloadManager(HookHost(), workspace.config()) as manager:
            events = manager.events()
            workspace["greet"] = answering("bye")
            await asyncio.to_thread(manager.rebuild, "greet")
        seen = [event async for event in events]
    loaded = [event for event in seen if isinstance(event, PluginLoaded)]
    assert [event.generation for event in loaded] == [2]
    assert [event.at for event in seen] == sorted(event.at for event in seen)


def _event(number: int) -> AnyEvent:
    return WatcherChanged(at=float(number), state="", trouble="")


async def test_a_slow_consumer_is_informed_of_missed_events() -> None:
    """A slow consumer keeps only the newest events, and first receives the number of missed ones."""
    bus = EventBus()
    events = EventStream(bus.subscribe)
    for number in range(LIMIT + 7):
        bus.publish(_event(number))
    events.close()
    first, *others = [event async for event in events]
    assert isinstance(first, EventsMissed)
    assert first.count == 7
    assert [event.at for event in others] == [float(number) for number in range(7, LIMIT + 7)]


async def test_a_cancelled_wait_loses_no_event() -> None:
    """A consumer that cancels its wait receives each event exactly once."""
    bus = EventBus()
    async with asyncio.timeout(PATIENCE), EventStream(bus.subscribe) as events:
        for number in range(20):
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            threading.Thread(target=bus.publish, args=[_event(number)]).start()
            if number % 2:
                await asyncio.sleep(0)  # the event arrives at about the same time as the cancellation
            waiting.cancel()
            try:
                event = await waiting
            except asyncio.CancelledError:
                event = await anext(events)
            assert event == _event(number)


async def test_closing_ends_a_consumer_that_waits() -> None:
    """``close()`` in another thread ends an ``async for`` that is waiting."""
    bus = EventBus()
    events = EventStream(bus.subscribe)

    async def consume() -> list[AnyEvent]:
        return [event async for event in events]

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0)
    await asyncio.to_thread(events.close)
    async with asyncio.timeout(PATIENCE):
        assert await consumer == []


async def test_a_dropped_iterator_gets_no_more_events() -> None:
    """An iterator that is left by ``break`` and dropped leaves no subscriber behind."""
    bus = EventBus()
    left: list[Subscriber] = []

    def subscribe(subscriber: Subscriber) -> Callable[[], None]:
        unsubscribe = bus.subscribe(subscriber)

        def leave() -> None:
            unsubscribe()
            left.append(subscriber)

        return leave

    events = EventStream(subscribe)
    bus.publish(_event(1))
    async for _ in events:
        break
    assert left == []
    del events
    gc.collect()
    assert len(left) == 1
