import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core import directories
from hotload_tui.core.directories import TEMPLATES
from hotload_tui.core.errors import RefusedError, UsageError
from tests.conftest import Running, Workspace


def passes(test: Path) -> bool:
    """Run a test as its owner would: with pytest in its own process, and warnings as errors."""
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(test)]
    for plugin in ("asyncio", "xdist", "hypothesispytest"):
        command += ["-p", f"no:{plugin}"]
    done = subprocess.run(command, cwd=test.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return "1 passed" in done.stdout


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_plugin_is_live_and_passes_its_own_test(
    workspace: Workspace, run: Callable[[Config], Running], template: str
) -> None:
    """A plugin from each template is OK at once, and its test passes."""
    running = run(workspace.config())
    assert running.manager.new("my-first", template).state is PluginState.OK
    assert passes(workspace.plugins / "test_my_first.py")


def test_new_plugins_do_not_answer_each_others_calls(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """New plugins have hook points with their own names, so they do not answer each other's calls."""
    running = run(workspace.config())
    for template in ("simple", "package", "async"):
        running.manager.new(f"my-{template}", template)
        assert running.host.invoke(f"my-{template}", "Ada").values == ("Hello, Ada!",)


def test_a_plugin_from_the_projects_own_template_has_a_test(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """With the project's own TEMPLATE.py, the generated test passes."""
    template = "def register(ctx):\n    ctx.hook('$name', lambda: 'of $name')\n"
    (workspace.plugins / "TEMPLATE.py").write_text(template)
    running = run(workspace.config())
    running.manager.new("mine")
    assert running.host.call("mine") == ["of mine"]
    assert passes(workspace.plugins / "test_mine.py")


def test_a_test_that_is_there_stays(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """An existing file with the test's name is left alone."""
    (workspace.plugins / "test_mine.py").write_text("precious")
    run(workspace.config()).manager.new("mine")
    assert (workspace.plugins / "test_mine.py").read_text() == "precious"


def test_an_edited_test_reloads_nothing(workspace: Workspace, run: Callable[[Config], Running]) -> None:
    """Editing the test does not change the plugin's digest or reload it."""
    running = run(workspace.config())
    before = running.manager.new("mine").digest
    (workspace.plugins / "test_mine.py").write_text("")
    running.manager.handle_file_change(workspace.plugins / "test_mine.py")
    assert (running.status("mine").digest, running.status("mine").generation) == (before, 1)


def test_an_unknown_template_names_the_nearest(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """A misspelled template is refused with the nearest name."""
    with pytest.raises(UsageError, match=r'no template "packge"; did you mean "package"\?'):
        run(workspace.config()).manager.new("x", "packge")


def test_a_template_without_its_library_is_refused(
    workspace: Workspace, run: Callable[[Config], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template without its library is refused with the install command, and creates nothing."""
    monkeypatch.setattr(directories, "installed_spec", lambda _: None)
    with pytest.raises(RefusedError, match=r"pip install 'hotload-tui\[pluggy\]'"):
        run(workspace.config()).manager.new("x", "pluggy")
    assert not list(workspace.plugins.iterdir())
