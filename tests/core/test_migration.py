import sys

import pytest

from hotload_tui.core.errors import LoadError
from hotload_tui.core.faults import fault_of
from tests.core.conftest import Bench

WITH_COUNT = (
    "def register(ctx):\n    ctx.state.setdefault('n', 1)\n    ctx.hook('show', lambda: dict(ctx.state))\n"
)
MIGRATES = (
    "STATE_VERSION = {}\n"
    "def migrate_state(state, from_version):\n"
    "    state['path'] = (*state.get('path', ()), from_version)\n" + WITH_COUNT
)


def shown(bench: Bench) -> object:
    """Return the state as the live generation sees it."""
    return bench.host.first("show")


def test_a_changed_version_migrates_up_and_down(bench: Bench) -> None:
    """A missing STATE_VERSION is version 0, and each change calls migrate_state with the previous version."""
    bench.load(WITH_COUNT)
    bench.load(MIGRATES.format(2))
    assert shown(bench) == {"n": 1, "path": (0,)}
    bench.load(MIGRATES.format(2) + "\n# the same version\n")
    bench.load(MIGRATES.format(1))
    assert shown(bench) == {"n": 1, "path": (0, 2)}
    bench.load(MIGRATES.format(0))
    assert shown(bench) == {"n": 1, "path": (0, 2, 1)}


def test_register_sees_the_migrated_state(bench: Bench) -> None:
    """The migration runs before ``register``, which sees its result."""
    bench.load(WITH_COUNT)
    bench.load(
        "STATE_VERSION = 1\ndef migrate_state(state, _):\n    state['total'] = state.pop('n') + 10\n"
        "def register(ctx):\n    ctx.state['total'] += 100\n    ctx.hook('show', lambda: dict(ctx.state))\n"
    )
    assert shown(bench) == {"total": 111}


def test_where_no_state_was_left_nothing_is_migrated(bench: Bench) -> None:
    """Without stored state, a version needs no migrate_state."""
    bench.load("STATE_VERSION = 3\ndef register(ctx): ...\n")
    bench.load("STATE_VERSION = 4\n" + WITH_COUNT)
    assert shown(bench) == {"n": 1}
    bench.load(MIGRATES.format(5))
    assert shown(bench) == {"n": 1, "path": (4,)}


def test_the_version_is_kept_while_the_plugin_is_unloaded(bench: Bench) -> None:
    """A plugin that is unloaded and loaded again in a newer version migrates its old state."""
    bench.load(MIGRATES.format(1))
    bench.loader.unload("greet")
    bench.load(MIGRATES.format(2))
    assert shown(bench) == {"n": 1, "path": (1,)}


RAISING = ["raise ValueError", "raise SystemExit", "raise KeyboardInterrupt", "raise GeneratorExit",
           "migrate_state(state, from_version)", "bytearray(1 << 62)"]  # fmt: skip


@pytest.mark.parametrize("line", RAISING)
def test_a_migration_that_raises_aborts_the_load(bench: Bench, line: str) -> None:
    """A failed migration leaves the state and its version, and the fault names the line and the versions."""
    bench.load(MIGRATES.format(1))
    error = bench.refusal(
        "STATE_VERSION = 2\ndef migrate_state(state, from_version):\n"
        f"    state.clear()\n    state['half'] = 1\n    {line}\ndef register(ctx): ...\n"
    )
    assert (type(error), shown(bench)) == (LoadError, {"n": 1})
    fault = fault_of(error, phase="load", plugin="greet", module_path="hotplug")
    assert fault.place is not None
    assert fault.place.function == "migrate_state"
    assert "migrate_state was to bring the state of version 1 to STATE_VERSION 2" in fault.notes
    bench.load(MIGRATES.format(2))
    assert shown(bench) == {"n": 1, "path": (1,)}


