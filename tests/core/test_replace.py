"""With ``reload = "replace"``, the running version of a plugin leaves before a new one is tried."""

from __future__ import annotations

import gc
import shutil
import sys
import threading
import weakref
from collections.abc import Callable
from types import ModuleType

import pytest

from hotload_tui import Config, HotloadManager
from hotload_tui.cli.report import fault_lines, remarks
from hotload_tui.core.compiled import Record
from hotload_tui.core.errors import PluginError
from hotload_tui.core.events import PluginEvent, PluginFailed, PluginLoaded, PluginRetired
from hotload_tui.core.faults import LEFT_BEHIND, TWICE
from hotload_tui.core.model import PluginState
from hotload_tui.core.source import read_source
from tests.conftest import Running, Workspace
from tests.core.conftest import Stage, retired
from tests.counts import ALL_CASES
from tests.waiting import PATIENCE

Run = Callable[[Config], Running]

REPLACED = 'its live version leaves before the new one is tried: reload = "replace"'


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a library whose names can be registered once, as in many libraries."""
    library = ModuleType("registry")
    exec(
        "names = {}\n"
        "def add(name, value):\n"
        "    if name in names: raise ValueError(f'{name} is already registered')\n"
        "    names[name] = value\n",
        vars(library),
    )
    monkeypatch.setitem(sys.modules, "registry", library)
    return library


def claiming(version: str, *, name: str = "greet", head: str = "RELOAD = 'replace'", end: str = "") -> str:
    """Return a plugin that registers its name in a library when it is imported."""
    return (
        f"import registry\n{head}\nregistry.add('{name}', '{version}')\n"
        f"def register(ctx):\n    ctx.hook('{name}', lambda: '{version}')\n"
        f"    ctx.on_unload(lambda: registry.names.pop('{name}'))\n    {end}\n"
    )


def save(running: Running, workspace: Workspace, source: str, name: str = "greet") -> None:
    """Save a plugin, and bring it up to date."""
    workspace[name] = source
    running.manager.scan_and_load_all()


@pytest.mark.parametrize("declared", ["in the source", "in the configuration"])
def test_the_running_version_leaves_first(
    workspace: Workspace, run: Run, registry: ModuleType, declared: str
) -> None:
    """A name that can be registered once passes on, with one registration and a measured gap."""
    head, plugins = "RELOAD = 'replace'", {}
    if declared == "in the configuration":
        head, plugins = "", {"greet": {"reload": "replace"}}
    workspace["greet"] = claiming("a", head=head)
    running = run(workspace.config(plugins=plugins))
    save(running, workspace, claiming("b", head=head))
    assert (running.host.call("greet"), registry.names) == (["b"], {"greet": "b"})
    status = running.status("greet")
    assert (status.state, status.generation, status.reloads) == (PluginState.OK, 2, 1)
    first, second = running.told(PluginLoaded)
    assert [step.name for step in first.steps] == ["execute", "register", "swap"]
    assert [step.name for step in second.steps] == ["execute", "register", "swap", "gap"]
    assert "gap" in second.describe()
    kinds = [type(event) for event in running.events if isinstance(event, PluginLoaded | PluginRetired)]
    assert kinds == [PluginLoaded, PluginRetired, PluginLoaded]


def test_without_it_the_name_is_claimed_twice(workspace: Workspace, run: Run, registry: ModuleType) -> None:
    """By default, the new version is tried beside the old one; the fault names the way out."""
    workspace["greet"] = claiming("a", head="")
    running = run(workspace.config())
    save(running, workspace, claiming("b", head=""))
    assert (running.status("greet").state, registry.names) == (PluginState.STALE, {"greet": "a"})
    assert running.fault("greet").notes == (TWICE,)


CLAIMS = [
    "OSError(98, 'Address already in use')",
    "ValueError('Duplicated timeseries in CollectorRegistry: {\\'hits\\'}')",
    "ValueError('Table \\'users\\' is already defined for this MetaData instance.')",
    "RuntimeError('Conflicting \\'note\\' models in application \\'app\\': <class A> and <class B>.')",
    "ValueError('The name \\'shop\\' is already registered for this blueprint.')",
    "AssertionError('View function mapping is overwriting an existing endpoint function: index')",
    "type('ConflictingIdError', (KeyError,), {})('Job identifier (tick) conflicts with an existing job')",
    "RuntimeError('Cog named \\'Music\\' already loaded')",
    "FileExistsError(17, 'File exists')",
    "ValueError('Duplicate \\'it\\', already handled by <a resource>')",
    "Exception('argument {it}: conflicting subparser: it')",
]


@pytest.mark.parametrize("error", CLAIMS)
def test_a_second_claim_names_the_way_out(
    workspace: Workspace, run: Run, registry: ModuleType, error: str
) -> None:
    """The typical messages of libraries get the hint, but only while a version that claims it is live."""
    claiming = (
        f"import registry\ndef claim():\n    if 'it' in registry.names: raise {error}\n"
        "def register(ctx):\n    try: claim()\n"
        "    except Exception as error: raise RuntimeError from error\n"
    )
    workspace["greet"] = claiming
    registry.names["it"] = "the host"
    running = run(workspace.config())
    assert TWICE not in running.fault("greet").notes
    save(running, workspace, "def register(ctx): ...")
    save(running, workspace, claiming)
    assert TWICE not in running.fault("greet").notes
    registry.names.clear()
    save(running, workspace, f"{claiming}# again\n")
    registry.names["it"] = "the previous version"
    save(running, workspace, f"{claiming}# edited\n")
    fault = running.fault("greet")
    assert TWICE in fault.notes
    assert f"  note: {TWICE}" in [*fault_lines(fault)]
    assert running.status("greet").state is PluginState.STALE


OTHER = "plugin stats may hold it: its code names it, too"
BOTH = (
    'the previous version or plugin stats still holds it; use ctx.own or reload = "replace", or another name'
)


@pytest.mark.parametrize(
    ("line", "previous", "other", "note"),
    [
        ("registry.add('hits', 2)", "registry.add('hits', 1)", "'misses'", TWICE),
        ("registry.add('hits', 2)", "registry.add('pages', 1)", "'hits'", OTHER),
        ("registry.add('hits', 2)", "registry.add('pages', 1)", "'misses'", ""),
        ("registry.add('hits', 2)", "", "'hits'", OTHER),
        ("registry.add('hits', 2)", "'hits'", "'hits'", BOTH),
        ("registry.add(8080, 2)", "registry.add(8081, 1)", "8080", OTHER),
        ("registry.add(8080, 2)", "registry.add(8081, 1)", "18080", ""),
        ("registry.add('127.0.0.1', 2)", "registry.add('127.0.0.1', 1)", "'127.0.0.1'", TWICE),
        ("registry.add('/run/it.pid', 2)", "registry.add('/run/my.pid', 1)", "'/run/it.pid'", OTHER),
        ("registry.add('Hits'.lower(), 2)", "registry.add('Hits'.lower(), 1)", "'misses'", TWICE),
        ("registry.add('hi' + 'ts', 2)", "registry.add('hi' + 'ts', 1)", "'hits'", TWICE),
        ("registry.add('hi' + 'ts', 2)", "registry.names", "'hits'", ""),
    ],
)
def test_the_hint_is_about_the_plugin_that_holds_the_name(  # noqa: PLR0917 - a row of the table
    workspace: Workspace, run: Run, registry: ModuleType, line: str, previous: str, other: str, note: str
) -> None:
    """A name that another plugin or the host holds is not said to be held by the previous version."""
    workspace["stats"] = f"NAME = {other}\ndef register(ctx): ..."
    if previous:
        workspace["greet"] = f"import registry\ndef register(ctx):\n    {previous}\n"
    running = run(workspace.config())
    vars(registry)["names"] |= dict.fromkeys(["hits", 8080, "127.0.0.1", "/run/it.pid"], "held")
    save(running, workspace, f"import registry\ndef register(ctx):\n    {line}\n")
    assert running.fault("greet").notes == ((note,) if note else ())


@pytest.mark.parametrize("how", ["disabled", "deleted", "planned"])
def test_a_plugin_is_tried_again_when_the_holder_leaves(
    workspace: Workspace, run: Run, registry: ModuleType, how: str
) -> None:
    """What another plugin holds is free after its ``on_unload``: the plugin that failed for it loads then."""
    source = claiming("new", name="hits", head="")
    workspace["greet"] = "def register(ctx): ...\n"
    workspace["stats"] = claiming("old", name="hits", head="")
    running = run(workspace.config())
    save(running, workspace, source)
    assert running.fault("greet").notes == ("plugin stats may hold it: its code names it, too",)
    assert running.status("greet").state is PluginState.STALE
    if how == "disabled":
        running.manager.disable("stats")
    else:
        shutil.rmtree(workspace.plugins / "stats")
        if how == "planned":
            planned = {each.name: each.action for each in running.manager.plan().plugins}
            assert planned == {"stats": "unload", "greet": "reload"}
        running.manager.scan_and_load_all()
    assert (running.status("greet").state, registry.names) == (PluginState.OK, {"hits": "new"})


COMMANDS: dict[str, tuple[type[PluginEvent], str, Callable[[HotloadManager], object]]] = {
    "gives the command": (PluginRetired, "greet", lambda manager: manager.rebuild("other", force=True)),
    "waits for the command": (PluginRetired, "other", lambda manager: manager.rebuild("greet", force=True)),
    "gives another command": (PluginLoaded, "greet", lambda manager: manager.rebuild("other", force=True)),
}  # what a subscriber hears, of which plugin, and what it asks for then


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_subscriber_may_command_the_manager(
    workspace: Workspace, run: Run, registry: ModuleType, kind: str
) -> None:
    """A command that waits for retirements ends, in whichever thread a subscriber gives it or another one."""
    heard, name, act = COMMANDS[kind]
    workspace["other"] = claiming("a", name="other")
    workspace["greet"] = "def register(ctx): ..."
    running = run(workspace.config())
    answers: list[object] = []

    def hear(event: object) -> None:
        if isinstance(event, heard) and event.name == name and not answers:
            answers.append(threading.current_thread().name)
            act(running.manager)
            answers.append("done")

    running.manager.subscribe(hear)
    running.manager.rebuild(name, force=True)
    assert running.wait_for(lambda: bool(answers[1:]))
    assert (running.host.call("other"), registry.names) == (["a"], {"other": "a"})
    assert {running.status(each).state for each in ("greet", "other")} == {PluginState.OK}


def test_a_suspicion_ends_when_the_version_loads_again(
    workspace: Workspace, run: Run, registry: ModuleType
) -> None:
    """A version that left and is loaded again is not shown as suspected any more."""
    workspace["greet"] = claiming("a")
    digest = read_source("greet", workspace.plugins / "greet").digest
    workspace.compiled.mkdir()
    Record(workspace.compiled).suspect("greet", digest, "the host died of signal 9")
    running = run(workspace.config())
    assert running.status("greet").suspected == "the host died of signal 9"
    running.manager.rebuild("greet", force=True)
    assert (running.status("greet").suspected, registry.names) == ("", {"greet": "a"})
    assert Record(workspace.compiled).suspicion("greet") == ("", "")


def test_the_hint_names_a_plugin_that_starts_at_the_same_time(
    workspace: Workspace, run: Run, registry: ModuleType
) -> None:
    """Of two plugins that claim one name at a start, the one that fails is told about the other."""
    for name in ("count", "greet"):
        workspace[name] = "import registry\ndef register(ctx): registry.add('hits', 1)\n"
    running = run(workspace.config())
    assert registry.names == {"hits": 1}
    assert running.fault("greet").notes == (OTHER.replace("stats", "count"),)


def test_another_fault_gets_no_hint(workspace: Workspace, run: Run) -> None:
    """A fault that is not about a claim does not name ``ctx.own``."""
    workspace["greet"] = "def register(ctx): ..."
    running = run(workspace.config())
    save(running, workspace, "def register(ctx): raise ValueError('no file there')")
    assert running.fault("greet").notes == ()


@pytest.mark.parametrize("end", ["raise RuntimeError", "ctx.own('it', lambda: 1 / 0)"])
def test_the_last_good_version_is_loaded_again(
    workspace: Workspace, run: Run, registry: ModuleType, end: str
) -> None:
    """If the new version does not load, the one that left becomes live again: STALE, with the fault."""
    workspace["greet"] = claiming("a")
    running = run(workspace.config())
    save(running, workspace, claiming("b", end=end))
    status, fault = running.status("greet"), running.fault("greet")
    assert (status.state, running.host.call("greet")) == (PluginState.STALE, ["a"])
    assert (fault.phase, registry.names) == ("register", {"greet": "a"})
    assert running.told(PluginLoaded)[-1].steps[-1].name == "gap"
    assert running.told(PluginFailed)[-1].describe().endswith("; generation 1 is loaded again")
    save(running, workspace, claiming("c"))
    assert (running.host.call("greet"), registry.names) == (["c"], {"greet": "c"})
    assert running.status("greet").state is PluginState.OK


def test_a_first_load_that_fails_gives_back_what_it_claimed(
    workspace: Workspace, run: Run, registry: ModuleType
) -> None:
    """No version is live that its ``on_unload`` could harm, so the next load does not find the name taken."""
    workspace["greet"] = claiming("a", end="raise RuntimeError")
    running = run(workspace.config())
    assert (running.fault("greet").type, registry.names) == ("RuntimeError", {})
    save(running, workspace, claiming("b"))
    assert (running.host.call("greet"), running.status("greet").state) == (["b"], PluginState.OK)
    running.manager.disable("greet")
    (workspace.plugins / "_greet" / "plugin.py").write_text(claiming("c", end="raise RuntimeError"))
    running.manager.enable("greet")
    assert (running.fault("greet").type, running.host.call("greet")) == ("RuntimeError", ["b"])
    assert registry.names == {"greet": "b"}


def test_a_plugin_without_a_version_shows_both_failures(
    workspace: Workspace, run: Run, registry: ModuleType
) -> None:
    """If the version that left does not load again either, the fault shows both errors, with their lines."""
    workspace["greet"] = claiming("a")
    running = run(workspace.config())
    save(running, workspace, claiming("b", head="RELOAD = 'replace'\nregistry.add('greet', 0)\n1 / 0"))
    status, fault = running.status("greet"), running.fault("greet")
    assert (status.state, running.host.call("greet"), registry.names) == (PluginState.FAIL, [], {"greet": 0})
    assert (fault.type, fault.message) == ("ZeroDivisionError", "division by zero")
    assert (
        "the last good version does not load either: ValueError: greet is already registered" in fault.notes
    )
    first, last = [event.describe() for event in running.told(PluginFailed)]
    assert first.endswith("; generation 1 is loaded again")
    assert last.endswith("; no version is live")
    (again,) = [cause for cause in fault.causes if cause.relation == "member"]
    assert again.notes == ("'greet' is still in registry.names; release it in on_unload",)
    assert again.message == "greet is already registered"
    assert again.place is not None
    assert "registry.add('greet', 'a')" in again.place.lines[again.place.line - again.place.first_line]
    said = "\n".join(fault_lines(fault))
    assert "ZeroDivisionError" in said
    assert "already registered" in said
    registry.names.clear()
    save(running, workspace, claiming("c"))
    assert (running.host.call("greet"), running.status("greet").state) == (["c"], PluginState.OK)


# ---- what a load creates and registers in a library

LIBRARY = """
import threading
import weakref
class Registry:
    def __init__(self): self.by_name, self.names, self.all, self.kept = {}, {}, [], ()
    def add(self, thing, *names):
        for name in names:
            if name in self.by_name: raise ValueError(f"{name} is already registered")
        self.by_name.update(dict.fromkeys(names, thing))
        return thing
    def look(self, entered, gate):
        copy = dict(self.by_name)
        entered.set()
        gate.wait()
