"""Objects of a plugin's own classes in ``ctx.state`` follow the plugin."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from hotload_tui import Config
from hotload_tui.core.errors import LoadError
from tests.conftest import Running, Workspace
from tests.core.conftest import Bench, Stage, retired

Run = Callable[[Config], Running]
REGISTER = """
def register(ctx):
    kept = ctx.state.setdefault('kept', {})
    if not kept:
        fill(kept)
    ctx.hook('show', lambda: show(kept))
    ctx.hook('kept', lambda: kept)
"""


def plugin(classes: str, fill: str, show: str) -> str:
    """Return a plugin whose first version fills a dictionary in its state, and that shows some of it."""
    return f"{classes}\ndef fill(kept):\n    {fill}\ndef show(kept):\n    return {show}\n{REGISTER}"


def shown(bench: Bench) -> object:
    """Return what the live version shows."""
    return bench.host.first("show")


METHOD = "class Ball:\n    def number(self): return {}\n"
PLAIN = "class Ball:\n    def __init__(self, n): self.n = n\n"
SETS = """
COLOUR = 'red'
class Ball:
    def __init__(self, n, size=3):
        self.n = n
        self.colour = COLOUR
        self.size: int = size
        self.__all = []
    def all(self):
        return self.colour, self.size, self.__all
"""
DATA = "import dataclasses\n@dataclasses.dataclass\nclass Ball:\n    n: int\n"
DATA_MORE = f"{DATA}    size: int = 3\n    all: list = dataclasses.field(default_factory=list)\n"
FROZEN = DATA.replace("dataclass\n", "dataclass(frozen=True)\n")
SLOTS = """
class Ball:
    __slots__ = {}
    def __init__(self): self.n = 1
    def number(self): return {}self.n
"""
COLOURS = "import enum\nclass Ball(enum.Enum):\n    RED = {}\n    BLUE = 9\n"
FLAGS = "import enum\nclass Ball(enum.Flag):\n    RED = {}\n    BLUE = {}\n"
CAUGHT = """
class Ball(Exception): ...
def caught(ball):
    try:
        raise ball
    except Ball:
        return {}
