"""The names in ``__module__`` are the same in each version, and lead each version to its own objects."""

import enum
import importlib
import inspect
import io
import logging
import pickle
import pkgutil
import sys
import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any

import pytest

from hotload_tui.core.runtime.context import LivePlugin
from tests.conftest import Workspace
from tests.core.conftest import Bench

SHAPES = """
from __future__ import annotations

import dataclasses
import enum
import typing

WORD = 'WORD'


@dataclasses.dataclass
class Point:
    count: typing.ClassVar[int] = 0
    x: Part | None = None

    def tell(self):
        return WORD


class Part: ...


class Bare:
    pass


class Pair(typing.NamedTuple):
    left: Part
    word: str = WORD


class Colour(enum.Enum):
    RED = 'WORD'


class Options(typing.TypedDict):
    part: Part


def made(kind: Point) -> Part: ...
"""

PLUGIN = """
import library_of_the_test as library
from . import shapes

def register(ctx):
    ctx.hook("greet", lambda: shapes.WORD)
    ctx.hook("shapes", lambda: shapes)
    ctx.hook("do", lambda function, *values: function(*values))
"""


def shapes_of(word: str) -> str:
    """Return the source of the part with a version's word."""
    return SHAPES.replace("'WORD'", repr(word))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module that plugins and the test share."""
    library = ModuleType("library_of_the_test")
    monkeypatch.setitem(sys.modules, library.__name__, library)
    return library


class Shapes:
    """A plugin with one version for each word."""

    def __init__(self, bench: Bench, workspace: Workspace) -> None:
        self.bench = bench
        self._workspace = workspace

    def trial(self, word: str, source: str = PLUGIN) -> LivePlugin:
        """Load a version without making it live."""
        self._workspace["greet/shapes.py"] = shapes_of(word)
        return self.bench.loader.trial("greet", self.bench.artifact(source))

    def load(self, word: str, source: str = PLUGIN) -> LivePlugin:
        """Load a version, make it live, and retire the previous one."""
        trial = self.trial(word, source)
        self.bench.loader.swap([trial])
        self.bench.loader.retire()
        return trial

    def fail(self, word: str, source: str) -> None:
        """Load a version that fails after its code has run."""
        self._workspace["greet/shapes.py"] = shapes_of(word)
        self.bench.refusal(f"{source}\n    1 / 0\n")


@pytest.fixture
def shapes(bench: Bench, workspace: Workspace, library: ModuleType) -> Shapes:  # noqa: ARG001 - plugins import it
    """Return a plugin whose versions differ in one word."""
    return Shapes(bench, workspace)


def of(version: LivePlugin, point: str) -> Callable[..., Any]:  # type: ignore[explicit-any]
    """Return the handler of a version, live or not."""
    return next(handler.call for handler in version.handlers if handler.point == point)


# ---- what libraries compare

REGISTERS = PLUGIN + "    library.models.add(shapes.Point)\n    library.models.add(shapes.Bare)\n"


def label(kind: type) -> str:
    """Return the full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


class Models:
    """A registry as Django has it: another class of the same name must come from the same module."""

    def __init__(self) -> None:
        self.classes: dict[str, type] = {}

    def add(self, model: type) -> None:
        """Register a class."""
        known = self.classes.get(model.__name__)
        if known is not None and label(known) != label(model):
            raise RuntimeError(f"Conflicting models: {known} and {model}")
        self.classes[model.__name__] = model


def test_a_registry_that_compares_modules_accepts_each_version(shapes: Shapes, library: ModuleType) -> None:
    """Edits, a failed load and its correction register classes of one module and one name."""
    library.models = Models()  # type: ignore[attr-defined]
    for word in ("one", "two"):
        shapes.load(word, REGISTERS)
    shapes.fail("broken", REGISTERS)
    shapes.load("three", REGISTERS)
    found = library.models.classes["Point"]
    assert (found.__module__, found().tell()) == ("hotplug.greet.shapes", "three")