class Metric:
    def __init__(self, name, value):
        self.value = value
        registry.add(self, name, name + "_total")
        registry.names[self] = [name]
    def show(self): return self.value
class Job:
    def __init__(self, function): self.function, self.value = function, function()
    __slots__ = ("function", "value", "__weakref__")
class Slotted:
    __slots__ = ("value",)
    def __init__(self, value): self.value = value
def wrapped(function):
    def wrapper(): return function()
    return wrapper
registry = Registry()
shared = Metric("shared", "host")
things = {"old": Metric("old", "host")}
lists, tables, listeners = {"old": ["a"]}, {"old": {}}, {}
def signal(name): return listeners.setdefault(name, Signal())
class Signal:
    def __init__(self): self.receivers, self.value = {}, "signal"
def heard(): ...
signal("old").receivers["host"] = heard
class Program: pass
program = Program()
claims = set()
"""


@pytest.fixture
def lib(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a library in which plugins register objects of its own classes."""
    library = ModuleType("lib")
    library.__dict__["__name__"] = "lib"
    exec(LIBRARY, vars(library))
    monkeypatch.setitem(sys.modules, "lib", library)
    return library


CREATED = """
one = lib.Metric('one', 'v1')
class Metrics: two = lib.Metric('two', 'v1')
all_of_them = {'all': [lib.Metric('three', 'v1')]}
def made():
    it = lib.Metric('four', 'v1')
    return lambda: it
four = made()
five = lib.registry.add(lib.Slotted('v1'), 'five')
six = lib.Slotted('v1'); lib.claims.add(six)
seven = lib.Slotted('v1'); lib.registry.all.append((3, seven))
eight = lib.registry.add(['v1'], 'eight')
nine = lib.registry.add(lib.wrapped(lambda: 'v1'), 'nine')
lib.registry.add(lib.Job(lambda: 'v1'), 'ten')
show_eleven = lib.Metric('eleven', 'v1').show
"""


