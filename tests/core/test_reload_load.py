import itertools
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotload_tui import Config, HookHost
from hotload_tui.core.events import PluginFailed, PluginRetired
from hotload_tui.core.hooks.point import Handler, HookFunction
from tests.conftest import Running, Workspace
from tests.counts import RELOADS

Run = Callable[[Config], Running]


def says(text: str) -> HookFunction:
    """Return a handler that returns ``text``."""

    def answer(*_: object, **__: object) -> object:
        return text

    return answer


CALLERS = 8
EDITED = 5  # the source changes before every fifth reload; the others load the same source again
BOTH = "    ctx.hook('both', lambda host: (host.first('left'), host.first('right')))\n"


@pytest.fixture
def brisk() -> Iterator[None]:
    """Switch threads quickly, because each file operation of a reload waits for every busy thread."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before)


def write(workspace: Workspace, edit: int) -> None:
    """Write two plugins of two modules each; both modules record the generation to which they belong."""
    for plugin in ("left", "right"):
        workspace[f"{plugin}/part.py"] = f"EDIT = {edit}\n"
        workspace[plugin] = (
            "def answer():\n    from . import part\n    return NUMBER, part.NUMBER\n"
            "def register(ctx):\n    global NUMBER\n    from . import part\n"
            f"    NUMBER = part.NUMBER = ctx.generation\n    ctx.hook({plugin!r}, answer)\n"
            + BOTH
            * (plugin == "left")
        )


class Caller(threading.Thread):
    """A thread that calls repeatedly, and records every lost, mixed or outdated answer."""

    def __init__(self, running: Running, promised: list[int], stop: threading.Event) -> None:
        super().__init__()
        self._running = running
        self._promised = promised
        self._stopping = stop
        self.calls = 0
        self.lost: list[object] = []
        self.mixed: list[object] = []
        self.outdated: list[object] = []

    def run(self) -> None:
        """Call until the test stops the thread."""
        host = self._running.host
        while not self._stopping.wait(0.0005):  # callers that never pause would starve the reload
            promised = self._promised[0]
            self.look(promised, [host.call("left"), host.call("right")], is_one_call=False)
            promised = self._promised[0]
            self.look(promised, host.call("both", host), is_one_call=True)
            self.calls += 3

    def look(self, promised: int, values: list[object], *, is_one_call: bool) -> None:
        """Compare the answers with the allowed ones."""
        found = list(_numbers(values))
        if len(found) != 4:
            self.lost.append(values)
        elif len(set(found)) > 1 and (is_one_call or found[0] != found[1] or found[2] != found[3]):
            self.mixed.append(values)
        elif min(found) < promised:
            self.outdated.append((promised, values))


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)


@pytest.mark.timeout(600)  # every thread runs at each step of each reload
@pytest.mark.usefixtures("brisk")
def test_eight_threads_call_through_many_reloads(workspace: Workspace, run: Run) -> None:
    """No call is lost, raises, mixes versions or reaches a version older than the last finished reload."""
    write(workspace, 0)
    running = run(workspace.config(drain_timeout=20.0))
    assert running.host.call("left") == [(1, 1)]
    promised, stop = [1], threading.Event()
    callers = [Caller(running, promised, stop) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for number in range(2, RELOADS + 2):
        if number % EDITED == 0:
            write(workspace, number)
        running.manager.rebuild()
        promised[0] = number
    stop.set()
    for caller in callers:
        caller.join()
    wrong = [wrong for caller in callers for wrong in (*caller.lost, *caller.mixed, *caller.outdated)]
    assert wrong == []
    assert running.told(PluginFailed) == []
    assert sum(caller.calls for caller in callers) > RELOADS
    assert running.host.call("both", running.host) == [((RELOADS + 1,) * 2,) * 2]
    assert running.wait_for(lambda: len(running.told(PluginRetired)) == 2 * RELOADS)
    assert {event.memory for event in running.told(PluginRetired)} == {"freed"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12))
@settings(deadline=None)
def test_any_sequence_of_reloads_leaves_the_order_of_a_cold_start(
    steps: list[tuple[str, bool]],
) -> None:
    """Handlers of equal priority run in order of name and registration after any sequence of swaps."""
    generations = itertools.count(1)

    def handlers(plugin: str) -> list[Handler]:
        number = next(generations)
        return [
            Handler("p", says(f"{plugin}{n}"), plugin=plugin, generation=number, priority=n // 2)
            for n in range(4)
        ]

    warm, cold = HookHost(), HookHost()
    there: dict[str, bool] = {}
    for plugin, is_on in steps:
        warm.swap({plugin: handlers(plugin) if is_on else ()})
        there[plugin] = is_on
    cold.swap({plugin: handlers(plugin) for plugin in sorted(there) if there[plugin]})
    assert warm.call("p") == cold.call("p")
