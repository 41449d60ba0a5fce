import copyreg
import sys
from types import ModuleType

import pytest

from hotload_tui.core.ledger.attributes import Attributes
from hotload_tui.core.ledger.owner import Owner
from hotload_tui.core.ledger.registers import registers
from hotload_tui.core.ledger.shared import SharedModules
from hotload_tui.core.ledger.versions import IS_EXACT, version_of

CHANGES = {
    "another value": "number = 1",
    "a value of the same size": "number = -5",
    "a new name": "other = 0",
    "a name less": "del number",
    "set by a function": "def change():\n    global number\n    number = 2\nfor _ in range(50): change()",
    "set on the module": "import sys\nsys.modules[__name__].number = 3",
    "set by its name": "import sys\nsetattr(sys.modules[__name__], 'number', 3)",
    "set in the dictionary": "globals().update(number=4)",
    "taken back": "number = 5\nnumber = 0",
    "emptied": "globals().clear()",
}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module that everybody can import."""
    found = ModuleType("module_of_the_test")
    exec("number = 0", vars(found))
    monkeypatch.setitem(sys.modules, found.__name__, found)
    return found


@pytest.mark.parametrize("kind", CHANGES)
def test_each_change_of_a_module_gives_it_another_version(module: ModuleType, kind: str) -> None:
    """However an attribute is set: a change that is not seen would not be undone."""
    before = version_of(vars(module))
    exec(CHANGES[kind], vars(module))
    assert version_of(vars(module)) != before


def test_reading_a_module_leaves_its_version(module: ModuleType) -> None:
    """What is only read is not copied again for the next load."""
    before = version_of(vars(module))
    assert [getattr(module, "number", None), "number" in vars(module).copy()] == [0, True]
    assert (version_of(vars(module)) == before) is IS_EXACT


def test_between_two_loads_of_a_batch_only_changed_modules_are_copied(module: ModuleType) -> None:
    """A thousand plugins that load together do not copy the attributes of all modules a thousand times."""
    attributes = Attributes(Owner("hotplug"))
    first = attributes.read()
    exec("number = 1", vars(module))
    second = attributes.read()
    copied = [name for name in second if second[name] is not first.get(name)]
    assert "module_of_the_test" in copied
    # Threads of other tests may change modules of theirs meanwhile.
    assert len(copied) < len(second) / 10 if IS_EXACT else len(copied) == len(second)
    attributes.let_go()
    third = attributes.read()
    assert [name for name in third if third[name] is second.get(name)] == []


def test_what_nobody_changed_between_two_loads_is_not_read_again() -> None:
    """The environment and the tables of the process are looked at, not copied, for each of a thousand."""
    looked_at = [register for register in registers(lambda _: False) if register.sight() is not None]
    assert len(looked_at) > 10 or not IS_EXACT
    for register in looked_at:
        before = register.look()
        assert (register.look() is before) or not IS_EXACT
        register.let_go()
        assert register.look() is not before


CHANGED = {
    "environment": lambda patch: patch.setenv("OF_THE_TEST", "1"),
    "sys.path": lambda patch: patch.syspath_prepend("/of/the/test"),
    "copyreg": lambda patch: patch.setitem(copyreg.dispatch_table, Owner, len),
}


@pytest.mark.parametrize("category", CHANGED)
def test_what_changed_since_it_was_looked_at_is_found(category: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the look before the load had nothing to read."""
    register = next(each for each in registers(lambda _: False) if each.category == category)
    register.look()
    before = register.look()
    CHANGED[category](monkeypatch)
    assert len(list(register.changes(before))) == 1
    assert list(register.changes(register.look())) == []


def test_modules_that_came_went_and_changed_places_between_two_loads_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the names that came since are listed; what is taken out and put back may hide none of them."""
    shared = SharedModules(Owner("hotplug"))
    monkeypatch.setitem(sys.modules, "first_of_the_test", ModuleType("first_of_the_test"))
    assert shared.names()[-1] == "first_of_the_test"
    monkeypatch.setitem(sys.modules, "hotplug.a.g1_0", ModuleType("hotplug.a.g1_0"))
    monkeypatch.setitem(sys.modules, "second_of_the_test", ModuleType("second_of_the_test"))
    assert shared.names()[-2:] == ["first_of_the_test", "second_of_the_test"]
    again = sys.modules.pop("second_of_the_test")
    monkeypatch.setitem(sys.modules, "third_of_the_test", ModuleType("third_of_the_test"))
    sys.modules["second_of_the_test"] = again
    assert shared.names()[-2:] == ["second_of_the_test", "third_of_the_test"]


def test_what_is_searched_for_stands_in_each_word() -> None:
    """An artifact with one of a register's words is never passed over."""
    searched = [register for register in registers(lambda _: False) if register.clues]
    assert [register.category for register in searched] == ["logging"]
    assert all(any(clue in word for clue in each.clues) for each in searched for word in each.words)
