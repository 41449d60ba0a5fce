import importlib
import inspect
import pickle
import sys
import typing
from collections.abc import Callable
from unittest import mock

import pytest

from hotload_tui import Config
from hotload_tui.core.events import PluginRetired
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

PLUGIN = """
import pickle
import part

def answer():
    return part.WORD

def saved():
    return pickle.dumps(part.Point())

def read(content):
    return pickle.loads(content).tell()

def register(ctx):
    ctx.hook("greet", answer)
    ctx.hook("saved", saved)
    ctx.hook("read", read)
"""
PART = (
    "WORD = {word!r}\nclass Point:\n    def tell(self):\n        return WORD\ndef word():\n    return WORD\n"
)


def save(workspace: Workspace, word: str) -> None:
    """Write the plugin with a part that contains ``word``."""
    workspace["greet"] = PLUGIN
    workspace["greet/part.py"] = PART.format(word=word)
    workspace["greet/asleep.py"] = f"from part import WORD as word\nWORD = word + {word!r}\n"


def reload(running: Running, workspace: Workspace, word: str) -> None:
    """Save another version and wait until the previous one has retired."""
    gone = len(running.told(PluginRetired, "greet"))
    save(workspace, word)
    running.manager.rebuild("greet")
    assert running.wait_for(lambda: len(running.told(PluginRetired, "greet")) > gone)


@pytest.fixture
def known_modules() -> set[str]:
    """Return the names of all imported modules; request it before ``running``."""
    return set(sys.modules)


@pytest.fixture
def running(workspace: Workspace, run: Run) -> Running:
    """Return a host in which the plugin's first version is live."""
    save(workspace, "one")
    return run(workspace.config())


def test_a_facade_forwards_to_the_live_version(workspace: Workspace, running: Running) -> None:
    """The stable name always reaches the newest version, even through modules imported earlier."""
    part = importlib.import_module("hotplug.greet.part")
    package = importlib.import_module("hotplug.greet")
    entry = importlib.import_module("hotplug.greet.plugin")
    assert (part.WORD, package.part.WORD, entry.answer()) == ("one", "one", "one")
    reload(running, workspace, "two")
    assert (part.WORD, package.part.WORD, entry.answer(), entry.part.WORD) == ("two",) * 4
    assert importlib.import_module("hotplug.greet.asleep").WORD == "twotwo"
    assert {"WORD", "Point"} <= set(dir(part))
    assert (part.__name__, part.__file__) == (
        "hotplug.greet.part",
        str(workspace.plugins / "greet" / "part.py"),
    )
    assert inspect.getsource(part.Point.tell).split()[-1] == "WORD"


def test_a_kept_facade_keeps_no_version_alive(workspace: Workspace, running: Running) -> None:
    """A host can keep a facade and its submodules without keeping an old version alive."""
    entry = importlib.import_module("hotplug.greet.plugin")
    kept = [entry, entry.part, importlib.import_module("hotplug.greet").part]
    reload(running, workspace, "two")
    assert running.told(PluginRetired, "greet")[0].memory == "freed"
    assert [module.__name__ for module in kept] == [
        "hotplug.greet.plugin",
        "hotplug.greet.part",
        "hotplug.greet.part",
    ]


def test_a_host_sets_and_deletes_attributes_of_the_live_version(running: Running) -> None:
    """Assignments, deletions and mocks through the stable name reach the live module."""
    part = importlib.import_module("hotplug.greet.part")
    with mock.patch("hotplug.greet.part.WORD", "patched"):
        assert running.host.call("greet") == ["patched"]
    assert running.host.call("greet") == ["one"]
    vars_of = part.__dict__
    setattr(part, "WORD", "set")  # noqa: B010 - mypy knows no attributes of a ModuleType
    setattr(part, "extra", 1)  # noqa: B010
    assert vars_of["extra"] == 1
    assert (running.host.call("greet"), part.extra) == (["set"], 1)
    del part.extra
    assert not hasattr(part, "extra")


