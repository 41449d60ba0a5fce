"""What a program sees of the engine: the names at the root, the parts without a manager, and their reprs."""

import queue
from collections.abc import Callable, Sequence

import hotload_tui
from hotload_tui import Compiler, Config, HookHost, Loader, Watcher
from hotload_tui.core.watch.scanner import PluginChange
from tests.conftest import Running, Workspace
from tests.waiting import PATIENCE

GREET = "def register(ctx):\n    ctx.hook('greet', lambda: {word!r})\n"


def test_every_name_of_the_root_is_there() -> None:
    """Each public name can be imported, and is in the order of the alphabet."""
    assert sorted(hotload_tui.__all__, key=lambda name: (name.islower(), name)) == hotload_tui.__all__
    assert all(getattr(hotload_tui, name).__name__ == name for name in hotload_tui.__all__)


def test_the_parts_work_without_a_manager(workspace: Workspace) -> None:
    """The compiler, the loader and the watcher take a program from a save to the live version."""
    host = HookHost()
    compiler, loader = Compiler(workspace.compiled), Loader(host)
    workspace["greet"] = GREET.format(word="one")
    path = workspace.plugins / "greet"
    loader.load("greet", compiler.compile(path).artifact)
    assert host.call("greet") == ["one"]
    seen: queue.Queue[str] = queue.Queue()

    def changed(changes: Sequence[PluginChange]) -> Sequence[str]:
        for change in changes:
            seen.put(change.name)
        return ()

    watcher = Watcher(workspace.plugins, changed)
    watcher.start()
    workspace["greet"] = GREET.format(word="two")
    assert seen.get(timeout=PATIENCE) == "greet"
    watcher.stop()
    loader.load("greet", compiler.compile(path).artifact)
    assert host.call("greet") == ["two"]
    assert repr(host) == "<HookHost: greet (1)>"
    loader.unload("greet")
    loader.retire()
    assert repr(host) == "<HookHost: no handlers>"


def test_the_manager_and_the_statuses_say_what_they_are(
    workspace: Workspace, run: Callable[[Config], Running]
) -> None:
    """The representations name the folder, the states, the live version and the fault."""
    for name in ("a", "b"):
        workspace[name] = GREET.format(word=name)
    workspace["c"] = "def register(:"
    running = run(workspace.config())
    manager = repr(running.manager)
    assert manager.startswith("<HotloadManager ")
    assert manager.endswith("plugins: 2 ok, 1 FAIL; off>")
    good, bad = running.status("a"), running.status("c")
    assert repr(good) == f"<PluginStatus a: ok, generation 1 {good.digest[:12]} at greet>"
    assert repr(bad).startswith("<PluginStatus c: FAIL, SyntaxError: ")
    assert repr(running.host) == "<HookHost: greet (2)>"
    running.manager.stop()
    assert repr(running.manager).endswith("2 new, 1 FAIL; not started>")
