import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.interpreter import uncollected
from tests.conftest import Running, Workspace
from tests.counts import LOOKS
from tests.waiting import PATIENCE, until

# Each new object of the main thread triggers the collector, and each collection lets the other thread make
# one call or return. If that happens while its frames are read, the frames must still be real frames.
STEPPING = """\
import gc, threading
from types import FrameType
from typing import Self
from hotload_tui.core.interpreter import stacks, variables_of

step, stepped = threading.Semaphore(0), threading.Semaphore(0)
looking, kept = threading.get_ident(), []

class Made:
    pass

def pause():
    stepped.release()
    step.acquire()

def deeper(depth):
    value = [depth]
    pause()
    if depth:
        deeper(depth - 1)
        pause()
    return value

def run():
    while True:
        deeper(20)

def collecting(phase, _):
    if phase == "stop":
        kept.extend(Made() for _ in range(20))
    elif threading.get_ident() == looking:
        step.release()
        stepped.acquire()

other = threading.Thread(target=run, daemon=True)
other.start()
stepped.acquire()
gc.set_threshold(1, 1_000_000, 1_000_000)
gc.callbacks.append(collecting)
try:
    for _ in range(LOOKS):
        for frame in stacks()[other.ident]:
            assert type(frame) is FrameType, frame
            if frame.f_code is deeper.__code__:
                assert {*variables_of(frame)} <= {"depth", "value"}
finally:
    gc.callbacks.clear()
print(len(kept))
"""


@pytest.fixture(params=[True, False])
def collector(request: pytest.FixtureRequest) -> Iterator[None]:
    """Switch the collector on or off, and restore it afterwards."""
    was_on = gc.isenabled()
    switch(is_on=request.param)
    yield
    switch(is_on=was_on)


def switch(*, is_on: bool) -> None:
    """Switch the automatic collection on or off."""
    (gc.enable if is_on else gc.disable)()


class Looking:
    """A plugin whose objects the host keeps, and whose reload searches all frames for them."""

    def __init__(self, workspace: Workspace, run: Callable[[Config], Running]) -> None:
        workspace["greet"] = "class Kept: ...\n\n\ndef register(ctx):\n    ctx.hook('give', Kept)\n"
        self.running = run(workspace.config())

    def give(self) -> object:
        """Return an object of the plugin."""
        return self.running.host.first("give")

    def look(self) -> str:
        """Reload the plugin, and return the memory verdict on the previous version."""
        self.running.manager.rebuild("greet", force=True)
        self.running.wait_for(lambda: self.running.told(PluginRetired) != [])
        (event,) = self.running.told(PluginRetired)
        return event.memory


@pytest.fixture
def looking(workspace: Workspace, run: Callable[[Config], Running]) -> Looking:
    """Return a plugin whose objects can be held while other code runs."""
    return Looking(workspace, run)


class Stopped:
    """A thread that runs a function until that function waits in ``here()``."""

    def __init__(self, target: Callable[[Self], object]) -> None:
        self.arrived, self.gate = threading.Event(), threading.Event()
        self.result: object = None
        self._thread = threading.Thread(target=self._run, args=(target,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.arrived.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._thread.join()

    def here(self) -> None:
        """Wait until the test releases the thread."""
        self.arrived.set()
        self.gate.wait(PATIENCE)

    def _run(self, target: Callable[[Self], object]) -> None:
        self.result = target(self)


def test_code_that_goes_on_meanwhile_can_be_looked_at() -> None:
    """Frames of a running thread are real frames, even if a collection lets that thread go on meanwhile."""
    ran = subprocess.run(
        [sys.executable, "-c", f"LOOKS = {LOOKS}\n{STEPPING}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 0


@pytest.mark.parametrize(
    ("tool", "event", "known"),
    [
        (sys.settrace, "call", {"numbers": [7]}),
        (sys.settrace, "line", {"numbers": [7], "first": 7}),
        (sys.setprofile, "call", {"numbers": [7]}),
        (sys.setprofile, "c_call", {"numbers": [7], "first": 7}),
    ],
)
def test_a_function_in_a_debugger_or_profiler_keeps_its_variables(
    looking: Looking,
    tool: Callable[[Callable[[FrameType, str, object], object] | None], None],
    event: str,
    known: dict[str, object],
) -> None:
    """A search for holders during a trace function changes no variable of the traced function."""

    def work(numbers: list[int]) -> int:
        first = numbers[0]
        return sum(numbers) + first

    def traced(stopped: Stopped) -> object:
        def trace(frame: FrameType, what: str, _: object) -> object:
            if frame.f_code is work.__code__ and what == event and frame.f_locals == known:
                if event == "line":
                    del frame  # as a debugger written in C would
                stopped.here()
            return trace

        def wrapped(*given: object) -> object:
            return trace(*given)  # type: ignore[arg-type]

        held = looking.give()  # the object of the search, in an outer frame
        tool(wrapped if event == "call" else trace)
        try:
            return held and work([7])
        finally:
            tool(None)

    with Stopped(traced) as stopped:
        assert "held by local 'held' → Kept of " in looking.look()
    assert stopped.result == 14


def test_what_locals_gave_to_a_function_is_not_emptied(looking: Looking) -> None:
    """A dictionary that ``locals()`` returned stays intact after a reload searched for holders."""

    def template(stopped: Stopped) -> object:
        name = looking.give()
        values = locals()
        stopped.here()
        return values["name"] is name

    with Stopped(template) as stopped:
        assert "held by local 'name' → Kept of " in looking.look()
    assert stopped.result is True


def test_a_look_keeps_nothing_alive(looking: Looking) -> None:
    """An object that a search found in a running function is freed when the function deletes it."""

    def work(stopped: Stopped) -> object:
        held = looking.give()
        gone = weakref.ref(held)
        stopped.here()
        del held
        return until(lambda: gone() is None)  # a second look may run in the background

    with Stopped(work) as stopped:
        assert "held by local 'held' → Kept of " in looking.look()
    assert stopped.result is True


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the collector waits by itself from Python 3.12 on")
@pytest.mark.usefixtures("collector")
def test_the_collector_waits_for_all_readers() -> None:
    """The collector stays off until the last of several threads has finished, then returns to its state."""
    is_on = gc.isenabled()

    def look(stopped: Stopped) -> object:
        with uncollected():
            stopped.here()
        return gc.isenabled()

    with uncollected(), Stopped(look) as other:
        assert not gc.isenabled()
    assert other.result is False
    assert gc.isenabled() is is_on
    with Stopped(look) as other:
        with uncollected():
            pass
        assert not gc.isenabled()
    assert other.result is is_on
    assert gc.isenabled() is is_on
