"""The steps of a reload that free the previous version."""

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import cast

import pytest

from hotload_tui import Config
from hotload_tui.core import holders, leak_path, leaks
from hotload_tui.core.events import PluginLoaded, PluginRetired
from hotload_tui.core.manager import update
from hotload_tui.core.manager.decide import in_order
from hotload_tui.core.runtime import retirement
from tests.conftest import Running, Workspace
from tests.core.conftest import Bench

GIVES = "def give():\n    return give\n\n\ndef register(ctx):\n    ctx.hook('give', give)\n"


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the sleeps of the retire thread, in seconds; a search for holders begins with one."""
    seconds: list[float] = []
    sleep = time.sleep

    def nap(duration: float) -> None:
        if threading.current_thread().name == "hotload-retire":
            seconds.append(duration)
        sleep(duration)

    for module in (retirement, leak_path):
        monkeypatch.setattr(module, "sleep", nap)
    return seconds


def rebuild(running: Running) -> str:
    """Rebuild the plugin ``greet``, wait until the previous version retires, and return its verdict."""
    count = len(running.told(PluginRetired))
    running.manager.rebuild("greet")
    running.wait_for(lambda: len(running.told(PluginRetired)) > count)
    return running.told(PluginRetired)[-1].memory


def test_a_clean_plugin_is_freed_at_once(
    workspace: Workspace, run: Callable[[Config], Running], naps: list[float]
) -> None:
    """Thirty versions are freed without a search for holders."""
    workspace["greet"] = GIVES
    running = run(workspace.config())
    assert {rebuild(running) for _ in range(30)} == {"freed"}
    assert naps == []


def test_a_failed_load_needs_no_collection_of_old_objects(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed load whose error is still being reported is freed without a look at the whole program."""
    collected: list[int] = []

    def note(phase: str, facts: dict[str, int]) -> None:
        if phase == "start":
            collected.append(facts["generation"])

    gc.disable()  # an automatic collection would make the error old
    try:
        errors = [bench.refusal("def register(ctx):\n    raise ValueError\n")]
        monkeypatch.setattr(retirement, "sleep", lambda _: errors.clear())
        gc.callbacks.append(note)
        bench.loader.retire()
    finally:
        gc.callbacks.remove(note)
        gc.enable()
    assert (max(collected), errors) == (1, [])