def values_in(lib: ModuleType) -> list[str]:
    """Return the values of the plugin's objects that are registered in the library, each object once."""
    registry = lib.registry
    entries = [*registry.by_name.values(), *registry.names, *registry.all, *lib.claims]
    found = {id(each[1] if type(each) is tuple else each): each for each in entries}
    return [value for each in found.values() if (value := value_of(each)) != "host"]


def value_of(thing: object) -> str:
    """Return the version that an entry of the library belongs to."""
    if isinstance(thing, tuple | list):
        return value_of(thing[-1])
    return str(thing() if callable(thing) else getattr(thing, "value", thing))


@pytest.mark.parametrize("where", ["at import", "in register"])
def test_what_a_load_creates_leaves_the_library_with_it(
    workspace: Workspace, run: Run, lib: ModuleType, where: str
) -> None:
    """Through edit, break, fix, disable and enable, the library has the right version exactly once.

    The objects: under several keys; in a class, a list or a closure of the plugin; without weak references;
    in a set; in a tuple in a list; a list; a function of the library; an object for a function of the plugin
    that nothing else refers to; an object to which a bound method leads.
    """
    lines, names = CREATED, "one, Metrics, all_of_them, four, five, six, seven, eight, nine, show_eleven"
    if where == "in register":
        lines = f"def register(ctx):{CREATED}".replace("\n", "\n    ")
        lines += f"ctx.hook('it', lambda: ({names}))"
    source = f"import lib\nRELOAD = 'replace'\n{lines}\n"
    source += "" if where == "in register" else "def register(ctx): ...\n"
    count = 11

    def check(version: str, state: PluginState) -> None:
        assert values_in(lib) == [version] * count, running.status("greet").fault
        assert running.status("greet").state is state

    workspace["greet"] = source
    running = run(workspace.config())
    check("v1", PluginState.OK)
    save(running, workspace, source.replace("v1", "v2"))
    check("v2", PluginState.OK)
    broken = source.replace("v1", "v3")
    for end in ("raise ValueError\n", "    raise ValueError\n" if where == "in register" else "register = 0"):
        save(running, workspace, broken + end)
        check("v2", PluginState.STALE)
    save(running, workspace, source.replace("v1", "v4"))
    check("v4", PluginState.OK)
    running.manager.disable("greet")
    assert running.wait_for(lambda: values_in(lib) == [])
    running.manager.enable("greet")
    check("v4", PluginState.OK)
    assert set(lib.things) == {"old"}
    assert lib.registry.by_name["shared_total"] is lib.shared


