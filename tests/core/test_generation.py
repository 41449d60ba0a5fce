import functools
import gc
import linecache
import re
import sys
import weakref
from collections.abc import Callable

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.events import PluginRetired
from hotload_tui.core.runtime.naming import identifier
from tests.conftest import Running, Workspace, answering
from tests.core.conftest import Stage

Run = Callable[[Config], Running]

_REGISTER = "\n\n\ndef register(ctx):\n    ctx.hook('greet', answer)\n"
USING = "{imports}\n\n\ndef answer():\n    return {expression}" + _REGISTER
LAZY = "def answer():\n    {imports}\n    return {expression}" + _REGISTER


def own_modules() -> list[str]:
    """Return the unique names of the generations' modules in ``sys.modules``."""
    return [name for name in sys.modules if re.match(r"hotplug\.\w+\.g\d+_", name)]


def retired(running: Running, times: int) -> bool:
    """Return whether this many generations of greet have retired."""
    return len(running.told(PluginRetired, "greet")) == times


EXPRESSIONS = [
    (
        "from importlib.resources import files",
        "files(__package__).joinpath('sub/words.txt').read_text()",
        "hello",
    ),
    ("import pkgutil", "pkgutil.get_data(__package__, 'sub/words.txt').decode()", "hello"),
    ("import pkgutil, sub", "pkgutil.get_data(sub.__name__, 'words.txt').decode()", "hello"),
    ("from pathlib import Path", "(Path(__file__).parent / 'sub' / 'words.txt').read_text()", "hello"),
    ("import inspect", "inspect.getsource(answer).splitlines()[0]", "def answer():"),
    ("import pickle, sub.deep", "pickle.loads(pickle.dumps(sub.deep.Point(1))).x", 1),
    ("import copy, sub.deep", "copy.deepcopy(sub.deep.Point(2)).x", 2),
    ("import typing, sub.deep", "typing.get_type_hints(sub.deep.Point)['x'].__name__", "int"),
    ("import sub.deep", "sub.deep.Colour.RED.name", "RED"),
    ("import json", "json.dumps([1])", "[1]"),
    ("from . import json", "json.MINE", True),
    ("import sys", "sys.modules[__name__].answer is answer", True),
    ("", "__name__ == 'hotplug.greet.plugin' and __spec__.origin == __file__", True),
    ("import sub", "sub.__path__[0].endswith('greet/sub')", True),
    ("import circle_a", "circle_a.circle_b.circle_a.VALUE", 1),
    (
        "try:\n    import nowhere\nexcept ImportError as error:\n    text = str(error)",
        "text",
        "No module named 'nowhere'",
    ),
    (
        "try:\n    from . import no\nexcept ImportError as error:\n    text = type(error).__name__",
        "text",
        "ImportError",
    ),
    (
        "try:\n    import greet.no\nexcept ImportError as error:\n    text = str(error)",
        "text",
        "No module named 'greet.no'",
    ),
]


@pytest.mark.parametrize(("imports", "expression", "expected"), EXPRESSIONS)
def test_usual_python_works_inside_a_plugin(
    workspace: Workspace, run: Run, imports: str, expression: str, expected: object
) -> None:
    """Resources, sources, pickles, hints and dataclasses work in a plugin as in an ordinary program."""
    workspace["greet"] = USING.format(imports=imports, expression=expression)
    workspace["greet/sub/words.txt"] = "hello"
    workspace["greet/json.py"] = "MINE = True\n"
    workspace["greet/circle_a.py"] = "import circle_b\nVALUE = 1\n"
    workspace["greet/circle_b.py"] = "import circle_a\n"
    workspace["greet/sub/deep.py"] = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom enum import Enum\n"
        "@dataclass\nclass Point:\n    x: int = 0\nclass Colour(Enum):\n    RED = 1\n"
    )
    running = run(workspace.config())
    assert running.host.call("greet") == [expected], running.status("greet").fault


def test_a_module_named_like_its_plugin_is_reached_by_that_name(workspace: Workspace, run: Run) -> None:
    """Inside ``greet``, ``import greet`` means ``greet/greet.py``, and ``greet.part`` is ``part.py``."""
    workspace["greet"] = USING.format(
        imports="import greet\nimport greet.part as p", expression="greet.WORD + p.WORD"
    )
    workspace["greet/greet.py"] = "WORD = 'module'\n"
    workspace["greet/part.py"] = "WORD = 'part'\n"
    assert run(workspace.config()).host.call("greet") == ["modulepart"]


