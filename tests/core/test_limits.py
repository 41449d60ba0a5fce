"""Code of a plugin that takes too long is interrupted where that harms no other code of the process."""

from __future__ import annotations

import _thread
import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import cast

import pytest

from hotload_tui import Config
from hotload_tui.core import faults, limits
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.faults import fault_of
from hotload_tui.core.interpreter import Interrupted
from hotload_tui.core.manager.retire_thread import RetireThread
from hotload_tui.core.manager.store import StatusStore
from hotload_tui.core.module_names import ModuleNames
from hotload_tui.core.primitives import monotonic
from hotload_tui.core.runtime import threads
from hotload_tui.core.runtime.loader import Loader
from hotload_tui.core.runtime.threads import MainTrials, Trials, WorkerTrials
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import Bench, Stage, retired
from tests.waiting import PATIENCE, until

LIMIT = 0.05
SHARED = "shared_and_slow"
ROOT = "hotplug.greet.g1"
REGISTER = "def register(ctx):\n    pass\n"

POSITIONS = {
    "import": f"import {SHARED}\n{REGISTER}",
    "from import": f"from {SHARED} import END\n{REGISTER}",
    "nested": f"import {SHARED}_user\n{REGISTER}",
    "in a function": f"def register(ctx):\n    import {SHARED}\n",
    "import_module": f"import importlib\nimportlib.import_module('{SHARED}')\n{REGISTER}",
    "in an own module": f"from . import part\n{REGISTER}",
    "loader": (
        "import sys\nfrom importlib.util import find_spec, module_from_spec\n"
        f"spec = find_spec('{SHARED}')\nmodule = sys.modules['{SHARED}'] = module_from_spec(spec)\n"
        f"spec.loader.exec_module(module)\n{REGISTER}"
    ),
    "then a loop": f"import {SHARED}\nwhile True: pass\n{REGISTER}",
    "catches everything": f"try:\n    import {SHARED}\nexcept BaseException: pass\n{REGISTER}",
}


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes the body of the shared module, and forget the module afterwards."""
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / f"{SHARED}_user.py").write_text(f"import {SHARED}\nEND = 1\n")
    monkeypatch.syspath_prepend(str(folder))

    def write(body: str) -> None:
        (folder / f"{SHARED}.py").write_text(body)
        importlib.invalidate_caches()

    yield write
    for name in (SHARED, f"{SHARED}_user"):
        sys.modules.pop(name, None)


@pytest.fixture
def spared(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open the gate of the stage when an interruption waits for the end of the shared module's import.

    On a busy machine, a load may reach its limit before that import: the interruption waits for it, too.
    """
    look = limits.import_to_spare

    def seen(stack: Sequence[FrameType]) -> str:
        importing = look(stack)
        if importing.startswith(SHARED):
            stage.gate.set()
        return importing or ("" if stage.gate.is_set() else SHARED)

    monkeypatch.setattr(limits, "import_to_spare", seen)


def bench_with(workspace: Workspace, trials: Trials) -> Bench:
    """Return a loader that runs its loads in ``trials``."""
    bench = Bench(workspace, load_timeout=LIMIT)
    bench.loader = Loader(bench.host, workspace.config(load_timeout=LIMIT), trials=trials)
    return bench


@pytest.mark.parametrize("kind", [WorkerTrials, MainTrials])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.usefixtures("spared")
def test_the_import_of_a_shared_module_is_not_interrupted(
    workspace: Workspace, slow: Callable[[str], None], kind: type[Trials], position: str
) -> None:
    """A load that takes too long inside the import of a shared module fails when that import has ended."""
    slow("import stage\nwhile not stage.gate.is_set(): pass\nEND = 1\n")
    workspace["greet/part.py"] = f"import {SHARED}\n"
    bench = bench_with(workspace, kind())
    error = bench.refusal(POSITIONS[position])
    assert f"load_timeout = {LIMIT:g} s" in str(error)
    assert f"the import of {SHARED}" in str(error)
    assert sys.modules[SHARED].END == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hotload-load")]


