"""Objects of plugins that the program keeps follow a reload: ``manager.follow`` and ``follow = "all"``."""

from __future__ import annotations

import sys
import threading
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Protocol, cast

import pytest

from hotload_tui import Config
from hotload_tui.core.errors import UsageError
from hotload_tui.core.events import PluginRetired
from tests.conftest import Running, Workspace
from tests.core.conftest import Stage, retired

Run = Callable[[Config], Running]
MAKES = "def register(ctx):\n    ctx.hook('make', lambda: {made})\n"


class Numbered(Protocol):
    """An object of a plugin that answers differently in each version."""

    def number(self) -> int:
        """Return the number of the version whose code runs."""
        ...


def one(running: Running) -> Numbered:
    """Return the object that the plugin makes."""
    return cast("Numbered", running.host.first("make"))


def both(running: Running) -> list[Numbered]:
    """Return the two objects that the plugin makes."""
    return list(cast("list[Numbered]", running.host.first("make")))


def making(classes: str, made: str = "Ball()") -> str:
    """Return a plugin whose hook returns a new object."""
    return classes + MAKES.format(made=made)


BALL = "class Ball:\n    def number(self): return {}\n"


@dataclass
class Team:
    """A dataclass of the program."""

    players: list[object] = field(default_factory=list)


class World:
    """A plain object of the program."""

    def __init__(self, thing: object) -> None:
        self.entities = {"ball": [None, thing]}


class Slotted:
    """An object of the program without a dictionary."""

    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing


