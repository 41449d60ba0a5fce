from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import importlib
import inspect
import operator
import pickle
import sys
import threading
import typing
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from types import FunctionType
from typing import NamedTuple, cast
from unittest import mock

import pytest

from hotload_tui import HookPoint, HotloadError
from hotload_tui.core.errors import HandleError, PluginError, RegisterError
from hotload_tui.core.hooks.point import HookFunction
from hotload_tui.core.runtime.context import PluginContext
from tests.core.conftest import Bench, Stage
from tests.waiting import PATIENCE

SOURCE = """
from __future__ import annotations

import asyncio
import functools
import keep


def noted(function):
    @functools.wraps(function)
    def inner():
        return "noted " + function()
    return inner


def renamed(function):
    def inner():
        return "renamed " + function()
    return inner


def word(name: str = "you", *, loud: bool = False) -> str:
    "Says {word}."
    return "{word} " + name


@noted
def decorated():
    return "{word}"


@renamed
def unnamed():
    return "{word}"


@functools.cache
def cached():
    return "{word}"


async def later():
    await asyncio.sleep(0)
    return "{word}"


def steps():
    yield "{word}"
    return "the end of {word}"


async def async_steps():
    yield "{word}"


class Speaker:
    kind = list

    def __init__(self, name="you"):
        self.name = name
        self.count = 0

    def say(self):
        self.count += 1
        return f"{word} {self.name} {self.count}"

    @classmethod
    def made(cls):
        return cls("{word}").name

    @staticmethod
    def plain():
        return "{word}"


speaker = Speaker("all")


def things():
    return {
        "function": word,
        "decorated": decorated,
        "renamed": unnamed,
        "cached": cached,
        "partial": functools.partial(word, "Ada"),
        "class method": Speaker.made,
        "static method": Speaker.plain,
        "method": Speaker("Ada").say,
        "method of a variable": speaker.say,
        "class": Speaker,
        "coroutine": later,
        "generator": steps,
        "async generator": async_steps,
    }


def register(ctx):
    ctx.hook("things", things)
    keep.word = ctx.live(word)

    @ctx.live
    def inner():
        return "{word}"

    keep.inner = inner
"""


class Keep:
    """The object that plugins import under the name ``keep``, and in which they leave handles."""

    word: HookFunction
    inner: HookFunction
    agen: HookFunction
    other: HookFunction
    turn: Callable[[], object]
    elsewhere: Callable[[HookFunction], list[object]]
    wrapped: Callable[[HookFunction], HookFunction]
    seen: object
    left: object
    now: object
    values: list[object]
    all: list[HookFunction]
    pair: object
    f: object
    add: Callable[[Callable[[], int], PluginContext], None]
    Route: type
    Pair: type
    partial: type


