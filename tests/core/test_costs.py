"""The work of a start and a reload, as counts that do not depend on the machine."""

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType

import pytest

from hotload_tui import Config, HookHost, HotloadManager
from hotload_tui.core import compiled, source
from hotload_tui.core.events import PluginLoaded, PluginRetired
from hotload_tui.core.undo import ledger
from hotload_tui.core.undo.owner import Script
from tests.conftest import CountingHost, Running, Workspace, answering
from tests.core.ear import EAR

Run = Callable[[Config], Running]

PLUGINS = 12
LARGE = "".join(f"def step_{n}(x):\n    return x + {n}\n\n" for n in range(2000))


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
    """Return a manager without a watcher."""
    plugins, artifacts = str(project / "plugins"), str(project / "compiled")
    return HotloadManager(host, Config(runtime_dir=plugins, compiled_dir=artifacts, enable_watch=False))


def test_a_first_start_compiles_each_file_once_and_a_second_one_compiles_nothing(project: Path) -> None:
    """A first start compiles each file once, and a second start compiles nothing."""
    with EAR.listening(project / "plugins"), manager_of(project, HookHost()):
        pass
    assert len(EAR.compiled) == len(set(EAR.compiled)) == 2 * PLUGINS
    with EAR.listening(project / "plugins"), manager_of(project, host := HookHost()):
        assert host.call("answer") == [1] * PLUGINS
    assert EAR.compiled == []


