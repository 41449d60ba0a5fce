"""One suite for both implementations of ``ManagerApi``: the manager and its remote proxy."""

import inspect
import threading
from collections.abc import Callable, Iterator

import pytest

from hotload_tui import Config, HotloadManager, ManagerApi
from hotload_tui.core.errors import HotloadError, RefusedError, UnknownPluginError, UsageError
from hotload_tui.core.events import (
    AnyEvent,
    LogWritten,
    PluginCleaned,
    PluginDisabled,
    PluginFailed,
    PluginLoaded,
    Subscriber,
)
from hotload_tui.core.model import PluginState
from hotload_tui.remote import RemoteManager, serve
from tests.conftest import Running, Workspace
from tests.waiting import PATIENCE

GREET = "def register(ctx):\n    ctx.hook('greet', lambda name: f'Hello, {name}')\n"
GREET += "    ctx.hook('fail', lambda: 1 / 0)\n"

BROKEN = "def register(ctx):\n    x = (1 +\n"
METHODS = [
    name for name, member in inspect.getmembers(ManagerApi, inspect.isfunction) if not name.startswith("_")
]


@pytest.fixture
def manager(workspace: Workspace, run: Callable[[Config], Running]) -> HotloadManager:
    """Return a running manager with the plugin ``greet``."""
    workspace["greet"] = GREET
    return run(workspace.config()).manager


@pytest.fixture(params=["in process", "through a socket"])
def api(request: pytest.FixtureRequest, manager: HotloadManager) -> Iterator[ManagerApi]:
    """Yield the manager itself, and its remote proxy."""
    if request.param == "in process":
        yield manager
        return
    with serve(manager) as server, RemoteManager(server.socket) as remote:
        yield remote


def test_a_missing_operation_is_named() -> None:
    """A class that implements only a part of ``ManagerApi`` raises an error that names the missing method."""

    class Partial(ManagerApi):
        def subscribe(self, _subscriber: Subscriber, /) -> Callable[[], None]:
            return lambda: None

    with pytest.raises(NotImplementedError, match=r"Partial does not implement rebuild\(\)"):
        Partial().rebuild("greet", force=True)


def test_a_class_without_subscribe_is_refused() -> None:
    """A class without ``subscribe`` cannot be used; the error names the method."""

    class Deaf(ManagerApi):
        pass

    with pytest.raises(TypeError, match="subscribe"):
        Deaf()  # type: ignore[abstract]


def heard_by(api: ManagerApi) -> list[AnyEvent]:
    """Return a list to which all events are appended."""
    heard: list[AnyEvent] = []
    api.subscribe(heard.append)
    return heard


def kinds(heard: list[AnyEvent]) -> list[type[AnyEvent]]:
    """Return the types of the events, in order."""
    return [type(event) for event in heard]


@pytest.mark.parametrize("name", METHODS)
def test_both_sides_take_the_same_arguments(name: str) -> None:
    """Every method of the API has the same signature on both sides."""
    wanted = inspect.signature(getattr(ManagerApi, name))
    for side in (HotloadManager, RemoteManager):
        assert inspect.signature(getattr(side, name)) == wanted


def test_the_snapshot_contains_every_plugin(api: ManagerApi, manager: HotloadManager) -> None:
    """State, details, sources and log are those of the manager."""
    assert api.snapshot() == manager.snapshot()
    assert api.detail("greet") == manager.detail("greet")
    assert api.source("greet", "plugin.py") == GREET
    assert api.source("greet", "plugin.py", 1) == GREET
    lines = manager.log()
    assert api.log() == lines
    assert api.log(lines[0].number) == lines[1:]


def test_the_events_of_a_rebuild_arrive_before_it_returns(api: ManagerApi, workspace: Workspace) -> None:
    """When a rebuild returns, its events have arrived, with its log lines."""
    heard = heard_by(api)
    workspace["greet"] = GREET.replace("Hello", "Hi")
    (status,) = api.rebuild("greet")
    assert (status.state, status.generation) == (PluginState.OK, 2)
    assert [event.generation for event in heard if isinstance(event, PluginLoaded)] == [2]
    told = [event.line.text for event in heard if isinstance(event, LogWritten)]
    assert any(text.startswith("loaded generation 2") for text in told)
    assert api.invoke("greet", "Ada").values == ("Hi, Ada",)