class Speaker:
    """A class of the program, of which a plugin makes an object."""

    def __init__(self, word: object) -> None:
        self.word = word

    def say(self) -> object:
        """Return the word."""
        return self.word


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Return the object in which plugins leave handles."""
    keep = Keep()
    monkeypatch.setitem(sys.modules, "keep", keep)
    return keep


def _things() -> dict[str, HookFunction]:
    """Return what the program keeps."""
    raise NotImplementedError


_things.__name__ = "things"
THINGS = HookPoint(_things, live=True)


def version(word: str) -> str:
    """Return the plugin that says ``word``."""
    return SOURCE.replace("{word}", word)


def kept(bench: Bench) -> dict[str, HookFunction]:
    """Return the handles of what the plugin offers."""
    return bench.host.call(THINGS)[0]


def said(thing: HookFunction) -> object:
    """Return what a function, coroutine function, generator function or class says."""
    value = thing()
    if inspect.iscoroutine(value):
        return asyncio.run(value)
    if inspect.isgenerator(value):
        return list(value)
    if inspect.isasyncgen(value):
        return asyncio.run(_read(value))
    return value.say() if hasattr(value, "say") else value


async def _read(generator: AsyncIterator[object]) -> list[object]:
    return [item async for item in generator]


def expected(word: str, count: int) -> dict[str, object]:
    """Return what everything says in a version; the methods have been called ``count`` times."""
    return {
        "function": f"{word} you",
        "decorated": f"noted {word}",
        "renamed": f"renamed {word}",
        "cached": word,
        "partial": f"{word} Ada",
        "class method": word,
        "static method": word,
        "method": f"{word} Ada {count}",
        "method of a variable": f"{word} all {1 if word == 'two' else count}",
        "class": f"{word} you 1",
        "coroutine": word,
        "generator": [word],
        "async generator": [word],
    }


# ---- which version runs


@pytest.mark.usefixtures("keep")
def test_what_the_program_keeps_is_old_after_a_failed_load_and_new_after_a_save(bench: Bench) -> None:
    """A kept function, method or class of any kind runs the live version, and holds none in memory."""
    bench.load(version("one"))
    things = kept(bench)
    assert {name: said(thing) for name, thing in things.items()} == expected("one", 1)
    bench.refusal(version("broken") + "    raise ValueError\n")
    assert {name: said(thing) for name, thing in things.items()} == expected("one", 2)
    bench.load(version("two"))
    assert [gone.memory for gone in bench.loader.retire()] == ["freed"]
    assert {name: said(thing) for name, thing in things.items()} == expected("two", 3)


def test_a_handle_of_ctx_is_of_the_version_that_registers(bench: Bench, keep: Keep) -> None:
    """``ctx.live`` gives the new version while it registers, but not to the program, nor if it fails."""

    def elsewhere(handle: HookFunction) -> list[object]:
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(handle()))
        thread.start()
        thread.join(PATIENCE)
        return answers

    keep.elsewhere = elsewhere
    bench.load(version("one"))
    first = keep.word, keep.inner
    assert [handle() for handle in first] == ["one you", "one"]
    source = version("two") + "    keep.now = keep.word(), keep.inner(), keep.word.__doc__\n"
    source += "    keep.seen = keep.elsewhere(keep.word)\n"
    bench.refusal(f"{source}    raise ValueError\n")
    assert keep.now == ("two you", "two", "Says two.")
    assert keep.seen == ["one you"]
    assert [handle() for handle in (*first, keep.word, keep.inner)] == ["one you", "one"] * 2
    bench.load(source)
    assert [handle() for handle in (*first, keep.word, keep.inner)] == ["two you", "two"] * 2


def test_a_handle_of_a_plugin_that_is_gone_says_so(bench: Bench, keep: Keep) -> None:
    """Without a live version, a handle raises an error with the reason; it works again afterwards."""
    bench.load(version("one"))
    bench.loader.unload("greet")
    assert [gone.memory for gone in bench.loader.retire()] == ["freed"]
    with pytest.raises(HandleError, match=r"hotplug\.greet\.plugin\.word: no version .* enable the plugin"):
        keep.word()
    assert issubclass(HandleError, HotloadError)
    assert (hasattr(keep.word, "__wrapped__"), keep.word.__doc__) == (False, None)
    assert repr(keep.word) == "<live function hotplug.greet.plugin.word>"
    bench.load(version("two"))
    assert keep.word() == "two you"


def test_an_object_that_a_version_does_not_define_says_so(bench: Bench, keep: Keep) -> None:
    """A handle whose object is missing in the live version names the object, the version and the ways out."""
    bench.load(version("one"))
    bench.load("def register(ctx): pass")
    for handle, name in ((keep.word, "word"), (keep.inner, "register.<locals>.inner")):
        with pytest.raises(
            HandleError, match=f"plugin.{name}: generation 2 of plugin greet does not define it"
        ):
            handle()


@pytest.mark.usefixtures("keep")
def test_a_patch_of_the_stable_name_is_seen(bench: Bench) -> None:
    """``mock.patch`` of the plugin's function by its stable name reaches the program's handle."""
    bench.load(version("one"))
    word = kept(bench)["function"]
    with mock.patch("hotplug.greet.plugin.word", return_value="patched"):
        assert word() == "patched"
    assert word() == "one you"


def test_a_plugin_may_put_the_handle_in_the_place_of_its_function(bench: Bench, keep: Keep) -> None:
    """A handle that has the name of its own function still runs the function."""
    source = (
        "import keep\ndef f():\n    return {}\n"
        "def register(ctx):\n    global f\n    f = keep.word = ctx.live(f)\n"
    )
    bench.load(source.format(1))
    word = keep.word
    assert word() == 1
    bench.load(source.format(2))
    assert word() == 2


def test_the_stable_name_of_a_function_gives_a_handle(bench: Bench, keep: Keep) -> None:
    """``hotplug.<plugin>.<function>`` is a handle, for the program and, at import, for the plugin itself."""
    source = (
        "import hotplug.greet, keep\ndef f():\n    return {}\nNUMBER = 1\n"
        "keep.word = hotplug.greet.f\nkeep.now = keep.word()\ndef register(ctx): pass\n"
    )
    bench.load(source.format(1))
    from hotplug.greet import f  # type: ignore[import-not-found]

    greet = importlib.import_module("hotplug.greet")
    kept = [keep.word, f, greet.f]
    assert (greet.NUMBER, [repr(each) for each in kept]) == (
        1,
        ["<live function hotplug.greet.plugin.f>"] * 3,
    )
    assert not hasattr(greet, "missing")
    bench.load(source.format(2))
    assert [gone.memory for gone in bench.loader.retire()] == ["freed"]
    assert (keep.now, [each() for each in kept]) == (2, [2, 2, 2])
    bench.refusal(source.format(3) + "raise ValueError\n")
    assert (keep.now, [each() for each in kept]) == (3, [2, 2, 2])


def test_the_stable_name_of_a_value_gives_the_value(bench: Bench) -> None:
    """What ``plugin.py`` defines is found by the stable name, also a table of functions without names."""
    bench.load(
        "TABLE = {'a': lambda: 1}\n"
        "class Slots:\n    __slots__ = ()\n    def say(self):\n        return 1\n"
        "say = Slots().say\ndef f(): pass\ndef register(ctx): pass\n"
    )
    greet, plugin = map(importlib.import_module, ("hotplug.greet", "hotplug.greet.plugin"))
    assert greet.TABLE is plugin.TABLE
    assert (repr(greet.say), greet.say()) == ("<live function hotplug.greet.plugin.say>", 1)
    live = bench.loader.live("greet")
    assert live is not None
    live.generation.maker = None  # as in a child process, which has no host
    assert greet.f is plugin.f


def test_a_function_of_a_required_plugin_stays_live(bench: Bench, keep: Keep) -> None:
    """In ``register``, a handle of a required plugin's function is of the version that loads with it."""
    keep.elsewhere = lambda handle: [str(inspect.signature(handle)), handle()]
    library = "def f({0}=0):\n    return '{0}'\ndef register(ctx): pass\n"
    user = (
        "REQUIRES = ['library']\nimport keep\ndef register(ctx):\n"
        "    keep.word = ctx.live(ctx.plugin('library').f)\n    keep.seen = keep.elsewhere(keep.word)\n"
    )
    kept: list[HookFunction] = []
    for word in ("one", "two"):
        first = bench.loader.trial("library", bench.artifact(library.format(word), "library"))
        required = [first.generation]
        second = bench.loader.trial("user", bench.artifact(user, "user"), required=required)
        assert keep.seen == [f"({word}=0)", word]
        assert [handle() for handle in kept] == ["one"] * len(kept)
        bench.loader.swap([first, second])
        del first, second, required
        assert {gone.memory for gone in bench.loader.retire()} <= {"freed"}
        kept.append(keep.word)
        assert [handle() for handle in kept] == [word] * len(kept)
    bench.loader.unload_together(["user", "library"])


