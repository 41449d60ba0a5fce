"""What a start and a reload do, counted: figures that do not depend on the machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hotload_tui import Config, HookHost, HotloadManager
from tests.conftest import CountingHost

PLUGINS = 12
LARGE = "".join(f"def step_{n}(x):\n    return x + {n}\n\n" for n in range(2000))


class Ear:
    """Hears which plugin files the interpreter opens and compiles; an audit hook cannot be taken back."""

    def __init__(self) -> None:
        self.root = ""
        self.opened: list[str] = []
        self.compiled: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.root or event not in {"open", "compile"}:
            return
        path = str(arguments[0 if event == "open" else 1])
        if path.startswith(self.root):
            (self.opened if event == "open" else self.compiled).append(path[len(self.root) + 1 :])

    @contextmanager
    def listening(self, root: Path) -> Iterator[None]:
        """Keep what happens to files under ``root``."""
        self.opened, self.compiled, self.root = [], [], str(root)
        yield
        self.root = ""


EAR = Ear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with a dozen plugins of two files each."""
    for number in range(PLUGINS):
        folder = tmp_path / "plugins" / f"p{number:02}"
        folder.mkdir(parents=True)
        (folder / "part.py").write_text("def answer():\n    return 1\n")
        (folder / "plugin.py").write_text(
            "from .part import answer\n\n\ndef register(ctx):\n    ctx.hook('answer', answer)\n"
        )
    return tmp_path


def manager_of(project: Path, host: HookHost) -> HotloadManager:
    """Return a manager that does not watch."""
    plugins, compiled = str(project / "plugins"), str(project / "compiled")
    return HotloadManager(host, Config(runtime_dir=plugins, compiled_dir=compiled, enable_watch=False))


def test_a_first_start_compiles_each_file_once_and_a_second_one_compiles_nothing(project: Path) -> None:
    """What is compiled is kept, and found again."""
    with EAR.listening(project / "plugins"), manager_of(project, HookHost()):
        pass
    assert len(EAR.compiled) == len(set(EAR.compiled)) == 2 * PLUGINS
    with EAR.listening(project / "plugins"), manager_of(project, host := HookHost()):
        assert host.call("answer") == [1] * PLUGINS
    assert EAR.compiled == []


def test_a_change_compiles_the_changed_file_and_opens_no_file_of_another_plugin(project: Path) -> None:
    """The cost of one change does not grow with the number of plugins or of files beside it."""
    with manager_of(project, host := HookHost()) as manager:
        (project / "plugins" / "p03" / "part.py").write_text("def answer():\n    return 2\n")
        with EAR.listening(project / "plugins"):
            manager.rebuild("p03")
        assert host.call("answer").count(2) == 1
    assert EAR.compiled == ["p03/part.py"]
    assert {path.split("/")[0] for path in EAR.opened} == {"p03"}


def test_plugins_that_change_together_are_one_assignment_of_the_hook_table(project: Path) -> None:
    """A batch copies the table once, however many plugins are in it."""
    with manager_of(project, host := CountingHost()) as manager:
        for number in range(5):
            (project / "plugins" / f"p{number:02}" / "part.py").write_text("def answer():\n    return 2\n")
        host.swaps = 0
        manager.rebuild()
        assert host.call("answer").count(2) == 5
        assert host.swaps == 1


def test_a_large_file_is_compiled_outside_this_process(project: Path) -> None:
    """Compiling it here would keep the interpreter from all other threads for that long."""
    entry = project / "plugins" / "p03" / "plugin.py"
    entry.write_text(LARGE + entry.read_text())
    with EAR.listening(project / "plugins"), manager_of(project, host := HookHost()):
        assert host.call("answer") == [1] * PLUGINS
    assert "p03/plugin.py" not in EAR.compiled
    assert "p03/part.py" in EAR.compiled