# How libraries keep a function ``it``, and how a program finds it.
KEPT = {
    "a dictionary for each entry": ("R[name] = {'call': it, 'help': ''}", "[e['call'] for e in R.values()]"),
    "dictionaries inside each other": (
        "R[name] = {'by': {'get': it}, 'x': [1]}",
        "[e['by']['get'] for e in R.values()]",
    ),
    "a list for each entry": ("R[name] = [it, 'help']", "[e[0] for e in R.values()]"),
    "a pair in a list for each entry": ("R[name] = [(it, {})]", "[e[0][0] for e in R.values()]"),
    "a pair with a dictionary": ("R[name] = it, {}", "[e[0] for e in R.values()]"),
    "a dictionary in an OrderedDict": (
        "O[name] = {'call': it, 'help': ''}",
        "[e['call'] for e in O.values()]",
    ),
    "a namespace": ("R[name] = SimpleNamespace(call=it)", "[e.call for e in R.values()]"),
    "a pair as a key": ("K[own, it] = 1", "[e[1] for e in K]"),
    "a named tuple": ("R[name] = Entry(name, it)", "[e.call for e in R.values()]"),
    "a pattern and a function in a list": ("P.L.append((re.compile(''), it))", "[e[1] for e in P.L]"),
    "an object in a tuple in a list": ("P.M.append((P, Job(it)))", "[e[1].function for e in P.M]"),
    "a tuple that is copied": ("P.kept = *P.kept, it", "P.kept"),
    "a frozenset that is copied": ("P.fixed = P.fixed | {it}", "P.fixed"),
    "a tuple with the program's function": ("P.more = *P.more, it", "[e for e in P.more if e is not own]"),
    "the same in a dictionary": ("T['it'] = *T['it'], it", "[e for e in T['it'] if e is not own]"),
    "an existing dictionary of plain values": (
        "T['old']['it'] = it",
        "[e for e in T['old'].values() if e != 1]",
    ),
    "an existing empty dictionary": ("T['empty']['it'] = it", "[*T['empty'].values()]"),
}
KEEPING = """
import re
from collections import OrderedDict
from types import SimpleNamespace
from typing import NamedTuple
class Entry(NamedTuple):
    name: str
    call: object
def own(): ...
K, O, R, T = {}, OrderedDict(), {}, {"old": {"a": 1}, "empty": {}, "it": (own,)}
class P: L, M, kept, fixed, more = [], [], (), frozenset(), (own,)
def add(it):
    name = "the entry"
    if name in R: raise ValueError(f"{name} is already registered")
    ADD
"""