def test_pickles_outlive_the_version_that_made_them(workspace: Workspace, running: Running) -> None:
    """A pickle with the stable name or a retired version's name gives the class of the live version."""
    [content] = running.host.call("saved")
    assert isinstance(content, bytes)
    reload(running, workspace, "two")
    assert pickle.loads(content).tell() == "two"
    assert running.host.call("read", content) == ["two"]
    assert pickle.loads(b"chotplug.greet.part\nPoint\n)\x81.").tell() == "two"


def test_a_plugin_reads_pickles_of_an_earlier_run_while_it_registers(workspace: Workspace, run: Run) -> None:
    """A plugin can load pickles of an earlier version while it registers in a new process."""
    workspace["greet/part.py"] = PART.format(word="now")
    workspace["greet"] = (
        "import pickle\ndef register(ctx):\n"
        "    point = pickle.loads(b'chotplug.greet.g7_0123456789ab.part\\nPoint\\n)\\x81.')\n"
        "    ctx.hook('greet', point.tell)\n"
    )
    running = run(workspace.config())
    assert running.host.call("greet") == ["now"], running.status("greet").fault


def test_retired_code_reaches_its_own_by_the_stable_name(workspace: Workspace, running: Running) -> None:
    """A function of a retired version gets its own classes by the stable name, never newer ones."""
    old = {handler.point: handler.call for handler in running.host.handlers_of("greet")}
    stable = b"chotplug.greet.part\nPoint\n)\x81."
    reload(running, workspace, "two")
    assert old["read"](old["saved"]()) == "one"
    assert old["read"](stable) == "one"
    assert running.host.call("read", stable) == ["two"]


def test_type_hints_by_the_stable_name(running: Running) -> None:
    """``typing.get_type_hints`` resolves a plugin's class by its stable name."""
    import hotplug.greet.part  # type: ignore[import-not-found]

    def host(point: "hotplug.greet.part.Point") -> None: ...

    hint = typing.get_type_hints(host, {"hotplug": hotplug})["point"]
    assert hint().tell() == running.host.call("greet")[0]


def test_nothing_can_be_imported_when_no_version_is_live(known_modules: set[str], running: Running) -> None:
    """A disabled plugin has no facade; a kept module says so, and works again after enabling."""
    part = importlib.import_module("hotplug.greet.part")
    with pytest.raises(ModuleNotFoundError, match=r"hotplug\.greet\.no'.* has no module 'no'"):
        importlib.import_module("hotplug.greet.no")
    running.manager.disable("greet")
    assert running.wait_for(lambda: bool(running.told(PluginRetired, "greet")))
    assert [name for name in set(sys.modules) - known_modules if name.startswith("hotplug.")] == []
    with pytest.raises(ModuleNotFoundError, match=r"hotplug"):
        importlib.import_module("hotplug.greet.part")
    with pytest.raises(AttributeError, match="nothing of the plugin is loaded"):
        _ = part.WORD
    assert not hasattr(part, "WORD")
    running.manager.enable("greet")
    assert part.WORD == "one"


def test_a_module_that_has_not_run_yet_is_run_by_its_first_user(running: Running) -> None:
    """Importing by the stable name executes the module; iterating over all modules executes nothing."""
    assert running.host.call("greet") == ["one"]
    asleep = importlib.import_module("hotplug.greet.asleep")
    for module in list(sys.modules.values()):
        getattr(module, "__file__", None)
    assert not [name for name in sys.modules if name.endswith(".asleep") and ".g1_" in name]
    assert asleep.WORD == "oneone"


def test_two_managers_of_one_folder_share_no_modules(workspace: Workspace, run: Run) -> None:
    """The same plugin in two managers of one process has separate modules."""
    workspace["greet"] = (
        "seen = []\ndef answer():\n    seen.append(1)\n    return len(seen)\n"
        "def register(ctx):\n    ctx.hook('greet', answer)\n"
    )
    first, second = run(workspace.config()), run(workspace.config())
    assert (first.host.call("greet"), second.host.call("greet"), first.host.call("greet")) == ([1], [1], [2])
    second.manager.stop()
    assert importlib.import_module("hotplug.greet.plugin").answer() == 3