@pytest.mark.usefixtures("keep")
def test_the_attributes_of_an_object_outlive_its_version(bench: Bench) -> None:
    """A method's handle shares the attributes of its object, also after the collector has freed that."""
    source = (
        "class Listener:\n    def __init__(self):\n        self.heard = []\n        self.me = self\n"
        "    def hear(self, word):\n        self.heard.append(word)\n        return [*self.heard, {}]\n"
        "listener = Listener()\n"
        "def register(ctx):\n"
        "    ctx.hook('things', lambda: [kept.hear for _ in '12'])\n"
        "    kept = Listener()\n    del kept.me\n    cycle = [kept]\n    cycle.append(cycle)\n"
    )
    bench.load(source.format(1))
    first, second = cast("list[HookFunction]", bench.host.call(THINGS)[0])
    assert (first("a"), second("b")) == (["a", 1], ["a", "b", 1])
    bench.load(source.format(2))
    assert [gone.memory for gone in bench.loader.retire()] == ["freed"]
    assert (first("c"), second("d")) == (["a", "b", "c", 2], ["a", "b", "c", "d", 2])
    assert first == second


def test_a_method_of_an_enum_member_is_that_of_the_new_member(bench: Bench) -> None:
    """A member of an enumeration has a name in each version, so identity holds inside the method."""
    source = (
        "from enum import Enum\nclass Color(Enum):\n    RED = 1\n"
        "    def say(self):\n        return self is Color.RED, {}\n"
        "def register(ctx):\n    ctx.hook('things', lambda: Color.RED.say)\n"
    )
    bench.load(source.format(1))
    (say,) = cast("list[HookFunction]", bench.host.call(THINGS))
    bench.load(source.format(2))
    assert say() == (True, 2)


def test_what_a_decorator_of_other_code_left_is_found_by_its_variable(bench: Bench, keep: Keep) -> None:
    """A live point finds the new version's decorated function and object, whoever wrote the decorator."""

    def wrapped(function: HookFunction) -> HookFunction:
        def inner(*_: object, **__: object) -> object:
            return function()

        return inner

    keep.wrapped = wrapped
    keep.Route = Speaker
    source = (
        "import keep\nroute = keep.Route({0})\n@keep.wrapped\ndef f():\n    return {0}\n"
        "def register(ctx):\n    ctx.hook('things', lambda: [f, route.say])\n"
    )
    bench.load(source.format(1))
    (found,) = cast("list[list[HookFunction]]", bench.host.call(THINGS))
    bench.load(source.format(2))
    assert [gone.memory for gone in bench.loader.retire()] == ["freed"]
    assert [handle() for handle in found] == [2, 2]


# ---- a call in flight

WAITS = """
import keep
from stage import wait

def slow():
    wait()
    return {word!r}, keep.other()

def other():
    return {word!r}

def register(ctx):
    keep.word = ctx.live(slow)
    keep.other = ctx.live(other)
"""


def test_a_call_through_a_handle_is_in_flight(bench: Bench, keep: Keep, stage: Stage) -> None:
    """A version retires after the calls through handles, which see one version until they end."""
    bench.load(WAITS.format(word="one"))
    found: list[object] = []
    thread = threading.Thread(target=lambda word: found.append(word()), args=(keep.word,))
    thread.start()
    assert stage.entered.wait(PATIENCE)
    bench.load(WAITS.format(word="two"))
    inside = bench.host.drain(0, {("greet", 1)})
    assert [call.what for call in inside] == ["handle 'hotplug.greet.plugin.slow'"]
    del inside
    stage.gate.set()
    thread.join(PATIENCE)
    assert found == [("one", "one")]
    assert [(gone.memory, gone.faults) for gone in bench.loader.retire()] == [("freed", ())]
    assert keep.word() == ("two", "two")


def test_a_version_without_handles_waits_for_no_call_of_others(bench: Bench, stage: Stage) -> None:
    """The retirement of a plugin without hooks and handles does not wait for the calls of another plugin."""
    bench.load("from stage import wait\ndef register(ctx):\n    ctx.hook('wait', wait)\n", "other")
    bench.load("def register(ctx): pass")
    thread = threading.Thread(target=bench.host.call, args=("wait",))
    thread.start()
    assert stage.entered.wait(PATIENCE)
    bench.load("def register(ctx):\n    ctx")
    assert [(gone.memory, gone.faults) for gone in bench.loader.retire()] == [("freed", ())]
    stage.gate.set()
    thread.join(PATIENCE)


