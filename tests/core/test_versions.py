import sys
from types import ModuleType

import pytest

from hotload_tui.core.ledger.attributes import Attributes
from hotload_tui.core.ledger.owner import Owner
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
