import contextlib
import contextvars
import gc
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import pytest

from hotload_tui import HookHost, HotloadManager
from hotload_tui.core.errors import LoadError
from hotload_tui.core.events import AnyEvent, PluginRetired
from hotload_tui.core.runtime.threads import MainTrials
from tests.conftest import Workspace
from tests.waiting import until

LIMIT = 0.2
T = TypeVar("T")
VALUE = contextvars.ContextVar("VALUE", default="the host's")


class Step(Generic[T]):
    """A load that consists only of its proof."""

    def __init__(self, name: str, prove: Callable[[], T]) -> None:
        self.name = name
        self.what = "the load"
        self.prove = prove

    def begin(self, *, follows: bool) -> None:
        """Do nothing, because there is nothing to prepare."""

    def end(self) -> None:
        """Do nothing, because there is nothing to check."""


def proven(trials: MainTrials, plugin: str, prove: Callable[[], T], limit: float) -> T:
    """Run one proof and return its value."""
    done: list[T] = []
    trials.run([Step(plugin, prove)], limit, done)
    return done[0]


def sleep() -> str:
    """Sleep forever."""
    time.sleep(9999)
    return "never"


def test_a_sleep_on_the_main_thread_is_interrupted() -> None:
    """A proof that sleeps is interrupted at its limit, and the program's timer and handler are restored."""
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(LoadError, match="was interrupted"):
        proven(MainTrials(), "sleepy", sleep, LIMIT)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_another_threads_proof_runs_on_the_main_thread() -> None:
    """A proof from another thread runs on the main thread, and its value is returned."""
    trials = MainTrials()
    values: list[object] = []

    def command() -> None:
        values.append(proven(trials, "greet", threading.current_thread, LIMIT))
        trials.end()

    threading.Thread(target=command).start()
    trials.serve()
    assert values == [threading.main_thread()]


def test_a_load_that_swallows_the_interrupt_is_named_to_the_next_one() -> None:
    """While a proof blocks the main thread, the loads of all plugins fail and name the blocking one."""
    trials = MainTrials()
    told: list[str] = []
    release = threading.Event()

    def stubborn() -> str:
        while not release.is_set():
            with contextlib.suppress(BaseException):  # the subject of the test
                release.wait(9999)
        return "at last"

    def command() -> None:
        for plugin in ("stubborn", "innocent"):
            with pytest.raises(LoadError) as caught:
                proven(trials, plugin, stubborn, LIMIT)
            told.append(str(caught.value))
        release.set()
        trials.end()

    threading.Thread(target=command).start()
    trials.serve()
    assert "cannot be interrupted" in told[0]
    assert told[1] == "the load of stubborn still occupies the main thread"


def test_a_trial_has_its_own_context() -> None:
    """A context variable that a plugin sets is visible neither to the host nor to the next plugin."""
    trials = MainTrials()
    proven(trials, "first", lambda: VALUE.set("the first's"), LIMIT)
    assert proven(trials, "second", VALUE.get, LIMIT) == "the host's"
    assert VALUE.get() == "the host's"


def test_loads_of_another_thread_have_the_main_thread_in_one_turn_until_one_fails() -> None:
    """Loads from another thread run in one turn until one fails, and the rest can be run again."""
    trials = MainTrials()
    seen: list[str] = []

    def fail() -> str:
        raise LoadError("third", "of the test")

    proofs = {"first": lambda: "1", "second": lambda: "2", "third": fail, "fourth": lambda: "4"}
    loads = [Step(name, proof) for name, proof in proofs.items()]

    def command() -> None:
        done: list[str] = []
        with pytest.raises(LoadError, match="of the test"):
            trials.run(loads, LIMIT, done)
        seen.extend(done)
        trials.run(loads[3:], LIMIT, seen)
        trials.end()

    threading.Thread(target=command).start()
    trials.serve()
    assert seen == ["1", "2", "4"]


class Value:
    """The value of a proof."""


def test_a_load_that_was_left_behind_neither_goes_on_nor_holds_what_others_gave() -> None:
    """An abandoned batch neither runs its remaining loads nor holds the values of finished ones."""
    trials = MainTrials()
    release = threading.Event()
    is_freed: list[bool] = []
    ran: list[None] = []

    def stubborn() -> object:
        while not release.is_set():
            with contextlib.suppress(BaseException):  # the subject of the test
                release.wait(9999)
        return "at last"

    def command() -> None:
        done: list[object] = []
        proofs: dict[str, Callable[[], object]] = {
            "first": Value,
            "stubborn": stubborn,
            "next": lambda: ran.append(None),
        }
        with pytest.raises(LoadError, match="still runs on the main thread"):
            trials.run([Step(name, proof) for name, proof in proofs.items()], LIMIT, done)
        (first,) = map(weakref.ref, done)
        del done
        gc.collect()
        is_freed.append(first() is None)
        release.set()
        trials.end()

    threading.Thread(target=command).start()
    trials.serve()
    assert (is_freed, ran) == ([True], [])


def test_the_timer_of_a_load_keeps_no_version(workspace: Workspace) -> None:
    """A version that loaded on the main thread is freed at its end, and the timer is not its change."""
    workspace["greet"] = "import signal\ndef hello(): pass\ndef register(ctx): ctx.hook('greet', hello)\n"
    gone: list[AnyEvent] = []
    manager = HotloadManager(HookHost(), workspace.config(), trials=MainTrials())
    manager.subscribe(gone.append)
    manager.start()
    manager.rebuild("greet", force=True)
    manager.stop()
    retired = [event for event in gone if isinstance(event, PluginRetired)]
    assert [(event.generation, event.memory, event.ledger) for event in retired] == [
        (1, "freed", ()),
        (2, "freed", ()),
    ]


def test_a_signal_does_not_stay_for_a_version_that_only_looks_at_one(workspace: Workspace) -> None:
    """A signal that one version ignores is as before once the next version does not ask for that."""
    before = signal.getsignal(signal.SIGUSR2)
    head = "import signal\ndef register(ctx):\n"
    workspace["greet"] = f"{head}    signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
    manager = HotloadManager(HookHost(), workspace.config(), trials=MainTrials())
    manager.start()
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    workspace["greet"] = f"{head}    signal.getsignal(signal.SIGUSR1)\n"
    manager.rebuild("greet")
    until(lambda: signal.getsignal(signal.SIGUSR2) is before)
    manager.stop()
