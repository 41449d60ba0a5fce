"""Random edits of classes: the state after a reload is the state that the new code would have made itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hotload_tui.core.errors import LoadError
from tests.core.conftest import Bench
from tests.counts import FOLLOW_EXAMPLES, IS_RANDOM

CLASSES = ("Ball", "Disc", "Team")
FIELDS = ("a", "b", "c", "d")
COLOURS = ("RED", "GREEN", "BLUE")
_WITH_DICT = ("plain", "dataclass")  # an edit may turn one into the other


@dataclass(frozen=True)
class Kind:
    """A class as one version defines it."""

    kind: str
    fields: dict[str, int | None]
    """The default of each attribute; ``None``: it has none. For an enumeration: the value of each member."""
    adopts: bool
    answer: int
    """What its method returns."""

    @property
    def layout(self) -> object:
        """What must not change."""
        if self.kind in _WITH_DICT:
            return "dictionary"
        fields = self._ordered() if self.kind == "tuple" else sorted(self.fields)
        return self.kind, fields if self.kind in ("slots", "tuple") else None

    def _ordered(self) -> list[str]:
        """Return the attributes, those without a default first."""
        return sorted(self.fields, key=lambda each: self.fields[each] is not None)

    def source(self, name: str) -> str:
        """Return the code of the class."""
        method = f"    def answer(self): return {self.answer}\n"
        if self.kind == "enum":
            members = "".join(f"    {each} = {value}\n" for each, value in self.fields.items())
            return f"class {name}(enum.Enum):\n{members}{method}"
        if self.kind in ("tuple", "dataclass"):
            lines = "".join(f"    {each}: int{_default(self.fields[each])}\n" for each in self._ordered())
            head = f"class {name}(typing.NamedTuple):\n"
            if self.kind == "dataclass":
                head = f"@dataclasses.dataclass\nclass {name}:\n"
            return head + lines + method + (self._adopt() if self.kind == "dataclass" else "")
        slots = f"    __slots__ = {(*self.fields,)}\n" if self.kind == "slots" else ""
        parameters = "".join(f", {each}{_default(value)}" for each, value in self.fields.items())
        lines = "".join(f"        self.{each} = {each}\n" for each in self.fields)
        init = f"    def __init__(self, *{parameters}):\n{lines}" if self.fields else ""
        return f"class {name}:\n{slots}{init}{method}{self._adopt()}"

    def _adopt(self) -> str:
        if not self.adopts:
            return ""
        return (
            "    def adopt(self, old_version):\n"
            f"        for each in {(*self.fields,)}:\n"
            "            if not hasattr(self, each): setattr(self, each, -1)\n"
        )


def _default(value: int | None) -> str:
    return "" if value is None else f" = {value}"


@dataclass
class Thing:
    """An object in the state, as the test knows it."""

    name: str
    """The name of its class."""
    values: dict[str, int] = field(default_factory=dict)
    member: str = ""


class CannotFollowError(Exception):
    """An object must not follow an edit."""


def followed(thing: Thing, old: Kind, new: Kind | None) -> Thing:
    """Return a thing after an edit of its class; raises ``CannotFollowError``."""
    if new is None or old.layout != new.layout:
        raise CannotFollowError
    if new.kind == "enum":
        if thing.member not in new.fields:
            raise CannotFollowError
        return thing
    values = {**thing.values}
    for name, default in new.fields.items():
        if name not in values and default is None and not new.adopts:
            raise CannotFollowError
        values.setdefault(name, -1 if default is None else default)
    return Thing(thing.name, values)


def source(point: str, kinds: dict[str, Kind], things: list[Thing]) -> str:
    """Return a plugin that makes ``things``, unless its state has some, and shows those in its state."""
    made = [
        f"{thing.name}.{thing.member}"
        if thing.member
        else f"{thing.name}(**{ {k: v for k, v in thing.values.items() if k in kinds[thing.name].fields} })"
        for thing in things
        if thing.name in kinds
    ]
    places = ("{}", "(1, {})", "{{'x': {}}}")
    items = ", ".join(places[at % 3].format(each) for at, each in enumerate(made))
    fields = {name: [] if kind.kind == "enum" else [*kind.fields] for name, kind in kinds.items()}
    return (
        "import dataclasses, enum, typing\n"
        + "".join(kind.source(name) for name, kind in kinds.items())
        + f"FIELDS = {fields}\n"
        "def inner(item):\n"
        "    if type(item) is tuple: return item[1]\n"
        "    return item['x'] if type(item) is dict else item\n"
        "def shown(thing):\n"
        "    kind = type(thing)\n"
        "    values = {each: getattr(thing, each) for each in FIELDS[kind.__name__]}\n"
        "    is_own = globals()[kind.__name__] is kind\n"
        "    return kind.__name__, is_own, thing.answer(), values, getattr(thing, 'name', '')\n"
        "def register(ctx):\n"
        f"    if 'things' not in ctx.state: ctx.state['things'] = [{items}]\n"
        f"    ctx.hook('{point}', lambda: [shown(inner(each)) for each in ctx.state['things']])\n"
    )


@st.composite
def kinds(draw: st.DrawFn) -> Kind:
    """Return a random class."""
    kind = draw(st.sampled_from(("plain", "plain", "dataclass", "dataclass", "slots", "tuple", "enum")))
    if kind == "enum":
        members = draw(st.lists(st.sampled_from(COLOURS), min_size=1, unique=True))
        values = draw(st.permutations(range(len(members))))
        fields: dict[str, int | None] = dict(zip(members, values, strict=True))
    else:
        least = 1 if kind in ("slots", "tuple") else 0
        names = draw(st.lists(st.sampled_from(FIELDS), min_size=least, unique=True))
        fields = {each: draw(st.none() | st.integers(0, 9)) for each in names}
    return Kind(kind, fields, draw(st.booleans()), draw(st.integers(0, 99)))


@st.composite
def edited(draw: st.DrawFn, kind: Kind) -> Kind | None:
    """Return a class after a random edit; ``None`` if it is gone."""
    edit = draw(st.sampled_from(("method", "fields", "fields", "default", "other kind", "any", "gone")))
    fields = dict(kind.fields)
    if edit == "gone":
        return None
    if edit == "any":
        return draw(kinds())
    if edit == "other kind" and kind.kind in _WITH_DICT:
        return Kind(draw(st.sampled_from(_WITH_DICT)), fields, kind.adopts, kind.answer)
    if edit == "fields" and kind.kind != "enum":
        for each in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
            if each in fields and len(fields) > 1:
                del fields[each]
            else:
                fields[each] = draw(st.none() | st.integers(0, 9))
    elif edit == "fields":
        fields.pop(draw(st.sampled_from(COLOURS)), None)
        fields = fields or {"RED": 1}
    elif edit == "default":
        at = draw(st.sampled_from(sorted(fields))) if fields else "a"
        fields[at] = 40 if kind.kind == "enum" else draw(st.integers(10, 19))
    return Kind(kind.kind, fields, draw(st.booleans()), draw(st.integers(0, 99)))


@st.composite
def thing_of(draw: st.DrawFn, name: str, kind: Kind) -> Thing:
    """Return a random object of a class."""
    if kind.kind == "enum":
        return Thing(name, member=draw(st.sampled_from(sorted(kind.fields))))
    given = {each: draw(st.integers(20, 29)) for each in kind.fields if draw(st.booleans())}
    defaults = {each: -5 if default is None else default for each, default in kind.fields.items()}
    return Thing(name, {**defaults, **given})


@settings(
    max_examples=FOLLOW_EXAMPLES,
    deadline=None,
    derandomize=not IS_RANDOM,
    database=None,
    phases=(Phase.generate,),  # the analysis of a failure would take minutes
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_the_state_after_a_reload_is_the_state_that_the_new_code_makes(
    bench: Bench, choice: st.DataObject
) -> None:
    """After random edits, each object is as if made by the new code, or the load fails and all stay."""
    version = {name: choice.draw(kinds()) for name in CLASSES}
    names = choice.draw(st.lists(st.sampled_from(CLASSES), min_size=1, max_size=4))
    things = [choice.draw(thing_of(name, version[name])) for name in names]
    history = f"history_{len(bench.loader.names())}"
    bench.load(source(history, version, things), history)
    for number in range(choice.draw(st.integers(1, 4))):
        new = {name: choice.draw(edited(kind)) for name, kind in version.items()}
        left = {name: kind for name, kind in new.items() if kind is not None}
        try:
            after = [followed(thing, version[thing.name], new[thing.name]) for thing in things]
        except CannotFollowError:
            with pytest.raises(LoadError, match=r"ctx\.state\['things'\]\["):
                bench.load(source(history, left, things), history)
        else:
            bench.load(source(history, left, things), history)
            version, things = left, after
        scratch = f"{history}_{number}"
        bench.load(source(scratch, version, things), scratch)
        assert bench.host.first(history) == bench.host.first(scratch)
        if len(version) < len(CLASSES):
            return