STEPS = """
import keep

def steps(start):
    try:
        got = yield start, {word!r}, keep.other()
        while True:
            try:
                got = yield got, {word!r}, keep.other()
            except KeyError as error:
                got = type(error).__name__
            if got is None:
                return {word!r}
    finally:
        keep.left = {word!r}

async def async_steps(start):
    generator = steps(start)
    got = None
    while True:
        try:
            got = yield generator.send(got)
        except KeyError as error:
            got = generator.throw(error)
        except StopIteration:
            return

def other():
    return {word!r}

def register(ctx):
    ctx.hook("other", other)
    keep.word = ctx.live(steps)
    keep.agen = ctx.live(async_steps)
    keep.other = ctx.live(other)
"""


def test_a_generator_sees_one_version_and_the_program_another(bench: Bench, keep: Keep) -> None:
    """A generator is in flight until it ends; what the program calls between its steps is new."""
    bench.load(STEPS.format(word="one"))
    generator = cast("Generator[object, object, object]", keep.word("a"))
    assert next(generator) == ("a", "one", "one")
    bench.load(STEPS.format(word="two"))
    assert bench.host.call("other") == ["two"]
    assert generator.send("b") == ("b", "one", "one")
    assert generator.throw(KeyError()) == ("KeyError", "one", "one")
    assert len(bench.host.drain(0, {("greet", 1)})) == 1
    with pytest.raises(StopIteration, match="one"):
        generator.send(None)
    assert bench.host.drain(0, {("greet", 1)}) == ()
    again = cast("Generator[object, object, object]", keep.word("c"))
    assert next(again) == ("c", "two", "two")
    again.close()


def test_a_generator_that_the_program_drops_is_closed(bench: Bench, keep: Keep) -> None:
    """Closing a generator of a handle closes the plugin's generator, and ends the call."""
    bench.load(STEPS.format(word="one"))
    generator = cast("Generator[object, object, object]", keep.word("a"))
    next(generator)
    generator.close()
    assert keep.left == "one"
    bench.load(STEPS.format(word="two"))
    assert bench.host.drain(0, {("greet", 1)}) == ()


async def test_an_async_generator_sees_one_version(bench: Bench, keep: Keep) -> None:
    """An asynchronous generator is in flight until it ends, with values and errors passed in."""
    bench.load(STEPS.format(word="one"))
    generator = cast("AsyncGenerator[object, object]", keep.agen("a"))
    assert await anext(generator) == ("a", "one", "one")
    bench.load(STEPS.format(word="two"))
    assert bench.host.call("other") == ["two"]
    assert await generator.asend("b") == ("b", "one", "one")
    with pytest.raises(ValueError, match="passes"):
        await generator.athrow(ValueError("passes"))
    assert bench.host.drain(0, {("greet", 1)}) == ()
    stopped = cast("AsyncGenerator[object, object]", keep.agen("c"))
    assert await anext(stopped) == ("c", "two", "two")
    await stopped.aclose()


def test_an_event_loop_may_end_before_an_async_generator(bench: Bench, keep: Keep) -> None:
    """At its end the event loop closes all asynchronous generators, in any order, without an error."""
    bench.load(STEPS.format(word="one"))
    errors, started = list[object](), list[object]()

    async def start() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        for _ in range(9):
            started.append(generator := cast("AsyncGenerator[object, object]", keep.agen("a")))
            await anext(generator)

    asyncio.run(start())
    assert errors == []
    bench.load(STEPS.format(word="two"))
    assert bench.host.drain(0, {("greet", 1)}) == ()


async def test_a_coroutine_is_in_flight_while_it_waits(bench: Bench, keep: Keep) -> None:
    """A task that awaits a handle keeps its version, while other tasks get the new one."""
    source = (
        "import keep\nasync def f():\n    await keep.turn()\n    return {0}, keep.other()\n"
        "def g():\n    return {0}\n"
        "def register(ctx):\n    keep.word = ctx.live(f)\n    keep.other = ctx.live(g)\n"
    )
    gate, entered = asyncio.Event(), asyncio.Event()

    async def turn() -> None:
        entered.set()
        await gate.wait()

    keep.turn = turn
    bench.load(source.format(1))
    task = asyncio.ensure_future(cast("Awaitable[object]", keep.word()))
    await entered.wait()
    bench.load(source.format(2))
    (inside,) = bench.host.drain(0, {("greet", 1)})
    assert inside.where() == f"task '{task.get_name()}'"
    gate.set()
    assert await task == (1, 1)
    assert await cast("Awaitable[object]", keep.word()) == (2, 2)


def test_threads_never_find_nothing(bench: Bench, keep: Keep) -> None:
    """Through many swaps, each call through a handle reaches a whole version."""
    source = WAITS.replace("from stage import wait", "wait = int")
    bench.load(source.format(word=0))
    word, wrong, stop = keep.word, list[object](), threading.Event()

    def call() -> None:
        while not stop.wait(0.0001):
            first, second = cast("tuple[int, int]", word())
            if first != second:
                wrong.append((first, second))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 8):
        bench.load(source.format(word=number))
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (wrong, word()) == ([], (7, 7))


# ---- what a handle shows


