import functools
import gc
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Protocol, cast

import pytest

from hotload_tui.core import holders
from hotload_tui.core.compiler import Compiler
from hotload_tui.core.hooks.host import HookHost
from hotload_tui.core.runtime.loader import Loader
from tests.conftest import Workspace

PLUGIN = """
import functools, logging, warnings
from utils import helper


class Greeter:
    def greet(self):
        return "hello"


class Point:
    pass


class Noisy(logging.Handler):
    def emit(self, record): ...


@functools.cache
def answer():
    return helper()


def stream():
    yield 1
    yield answer()


def loop(gate):
    gate.wait(20)


def fail():
    raise ValueError("kept")


def register(ctx):
    answer()
    ctx.hook("names", lambda name: globals()[name])
    ctx.hook("closures", lambda: lambda: ctx.name)
"""


class Greets(Protocol):
    """The interface of the plugin's class."""

    def greet(self) -> str:
        """Greet."""
        ...


class Callee(Protocol):
    """A function or class of the plugin."""

    __name__: str

    def __call__(self, *args: object) -> object:
        """Call it."""
        ...


class Parting:
    """A live generation that the test unloads while it holds one of its objects."""

    def __init__(self, workspace: Workspace) -> None:
        workspace["greet"] = PLUGIN
        workspace["greet/utils.py"] = "def helper():\n    return 1\n\n\nclass Tool: ...\n"
        self.holder = ""
        self.host = HookHost()
        self.loader = Loader(self.host, workspace.config())
        self.loader.load("greet", Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact)

    def get(self, name: str) -> Callee:
        """Return the object with this name in the plugin."""
        return cast("Callee", self.host.call("names", name)[0])

    def memory(self) -> str:
        """Unload the plugin and return its memory verdict without the holder."""
        self.loader.unload("greet")
        memory, _, self.holder = self.loader.retire()[0].memory.partition(", held by ")
        return memory

    def freed(self) -> list[tuple[str, int]]:
        """Look again, and return the generations that are freed by now."""
        return self.loader.held.look_again()


@pytest.fixture
def parting(workspace: Workspace) -> Parting:
    """Return a live generation."""
    return Parting(workspace)


def kept_error(parting: Parting) -> object:
    """Return an exception with its traceback."""
    fail = parting.get("fail")
    try:
        return fail()
    except ValueError as error:
        return error


def a_method(parting: Parting) -> object:
    """Return a bound method of an object of the plugin."""
    make = cast("Callable[[], Greets]", parting.get("Greeter"))
    return make().greet


def advanced(parting: Parting) -> object:
    """Return a generator that has begun."""
    generator = parting.get("stream")()
    next(cast("Iterator[object]", generator))
    return generator


@functools.lru_cache
def cached(thing: object) -> object:
    """Cache a result, and with it the argument."""
    return type(thing).__name__


HELD = {
    "function": (lambda parting: parting.get("fail"), "greet.plugin.fail"),
    "class": (lambda parting: parting.get("Greeter"), "greet.plugin.Greeter"),
    "class without methods": (lambda parting: parting.get("Point"), "greet.plugin.Point"),
    "object": (lambda parting: parting.get("Greeter")(), "greet.plugin.Greeter"),
    "object without methods": (lambda parting: parting.get("Point")(), "greet.plugin.Point"),
    "list of functions": (lambda parting: [parting.get("fail")], "greet.plugin.fail"),
    "method": (
        a_method,
        "greet.plugin.Greeter, greet.plugin.Greeter.greet",
    ),
    "lambda of register": (
        lambda parting: parting.host.call("closures")[0],
        "greet.plugin.register.<locals>.<lambda>.<locals>.<lambda>",
    ),
    "generator": (advanced, "greet.plugin.stream"),
    "exception": (kept_error, "greet.plugin.fail"),
    "function of another file": (lambda parting: parting.get("helper"), "greet.utils.helper"),
    "module": (lambda parting: sys.modules[parting.get("fail").__globals__["__spec__"].name], "greet.plugin"),
}


