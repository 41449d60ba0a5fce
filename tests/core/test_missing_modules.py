from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core import faults
from hotload_tui.core.events import PluginFailed
from hotload_tui.core.manager.watching import Installs
from tests.conftest import Running, Workspace, answering

Run = Callable[[Config], Running]
NEEDS = "import {module}\ndef register(ctx):\n    ctx.hook('name', lambda: {module}.__name__)\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder on the import path."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_the_fault_says_how_to_install_what_is_missing(workspace: Workspace, run: Run) -> None:
    """The fault of a missing package gives the install command for the host's Python, if one can help."""
    workspace["user"] = NEEDS.format(module="not_installed")
    workspace["typo"] = NEEDS.format(module="json.not_there")
    workspace["own"] = "from . import not_there\ndef register(ctx): ...\n"
    running = run(workspace.config())
    fault = running.fault("user")
    assert fault.missing_module == "not_installed"
    (note,) = fault.notes
    assert f"{sys.executable} -m pip install not_installed" in note
    for name in ("typo", "own"):
        assert running.fault(name).missing_module == ""
        assert not any("pip" in note for note in running.fault(name).notes)


def test_without_pip_the_advice_is_uvs(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pip, the fault gives the command of uv."""
    monkeypatch.setattr(faults, "installed_spec", lambda _: None)
    workspace["user"] = NEEDS.format(module="not_installed")
    (note,) = run(workspace.config()).fault("user").notes
    assert note.endswith(f"uv pip install --python {sys.executable} not_installed")


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("yaml", "install PyYAML, which provides 'yaml': {python} -m pip install PyYAML"),
        (
            "lacking",
            "install the package that provides 'lacking', perhaps with: {python} -m pip install lacking",
        ),
    ],
)
def test_the_advice_names_the_distribution(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, module: str, advice: str
) -> None:
    """The advice names the distribution of a well-known module, and is a guess for any other module."""
    monkeypatch.delitem(sys.modules, module, raising=False)  # a test before this one may import it
    workspace["user"] = f"raise ModuleNotFoundError('no', name='{module}')\ndef register(ctx): ...\n"
    (note,) = run(workspace.config()).fault("user").notes
    assert note == advice.format(python=sys.executable)


@pytest.mark.parametrize("file", ["shop.py", "shop/__init__.py"])
def test_the_advice_for_a_module_of_the_project_is_no_installation(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """A module that lies in the working directory need not be installed: the advice says how to reach it."""
    monkeypatch.chdir(workspace.root)
    (workspace.root / file).parent.mkdir(exist_ok=True)
    (workspace.root / file).touch()
    workspace["user"] = NEEDS.format(module="shop")
    (note,) = run(workspace.config()).fault("user").notes
    assert note == f"{file} is in the working directory, where Python does not look: start with PYTHONPATH=."


def test_a_plugin_loads_once_what_it_needs_is_installed(
    workspace: Workspace, run: Run, packages: Path
) -> None:
    """Plugins load together once their missing package is installed, and others are not tried again."""
    for name in ("user", "other"):
        workspace[name] = NEEDS.format(module="installed_later")
    workspace["lacks"] = NEEDS.format(module="not_installed")
    running = run(workspace.config(enable_watch=True, sweep_interval=0.5))
    assert running.fault("user").missing_module == "installed_later"
    (packages / "installed_later.py").write_text("")
    assert running.wait_for(lambda: running.host.call("name") == ["installed_later"] * 2)
    assert running.host.swaps == 1
    assert len(running.told(PluginFailed, "lacks")) == 1


def test_a_package_that_does_not_do_is_tried_once(
    workspace: Workspace, run: Run, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is installed but does not help is tried once until it changes."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.syspath_prepend(elsewhere)
    workspace["user"] = NEEDS.format(module="does_not_do")
    workspace["after"] = NEEDS.format(module="installed_last")
    running = run(workspace.config(enable_watch=True, sweep_interval=0.5))
    (packages / "does_not_do.py").write_text("raise ModuleNotFoundError('no', name='does_not_do')")
    assert running.wait_for(lambda: len(running.told(PluginFailed, "user")) == 2)
    (elsewhere / "installed_last.py").write_text("")
    assert running.wait_for(lambda: running.status("after").state is PluginState.OK)
    assert len(running.told(PluginFailed, "user")) == 2
    (packages / "does_not_do.py").write_text("")
    assert running.wait_for(lambda: running.status("user").state is PluginState.OK)


def test_a_package_is_not_imported_while_it_is_being_installed(packages: Path) -> None:
    """A package is not imported before a check finds it unchanged since the previous one."""
    folder = packages / "comes_slowly"
    installs = Installs()
    lacking = {"user": "comes_slowly", "other": "not_installed"}
    assert installs.ready(lacking) == []
    for count in range(3):
        (folder / "inner").mkdir(parents=True, exist_ok=True)
        (folder / "inner" / f"part{count}.py").write_text("")
        assert installs.ready(lacking) == []
    (packages / "comes_slowly.dist-info").mkdir()
    assert installs.ready(lacking) == []
    assert installs.ready(lacking) == ["user"]
    (folder / "__pycache__").mkdir()
    (packages / "__pycache__").mkdir()
    assert installs.ready(lacking) == []
    (folder / "inner" / "part0.py").write_text("MENDED = 1\n")
    assert [installs.ready(lacking) for _ in range(3)] == [[], ["user"], []]


def test_a_folder_without_init_is_not_confused_with_the_current_directory(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that come in the current directory are no part of a package without ``__init__.py``."""
    (packages / "without_init").mkdir()
    (packages / "without_init" / "part.py").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    installs = Installs()
    assert installs.ready({"user": "without_init"}) == []
    (elsewhere / "notes.txt").write_text("of the program")
    assert installs.ready({"user": "without_init"}) == ["user"]


FORGETFUL = """
import sys

class Finder:
    @staticmethod
    def find_spec(*_):
        return None

    @staticmethod
    def invalidate_caches():
        {act}

def register(ctx):
    ctx.hook("forgetful", lambda: 1)
    {add}
    ctx.on_unload(lambda: {remove})
"""


@pytest.mark.parametrize("act", ["raise RuntimeError", "while True: pass"])
@pytest.mark.parametrize(
    "place",
    [
        ("sys.meta_path.insert(0, Finder)", "sys.meta_path.remove(Finder)"),
        ("sys.path_importer_cache['of a plugin'] = Finder", "sys.path_importer_cache.pop('of a plugin')"),
    ],
    ids=["of modules", "of a path"],
)
def test_a_finder_of_a_plugin_does_not_stop_the_watcher(
    workspace: Workspace, run: Run, packages: Path, act: str, place: tuple[str, str]
) -> None:
    """While the finder of one plugin fails, another plugin loads once what it needs is installed."""
    workspace["finder"] = FORGETFUL.format(act=act, add=place[0], remove=place[1])
    module = f"installed_beside_{len(act)}_{len(place[0])}"  # another one in each case
    workspace["user"] = NEEDS.format(module=module)
    running = run(workspace.config(enable_watch=True, sweep_interval=0.2, drain_timeout=0.1))
    assert running.status("finder").state is PluginState.OK
    assert running.fault("user").missing_module == module
    (packages / f"{module}.py").write_text("")
    assert running.wait_for(lambda: running.status("user").state is PluginState.OK)
    workspace["finder"] = answering(1, "forgetful")
    assert running.wait_for(lambda: running.status("finder").generation == 2)


def test_what_is_installed_during_a_pause_is_tried_after_it(
    workspace: Workspace, run: Run, packages: Path
) -> None:
    """A package that is installed during a pause is tried when the pause ends."""
    workspace["user"] = NEEDS.format(module="installed_in_the_pause")
    running = run(workspace.config(enable_watch=True, settle_time=0.1, sweep_interval=0.5))
    running.manager.pause()
    (packages / "installed_in_the_pause.py").write_text("")
    waiting: tuple[str, ...] = ()
    for name in "abcde":  # each is noticed later than the previous one, so the watcher has looked often
        waiting = (*waiting, name)
        workspace[name] = answering(name, "other")
        assert running.wait_for(lambda: running.manager.snapshot().watcher.waiting == waiting)  # noqa: B023
    assert running.host.call("name") == []
    running.manager.resume()
    assert running.wait_for(lambda: running.host.call("name") == ["installed_in_the_pause"])