"""
TUPLE = "import typing\nclass Ball(typing.NamedTuple):\n    n: int\n    def number(self): return {}self.n\n"
LIST = "class Ball(list):\n    def number(self): return {}len(self)\n"
ATTRS = "import attrs\n@attrs.define(slots=False)\nclass Ball:\n    n: int\n"
MODEL = "import pydantic\nclass Ball(pydantic.BaseModel):\n    n: int\n"
STRUCT = "import msgspec\nclass Ball(msgspec.Struct):\n    n: int\n    def number(self): return {}self.n\n"
ATTRS_MORE = f"{ATTRS}    size: int = 3\n    all: list = attrs.Factory(list)\n"
MODEL_MORE = f"{MODEL}    size: int = 3\n    all: list = pydantic.Field(default_factory=list)\n"
PROPERTY = "class Ball:\n    @property\n    def number(self): return 2\n"
TWICE = f"{PLAIN}    def twice(self): return 2 * self.n\n"
ROWS = {
    "new method": (METHOD.format(1), METHOD.format(2), "Ball()", "ball.number()", 1, 2),
    "isinstance": (METHOD.format(1), METHOD.format(2), "Ball()", "isinstance(ball, Ball)", True, True),
    "property": ("class Ball:\n    number = 1\n", PROPERTY, "Ball()", "ball.number", 1, 2),
    "own attributes": (PLAIN, TWICE, "Ball(4)", "getattr(ball, 'twice', lambda: ball.n)()", 4, 8),
    "set in __init__": (PLAIN, SETS, "Ball(4)", "getattr(ball, 'all', int)()", 0, ("red", 3, [])),
    "dataclass": (DATA, DATA_MORE, "Ball(4)", "repr(ball)", "Ball(n=4)", "Ball(n=4, size=3, all=[])"),
    "frozen dataclass": (FROZEN, f"{FROZEN}    size: int = 3\n", "Ball(4)", "ball == Ball(4)", True, True),
    "slots": (SLOTS.format("'n', 'm'", ""), SLOTS.format("'m', 'n'", "-"), "Ball()", "ball.number()", 1, -1),
    "enumeration": (
        COLOURS.format(1),
        COLOURS.format(8),
        "Ball.RED",
        "(ball is Ball.RED, ball.value)",
        (True, 1),
        (True, 8),
    ),
    "flags": (FLAGS.format(1, 2), FLAGS.format(4, 8), "Ball.RED | Ball.BLUE", "ball.value", 3, 12),
    "no flag": (
        FLAGS.format(1, 2),
        FLAGS.format(4, 8),
        "Ball(0)",
        "(ball.value, type(ball) is Ball)",
        (0, True),
        (0, True),
    ),
    "exception": (
        CAUGHT.format(1),
        CAUGHT.format(2),
        "Ball('a')",
        "(caught(ball), *ball.args)",
        (1, "a"),
        (2, "a"),
    ),
    "named tuple": (TUPLE.format(""), TUPLE.format("-"), "Ball(4)", "ball.number()", 4, -4),
    "kind of list": (LIST.format(""), LIST.format("-"), "Ball([1, 2])", "ball.number()", 2, -2),
    "attrs": (ATTRS, ATTRS_MORE, "Ball(4)", "repr(ball)", "Ball(n=4)", "Ball(n=4, size=3, all=[])"),
    "pydantic": (MODEL, MODEL_MORE, "Ball(n=4)", "repr(ball)", "Ball(n=4)", "Ball(n=4, size=3, all=[])"),
    "msgspec": (STRUCT.format(""), STRUCT.format("-"), "Ball(4)", "ball.number()", 4, -4),
}


@pytest.mark.parametrize("row", ROWS)
def test_an_object_in_the_state_is_new_after_a_save_and_old_after_a_failed_load(
    bench: Bench, row: str
) -> None:
    """After a save a kept object acts as the new version says, and as before if the load fails."""
    first, second, made, ball, before, after = ROWS[row]
    fill, show = f"kept['ball'] = {made}", f"(lambda ball: {ball})(kept['ball'])"
    bench.load(plugin(first, fill, show))
    assert shown(bench) == before
    bench.refusal(
        plugin(second, fill, show).replace("    ctx.hook('kept'", "    raise ValueError\n    ctx.hook('kept'")
    )
    assert shown(bench) == before
    bench.load(plugin(second, fill, show))
    assert shown(bench) == after


WHERE = {
    "list": ("[1, Ball()]", "kept['x'][1]"),
    "tuple": ("(1, (Ball(),))", "kept['x'][1][0]"),
    "dictionary": ("{'a': {'b': Ball()}}", "kept['x']['a']['b']"),
    "set": ("{Ball()}", "next(iter(kept['x']))"),
    "deque": ("__import__('collections').deque([Ball()])", "kept['x'][0]"),
    "attribute of an own object": ("Box(Ball())", "kept['x'].ball"),
    "slot of an own object": ("Slot(Ball())", "kept['x'].ball"),
    "namespace": ("__import__('types').SimpleNamespace(ball=Ball())", "kept['x'].ball"),
    "a long chain": ("chain()", "kept['x'].ball"),
}
HOLDERS = """
class Box:
    def __init__(self, ball): self.ball = ball
class Slot:
    __slots__ = ('ball',)
    def __init__(self, ball): self.ball = ball
def chain():
    last = Box(Ball())
    last.before = None
    for _ in range(5000):
        last = Box(last.ball)
        last.before = last
    return last
