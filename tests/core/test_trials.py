import contextlib
import contextvars
import signal
import threading
import time

import pytest

from hotload_tui.core.errors import LoadError
from hotload_tui.core.loader import MainTrials

LIMIT = 0.2
VALUE = contextvars.ContextVar("VALUE", default="the host's")


def sleep() -> str:
    """Sleep for ever."""
    time.sleep(9999)
    return "never"


def test_a_sleep_on_the_main_thread_is_interrupted() -> None:
    """A proof that sleeps ends at the limit, and the program's own timer and handler are as before."""
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(LoadError, match="was interrupted"):
        MainTrials().run("sleepy", sleep, LIMIT)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_another_threads_proof_runs_on_the_main_thread() -> None:
    """A command of another thread has its load run where signals arrive, and gets its value."""
    trials = MainTrials()
    values: list[object] = []

    def command() -> None:
        values.append(trials.run("greet", threading.current_thread, LIMIT))
        trials.end()

    threading.Thread(target=command).start()
    trials.serve()
    assert values == [threading.main_thread()]


def test_what_swallows_the_interrupt_is_named_to_the_next_one() -> None:
    """While a proof keeps the main thread, it and every other plugin fail, saying whose it is."""
    trials = MainTrials()
    told: list[str] = []
    release = threading.Event()

    def stubborn() -> str:
        while not release.is_set():
            with contextlib.suppress(BaseException):  # what the test is about
                release.wait(9999)
        return "at last"

    def command() -> None:
        for plugin in ("stubborn", "innocent"):
            with pytest.raises(LoadError) as caught:
                trials.run(plugin, stubborn, LIMIT)
            told.append(str(caught.value))
        release.set()
        trials.end()

    threading.Thread(target=command).start()
    trials.serve()
    assert "cannot be interrupted" in told[0]
    assert told[1] == "the load of stubborn still occupies the main thread"


def test_a_proof_has_a_context_of_its_own() -> None:
    """What a plugin sets in a context variable is not seen by the host, nor by the next plugin."""
    trials = MainTrials()
    trials.run("first", lambda: VALUE.set("the first's"), LIMIT)
    assert trials.run("second", VALUE.get, LIMIT) == "the host's"
    assert VALUE.get() == "the host's"