def test_a_handle_describes_the_live_function(bench: Bench, keep: Keep) -> None:
    """Name, docstring, annotations, signature, type hints and source are those of the live function."""
    bench.load(version("one"))
    word = keep.word
    bench.load(version("two").replace("name: str", "name: bytes"))
    bench.loader.retire()
    function = cast("FunctionType", word)
    names = (function.__name__, function.__qualname__, function.__module__)
    assert names == ("word", "word", "hotplug.greet.plugin")
    assert (word.__doc__, function.__defaults__) == ("Says two.", ("you",))
    assert function.__annotations__["name"] == "bytes"
    assert str(inspect.signature(word)).startswith("(name: 'bytes' = 'you', *")
    assert inspect.signature(word, eval_str=True).parameters["name"].annotation is bytes
    assert typing.get_type_hints(word)["name"] is bytes
    assert "two" in inspect.getsource(function)
    assert getattr(word, "__wrapped__")() == "two you"  # noqa: B009 - no attribute for type checkers


@pytest.mark.usefixtures("keep")
def test_a_handle_has_the_kind_of_its_object(bench: Bench) -> None:
    """Libraries that ask ``inspect`` and ``isinstance`` get the answers for the object itself."""
    bench.load(version("one"))
    things = kept(bench)
    asks = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    special = {"coroutine": [asks[0]], "generator": [asks[1]], "async generator": [asks[2]]}
    for name, thing in things.items():
        assert [ask for ask in asks if ask(thing)] == special.get(name, []), name
        assert callable(thing)
        if name != "partial":
            assert (inspect.isfunction(thing), inspect.isclass(thing)) == (name != "class", name == "class")
    coroutine = cast("Coroutine[object, object, object]", things["coroutine"]())
    assert inspect.iscoroutine(coroutine)
    coroutine.close()


@pytest.mark.usefixtures("keep")
def test_a_handle_of_a_bound_method_is_a_function(bench: Bench) -> None:
    """Libraries find neither the object nor its class's function, and the signature without ``self``."""
    bench.load(version("one"))
    say = kept(bench)["method of a variable"]
    assert (hasattr(say, "__self__"), hasattr(say, "__func__")) == (False, False)
    assert str(inspect.signature(say, follow_wrapped=False)) == str(inspect.signature(say)) == "()"


def test_a_function_of_another_kind_is_refused(bench: Bench, keep: Keep) -> None:
    """A library asks for the kind once: a coroutine function in place of a function would never run."""
    source = "import keep\n{}\ndef register(ctx):\n    keep.word = ctx.live(f)\n"
    plain, later, steps = "def f(): return 1", "async def f(): return 2", "def f(): yield 3"
    bench.load(source.format(plain))
    function = keep.word
    bench.load(source.format(later))
    coroutine = keep.word
    with pytest.raises(
        HandleError, match=r"f is a coroutine function in generation 2 of .* a handle of a function"
    ):
        function()
    bench.load(source.format(steps))
    generator = keep.word
    with pytest.raises(HandleError, match="is a generator function in generation 3"):
        function()
    with pytest.raises(HandleError, match="is a generator function in generation 3"):
        said(coroutine)
    bench.load(source.format(plain))
    assert (function(), said(coroutine)) == (1, 1)
    assert inspect.iscoroutinefunction(coroutine)
    with pytest.raises(HandleError, match="f is a function in generation 4"):
        said(generator)


USES: dict[str, Callable[[object], object]] = {
    "function": lambda handle: cast("HookFunction", handle)(),
    "coroutine": lambda handle: asyncio.run(cast("Callable[[], Coroutine[object, object, str]]", handle)()),
    "generator": lambda handle: next(cast("Callable[[], Generator[str]]", handle)()),
    "async generator": lambda handle: asyncio.run(_first(cast("Callable[[], AsyncIterator[str]]", handle))),
    "method": lambda handle: cast("HookFunction", handle)(),
    "class": lambda handle: cast("HookFunction", handle)(),
    "isinstance": lambda handle: isinstance(1, cast("type", handle)),
    "issubclass": lambda handle: issubclass(int, cast("type", handle)),
    "base": lambda handle: _derived(cast("type", handle)),
}
NAMES = {"function": "word", "coroutine": "later", "generator": "steps", "async generator": "async_steps"}
IS_CLASS = ("isinstance", "issubclass", "base")


def _derived(kind: type) -> type:
    class Mine(kind): ...  # type: ignore[misc]

    return Mine


async def _first(steps: Callable[[], AsyncIterator[str]]) -> str:
    return await anext(steps())


@pytest.mark.usefixtures("keep")
@pytest.mark.parametrize(
    ("use", "now", "what"),
    [
        *((use, "{name} = 7", "an object of type int") for use in USES if use not in IS_CLASS),
        *((use, "class {name}:\n    def __init__(self, one): ...", "a class") for use in NAMES),
        *((use, "def {name}(): ...", "a function") for use in IS_CLASS),
    ],
)
def test_a_name_that_is_another_thing_now_says_so(bench: Bench, use: str, now: str, what: str) -> None:
    """A handle whose object became a value or another kind names the object, the version and the ways out."""
    bench.load(version("one"))
    handle = kept(bench)["class" if use in IS_CLASS else use]
    name = NAMES.get(use, "Speaker")
    bench.load(f"{now.format(name=name)}\ndef register(ctx): ...\n")
    said = rf"hotplug\.greet\.plugin\.{name}.* is {what} in generation 2 of plugin greet.* again, or let the"
    with pytest.raises(HandleError, match=said):
        USES[use](handle)


