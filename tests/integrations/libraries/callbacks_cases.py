from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine

import blinker

from hotload_tui.core.model import PluginState
from tests.integrations.conftest import Program

CALLBACK = """
from hotload_tui.integrations.callbacks import own_callback
from program import {signal} as signal

def register(ctx):
    own_callback(ctx, "it", lambda sender: "{version}", {add}, signal.disconnect)
"""


def callback(version: str, signal: str = "saved", add: str = "signal.connect") -> str:
    """Return a plugin that receives a signal."""
    return CALLBACK.format(version=version, signal=signal, add=add)


def answers(signal: blinker.Signal) -> list[object]:
    """Return what the receivers of a signal answer."""
    return [answer for _, answer in signal.send("shop")]


def test_an_edit_may_move_a_callback(program: Program) -> None:
    """A version that adds its function elsewhere under the same key leaves nothing at the old place."""
    program.saved, program.loaded = blinker.Signal(), blinker.Signal()
    program.save(callback("a"))
    assert program.save(callback("b", "loaded")) is PluginState.OK
    assert (answers(program.saved), answers(program.loaded)) == ([], ["b"])
    lambdas = "lambda function: signal.connect(function, sender='shop')"
    assert program.save(callback("c", "loaded", lambdas)) is PluginState.OK
    assert (answers(program.loaded), len(program.loaded.receivers)) == (["c"], 1)


def test_a_callback_may_be_a_coroutine_function(program: Program) -> None:
    """Libraries that ask whether a callback is a coroutine function get the right answer."""
    program.saved = signal = blinker.Signal()
    plain = callback("a")
    waiting = plain.replace('lambda sender: "a"', "answer").replace(
        "def register", "async def answer(sender):\n    return 'later'\n\ndef register"
    )
    for source in (plain, waiting, waiting + "# edited\n", plain):
        assert program.save(source) is PluginState.OK
        ((receiver, answer),) = asyncio.run(signal.send_async("shop", _sync_wrapper=_as_coroutine))
        expected = "later" if "answer" in source else "a"
        assert (inspect.iscoroutinefunction(receiver), answer) == (expected == "later", expected)


def _as_coroutine(function: Callable[..., str]) -> Callable[..., Coroutine[object, object, str]]:  # type: ignore[explicit-any] # as blinker
    async def call(*args: object, **kwargs: object) -> str:
        return function(*args, **kwargs)

    return call


def test_a_callback_that_cannot_be_added_leaves_the_old_one(program: Program) -> None:
    """If the new version's function cannot be added, the old version's is added again."""
    program.saved = blinker.Signal()
    program.save(callback("a"))
    assert program.save(callback("b", add="lambda function: 1 / 0")) is PluginState.STALE
    assert answers(program.saved) == ["a"]


def test_the_programs_implementation_returns(program: Program) -> None:
    """After the plugin, a singledispatch function has the program's implementation for the class again."""

    @functools.singledispatch
    def show(_: object) -> str:
        return "default"

    show.register(int, lambda _: "of the program")
    program.show = show
    program.save(
        "from hotload_tui.integrations.callbacks import own_implementation\nfrom program import show\n"
        "def register(ctx):\n"
        "    own_implementation(ctx, show, int, lambda _: 'number')\n"
        "    own_implementation(ctx, show, str, lambda _: 'text')\n"
    )
    assert (show(1), show("")) == ("number", "text")
    program.running.manager.disable("it")
    assert (show(1), show("")) == ("of the program", "default")
    assert set(show.registry) == {object, int}


def test_a_signal_that_ends_each_program_is_refused(program: Program) -> None:
    """A signal that no program can handle is a fault of the plugin."""
    source = (
        "import signal\nfrom hotload_tui.integrations.callbacks import own_signal\n"
        "def register(ctx):\n    own_signal(ctx, signal.SIGKILL, print)\n"
    )
    assert (program.save(source), "SIGKILL" in program.problem()) == (PluginState.FAIL, True)