@pytest.mark.parametrize("kind", [WorkerTrials, MainTrials])
@pytest.mark.usefixtures("spared")
def test_an_import_that_does_not_end_demands_a_restart(
    workspace: Workspace,
    slow: Callable[[str], None],
    kind: type[Trials],
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the import of a shared module does not end, the fault says that the process must restart."""

    def clock() -> float:
        return monotonic() + (limits.PATIENCE if stage.gate.is_set() else 0)

    for module in (limits, threads):
        monkeypatch.setattr(module, "monotonic", clock)
    slow("while True: pass\n")
    bench = bench_with(workspace, kind())
    fault = fault_of(bench.refusal(POSITIONS["nested"]), phase="load", plugin="greet", module_path="hotplug")
    assert f"the import of {SHARED}_user" in fault.message
    assert "restart the process" in fault.message
    assert bench.number() == 0
    bench.load(REGISTER)
    bench.loader.unload("greet")
    bench.loader.retire()


@pytest.mark.usefixtures("spared")
def test_a_wait_for_another_threads_import_is_not_interrupted(
    workspace: Workspace, slow: Callable[[str], None], stage: Stage
) -> None:
    """A load that waits because the host imports the same shared module ends after that import."""
    slow("import stage\nstage.wait()\nEND = 1\n")
    bench = bench_with(workspace, WorkerTrials())
    host = threading.Thread(target=importlib.import_module, args=(SHARED,))
    host.start()
    assert stage.entered.wait(PATIENCE)
    error = bench.refusal(POSITIONS["import"])
    assert f"the import of {SHARED}" in str(error)
    host.join()
    assert sys.modules[SHARED].END == 1


WHILE_ON = "\n        while switch.on: pass\n"
SWITCH = "import switch, threading\ndef on():\n    switch.on.append(1)\n"
ENDLESS = {
    "a thread that is compared": (
        f"class T(threading.Thread):\n    def __eq__(self, other):{WHILE_ON}        return self is other\n"
        f"    def __hash__(self):{WHILE_ON}        return 1\n"
        "    def run(self): threading.Event().wait(0.1)\n"
        "def register(ctx):\n    T(daemon=True).start()\n    on()\n"
    ),
    "the text of an error": (
        f"class E(Exception):\n    def __str__(self):{WHILE_ON}\ndef register(ctx):\n    on()\n    raise E\n"
    ),
    "a metaclass": (
        "class M(type):\n    def __getattribute__(self, name): raise KeyboardInterrupt\n"
        "class E(Exception, metaclass=M): pass\ndef register(ctx):\n    raise E\n"
    ),
    "classes that are compared": (
        f"class M(type):\n    def __eq__(self, other):{WHILE_ON}        return self is other\n"
        f"    def __hash__(self):{WHILE_ON}        return 1\n"
        "class K(metaclass=M): pass\nclass E(Exception, metaclass=M): pass\nthings = [K(), E(), K, E]\n"
        "def register(ctx):\n    on()\n"
    ),
    "classes of a failed load that are compared": (
        f"class M(type):\n    def __eq__(self, other):{WHILE_ON}        return self is other\n"
        f"    def __hash__(self):{WHILE_ON}        return 1\n"
        "class K(metaclass=M): pass\nclass E(Exception, metaclass=M): pass\nthings = [K(), E(), K, E]\n"
        "def register(ctx):\n    on()\n    raise E\n"
    ),
    "the text of an error in on_unload": (
        f"class E(Exception):\n    def __str__(self):{WHILE_ON}\n"
        "def unload(): raise E\ndef register(ctx):\n    ctx.on_unload(unload)\n    on()\n"
    ),
    "a finalizer": (
        f"class D:\n    def __del__(self):{WHILE_ON}\nthing = D()\ndef register(ctx):\n    on()\n"
    ),
    "a finalizer of a failed load": (
        f"class D:\n    def __del__(self):{WHILE_ON}\nthing = D()\ndef register(ctx):\n    on()\n    1 / 0\n"
    ),
    "a finalizer of a patch of a failed load": (
        f"import json\nclass D:\n    def __del__(self):{WHILE_ON}\n"
        "def register(ctx):\n    json.odd = D()\n    on()\n    1 / 0\n"
    ),
    "a finalizer in a container of other code, of a failed load": (
        f"class D:\n    def __del__(self):{WHILE_ON}\n"
        "def register(ctx):\n    switch.kept.append(D())\n    on()\n    1 / 0\n"
    ),
    "finders of a failed load that are compared": (
        f"import sys\nclass D:\n    def __eq__(self, other):{WHILE_ON}        return self is other\n"
        "    def find_spec(self, *_): return None\n"
        "def register(ctx):\n    sys.meta_path[:0] = [D(), D()]\n    on()\n    1 / 0\n"
    ),
    "a stream of a failed load": (
        f"import io, json\nclass F(io.StringIO):\n    def close(self):{WHILE_ON}\n"
        "def register(ctx):\n    json.odd = F()\n    on()\n    1 / 0\n"
    ),
    "the attributes of a function for the end": (
        f"class U:\n    def __getattr__(self, name):{WHILE_ON}        raise AttributeError(name)\n"
        "    def __call__(self): pass\n"
        "def register(ctx):\n    ctx.on_unload(U())\n    on()\n"
    ),
}


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Provide the module ``switch``, and end all such code after the test: a collection may run it later."""
    module = ModuleType("switch")
    on: list[int] = []
    vars(module).update(on=on, kept=[])
    monkeypatch.setitem(sys.modules, "switch", module)
    yield module
    on.clear()


@pytest.mark.parametrize("case", ENDLESS)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_step_of_a_plugin_is_without_a_limit(
    workspace: Workspace,
    run: Callable[[Config], Running],
    case: str,
    switch: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever code of a plugin does not end, all plugins reload, and old versions retire."""
    monkeypatch.setattr(faults, "DESCRIPTION", LIMIT)
    workspace["odd"], workspace["greet"] = SWITCH + ENDLESS[case], answering(1)
    running = run(workspace.config(load_timeout=1.0, drain_timeout=LIMIT))
    workspace["odd"], workspace["greet"] = answering(2, "odd"), answering(2)
    running.manager.rebuild()
    assert (running.host.call("greet"), running.host.call("odd")) == ([2], [2])
    retired(running)
    assert switch.kept == []


def test_an_interruption_loses_no_retirement(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """If a plugin's code stops the report of one retired version, the others of the batch are reported."""
    names = ["a", "b", "c"]
    workspace["odd"] = (
        "def spin():\n    while True: pass\ndef register(ctx):\n    ctx.hook('spin', lambda: spin)\n"
    )
    for name in names:
        workspace[name] = answering(1, name)
    running = run(workspace.config(drain_timeout=LIMIT))
    (spin,) = cast("list[Callable[[], None]]", running.host.call("spin"))
    running.manager.subscribe(lambda event: spin() if isinstance(event, PluginRetired) else None)
    for name in names:
        workspace[name] = answering(2, name)
    running.manager.rebuild()
    for name in names:
        retired(running, name)


def test_code_of_a_plugin_that_asks_for_a_step_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the engine may take long in a thread in which a plugin has asked for it."""
    names = ModuleNames(ROOT, "hotplug.greet")
    space: dict[str, object] = {"__name__": names.stable(ROOT)}
    exec("def asks(step):\n    step()\n", space)
    looks: list[bool] = []
    look = limits.interrupt_plugin
    monkeypatch.setattr(limits, "interrupt_plugin", lambda *place: looks.append(look(*place)))
    watch = limits.StallWatch(LIMIT)
    watch.begin()

    def step() -> None:
        with watch.limited():
            until(lambda: looks)

    cast("Callable[[Callable[[], None]], None]", space["asks"])(step)
    watch.end()
    assert looks[0] is False


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_thread_that_threading_does_not_know_is_watched_too(*, is_nested: bool) -> None:
    """Code of a plugin that does not end is also interrupted in a thread that a library in C has started."""
    names = ModuleNames(ROOT, "hotplug.greet")
    space: dict[str, object] = {"__name__": names.stable(ROOT)}
    exec("def spin():\n    while True: pass\n", space)
    watch = limits.StallWatch(LIMIT)
    watch.begin()
    ends: list[str] = []

    @contextmanager
    def nested() -> Iterator[None]:
        with watch.limited(nested=1):
            yield

    def step() -> None:
        try:
            with nested() if is_nested else watch.limited():
                cast("Callable[[], None]", space["spin"])()
        except Interrupted:
            ends.append("interrupted")

    _thread.start_new_thread(step, ())
    until(lambda: ends)
    watch.end()


def test_the_next_retire_thread_is_watched_although_the_one_before_ends_late(bench: Bench) -> None:
    """After a stop that does not wait, and a new start, one thread limits code of plugins."""
    others = watchers()
    gate = threading.Event()
    retiring = RetireThread(bench.loader, StatusStore(Config()))
    retiring.start()
    retiring.then(lambda: void(gate.wait(PATIENCE)))
    (first,) = watchers(others)
    retiring.stop(wait=False)
    retiring.start()
    gate.set()
    first.join(PATIENCE)
    retiring.retire_now()
    (second,) = watchers(others)
    assert second is not first
    retiring.stop()
    second.join(PATIENCE)
    assert watchers(others) == []


def test_of_two_starts_one_thread_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watching thread ends if the next one was made before it has begun to run."""
    made: list[threading.Thread] = []
    monkeypatch.setattr(limits, "start_thread", made.append)
    watch = limits.StallWatch(LIMIT)
    watch.begin()
    watch.begin()
    for thread in made:
        thread.start()
    until(lambda: not made[0].is_alive())
    assert made[1].is_alive()
    watch.end()
    made[1].join(PATIENCE)


def watchers(others: Sequence[threading.Thread] = ()) -> list[threading.Thread]:
    """Return the threads that limit code of plugins, without ``others``."""
    found = [thread for thread in threading.enumerate() if thread.name == "hotload-stall-watch"]
    return [thread for thread in found if thread not in others]


def void(_value: object) -> None:
    """Ignore a value."""


@pytest.mark.parametrize("body", ["sum(range(9999))", "while not is_over(): pass"])
def test_only_code_of_a_plugin_that_does_not_end_is_interrupted(body: str) -> None:
    """A hook of a plugin that runs again and again while the engine works is no code that holds it up."""
    names = ModuleNames(ROOT, "hotplug.greet")
    space: dict[str, object] = {"__name__": names.stable(ROOT)}
    exec(f"def hook(is_over):\n    {body}\n", space)
    hook = cast("Callable[[Callable[[], bool]], None]", space["hook"])
    is_over, has_begun = threading.Event(), threading.Event()

    def work() -> None:
        has_begun.set()
        while not is_over.is_set():
            hook(is_over.is_set)

    call = limits.BoundedCall(work, "engine")
    limits.start(call.thread)
    assert has_begun.wait(PATIENCE)
    is_endless = body.startswith("while")
    assert not limits.interrupt_plugin(call.thread, 0, lambda: True)  # the step has just ended
    assert any(limits.interrupt_plugin(call.thread) for _ in range(5)) is is_endless
    is_over.set()
    call.thread.join(PATIENCE)
    assert (call.error is not None) is is_endless