@pytest.mark.usefixtures("keep")
def test_a_class_handle_stands_for_the_class_of_each_version(bench: Bench) -> None:
    """An object of any version is an instance; class attributes and subclasses are those of the live one."""
    bench.load(version("one"))
    speaker = kept(bench)["class"]
    old = speaker()
    bench.load(version("two"))
    assert isinstance(old, cast("type", speaker))
    assert isinstance(speaker(), cast("type", speaker))
    assert not isinstance("text", cast("type", speaker))
    assert issubclass(type(old), cast("type", speaker))
    made = getattr(speaker, "made")  # noqa: B009 - no attribute for type checkers

    assert getattr(speaker, "kind") is list  # noqa: B009
    bench.load(version("two").replace("speaker = ", "Speaker.inner = Speaker\nspeaker = "))
    assert repr(getattr(speaker, "inner")) == "<live class hotplug.greet.plugin.Speaker.inner>"  # noqa: B009

    class Loud(speaker):  # type: ignore[valid-type, misc]
        """A class of the program."""

    assert Loud("Eve").say() == "two Eve 1"
    bench.load(version("three"))
    assert made() == "three"


def test_attributes_of_a_handle_outlive_the_version(bench: Bench, keep: Keep) -> None:
    """What a library sets on a handle stays there; what the function has can be read and deleted."""
    bench.load(version("one") + "word.mark = 'one'\nword.params = 1\n")
    word = keep.word
    setattr(word, "mine", 1)  # noqa: B010 - no attribute for type checkers
    assert (getattr(word, "mark"), getattr(word, "mine")) == ("one", 1)  # noqa: B009
    delattr(word, "params")
    assert not hasattr(word, "params")
    bench.load(version("two"))
    assert (hasattr(word, "mark"), getattr(word, "mine")) == (False, 1)  # noqa: B009
    delattr(word, "mine")
    assert not hasattr(word, "mine")
    assert word.__doc__ == "Says two."
    setattr(word, "__doc__", "Mine.")  # noqa: B010
    setattr(word, "__annotations__", {"name": int})  # noqa: B010
    assert (word.__doc__, word.__annotations__) == ("Mine.", {"name": int})

    @functools.wraps(word)
    def wrapper() -> object:
        return word()

    assert (wrapper.__name__, wrapper(), inspect.signature(wrapper)) == (
        "word",
        "two you",
        inspect.signature(word),
    )


@pytest.mark.usefixtures("keep")
def test_a_handle_can_be_a_method_of_the_program(bench: Bench) -> None:
    """As an attribute of a class, a function's handle gets the object; a bound method's does not."""
    bench.load(version("one"))
    things = kept(bench)

    class Mine:
        word = things["function"]
        say = things["method"]

        def __radd__(self, text: str) -> str:
            return f"{text}mine"

    assert (Mine().word(), Mine().say()) == ("one mine", "one Ada 1")


def test_the_program_has_one_handle_of_an_object(bench: Bench, keep: Keep) -> None:
    """What a live point or a pickle gives is one object in all versions; handles compare by identity."""
    bench.load(version("one"))
    first = kept(bench)
    bench.load(version("two"))
    second = kept(bench)
    same = [name for name in first if first[name] is second[name]]
    assert same == [name for name in first if name not in ("partial", "method")]
    assert len({*first.values(), *second.values()}) == len(first) + 2
    assert first["method"] != second["method"]
    assert pickle.loads(pickle.dumps(first["function"])) is first["function"]
    assert all(getattr(first["class"], name) is getattr(first["class"], name) for name in ("say", "made"))
    assert copy.copy(keep.word) is copy.deepcopy(keep.word) is keep.word
    assert keep.word not in (None, keep.inner, getattr(keep.word, "__wrapped__"))  # noqa: B009


LISTENING = "import keep\ndef f():\n    return {}\ndef register(ctx):\n    keep.add(ctx.live(f), ctx)\n"


@pytest.mark.parametrize("is_undone", [False, True])
def test_each_version_has_handles_of_its_own(bench: Bench, keep: Keep, *, is_undone: bool) -> None:
    """The listeners of the live version remain when the previous one dies or removes its own, and no others.

    A library holds them weakly, by ``==`` or by ``id()``, as signals do, or in a set until ``on_unload``.
    """
    weak: weakref.WeakSet[Callable[[], int]] = weakref.WeakSet()
    by_id: dict[int, weakref.ref[Callable[[], int]]] = {}  # as in blinker and Django
    listeners: set[Callable[[], int]] = set()

    def add(handle: Callable[[], int], ctx: PluginContext) -> None:
        weak.add(handle)
        key = id(handle)
        by_id[key] = weakref.ref(handle, lambda _: by_id.pop(key))
        if is_undone:
            listeners.add(handle)
            ctx.on_unload(lambda: listeners.remove(handle))

    def answers() -> list[list[int]]:
        assert {gone.memory for gone in bench.loader.retire()} <= {"freed"}
        refs = [each for reference in by_id.values() if (each := reference()) is not None]
        found = [weak, refs, listeners] if is_undone else [weak, refs]
        return [[each() for each in handles] for handles in found]

    keep.add = add
    bench.load(LISTENING.format(1))
    bench.load(LISTENING.format(2))
    assert answers() == [[2]] * (2 + is_undone)
    if not is_undone:
        bench.refusal(f"{LISTENING.format(3)}    1 / 0\n")
        assert answers() == [[2]] * 2
    bench.load("def register(ctx): ...")
    assert answers() == [[]] * (2 + is_undone)


