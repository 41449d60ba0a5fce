import threading
from collections.abc import Callable

from hotload_tui import HookHost, HotloadManager
from hotload_tui.core.events import EventBus, EventsMissed, Subscriber
from hotload_tui.remote import server
from tests.conftest import Workspace
from tests.waiting import PATIENCE


class Telling(HotloadManager):
    """A manager that tells what the test makes it tell: numbered events."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(HookHost(), workspace.config())
        self.bus = EventBus()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have ``subscriber`` hear the numbered events."""
        return self.bus.subscribe(subscriber)

    def tell(self, first: int, last: int) -> None:
        """Tell events, each with its number as its time."""
        for number in range(first, last + 1):
            self.bus.publish(EventsMissed(number, 0))


def times(portion: server.Portion) -> list[float]:
    """Name the events of a portion."""
    return [event.at for event in portion.events]


def test_each_listener_reads_at_its_own_pace(workspace: Workspace) -> None:
    """What one listener has read is still there for another."""
    manager = Telling(workspace)
    told = server.Feed(manager)
    manager.tell(1, 3)
    assert (times(told.after(0, 0)), times(told.after(2, 0)), told.number) == ([1, 2, 3], [3], 3)
    assert told.after(3, 0) == server.Portion(())


def test_a_listener_waits_for_the_next_event(workspace: Workspace) -> None:
    """Who is up to date is woken by what happens next."""
    manager = Telling(workspace)
    told = server.Feed(manager)
    heard: list[float] = []
    listener = threading.Thread(target=lambda: heard.extend(times(told.after(0, PATIENCE))))
    listener.start()
    manager.tell(1, 1)
    listener.join(PATIENCE)
    assert heard == [1]


def test_who_falls_behind_is_told_and_memory_is_bounded(workspace: Workspace) -> None:
    """Only so many events are kept; who wants one that is gone hears that, and can go on from the newest."""
    manager = Telling(workspace)
    told = server.Feed(manager)
    manager.tell(1, server.KEPT)
    assert times(told.after(0, 0))[0] == 1
    manager.tell(server.KEPT + 1, server.KEPT + 1)
    assert told.after(0, 0) == server.Portion((), missed=True)
    assert times(told.after(1, 0))[0] == 2
    assert told.after(told.number, 0) == server.Portion(())


def test_the_end_comes_after_what_was_told_before(workspace: Workspace) -> None:
    """A feed that is closed is read to its end, wakes who waits, and hears nothing more."""
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
