import asyncio
import contextvars
import functools
import logging
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import seen
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]

PLUGIN = """\
import asyncio, codecs, contextvars, ctypes, datetime, functools, logging, os, signal, sqlite3, sys
import threading, typing
import host_of_the_test as host

class C:
    pass


def handler():
    return 1


def loop():
    host.began.set()
    host.gate.wait(20)


def fail():
    raise ValueError("kept")


def stream():
    yield 1
    yield handler()


async def work():
    host.began.set()
    await host.future()


async def astream():
    yield 1


def act():
    {line}


def register(ctx):
    ctx.hook("greet", act)
"""


class Registry:
    """An object of the host with a list."""

    def __init__(self) -> None:
        self.callbacks: list[object] = []


class Slotted:
    """An object of the host without a namespace."""

    __slots__ = ("handler",)


@functools.lru_cache
def cached(thing: object) -> str:
    """Cache a result, and with it the argument."""
    return type(thing).__name__


@functools.singledispatch
def dispatched(_: object) -> object:
    """Return None; other types register their own function."""
    return None


def keep_error(function: Callable[[], object]) -> object:
    """Return the exception that a function raises, with its traceback."""
    try:
        return function()
    except ValueError as error:
        return error


def wrap(function: Callable[[], object]) -> Callable[[], object]:
    """Return a function that calls ``function``."""
    return lambda: [function()]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield a module of the host with objects of every kind that can hold something."""
    module = ModuleType("host_of_the_test")
    vars(module).update(
        cache={}, tools=[], registry=Registry(), slotted=Slotted(), queue=queue.SimpleQueue(), any=None,
        local=threading.local(), variable=contextvars.ContextVar("variable"), keep_error=keep_error,
        began=threading.Event(), context=contextvars.Context(), gate=threading.Event(),
        deque=queue.Queue(), cached=cached, dispatched=dispatched, future=None, kept=set(), wrap=wrap,
    )  # fmt: skip
    module.Tool = type("Tool", (), {"__module__": "host_of_the_test"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "host_of_the_test", module)
    gate = module.gate
    yield module
    gate.set()
    cached.cache_clear()
    vars(module).clear()


_OPEN = "host.any = sqlite3.connect(':memory:', check_same_thread=False)"

# If no search can find the holder, the ledger names the line: category and line.
HIDDEN = {
    "at-fork hook": ("at-fork hook", 37), "at-fork hook in the child": ("at-fork hook", 37),
    "audit hook": ("audit hook", 37), "SQLite function": ("SQLite function", 37),
    "profile function": ("profile function", 37),
}  # fmt: skip

# The handler's code, the held object, and its holder.
HOLDERS = {
    "list": ("host.tools.append(handler)", "handler", "host_of_the_test.tools[0]"),
    "dictionary": ("host.cache['x'] = handler", "handler", "host_of_the_test.cache['x']"),
    "by number": ("host.cache[3] = handler", "handler", "host_of_the_test.cache[3]"),
    "closure": ("host.cache[3] = host.wrap(handler)", "handler", "host_of_the_test.cache[3] → closure"),
    "key": ("host.cache[handler] = 1", "handler", "host_of_the_test.cache → key"),
    "set": ("host.kept.add(handler)", "handler", "host_of_the_test.kept{…}"),
    "attribute of a module": ("host.any = handler", "handler", "host_of_the_test.any"),
    "attribute of an object": ("host.registry.callbacks.append(handler)", "handler",
                               "host_of_the_test.registry.callbacks[0]"),
    "slot": ("host.slotted.handler = handler", "handler", "host_of_the_test.slotted.handler"),
    "attribute of a class": ("host.Tool.run = handler", "handler", "host_of_the_test.Tool.run"),
    "namespace of a class": ("host.any = vars(C)", "C", "host_of_the_test.any"),
    "instance": ("host.any = C()", "C", "host_of_the_test.any → C"),
    "queue": ("host.deque.put(C())", "C", "host_of_the_test.deque.queue[0] → C"),
    "exception": ("host.any = host.keep_error(fail)", "act, greet.plugin.fail",
                  "host_of_the_test.any → exception ValueError"),
    "generator": ("host.any = stream(); next(host.any)", "stream",
                  "host_of_the_test.any → generator stream (plugin.py:22)"),
    "lru_cache": ("host.cached(C())", "C", "lru_cache of tests.core.test_holders.cached"),
    "singledispatch": ("host.dispatched.register(C, handler)", "C, greet.plugin.handler",
                       "test_holders.dispatched"),
    "thread": ("threading.Thread(target=loop, name='poller', daemon=True).start(); host.began.wait()", "loop",
               "thread 'poller' running loop (plugin.py:13), now at :15"),
    "context variable": ("host.context.run(host.variable.set, C())", "C", "a context of contextvars → C"),
    "thread local": ("host.local.thing = C()", "C", ""),
    "at-fork hook": ("os.register_at_fork(before=handler)", "handler", "a list inside the interpreter"),
    "at-fork hook in the child": ("os.register_at_fork(after_in_child=handler)", "handler",
                                  "a list inside the interpreter"),
    "audit hook": ("sys.addaudithook(lambda *_: None)", "act.<locals>.<lambda>", "C code"),
    "traceback": ("host.any = host.keep_error(fail).__traceback__", "act, greet.plugin.fail",
                  "host_of_the_test.any"),
    "coroutine": ("host.any = work()", "work", "host_of_the_test.any → coroutine work (plugin.py:27)"),
    "async generator": ("host.any = astream()", "astream",
                        "host_of_the_test.any → async_generator astream (plugin.py:32)"),
    "SQLite function": (f"{_OPEN}; host.any.create_function('f', 0, handler)", "handler", "C code"),
    "profile function": ("sys.setprofile(lambda *_: None)", "act.<locals>.<lambda>", "C code"),
    "SQLite row factory": (f"{_OPEN}; host.any.row_factory = handler", "handler",
                           "host_of_the_test.any.row_factory"),
    "callback of C": ("host.any = ctypes.CFUNCTYPE(None)(handler)", "handler", "host_of_the_test.any"),
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", seen(HOLDERS, "lru_cache", "singledispatch", "at-fork hook", "at-fork hook in the child")
)
def test_the_holder_of_an_old_version_is_reported(
    workspace: Workspace, run: Run, host: ModuleType, kind: str
) -> None:
    """The verdict gives a path from a known object to the held one, and becomes freed after the release."""
    line, what, holder = HOLDERS[kind]
    workspace["greet"] = PLUGIN.format(line=line)
    # These registrations cannot be undone.
    stays = kind in ("singledispatch", "at-fork hook", "at-fork hook in the child", "audit hook")
    running = run(workspace.config(module_path="staying" if stays else "hotplug"))
    running.host.call("greet")
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    assert running.wait_for(lambda: bool(running.told(PluginRetired)))
    (event,) = running.told(PluginRetired)
    assert event.memory.startswith(f"alive: greet.plugin.{what}, held by ")
    assert holder in event.memory
    assert running.status("greet").memory == f"{event.memory} (generation 1)"
    named = [
        (entry.category, entry.line) for entry in event.ledger if entry.category in dict(HIDDEN.values())
    ]
    assert named == ([HIDDEN[kind]] if kind in HIDDEN else [])
    sys.setprofile(None)
    host.gate.set()
    for thread in threading.enumerate():
        if thread.name == "poller":
            thread.join(PATIENCE)
    cached.cache_clear()
    if stays:
        return
    if hasattr(host.any, "close"):
        host.any.close()  # otherwise the interpreter warns
    if hasattr(host.Tool, "run"):
        del host.Tool.run  # the class is a cycle, which is freed at the host's next collection
    vars(host).clear()
    assert running.wait_for(lambda: bool(running.manager.snapshot()) and "is freed now" in running.said())
    assert running.status("greet").memory == "freed"


# Code that would hold the old version, and whose effect the retirement undoes or releases.
LET_GO = {
    "signal handler": "signal.signal(signal.SIGUSR2, handler)",
    "codec error handler": "codecs.register_error('hotload-test', handler)",
    "formatter on a handler of others": ("logging.getLogger('formatted').handlers[0].setFormatter("
                                         "type('F', (logging.Formatter,), {})())"),
    "overloads": "typing.overload(handler)",
    "last exception": "sys.last_value = host.keep_error(fail)",
    "date with a zone of its own": ("C.zone = type('Z', (datetime.tzinfo,), {'__module__': __name__})\n"
                                    "    C.zone.since = datetime.datetime(2000, 1, 1, tzinfo=C.zone())"),
    "cache of the standard library": "functools.lru_cache(handler)\n    typing.Optional[C]",
}  # fmt: skip


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("kind", LET_GO)
def test_what_would_hold_an_old_version_lets_it_go(workspace: Workspace, run: Run, kind: str) -> None:
    """The retirement releases the old version without any action of the user."""
    handler = logging.NullHandler()
    logging.getLogger("formatted").handlers[:] = [handler]
    before = signal.getsignal(signal.SIGUSR2), handler.formatter
    workspace["greet"] = PLUGIN.format(line=LET_GO[kind])
    running = run(workspace.config())
    assert running.host.invoke("greet").faults == ()
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    assert running.wait_for(lambda: bool(running.told(PluginRetired)))
    # Only the main thread can set a signal handler, as soon as it runs again.
    assert running.wait_for(
        lambda: bool(running.manager.snapshot()) and running.status("greet").memory == "freed"
    )
    assert (signal.getsignal(signal.SIGUSR2), handler.formatter) == before
    logging.getLogger("formatted").handlers.clear()


LOOP_HOLDERS = {
    "task": ("host.any = asyncio.get_running_loop().create_task(work())", "work", "asyncio task 'Task-"),
    "handle": (
        "host.any = asyncio.get_running_loop().call_later(1000, handler)",
        "handler",
        "host_of_the_test.any._callback",
    ),
}


@pytest.mark.parametrize("kind", LOOP_HOLDERS)
async def test_an_event_loop_that_holds_an_old_version_is_reported(
    workspace: Workspace, run: Run, host: ModuleType, kind: str
) -> None:
    """Tasks and handles of an event loop are named, not cancelled, and freed when they are over."""
    line, what, holder = LOOP_HOLDERS[kind]
    vars(host)["future"] = asyncio.get_running_loop().create_future
    workspace["greet"] = PLUGIN.format(line=line).replace("def act", "async def act")
    running = run(workspace.config())
    await running.host.acall("greet")
    await asyncio.sleep(0)
    started = vars(host)["any"]
    if kind == "task":
        vars(host)["any"] = None
    workspace["greet"] = answering("new")
    await asyncio.to_thread(running.manager.scan_and_load_all)
    assert await asyncio.to_thread(running.wait_for, lambda: bool(running.told(PluginRetired)))
    (event,) = running.told(PluginRetired)
    assert event.memory.startswith(f"alive: greet.plugin.{what}, held by ")
    assert holder in event.memory
    others = [entry for entry in event.ledger if entry.category != "reference"]
    named = [(entry.category, entry.outcome, entry.line) for entry in others]
    assert named == ([("asyncio task", "named", 27)] if kind == "task" else [])
    started.cancel()
    del started
    vars(host)["any"] = None
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.manager.snapshot()
    assert await asyncio.to_thread(running.wait_for, lambda: "is freed now" in running.said())
    assert running.status("greet").memory == "freed"
