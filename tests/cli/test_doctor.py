import os

from tests.cli.command import Hotload
from tests.conftest import Workspace, answering


def test_the_command_prints_findings_and_origins(workspace: Workspace, hotload: Hotload) -> None:
    """``doctor`` prints the findings, and the origin of each setting."""
    workspace["greet"] = answering("hello")
    (workspace.root / "hotload.toml").write_text("load_timeout = 3\n[plugins.greet]\npriority = 5\n")
    done = hotload("doctor", HOTLOAD_DRAIN_TIMEOUT="2", LC_ALL="C.UTF-8", TERM="xterm-256color")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["load_timeout", "=", "3.0", "hotload.toml"] in lines
    assert ["plugins.greet.priority", "=", "5", "hotload.toml"] in lines
    assert ["drain_timeout", "=", "2.0", "HOTLOAD_DRAIN_TIMEOUT"] in lines
    assert ["keep_generations", "=", "10", "default"] in lines
    assert done.code == (1 if any(line[:1] == ["do"] for line in lines) else 0), done.out


def test_a_running_host_is_reported(workspace: Workspace, hotload: Hotload) -> None:
    """``doctor`` lists a running host with its pid."""
    workspace["greet"] = answering("hello")
    hotload.serve()
    assert f"{os.getpid()} runs on these plugins" in hotload("doctor").out


def test_a_broken_configuration_is_a_finding(workspace: Workspace, hotload: Hotload) -> None:
    """``doctor`` reports a mistake in hotload.toml among its findings, in JSON too, and exits with 1."""
    workspace["greet"] = answering("hello")
    hotload.serve()
    (workspace.root / "hotload.toml").write_text("lod_timeout = 3\n")
    done = hotload("doctor", "--json")
    assert done.code == 1
    assert f"{os.getpid()} runs on these plugins" in done.out
    assert "plugins: 1 plugin" in done.out
    assert '"text":"hotload.toml: lod_timeout: unknown key; did you mean \\"load_timeout\\"?"' in done.out