def test_two_plugins_own_a_module_of_the_same_name(workspace: Workspace, run: Run) -> None:
    """Two plugins with a module of the same name each import their own."""
    for name in ("a", "b"):
        workspace[name] = USING.format(imports="import utils", expression="utils.NAME")
        workspace[f"{name}/utils.py"] = f"NAME = {name!r}\n"
    assert run(workspace.config()).host.call("greet") == ["a", "b"]


def test_a_plugin_named_like_the_standard_library_hides_nothing(workspace: Workspace, run: Run) -> None:
    """Plugins called json and class work, and ``import json`` still gives the standard library's module."""
    workspace["json"] = USING.format(imports="import json", expression="json.dumps([])")
    workspace["class"] = USING.format(imports="from . import part", expression="part.WORD")
    workspace["class/part.py"] = "WORD = 'class'\n"
    workspace["other"] = USING.format(imports="import json", expression="json.dumps([1])")
    assert run(workspace.config()).host.call("greet") == ["class", "[]", "[1]"]


def test_a_module_that_replaces_itself_is_accepted(workspace: Workspace, run: Run) -> None:
    """A plugin that puts an object or None into ``sys.modules`` works, and leaves no module behind."""
    workspace["greet"] = USING.format(
        imports="import odd, sys\nsys.modules[__name__ + 'x'] = None", expression="odd.WORD"
    )
    workspace["greet/odd.py"] = (
        "import sys\nclass Odd:\n    __slots__ = ()\n    WORD = 'odd'\nsys.modules[__name__] = Odd()\n"
    )
    running = run(workspace.config())
    assert running.host.call("greet") == ["odd"]
    workspace["greet"] = answering("plain")
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert own_modules() == [name for name in own_modules() if ".g2_" in name]


def test_an_entry_that_replaces_itself_is_judged_by_what_it_put_there(workspace: Workspace, run: Run) -> None:
    """If plugin.py replaces itself in ``sys.modules``, the new object's ``register`` counts."""
    source = (
        "import sys\nclass Odd:\n    __slots__ = ()\n{body}\nsys.modules[__name__] = Odd()\nregister = 1\n"
    )
    workspace["good"] = source.format(body="    def register(self, ctx): ctx.hook('greet', lambda: 'odd')")
    workspace["bad"] = source.format(body="")
    running = run(workspace.config())
    assert running.host.call("greet") == ["odd"]
    assert (running.fault("bad").phase, running.status("bad").state) == ("register", PluginState.FAIL)


def test_a_retired_generation_is_gone(workspace: Workspace, run: Run) -> None:
    """The old version is freed, its event says so, and its handler is gone."""
    cycles = "class Node: ...\nn = Node()\nn.self = n\ndef me():\n    return me\n"
    workspace["greet"] = cycles + answering("one")
    running = run(workspace.config())
    handler = weakref.ref(running.host.handlers_of("greet")[0].call)
    workspace["greet"] = cycles + answering("two")
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert running.told(PluginRetired, "greet")[0].memory == "freed"
    assert running.status("greet").memory == "freed"
    gc.collect()
    assert handler() is None


def test_what_is_still_held_is_named(workspace: Workspace, run: Run) -> None:
    """If the host keeps an old function, the memory verdict names it until the host lets go."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    kept = running.host.handlers_of("greet")[0].call
    workspace["greet"] = answering("two")
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    memory = running.told(PluginRetired, "greet")[0].memory
    assert memory.startswith("alive: greet.plugin.answer, held by local 'kept' of test_what_is_still_held")
    assert running.status("greet").memory == f"{memory} (generation 1)"
    assert kept() == "one"
    del kept
    running.manager.snapshot()  # a request for a snapshot triggers another check
    assert running.wait_for(lambda: "generation 1 is freed now" in running.said())
    assert running.status("greet").memory == "freed"


def test_the_memory_of_a_plugin_is_that_of_all_its_generations(workspace: Workspace, run: Run) -> None:
    """The status names a held generation, although a newer one is freed."""
    workspace["greet"] = answering("one")
    running = run(workspace.config())
    kept = running.host.handlers_of("greet")[0].call
    for number in (1, 2):
        workspace["greet"] = answering(number)
        running.manager.rebuild("greet")
        assert running.wait_for(functools.partial(retired, running, number))
    assert running.told(PluginRetired, "greet")[1].memory == "freed"
    memory = running.status("greet").memory
    assert memory.startswith("alive: greet.plugin.answer, held by local 'kept'")
    assert memory.endswith(" (generation 1)")
    assert kept() == "one"


COPYING = """
import importlib

