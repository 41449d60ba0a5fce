"""With ``reload = "replace"``, the running version of a plugin leaves before a new one is tried."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from hotload_tui import Config
from hotload_tui.cli.report import fault_lines, remarks
from hotload_tui.core.errors import PluginError
from hotload_tui.core.events import PluginLoaded, PluginRetired
from hotload_tui.core.faults import TWICE
from hotload_tui.core.model import PluginState
from tests.conftest import Running, Workspace
from tests.core.conftest import Stage
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
]


@pytest.mark.parametrize("error", CLAIMS)
def test_a_second_claim_names_the_way_out(workspace: Workspace, run: Run, error: str) -> None:
    """The typical messages of libraries get the hint, but only while a previous version is live."""
    failing = (
        f"def register(ctx):\n    try: raise {error}\n"
        "    except Exception as error: raise RuntimeError from error\n"
    )
    workspace["greet"] = failing
    running = run(workspace.config())
    assert TWICE not in running.fault("greet").notes
    save(running, workspace, "def register(ctx): ...")
    save(running, workspace, failing)
    fault = running.fault("greet")
    assert TWICE in fault.notes
    assert f"  note: {TWICE}" in [*fault_lines(fault)]
    assert running.status("greet").state is PluginState.STALE


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
    save(running, workspace, claiming("c"))
    assert (running.host.call("greet"), registry.names) == (["c"], {"greet": "c"})
    assert running.status("greet").state is PluginState.OK


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
    (again,) = [cause for cause in fault.causes if cause.relation == "member"]
    assert again.message == "greet is already registered"
    assert again.place is not None
    assert "registry.add('greet', 'a')" in again.place.lines[again.place.line - again.place.first_line]
    said = "\n".join(fault_lines(fault))
    assert "ZeroDivisionError" in said
    assert "already registered" in said
    registry.names.clear()
    save(running, workspace, claiming("c"))
    assert (running.host.call("greet"), running.status("greet").state) == (["c"], PluginState.OK)


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
    assert registry.names == {"greet": "b", "broken": ""}
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