MISTAKES = [
    ("STATE_VERSION = 2\n", "version 0 to STATE_VERSION 2; add: def migrate_state(state, from_version)", 1),
    ("STATE_VERSION = 2\nmigrate_state = 3\n", "add: def migrate_state", 1),
    ("STATE_VERSION = '2'\n", "STATE_VERSION must be a whole number, not a str", 1),
    ("STATE_VERSION = True\n", "STATE_VERSION must be a whole number, not a bool", 1),
    ("STATE_VERSION = 2\nasync def migrate_state(state, from_version): ...\n", "nobody would run", 2),
    ("STATE_VERSION = 2\n\ndef migrate_state(state, from_version):\n    yield\n", "nobody would run", 3),
    ("STATE_VERSION = 2\ndef migrate_state(state, _):\n    return {'n': 2}\n", "change state in place", 2),
]  # fmt: skip


@pytest.mark.parametrize(("source", "message", "line"), MISTAKES)
def test_what_cannot_migrate_is_named(bench: Bench, source: str, message: str, line: int) -> None:
    """A version that cannot migrate existing state is refused with an error that names the fix."""
    bench.load(WITH_COUNT)
    error = bench.refusal(source + "def register(ctx): ...\n")
    assert message in str(error)
    assert (error.line, shown(bench)) == (line, {"n": 1})


def test_a_migration_may_return_the_state_that_it_changed(bench: Bench) -> None:
    """A migration may return the same state that it changed."""
    bench.load(WITH_COUNT)
    bench.load(MIGRATES.format(1).replace(", from_version)\n", ", from_version)\n    return state\n"))
    assert shown(bench) == {"n": 1, "path": (0,)}


def test_a_load_that_fails_after_its_migration_leaves_the_state(bench: Bench) -> None:
    """If the load fails after the migration, the migrated state is discarded."""
    bench.load(WITH_COUNT)
    bench.refusal(MIGRATES.format(1) + "    1 / 0\n")
    assert shown(bench) == {"n": 1}
    bench.load(MIGRATES.format(1))
    assert shown(bench) == {"n": 1, "path": (0,)}


def test_values_that_can_neither_be_copied_nor_compared_survive(bench: Bench) -> None:
    """State values are passed on as they are, without calling any of their methods."""
    bench.load(
        "class Wild:\n    def no(self, *_): raise SystemExit\n"
        "    __eq__ = __ne__ = __hash__ = __copy__ = __deepcopy__ = __reduce_ex__ = __bool__ = no\n"
        "def register(ctx):\n    ctx.state.setdefault('wild', Wild())\n"
        "    ctx.hook('id', lambda: id(ctx.state['wild']))\n"
    )
    before = bench.host.first("id")
    bench.loader.reload("greet")
    bench.refusal("def register(ctx):\n    del ctx.state['wild']\n    1 / 0\n")
    assert bench.host.first("id") == before
    assert before is not None


def test_keys_are_strings_and_keep_no_generation(bench: Bench) -> None:
    """A key of the plugin's own StrEnum is stored as a plain string; other keys are refused."""
    bench.load(
        "import enum\nclass Key(enum.StrEnum):\n    N = 'n'\n"
        "def register(ctx):\n    ctx.state[Key.N] = 1\n    ctx.hook('show', lambda: dict(ctx.state))\n"
        "    ctx.hook('own', lambda: ctx.state[Key.N])\n"
    )
    assert (shown(bench), bench.host.call("own")) == ({"n": 1}, [1])
    bench.load(WITH_COUNT)
    assert [gone.memory for gone in bench.loader.retire()] == ["freed"]
    fault = fault_of(
        bench.refusal("def register(ctx):\n    ctx.state[1] = 2\n"),
        phase="register",
        plugin="greet",
        module_path="",
    )
    assert fault.message == "a key of ctx.state is a string, not a int"


def test_what_a_thread_writes_during_the_swap_arrives(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of a thread that ``register`` started are not lost during the swap."""
    done: list[int] = []
    monkeypatch.setitem(sys.modules, "done_of_the_test", done)
    bench.load(
        "import threading, done_of_the_test as done\n"
        "def register(ctx):\n    def write():\n        for n in range(20_000): ctx.state[str(n)] = n\n"
        "        done.append(1)\n    thread = threading.Thread(target=write)\n    thread.start()\n"
        "    ctx.hook('show', lambda: (thread.join(), len(ctx.state))[1])\n"
    )
    assert (shown(bench), done) == (20_000, [1])
