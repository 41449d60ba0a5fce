from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.events import PluginFailed
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]
NEEDS = "import {module}\ndef register(ctx):\n    ctx.hook('name', lambda: {module}.__name__)\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose modules can be imported; it is empty."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_the_fault_says_how_to_install_what_is_missing(workspace: Workspace, run: Run) -> None:
    """With the Python of the host; nothing is said where a package cannot help."""
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


def test_a_plugin_loads_once_what_it_needs_is_installed(
    workspace: Workspace, run: Run, packages: Path
) -> None:
    """Without a save and without a key, and all that need it together; others are not tried again."""
    for name in ("user", "other"):
        workspace[name] = NEEDS.format(module="installed_later")
    workspace["lacks"] = NEEDS.format(module="not_installed")
    running = run(workspace.config(enable_watch=True, sweep_interval=0.5))
    assert running.fault("user").missing_module == "installed_later"
    (packages / "installed_later.py").write_text("")
    assert running.wait_for(lambda: running.host.call("name") == ["installed_later"] * 2)
    assert running.host.swaps == 1
    assert len(running.told(PluginFailed, "lacks")) == 1


def test_a_package_that_does_not_do_is_tried_once(workspace: Workspace, run: Run, packages: Path) -> None:
    """What is installed and still not what the plugin needs is its fault, told once."""
    workspace["user"] = NEEDS.format(module="does_not_do")
    workspace["after"] = NEEDS.format(module="installed_last")
    running = run(workspace.config(enable_watch=True, sweep_interval=0.5))
    (packages / "does_not_do.py").write_text("raise ModuleNotFoundError('no', name='does_not_do')")
    assert running.wait_for(lambda: len(running.told(PluginFailed, "user")) == 2)
    (packages / "installed_last.py").write_text("")
    assert running.wait_for(lambda: running.status("after").state is PluginState.OK)
    assert len(running.told(PluginFailed, "user")) == 2
