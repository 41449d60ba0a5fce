"""What a version leaves in the containers of the host and of libraries: named, or removed."""

import collections
import functools
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import cast

import pytest

from hotload_tui import Config
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import retired, seen
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]

HEAD = """\
import collections, enum, functools
import host_of_the_test as host

class C:
    def method(self):
        return 1

class Key:
    pass

def handler():
    return 1

"""


class Registry:
    """An object of the host that plugins register with."""

    def __init__(self) -> None:
        self.callbacks: list[object] = []
        self.by_name: dict[str, object] = {}
        self.current: object = None

    def register(self, kind: type) -> type:
        """Register a class by its name."""
        self.by_name[kind.__name__] = kind
        return kind

    def use(self, handler: object) -> None:
        """Make a function the current one."""
        self.current = handler


class Route:
    """A record that the host makes for a handler."""

    def __init__(self, path: str, endpoint: object) -> None:
        self.path = path
        self.endpoint = endpoint

    def show(self) -> str:
        """Return the path."""
        return self.path


class Slotted:
    """An object of the host without a namespace."""

    __slots__ = ("handler",)

    def __init__(self) -> None:
        self.handler: object = None


class Base:
    """A class of the host that registers its subclasses."""

    kinds: list[type] = []  # noqa: RUF012 - the registry of this test
    by_name: dict[str, type] = {}  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        Base.kinds.append(cls)
        Base.by_name[cls.__name__] = cls


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield a module of the host with containers of every kind."""
    module = ModuleType("host_of_the_test")
    registry = Registry()
    vars(module).update(
        tools=["kept"], cache={"kept": 1}, kept={"kept"}, queue=collections.deque(["kept"]),
        default=collections.defaultdict(list, kept=[1]), ordered=collections.OrderedDict(kept=1),
        deep={"a": [{"b": ["kept"]}]}, registry=registry, slotted=Slotted(), Base=Base,
        routes=[Route("/", 1)], weak=weakref.WeakSet(), by_key=weakref.WeakKeyDictionary(),
        by_value=weakref.WeakValueDictionary(),
        Route=Route, frozen=None, wrap=wrap, wrapped=[],
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "host_of_the_test", module)
    yield module
    Base.kinds.clear()
    Base.by_name.clear()
    vars(module).clear()


def wrap(function: Callable[[], object]) -> Callable[[], object]:
    """Return a function that calls ``function``."""
    return lambda: [function()]


def state(host: ModuleType) -> dict[str, object]:
    """Return what the host can reach."""
    registry: Registry = host.registry
    return {
        "tools": [*host.tools], "cache": {**host.cache}, "kept": {*host.kept}, "queue": [*host.queue],
        "default": repr({**host.default}), "ordered": [*host.ordered],
        "deep": repr(host.deep), "callbacks": [*registry.callbacks], "by_name": {**registry.by_name},
        "current": registry.current, "handler": host.slotted.handler, "kinds": [*Base.kinds],
        "bases": {**Base.by_name}, "routes": [(route.path, route.endpoint) for route in host.routes],
        "weak": len(host.weak), "by_key": len(host.by_key), "by_value": len(host.by_value),
        "extra": vars(registry).get("extra"),
    }  # fmt: skip


# What a plugin does while it loads, or in a hook.
LEAVES = {
    "function in a list": "host.tools.append(handler)",
    "twice in a list": "host.tools += [handler, handler]",
    "lambda in a list": "host.tools.append(lambda: 1)",
    "pair in a list": "host.tools.append((10, handler))",
    "pair with the host's object in a list": "host.tools.append((host, handler))",
    "pair with a dictionary": "host.cache['m'] = handler, {}",
    "function in a dictionary": "host.cache['m'] = handler",
    "key of a dictionary": "host.cache[Key] = 1",
    "class in a dictionary": "host.registry.register(C)",
    "set": "host.kept.add(handler)",
    "deque": "host.queue.appendleft(handler)",
    "defaultdict": "host.default['x'] = handler",
    "list in a defaultdict": "host.default['kept'].append(handler)",
    "OrderedDict": "host.ordered['x'] = handler",
    "record that is a dictionary": "host.tools.append({'path': '/x', 'view': handler})",
    "record by its name": "host.cache['m'] = {'path': '/x', 'order': 5, 'view': handler}",
    "record that is a list": "host.tools.append(['/x', handler])",
    "dictionary of one": "host.tools.append({'view': handler})",
    "nested": "host.deep['a'][0]['b'].append(handler)",
    "list of an object": "host.registry.callbacks.append(handler)",
    "attribute of an object": "host.registry.current = handler",
    "attribute set by a method": "host.registry.use(handler)",
    "slot": "host.slotted.handler = handler",
    "bound method": "host.tools.append(C().method)",
    "object": "host.tools.append(C())",
    "partial": "host.tools.append(functools.partial(handler))",
    "cached function": "host.tools.append(functools.cache(handler))",
    "decorated function": "globals().update(handler=functools.cache(handler)); host.cache['m'] = handler",
    "cached method": "C.cached = functools.lru_cache(C.method); host.tools.append(C().cached)",
    "class made in a function": "host.tools.append(type('Local', (), {}))",
    "class without a collected namespace": "host.tools.append(type('Slim', (), {'__slots__': ()}))",
    "namedtuple": "host.cache['p'] = collections.namedtuple('Point', 'x y')",
    "object of a namedtuple": "host.tools.append(collections.namedtuple('Point', 'x y')(1, 2))",
    "enumeration": "host.registry.register(enum.Enum('Color', 'RED'))",
    "subclass": "globals().update(Sub=type('Sub', (host.Base,), {'__module__': __name__, 'f': handler}))",
    "record": "host.routes.append(host.Route('/x', handler))",
    "WeakSet": "host.weak.add(C); host.tools.append(C)",
    "WeakKeyDictionary": "host.by_key[C] = C",
    "WeakValueDictionary": "host.by_value['x'] = C; host.tools.append(C)",
}


def leaving(line: str, *, late: bool = False, fails: bool = False) -> str:
    """Return a plugin that runs ``line`` in ``register``, or in a hook."""
    if late:
        return f"{HEAD}def act():\n    {line}\n\ndef register(ctx):\n    ctx.hook('greet', act)\n"
    end = "raise ValueError" if fails else "ctx.hook('greet', lambda: 1)"
    return f"{HEAD}def register(ctx):\n    {line}\n    {end}\n"


@pytest.mark.parametrize("kind", seen(LEAVES, "subclass"))
def test_a_load_that_fails_leaves_nothing_that_the_host_can_reach(
    workspace: Workspace, run: Run, host: ModuleType, kind: str
) -> None:
    """After failed loads, the containers of the host have their old items by the time the command returns."""
    before = state(host)
    workspace["greet"] = leaving(LEAVES[kind], fails=True)
    running = run(workspace.config())
    assert running.fault("greet").type == "ValueError"
    left = [note for note in running.fault("greet").notes if "left behind" in note]
    assert all(", now None (" in note for note in left)  # an attribute: its earlier value is not known
    assert bool(left) == (kind in ("attribute of an object", "attribute set by a method", "slot"))
    if kind.startswith("Weak"):
        assert running.wait_for(lambda: state(host) == before)
    assert state(host) == before
    workspace["greet"] = leaving(LEAVES[kind], fails=True) + "# again\n"
    running.manager.scan_and_load_all()
    running.manager.stop()
    assert state(host) == before


MANY = """
import host_of_the_test as host

