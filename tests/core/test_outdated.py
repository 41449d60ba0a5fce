"""What runs although its source on disk has changed is named: native modules, and modules of the project."""

from __future__ import annotations

import os
import py_compile
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hotload_tui import Config
from hotload_tui.core.manager import outdated as outdated_things
from hotload_tui.core.runtime.native import SUFFIXES
from tests.conftest import Running, Workspace

Starts = Callable[[Config], Running]
PLAIN = "def register(ctx):\n    pass\n"
USES = f"import shared_by_tests\n\n\n{PLAIN}"
CHANGED = "shared_by_tests.py has changed since it was imported; restart the host to load it"


@pytest.fixture(autouse=True)
def without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the files whenever somebody asks."""
    monkeypatch.setattr(outdated_things, "_PAUSE", 0.0)


@pytest.fixture
def shared(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a module beside ``plugins/`` that plugins can import."""
    monkeypatch.syspath_prepend(str(workspace.root))
    file = workspace.root / "shared_by_tests.py"
    file.write_text("value = 1\n")
    yield file
    sys.modules.pop("shared_by_tests", None)


def outdated(running: Running, name: str = "greet") -> tuple[str, ...]:
    """Return what the plugin uses that is outdated, which status and details show alike."""
    found = running.status(name).outdated
    assert running.manager.detail(name).status.outdated == found
    return found


def test_a_shared_module_that_has_changed(workspace: Workspace, run: Starts, shared: Path) -> None:
    """The status of each plugin that uses the module says so, and ``plan`` notes it."""
    workspace["greet"] = USES
    workspace["other"] = PLAIN
    running = run(workspace.config())
    assert outdated(running) == ()
    shared.write_text("value = 2\n")
    assert outdated(running) == (CHANGED,)
    assert outdated(running, "other") == ()
    plan = running.manager.plan()
    assert [(each.name, each.notes) for each in plan.work] == [("greet", (CHANGED,))]
    assert f"    note: {CHANGED}" in list(plan.lines())
    shared.write_text("value = 1\n")
    assert outdated(running) == ()


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_project_behind_a_symbolic_link(
    workspace: Workspace,
    run: Starts,
    monkeypatch: pytest.MonkeyPatch,
    is_linked: bool,  # noqa: FBT001
) -> None:
    """It does not matter whether the plugins' folder or the module's is named by a link."""
    (workspace.root / "shared_by_tests.py").write_text("value = 1\n")
    link = workspace.root.with_name(f"{workspace.root.name}_link")
    link.symlink_to(workspace.root)
    monkeypatch.syspath_prepend(str(workspace.root if is_linked else link))
    monkeypatch.setitem(sys.modules, "shared_by_tests", sys)
    del sys.modules["shared_by_tests"]
    workspace["greet"] = USES
    running = run(workspace.config(runtime_dir=str(link / "plugins")) if is_linked else workspace.config())
    assert outdated(running) == ()
    (workspace.root / "shared_by_tests.py").write_text("value = 2\n")
    assert outdated(running) == (CHANGED,)


