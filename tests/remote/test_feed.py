import threading
from collections.abc import Callable

from hotload_tui import HookHost, HotloadManager
from hotload_tui.core.events import EventBus, EventsMissed, Subscriber
from hotload_tui.remote import server
from tests.conftest import Workspace
from tests.waiting import PATIENCE


class Telling(HotloadManager):
    """A manager that publishes numbered events for the test."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(HookHost(), workspace.config())
        self.bus = EventBus()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Subscribe to the numbered events."""
        return self.bus.subscribe(subscriber)

    def tell(self, first: int, last: int) -> None:
        """Publish events, each with its number as its time."""
        for number in range(first, last + 1):
            self.bus.publish(EventsMissed(number, 0))


def times(portion: server.Portion) -> list[float]:
    """Return the numbers of a portion's events."""
    return [event.at for event in portion.events]


def test_each_listener_reads_at_its_own_pace(workspace: Workspace) -> None:
    """An event that one listener has read is still there for another one."""
    manager = Telling(workspace)
    told = server.Feed(manager)
    manager.tell(1, 3)
    assert (times(told.after(0, 0)), times(told.after(2, 0)), told.number) == ([1, 2, 3], [3], 3)
    assert told.after(3, 0) == server.Portion(())


def test_a_listener_waits_for_the_next_event(workspace: Workspace) -> None:
    """The next event wakes a listener that has read all events."""
    manager = Telling(workspace)
    told = server.Feed(manager)
    heard: list[float] = []
    listener = threading.Thread(target=lambda: heard.extend(times(told.after(0, PATIENCE))))
    listener.start()
    manager.tell(1, 1)
    listener.join(PATIENCE)
    assert heard == [1]


def test_a_slow_listener_is_informed_and_memory_is_bounded(workspace: Workspace) -> None:
    """The feed keeps a limited number of events; a listener that missed some is notified and can go on."""
    manager = Telling(workspace)
    told = server.Feed(manager)
    manager.tell(1, server.KEPT)
    assert times(told.after(0, 0))[0] == 1
    manager.tell(server.KEPT + 1, server.KEPT + 1)
    assert told.after(0, 0) == server.Portion((), missed=True)
    assert times(told.after(1, 0))[0] == 2
    assert told.after(told.number, 0) == server.Portion(())


def test_the_end_comes_after_the_earlier_events(workspace: Workspace) -> None:
    """A closed feed can be read to its end, wakes waiting listeners, and accepts no more events."""
    manager = Telling(workspace)
    told = server.Feed(manager)
    manager.tell(1, 1)
    ends: list[server.Portion] = []
    listener = threading.Thread(target=lambda: ends.append(told.after(1, PATIENCE)))
    listener.start()
    told.close()
    listener.join(PATIENCE)
    manager.tell(2, 2)
    assert ends == [server.Portion((), is_last=True)]
    assert times(told.after(0, 0)) == [1]
    assert told.after(1, 0).is_last