@host.show.register
def _(value: int):
    return "{version} of int"

@host.show.register
def _(value: str):
    return "v1 of str"

def register(ctx):
{more}
"""


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_functions_of_the_same_name_keep_their_places_after_a_failed_save(
    workspace: Workspace, run: Run, host: ModuleType, version: str
) -> None:
    """Of several functions ``_``, a failed save gives each entry the right one back, edited or not."""
    host.__dict__["show"] = show = functools.singledispatch(repr)
    workspace["greet"] = MANY.format(version="v1", more="    pass")
    running = run(workspace.config())
    for _ in range(2):
        workspace["greet"] = "\n" + MANY.format(version=version, more="    1 / 0")
        running.manager.rebuild("greet", force=True)
        assert running.fault("greet").notes == ()
        assert (show(1), show("")) == ("v1 of int", "v1 of str")


def test_an_entry_that_cannot_be_restored_is_named(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """If it is not known which of several functions an entry had, it is removed, and the fault says so."""
    host.__dict__["show"] = show = functools.singledispatch(repr)
    workspace["greet"] = MANY.format(version="v1", more="    pass")
    running = run(workspace.config())
    workspace["greet"] = MANY.format(version="v2", more="    1 / 0") + "\ndef _(): ...\n"
    running.manager.scan_and_load_all()
    (note,) = running.fault("greet").notes
    assert "greet.plugin._ in " in note
    assert "the live version's is lost until its next load" in note
    assert (show(1), show("")) == ("1", "v1 of str")


def test_a_decorated_function_that_cannot_be_restored_is_named(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """A wrapper has no name in its module: the entry that a failed save replaced is lost, and named."""
    source = (
        "import host_of_the_test as host\n"
        "def on(name):\n"
        "    def decorate(function):\n"
        "        def wrapper(): return function()\n"
        "        host.cache[name] = wrapper\n"
        "        return wrapper\n"
        "    return decorate\n"
        "@on('saved')\n"
        "def saved(): return 1\n"
    )
    workspace["greet"] = source + "def register(ctx): ..."
    running = run(workspace.config())
    workspace["greet"] = source + "def register(ctx): 1 / 0"
    running.manager.scan_and_load_all()
    (note,) = running.fault("greet").notes
    assert "in host_of_the_test.cache['saved'], the live version's is lost until its next load" in note
    assert host.cache == {"kept": 1}


@pytest.mark.parametrize(
    "thing",
    [
        "C()",
        "C().method",
        "functools.cache(handler)",
        "type('Local', (), {'f': handler})",
        "type('Local', (), {})",
        "collections.namedtuple('Point', 'x y')",
        "enum.Enum('Color', 'RED')",
    ],
)
def test_an_object_that_cannot_be_restored_is_named(
    workspace: Workspace, run: Run, host: ModuleType, thing: str
) -> None:
    """A thing that a failed save replaced in a dictionary has no name in its module: the fault says so."""
    line = f"host.cache['it'] = {thing}"
    workspace["greet"] = leaving(line)
    running = run(workspace.config())
    workspace["greet"] = leaving(line, fails=True)
    running.manager.scan_and_load_all()
    assert host.cache == {"kept": 1}
    notes = [note for note in running.fault("greet").notes if "in host_of_the_test.cache['it']" in note]
    assert len(notes) == 1
    assert "the live version's is lost until its next load" in notes[0]


# A weak entry goes with its object; nothing shows which entry it replaced. That of a class without a name in
# its module is lost, and named.
UNKNOWN = {"WeakValueDictionary", "namedtuple", "enumeration"}


@pytest.mark.parametrize("kind", seen((kind for kind in LEAVES if kind not in UNKNOWN), "subclass"))
def test_a_failed_save_leaves_the_entries_of_the_live_version(
    workspace: Workspace, run: Run, host: ModuleType, kind: str
) -> None:
    """A failed save neither adds to the live version's entries nor takes their place."""
    workspace["greet"] = leaving(LEAVES[kind])
    running = run(workspace.config())
    during = state(host)
    for number in range(2):
        workspace["greet"] = leaving(LEAVES[kind], fails=True) + f"# {number}\n"
        running.manager.scan_and_load_all()
        assert running.status("greet").state == "STALE"
    assert running.status("greet").generation == 1
    running.manager.stop(unload=False)
    if kind.startswith("Weak"):
        assert running.wait_for(lambda: state(host) == during)
    assert state(host) == during


