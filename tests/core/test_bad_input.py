"""Plugins with extreme behaviour: they work or cause a clear fault, and other plugins stay untouched."""

import json
import sys
from collections.abc import Callable

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.events import PluginRemoved
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]


@pytest.fixture
def beside(workspace: Workspace, run: Run) -> Running:
    """Return a running host with a plugin ``other`` that must stay untouched."""
    workspace["other"] = answering("other")
    return run(workspace.config())


def save(running: Running, workspace: Workspace, name: str, **files: str) -> None:
    """Write a plugin's modules and report the change to the manager, as the watcher would."""
    for module, source in files.items():
        workspace[f"{name}/{module.replace('__', '/')}.py"] = source
    running.manager.handle_file_change(workspace.plugins / name)


def test_a_plugin_that_deletes_its_own_directory_while_it_loads(
    workspace: Workspace, beside: Running
) -> None:
    """The plugin and its later imports run from the artifact until the next scan finds its directory gone."""
    save(
        beside,
        workspace,
        "greet",
        late="WORD = 'late'\n",
        plugin="import shutil, pathlib\nshutil.rmtree(pathlib.Path(__file__).parent)\n"
        "def answer():\n    from . import late\n    return late.WORD\n"
        "def register(ctx):\n    ctx.hook('greet', answer)\n",
    )
    assert not (workspace.plugins / "greet").exists()
    assert beside.host.call("greet") == ["late", "other"]
    beside.manager.handle_file_change(workspace.plugins / "greet")
    assert beside.host.call("greet") == ["other"]
    assert beside.told(PluginRemoved, "greet")


def test_a_plugin_that_deletes_another_while_it_loads(workspace: Workspace, run: Run) -> None:
    """The deleted plugin is already read and stays live until the next scan; the other plugins load."""
    workspace["a"] = (
        "import shutil, pathlib\nshutil.rmtree(pathlib.Path(__file__).parents[1] / 'b')\n" + answering("a")
    )
    workspace["b"] = answering("b")
    workspace["c"] = answering("c")
    running = run(workspace.config())
    assert running.host.call("greet") == ["a", "b", "c"]
    running.manager.scan_and_load_all()
    assert running.host.call("greet") == ["a", "c"]
    assert [status.name for status in running.manager.snapshot().plugins] == ["a", "c"]


def test_two_plugins_own_a_utils(workspace: Workspace, beside: Running) -> None:
    """Each of two plugins imports its own ``utils`` by every name, even after one of them is reloaded."""
    source = "import utils\nfrom . import utils as same\nassert utils is same or utils.WORD == same.WORD\n"
    for name in ("a", "b"):
        save(
            beside,
            workspace,
            name,
            utils=f"WORD = {name!r}\n",
            plugin=f"{source}def register(ctx):\n    ctx.hook('greet', lambda: utils.WORD)\n",
        )
    assert beside.host.call("greet") == ["a", "b", "other"]
    save(beside, workspace, "a", utils="WORD = 'new'\n")
    assert beside.host.call("greet") == ["new", "b", "other"]
    assert "utils" not in sys.modules


def test_a_plugin_called_json(workspace: Workspace, beside: Running) -> None:
    """A plugin called json works, and neither the host nor another plugin loses the standard module."""
    dumping = "import json\ndef register(ctx):\n    ctx.hook('greet', lambda: json.dumps([1]))\n"
    save(beside, workspace, "json", plugin=answering("mine"))
    save(beside, workspace, "user", plugin=dumping)
    assert beside.host.call("greet") == ["mine", "other", "[1]"]
    assert sys.modules["json"] is json


def test_a_circular_import(workspace: Workspace, beside: Running) -> None:
    """A circular import that works in a package works; a broken one is a fault and the old version stays."""
    one = "from . import two\nWORD = 'circular'\n"
    plugin = "from . import one\ndef register(ctx):\n    ctx.hook('greet', lambda: one.two.word())\n"
    save(
        beside,
        workspace,
        "greet",
        one=one,
        two="from . import one\ndef word():\n    return one.WORD\n",
        plugin=plugin,
    )
    assert beside.host.call("greet") == ["circular", "other"]
    save(beside, workspace, "greet", two="from .one import WORD\ndef word():\n    return WORD\n")
    assert beside.status("greet").state is PluginState.STALE
    assert "circular import" in beside.fault("greet").message
    assert beside.host.call("greet") == ["circular", "other"]


@pytest.mark.parametrize("module", ["part", "plugin"])
def test_a_module_that_replaces_itself(workspace: Workspace, beside: Running, module: str) -> None:
    """A replacement object in ``sys.modules`` is used as the module, and nothing is left after the stop."""
    replaced = (
        "import sys\nclass Stand:\n    word = 'WORD'\n    def register(self, ctx):\n"
        "        ctx.hook('greet', lambda: self.word)\nsys.modules[__name__] = Stand()\n"
    )
    user = "from . import part\ndef register(ctx):\n    ctx.hook('greet', lambda: part.word)\n"
    before = set(sys.modules)
    for word in ("one", "two"):
        files = {"plugin": user, module: replaced.replace("WORD", word)}
        if module == "plugin":
            files["plugin"] += "register = sys.modules[__name__].register\n"
        save(beside, workspace, "greet", **files)
        assert beside.host.call("greet") == [word, "other"]
    beside.manager.stop()
    left = {name for name in set(sys.modules) - before if name.startswith("hotplug.greet")}
    assert left == set()


def test_a_package_without_init(workspace: Workspace, beside: Running) -> None:
    """A folder of modules without ``__init__.py`` is a package, and its data files are found."""
    workspace["greet/words/hello.txt"] = "Hello"
    save(
        beside,
        workspace,
        "greet",
        words__say="import importlib.resources as r\ndef say():\n"
        "    return r.files(__package__).joinpath('hello.txt').read_text()\n",
        plugin="from .words import say\ndef register(ctx):\n    ctx.hook('greet', say.say)\n",
    )
    assert beside.host.call("greet") == ["Hello", "other"]