"""


@pytest.mark.parametrize("kind", ["Ball", "Colour"])
@pytest.mark.parametrize("where", WHERE)
def test_objects_follow_at_any_depth(bench: Bench, where: str, kind: str) -> None:
    """Objects and members of enumerations follow wherever they are in the state."""
    made, found = WHERE[where]
    if kind == "Colour":
        made = made.replace("Ball()", "Colour.RED")
    for number in (1, 2):
        classes = (
            f"import enum\nclass Ball:\n    def number(self): return {number}\n"
            f"class Colour(enum.Enum):\n    RED = 1\n    def number(self): return {number}\n{HOLDERS}"
        )
        if kind == "Colour":
            classes = classes.replace("Ball()", "Colour.RED")
        bench.load(plugin(classes, f"kept['x'] = {made}", f"{found}.number()"))
        assert shown(bench) == number


def test_a_member_of_an_enumeration_follows_as_a_key(bench: Bench) -> None:
    """A dictionary whose keys are members of an enumeration keeps its order, and is found by new members."""
    classes = "import enum\nclass Colour(enum.Enum):\n    RED = {}\n    BLUE = 9\n"
    fill = "kept['x'] = {Colour.BLUE: 1, 'a': 2, Colour.RED: 3}"
    for number in (1, 2):
        show = "(list(kept['x'].values()), kept['x'][Colour.RED])"
        bench.load(plugin(classes.format(number), fill, show))
        assert shown(bench) == ([1, 2, 3], 3)


CANNOT = {
    "slots": (
        "class Ball:\n    __slots__ = ('n',)\n",
        "class Ball:\n    __slots__ = ('n', 'm')\n",
        "ctx.state['kept']['balls'][2]: Ball.__slots__ changed",
    ),
    "gone": ("class Ball: ...\n", "def Ball(): ...\n", "Ball is not a class any more"),
    "no class": ("class Ball: ...\n", "class Other: ...\n", "Ball is not defined any more in plugin"),
    "enumeration": (
        "class Ball: ...\n",
        "import enum\nclass Ball(enum.Enum): ...\n",
        "Ball is an enumeration now",
    ),
    "base": ("class Ball(dict): ...\n", "class Ball(list): ...\n", "Ball extends list now"),
    "new argument": (
        "class Ball:\n    def __init__(self): self.n = 1\n",
        "class Ball:\n    def __init__(self, m): self.m = m\n",
        "Ball has the new attribute m without a default; write: def adopt(self, old_version) -> None: ...",
    ),
    "new field": (
        "import dataclasses\n@dataclasses.dataclass\nclass Ball:\n    n: int = 1\n",
        "import dataclasses\n@dataclasses.dataclass\nclass Ball:\n    m: int\n",
        "Ball has the new attribute m without a default",
    ),
    "member": (
        "import enum\nclass Colour(enum.Enum):\n    RED = 1\ndef Ball(): return Colour.RED\n",
        "import enum\nclass Colour(enum.Enum):\n    BLUE = 1\ndef Ball(): return Colour.BLUE\n",
        "ctx.state['kept']['balls'][2]: Colour has no member RED",
    ),
    "named tuple": (
        "import typing\nclass Ball(typing.NamedTuple):\n    n: int = 1\n",
        "import typing\nclass Ball(typing.NamedTuple):\n    n: int = 1\n    m: int = 2\n",
        "Ball._fields changed",
    ),
    "local class": (
        "def Ball():\n    class Ball: ...\n    return Ball()\n",
        "def Ball():\n    class Ball: ...\n    return Ball()\n",
        "Ball.Ball is defined inside a function",
    ),
}


@pytest.mark.parametrize("case", CANNOT)
def test_an_object_that_cannot_follow_fails_the_load(bench: Bench, case: str) -> None:
    """If an object cannot follow, the new version does not go live, and the fault names it and its place."""
    first, second, message = CANNOT[case]
    bench.load(plugin(first, "kept['balls'] = [0, 1, Ball()]", "1"))
    error = bench.refusal(plugin(second, "...", "2"))
    assert isinstance(error, LoadError)
    assert "ctx.state['kept']['balls'][2]: " in str(error)
    assert message in str(error)
    assert shown(bench) == 1


def test_adopt_brings_an_object_up_to_its_new_class(bench: Bench) -> None:
    """``adopt`` gets the STATE_VERSION of the object's version once, and the object has its new class."""
    bench.load("STATE_VERSION = 3\n" + plugin(PLAIN, "kept['b'] = Ball(1)", "1"))
    adopting = (
        "class Ball:\n    def __init__(self, m): self.m = m\n"
        "    def adopt(self, old_version):\n"
        "        self.m = [*getattr(self, 'm', ()), self.n, old_version, type(self) is Ball]\n"
    )
    bench.load("STATE_VERSION = 3\n" + plugin(adopting, "...", "kept['b'].m"))
    assert shown(bench) == [1, 3, True]


DEFAULTS = {
    "dataclass": (DATA, f"{DATA}    size: int = {{}}\n", "Ball(4)"),
    "class attribute": (
        "class Ball:\n    size = 0\n",
        "class Ball:\n    size = 0\n    def __init__(self): self.size = {}\n",
        "Ball()",
    ),
    "slot without a value": (
        "class Ball:\n    __slots__ = ('size',)\n",
        "class Ball:\n    __slots__ = ('size',)\n    def __init__(self): self.size = {}\n",
        "Ball()",
    ),
}


@pytest.mark.parametrize("case", DEFAULTS)
def test_a_new_attribute_keeps_the_value_that_it_was_filled_with(bench: Bench, case: str) -> None:
    """The default of the version in which an attribute is new stays its value, as for objects made then."""
    first, later, made = DEFAULTS[case]
    bench.load(plugin(first, f"kept['ball'] = {made}", "1"))
    for default in (3, 5):
        bench.load(plugin(later.format(default), "...", "kept['ball'].size"))
        assert shown(bench) == 3


def test_a_property_in_the_place_of_an_attribute_is_not_filled(bench: Bench) -> None:
    """A property that ``__init__`` sets has no value of its own."""
    bench.load(plugin("class Ball: ...\n", "kept['ball'] = Ball()", "1"))
    source = (
        "class Ball:\n    def __init__(self): self.size = 3\n"
        "    size = property(lambda self: 4, lambda self, value: None)\n"
    )
    bench.load(plugin(source, "...", "(kept['ball'].size, vars(kept['ball']))"))
    assert shown(bench) == (4, {})