@pytest.mark.parametrize("kept", [[each] for each in KEPT] if ALL_CASES else [[*KEPT]])
def test_an_entry_in_any_form_leaves_with_its_version(
    workspace: Workspace, run: Run, lib: ModuleType, kept: list[str]
) -> None:
    """Through edit, break, fix, disable and enable, a library has one whole entry, of the right version."""
    forms = {each: {"__name__": "lib", "Job": lib.Job} for each in kept}
    vars(lib)["forms"] = forms
    for each, form in forms.items():
        exec(KEEPING.replace("ADD", KEPT[each][0]), form)
    functions = (
        f"def it_{number}(): return 'v1'\nlib.forms[{each!r}]['add'](it_{number})\n"
        for number, each in enumerate(kept)
    )
    source = f"import lib\nRELOAD = 'replace'\n{''.join(functions)}def register(ctx): ctx.hook('it', it_0)\n"

    def others(*versions: str) -> dict[str, list[str]]:
        entries = {each: eval(KEPT[each][1], form) for each, form in forms.items()}
        found = {each: [entry() for entry in form] for each, form in entries.items()}
        return {each: form for each, form in found.items() if form != [*versions]}

    workspace["greet"] = source
    running = run(workspace.config())
    assert others("v1") == {}
    save(running, workspace, source.replace("v1", "v2"))
    assert others("v2") == {}, running.status("greet").fault
    save(running, workspace, f"{source}raise RuntimeError\n")
    assert others("v2") == {}
    running.manager.disable("greet")
    retired(running)
    assert running.wait_for(lambda: others() == {})
    running.manager.enable("greet")
    assert (others("v2"), running.status("greet").left) == ({}, ())


# Each is something that other code relies on: what the plugin does, and what the program does after the load.
SHARED = {
    "a global of the library": ("from lib import shared\nlib.registry.all.append(shared)", ""),
    "an existing entry": ("old = lib.things['old']\nlib.registry.all.append(old)", ""),
    "an existing signal": ("old = lib.signal('old')", ""),
    "an existing list": ("old = lib.lists['old']\nold.append(0)", ""),
    "an existing empty dictionary": ("old = lib.tables['old']\nold['it'] = [lib]", ""),
    "an existing object that gets a new attribute": ("p = lib.program\np.it = []", ""),
    "a signal that gets a receiver": ("new = lib.signal('new')", "signal('new').receivers['host'] = heard"),
    "a signal that the program keeps": ("kept = lib.signal('kept')", "program.signal = signal('kept')"),
    "a signal that a module keeps": ("module = lib.signal('module')", "module = signal('module')"),
    "a signal in a closure": (
        "closure = lib.signal('closure')",
        "send = (lambda it: lambda: it)(signal('closure'))",
    ),
    "a new list that gets an item": ("new = lib.lists.setdefault('new', [])", "lists['new'].append('b')"),
    "a new table that gets an item": ("new = lib.tables.setdefault('new', {})", "tables['new']['b'] = 1"),
    "a table that gets a list": (
        "newer = lib.tables.setdefault('newer', {0: []})",
        "tables['newer']['b'] = 1",
    ),
}


def test_what_other_code_relies_on_stays(workspace: Workspace, run: Run, lib: ModuleType) -> None:
    """What the plugin only got, and what it was the first to ask for and others use now, is not removed."""
    setup = "\n".join(each for each, _ in SHARED.values())
    source = f"import lib\nRELOAD = 'replace'\n{setup}\ndef register(ctx): ...\n"
    workspace["greet"] = source
    running = run(workspace.config())
    for _, later in SHARED.values():
        exec(later, vars(lib))
    before = {name: dict(vars(lib)[name]) for name in ("things", "lists", "tables", "listeners")}
    names, own = dict(lib.registry.by_name), dict(vars(lib.program))
    for end in ("# 2\n", "raise ValueError\n", "# 3\n"):
        save(running, workspace, source + end)
    running.manager.disable("greet")
    running.manager.stop()
    assert {name: vars(lib)[name] for name in before} == before
    assert lib.registry.by_name == names
    assert lib.registry.all == [lib.shared, lib.things["old"]] * 5
    assert vars(lib.program).keys() == own.keys()
    assert before["listeners"]["old"].receivers == {"host": lib.heard}


def test_what_a_shared_import_creates_stays(workspace: Workspace, run: Run, lib: ModuleType) -> None:
    """If the plugin's load is the first to import a module, what that module creates is not the plugin's."""
    (workspace.root / "fresh.py").write_text(
        "import lib\napps = {'main': lib.Slotted('host')}\nlib.registry.add(apps['main'], 'main')\n"
    )
    sys.path.insert(0, str(workspace.root))
    try:
        source = (
            "import lib\nRELOAD = 'replace'\nMINE = lib.Metric('it', 'v1')\nimport fresh\n"
            "MAIN = fresh.apps['main']\ndef register(ctx): ...\n"
        )
        workspace["greet"] = source
        running = run(workspace.config())
        fresh = sys.modules["fresh"]
        save(running, workspace, source.replace("v1", "v2"))
        assert values_in(lib) == ["v2"]
        assert fresh.apps == {"main": lib.registry.by_name["main"]}
    finally:
        sys.path.remove(str(workspace.root))
        sys.modules.pop("fresh", None)


def test_what_another_plugin_holds_stays(workspace: Workspace, run: Run, lib: ModuleType) -> None:
    """An object that the plugin created and another plugin keeps is not removed, but named."""
    workspace["greet"] = "import lib\nRELOAD = 'replace'\nNEW = lib.signal('new')\ndef register(ctx): ...\n"
    workspace["zoo"] = "import lib\nclass Kept: new = [lib.signal('new')]\ndef register(ctx): ...\n"
    running = run(workspace.config())
    new = lib.listeners["new"]
    running.manager.disable("greet")
    event = retired(running)
    assert lib.listeners["new"] is new
    assert "other code may rely on it; release it in on_unload" in event.describe()