def test_what_a_plugin_may_patch_is_sought_once_in_each_of_its_modules(
    workspace: Workspace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a load grows with the number of the plugin's modules, not with its square."""
    read: list[int] = []

    class Counted(Script):
        """A script that counts the modules that are searched for all their words."""

        def __init__(self, codes: Iterable[CodeType]) -> None:
            self._count = len(codes := list(codes))
            super().__init__(codes)

        def words(self) -> set[str]:
            """Count the modules."""
            read.append(self._count)
            return super().words()

    monkeypatch.setattr(ledger, "Script", Counted)
    for number in range(PLUGINS):
        workspace[f"greet/part{number}.py"] = "class Part: ...\nPart.size = 1\nimport os, sys\n"
    workspace["greet"] = "".join(f"from . import part{n}\n" for n in range(PLUGINS)) + answering(1)
    assert run(workspace.config()).host.call("greet") == [1]
    assert PLUGINS <= sum(read) <= PLUGINS + 2  # the package and the entry


def test_a_start_reads_no_source_that_nobody_touched_since_the_last(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start reads only files whose size, times or inode changed since the last start."""
    now = time.time_ns
    for module in (compiled, source):
        monkeypatch.setattr(module, "time_ns", lambda: now() + 3600 * 10**9)
    with manager_of(project, HookHost()):
        pass
    (project / "plugins" / "p03" / "part.py").write_text("def answer():\n    return 2\n")
    with EAR.listening(project / "plugins"), manager_of(project, host := HookHost()):
        assert host.call("answer").count(1) == PLUGINS - 1
    assert sorted(EAR.opened) == ["p03/part.py", "p03/plugin.py"]
    assert EAR.compiled == ["p03/part.py"]


def test_a_setting_is_read_only_for_a_plugin_that_names_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager without such a plugin neither reads the setting nor imports a module for that."""
    resource = pytest.importorskip("resource")
    read: list[object] = []
    monkeypatch.setattr(resource, "getrlimit", read.append)
    with manager_of(project, HookHost()) as manager:
        assert read == []
        (project / "plugins" / "p03" / "part.py").write_text("def answer():\n    return 'setrlimit'\n")
        manager.rebuild("p03")
        assert read != []


def test_a_change_compiles_the_changed_file_and_opens_no_file_of_another_plugin(project: Path) -> None:
    """The cost of one change does not grow with the number of plugins or of unchanged files."""
    with manager_of(project, host := HookHost()) as manager:
        (project / "plugins" / "p03" / "part.py").write_text("def answer():\n    return 2\n")
        with EAR.listening(project / "plugins"):
            manager.rebuild("p03")
        assert host.call("answer").count(2) == 1
    assert EAR.compiled == ["p03/part.py"]
    assert {path.split("/")[0] for path in EAR.opened} == {"p03"}


@pytest.mark.parametrize("docstring", ["", '"""Answers."""\n'])
def test_a_reload_compiles_a_plain_file_once_and_parses_nothing_besides(
    project: Path, docstring: str
) -> None:
    """A reload finds the description without a second parse of the file."""
    with manager_of(project, host := HookHost()) as manager:
        entry = project / "plugins" / "p03" / "plugin.py"
        entry.write_text(f"{docstring}def register(ctx):\n    ctx.hook('answer', lambda: 2)\n")
        with EAR.listening(project / "plugins"):
            manager.rebuild("p03")
        assert host.call("answer").count(2) == 1
        assert manager.detail("p03").description == ("Answers." if docstring else "")
    assert (EAR.compiled, EAR.parsed) == (["p03/plugin.py"], 0)


def test_a_start_makes_one_thread_for_all_plugins_that_leave_nothing_in_it(tmp_path: Path) -> None:
    """All plugins of a batch load in one thread if they leave nothing behind in it."""
    for number in range(PLUGINS):
        folder = tmp_path / "plugins" / f"p{number:02}"
        folder.mkdir(parents=True)
        (folder / "plugin.py").write_text(
            "import threading\nTHREAD = threading.current_thread()\n\n\n"
            "def register(ctx):\n    ctx.hook('thread', lambda: THREAD)\n"
        )
    with manager_of(tmp_path, host := HookHost()):
        threads = host.call("thread")
    assert (len(threads), len(set(threads))) == (PLUGINS, 1)


def calls_of_a_start(root: Path, plugins: int) -> int:
    """Return the number of function calls in the threads that load this many plugins."""
    for number in range(plugins):
        folder = root / "plugins" / f"p{number:02}"
        folder.mkdir(parents=True)
        (folder / "plugin.py").write_text("def register(ctx):\n    ctx.hook('answer', lambda: 1)\n")
    made = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    before = threading.getprofile()
    manager = manager_of(root, HookHost())
    threading.setprofile(count)
    try:
        manager.start()
        return made
    finally:
        threading.setprofile(before)
        manager.stop()


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="the interpreter does not number the changes of a namespace"
)
def test_a_start_does_not_look_through_all_modules_for_each_plugin(tmp_path: Path) -> None:
    """A batch does not copy the attributes of all modules for each plugin."""
    few, many = calls_of_a_start(tmp_path / "few", 4), calls_of_a_start(tmp_path / "many", 12)
    assert 0 < many - few < 8 * 3 * len(sys.modules)


def test_plugins_that_change_together_are_one_assignment_of_the_hook_table(project: Path) -> None:
    """A batch replaces the hook table once, however many plugins it changes."""
    with manager_of(project, host := CountingHost()) as manager:
        for number in range(5):
            (project / "plugins" / f"p{number:02}" / "part.py").write_text("def answer():\n    return 2\n")
        host.swaps = 0
        manager.rebuild()
        assert host.call("answer").count(2) == 5
        assert host.swaps == 1


def test_a_save_is_read_once_until_it_is_live(workspace: Workspace, run: Run) -> None:
    """The bytes that the watcher read are compiled, because a second read could return half a file."""
    workspace["greet"] = answering("one")
    running = run(workspace.config(enable_watch=True))
    saved = workspace.root / "saved"
    saved.write_text(answering("two"))
    opened: list[str] = []
    running.manager.subscribe(
        lambda event: opened.extend(EAR.opened) if type(event) is PluginLoaded else None
    )
    with EAR.listening(workspace.plugins):
        saved.replace(workspace.plugins / "greet" / "plugin.py")
        assert running.wait_for(lambda: running.host.call("greet") == ["two"])
        assert running.wait_for(lambda: opened != [])
    assert opened == ["greet/plugin.py"]


def test_a_large_file_is_compiled_outside_this_process(project: Path) -> None:
    """Another process compiles a large file, so that the threads of this one are not blocked."""
    entry = project / "plugins" / "p03" / "plugin.py"
    entry.write_text(LARGE + entry.read_text())
    with EAR.listening(project / "plugins"), manager_of(project, host := HookHost()):
        assert host.call("answer") == [1] * PLUGINS
    assert "p03/plugin.py" not in EAR.compiled
    assert "p03/part.py" in EAR.compiled


CYCLES = """
import dataclasses, enum, functools, logging, typing

logger = logging.getLogger(__name__)


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Part:
    colour: Colour = Colour.RED
    others: "list[Part]" = dataclasses.field(default_factory=list)


@functools.lru_cache
def made():
    part = Part()
    part.others.append(part)
    return part


def register(ctx):
    kept = [made()]
    ctx.hook("answer", lambda: (kept, ANSWER))
"""


@pytest.mark.unfrozen
@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_reload_collects_only_what_is_young(workspace: Workspace, run: Run, *, is_frozen: bool) -> None:
    """A reload collects only the young generation, whether or not the host froze its objects."""
    workspace["cyclic"] = f"ANSWER = 0{CYCLES}"
    running = run(workspace.config())
    assert running.host.call("answer")
    collected: list[object] = []

    def note(phase: str, facts: dict[str, int]) -> None:
        if phase == "start":
            collected.append(facts["generation"])

    was_enabled = gc.isenabled()
    gc.disable()
    gc.collect()
    gc.callbacks.append(note)
    try:
        for number in range(1, 4):
            if is_frozen:
                gc.freeze()
            workspace["cyclic"] = f"ANSWER = {number}{CYCLES}"
            running.manager.rebuild("cyclic")
            assert running.wait_for(lambda number=number: len(running.told(PluginRetired)) == number)  # type: ignore[misc]
    finally:
        gc.callbacks.remove(note)
        if was_enabled:
            gc.enable()
    assert [gone.memory for gone in running.told(PluginRetired)] == ["freed"] * 3
    assert set(collected) == {0}