def test_names_of_tasks_are_stable(shapes: Shapes) -> None:
    """The names that libraries build from functions do not contain the version."""
    names = {
        f"{made.__module__}.{made.__qualname__}"
        for made in (of(shapes.load(word), "shapes")().made for word in ("one", "two"))
    }
    assert names == {"hotplug.greet.shapes.made"}


def test_a_logger_named_after_its_module_is_one_logger(shapes: Shapes) -> None:
    """``logging.getLogger(__name__)`` is the same logger in each version, until the plugin is unloaded."""
    source = (
        "import logging\nlog = logging.getLogger(__name__)\nlog.addHandler(logging.NullHandler())\n"
        "log.setLevel({level})\nPACKAGE = logging.getLogger(__package__)\n" + PLUGIN
    )
    shapes.load("one", source.format(level=10))
    logger = logging.getLogger("hotplug.greet.plugin")
    assert logger.parent is logging.getLogger("hotplug.greet")
    shapes.load("two", source.format(level=30))
    assert logging.getLogger("hotplug.greet.plugin") is logger
    assert (logger.level, len(logger.handlers)) == (30, 1)
    shapes.load("three")
    assert (logger.level, logger.handlers) == (0, [])
    shapes.bench.loader.unload("greet")
    shapes.bench.loader.retire()
    assert [name for name in logging.root.manager.loggerDict if name.startswith("hotplug.greet")] == []


# ---- what the standard library finds by these names


def in_python(made: object) -> type:
    """Return the class of a pickled object, with the pickler and the unpickler that are written in Python."""
    content = io.BytesIO()
    pickle._Pickler(content).dump(made)  # noqa: SLF001 - it has no public name
    return type(pickle._Unpickler(io.BytesIO(content.getvalue())).load())  # noqa: SLF001


LOOKS: dict[str, Callable[[ModuleType], object]] = {
    "type hints of a class": lambda shapes: typing.get_type_hints(shapes.Point)["x"] == (shapes.Part | None),
    "type hints of a named tuple": lambda shapes: typing.get_type_hints(shapes.Pair)["left"] is shapes.Part,
    "type hints of a dictionary": lambda shapes: typing.get_type_hints(shapes.Options)["part"] is shapes.Part,
    "type hints of a function": lambda shapes: typing.get_type_hints(shapes.made)["kind"] is shapes.Point,
    "class": lambda shapes: pickle.loads(pickle.dumps(shapes.Point)) is shapes.Point,
    "object": lambda shapes: type(pickle.loads(pickle.dumps(shapes.Point()))) is shapes.Point,
    "object, in Python": lambda shapes: in_python(shapes.Point()) is shapes.Point,
    "named tuple": lambda shapes: pickle.loads(pickle.dumps(shapes.Pair(1))) == shapes.Pair(1),
    "member": lambda shapes: pickle.loads(pickle.dumps(shapes.Colour.RED)) is shapes.Colour.RED,
    "source of a class": lambda shapes: inspect.getsource(shapes.Bare) == "class Bare:\n    pass\n",
    "source of a function": lambda shapes: inspect.getsource(shapes.made).startswith("def made("),
    "module": lambda shapes: inspect.getmodule(shapes.Point).WORD == shapes.WORD,  # type: ignore[union-attr]
    "global members": lambda shapes: enum.global_enum(shapes.Colour) and shapes.RED is shapes.Colour.RED,
}  # fmt: skip


@pytest.mark.parametrize("look", LOOKS)
def test_a_version_finds_its_own_objects_by_name(shapes: Shapes, look: str) -> None:
    """The live version, a trial beside it and a retired version find their own objects, as the host does."""
    first = shapes.load("one")
    second = shapes.trial("two")
    for version in (first, second):
        assert of(version, "do")(LOOKS[look], of(version, "shapes")())
    assert LOOKS[look](of(first, "shapes")())  # the host finds the live version's objects
    shapes.bench.loader.swap([second])
    shapes.bench.loader.retire()
    for version in (first, second):
        assert of(version, "do")(LOOKS[look], of(version, "shapes")())
    assert LOOKS[look](of(second, "shapes")())