def test_a_logger_of_a_module_needs_no_search_for_classes(
    workspace: Workspace, run: Callable[[Config], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logger outlives its version and keeps the name of the module, as a class would."""
    searched: list[str] = []

    def classes_of(root: str) -> list[type]:
        searched.append(root)
        return []

    monkeypatch.setattr(leaks, "classes_of", classes_of)
    workspace["greet"] = f"import logging\nLOG = logging.getLogger(__name__)\n{GIVES}"
    running = run(workspace.config())
    assert [rebuild(running) for _ in range(3)] == ["freed"] * 3
    assert searched == []


def test_a_holder_that_is_garbage_itself_needs_no_search(
    workspace: Workspace, run: Callable[[Config], Running], naps: list[float]
) -> None:
    """An old object that only a young garbage cycle holds is freed with the cycle, without a search."""
    workspace["greet"] = GIVES
    running = run(workspace.config())
    kept = running.host.call("give")
    gc.collect()
    gc.disable()  # otherwise the cycle could be freed before the reload
    try:
        cycle: list[object] = [kept]
        cycle.append(cycle)
        del kept, cycle
        assert rebuild(running) == "freed"
    finally:
        gc.enable()
    assert naps == []


LARGE = """
class Node:
    def __init__(self, n):
        self.n, self.near = n, []


NODES = [Node(n) for n in range(1000)]
NUMBERS = [1] * 200_000
near = NODES[0].near
for node in NODES:
    near.append(node)


def register(ctx):
    ctx.hook("one", lambda: NODES[7])
    ctx.hook("many", lambda: [*NODES])
"""


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the number of objects of each search; a version with more than 500 objects counts as large."""
    made: list[int] = []
    grow = leak_path._ReferenceGraph.grow  # noqa: SLF001 - the work is counted where it is done

    def count(graph: leak_path._ReferenceGraph) -> None:
        grow(graph)
        made.append(len(graph.members))

    monkeypatch.setattr(leak_path._ReferenceGraph, "grow", count)  # noqa: SLF001
    monkeypatch.setattr(holders, "SECONDS", 60)
    monkeypatch.setattr(leaks, "_LARGE", 500)
    monkeypatch.setattr(leak_path, "_TURN", 200)
    return made


def test_a_large_version_is_searched_once_and_lets_other_threads_run(
    workspace: Workspace, run: Callable[[Config], Running], naps: list[float], searches: list[int]
) -> None:
    """A large version that is freed costs one search, which gives the lock away between its slices."""
    workspace["greet"] = LARGE
    running = run(workspace.config())
    assert rebuild(running) == "freed"
    (members,) = [count for count in searches if count > 500]
    assert 2000 < members < 10_000
    assert {*naps} == {0}
    assert len(naps) > 5


def test_the_open_artifact_of_a_large_plugin_is_no_open_file_of_it(
    workspace: Workspace, run: Callable[[Config], Running], searches: list[int]
) -> None:
    """A plugin with a megabyte of files is searched once, and its retirement reports no file."""
    workspace["greet"] = LARGE
    workspace["greet/words.txt"] = "word " * 400_000
    running = run(workspace.config())
    searches.clear()
    assert rebuild(running) == "freed"
    assert running.told(PluginRetired)[0].ledger == ()
    assert len([count for count in searches if count > 500]) == 1


IN_A_CIRCLE = """
import concurrent.futures, types

POOL = concurrent.futures.ThreadPoolExecutor()
CIRCLE = types.SimpleNamespace(node=NODES[0])
CIRCLE.circle = CIRCLE
"""


def test_a_large_version_that_only_the_collector_frees_is_searched_once(
    workspace: Workspace, run: Callable[[Config], Running], searches: list[int]
) -> None:
    """A circle of other objects looks like a holder; as long as nothing changes, nobody searches again."""
    workspace["greet"] = LARGE.replace("def register", IN_A_CIRCLE + "\n\ndef register")
    running = run(workspace.config())
    searches.clear()
    assert rebuild(running) == "freed"
    # For open resources, for what holds them (in two steps), and for times with a time zone of the plugin.
    assert len([count for count in searches if count > 500]) <= 4


@pytest.mark.parametrize(("point", "place"), [("one", "[0]"), ("many", "[0][")])
def test_a_large_version_that_is_held_is_searched_few_times_and_named(
    workspace: Workspace, run: Callable[[Config], Running], searches: list[int], point: str, place: str
) -> None:
    """The host keeps old objects: a few searches in all, also while a console asks again and again."""
    workspace["greet"] = LARGE
    running = run(workspace.config())
    host_keeps = running.host.call(point)
    assert f"Node, held by local 'host_keeps'{place}" in rebuild(running)
    del host_keeps
    for _ in range(5):
        running.manager.snapshot()
        running.manager._engine.retire_thread.retire_now()  # noqa: SLF001 - waits for the check
    assert len([count for count in searches if count > 500]) <= 5


@pytest.mark.parametrize("point", ["one", "many"])
def test_a_large_version_is_freed_as_soon_as_its_holder_lets_go(
    workspace: Workspace,
    run: Callable[[Config], Running],
    searches: list[int],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """The release of the last object shows without a search: nothing waits for the next search."""
    monkeypatch.setattr(leaks, "_REST", 1_000_000)
    workspace["greet"] = LARGE
    running = run(workspace.config())
    host_keeps = running.host.call(point)
    assert "held by local 'host_keeps'" in rebuild(running)
    searches.clear()
    for _ in range(5):
        running.manager._engine.retire_thread.retire_now()  # noqa: SLF001 - waits for the check
    assert searches == []
    del host_keeps
    assert running.wait_for(lambda: "generation 1 is freed now" in running.said())
    assert len(searches) <= 3


def test_a_large_version_is_not_searched_again_for_each_early_release(
    workspace: Workspace,
    run: Callable[[Config], Running],
    searches: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that gives one old object away for another one causes one search before the pause is over."""
    monkeypatch.setattr(leaks, "_REST", 1_000_000)
    workspace["greet"] = LARGE
    running = run(workspace.config())
    one, other = map(weakref.ref, cast("list[list[object]]", running.host.call("many"))[0][:2])
    host_keeps = one()
    assert "held by local 'host_keeps'" in rebuild(running)
    searches.clear()
    for node in (other, one) * 5:
        host_keeps = node()
        running.manager._engine.retire_thread.retire_now()  # noqa: SLF001 - waits for the check
    assert len(searches) <= 2  # a search looks for the objects, and for functions without a name
    assert host_keeps is one()
    assert running.status("greet").memory.startswith("alive: ")


class Node:
    """A node of a tree, which knows its parent."""

    def __init__(self, parent: object, thing: object = None) -> None:
        self.parent, self.thing, self.children = parent, thing, list[Node]()


def test_a_tree_of_a_thousand_nodes_makes_no_long_search(
    workspace: Workspace, run: Callable[[Config], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the nodes that refer to their parent, the search for the holder follows a few, and names it."""
    visits: list[int] = []
    referrers = gc.get_referrers

    def count(*things: object) -> list[object]:
        visits.append(len(things))
        return referrers(*things)

    workspace["greet"] = GIVES
    running = run(workspace.config())
    tree = Node(None)
    tree.children = [Node(tree) for _ in range(1000)]
    tree.children[500].thing = running.host.call("give")[0]
    register = {"tree": tree}
    del tree
    monkeypatch.setattr(gc, "get_referrers", count)  # each call visits all objects of the process
    assert "greet.plugin.give, held by local 'register'['tree'].children[500].thing" in rebuild(running)
    assert len(visits) < 25  # it was 31 before some holders of one shape stood for all
    assert register


@pytest.mark.own_process  # threads of other tests leave garbage at any time
def test_ordering_by_requirement_leaves_nothing_for_the_collector() -> None:
    """``in_order`` leaves no garbage that would keep plugins alive until the next collection."""
    while gc.collect():  # what a finalizer leaves is found by the next one
        pass
    assert in_order(["a", "b", "c"], {"a": ["c"], "b": [], "c": ["b"]}.__getitem__) == ["b", "c", "a"]
    assert gc.collect() == 0


def test_the_end_of_a_version_is_reported_after_what_replaced_it(
    workspace: Workspace, run: Callable[[Config], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version's event comes before the old one's retirement, even if a retirement is under way."""
    stage = ModuleType("stage")
    monkeypatch.setitem(sys.modules, "stage", stage)
    stage.release = release = threading.Event()  # type: ignore[attr-defined]
    workspace["greet"] = f"import stage\n{GIVES}    ctx.on_unload(lambda: stage.release.wait())\n"
    workspace["other"] = GIVES
    running = run(workspace.config(drain_timeout=30.0))
    workspace["greet"] = GIVES
    running.manager.rebuild("greet")  # the first version waits to be unloaded
    running.manager.disable("other")
    sleep = time.sleep

    def retire_meanwhile(duration: float) -> None:
        if duration == 0 and threading.current_thread() is threading.main_thread():
            release.set()
            retired = threading.Event()
            undo = running.manager.subscribe(lambda event: retired.set() if is_end(event) else None)
            retired.wait(0.2)  # times out if the retirement waits as it should
            undo()
        sleep(duration)

    def is_end(event: object) -> bool:
        return isinstance(event, PluginRetired) and (event.name, event.generation) == ("greet", 2)

    monkeypatch.setattr(update, "sleep", retire_meanwhile)
    running.manager.rebuild("greet")
    running.wait_for(lambda: any(map(is_end, running.events)))
    order = [
        (type(event), event.generation)
        for event in running.events
        if isinstance(event, PluginLoaded | PluginRetired) and event.name == "greet"
    ]
    assert order.index((PluginLoaded, 3)) < order.index((PluginRetired, 2))
    assert running.status("greet").memory == "freed"


UNKNOWN = "; what holds it is not known: the search failed (MemoryError: no room) (generation 1)"


@pytest.mark.parametrize(
    ("search", "verdict"),
    [("members", UNKNOWN), ("held_objects", UNKNOWN), ("held_from_outside", "held by local 'kept'")],
)
def test_a_search_that_fails_does_not_stop_later_retirements(  # noqa: PLR0917 - a row of the table
    workspace: Workspace,
    run: Callable[[Config], Running],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    search: str,
    verdict: str,
) -> None:
    """A version whose holders cannot be found is reported with the reason, once; other versions retire."""
    original: Callable[[*tuple[object, ...]], object] = getattr(leaks, search)

    def failing(*args: object) -> object:
        if ".greet." in str(args[1]):
            raise MemoryError("no room")
        return original(*args)

    monkeypatch.setattr(leaks, search, failing)
    workspace["greet"] = GIVES
    workspace["other"] = GIVES
    running = run(workspace.config())
    kept = running.host.call("give")
    rebuild(running)
    running.manager._engine.retire_thread.retire_now()  # noqa: SLF001 - waits for the check
    assert verdict in running.status("greet").memory
    del kept
    gc.collect()
    running.manager.rebuild("other")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "other")))
    running.manager._engine.retire_thread.retire_now()  # noqa: SLF001 - waits for the check
    assert running.wait_for(lambda: running.status("greet").memory == "freed")
    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.getMessage() == "greet: the search for what holds generation 1 failed"