def test_several_plugins_are_one_batch(api: ManagerApi, workspace: Workspace) -> None:
    """A rebuild of several plugins loads each of them once, and returns also those that loaded with them."""
    workspace["user"] = f"REQUIRES = ['greet']\n{GREET}"
    workspace["other"] = GREET
    api.rebuild()
    heard = heard_by(api)
    statuses = api.rebuild("other", "user", "greet", "user", force=True)
    assert [(each.name, each.generation) for each in statuses] == [("other", 2), ("user", 2), ("greet", 2)]
    swaps = {
        step.seconds
        for event in heard
        if isinstance(event, PluginLoaded)
        for step in event.steps
        if step.name == "swap"
    }
    assert len(swaps) == 1
    statuses = api.rebuild("greet")
    assert [(each.name, each.generation) for each in statuses] == [("greet", 3), ("user", 3)]


def test_a_rebuild_of_several_plugins_is_refused_as_a_whole(api: ManagerApi, workspace: Workspace) -> None:
    """If one of the plugins is unknown or disabled, none is loaded."""
    workspace["_off"] = GREET
    for name, said in (("gret", 'did you mean "greet"'), ("off", "off is disabled; enable it first")):
        with pytest.raises(HotloadError, match=said):
            api.rebuild("greet", name)
    assert api.detail("greet").status.generation == 1


def test_events_arrive_in_the_order_of_commands(api: ManagerApi) -> None:
    """Each command takes effect, and the events come in the order of the commands."""
    heard = heard_by(api)
    assert api.disable("greet").state is PluginState.OFF
    assert api.enable("greet").state is PluginState.OK
    assert api.clean("greet") == 1
    assert api.new("fresh").state is PluginState.OK
    told = kinds(heard)
    assert [kind for kind in told if kind in (PluginDisabled, PluginCleaned)] == [
        PluginDisabled,
        PluginCleaned,
    ]
    assert [(event.name, event.generation) for event in heard if isinstance(event, PluginLoaded)] == [
        ("greet", 2),
        ("fresh", 1),
    ]


def test_a_template_is_chosen(api: ManagerApi) -> None:
    """A new plugin can be made from a chosen template."""
    assert api.new("parted", "package").state is PluginState.OK
    assert {file.path for file in api.detail("parted").files} >= {"plugin.py", "words.py"}


def test_an_earlier_generation_comes_back_and_goes(api: ManagerApi, workspace: Workspace) -> None:
    """History, rollback and release work on both sides."""
    workspace["greet"] = GREET.replace("Hello", "Hi")
    api.rebuild("greet")
    assert [entry.generation for entry in api.history("greet")] == [1, 2]
    assert api.rollback("greet", 1).state is PluginState.HELD
    assert api.invoke("greet", "Ada").values == ("Hello, Ada",)
    assert api.release("greet").state is PluginState.OK
    assert api.invoke("greet", "Ada").values == ("Hi, Ada",)
    with pytest.raises(RefusedError, match="no generation 9"):
        api.rollback("greet", 9)


@pytest.mark.parametrize("name", ["api", "operation", "self", "point", "name", "call", "manager", "kwargs"])
def test_a_hook_point_takes_a_keyword_of_any_name(api: ManagerApi, workspace: Workspace, name: str) -> None:
    """A handler can take keywords with the names of the API's own parameters."""
    workspace["any"] = "def register(ctx):\n    ctx.hook('any', lambda **given: list(given.items()))\n"
    api.rebuild("any")
    assert [list(map(tuple, value)) for value in api.invoke("any", **{name: 1}).values] == [[(name, 1)]]  # type: ignore[call-overload]


def test_a_command_is_undone(api: ManagerApi) -> None:
    """``undo`` returns the name of the reverted command, or is refused if there is none."""
    api.disable("greet")
    assert api.undo() == "disable greet"
    assert api.invoke("greet", "Ada").values == ("Hello, Ada",)
    with pytest.raises(RefusedError, match="nothing to undo"):
        api.undo()