DURING = """
import library_of_the_test as library
import dataclasses, functools, pickle, typing
from . import shapes

def kinds():
    @dataclasses.dataclass
    class Late:
        count: "typing.ClassVar[int]" = 0
        word: str = shapes.WORD
    return Late

@functools.singledispatch
def told(value):
    return "nothing"

@told.register
def _(value: shapes.Point):
    return shapes.WORD

def register(ctx):
    assert [field.name for field in dataclasses.fields(kinds())] == ["word"]
    assert [field.name for field in dataclasses.fields(shapes.Point)] == ["x"]
    assert told(shapes.Point()) == shapes.WORD
    library.told.append((shapes.WORD, *library.check(shapes)))
    ctx.hook("greet", lambda: shapes.WORD)
    ctx.hook("shapes", lambda: shapes)
"""


def test_a_library_that_a_trial_calls_finds_the_trial(shapes: Shapes, library: ModuleType) -> None:
    """While a plugin registers, lookups by name lead to the new version; other threads see the live one."""
    pool = ThreadPoolExecutor(1)

    def word() -> str:
        return typing.cast("str", importlib.import_module("hotplug.greet.shapes").WORD)

    def check(found: ModuleType) -> tuple[object, ...]:
        assert type(pickle.loads(pickle.dumps(found.Point()))) is found.Point
        assert typing.get_type_hints(found.Point)["x"] == (found.Part | None)
        elsewhere = pool.submit(word).result() if library.told else ""
        return word(), elsewhere

    vars(library).update(told=[], check=check)
    shapes.load("one", DURING)
    shapes.load("two", DURING)
    shapes.fail("three", DURING)
    assert library.told == [("one", "one", ""), ("two", "two", "one"), ("three", "three", "two")]
    assert word() == "two"


def test_multiprocessing_finds_the_version_whose_object_it_gets(shapes: Shapes) -> None:
    """A thread in which no code of the plugin runs pickles objects of the live version and of a trial."""
    live, trial = shapes.load("one"), shapes.trial("two")
    versions = [of(version, "shapes")() for version in (live, trial)]
    with ThreadPoolExecutor(1) as pool:
        contents = [pool.submit(ForkingPickler.dumps, found.Point()).result() for found in versions]
    assert [pickle.loads(content).tell() for content in contents] == ["one", "one"]
    shapes.bench.loader.discard(trial)


