import sys
import threading
from pathlib import Path

import pytest

from hotload_tui.core.errors import LoadError, RegisterError, UnknownPluginError
from hotload_tui.core.faults import fault_of
from tests.conftest import Workspace, answering
from tests.core.conftest import Bench


def test_load_unload_and_reload(bench: Bench) -> None:
    """The loader loads, reloads and unloads artifacts, and frees the old generations."""
    bench.load(answering("one"))
    assert (bench.host.call("greet"), bench.loader.names()) == (["one"], ("greet",))
    bench.loader.reload("greet")
    assert (bench.number(), bench.host.call("greet")) == (2, ["one"])
    bench.loader.unload("greet")
    assert (bench.host.call("greet"), bench.loader.names()) == ([], ())
    assert [(gone.generation, gone.memory) for gone in bench.loader.retire()] == [(1, "freed"), (2, "freed")]


def test_unloading_one_hook_point_leaves_the_others(bench: Bench) -> None:
    """Unloading one hook point of a plugin leaves its handlers at the others."""
    bench.load("def register(ctx):\n    ctx.hook('a', lambda: 1)\n    ctx.hook('b', lambda: 2)\n")
    bench.loader.unload("greet", "a")
    assert (bench.host.call("a"), bench.host.call("b")) == ([], [2])


def test_the_hook_point_of_the_call_is_the_default(bench: Bench) -> None:
    """``ctx.hook(handler)`` uses the hook point that was given to ``load``."""
    bench.load("def register(ctx):\n    ctx.hook(lambda: 1)\n", hook_point="given")
    assert bench.host.call("given") == [1]


@pytest.mark.parametrize("verb", ["unload", "reload"])
def test_what_is_not_loaded_cannot_be_unloaded(bench: Bench, verb: str) -> None:
    """Unloading or reloading an unknown plugin is an error that names it."""
    with pytest.raises(UnknownPluginError, match="nobody"):
        getattr(bench.loader, verb)("nobody")


SHAPES = [
    ("async def register(ctx): ...", "is async", 1),
    ("async def register(ctx):\n    yield", "is async", 1),
    ("def register(ctx):\n    yield", "is a generator", 1),
    ("x = 1\ndef register(): ...", "must take one argument", 2),
    ("def register(ctx, other): ...", "must take one argument", 1),
    ("def register(*, ctx): ...", "must take one argument", 1),
    ("register = 1", "is a int, not a function", 1),
    ("register = None", "defines no register", 1),
    ("if 0:\n    def register(ctx): ...", "defines no register", 1),
    ("def register(ctx): ...\ndel register", "defines no register", 1),
    ("print(register) if 0 else None", "defines no register", 1),
    ("class R:\n    async def __call__(self, ctx): ...\nregister = R()", "returned a coroutine", 1),
    ("async def a(ctx): ...\ndef register(ctx):\n    return a(ctx)", "returned a coroutine", 2),
    ("def g(ctx):\n    yield\nregister = lambda ctx: g(ctx)", "returned a coroutine or generator", 3),
    ("class R:\n def __call__(s, c): ...\n @property\n def __signature__(s): raise KeyError\nregister = R()",
     "looking at register raised KeyError", 1),
]  # fmt: skip


@pytest.mark.parametrize(("source", "message", "line"), SHAPES)
def test_a_misshapen_register_is_named_with_its_line(
    bench: Bench, source: str, message: str, line: int
) -> None:
    """A ``register`` that cannot be called with ``ctx`` is refused with its line."""
    error = bench.refusal(source)
    assert isinstance(error, RegisterError)
    assert message in str(error)
    assert (Path(error.file).name, error.line) == ("plugin.py", line)


@pytest.mark.parametrize(
    "source",
    ["def register(ctx): ...", "def register(*args): ...", "def register(ctx, other=1, **more): ...",
     "register = print",
     "class register:\n    def __init__(self, ctx): ...",
     "import functools\nregister = functools.partial(print, 1)",
     "class R:\n    def __call__(self, ctx): ...\nregister = R()", "register = {}.get"],
)  # fmt: skip
def test_every_callable_of_one_argument_is_a_register(bench: Bench, source: str) -> None:
    """Functions, classes, partials, objects and built-ins are accepted as ``register``."""
    bench.load(source)
    assert bench.loader.names() == ("greet",)