def test_other_threads_keep_what_they_register_during_a_load(
    workspace: Workspace, run: Run, lib: ModuleType, stage: Stage
) -> None:
    """What the program registers while the plugin loads is the program's."""
    source = (
        "import lib, stage\nRELOAD = 'replace'\nIT = lib.Metric('it', 'v1')\nstage.wait()\n"
        "def register(ctx): ...\n"
    )
    workspace["greet"] = source

    def program() -> None:
        stage.entered.wait(PATIENCE)
        lib.Metric("of program", "host")
        lib.registry.all.append(lib.wrapped(lambda: "host"))
        stage.gate.set()

    thread = threading.Thread(target=program)
    thread.start()
    running = run(workspace.config())
    thread.join()
    save(running, workspace, source.replace("v1", "v2"))
    assert values_in(lib) == ["v2"]
    assert (len(lib.registry.all), lib.registry.by_name["of program"].value) == (1, "host")


def test_what_a_program_looks_at_leaves_too(
    workspace: Workspace, run: Run, lib: ModuleType, stage: Stage
) -> None:
    """A registration leaves with its version while a method of the register runs, with a copy of it."""
    workspace["greet"] = (
        "import lib\nRELOAD = 'replace'\nIT = lib.Metric('it', 'v1')\ndef register(ctx): ...\n"
    )
    running = run(workspace.config())
    looking = threading.Thread(target=lib.registry.look, args=(stage.entered, stage.gate))
    looking.start()
    assert stage.entered.wait(PATIENCE)
    running.manager.disable("greet")
    retired(running)
    assert values_in(lib) == []
    stage.gate.set()
    looking.join()


def test_what_takes_the_memory_of_a_freed_object_is_the_versions(
    workspace: Workspace, run: Run, lib: ModuleType
) -> None:
    """What a load creates leaves with it, also where an object of the same class was before the load."""
    source = (
        "import gc, lib\nRELOAD = 'replace'\n"
        "place = id(lib.things['gone'])\ndel lib.things['gone']\n"
        "made = [lib.Program() for _ in range(50)]\n"
        "IT = next(each for each in made if id(each) == place)\nIT.value = 'v1'\n"
        "lib.registry.add(IT, 'it')\ngc.collect()\ndef register(ctx): ...\n"
    )
    workspace["greet"] = source
    lib.things["gone"] = lib.Program()
    running = run(workspace.config())
    assert (running.status("greet").state, values_in(lib)) == (PluginState.OK, ["v1"])
    running.manager.disable("greet")
    retired(running)
    assert values_in(lib) == []


def test_what_cannot_be_removed_is_named(workspace: Workspace, run: Run, lib: ModuleType) -> None:
    """A registration in a tuple with others is named: in the fault of a failed load, and in ``left``."""
    assert lib.registry.kept == ()
    source = (
        "import lib, logging\nRELOAD = 'replace'\nlog = logging.getLogger('a.b')\nIT = lib.Slotted('v1')\n"
        "lib.registry.kept = (*lib.registry.kept, IT, {})\ndef register(ctx): ...\n"
    )
    workspace["greet"] = source
    running = run(workspace.config())
    save(running, workspace, f"{source}raise ValueError\n")
    (note,) = [note for note in running.fault("greet").notes if note.startswith("left behind: ")]
    assert "claim Slotted IT in lib.registry.kept" in note
    assert "a tuple cannot be changed" in note
    save(running, workspace, source)
    left = "".join(running.status("greet").left)
    assert "claim Slotted IT in lib.registry.kept" in left
    assert "log" not in left


def test_what_a_version_left_in_a_closure_is_named_in_the_fault_of_the_next(
    workspace: Workspace, run: Run, lib: ModuleType
) -> None:
    """If a library keeps one function in a closure, the next version's fault says what holds it up."""
    exec(
        "def make():\n    kept = None\n    def use(it):\n        nonlocal kept\n"
        "        if kept: raise ValueError('a handler is already registered')\n        kept = it\n"
        "    return use\nuse = make()\n",
        vars(lib),
    )
    workspace["greet"] = (
        "import lib\nRELOAD = 'replace'\ndef it(): ...\nlib.use(it)\ndef register(ctx): ...\n"
    )
    running = run(workspace.config())
    save(running, workspace, (workspace.plugins / "greet" / "plugin.py").read_text() + "# edited\n")
    assert LEFT_BEHIND in running.fault("greet").notes
    assert "lib.use → closure" in "".join(running.status("greet").left)


def test_the_status_shows_the_gap(workspace: Workspace, run: Run, registry: ModuleType) -> None:
    """The status has the way of reloading and, after a reload, the time without a live version."""
    workspace["greet"] = claiming("a")
    running = run(workspace.config())
    assert registry.names == {"greet": "a"}
    assert [*remarks(running.status("greet"))] == ['reload = "replace": it leaves before a new version loads']
    save(running, workspace, claiming("b"))
    gap = running.status("greet").gap_seconds
    assert gap > 0
    (remark,) = remarks(running.status("greet"))
    assert remark.endswith(f"the last gap without a live version was {gap * 1000:.1f} ms")
    save(running, workspace, claiming("c", head="RELOAD = 'swap'").replace("registry.add", "print"))
    assert running.status("greet").gap_seconds > 0  # the way out is a replacement, too
    save(running, workspace, claiming("d", head="RELOAD = 'swap'").replace("registry.add", "print"))
    assert ([*remarks(running.status("greet"))], running.status("greet").gap_seconds) == ([], 0.0)


@pytest.mark.parametrize("source", ["def register(ctx:", "RELOAD = 'often'\ndef register(ctx): ...\n"])
def test_what_does_not_compile_makes_nobody_leave(
    workspace: Workspace, run: Run, registry: ModuleType, source: str
) -> None:
    """A source that does not compile is a fault before the running version would leave."""
    workspace["greet"] = claiming("a")
    running = run(workspace.config())
    save(running, workspace, source)
    status = running.status("greet")
    assert (status.state, status.generation, registry.names) == (PluginState.STALE, 1, {"greet": "a"})
    assert running.told(PluginRetired) == []
    if "often" in source:
        fault = running.fault("greet")
        assert 'write RELOAD = "replace" or "swap"' in fault.message
        assert fault.place is not None
        assert fault.place.line == 1