def test_pickles_of_a_version_give_the_class_of_the_live_one(shapes: Shapes) -> None:
    """A pickle that the host made from the first version's object gives the live version's class."""
    first = of(shapes.load("one"), "shapes")()
    contents = [pickle.dumps(first.Point(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    second = of(shapes.load("two"), "shapes")()
    assert {type(pickle.loads(content)) for content in contents} == {second.Point}


def test_a_bare_class_that_outlives_its_version_is_named(shapes: Shapes) -> None:
    """The memory verdict names a class without functions, although the next version has one of that name."""
    kept = of(shapes.load("one"), "shapes")().Bare
    shapes.bench.loader.swap([shapes.trial("two")])
    [gone] = shapes.bench.loader.retire()
    assert gone.memory.startswith("alive: greet.shapes.Bare, held by local 'kept'")
    assert kept.__module__ == "hotplug.greet.shapes"
    del kept
    assert shapes.bench.loader.held.look_again() == [("greet", 1)]


OVERLOADS = """
import typing

@typing.overload
def told(value: int) -> int: ...
@typing.overload
def told(value: str) -> str: ...
def told(value):
    return value
"""


def test_overloads_belong_to_their_version(shapes: Shapes) -> None:
    """``typing`` knows the overloads of the live version, and does not keep those of a retired one."""
    source = f"{OVERLOADS}\n{PLUGIN}    ctx.hook('overloads', lambda: len(typing.get_overloads(told)))\n"
    shapes.load("one", source)
    shapes.bench.loader.swap([shapes.trial("two", f"# moves the lines\n\n\n{source}")])
    [gone] = shapes.bench.loader.retire()
    assert (gone.memory, shapes.bench.host.call("overloads")) == ("freed", [2])


# ---- idioms with the module's own name

REGISTER = "def register(ctx):\n    ctx.hook('greet', answer)\n"

GIVEN = """
import sys, types
sys.modules[__package__ + '.given'] = types.SimpleNamespace(word='given')
from .given import word
"""
IDIOMS = [
    ("import sys", "vars(sys.modules[__name__]) is globals()"),
    ("import sys\nsys.modules[__name__].added = 1", "added == 1"),
    ("import sys\nsetattr(sys.modules[__name__], 'part', __import__('part'))", "part.WORD == 'part'"),
    ("import importlib", "importlib.import_module(__package__ + '.part').WORD == 'part'"),
    ("import importlib", "importlib.import_module('.part', __package__).WORD == 'part'"),
    ("import importlib.util", "importlib.util.find_spec(__package__ + '.part').origin.endswith('part.py')"),
    ("import pkgutil", "pkgutil.get_data(__name__, 'words.txt') == b'words'"),
    ("from importlib import resources", "resources.files(__package__).joinpath('words.txt').is_file()"),
    ("import library_of_the_test as library", "library.text(__package__) == 'words'"),
    ("import library_of_the_test as library", "library.imported(f'{__package__}.effect') == ['done']"),
    ("import library_of_the_test as library", "library.names(__package__) >= {'effect', 'part', 'plugin'}"),
    ("import importlib, part", "importlib.reload(part) is part"),
    (GIVEN, "word == 'given'"),
    ("import part", "part.Kind.__module__ == part.__name__ == 'hotplug.greet.part'"),
    ("from . import turn", "turn.turned.turn is turn"),
    ("import turned as own", "own.__class__.__name__ == 'Turned'"),
    ("import hotplug.greet.part", "hotplug.greet.part.WORD == 'part'"),
    ("from hotplug.greet.part import WORD", "WORD == 'part'"),
    ("", "__spec__.name != __name__ and __spec__.parent.startswith(__package__)"),
]  # fmt: skip


@pytest.mark.parametrize(("imports", "expression"), IDIOMS)
def test_idioms_with_the_own_name_work(
    bench: Bench, workspace: Workspace, library: ModuleType, imports: str, expression: str
) -> None:
    """What a module does with its own name works in the first version, and in the next one beside it."""

    def text(package: str) -> str:
        return resources.files(package).joinpath("words.txt").read_text()

    def imported(name: str) -> object:
        importlib.import_module(name)
        return library.done

    def names(package: str) -> set[str]:
        return {info.name for info in pkgutil.iter_modules(sys.modules[package].__path__)}

    vars(library).update(text=text, imported=imported, names=names, done=[])
    workspace["greet/part.py"] = "WORD = 'part'\nclass Kind: ...\n"
    workspace["greet/effect.py"] = "import library_of_the_test as library\nlibrary.done.append('done')\n"
    workspace["greet/turn.py"] = "from . import turned\n"
    workspace["greet/turned.py"] = (
        "from . import turn\nimport sys\nclass Turned(type(sys)):\n    turn = turn\n"
        "sys.modules[__name__].__class__ = Turned\n"
    )
    workspace["greet/words.txt"] = "words"
    source = f"{imports}\ndef answer():\n    return {expression}\n{REGISTER}"
    for number in (1, 2):
        library.done.clear()
        bench.load(f"{source}# {number}\n")
        assert bench.host.call("greet") == [True]
        assert type(sys.modules["hotplug.greet.plugin"]).__name__ == "Facade"
