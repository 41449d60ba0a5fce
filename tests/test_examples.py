"""The programs under ``examples/`` run, and behave as documented."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config
from tests.conftest import Running
from tests.counts import WEB_RELOADS

EXAMPLES = Path(__file__).parent.parent / "examples"


def _run(*command: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], input=given, capture_output=True, text=True, check=False
    )


def test_the_web_program_answers_through_its_reloads() -> None:
    """During reloads no request of the web program fails, and no answer mixes two versions."""
    done = _run(EXAMPLES / "web" / "load.py", "--reloads", str(WEB_RELOADS), "--clients", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, beside, without = (line.strip("| ").split(" | ") for line in done.stdout.splitlines())
    assert beside[:2] == ["with reloads", str(WEB_RELOADS)]
    assert beside[3:5] == without[3:5] == ["0", "0"]


def test_the_load_generator_reports_a_mixed_answer(tmp_path: Path) -> None:
    """The load generator detects middleware of another version than its pages."""
    web = Path(shutil.copytree(EXAMPLES / "web", tmp_path / "web"))
    stamp = web / "plugins" / "stamp" / "plugin.py"
    stamp.write_text(stamp.read_text().replace('str(ctx.plugin("pages").VERSION)', '"1"'))
    done = _run(web / "load.py", "--reloads", "1", "--clients", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 2, done.stdout + done.stderr
    assert lines[2].split(" | ")[4] != "0"


def test_a_subcommand_of_the_tool_is_a_plugin(tmp_path: Path) -> None:
    """The tool's plugins are its subcommands, with their own arguments, help and error messages."""
    tool = _copy_of_the_tool(tmp_path)
    assert "count  Print how many WORDS there are." in _run(tool, "--help").stdout
    assert _run(tool, "shout", "hello", "--times", "2").stdout == "HELLO\nHELLO\n"
    wrong = _run(tool, "shout", "--times", "x")
    assert (wrong.returncode, "'x' is not a valid integer" in wrong.stderr) == (2, True)


def test_a_running_tool_has_the_subcommands_as_they_are_saved(tmp_path: Path) -> None:
    """A running tool uses a changed subcommand, keeps the old one of a broken change, and finds a new one."""
    tool = _copy_of_the_tool(tmp_path)
    plugins = tmp_path / "tool" / "plugins"
    source = (plugins / "shout" / "plugin.py").read_text()
    with subprocess.Popen(
        [sys.executable, str(tool)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert _say(process, "shout hello") == "HELLO\n"
        (plugins / "shout" / "plugin.py").write_text(source.replace(".upper()", '.upper() + "!"'))
        assert _say(process, "shout hello") == "HELLO!\n"
        (plugins / "shout" / "plugin.py").write_text("def register(ctx:\n")
        assert _say(process, "shout hello") == "HELLO!\n"
        (plugins / "yell").mkdir()
        (plugins / "yell" / "plugin.py").write_text(
            source.replace("def shout", "def yell").replace(": shout", ": yell")
        )
        assert _say(process, "yell 'two words'") == "TWO WORDS\n"
        _, told = process.communicate()
    assert "shout: compile failed: SyntaxError" in told
    assert process.returncode == 0


def _copy_of_the_tool(folder: Path) -> Path:
    ignored = shutil.ignore_patterns("compiled", "__pycache__")
    return Path(shutil.copytree(EXAMPLES / "tool", folder / "tool", ignore=ignored), "tool.py")


def _say(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline()


@pytest.mark.terminal
def test_the_native_plugins_agree_with_their_twins(run: Callable[[Config], Running], tmp_path: Path) -> None:
    """The C, Cython and Rust examples return what their twins in Python return."""
    plugins = EXAMPLES / "native" / "plugins"
    running = run(Config(runtime_dir=str(plugins), compiled_dir=str(tmp_path / "c"), enable_watch=False))
    text = tmp_path / "text"
    for content in ("", "one\n", "Zwölf\tBoxkämpfer  jagen\nEva\f 12 über den Deich\n"):
        text.write_text(content)
        for point, *more in (["count_words"], ["nearest_word", "Boxkampf"], ["entropy"]):
            if (plugins / point).is_dir():
                native, twin = running.host.call(point, str(text), *more)
                assert native == twin, running.said()