def test_plugins_that_require_it_leave_and_return_with_it(
    workspace: Workspace, run: Run, registry: ModuleType
) -> None:
    """The plugins that require a replaced plugin leave before it, and go live in the same swap."""
    workspace["greet"] = claiming("a")
    workspace["guest"] = claiming("a", name="guest", head="REQUIRES = ['greet']")
    running = run(workspace.config())
    save(running, workspace, claiming("b"))
    assert registry.names == {"greet": "b", "guest": "a"}
    assert (running.host.call("greet"), running.host.call("guest")) == (["b"], ["a"])
    assert [event.name for event in running.told(PluginRetired)] == ["guest", "greet"]
    save(running, workspace, claiming("c", end="raise RuntimeError"))
    assert registry.names == {"greet": "b", "guest": "a"}
    assert (running.host.call("greet"), running.host.call("guest")) == (["b"], ["a"])
    states = (running.status("greet").state, running.status("guest").state)
    assert states == (PluginState.STALE, PluginState.OK)


def test_a_plugin_that_requires_a_failing_one_does_not_leave(
    workspace: Workspace, run: Run, registry: ModuleType
) -> None:
    """If what it requires does not load, a replaced plugin stays live without a gap."""
    workspace["base"] = "def register(ctx): ..."
    workspace["greet"] = claiming("a", head="RELOAD = 'replace'; REQUIRES = ['base']")
    running = run(workspace.config())
    workspace["base"] = "def register(ctx): raise ValueError"
    save(running, workspace, claiming("b", head="RELOAD = 'replace'; REQUIRES = ['base']"))
    assert (running.host.call("greet"), running.status("greet").generation) == (["a"], 1)
    assert registry.names == {"greet": "a"}


def test_a_rollback_replaces(workspace: Workspace, run: Run, registry: ModuleType) -> None:
    """A rollback lets the running version leave too; if the earlier one fails, everything is as before."""
    workspace["greet"] = claiming("a", end="if 'broken' in registry.names: raise RuntimeError")
    running = run(workspace.config())
    save(running, workspace, claiming("b"))
    running.manager.rollback("greet", 1)
    assert (running.status("greet").state, registry.names) == (PluginState.HELD, {"greet": "a"})
    running.manager.release("greet")
    assert (running.status("greet").state, registry.names) == (PluginState.OK, {"greet": "b"})
    registry.names["broken"] = ""
    with pytest.raises(PluginError):
        running.manager.rollback("greet", 1)
    assert (running.host.call("greet"), running.status("greet").state) == (["b"], PluginState.OK)
    assert (running.status("greet").reload, registry.names) == ("replace", {"greet": "b", "broken": ""})
    save(running, workspace, claiming("c"))
    running.manager.rollback("greet", running.status("greet").generation)
    held = running.status("greet").held
    with pytest.raises(PluginError):
        running.manager.rollback("greet", 1)
    assert (running.host.call("greet"), running.status("greet").held) == (["c"], held)
    assert running.status("greet").state is PluginState.HELD


def test_a_call_in_flight_ends_before_the_release(
    workspace: Workspace, run: Run, registry: ModuleType, stage: Stage
) -> None:
    """A replaced version keeps what it owns until its calls have ended; its socket goes on to the next."""
    source = (
        "import registry, stage\nRELOAD = 'replace'\n"
        "def work():\n    stage.wait()\n    return dict(registry.names)\n"
        "def register(ctx):\n    ctx.hook('work', work)\n"
        "    ctx.own('it', lambda: registry.add('it', '{0}'), lambda: registry.names.pop('it'))\n"
        "    listening = ctx.listen('127.0.0.1', 0)\n"
        "    ctx.hook('port', lambda: listening.getsockname()[1])\n"
    )
    workspace["greet"] = source.replace("{0}", "a")
    running = run(workspace.config(drain_timeout=PATIENCE))
    port = running.host.call("port")
    values: list[object] = []
    call = threading.Thread(target=lambda: values.extend(running.host.call("work")))
    call.start()
    assert stage.entered.wait(PATIENCE)
    workspace["greet"] = source.replace("{0}", "b")
    reload = threading.Thread(target=running.manager.scan_and_load_all)
    reload.start()
    assert running.wait_for(lambda: running.host.call("port") == [])
    assert registry.names == {"it": "a"}
    stage.gate.set()
    call.join()
    reload.join()
    assert (values, registry.names) == ([{"it": "a"}], {"it": "b"})
    assert running.host.call("port") == port


def test_the_plan_says_so(workspace: Workspace, run: Run, registry: ModuleType) -> None:
    """The plan names the plugins whose running version leaves first, and changes nothing."""
    workspace["greet"] = claiming("a", head="")
    workspace["guest"] = claiming("a", name="guest", head="REQUIRES = ['greet']")
    running = run(workspace.config())
    workspace["greet"] = claiming("b")
    reasons = {plan.name: plan.reasons for plan in running.manager.plan().plugins}
    assert REPLACED in reasons["greet"]
    assert "its live version leaves first, with one that it requires" in reasons["guest"]
    assert registry.names == {"greet": "a", "guest": "a"}


def test_an_on_unload_function_cannot_ask_for_a_replacement(
    workspace: Workspace, run: Run, registry: ModuleType, stage: Stage
) -> None:
    """A replacement waits for ``on_unload`` functions, so one of these is refused, and nothing leaves."""
    workspace["greet"] = claiming("a")
    workspace["other"] = (
        "import stage\ndef register(ctx):\n    @ctx.on_unload\n    def ask():\n"
        "        try: stage.running.manager.rebuild('greet')\n"
        "        except Exception as error: stage.told.append(str(error))\n"
    )
    stage.running = running = run(workspace.config())
    assert registry.names == {"greet": "a"}
    running.manager.disable("other")
    assert running.wait_for(lambda: bool(stage.told))
    assert "on_unload of other cannot load" in str(stage.told[0])
    assert (running.host.call("greet"), running.status("greet").generation) == (["a"], 1)


