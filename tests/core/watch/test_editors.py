"""Real editors and tools save, and the watcher reports the content that they wrote."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.core.watch.conftest import Watch
from tests.core.watch.savings import ONE, TWO, Act, Saving, entry, sh, tool
from tests.core.watch.test_savings import perform, prepare

pytestmark = pytest.mark.terminal

_COMMENTED = "#" + ONE


def vim(*settings: str, keys: str = "%s/one/two/|wq") -> Act:
    """Return a function that saves with vim under these settings."""
    given = [argument for setting in settings for argument in ("-c", f"set {setting}")]
    bare = ["vim", "-u", "NONE", "-i", "NONE", "-N", "-n", "-es", "-c", "set backupskip="]
    return lambda plugin: sh(plugin, *bare, *given, "-c", keys, "plugin.py")


def vim_with_swap_file(plugin: Path) -> None:
    """Save with vim while a swap file exists."""
    sh(plugin, "vim", "-u", "NONE", "-i", "NONE", "-N", "-es", "-c", "preserve|%s/one/two/|wq", "plugin.py")


def nano(*options: str) -> Act:
    """Return a function that saves with nano: it types a ``#``, ^O, Return, ^X."""

    def act(plugin: Path) -> None:
        controller, terminal = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"}
        with subprocess.Popen(
            ["nano", "-I", *options, "plugin.py"],
            cwd=plugin, env=environment, stdin=terminal, stdout=terminal, stderr=terminal,
        ) as editor:  # fmt: skip
            os.close(terminal)
            _read_until(controller, b"Exit")
            for keys, answer in ((b"#\x0f", b"Write"), (b"\r", b"Wrote"), (b"\x18", b"")):
                os.write(controller, keys)
                _read_until(controller, answer)
            editor.wait()
        os.close(controller)

    return act


def _read_until(controller: int, text: bytes) -> None:
    seen = b""
    while text not in seen or not text:
        try:
            seen += os.read(controller, 4096)
        except OSError:  # the editor has ended
            return


def rsync(*options: str) -> Act:
    """Return a function that copies with rsync."""
    return lambda plugin: sh(plugin, "rsync", *options, "../../two.txt", "plugin.py")


def git(plugin: Path, *arguments: str) -> None:
    """Run git in this directory."""
    sh(plugin, "git", "-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false", *arguments)


def stashed(plugin: Path) -> None:
    """Save, stash, and restore the stash."""
    git(plugin, "init", "-q")
    git(plugin, "add", ".")
    git(plugin, "commit", "-qm", "one")
    entry(plugin).write_text(TWO)
    git(plugin, "stash", "-q")
    git(plugin, "stash", "pop", "-q")


def checked_out(plugin: Path) -> None:
    """Commit, delete the file, and check it out."""
    git(plugin, "init", "-q")
    entry(plugin).write_text(TWO)
    git(plugin, "add", ".")
    git(plugin, "commit", "-qm", "two")
    entry(plugin).unlink()
    git(plugin, "checkout", "-q", "plugin.py")


EDITORS: dict[str, Saving] = {
    "vim backupcopy=auto": Saving(vim("backupcopy=auto", "writebackup")),
    "vim backupcopy=yes": Saving(vim("backupcopy=yes", "writebackup")),
    "vim backupcopy=no": Saving(vim("backupcopy=no", "writebackup")),
    "vim nowritebackup": Saving(vim("nobackup", "nowritebackup")),
    "vim backup": Saving(vim("backup")),
    "vim with a swap file": Saving(vim_with_swap_file),
    "vim without saving": Saving(vim(keys="q!"), ONE, 0, 0),
    "vim, nothing changed": Saving(vim(keys="wq"), ONE, 0, 0),
    "nano": Saving(nano(), _COMMENTED),
    "nano with backup and lock": Saving(nano("-B", "-G"), _COMMENTED),
    "rsync": Saving(rsync("-I")),
    "rsync -a": Saving(rsync("-aI")),
    "rsync --inplace": Saving(rsync("-I", "--inplace")),
    "perl -pi": Saving(tool("perl", "-pi", "-e", "s/one/two/")),
    "git stash and pop": Saving(stashed, most=3),
    "git checkout of a file": Saving(checked_out, most=2),
}


@pytest.mark.parametrize("sweep_interval", [None, 0.3], ids=["by itself", "with the sweep"])
def test_saves_of_editors_are_reported(
    workspace: Workspace, watch: Watch, notifier: str, sweep_interval: float | None
) -> None:
    """The watcher reports each save of an editor as often as expected, with the content on disk."""
    prepare(workspace, list(EDITORS))
    heard = watch(notifier=notifier, sweep_interval=sweep_interval)
    assert perform(workspace, heard, EDITORS) == {}


def test_a_checkout_of_many_plugins_is_one_batch(workspace: Workspace, watch: Watch, notifier: str) -> None:
    """A checkout of 200 files in 10 plugins is reported once, with the complete change of each plugin."""
    names = [f"p{number}" for number in range(10)]

    def run(*arguments: str) -> None:
        git(workspace.root, *arguments)

    run("init", "-q", "-b", "main")
    for branch, content in (("main", ONE), ("next", TWO)):
        if branch == "next":
            run("checkout", "-qb", "next")
        for name in names:
            workspace[name] = content
            for number in range(19):
                workspace[f"{name}/f{number}.py"] = f"A = {number, content}\n"
        run("add", ".")
        run("commit", "-qm", branch)
    run("checkout", "-q", "main")
    heard = watch(notifier=notifier)
    run("checkout", "-q", "next")
    assert heard.wait_for(lambda: heard.names == set(names))
    heard.wait_for_quiet()
    assert [heard.content(name) for name in names] == [TWO] * 10
    assert len(heard.changes) == 10
    assert len(heard.calls) == 1
