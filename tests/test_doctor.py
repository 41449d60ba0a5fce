import os
import sys
from pathlib import Path

import pytest

from hotload_tui import doctor
from hotload_tui.core.config_files import resolve
from hotload_tui.doctor import Finding, Report, examine
from tests.conftest import Workspace, answering


@pytest.fixture(autouse=True)
def project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Make a project with one plugin the working directory, with fixed permissions."""
    monkeypatch.chdir(workspace.root)
    workspace["greet"] = answering("hello")
    for path in (workspace.plugins, workspace.plugins / "greet", workspace.plugins / "greet/plugin.py"):
        path.chmod(0o755)
    return workspace


def report(**environment: str) -> Report:
    """Examine the project in an environment of only these variables."""
    return examine(resolve(environment=environment), environment)


def of(subject: str, **environment: str) -> list[Finding]:
    """Return the findings on a subject."""
    return [finding for finding in report(**environment).findings if finding.subject == subject]


def test_a_healthy_project_needs_nothing() -> None:
    """A healthy project has no finding that needs action."""
    found = report(TERM="xterm-256color")
    assert found.is_fine
    assert "plugins: 1 plugin" in [finding.text for finding in found.findings]


def test_plugins_that_others_can_write_are_reported(project: Workspace) -> None:
    """A plugin file that everybody can write is reported with the command that changes that."""
    (project.plugins / "greet" / "plugin.py").chmod(0o666)
    (told,) = [finding for finding in of("plugins") if finding.verdict == "do"]
    assert told.text == "everybody can write to plugins/greet/plugin.py, and that code runs as you"
    assert told.advice == "chmod -R o-w plugins"
    assert not report().is_fine


def test_a_linked_plugin_is_examined_where_it_is(project: Workspace, tmp_path: Path) -> None:
    """The target of a plugin's link is reported if everybody can write to it; a dead link is ignored."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    (elsewhere / "dead").symlink_to(tmp_path / "nowhere")
    (project.plugins / "linked").symlink_to(elsewhere)
    (told,) = [finding for finding in of("plugins") if finding.verdict == "do"]
    assert told.text == "everybody can write to elsewhere, and that code runs as you"


def test_a_folder_of_another_user_is_reported(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins that belong to another user are reported with the user id."""
    entry = project.plugins / "greet" / "plugin.py"
    if os.getuid() == 0:
        os.chown(entry, 12345, -1)
    else:
        me = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: me + 1)
    (told,) = [finding for finding in of("plugins") if finding.verdict == "do"]
    assert told.text.startswith(f"user {entry.stat().st_uid} owns plugins")


def test_no_plugins_folder_says_how_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, the finding says how to make the first plugin."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    (told,) = of("plugins")
    assert told.verdict == "do"
    assert "hotload new NAME" in told.text


def test_too_few_watches_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system's watch limit is too low, the finding gives the command that raises it."""
    (tmp_path / "max_user_watches").write_text("3\n")
    (tmp_path / "max_user_instances").write_text("128\n")
    monkeypatch.setattr(doctor, "INOTIFY", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    watches, instances = of("watcher")
    assert (watches.verdict, instances.verdict) == ("do", "ok")
    assert watches.text.startswith("fs.inotify.max_user_watches is 3, too few: 2 directories to watch")
    assert watches.advice == "sudo sysctl fs.inotify.max_user_watches=8192"


def test_without_notification_no_limit_matters(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With only the sweep, the finding gives its interval and does not mention inotify."""
    (project.root / "hotload.toml").write_text('sweep_interval = 3.0\n[watch]\nnotifier = "sweep"\n')
    monkeypatch.setattr(doctor, "INOTIFY", project.root / "nowhere")
    (told,) = of("watcher")
    assert (told.verdict, "every 3 s" in told.text) == ("ok", True)


def test_a_notifier_of_another_system_is_reported(
    project: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If inotify is configured on another system, the finding names the notifier in use and the fix."""
    (project.root / "hotload.toml").write_text('[watch]\nnotifier = "inotify"\n')
    monkeypatch.setattr(sys, "platform", "darwin")
    (told,) = of("watcher")
    assert (told.verdict, "watchfiles is used" in told.text) == ("note", True)
    assert 'notifier = "watchfiles"' in told.advice


def test_artifacts_that_cannot_be_used_are_counted(project: Workspace) -> None:
    """Artifacts of another Python are reported with their size and the command that removes them."""
    project.compiled.mkdir(mode=0o755)
    (project.compiled / "greet-0123456789ab.hotplug").write_bytes(b"x" * 2048)
    _, told = of("compiled")
    assert told.verdict == "note"
    assert told.text.startswith("this Python cannot use 1 artifact, 2 KiB of these")
    assert "hotload clean --all" in told.advice


def test_the_terminal_is_detected_from_its_variables() -> None:
    """The terminal's colours are found from the environment, and an unsuitable terminal is noted."""
    (dumb,) = of("terminal", TERM="dumb")
    assert dumb.verdict == "note"
    (rich,) = of("terminal", TERM="xterm-256color", COLORTERM="truecolor")
    assert (rich.verdict, rich.text) == ("ok", "TERM=xterm-256color, 16 million colours")


def test_an_entry_without_a_plugin_has_a_fix(project: Workspace) -> None:
    """A misspelled table in hotload.toml is reported with the nearest plugin."""
    (project.root / "hotload.toml").write_text("[plugins.gret]\npriority = 1\n")
    (told,) = of("settings")
    assert (told.verdict, 'did you mean "greet"?' in told.text) == ("do", True)