HELD_BY_MAIN = """
import registry
RELOAD = "replace"
NAME = registry.Name("{version}")
registry.current().add("greet", NAME)
def register(ctx):
    ctx.hook("greet", lambda: NAME.version)
"""


@pytest.mark.parametrize("head", ["class App:", "class App(dict):\n    names = property(lambda self: self)"])
def test_a_register_that_only_a_local_variable_leads_to_lets_the_old_version_go(
    workspace: Workspace, run: Run, registry: ModuleType, head: str
) -> None:
    """What a version registers in an application that is a local variable of ``main`` leaves with it."""
    init = "" if "dict" in head else "    def __init__(self): self.names = {}\n"
    exec(
        f"class Name:\n    def __init__(self, version): self.version = version\n{head}\n{init}"
        "    def add(self, name, value):\n"
        "        if name in self.names: raise ValueError(f'{name} is already registered')\n"
        "        self.names[name] = value\n",
        vars(registry),
    )
    app = registry.App()
    vars(registry)["current"] = weakref.ref(app)
    workspace["greet"] = HELD_BY_MAIN.format(version="a")
    running = run(workspace.config())
    save(running, workspace, HELD_BY_MAIN.format(version="b"))
    assert (running.host.call("greet"), app.names["greet"].version) == (["b"], "b"), running.said()
    running.manager.disable("greet")
    assert running.wait_for(lambda: app.names == {})


APPLICATION = """
import asyncio, threading
class App:
    def __init__(self): self.names, self.gate = {}, threading.Event()
    def add(self, name, value):
        if name in self.names: raise ValueError(f'{name} is already registered')
        self.names[name] = value
    def serve(self):
        self.loop = None
        ready.set()
        self.gate.wait()
async def main():
    app, gate = App(), asyncio.Event()
    app.gate, app.loop = gate, asyncio.get_running_loop()
    global current
    current = weakref.ref(app)
    ready.set()
    await gate.wait()
def serve():
    global current
    app = App()
    current = weakref.ref(app)
    return app.serve
def stop():
    app = current()
    app.loop.call_soon_threadsafe(app.gate.set) if app.loop else app.gate.set()
ready = threading.Event()
"""


@pytest.mark.parametrize("target", ["asyncio.run, args=(main(),)", "serve()"])
def test_a_register_that_a_running_task_or_thread_leads_to_lets_the_old_version_go(
    workspace: Workspace, run: Run, lib: ModuleType, target: str
) -> None:
    """An application in ``async def main``, or one that a thread serves, has the new version once."""
    exec(APPLICATION, vars(lib))
    thread = eval(f"threading.Thread(target={target})", vars(lib))
    thread.start()
    assert lib.ready.wait(PATIENCE)
    source = (
        "import lib\nRELOAD = 'replace'\ndef it(): return 'v1'\nlib.current().add('it', it)\n"
        "def register(ctx): ...\n"
    )
    try:
        workspace["greet"] = source
        running = run(workspace.config())
        save(running, workspace, source.replace("v1", "v2"))
        assert [each() for each in lib.current().names.values()] == ["v2"]
        save(running, workspace, f"{source}raise RuntimeError\n")
        assert [each() for each in lib.current().names.values()] == ["v2"]
    finally:
        lib.stop()
        thread.join()


def test_a_failed_load_leaves_no_record_that_leads_to_its_function(
    workspace: Workspace, run: Run, lib: ModuleType
) -> None:
    """A record of two objects of the library for one function, as loguru makes, leaves with a failed load."""
    exec(
        "class Sink:\n    def __init__(self, it): self.it = it\n"
        "class Handler:\n    def __init__(self, it): self.sink = Sink(it)\n"
        "handlers = {}\ndef add(it): handlers[len(handlers) + 1] = Handler(it)\n",
        vars(lib),
    )
    source = "import lib\nRELOAD = 'replace'\ndef it(): return 'v1'\nlib.add(it)\ndef register(ctx): ...\n"
    workspace["greet"] = source
    running = run(workspace.config())
    save(running, workspace, source.replace("v1", "v2"))
    save(running, workspace, f"{source}raise RuntimeError\n")
    assert [each.sink.it() for each in lib.handlers.values()] == ["v2"]
    assert (running.fault("greet").notes, running.status("greet").left) == ((), ())


def test_a_failed_load_names_what_a_frozen_object_keeps(
    workspace: Workspace, run: Run, lib: ModuleType
) -> None:
    """A program that calls ``gc.freeze`` learns from the fault that its list still has the function."""
    lib.things["list"] = [lib]  # the collector knows it
    gc.freeze()
    workspace["greet"] = (
        "import lib\ndef it(): ...\nlib.things['list'].append(it)\ndef register(ctx): raise ValueError\n"
    )
    (note,) = run(workspace.config()).fault("greet").notes
    assert note.startswith("left behind: greet.plugin.it, held by C code or a frozen object")


PROXY = """
class Proxy:
    @property
    def __class__(self):
        {act}
lazy = Proxy()
"""


@pytest.mark.parametrize("act", ["return dict", "raise RuntimeError"])
def test_a_lazy_object_of_a_library_is_not_asked_for_its_class(
    workspace: Workspace, run: Run, registry: ModuleType, act: str
) -> None:
    """An object that pretends to be a dictionary, as Django's settings can, or raises, disturbs no search."""
    exec(PROXY.format(act=act), vars(registry))
    registry.names["greet"] = "the host"
    workspace["greet"] = claiming("a")
    running = run(workspace.config())
    assert running.fault("greet").message == "greet is already registered"
    assert "'greet' is still in registry.names; release it in on_unload" in running.fault("greet").notes
