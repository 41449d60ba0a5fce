"""The code in README and docs is run as it is written there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import msgspec
import pytest

from hotload_tui import Config, HookHost, HotloadManager, load_config
from hotload_tui.core.config import WatchConfig
from hotload_tui.core.model import PluginState

ROOT = Path(__file__).parent.parent


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced blocks of a language in a document, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with the README's first plugin."""
    folder = tmp_path / "plugins" / "hello"
    folder.mkdir(parents=True)
    (folder / "plugin.py").write_text(blocks("README.md", "python")[0])
    return tmp_path


def test_the_readme_plugin_is_live(project: Path) -> None:
    """The README's first plugin is live and has its description."""
    host = HookHost()
    config = Config(runtime_dir=str(project / "plugins"), compiled_dir=str(project / "compiled"))
    with HotloadManager(host, config) as manager:
        assert [status.state for status in manager.snapshot().plugins] == [PluginState.OK]
        assert manager.detail("hello").description == "Greets whoever asks."
        assert host.call("greet", "Ada") == ["Hello, Ada"]


def test_the_readme_thread_and_task_end_with_their_plugin(project: Path) -> None:
    """The README's plugin with ``ctx.thread`` and ``ctx.task`` loads, and leaves no thread behind."""
    (project / "plugins" / "hello" / "plugin.py").write_text(blocks("README.md", "python")[1])
    config = Config(runtime_dir=str(project / "plugins"), compiled_dir=str(project / "compiled"))
    with HotloadManager(HookHost(), config) as manager:
        standing = [entry.what for entry in manager.detail("hello").ledger]
        assert "'hello.poll' running register.<locals>.poll" in standing
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hello.")]


def test_the_readme_program_calls_it(project: Path) -> None:
    """The README's program, run as a script in the project, prints the plugin's answer."""
    done = subprocess.run(
        [sys.executable, "-c", blocks("README.md", "python")[2]],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("['Hello, Ada']\n", 0), done.stderr


def test_the_readme_line_lets_commands_in(project: Path) -> None:
    """With the README's ``serve`` line, a program answers other processes, and leaves no socket behind."""
    _, _, program, line = blocks("README.md", "python")
    with tempfile.TemporaryDirectory(prefix="hl-") as session:
        environment = {**os.environ, "XDG_RUNTIME_DIR": session}
        with subprocess.Popen(
            [sys.executable, "-c", program + textwrap.indent(f"{line}print(flush=True)\ninput()\n", "    ")],
            cwd=project,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as host:
            assert host.stdout is not None
            assert [host.stdout.readline(), host.stdout.readline()] == ["['Hello, Ada']\n", "\n"]
            command = [str(Path(sys.executable).with_name("hotload")), "call", "greet", "Eve"]
            done = subprocess.run(
                [*command, "--host", str(host.pid)],
                cwd=project,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            host.communicate("\n")
        assert done.stdout == "Hello, Eve\n", done.stderr
        assert list(Path(session, "hotload").iterdir()) == []


def test_the_documented_configuration_is_the_default(tmp_path: Path) -> None:
    """The documented configuration file is accepted, and its values are the defaults."""
    file = tmp_path / "hotload.toml"
    file.write_text(blocks("docs/configuration.md", "toml")[0])
    found = load_config(file)
    assert set(found.plugins) == {"todo_scanner"}
    assert set(found.keys) == {"quit"}
    assert found.watch == WatchConfig(ignore=("*.log", "/data/"), notifier="inotify")
    expected = Config(runtime_dir=str(tmp_path / "plugins"), compiled_dir=str(tmp_path / "compiled"))
    assert msgspec.structs.replace(found, plugins={}, keys={}, watch=expected.watch) == expected
    of_the_host = blocks("docs/configuration.md", "toml")[0].partition("\n[")[0]
    shown = set(re.findall(r"^(?:# )?(\w+) = ", of_the_host, re.MULTILINE))
    assert shown | {"plugins", "keys", "watch", "database"} == {
        field.name for field in msgspec.structs.fields(Config)
    }


def test_every_file_that_the_readme_names_is_there() -> None:
    """The README's links and paths exist."""
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    places = re.findall(r"`((?:hotload_tui|core|tests|docs)/[\w/.*]*)`", text)
    in_package = [f"hotload_tui/{place}" if place.startswith("core/") else place for place in places]
    missing = [place for place in [*links, *in_package] if not any(ROOT.glob(place.rstrip("/")))]
    assert not [place for place in missing if (ROOT / "hotload_tui").exists() or place in links]