KINDS = ["ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "MemoryError",
         "type('Own', (BaseException,), {})", "__import__('asyncio').CancelledError",
         "RecursionError"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phase", ["load", "register"])
def test_whatever_a_load_raises_the_old_generation_stays_live(bench: Bench, kind: str, phase: str) -> None:
    """No exception of a plugin escapes from its load, and a failed load leaves nothing behind."""
    bench.load("def register(ctx):\n    ctx.state['n'] = 1\n    ctx.hook('greet', lambda: ctx.state['n'])\n")
    before = set(sys.modules), threading.active_count(), bench.host.points()
    raising = f"raise {kind}('broken')"
    if phase == "load":
        error = bench.refusal(f"register = 1\nimport part\n{raising}\n")
    else:
        error = bench.refusal(
            "def register(ctx):\n    ctx.hook('other', print)\n    ctx.on_unload(print)\n"
            f"    ctx.state['n'] = 2\n    {raising}\n"
        )
    assert type(error) is (LoadError if phase == "load" else RegisterError)
    fault = fault_of(error, phase="load", plugin="greet", module_path="hotplug")
    assert fault.type == (
        "ModuleNotFoundError"
        if phase == "load"
        else kind.split("'")[1]
        if "'Own'" in kind
        else kind.rpartition(".")[2]
    )
    assert fault.place is not None
    assert fault.place.line == (2 if phase == "load" else 5)
    assert (set(sys.modules), threading.active_count(), bench.host.points()) == before
    assert (bench.host.call("greet"), bench.host.call("other")) == ([1], [])


def test_a_load_that_does_not_end_is_interrupted_at_its_line(workspace: Workspace) -> None:
    """An endless loop in register ends after ``load_timeout``, and the fault shows its line."""
    bench = Bench(workspace, load_timeout=0.2)
    error = bench.refusal("def register(ctx):\n    x = 0\n    while True:\n        x += 1\n")
    assert "load_timeout = 0.2 s and was interrupted" in str(error)
    fault = fault_of(error, phase="load", plugin="greet", module_path="hotplug")
    assert (fault.type, fault.place is not None and fault.place.line in (3, 4)) == ("TimeoutError", True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hotload-load")]


def test_a_load_that_hides_its_interruption_still_shows_where(workspace: Workspace) -> None:
    """A bare ``except`` that replaces the interruption by another error does not hide the line."""
    bench = Bench(workspace, load_timeout=0.2)
    error = bench.refusal(
        "def register(ctx):\n    try:\n        while True: pass\n"
        "    except BaseException:\n        raise ValueError\n"
    )
    fault = fault_of(error, phase="load", plugin="greet", module_path="hotplug")
    assert fault.place is not None
    assert fault.place.line in (3, 5)


def test_a_load_that_cannot_be_interrupted_is_left_behind(workspace: Workspace) -> None:
    """A load that blocks in a lock keeps its thread; the error names the thread, and the host goes on."""
    bench = Bench(workspace, load_timeout=0.1)
    gate = threading.Event()
    sys.modules["gate_of_the_test"] = gate  # type: ignore[assignment]  # found by the plugin's import
    try:
        error = bench.refusal("import gate_of_the_test as gate\ndef register(ctx):\n    gate.wait(20)\n")
        assert "thread 'hotload-load-greet' still runs" in str(error)
        assert bench.host.call("greet") == []
    finally:
        del sys.modules["gate_of_the_test"]
        gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("hotload-load"):
            thread.join()


def test_on_unload_runs_newest_first_each_fenced(bench: Bench) -> None:
    """``on_unload`` functions run in reverse order, and one that raises does not stop the next."""
    done: list[int] = []
    sys.modules["told"] = done  # type: ignore[assignment]  # found by the plugin's import
    try:
        bench.load(
            "import told\ndef register(ctx):\n    ctx.on_unload(lambda: told.append(1))\n"
            "    ctx.on_unload(lambda: 1 / 0)\n    ctx.on_unload(lambda: told.append(2))\n"
        )
        bench.loader.unload("greet")
        gone = bench.loader.retire()
    finally:
        del sys.modules["told"]
    assert done == [2, 1]
    assert [(fault.phase, fault.type) for fault in gone[0].faults] == [("unload", "ZeroDivisionError")]
    assert gone[0].memory == "freed"


def test_several_trials_are_swapped_in_one_assignment(bench: Bench) -> None:
    """Two plugins that are swapped together become live in one assignment."""
    artifacts = {name: bench.artifact(answering(name), name) for name in "ab"}
    trials = [bench.loader.trial(name, artifact) for name, artifact in artifacts.items()]
    assert (bench.host.call("greet"), bench.host.swaps) == ([], 0)
    bench.loader.swap(trials)
    assert (bench.host.call("greet"), bench.host.swaps) == (["a", "b"], 1)


def test_a_kept_context_is_sealed(bench: Bench) -> None:
    """After the load, ``ctx.hook`` is refused with a fault."""
    bench.load("def register(ctx):\n    ctx.hook('late', lambda: ctx.hook('more', print))\n")
    assert bench.host.call("late") == []
    assert bench.host.points()[0].handlers[0].faults == 1


def test_loads_see_no_context_of_the_host(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's load does not see the hook table of the call that is in flight."""
    nested: list[object] = []
    monkeypatch.setitem(sys.modules, "told", (bench.host.call, nested))
    bench.load(
        "import told\ndef register(ctx):\n    call, nested = told\n    nested.append(call('greet'))\n"
        "    ctx.hook('greet', lambda: 1)\n"
    )
    assert nested == [[]]