def test_a_failed_build_is_a_fault_and_an_event(api: ManagerApi, workspace: Workspace) -> None:
    """A failed build returns the fault and publishes it as an event, and the old version stays live."""
    heard = heard_by(api)
    workspace["greet"] = BROKEN
    (status,) = api.rebuild("greet")
    assert status.state is PluginState.STALE
    assert status.fault is not None
    (event,) = [event for event in heard if isinstance(event, PluginFailed)]
    assert event.fault == status.fault
    assert event.fault.place is not None
    assert event.fault.place.line == 2
    assert api.invoke("greet", "Ada").values == ("Hello, Ada",)


def test_a_handlers_fault_is_published_before_the_call_returns(api: ManagerApi) -> None:
    """A handler's fault is in the call's result and in an event."""
    heard = heard_by(api)
    invocation = api.invoke("fail")
    assert [fault.type for fault in invocation.faults] == ["ZeroDivisionError"]
    assert [event.fault for event in heard if isinstance(event, PluginFailed)] == list(invocation.faults)


@pytest.mark.parametrize(
    ("kind", "ask"),
    [
        (UnknownPluginError, lambda api: api.detail("gret")),
        (UnknownPluginError, lambda api: api.enable("gret")),
        (UnknownPluginError, lambda api: api.source("greet", "none.py")),
        (UnknownPluginError, lambda api: api.source("greet", "plugin.py", 7)),
        (UsageError, lambda api: api.new("a/b")),
        (RefusedError, lambda api: (api.disable("greet"), api.rebuild("greet"))),
    ],
)
def test_an_error_is_the_same_on_both_sides(
    api: ManagerApi, manager: HotloadManager, kind: type[HotloadError], ask: Callable[[ManagerApi], object]
) -> None:
    """A failing request raises the same error with the same text on both sides, and the next one works."""
    with pytest.raises(HotloadError) as here:
        ask(api)
    with pytest.raises(HotloadError) as there:
        ask(manager)
    assert (type(here.value), str(here.value)) == (kind, str(there.value))
    assert api.snapshot().plugins[0].name == "greet"


def test_an_unsubscribed_function_gets_no_more_events(api: ManagerApi) -> None:
    """After the undo the subscriber receives no more events, and other subscribers still do."""
    heard: list[AnyEvent] = []
    undo = api.subscribe(heard.append)
    others = heard_by(api)
    api.clean()
    undo()
    undo()
    before = len(heard)
    api.rebuild(force=True)
    assert (before > 0, len(heard)) == (True, before)
    assert PluginLoaded in kinds(others)


def test_a_subscriber_that_raises_does_not_affect_the_others(api: ManagerApi) -> None:
    """If one subscriber raises, the others still receive the event."""

    def fail(event: AnyEvent) -> None:
        raise ZeroDivisionError(event)

    api.subscribe(fail)
    heard = heard_by(api)
    api.rebuild(force=True)
    assert PluginLoaded in kinds(heard)


def test_a_subscriber_may_use_the_api(api: ManagerApi) -> None:
    """A subscriber may read the state and give a command during an event."""
    done = threading.Event()
    seen: list[PluginState] = []

    def look(event: AnyEvent) -> None:
        if isinstance(event, PluginLoaded) and event.name == "greet":
            seen.extend(plugin.state for plugin in api.snapshot().plugins)
            api.invoke("greet", "Ada")
            done.set()

    api.subscribe(look)
    api.rebuild(force=True)
    assert done.wait(PATIENCE)
    assert seen[0] in (PluginState.OK, PluginState.BUILD)


@pytest.fixture
def watching(workspace: Workspace, run: Callable[[Config], Running]) -> Running:
    """Return a manager that watches the plugins ``greet`` and ``other``."""
    workspace["greet"] = workspace["other"] = GREET
    return run(workspace.config(enable_watch=True, settle_time=0.0))