def test_one_version_has_one_handle_of_a_method(bench: Bench, keep: Keep) -> None:
    """While a handle of a method of an object lives, ``ctx.live`` returns the same one, as for a function."""
    bench.load(
        "import keep\nclass A:\n    def f(self): return 1\ndef register(ctx):\n    a = A()\n"
        "    keep.pair = ctx.live(a.f), ctx.live(a.f), ctx.live(A().f)\n"
    )
    first, second, third = cast("tuple[Callable[[], int], ...]", keep.pair)
    assert first is second is not third
    assert (first(), third()) == (1, 1)


def test_a_version_keeps_its_handles(bench: Bench, keep: Keep) -> None:
    """The handles that a version makes live as long as the version, and its package has the same ones."""
    bench.load("import keep, weakref\ndef f(): ...\ndef register(ctx): keep.f = weakref.ref(ctx.live(f))\n")
    first = cast("Callable[[], HookFunction | None]", keep.f)
    greet = importlib.import_module("hotplug.greet")
    assert greet.f is first()
    with mock.patch("hotplug.greet.plugin.f", _read):
        assert inspect.iscoroutinefunction(greet.f)


def test_a_class_handle_recognizes_exceptions_of_each_version(bench: Bench) -> None:
    """``isinstance`` and ``contextlib.suppress`` accept the handle of an exception class."""
    source = (
        "class Gone(Exception): pass\ndef fail():\n    raise Gone({})\ndef register(ctx):\n"
        "    ctx.hook('things', lambda: fail)\n"
    )
    bench.load(source.format(1))
    gone = importlib.import_module("hotplug.greet").Gone
    (old,) = cast("list[HookFunction]", bench.host.call("things"))
    bench.load(source.format(2))
    for fail in (old, importlib.import_module("hotplug.greet").fail):
        with contextlib.suppress(gone):
            fail()
    assert isinstance(gone(), gone)
    assert not isinstance(ValueError(), gone)


@pytest.mark.usefixtures("keep")
def test_a_class_handle_is_part_of_an_annotation(bench: Bench) -> None:
    """A program may write ``Speaker | None`` with the class that it imports from a plugin."""
    bench.load(version("one"))
    speaker = kept(bench)["class"]
    assert operator.or_(speaker, None) == typing.Optional[speaker]  # noqa: UP045
    assert operator.or_(None, speaker) == typing.Optional[speaker]  # noqa: UP045
    assert typing.get_args(operator.or_(operator.or_(speaker, int), str)) == (speaker, int, str)


# ---- pickles


@pytest.mark.usefixtures("keep")
def test_pickles_are_handles_by_the_stable_name(bench: Bench) -> None:
    """A pickled handle is a handle again; where there is no host, it is the live object."""
    bench.load(version("one"))
    things = {name: thing for name, thing in kept(bench).items() if name != "partial"}
    pickles = {name: pickle.dumps(thing) for name, thing in things.items()}
    assert all(b"hotplug.greet" in content for content in pickles.values())
    bench.load(version("two"))
    handles = {name: pickle.loads(content) for name, content in pickles.items()}
    assert {name for name in things if handles[name] != things[name]} == {"method"}
    words = {name: value for name, value in expected("two", 1).items() if name in things}
    assert {name: said(handle) for name, handle in handles.items()} == words
    with mock.patch("hotload_tui.core.hooks.live.calls_of_plugin", return_value=None):
        plain = {name: pickle.loads(content) for name, content in pickles.items()}
    assert inspect.ismethod(plain["method"])
    assert {name: said(thing) for name, thing in plain.items()} == {
        **words,
        "method of a variable": "two all 2",
    }


def test_a_pickle_of_a_plugin_that_is_gone_says_so(bench: Bench, keep: Keep) -> None:
    """Reading a pickled handle without a live version raises the error that a call would."""
    bench.load(version("one"))
    content = pickle.dumps(keep.word)
    bench.loader.unload("greet")
    with pytest.raises(HandleError, match="no version of plugin greet is live"):
        pickle.loads(content)


def test_a_function_in_a_function_cannot_be_pickled(bench: Bench, keep: Keep) -> None:
    """A handle of an inner function is refused as ``pickle`` refuses the function."""
    bench.load(version("one"))
    with pytest.raises(pickle.PicklingError, match="inner is defined in a function"):
        pickle.dumps(keep.inner)


# ---- where handles come from


@dataclass(frozen=True, slots=True)
class Route:
    """A record of the program, with a function in it."""

    path: str
    endpoint: object


class Pair(NamedTuple):
    """Another record of the program."""

    path: str
    endpoint: object


def test_functions_inside_containers_are_handles(bench: Bench, keep: Keep) -> None:
    """Handles are in copies of lists, tuples, dictionaries and dataclasses; other values stay the same."""
    keep.Route, keep.Pair, keep.partial = Route, Pair, functools.partial
    keep.values = [["text"], ("a", 1), {"a": len}, Route("/", print), functools.partial(print, "a")]
    bench.load(
        "import keep\ndef f():\n    return 1\n"
        "def nested():\n    route, pair = keep.Route('/', f), keep.Pair('/', (f,))\n"
        "    return [(f, {'a': [f]}), route, pair, keep.partial(f, f)]\n"
        "def register(ctx):\n    ctx.hook('things', nested)\n    ctx.hook('things', lambda: keep.values)\n"
        "    keep.all = ctx.live([f])\n"
    )
    found, same = cast("list[list[object]]", bench.host.call(THINGS))
    assert same is keep.values
    f = "<live function hotplug.greet.plugin.f>"
    assert repr(found) == (
        f"[({f}, {{'a': [{f}]}}), Route(path='/', endpoint={f}), Pair(path='/', endpoint=({f},)),"
        f" functools.partial({f}, {f})]"
    )
    assert [type(each) for each in found[1:3]] == [Route, Pair]
    assert repr(keep.all) == f"[{f}]"


