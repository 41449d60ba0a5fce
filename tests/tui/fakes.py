"""The fake edges with which tests construct a controller alone: a manager, its state, and timers."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from typing import cast

from textual.timer import Timer

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.events import Subscriber
from hotload_tui.core.model import (
    HandlerCall,
    HookPointStatus,
    HostStatus,
    Invocation,
    Plan,
    PluginState,
    PluginStatus,
    Snapshot,
    WatcherStatus,
)
from hotload_tui.tui.requests import Requests
from tests.waiting import PATIENCE


def plugin(name: str, state: PluginState = PluginState.OK, *, generation: int = 1) -> PluginStatus:
    """Return the status of a plugin."""
    return PluginStatus(name, state, f"plugins/{name}", generation=generation)


def snapshot(*plugins: PluginStatus, trouble: str = "", paused: bool = False) -> Snapshot:
    """Return the state of a host with these plugins; ``trouble`` is that of a watcher that failed."""
    watcher = WatcherStatus("failed" if trouble else "watching", trouble, paused)
    points = (HookPointStatus("greet", (), 0),)
    return Snapshot(plugins, points, watcher, HostStatus(1, "3.11", "0", "plugins", "compiled", 0.0))


class Manager(ManagerApi):
    """Records the commands that arrive, and answers calls with the number of calls so far."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self._results: Queue[Callable[[], None]] = Queue()

    def requests(self) -> Requests:
        """Return requests whose results the test takes with ``finish``."""
        return Requests(
            self._results.put, lambda command, reason: self.commands.append(f"{command}: {reason}")
        )

    def finish(self) -> None:
        """Wait for the next ended command, and pass its result on."""
        self._results.get(timeout=PATIENCE)()

    def subscribe(self, subscriber: Subscriber, /) -> Callable[[], None]:  # noqa: ARG002 - no events come
        """Return a function that does nothing."""
        return lambda: None

    def rebuild(self, name: str | None = None, *others: str, force: bool = False) -> tuple[PluginStatus, ...]:
        """Record the command."""
        self.commands.append(f"rebuild {' '.join((name or 'all', *others))}{' by force' * force}")
        return (plugin(name or "all"),)

    def clean(self, name: str | None = None, *others: str) -> int:
        """Record the command; return that one artifact was removed."""
        self.commands.append(f"clean {' '.join((name or 'all', *others))}")
        return 1

    def plan(self, name: str | None = None) -> Plan:
        """Record the command; return an empty plan."""
        self.commands.append(f"plan {name or 'all'}")
        return Plan(())

    def pause(self) -> WatcherStatus:
        """Record the command."""
        self.commands.append("pause")
        return WatcherStatus("watching", paused=True)

    def resume(self) -> tuple[PluginStatus, ...]:
        """Record the command."""
        self.commands.append("resume")
        return ()

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Record the call; return how many calls there were."""
        self.commands.append(f"{point}{args}{kwargs or ''}")
        value = f"call {len(self.commands)}"
        return Invocation((value,), (), (0.001,), (HandlerCall("one", "greet", failed=False),))


class Timers:
    """Keeps callbacks until the test runs them, as a screen's ``set_timer`` keeps them for some time."""

    def __init__(self) -> None:
        self._waiting: dict[int, Callable[[], None]] = {}

    def set(self, _delay: float, callback: Callable[[], None]) -> Timer:
        """Keep a callback; return a timer that can be stopped."""
        timer = _FakeTimer(self._waiting)
        self._waiting[id(timer)] = callback
        return cast("Timer", timer)

    def run(self) -> None:
        """Let the time of all timers come that were not stopped."""
        for key in list(self._waiting):
            self._waiting.pop(key)()


class _FakeTimer:
    def __init__(self, waiting: dict[int, Callable[[], None]]) -> None:
        self._waiting = waiting

    def stop(self) -> None:
        """Forget the callback."""
        self._waiting.pop(id(self), None)