@pytest.mark.usefixtures("host")
def test_what_a_failed_load_cannot_take_back_is_in_its_fault(workspace: Workspace, run: Run) -> None:
    """The fault names every reference that stays, with the place in the host and in the plugin."""
    lines = "host.registry.pair = host, handler; host.wrapped.append(host.wrap(C().method))"
    workspace["greet"] = leaving(lines, fails=True)
    notes = run(workspace.config()).fault("greet").notes
    tools, wrapped = [note for note in notes if note.startswith("left behind: reference greet.plugin.")]
    assert tools.endswith(
        "handler in host_of_the_test.registry.pair[1] (plugin.py:11), now at a tuple cannot be changed"
    )
    assert wrapped.endswith(
        "C.method in host_of_the_test.wrapped[0] → closure (plugin.py:5), now at a cell cannot be changed"
    )


def test_hotload_keeps_nothing_that_it_read_of_a_failed_load(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """What hotload read for the undo is gone by the time it looks for what is left behind."""
    workspace["greet"] = (
        "import atexit, codecs, gc\nimport host_of_the_test as host\ndef find(name): return None\n"
        "def held():\n    tables = [each for each in gc.get_referrers(find) if type(each) is dict]\n"
        "    host.found = [each for each in tables if each is not globals()]\n"
        "def register(ctx):\n    codecs.register(find)\n    atexit.register(held)\n    raise ValueError\n"
    )
    run(workspace.config())
    assert host.found == []


HIDES = "class Hides(dict):\n    def copy(self): return {}\n    def items(self): return []\n"
KEEPS = "class Keeps(dict):\n    def __delitem__(self, key): pass\n"


def test_containers_that_behave_otherwise(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """An entry is removed from a dictionary that hides it, and named if the class keeps it."""
    exec(HIDES + KEEPS, vars(host))
    vars(host).update(hides=host.Hides(), keeps=host.Keeps())
    workspace["greet"] = leaving("host.hides['x'] = host.keeps['x'] = handler", fails=True)
    (note,) = run(workspace.config()).fault("greet").notes
    assert "left behind: reference greet.plugin.handler in host_of_the_test.keeps" in note
    assert "its class keeps the entry" in note
    assert not dict.values(host.hides)


def test_the_tables_of_the_standard_library_stay_whole(
    workspace: Workspace, run: Run, host: ModuleType
) -> None:
    """A failed load's thread stays in the table of threads, and its item in a queue: both are named."""
    vars(host).update(gate=threading.Event(), jobs=queue.Queue())
    workspace["greet"] = (
        "import threading\nimport host_of_the_test as host\n"
        "class Worker(threading.Thread):\n    def run(self): host.gate.wait(60)\n"
        "def register(ctx):\n    Worker(name='worker', daemon=True).start()\n"
        "    host.jobs.put(Worker)\n    raise ValueError\n"
    )
    notes = "\n".join(run(workspace.config()).fault("greet").notes)
    (worker,) = [thread for thread in threading.enumerate() if thread.name == "worker"]
    assert "thread 'worker' running Worker" in notes
    assert "jobs.queue[0]" in notes
    assert "belongs to the standard library" in notes
    host.gate.set()
    worker.join(PATIENCE)
    assert not worker.is_alive()


SPREAD = """\
host.tools.append(handler); host.cache['m'] = C; host.kept.add(handler); host.queue.append(C().method)
    host.registry.callbacks.append(C()); host.registry.use(handler); host.deep['a'][0]['b'].append(C)
"""
PLACES = {
    "greet.plugin.handler in host_of_the_test.tools[1] (plugin.py:11)",
    "greet.plugin.C in host_of_the_test.cache['m'] (plugin.py:5)",
    "greet.plugin.handler in host_of_the_test.kept{…} (plugin.py:11)",
    "greet.plugin.C.method in host_of_the_test.queue[1] (plugin.py:5)",
    "greet.plugin.C in host_of_the_test.registry.callbacks[0] → C (plugin.py:5)",
    "greet.plugin.handler in host_of_the_test.registry.current (plugin.py:11)",
    "greet.plugin.C in host_of_the_test.deep['a'][0]['b'][1] (plugin.py:5)",
}


@pytest.mark.parametrize("is_late", [False, True])
def test_all_that_still_holds_a_retired_version_is_named(
    workspace: Workspace,
    run: Run,
    host: ModuleType,
    is_late: bool,  # noqa: FBT001
) -> None:
    """``left`` and the event name all that holds a retired version, and ``memory`` names some of it."""
    workspace["greet"] = leaving(SPREAD, late=is_late)
    running = run(workspace.config())
    running.host.call("greet")
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    event = retired(running)
    left = {entry.describe() for entry in event.ledger if entry.outcome == "named"}
    assert left == {f"reference {place}" for place in PLACES}
    assert {*running.status("greet").left} == left
    places = [place.partition(" in ")[2].partition(" (")[0] for place in PLACES]
    assert sum(place in event.memory for place in places) == 3
    assert event.memory.endswith(" and 4 more")
    assert len(host.tools) == 2


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        ("type('Local', (), {})", "Local"),
        ("collections.namedtuple('Point', 'x y')", "Point"),
        ("collections.namedtuple('Point', 'x y')(1, 2)", "Point"),
        ("enum.Enum('Color', 'RED')", "Color"),
    ],
)
def test_a_class_that_a_function_made_is_named(
    workspace: Workspace, run: Run, host: ModuleType, thing: str, name: str
) -> None:
    """A retired version of which the host has such a class, or an object of it, is not called freed."""
    workspace["greet"] = leaving(f"host.cache['it'] = {thing}")
    running = run(workspace.config())
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    assert retired(running).memory.startswith(f"alive: greet.plugin.{name}, held by host_of_the_test.cache")
    (left,) = running.status("greet").left
    assert left.startswith(f"reference greet.plugin.{name} in host_of_the_test.cache['it']")
    assert left.endswith("(plugin.py:15)")
    host.cache.clear()
    assert running.wait_for(lambda: running.status("greet").memory == "freed")


