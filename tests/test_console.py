"""The real console in a terminal, with the real command: plugins are edited, broken, fixed and moved."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal

HOTLOAD = str(Path(sys.executable).with_name("hotload"))
SHIPPED = Path(__file__).parent.parent / "plugins"
GREET = "def register(ctx):\n    ctx.hook('greet', lambda name: f'Hello, {name}')\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project folder with the plugins greet and other."""
    for name in ("greet", "other"):
        folder = tmp_path / "plugins" / name
        folder.mkdir(parents=True)
        (folder / "plugin.py").write_text(GREET.replace("greet", name))
    return tmp_path


@pytest.fixture
def console(project: Path) -> Iterator[Terminal]:
    """Yield the console on the project, once both plugins are live."""
    with Terminal([HOTLOAD], cwd=project, columns=120, rows=36) as terminal:
        terminal.wait_for(lambda screen: screen.count("+ ok") >= 2)
        yield terminal


def call(project: Path, *words: str) -> str:
    """Run ``hotload call`` in the project, and return what it prints."""
    done = subprocess.run([HOTLOAD, "call", *words], cwd=project, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def row(screen: str, plugin: str) -> str:
    """Return the table's row of a plugin; empty if there is none."""
    rows = [line for line in screen.splitlines() if f" {plugin} " in line[:60] and "Overview" not in line]
    found = next((line for line in rows if any(glyph in line[:4] for glyph in "+~!=*-.?")), "")
    return found.partition("│")[0]  # without the details beside it


def test_standard_error_may_be_redirected(project: Path) -> None:
    """``hotload 2>err.log`` draws on the terminal all the same, and the file gets none of it."""
    with Terminal(["sh", "-c", f"exec {HOTLOAD} 2>err.log"], cwd=project) as terminal:
        terminal.wait_for(lambda screen: screen.count("+ ok") >= 2)
        terminal.press("q")
        assert terminal.wait_for_exit() == 0
    assert "\x1b" not in (project / "err.log").read_text()


def test_all_shipped_plugins_are_live_at_once(tmp_path: Path) -> None:
    """The console on the shipped plugins shows at least eight rows with OK, one disabled and none failed."""
    shutil.copytree(SHIPPED, tmp_path / "plugins")
    with Terminal([HOTLOAD], cwd=tmp_path) as terminal:
        screen = terminal.wait_for(lambda screen: screen.count("+ ok ") >= 8 and "- off " in screen)
        assert "! FAIL" not in screen
        terminal.press("q")
        assert terminal.wait_for_exit() == 0


def test_a_saved_file_goes_live(project: Path, console: Terminal) -> None:
    """An edit by sed makes a new generation, and calls return the new result."""
    assert call(project, "greet", "Ada") == "Hello, Ada"
    subprocess.run(["sed", "-i", "s/Hello/Goodbye/", "plugins/greet/plugin.py"], cwd=project, check=True)
    console.wait_for(lambda screen: "greet 1 → 2" in screen)
    assert call(project, "greet", "Ada") == "Goodbye, Ada"


def test_a_broken_file_is_explained_and_the_old_version_stays_live(project: Path, console: Terminal) -> None:
    """A syntax error shows STALE and the line, the last good version answers, and a fix clears the fault."""
    entry = project / "plugins" / "greet" / "plugin.py"
    entry.write_text(GREET + "def broken(:\n")
    console.wait_for(lambda screen: "~ STALE" in row(screen, "greet"))
    assert call(project, "greet", "Ada") == "Hello, Ada"
    console.press("g", "2")
    wanted = ("def broken(:", "SyntaxError: ", "still running")
    console.wait_for(lambda screen: all(text in screen for text in wanted))
    entry.write_text(GREET.replace("Hello", "Welcome"))
    console.wait_for(lambda screen: "+ ok" in row(screen, "greet"))
    assert call(project, "greet", "Ada") == "Welcome, Ada"


def test_renaming_the_directory_disables_and_enables(project: Path, console: Terminal) -> None:
    """A plugin that is renamed to _greet is off and does not answer; renamed back it is live again."""
    plugins = project / "plugins"
    (plugins / "greet").rename(plugins / "_greet")
    console.wait_for(lambda screen: "- off" in row(screen, "greet"))
    assert call(project, "greet", "Ada") == ""
    (plugins / "_greet").rename(plugins / "greet")
    console.wait_for(lambda screen: "+ ok" in row(screen, "greet"))
    assert call(project, "greet", "Ada") == "Hello, Ada"


def test_directories_come_and_go(project: Path, console: Terminal) -> None:
    """A new directory appears as a plugin, and a deleted one disappears with its hook points."""
    shutil.copytree(project / "plugins" / "greet", project / "plugins" / "third")
    console.wait_for(lambda screen: "+ ok" in row(screen, "third"))
    shutil.rmtree(project / "plugins" / "greet")
    console.wait_for(lambda screen: not row(screen, "greet"))
    assert call(project, "greet", "Ada") == "Hello, Ada"  # only from the copy
    assert call(project, "other", "Ada") == "Hello, Ada"


def test_keys_disable_rebuild_and_quit(project: Path, console: Terminal) -> None:
    """``d`` and ``r`` act on the selected plugin, and ``q`` ends the console with code 0."""
    console.press("g", "d")
    console.wait_for(lambda screen: "- off" in row(screen, "greet"))
    assert (project / "plugins" / "_greet").is_dir()
    console.press("d")
    console.wait_for(lambda screen: "+ ok" in row(screen, "greet"))
    console.press("r")
    console.wait_for("greet 2 → 3")
    console.press("q")
    assert console.wait_for_exit() == 0


def test_no_plugin_directory_is_no_dead_end(tmp_path: Path) -> None:
    """Without a plugin directory the console says so, and ``n`` makes it with a first live plugin."""
    with Terminal([HOTLOAD], cwd=tmp_path) as terminal:
        terminal.wait_for("o plugin directory")
        terminal.press("n")
        terminal.wait_for("Name")
        terminal.press("hello", "enter")
        terminal.wait_for(lambda screen: "+ ok" in row(screen, "hello"))
    assert (tmp_path / "plugins" / "hello" / "plugin.py").is_file()


def test_taking_an_edit_back_clears_the_fault(project: Path, console: Terminal) -> None:
    """A broken file that is changed back is OK again without a load."""
    entry = project / "plugins" / "greet" / "plugin.py"
    entry.write_text(GREET + "def broken(:\n")
    console.wait_for(lambda screen: "~" in row(screen, "greet") and "STALE" in row(screen, "greet"))
    entry.write_text(GREET)
    console.wait_for(lambda screen: "+ ok" in row(screen, "greet") and "STALE" not in screen)


@pytest.mark.parametrize("end", ["q", "hang-up"])
def test_a_demonstration_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    """``hotload demo`` removes its project when the user quits, and when the window is closed."""
    environment = {"TMPDIR": str(tmp_path)}
    with Terminal([HOTLOAD, "demo"], cwd=tmp_path, environment=environment) as terminal:
        terminal.wait_for(lambda screen: "6 plugins in a temporary project" in screen)
        assert len(list(tmp_path.glob("hotload-demo-*"))) == 1
        if end == "q":
            terminal.press("q")
        else:
            terminal.hang_up()
        terminal.wait_for_exit()
    assert list(tmp_path.glob("hotload-demo-*")) == []