KEEPS: dict[str, tuple[Callable[[object], object], Callable[[object], object]]] = {
    "dictionary": (lambda thing: {"a": {"b": thing}}, lambda kept: kept["a"]["b"]),  # type: ignore[index]
    "list": (lambda thing: [1, [thing]], lambda kept: kept[1][0]),  # type: ignore[index]
    "tuple in a list": (lambda thing: [(1, thing)], lambda kept: kept[0][1]),  # type: ignore[index]
    "set": (lambda thing: {thing}, lambda kept: next(iter(kept))),  # type: ignore[call-overload]
    "deque": (lambda thing: deque([thing]), lambda kept: kept[0]),  # type: ignore[index]
    "dataclass": (lambda thing: Team([thing]), lambda kept: kept.players[0]),  # type: ignore[attr-defined]
    "plain object": (World, lambda kept: kept.entities["ball"][1]),  # type: ignore[attr-defined]
    "object with slots": (Slotted, lambda kept: kept.thing),  # type: ignore[attr-defined]
    "objects in a list": (lambda thing: [World(thing)], lambda kept: kept[0].entities["ball"][1]),  # type: ignore[index]
    "object of a library": (lambda thing: Namespace(a=thing), lambda kept: kept.a),  # type: ignore[attr-defined]
    "namespace": (lambda thing: SimpleNamespace(a=thing), lambda kept: kept.a),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("made", ["Ball()", "Colour.RED"])
@pytest.mark.parametrize("kind", KEEPS)
def test_objects_in_a_container_of_the_program_are_new_after_a_save_and_old_after_a_failed_load(
    workspace: Workspace, run: Run, kind: str, made: str
) -> None:
    """Objects and members of enumerations in a registered container follow, and leave no version behind."""
    source = making(
        f"import enum\n{BALL}class Colour(enum.Enum):\n    RED = 1\n    number = Ball.number\n", made
    )
    workspace["greet"] = source.format(1)
    running = run(workspace.config())
    keep, found = KEEPS[kind]
    kept = keep(running.host.first("make"))
    running.manager.follow(kept)

    def number() -> object:
        return found(kept).number()  # type: ignore[attr-defined]

    workspace["greet"] = f"{source.format(2)}    raise ValueError\n"
    running.manager.rebuild("greet")
    assert number() == 1
    workspace["greet"] = source.format(2)
    running.manager.rebuild("greet")
    assert number() == 2
    assert retired(running).memory == "freed"


def test_an_object_of_the_program_that_cannot_follow_is_named_with_its_place(
    workspace: Workspace, run: Run
) -> None:
    """If one object in a container cannot follow, no object follows, and the fault names its place."""
    source = making(BALL.format(1) + "class Disc:\n    __slots__ = ('n',)\n", "[Ball(), Disc()]")
    workspace["greet"] = source
    running = run(workspace.config())
    ball, disc = both(running)
    entities: dict[str, list[object]] = {"ball": [ball, 0, disc]}
    running.manager.follow(entities, name="world.entities")
    workspace["greet"] = source.replace("return 1", "return 2").replace("('n',)", "('n', 'm')")
    running.manager.rebuild("greet")
    assert "world.entities['ball'][2]: Disc.__slots__ changed" in running.fault("greet").message
    assert "manager.follow" in running.fault("greet").message
    assert ball.number() == 1
    entities["ball"].pop()
    running.manager.rebuild("greet")
    assert ball.number() == 2


def test_a_place_without_a_name_begins_with_the_type(workspace: Workspace, run: Run) -> None:
    """By default, a fault names a container by its type."""
    workspace["greet"] = making("class Ball: ...\n")
    running = run(workspace.config())
    world = World(running.host.first("make"))
    running.manager.follow(world)
    workspace["greet"] = making("class Disc: ...\n", "Disc()")
    running.manager.rebuild("greet")
    message = running.fault("greet").message
    assert "World.entities['ball'][1]: Ball is not defined any more in plugin" in message


def test_objects_follow_until_the_container_is_taken_back(workspace: Workspace, run: Run) -> None:
    """The function that ``follow`` returns ends it: objects stay old, and the container is let go."""
    workspace["greet"] = making(BALL.format(1))
    running = run(workspace.config())
    ball = one(running)
    unfollow = running.manager.follow([ball])
    unfollow()
    unfollow()
    workspace["greet"] = making(BALL.format(2))
    running.manager.rebuild("greet")
    assert ball.number() == 1


@pytest.mark.parametrize("value", [(), frozenset(), "text", None, Team, making])
def test_a_value_that_cannot_change_is_refused(workspace: Workspace, run: Run, value: object) -> None:
    """A tuple or a text is no container, and the error says what to pass."""
    running = run(workspace.config())
    with pytest.raises(UsageError, match="cannot follow: pass a list, dictionary, set, or an object"):
        running.manager.follow(value)


def test_adopt_of_an_object_of_the_program_gets_the_state_version(workspace: Workspace, run: Run) -> None:
    """``adopt`` gets the STATE_VERSION of the previous version, although it kept no state."""
    workspace["greet"] = "STATE_VERSION = 3\n" + making("class Ball: ...\n")
    running = run(workspace.config())
    kept = {"ball": running.host.first("make")}
    running.manager.follow(kept)
    adopting = "class Ball:\n    def adopt(self, old_version): self.before = old_version\n"
    workspace["greet"] = "STATE_VERSION = 4\n" + making(adopting)
    running.manager.rebuild("greet")
    assert vars(kept["ball"]) == {"before": 3}


def test_objects_of_a_disabled_plugin_follow_when_it_is_enabled_again(workspace: Workspace, run: Run) -> None:
    """While a plugin is disabled, its objects stay as they were; they follow the next version of it."""
    workspace["greet"] = making(BALL.format(1))
    running = run(workspace.config())
    kept = [one(running)]
    running.manager.follow(kept)
    running.manager.disable("greet")
    assert "held by manager.follow's list[0]" in retired(running).memory
    assert kept[0].number() == 1
    (workspace.plugins / "_greet" / "plugin.py").write_text(making(BALL.format(2)))
    running.manager.enable("greet")
    assert kept[0].number() == 2


@pytest.mark.parametrize("setting", ["forget", "replace"])
def test_objects_in_a_container_survive_an_undo(
    workspace: Workspace, run: Run, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ``forget`` nor ``reload = "replace"`` removes objects from a container in which they follow."""
    table = {"forget": True} if setting == "forget" else {"reload": "replace"}
    workspace["greet"] = making(BALL.format(1))
    running = run(workspace.config(plugins={"greet": table}))
    program = ModuleType("program")
    monkeypatch.setitem(sys.modules, "program", program)
    kept = program.kept = [one(running)]  # type: ignore[attr-defined]
    running.manager.follow(kept, name="program.kept")
    workspace["greet"] = making(BALL.format(2)) + "    raise ValueError\n"
    running.manager.rebuild("greet")
    assert [each.number() for each in kept] == [1]
    workspace["greet"] = making(BALL.format(2))
    running.manager.rebuild("greet")
    assert [each.number() for each in kept] == [2]
    before = len(running.told(PluginRetired, "greet"))
    running.manager.disable("greet")
    assert running.wait_for(lambda: len(running.told(PluginRetired, "greet")) > before)
    running.manager.enable("greet")
    assert [each.number() for each in kept] == [2]


def test_a_program_changes_its_containers_while_objects_follow(workspace: Workspace, run: Run) -> None:
    """A thread that adds and removes entries during reloads loses none of them, and each object follows."""
    classes = (
        f"import enum\n{BALL}class Colour(enum.Enum):\n    RED = 1\n    BLUE = 2\n    number = Ball.number\n"
    )
    source = making(classes, "(Ball(), Colour.RED)")
    workspace["greet"] = source.format(0)
    running = run(workspace.config())
    ball, colour = both(running)
    things: list[object] = [ball, colour]
    table: dict[object, object] = {"first": ball, colour: 0, "last": colour}
    running.manager.follow([things, table])
    ended = threading.Event()
    added = 0

    def change() -> None:
        nonlocal added
        while not ended.wait(0.0002):
            things.insert(0, added)
            table[added] = added
            added += 1
            if added > 50:
                things.remove(added - 51)
                del table[added - 51]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(1, 6):
            workspace["greet"] = source.format(number)
            running.manager.rebuild("greet")
            assert running.status("greet").generation == number + 1, running.status("greet")
            numbers = [each.number() for each in list(things) if type(each) is not int]  # type: ignore[attr-defined]
            assert numbers == [number, number]
    finally:
        ended.set()
        thread.join()
    expected = {*range(added)[-50:]}
    assert {each for each in things if type(each) is int} == expected
    assert {each for each in table if type(each) is int} == expected
    assert [type(key).__name__ for key in table if type(key) is not int] == ["str", "Colour", "str"]
    assert table["last"].number() == 5  # type: ignore[attr-defined]


def test_what_an_old_call_leaves_in_a_container_follows_when_it_has_ended(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """An object that a call of the old version makes after the swap follows when that call has ended."""
    source = f"import stage\n{BALL}def make():\n    stage.wait()\n    stage.view(Ball())\n"
    source += "def register(ctx):\n    ctx.hook('make', make)\n"
    workspace["greet"] = source.format(1)
    running = run(workspace.config(drain_timeout=30.0))
    kept: list[object] = []
    running.manager.follow(kept)
    stage.view = kept.append
    caller = threading.Thread(target=running.host.call, args=("make",))
    caller.start()
    assert stage.entered.wait(30)
    workspace["greet"] = source.format(2)
    running.manager.rebuild("greet")
    stage.gate.set()
    caller.join()
    assert retired(running).memory == "freed"
    assert [each.number() for each in kept] == [2]  # type: ignore[attr-defined]


SHARED = """
BEFORE = []
class Ball:
    __slots__ = {1}
    def number(self): return {0}
    def adopt(self, old_version): BEFORE.append(old_version)
"""
USER = """
REQUIRES = ['balls']
from hotplug.balls.plugin import Ball
def register(ctx):
    kept = ctx.state.setdefault('kept', [Ball()])
    ctx.hook('show', lambda: (kept[0].number(), isinstance(kept[0], Ball)))
"""


@pytest.mark.parametrize("between", [False, True])
def test_objects_of_a_required_plugin_in_the_state_follow_when_both_reload(
    workspace: Workspace, run: Run, *, between: bool
) -> None:
    """A plugin keeps objects of a plugin that it requires, also through another: they follow in one swap."""
    balls = "STATE_VERSION = {2}\n" + SHARED + "def register(ctx):\n    ctx.hook('before', lambda: BEFORE)\n"
    workspace["balls"] = balls.format(1, (), 5)
    user = USER
    if between:
        workspace["middle"] = (
            "REQUIRES = ['balls']\nfrom hotplug.balls.plugin import Ball\ndef register(ctx): ...\n"
        )
        user = USER.replace("['balls']", "['middle']").replace("hotplug.balls", "hotplug.middle")
    workspace["greet"] = user
    running = run(workspace.config())
    assert running.host.call("show") == [(1, True)]
    workspace["balls"] = balls.format(2, (), 6)
    running.manager.rebuild("balls")
    assert running.host.call("show") == [(2, True)]
    assert running.host.call("before") == [[5]]
    assert retired(running, "balls").memory == "freed"
    workspace["balls"] = balls.format(3, ("m",), 7)
    running.manager.rebuild("balls")
    assert running.host.call("show") == [(2, True)]
    assert "ctx.state['kept'][0]: Ball.__slots__ changed" in running.fault("greet").message


def tables() -> dict[str, dict[str, str]]:
    """Return the tables of plugins whose objects follow wherever they are."""
    return {"greet": {"follow": "all"}}


def everywhere(workspace: Workspace, run: Run, source: str) -> Running:
    """Return a host with a plugin whose objects follow wherever they are."""
    workspace["greet"] = source
    return run(workspace.config(plugins=tables()))


NUMBER = "    def number(self): return 1\n"
MEMBER = """
import enum
class Colour(enum.Enum):
    RED = 1
class Ball:
    def __init__(self): self.colour = Colour.RED
    def number(self): return 1 if self.colour is Colour.RED else 0
"""
EVERYWHERE_KINDS = {
    "object": (f"class Ball:\n{NUMBER}", "Ball()"),
    "slots": (f"class Ball:\n    __slots__ = ()\n{NUMBER}", "Ball()"),
    "named tuple": (f"import typing\nclass Ball(typing.NamedTuple):\n    n: int\n{NUMBER}", "Ball(4)"),
    "exception": (f"class Ball(Exception):\n{NUMBER}", "Ball('a')"),
    "dataclass": (f"import dataclasses\n@dataclasses.dataclass(slots=True)\nclass Ball:\n{NUMBER}", "Ball()"),
    "kind of list": (f"class Ball(list):\n{NUMBER}", "Ball()"),
    "kind of number": (f"class Ball(float):\n{NUMBER}", "Ball(1)"),
    "object with a member": (MEMBER, "Ball()"),
    "object of a metaclass": (f"class Meta(type): ...\nclass Ball(metaclass=Meta):\n{NUMBER}", "Ball()"),
}


@pytest.mark.parametrize("kind", EVERYWHERE_KINDS)
def test_objects_follow_wherever_they_are(workspace: Workspace, run: Run, kind: str) -> None:
    """With ``follow = "all"``, an object that only the program has follows, and leaves no version behind."""
    first, made = EVERYWHERE_KINDS[kind]
    second = first.replace("return 1", "return 2")
    running = everywhere(workspace, run, making(first, made))
    kept = SimpleNamespace(ball=one(running))
    workspace["greet"] = making(second, made) + "    raise ValueError\n"
    running.manager.rebuild("greet")
    assert kept.ball.number() == 1
    for number in (2, 3):
        workspace["greet"] = making(second.replace("return 2", f"return {number}"), made)
        running.manager.rebuild("greet")
        assert kept.ball.number() == number
    assert retired(running, times=2).memory == "freed"


def test_by_default_objects_that_only_the_program_has_stay_old(workspace: Workspace, run: Run) -> None:
    """Without the setting, the program's object keeps its version."""
    workspace["greet"] = making(BALL.format(1))
    running = run(workspace.config())
    kept = SimpleNamespace(ball=one(running))
    workspace["greet"] = making(BALL.format(2))
    running.manager.rebuild("greet")
    assert kept.ball.number() == 1


def test_an_object_anywhere_that_cannot_follow_fails_the_load(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault names the place where the program keeps the object; no object has followed."""
    source = making(BALL.format(1) + "class Disc:\n    __slots__ = ('n',)\n", "[Ball(), Disc()]")
    running = everywhere(workspace, run, source)
    program = ModuleType("program")
    monkeypatch.setitem(sys.modules, "program", program)
    kept = program.kept = both(running)  # type: ignore[attr-defined]
    workspace["greet"] = source.replace("return 1", "return 2").replace("('n',)", "('n', 'm')")
    running.manager.rebuild("greet")
    message = running.fault("greet").message
    assert "program.kept[1]: Disc.__slots__ changed" in message
    assert 'follow = "all"' in message
    assert kept[0].number() == 1
    kept.pop()
    running.manager.rebuild("greet")
    assert kept[0].number() == 2


OWN = """
import functools
import typing
class Pair(typing.NamedTuple):
    n: int
class Other(typing.NamedTuple):
    n: int
PAIRS = [Pair(1), Pair(2), Other(3)]
class Settings:
    __slots__ = ('n',)
class Speaker:
    def __init__(self, name): self.name = name
    def say(self): return self.name
SETTINGS = [Settings()]
@functools.cache
def cached(): return Settings()
cached()
def register(ctx):
    ctx.hook('say', Speaker('Ada').say)
    ctx.hook('settings', lambda settings=Settings(): type(settings).__name__)
"""


def test_objects_of_the_old_version_itself_do_not_hinder_a_load(workspace: Workspace, run: Run) -> None:
    """Objects that only the old version has may be of classes that the new version does not have."""
    running = everywhere(workspace, run, OWN)
    workspace["greet"] = "def register(ctx):\n    ctx.hook('say', lambda: 'new')\n"
    running.manager.rebuild("greet")
    assert running.status("greet").fault is None
    assert running.host.call("say") == ["new"]
    assert retired(running).memory == "freed"


def test_an_object_that_the_collector_does_not_know_stays_old_and_is_reported(
    workspace: Workspace, run: Run
) -> None:
    """The collector does not see msgspec's structs of simple values: they stay, and the status says so."""
    source = making(
        "import msgspec\nclass Ball(msgspec.Struct):\n    n: int = 1\n    def number(self): return 1\n"
    )
    running = everywhere(workspace, run, source)
    kept = SimpleNamespace(ball=one(running))
    workspace["greet"] = source.replace("return 1", "return 2")
    running.manager.rebuild("greet")
    assert kept.ball.number() == 1
    assert "alive: greet.plugin.Ball" in retired(running).memory
    running.manager.follow(kept)
    running.manager.rebuild("greet", force=True)
    assert kept.ball.number() == 2


def test_the_setting_applies_when_the_configuration_changes(workspace: Workspace, run: Run) -> None:
    """A change of ``follow`` in the configuration reloads the plugin, and its objects follow."""
    count = "import itertools\nnumbers = itertools.count()\n"
    workspace["greet"] = making(f"{count}class Ball:\n    def number(self): return next(numbers)\n")
    running = run(workspace.config())
    kept = SimpleNamespace(ball=one(running))
    assert [kept.ball.number(), kept.ball.number()] == [0, 1]
    running.manager.reconfigure(lambda: workspace.config(plugins=tables()))
    assert kept.ball.number() == 0


EIGHT = """
import enum
import functools

def greet():
    return {n}

def logged(function):
    @functools.wraps(function)
    def wrapper():
        return function()
    return wrapper

@logged
def decorated():
    return {n}

class Speaker:
    def __init__(self, name):
        self.name = name{attribute}
    def say(self):
        return {n}
    def volume(self):
        return {volume}

class Colour(enum.Enum):
    RED = {n}

class BadError(Exception): ...

def caught(error):
    try:
        raise error
    except BadError:
        error.__traceback__ = None  # it would keep this version
        return {n}

def register(ctx):
    handles = {{'function': ctx.live(greet), 'decorated': ctx.live(decorated)}}
    handles['method'] = ctx.live(Speaker('Ada').say)
    ctx.hook('handle', handles.get)
    ctx.hook('make', lambda name: globals()[name]('Ada'))
    ctx.hook('member', lambda: Colour.RED)
    ctx.hook('is red', lambda colour: {n} if colour is Colour.RED else 0)
    ctx.hook('is speaker', lambda thing: {n} if isinstance(thing, Speaker) else 0)
    ctx.hook('caught', caught)
"""
OLD = EIGHT.format(n=1, attribute="", volume=1)
NEW = EIGHT.format(n=2, attribute="\n        self.loud = 2", volume="self.loud")

Look = Callable[[object], object]


def keep_all(running: Running) -> dict[str, tuple[object, Look]]:
    """Return what a program keeps of the plugin ``EIGHT``, and how it uses each thing."""
    host = running.host
    speaker, error = host.first("make", "Speaker"), host.first("make", "BadError")
    colours = [host.first("member")]
    running.manager.follow(colours)
    return {
        "function": (host.first("handle", "function"), lambda kept: kept()),
        "decorated function": (host.first("handle", "decorated"), lambda kept: kept()),
        "bound method": (host.first("handle", "method"), lambda kept: kept()),
        "method of an object": (speaker, lambda kept: kept.say()),
        "isinstance": (speaker, lambda kept: host.first("is speaker", kept)),
        "new attribute": (speaker, lambda kept: kept.volume()),
        "member": (colours, lambda kept: host.first("is red", kept[0])),
        "exception": (error, lambda kept: host.first("caught", kept)),
    }


def test_eight_kinds_of_kept_objects_are_new_after_a_save_and_old_when_the_load_fails(
    workspace: Workspace, run: Run
) -> None:
    """What a program keeps with handles and objects that follow is always of the live version."""
    running = everywhere(workspace, run, OLD)
    rows = keep_all(running)

    def looks() -> dict[str, object]:
        return {name: look(kept) for name, (kept, look) in rows.items()}

    assert looks() == dict.fromkeys(rows, 1)
    workspace["greet"] = f"{NEW}    raise ValueError\n"
    running.manager.rebuild("greet")
    assert looks() == dict.fromkeys(rows, 1)
    workspace["greet"] = NEW
    running.manager.rebuild("greet")
    assert looks() == dict.fromkeys(rows, 2)
    assert retired(running).memory == "freed"


def test_an_object_in_the_state_that_cannot_follow_is_named_with_its_place_there(
    workspace: Workspace, run: Run
) -> None:
    """Also if objects follow everywhere, a fault names the place in ``ctx.state``."""
    source = "class Ball: ...\ndef register(ctx):\n    ctx.state.setdefault('balls', [Ball()])\n"
    running = everywhere(workspace, run, source)
    workspace["greet"] = "def register(ctx): ...\n"
    running.manager.rebuild("greet")
    assert "ctx.state['balls'][0]: Ball is not defined any more" in running.fault("greet").message


def test_an_object_in_the_state_of_another_plugin_that_cannot_follow_fails_the_load(
    workspace: Workspace, run: Run
) -> None:
    """A plugin may keep objects of another one: the fault names its state."""
    workspace["other"] = (
        "def register(ctx):\n    ctx.hook('keep', lambda thing: ctx.state.update(disc=thing))\n"
    )
    running = everywhere(workspace, run, making(BALL.format(1)))
    running.host.call("keep", running.host.first("make"))
    workspace["greet"] = making("class Disc: ...\n", "Disc()")
    running.manager.rebuild("greet")
    assert "other's ctx.state['disc']: Ball is not defined any more" in running.fault("greet").message