def test_every_kind_of_call_at_a_live_point_returns_handles(bench: Bench) -> None:
    """``call``, ``first``, ``pipe``, strict and awaiting calls return handles; a call by name does not."""
    bench.load(
        "def f(*_): pass\ndef things(*_):\n    return f\ndef register(ctx):\n    ctx.hook('things', things)\n"
    )
    host, point = bench.host, cast("HookPoint[[], object]", THINGS)
    piped = cast("HookPoint[[object], object]", THINGS)

    async def awaited() -> list[object]:
        return [*await host.acall(point), await host.afirst(point), await host.apipe(piped, 0)]

    values = [*host.call(point), host.first(point), host.pipe(piped, 0)]
    values += [*host.strict.call(point), host.strict.first(point), *asyncio.run(awaited())]
    assert {repr(value) for value in values} == {"<live function hotplug.greet.plugin.f>"}
    assert inspect.isfunction(host.first("things"))
    assert type(host.first("things")) is FunctionType
    (status,) = host.points()
    assert (status.calls, status.handlers[0].calls) == (10, 10)


REFUSED = {
    "lambda: 1": "cannot be asked for it by name",
    "Slots().say": "keeps its values in __slots__",
    "Closed().say": "has a __del__",
    "Numbers().say": "Numbers extends list, which keeps values outside of __dict__",
    "Day(2024, 1, 1).say": "Day extends datetime, which keeps values outside of __dict__",
    "Bare().say": "objects of the class Bare have no __dict__",
}
OBJECTS = """
from datetime import datetime

class Bare:
    __slots__ = ()
    def say(self): pass

class Day(datetime):
    def say(self): pass

class Slots:
    __slots__ = ("a",)
    def say(self): pass

class Closed:
    def say(self): pass
    def __del__(self): pass

class Numbers(list):
    def say(self): pass
"""


@pytest.mark.parametrize("thing", REFUSED)
def test_an_object_without_a_name_at_a_live_point_is_a_fault(bench: Bench, thing: str) -> None:
    """An object that no later version could replace is a fault of its plugin, with the reason."""
    bench.load(f"{OBJECTS}def register(ctx):\n    ctx.hook('things', lambda: {thing})\n")
    with pytest.raises(PluginError, match=f"cannot stay live: .*{REFUSED[thing]}"):
        bench.host.strict.call(THINGS)
    undo = bench.host.observe(lambda *_: None, "hotplug", raises=True)
    with pytest.raises(PluginError):
        bench.host.call(THINGS)
    undo()
    assert bench.host.call(THINGS) == []


def test_two_inner_functions_of_one_name_are_refused(bench: Bench, keep: Keep) -> None:
    """A name that two inner functions share names none of them; a name of its own is the way out."""
    source = (
        "import keep\ndef register(ctx):\n    keep.all = [ctx.live(make(n)) for n in (1, 2)]\ndef make(n):\n"
    )
    error = bench.refusal(f"{source}    return lambda: n\n")
    assert isinstance(error.__cause__, RegisterError)
    assert "make.<locals>.<lambda> cannot stay live" in str(error.__cause__)
    bench.load(
        f"{source}    def f():\n        return n\n    f.__qualname__ = f'<number {{n}}>'\n    return f\n"
    )
    assert [handle() for handle in keep.all] == [1, 2]


def test_a_replaced_function_does_not_take_the_name_of_its_replacement(bench: Bench) -> None:
    """``ctx.live`` refuses the function that a decorator has replaced: its name is that of the new one."""
    source = (
        "def renamed(function):\n    return lambda: ('renamed', function())\n"
        "def f():\n    return 1\nkept = [f]\nf = renamed(f)\n"
        "def register(ctx):\n    ctx.live(f)\n    ctx.live(kept[0])\n"
    )
    assert "f cannot stay live" in str(bench.refusal(source).__cause__)


def test_a_function_whose_name_leads_elsewhere_is_refused(bench: Bench) -> None:
    """A function that a decorator of another library has replaced is not taken for its replacement."""
    bench.load(
        "import operator\ndef f():\n    return 1\nkept = [f]\nf = operator.methodcaller('f')\n"
        "def register(ctx):\n    ctx.hook('things', lambda: kept)\n"
    )
    with pytest.raises(PluginError, match="f cannot stay live"):
        bench.host.strict.call(THINGS)


def test_a_function_of_an_earlier_version_becomes_a_handle_of_the_live_one(bench: Bench) -> None:
    """A function that ``ctx.state`` has kept is looked up by its name."""
    source = (
        "def f():\n    return {}\ndef register(ctx):\n    kept = ctx.state.setdefault('f', f)\n"
        "    ctx.hook('things', lambda: kept)\n"
    )
    bench.load(source.format(1))
    bench.load(source.format(2))
    (handle,) = cast("list[HookFunction]", bench.host.call(THINGS))
    assert handle() == 2


def test_other_objects_stay_as_they_are(bench: Bench, keep: Keep) -> None:
    """``ctx.live`` returns what belongs to other code as it is."""
    keep.values = [len, int, print, "text", None, Route, [].append]
    bench.load("import keep\ndef register(ctx):\n    keep.all = [ctx.live(each) for each in keep.values]\n")
    assert all(map(operator.is_, keep.all, keep.values))