@pytest.mark.parametrize(
    ("thing", "described"),
    [
        ("functools.cache(handler)", "greet.plugin.handler in {} (plugin.py:11)"),
        ("dataclasses.dataclass(Key)", "greet.plugin.Key in {} (plugin.py:8)"),
        ("sys.modules[__name__]", "greet.plugin in {}"),
        ("exec('def made(): ...', names := {}) or names['made']", "greet.made in {} (plugin.py:15)"),
    ],
)
def test_what_the_host_keeps_has_its_own_name_and_place(
    workspace: Workspace, run: Run, host: ModuleType, thing: str, described: str
) -> None:
    """``left`` and ``memory`` name the plugin's own object and the host's place, also behind a decorator."""
    workspace["greet"] = leaving(f"host.tools.append({thing})").replace(
        "import ", "import dataclasses, sys, ", 1
    )
    running = run(workspace.config())
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    place = "host_of_the_test.tools[1]"
    assert retired(running).memory == f"alive: {described.partition(' in ')[0]}, held by {place}"
    assert running.status("greet").left == (f"reference {described.format(place)}",)
    host.tools.clear()


def test_at_most_twenty_references_are_named(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """A version that many containers hold is reported with twenty of them and the number of the others."""
    workspace["greet"] = leaving("host.cache.update({str(n): [handler] for n in range(50)})")
    running = run(workspace.config())
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    event = retired(running)
    left = running.status("greet").left
    assert (len(left), left[-1]) == (21, "reference and 30 more")
    assert event.memory.endswith(" and 47 more")
    assert len(host.cache) == 51


def test_an_old_object_in_the_state_is_named_as_its_author_wrote_it(workspace: Workspace, run: Run) -> None:
    """A holder in ``ctx.state`` is shown as the plugin's code reaches it, with the name of the plugin."""
    source = (
        "def ball(): ...\n\n\ndef register(ctx):\n"
        "    ctx.state.setdefault('balls', [1, 2, ball])\n    ctx.hook('greet', print)\n"
    )
    workspace["greet"] = source
    running = run(workspace.config())
    workspace["greet"] = f"{source}\n"
    running.manager.scan_and_load_all()
    memory = retired(running).memory
    assert memory.startswith("alive: greet.plugin.ball, held by greet's ctx.state['balls'][2]"), memory


@pytest.mark.parametrize("kind", seen(LEAVES, "subclass"))
def test_a_plugin_that_is_to_be_forgotten_is_removed_and_freed(
    workspace: Workspace, run: Run, host: ModuleType, kind: str
) -> None:
    """With ``forget``, a retired version's entries are removed, reported as undone, and freed."""
    before = state(host)
    workspace["greet"] = leaving(LEAVES[kind], late=True)
    running = run(workspace.config(plugins={"greet": {"forget": True}}))
    running.host.call("greet")
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    event = retired(running)
    assert {entry.category for entry in event.ledger} == {"reference"}
    assert {entry.outcome for entry in event.ledger} == {"undone"}
    assert state(host) == before
    assert (event.memory, running.status("greet").left) == ("freed", ())


@pytest.mark.unfrozen
def test_patches_made_later_are_forgotten_too(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """With ``forget``, attributes of modules and classes that a handler set are reset, and all is freed."""
    original = Route.__dict__["show"]
    lines = (
        "host.frozen = handler\n    Route = host.Route\n    Route.extra = handler\n"
        "    Route.show = functools.wraps(Route.show)(lambda self: Route.show)"
    )
    workspace["greet"] = leaving(lines, late=True)
    running = run(workspace.config(plugins={"greet": {"forget": True}}))
    assert running.host.invoke("greet").faults == ()
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    assert retired(running).memory == "freed"
    assert running.status("greet").left == ()
    assert (host.frozen, vars(Route)["extra"], vars(Route)["show"]) == (None, None, original)
    del Route.extra  # type: ignore[attr-defined]


def test_what_cannot_be_forgotten_is_named(workspace: Workspace, run: Run, host: ModuleType) -> None:
    """With ``forget``, closures, tuples, other plugins' containers and the state of the plugin stay."""
    workspace["other"] = "KEPT = []\ndef register(ctx):\n    ctx.hook('other', lambda: KEPT)\n"
    workspace["greet"] = (
        f"REQUIRES = ['other']\n{HEAD}"
        "def register(ctx):\n    ctx.hook('greet', lambda: act(ctx))\n"
        "def act(ctx):\n    ctx.plugin('other').KEPT.append(C)\n    host.wrapped.append(host.wrap(handler))\n"
        "    host.pair = handler, {}\n    ctx.state['c'] = handler\n"
    )
    running = run(workspace.config(plugins={"greet": {"forget": True}}))
    assert running.host.invoke("greet").faults == ()
    kept = cast("list[object]", running.host.call("other")[0])
    workspace["greet"] = answering("new")
    running.manager.scan_and_load_all()
    event = retired(running)
    left = "\n".join(running.status("greet").left)
    assert "host_of_the_test.pair[0]" in left
    assert "host_of_the_test.wrapped[0] → closure" in left
    assert ".KEPT[0]" in left
    assert event.memory.startswith("alive: ")
    assert (kept, len(host.wrapped), len(host.pair)) == ([kept[0]], 1, 2)
