"""Artifacts that another user owns or can write are refused, because their code runs as this user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui.core.artifact import is_shared
from hotload_tui.core.config_files import Resolved
from hotload_tui.core.events import ArtifactRejected
from hotload_tui.doctor import examine
from tests.conftest import Running, Workspace, answering
from tests.tui.console import Run

STRANGER = 12345
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only the administrator can give files away")
Change = Callable[[Path], None]


def _give_to_a_group(path: Path) -> None:
    os.chown(path, -1, STRANGER)
    path.chmod(path.stat().st_mode | 0o020)


OPEN: dict[str, tuple[Change, str]] = {
    "everybody": (lambda path: path.chmod(path.stat().st_mode | 0o002), "everybody can write to it"),
    "another owner": (lambda path: os.chown(path, STRANGER, -1), f"user {STRANGER} owns it"),
    "a group": (_give_to_a_group, f"group {STRANGER} can write to it"),
}
EACH = pytest.mark.parametrize(
    "kind", [kind if kind == "everybody" else pytest.param(kind, marks=AS_ROOT) for kind in OPEN]
)


def told(workspace: Workspace) -> list[str]:
    """Return what ``doctor`` wants done about ``compiled/``."""
    report = examine(Resolved(workspace.config(), (), ()))
    found = [each for each in report.findings if each.subject == "compiled" and each.verdict == "do"]
    return [f"{each.text}; {each.advice}" for each in found]


def built(workspace: Workspace, run: Run) -> Path:
    """Build and load a plugin, stop its host, and return its artifact."""
    workspace["greet"] = answering("well")
    running = run(workspace.config())
    running.manager.stop()
    (artifact,) = workspace.compiled.glob("*.hotplug")
    return artifact


@EACH
def test_an_artifact_that_others_can_change_is_built_again(workspace: Workspace, run: Run, kind: str) -> None:
    """Such an artifact is not loaded: the log has the reason, and the user's own build replaces it."""
    change, reason = OPEN[kind]
    artifact = built(workspace, run)
    change(artifact)
    assert reason.removesuffix(" it") in told(workspace)[0]
    running: Running = run(workspace.config())
    assert reason in running.told(ArtifactRejected, "greet")[0].reason
    assert running.status("greet").state == "ok"
    assert told(workspace) == []


@EACH
def test_a_folder_that_others_can_change_is_refused(workspace: Workspace, run: Run, kind: str) -> None:
    """From such a folder nothing is loaded; the fault and ``doctor`` have the reason and the remedy."""
    change, reason = OPEN[kind]
    built(workspace, run)
    change(workspace.compiled)
    fault = run(workspace.config()).fault("greet")
    assert f"is refused: {reason}, and its code would run as you" in fault.message
    remedy = "chown -R " if kind == "another owner" else "chmod -R go-w "
    for text in (fault.message, *told(workspace)):
        assert remedy in text
        assert "or choose a folder of your own with --compiled or compiled_dir" in text


@AS_ROOT
def test_the_owner_of_the_plugins_is_trusted(workspace: Workspace, run: Run) -> None:
    """As in a container with a mounted project: whoever owns ``plugins/`` can write the code anyway."""
    artifact = built(workspace, run)
    for path in (workspace.compiled, artifact):
        os.chown(path, STRANGER, -1)
    assert "is refused" in run(workspace.config()).fault("greet").message
    os.chown(workspace.plugins, STRANGER, -1)
    running = run(workspace.config())
    assert running.status("greet").state == "ok"
    assert running.told(ArtifactRejected) == []
    assert told(workspace) == []
    artifact.chmod(0o646)
    assert "chmod -R go-w" in told(workspace)[0]
    os.chown(artifact, STRANGER + 1, -1)
    assert f"chown -R {STRANGER} " in told(workspace)[0]
    assert f"user {STRANGER + 1} owns it" in run(workspace.config()).told(ArtifactRejected)[0].reason


@AS_ROOT
@pytest.mark.parametrize("is_there", [True, False], ids=["the folder exists", "the folder is new"])
def test_what_the_administrator_builds_belongs_to_the_owner_of_the_project(
    workspace: Workspace, run: Run, *, is_there: bool
) -> None:
    """As in a container with a mounted project: its owner can read and replace all that was built there."""
    workspace["greet"] = answering("well")
    for path in (workspace.root, workspace.plugins):
        os.chown(path, STRANGER, -1)
    if is_there:
        workspace.compiled.mkdir()
        os.chown(workspace.compiled, STRANGER, -1)
    run(workspace.config()).manager.stop()
    written = [workspace.compiled, *workspace.compiled.iterdir()]
    assert len(written) > 2
    assert {path.stat().st_uid for path in written} == {STRANGER}


@AS_ROOT
def test_doctor_takes_no_plugin_from_the_owner_of_a_mounted_project(workspace: Workspace) -> None:
    """The administrator learns that another user can write the code, and is not asked to take it over."""
    workspace["greet"] = answering("well")
    for path in (workspace.plugins, *workspace.plugins.rglob("*")):
        os.chown(path, STRANGER, -1)
    (workspace.plugins / "greet" / "part.py").write_text("")
    report = examine(Resolved(workspace.config(), (), ()))
    (found,) = [each for each in report.findings if f"user {STRANGER} owns" in each.text]
    assert found.verdict == "note"
    assert found.advice == f"as usual in a container; hotload can also run as that user: --user {STRANGER}"


@AS_ROOT
def test_the_owner_of_one_plugin_is_not_trusted_with_the_others(workspace: Workspace, run: Run) -> None:
    """A user who owns a plugin, but not ``plugins/``, cannot provide the folder of artifacts."""
    artifact = built(workspace, run)
    for path in (workspace.plugins / "greet", workspace.compiled, artifact):
        os.chown(path, STRANGER, -1)
    assert f"user {STRANGER} owns it" in run(workspace.config()).fault("greet").message


@AS_ROOT
def test_a_child_process_trusts_the_same_owner(workspace: Workspace, run: Run) -> None:
    """The modules of a plugin can be imported in a child process although another user owns its artifact."""
    artifact = built(workspace, run)
    for path in (workspace.compiled, artifact, workspace.plugins):
        os.chown(path, STRANGER, -1)
    folder = workspace.plugins / "greet"
    code = f"install('hotplug', [({str(artifact)!r}, {str(folder)!r}, 1, ())]); import hotplug.greet.plugin"
    command = [sys.executable, "-c", f"from hotload_tui.core.runtime.generation import install; {code}"]
    subprocess.run(command, check=True)


def test_a_private_group_may_write(workspace: Workspace, run: Run) -> None:
    """A group without other members, as many systems give each user, is no stranger."""
    artifact = built(workspace, run)
    if is_shared(artifact.stat().st_gid):
        pytest.skip("this user's group has other members")
    for path in (artifact, workspace.compiled):
        path.chmod(path.stat().st_mode | 0o020)
    assert run(workspace.config()).status("greet").state == "ok"


def test_a_new_folder_is_private_whatever_the_umask(workspace: Workspace, run: Run) -> None:
    """With a umask of 0 the folder of the artifacts is not writable for others either."""
    before = os.umask(0)
    try:
        artifact = built(workspace, run)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o022 for path in (artifact, workspace.compiled)] == [0, 0]