def test_adopt_that_raises_changes_nothing(bench: Bench) -> None:
    """If ``adopt`` of one object raises, all objects are as before, and the old version stays live."""
    plain = f"{PLAIN}    def number(self): return self.n\n"
    show = "[(each.number(), vars(each)) for each in kept['b']]"
    bench.load(plugin(plain, "kept['b'] = [Ball(1), Ball(2)]", show))
    before = shown(bench)
    assert before == [(1, {"n": 1}), (2, {"n": 2})]
    adopting = (
        "class Ball:\n    def number(self): return -1\n    def adopt(self, old_version):\n"
        "        self.n += 10\n        if self.n == 12: raise ValueError('two')\n"
    )
    error = bench.refusal(plugin(adopting, "...", show))
    assert "adopt of a kept object raised" in str(error)
    assert shown(bench) == before


def test_a_method_called_adopt_with_another_argument_is_the_plugins_own(bench: Bench) -> None:
    """A method ``adopt`` that takes something else than a version is not called."""
    shelter = "class Ball:\n    pets = ()\n    def adopt(self, pet): self.pets = (*self.pets, pet)\n"
    for comment in ("", "# changed\n"):
        bench.load(plugin(shelter + comment, "kept['b'] = Ball()", "kept['b'].pets"))
    assert shown(bench) == ()


def test_a_bound_method_that_register_passes_on_is_new(bench: Bench) -> None:
    """A bound method of a kept object runs the new version's code as handler and as ``on_unload``."""
    for number in (1, 2):
        source = METHOD.format(number)
        registered = REGISTER + "    ctx.hook('bound', kept['ball'].number)\n"
        bench.load(plugin(source, "kept['ball'] = Ball()", "1").replace(REGISTER, registered))
        assert bench.host.first("bound") == number


def test_a_rollback_takes_the_objects_back(workspace: Workspace, run: Run) -> None:
    """After a rollback the objects have the classes of the old source, and nothing else stays in memory."""
    workspace["greet"] = plugin(METHOD.format(1), "kept['ball'] = Ball()", "kept['ball'].number()")
    running = run(workspace.config())
    workspace["greet"] = plugin(METHOD.format(2), "...", "kept['ball'].number()")
    running.manager.rebuild("greet")
    assert running.host.call("show") == [2]
    assert retired(running).memory == "freed"
    running.manager.rollback("greet", 1)
    assert running.host.call("show") == [1]
    assert retired(running, times=2).memory == "freed"


def test_what_an_old_call_leaves_follows_when_it_has_ended(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """An object that a call of the old version puts into the state after the swap follows, too."""
    slow = METHOD + "import stage\ndef late(kept):\n    stage.wait()\n    kept['late'] = Ball()\n"
    registered = REGISTER + "    ctx.hook('late', lambda: late(kept))\n"
    show = "[each.number() for each in kept.values()]"
    source = plugin(slow, "kept['ball'] = Ball()", show).replace(REGISTER, registered)
    workspace["greet"] = source.replace("return {}", "return 1")
    running = run(workspace.config(drain_timeout=30.0))
    caller = threading.Thread(target=running.host.call, args=("late",))
    caller.start()
    assert stage.entered.wait(30)
    workspace["greet"] = source.replace("return {}", "return 2")
    running.manager.rebuild("greet")
    assert running.host.call("show") == [[2]]
    stage.gate.set()
    caller.join()
    assert retired(running).memory == "freed"
    assert running.host.call("show") == [[2, 2]]


def test_a_call_in_flight_sees_the_new_class_from_the_swap_on(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """A call of the old version goes on with its code; a kept object runs the new version's methods in it."""
    slow = METHOD + "import stage\ndef late(kept):\n    stage.wait()\n    return {}, kept['ball'].number()\n"
    registered = REGISTER + "    ctx.hook('late', lambda: late(kept))\n"
    source = plugin(slow, "kept['ball'] = Ball()", "1").replace(REGISTER, registered)
    workspace["greet"] = source.replace("return {}", "return 1")
    running = run(workspace.config(drain_timeout=30.0))
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(running.host.first("late")))
    caller.start()
    assert stage.entered.wait(30)
    workspace["greet"] = source.replace("return {}", "return 2")
    running.manager.rebuild("greet")
    stage.gate.set()
    caller.join()
    assert answers == [(1, 2)]
    assert retired(running).memory == "freed"