@pytest.mark.parametrize("kind", HELD)
def test_what_a_host_holds_is_named_and_freed_when_it_lets_go(parting: Parting, kind: str) -> None:
    """The verdict names the held object itself, and the generation is freed after the release."""
    hold, name = HELD[kind]
    registry: list[object] = [cast("Callable[[Parting], object]", hold)(parting)]
    assert parting.memory() == f"alive: {name}"
    assert parting.freed() == []
    registry.clear()
    assert parting.freed() == [("greet", 1)]
    assert not parting.loader.held


def test_a_cache_of_the_host_is_named_and_let_go(parting: Parting) -> None:
    """An object in an ``lru_cache`` of the host is named, and is freed when the cache is cleared."""
    cached(parting.get("Greeter")())
    assert parting.memory() == "alive: greet.plugin.Greeter"
    cached.cache_clear()
    assert parting.freed() == [("greet", 1)]


def test_a_thread_that_runs_old_code_is_named_and_let_go(parting: Parting) -> None:
    """The verdict names the function that a thread runs, until the thread ends."""
    gate = threading.Event()
    thread = threading.Thread(target=parting.get("loop"), args=(gate,))
    thread.start()
    assert parting.memory() == "alive: greet.plugin.loop"
    gate.set()
    thread.join()
    assert parting.freed() == [("greet", 1)]


def test_a_handler_that_a_plugin_forgets_on_a_logger_goes_with_it(parting: Parting) -> None:
    """A handler that a plugin leaves on a logger of the host is removed with the plugin."""
    logger = logging.getLogger("test_leaks.host")
    logger.addHandler(cast("logging.Handler", parting.get("Noisy")()))
    assert parting.memory() == "freed"
    assert logger.handlers == []