def test_a_console_that_asks_all_the_time_causes_no_look_at_each_file_each_time(
    workspace: Workspace, run: Starts, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the project are looked at now and then, however often the state is asked for."""
    workspace["greet"] = USES
    running = run(workspace.config())
    looks: list[object] = []
    running.manager.snapshot()
    look = os.stat

    def noted(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        looks.append(path)
        return look(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "stat", noted)
    for _ in range(3):
        running.manager.snapshot()
    assert looks.count(str(shared)) == 3
    monkeypatch.setattr(outdated_things, "_PAUSE", 3600.0)
    for _ in range(10):
        running.manager.snapshot()
    assert looks.count(str(shared)) == 4


def test_a_touched_module_has_not_changed(workspace: Workspace, run: Starts, shared: Path) -> None:
    """Another time of the same content is no change."""
    workspace["greet"] = USES
    running = run(workspace.config())
    assert outdated(running) == ()
    os.utime(shared, (1, 1))
    assert outdated(running) == ()


def test_a_module_of_the_project_that_another_one_imports(
    workspace: Workspace, run: Starts, shared: Path
) -> None:
    """A change behind an imported module counts, too."""
    package = workspace.root / "deeper_for_tests"
    package.mkdir()
    (package / "__init__.py").write_text("value = 1\n")
    shared.write_text("import deeper_for_tests\n")
    workspace["greet"] = USES
    running = run(workspace.config())
    assert outdated(running) == ()
    (package / "__init__.py").write_text("value = 2\n")
    (found,) = outdated(running)
    assert found.startswith("deeper_for_tests/__init__.py has changed since")
    sys.modules.pop("deeper_for_tests", None)


def test_a_module_that_changed_before_the_manager_saw_it(
    workspace: Workspace, run: Starts, shared: Path
) -> None:
    """A module that a host imported long before it started the manager is compared with its ``.pyc``."""
    py_compile.compile(str(shared))  # as an import does that may write
    __import__("shared_by_tests")
    shared.write_text("value = 22\n")
    workspace["greet"] = USES
    running = run(workspace.config())
    assert outdated(running) == (() if sys.dont_write_bytecode else (CHANGED,))


def test_an_installed_package_is_not_of_the_project(workspace: Workspace, run: Starts) -> None:
    """Packages of an environment inside the project, and files of plugins, are left alone."""
    for folder in (".venv/lib", "env/site-packages"):
        place = workspace.root / folder
        place.mkdir(parents=True)
        (place / "installed_for_tests.py").write_text("value = 1\n")
        sys.path.insert(0, str(place))
        workspace["greet"] = f"import installed_for_tests\n\n\n{PLAIN}"
        running = run(workspace.config())
        (place / "installed_for_tests.py").write_text("value = 2\n")
        assert outdated(running) == ()
        running.manager.stop()
        sys.path.remove(str(place))
        del sys.modules["installed_for_tests"]


def test_a_native_module_that_is_older_than_its_source(workspace: Workspace, run: Starts) -> None:
    """A saved source of a native module is not live before a build, which status and ``plan`` say."""
    native = f"fast{SUFFIXES[0]}"
    workspace["greet"] = PLAIN
    workspace["greet/fast.c"] = "int one = 1;\n"
    workspace[f"greet/{native}"] = b"not loaded"
    folder = workspace.plugins / "greet"
    os.utime(folder / "fast.c", (1, 1))
    running = run(workspace.config())
    assert outdated(running) == ()
    workspace["greet/fast.c"] = "int one = 2;\n"
    running.manager.rebuild("greet")
    assert running.status("greet").generation == 2
    said = f"{native} is older than fast.c beside it; build it again"
    assert outdated(running) == (said,)
    assert said in running.manager.plan().plugins[0].notes
    workspace[f"greet/{native}"] = b"built again"
    assert outdated(running) == ()


def test_without_a_host_a_plan_names_an_old_native_module(workspace: Workspace) -> None:
    """A plan of what a start would do names it, too."""
    native = f"fast{SUFFIXES[0]}"
    workspace["greet"] = PLAIN
    workspace[f"greet/{native}"] = b"not loaded"
    os.utime(workspace.plugins / "greet" / native, (1, 1))
    workspace["greet/fast.rs"] = "fn one() {}\n"
    (plan,) = Running(workspace.config()).manager.plan().plugins
    assert f"{native} is older than fast.rs beside it; build it again" in plan.notes


def test_a_source_that_hotload_builds_is_not_outdated(workspace: Workspace) -> None:
    """A plan does not ask for the build of a module that hotload itself builds again."""
    native = f"fast{SUFFIXES[0]}"
    workspace["greet"] = PLAIN
    workspace[f"greet/{native}"] = b"not loaded"
    os.utime(workspace.plugins / "greet" / native, (1, 1))
    workspace["greet/fast.pyx"] = "one = 1\n"
    (plan,) = Running(workspace.config()).manager.plan().plugins
    assert plan.notes == ()
    assert plan.compiles == ("plugin.py", "fast.pyx")


def test_a_shared_package_beside_the_plugin(workspace: Workspace, run: Starts) -> None:
    """``share`` imports a package once under its real name; a change is reported, and not loaded."""
    workspace["greet/named_once/__init__.py"] = (
        "assert __name__ == 'named_once'\nfrom . import part\nWORD = 'one'\n"
    )
    workspace["greet/named_once/part.py"] = "loads = []\n"
    workspace["greet"] = (
        "from named_once import WORD, part\nfrom . import named_once\nfrom .named_once.part import loads\n"
        "import named_once as again\nassert named_once is again\nloads.append(1)\n"
        "def register(ctx):\n    ctx.hook('greet', lambda: (WORD, len(loads), part.__name__, 'one'))\n"
    )
    workspace["other"] = (
        "import sys\ndef register(ctx):\n    ctx.hook('other', lambda: 'named_once' in sys.modules)\n"
    )
    running = run(workspace.config(plugins={"greet": {"share": ["named_once", "nowhere"]}}))
    assert running.host.call("greet") == [("one", 1, "named_once.part", "one")], running.said()
    assert running.host.call("other") == [True]
    assert "shares named_once: imported once" in running.said()
    assert 'share = ["nowhere"]: there is no such package' in running.said()
    assert outdated(running) == ()
    workspace["greet/named_once/__init__.py"] = "WORD = 'two'\n"
    running.manager.rebuild("greet")
    assert running.host.call("greet") == [("one", 2, "named_once.part", "one")]
    changed = (
        "plugins/greet/named_once/__init__.py has changed since it was imported; restart the host to load it"
    )
    assert outdated(running) == (changed,)
    assert f"warning greet: {changed}" in running.said()
    for name in ("named_once", "named_once.part"):
        del sys.modules[name]


def test_a_shared_package_of_another_plugin(workspace: Workspace, run: Starts, shared: Path) -> None:
    """A changed package or module is named only for the plugins that use it."""
    workspace["greet/named_here/__init__.py"] = "WORD = 'one'\n"
    workspace["greet"] = f"import named_here\n{PLAIN}"
    workspace["guest"] = f"REQUIRES = ['greet']\nimport named_here\n{PLAIN}"
    workspace["other"] = USES
    running = run(workspace.config(plugins={"greet": {"share": ["named_here"]}}))
    workspace["greet/named_here/__init__.py"] = "WORD = 'two'\n"
    changed = (
        "plugins/greet/named_here/__init__.py has changed since it was imported; restart the host to load it"
    )
    assert [outdated(running, name) for name in ("greet", "guest", "other")] == [(changed,), (changed,), ()]
    shared.write_text("value = 2\n")
    assert outdated(running) == (changed,)
    assert outdated(running, "other") == (CHANGED,)
    del sys.modules["named_here"]


def test_a_shared_package_that_is_imported_already(workspace: Workspace, run: Starts, shared: Path) -> None:
    """The status names the place of the package that came first."""
    __import__("shared_by_tests")
    workspace["greet/shared_by_tests.py"] = "value = 2\n"
    workspace["greet"] = USES
    running = run(workspace.config(plugins={"greet": {"share": ["shared_by_tests"]}}))
    first = f"the shared package shared_by_tests was already imported from {shared}; the plugin uses that one"
    assert outdated(running) == (first,)