SEEN = dict(importlib.import_module("sys").modules)
"""


def test_a_copy_of_all_modules_does_not_keep_the_previous_version(workspace: Workspace, run: Run) -> None:
    """A version that keeps a copy of ``sys.modules``, as a vendored astroid does, has no older modules."""
    workspace["greet"] = COPYING + answering(1)
    running = run(workspace.config())
    for number in (2, 3):
        workspace["greet"] = COPYING + answering(number)
        running.manager.rebuild("greet")
        assert running.wait_for(functools.partial(retired, running, number - 1))
    assert [event.memory for event in running.told(PluginRetired, "greet")] == ["freed"] * 2


LATE = """
import sys

def answer():
    from . import part
    return part.WORD, sys.modules[__spec__.name].answer is answer
"""
DURING = "import stage\nfor _ in range(2):\n    stage.told += stage.running.host.call('greet')\n"


def test_the_live_version_imports_while_the_next_one_loads(
    workspace: Workspace, run: Run, stage: Stage
) -> None:
    """Calls during a load find the modules of the live version, which run once, also if the load fails."""
    workspace["greet"] = LATE + _REGISTER
    workspace["greet/part.py"] = "import stage\nstage.told.append('part')\nWORD = 'one'\n"
    stage.running = running = run(workspace.config())
    modules = own_modules()
    workspace["greet"] = f"{DURING}1 / 0\n{LATE}{_REGISTER}"
    running.manager.rebuild("greet")
    assert running.fault("greet").type == "ZeroDivisionError"
    assert stage.told == ["part", ("one", True), ("one", True)]
    assert running.host.call("greet") == [("one", True)]
    assert sorted(own_modules()) == sorted([*modules, f"{modules[0]}.part"])


def test_stopping_leaves_nothing_in_the_interpreter(workspace: Workspace) -> None:
    """No module, no cached source line and no finder of a plugin is left after the stop."""
    finders = list(sys.meta_path)
    workspace["greet"] = answering("one")
    workspace["greet/part.py"] = "x = 1\n"
    running = Running(workspace.config())
    running.manager.start()
    assert own_modules()
    running.manager.stop()
    assert own_modules() == []
    assert [file for file in linecache.cache if file.startswith(str(workspace.root))] == []
    assert sys.meta_path == finders


def test_a_lazy_import_after_retirement_pins_no_lines(workspace: Workspace, run: Run) -> None:
    """A late import in a retired version does not change the new version's cached source lines."""
    workspace["greet"] = LAZY.format(imports="import part", expression="part.WORD")
    workspace["greet/part.py"] = "WORD = 'one'\n"
    running = run(workspace.config())
    old = running.host.handlers_of("greet")[0].call
    workspace["greet/part.py"] = "WORD = 'two'\n"
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert running.host.call("greet") == ["two"]
    assert old() == "one"
    file = str(workspace.plugins / "greet" / "part.py")
    assert linecache.getline(file, 1) == "WORD = 'two'\n"
    running.manager.disable("greet")
    assert running.wait_for(lambda: len(running.told(PluginRetired, "greet")) == 2)
    assert file not in linecache.cache


@pytest.mark.parametrize(
    "pair", [("a-b", "a_b"), ("a b", "a-b"), ("ü", "u"), ("class", "class_"), ("1", "_1")]
)
def test_every_name_has_its_own_identifier(pair: tuple[str, str]) -> None:
    """Similar plugin names give different module names."""
    assert identifier(pair[0]) != identifier(pair[1])
    assert all(identifier(name).isidentifier() for name in pair)


def test_modules_have_what_the_import_system_gives_them(workspace: Workspace, run: Run) -> None:
    """Modules and a package without code have the attributes that the import system sets."""
    facts = (
        "__cached__ == importlib.util.cache_from_source(__file__)",
        "PACKAGE.__name__ == PACKAGE.__package__ == __package__ == 'hotplug.greet'",
        "PACKAGE.plugin is sys.modules[__name__]",
        "[f'{path}/plugin.py' for path in PACKAGE.__path__] == [__file__]",
        "PACKAGE.__loader__ is PACKAGE.__spec__.loader",
        "importlib.util.find_spec('.plugin', __package__).origin == __file__",
    )
    workspace["greet"] = USING.format(
        imports="import importlib.util\nimport sys\n\nPACKAGE = sys.modules[__package__]",
        expression=f"[{', '.join(facts)}]",
    )
    assert run(workspace.config()).host.call("greet") == [[True] * len(facts)]