@pytest.fixture(params=["in process", "through a socket"])
def watcher(request: pytest.FixtureRequest, watching: Running) -> Iterator[ManagerApi]:
    """Yield the watching manager itself, and its remote proxy."""
    if request.param == "in process":
        yield watching.manager
        return
    with serve(watching.manager) as server, RemoteManager(server.socket) as remote:
        yield remote


def test_a_pause_collects_saves(watcher: ManagerApi, watching: Running, workspace: Workspace) -> None:
    """During a pause saves are only counted; resuming applies all in one batch."""
    assert watcher.pause().paused
    assert watcher.pause().waiting == ()
    workspace["greet"] = GREET.replace("Hello", "Hi")
    workspace["other"] = BROKEN
    workspace["fresh"] = GREET.replace("Hello", "Hey")
    everyone = ("fresh", "greet", "other")
    assert watching.wait_for(lambda: watcher.snapshot().watcher.waiting == everyone)
    assert [plugin.generation for plugin in watcher.snapshot().plugins] == [1, 1]
    assert watcher.invoke("greet", "Ada").values == ("Hello, Ada", "Hello, Ada")
    before = len(watching.events)
    states = {plugin.name: plugin.state for plugin in watcher.resume()}
    assert states == {"fresh": PluginState.OK, "greet": PluginState.OK, "other": PluginState.STALE}
    assert watcher.invoke("greet", "Ada").values == ("Hey, Ada", "Hi, Ada", "Hello, Ada")
    loaded = [event for event in watching.events[before:] if isinstance(event, PluginLoaded)]
    assert [(event.name, event.generation) for event in loaded] == [("fresh", 1), ("greet", 2)]
    assert not watcher.snapshot().watcher.paused
    workspace["other"] = GREET.replace("Hello", "Good day")
    assert watching.wait_for(lambda: watching.status("other").generation == 2)


def test_a_command_applies_the_waiting_change_of_its_plugin(
    watcher: ManagerApi, watching: Running, workspace: Workspace
) -> None:
    """A command during a pause applies its plugin's change, and the other plugin still waits."""
    watcher.pause()
    workspace["greet"] = workspace["other"] = GREET.replace("Hello", "Hi")
    assert watching.wait_for(lambda: watcher.snapshot().watcher.waiting == ("greet", "other"))
    assert watcher.rebuild("greet")[0].generation == 2
    assert watcher.snapshot().watcher.waiting == ("other",)
    watcher.disable("other")
    assert watching.wait_for(lambda: watcher.snapshot().watcher.waiting == ())
    assert watcher.resume() == ()
    assert watching.status("greet").generation == 2


def test_a_reverted_change_does_not_wait(
    watcher: ManagerApi, watching: Running, workspace: Workspace
) -> None:
    """A change that is undone during the pause leaves nothing to apply."""
    watcher.pause()
    workspace["greet"] = BROKEN
    assert watching.wait_for(lambda: watcher.snapshot().watcher.waiting == ("greet",))
    workspace["greet"] = GREET
    assert watching.wait_for(lambda: watcher.snapshot().watcher.waiting == ())
    assert watcher.resume() == ()
    assert watching.status("greet").generation == 1


def test_a_plugin_that_goes_away_during_a_pause(
    watcher: ManagerApi, watching: Running, workspace: Workspace
) -> None:
    """A plugin whose folder is deleted during the pause stays live until the manager resumes."""
    watcher.pause()
    (workspace.plugins / "other" / "plugin.py").unlink()
    (workspace.plugins / "other").rmdir()
    assert watching.wait_for(lambda: watcher.snapshot().watcher.waiting == ("other",))
    assert watcher.invoke("greet", "Ada").values == ("Hello, Ada", "Hello, Ada")
    assert watcher.resume() == ()
    assert [plugin.name for plugin in watcher.snapshot().plugins] == ["greet"]


def test_without_a_watcher_pause_is_refused(api: ManagerApi) -> None:
    """A manager without a watcher refuses to pause, and resuming does nothing."""
    with pytest.raises(RefusedError, match="nothing is watched"):
        api.pause()
    assert api.resume() == ()