def test_a_class_without_a_module_disturbs_no_search(
    parting: Parting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that C code or a call of ``type`` has made may have no ``__module__``; the verdict is true."""
    space: dict[str, object] = {}
    exec("Nameless = type('Nameless', (), {})", space)
    nameless = cast("type", space["Nameless"])
    thing = nameless()
    vars(thing)["kept"] = parting.get("fail")
    host = ModuleType("host_of_the_test")
    vars(host).update(nameless=nameless, thing=thing)
    monkeypatch.setitem(sys.modules, "host_of_the_test", host)
    assert parting.memory() == "alive: greet.plugin.fail"
    vars(thing).clear()
    assert parting.freed() == [("greet", 1)]


def test_at_most_three_names_are_shown(parting: Parting) -> None:
    """The verdict names three held objects and counts the others."""
    kept = [parting.get(name) for name in ("fail", "loop", "Point", "Greeter", "stream")]
    assert parting.memory() == "alive: greet.plugin.Greeter, greet.plugin.Point, greet.plugin.fail and 2 more"
    assert len(kept) == 5


def test_looking_at_what_is_held_runs_no_code_of_it(workspace: Workspace) -> None:
    """Objects whose every attribute raises are counted and named without running their code."""
    parting = Parting(workspace)
    workspace["greet"] = (
        "class Meta(type):\n    def __getattribute__(cls, name): raise RuntimeError('looked at')\n\n"
        "class Sly(metaclass=Meta):\n"
        "    def __getattribute__(self, name): raise RuntimeError('looked at')\n\n"
        "def register(ctx):\n    ctx.hook('sly', lambda: object.__new__(Sly))\n"
    )
    artifact = Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact
    parting.loader.load("greet", artifact)
    parting.loader.retire()
    kept = parting.host.call("sly")
    assert parting.memory() == "alive: greet.plugin.Sly"
    kept.clear()
    assert parting.freed() == [("greet", 2)]


LEAVES = {
    "loggers": "import logging\nlogging.getLogger(__name__)\nlogging.getLogger(__name__ + '.deep.er')",
    "generics": "import typing\nclass C: ...\nkept = typing.List[C], typing.Optional[C]",
    "a generic class": "import typing\nT = typing.TypeVar('T')\nclass C(typing.Generic[T]): ...\nC[int]",
    "overloads": (
        "import typing\n@typing.overload\ndef f(x: int) -> int: ...\n@typing.overload\n"
        "def f(x: str) -> str: ...\ndef f(x): return x"
    ),
    "dataclasses": "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: 'int' = 1",
    "enumerations": "import enum\nclass C(enum.Enum):\n    A = 1",
    "abstract classes": "import abc\nclass C(abc.ABC): ...\nclass D: ...\nC.register(D)\nisinstance(D(), C)",
    "singledispatch": (
        "import functools\n@functools.singledispatch\ndef f(x): ...\nf.register(int, print)\nf(1)"
    ),
    "pointers": (
        "import ctypes\nclass S(ctypes.Structure):\n    _fields_ = [('x', ctypes.c_int)]\n"
        "kept = ctypes.POINTER(S)"
    ),
    "warnings": (
        "import warnings, host_of_the_test\nclass W(Warning): ...\nwarnings.simplefilter('default')\n"
        "host_of_the_test.warn(W('x'))"
    ),
    "signatures": (
        "import inspect\nclass C:\n    def f(self): ...\ninspect.signature(C.f)\ninspect.getsource(C)\n"
        "inspect.getmodule(C.f)"
    ),
    "hints": "import typing\nclass C:\n    x: 'C'\ntyping.get_type_hints(C)",
    "named tuples": "import typing\nclass C(typing.NamedTuple):\n    x: int = 1",
    "cached properties": (
        "import functools\nclass C:\n    @functools.cached_property\n    def x(self): return self\n"
        "kept = C()\nkept.x"
    ),
}


@pytest.mark.parametrize("kind", LEAVES)
def test_plain_plugins_leave_nothing_behind(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The standard library's caches of a plugin's modules and classes are cleared with the plugin."""
    host = ModuleType("host_of_the_test")
    exec("import warnings\ndef warn(w): warnings.warn(w, stacklevel=1)\n", host.__dict__)
    monkeypatch.setitem(sys.modules, "host_of_the_test", host)
    loggers, modules = set(logging.Logger.manager.loggerDict), set(sys.modules)
    with warnings.catch_warnings(record=True) as told:
        workspace["greet"] = LEAVES[kind] + "\n\ndef register(ctx): ...\n"
        loader = Loader(HookHost(), workspace.config())
        artifact = Compiler(workspace.compiled).compile(workspace.plugins / "greet").artifact
        loader.load("greet", artifact)
        told.clear()
        loader.unload("greet")
        assert [gone.memory for gone in loader.retire()] == ["freed"]
    left = (set(logging.Logger.manager.loggerDict) - loggers) | (set(sys.modules) - modules)
    assert not [name for name in left if name.startswith("hotplug.greet.g")]


def test_nothing_is_collected_where_counting_was_enough(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking again at a held generation runs no collection."""
    parting = Parting(workspace)
    kept = parting.get("fail")
    assert parting.memory().startswith("alive")
    collections: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda: collections.append(1))
    assert parting.freed() == []
    assert (collections, kept.__name__) == ([], "fail")


@pytest.fixture
def eager_collector() -> Iterator[list[Callable[[], object]]]:
    """Run the collector for each new object, and call the listed functions as finalizers would be."""
    calls: list[Callable[[], object]] = []
    kept: list[object] = []
    before = gc.get_threshold()

    def collecting(phase: str, _: object) -> None:
        if phase == "stop":
            kept.extend(Greeting() for _ in range(9))
            for call in calls:
                call()

    gc.set_threshold(1, 1_000_000, 1_000_000)
    gc.callbacks.append(collecting)
    yield calls
    gc.callbacks.remove(collecting)
    gc.set_threshold(*before)


class Greeting:
    """An object that the collector tracks."""


def test_a_holder_that_grows_meanwhile_is_named(
    parting: Parting, eager_collector: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that grows during the search is still named with the key of the held object."""
    registry: dict[str, object] = {str(number): None for number in range(9)}
    registry["it"] = parting.get("fail")
    monkeypatch.setattr(holders, "SECONDS", 60)  # because the collector runs for each object
    eager_collector.append(lambda: registry.setdefault(str(len(registry))))
    assert parting.memory() == "alive: greet.plugin.fail"
    assert "['it']" in parting.holder
