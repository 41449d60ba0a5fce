from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hotload_tui import HookHost, HotloadManager
from tests.conftest import Workspace

GREET = "def register(ctx):\n    ctx.hook('greet', lambda: {word!r})\n"
interactive = pytest.importorskip("IPython.core.interactiveshell")


class Notebook:
    """An IPython session in the workspace."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._shell = interactive.InteractiveShell.instance(history_manager=None)
        self._capsys = capsys

    def run(self, cell: str) -> tuple[str, str, str]:
        """Run a cell, and return its value as text and as HTML, and what was printed as an error."""
        done = self._shell.run_cell(cell)
        done.raise_error()
        shown, _ = self._shell.display_formatter.format(done.result)
        return shown["text/plain"], shown.get("text/html", ""), self._capsys.readouterr().err

    def value(self, name: str) -> object:
        """Return a variable of the session."""
        return self._shell.user_ns[name]


@pytest.fixture
def notebook(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Notebook]:
    """Yield a session that has loaded the extension."""
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("IPYTHONDIR", str(workspace.root / "ipython"))
    notebook = Notebook(capsys)
    notebook.run("%load_ext hotload_tui")
    yield notebook
    notebook.run("%unload_ext hotload_tui")


def test_a_notebook_has_hot_plugins(workspace: Workspace, notebook: Notebook) -> None:
    """``%hotload`` starts a manager; a cell calls the plugins, and the next cell gets a saved version."""
    workspace["greet"] = GREET.format(word="one")
    text, html, _ = notebook.run("%hotload plugins/")
    assert text.startswith("<HotloadManager plugins: 1 ok; watching>")
    assert "<th style='text-align: left'>state</th>" in html
    assert ">+ ok</td>" in html
    assert isinstance(notebook.value("manager"), HotloadManager)
    host = notebook.value("host")
    assert isinstance(host, HookHost)
    workspace["greet"] = GREET.format(word="two")
    notebook.run("manager.rebuild('greet')")
    assert notebook.run("host.call('greet')")[0] == "['two']"
    assert ">greet</td>" in notebook.run("%hotload")[1]
    notebook.run("%hotload --stop")
    assert host.call("greet") == []


def test_a_fault_is_a_traceback_with_the_source_as_loaded(workspace: Workspace, notebook: Notebook) -> None:
    """A mistake is printed with its line, which stays when the file changes; text is never markup."""
    workspace["greet"] = "def register(ctx):\n    raise ValueError('<b>')\n"
    _, html, said = notebook.run("%hotload plugins")
    assert said.startswith("greet: register failed: ValueError: <b>")
    assert "    raise ValueError('<b>')\nValueError: <b>\n" in said
    assert "raise ValueError(&#x27;&lt;b&gt;&#x27;)" in html
    assert "<b>" not in html
    assert "ValueError" in notebook.run("manager.snapshot().plugins[0].fault")[1]


def test_wrong_use_is_explained(notebook: Notebook, workspace: Workspace) -> None:
    """A missing folder, a wrong configuration and no manager give a message and no traceback."""
    assert "name their folder" in notebook.run("%hotload")[2]
    assert "no plugin directory nowhere" in notebook.run("%hotload nowhere")[2]
    notebook.run("%hotload --stop")
    Path(workspace.root / "hotload.toml").write_text("entri = 1\n")
    assert "entri: unknown key" in notebook.run("%hotload plugins")[2]
