"""Installed packages that entry points name, and packages of hook implementations without ``register``."""

from __future__ import annotations

import importlib
import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import cast

import pluggy
import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.errors import ConfigError, RegisterError
from hotload_tui.integrations.pluggy import serve_hooks
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

spec = pluggy.HookspecMarker("shop")

RECIPES = Path(__file__).parents[2] / "docs" / "recipes.md"

HEAD = 'import pluggy\n\nhookimpl = pluggy.HookimplMarker("shop")\n\n\n'
LABEL = HEAD + "@hookimpl\ndef label(name):\n    return f'{word} {{name}}'\n"
REGISTER = "def register(ctx):\n    ctx.hook('label', lambda name: f'{word} {{name}}')\n"


class Hooks:
    """The hooks of a program."""

    @spec
    def label(self, name: str) -> None:
        """Return a label."""

    @spec
    def pages(self) -> None:
        """Return functions that the program keeps."""

    @spec(historic=True)
    def began(self, notes: list[str]) -> None:
        """Take part in the start of the program."""


class Packages:
    """A folder on the import path, in which packages are installed."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace = workspace
        self.folder = folder

    def write(self, place: str, content: str) -> Path:
        """Write a file of a package."""
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def install(self, name: str, entry_points: str) -> None:
        """Write what pip writes beside the files of a package."""
        info = f"{name.replace('-', '_')}-1.5.dist-info"
        self.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        self.write(f"{info}/entry_points.txt", entry_points)

    def config(self, **settings: object) -> Config:
        """Return a configuration in which entry points of the group ``shop`` are plugins."""
        return self.workspace.config(**{"entry_points": ("shop",), **settings})


@pytest.fixture
def packages(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Packages]:
    """Return a folder with the installed package shop_tea, a module that is one file."""
    packages = Packages(workspace, tmp_path_factory.mktemp("installed"))
    monkeypatch.syspath_prepend(packages.folder)
    packages.write("shop_tea.py", LABEL.format(word="tea"))
    packages.install("shop-tea", "[shop]\ntea = shop_tea\n")
    yield packages
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]


def hooks_of_shop() -> pluggy.PluginManager:
    """Return the plugin manager of a program."""
    hooks = pluggy.PluginManager("shop")
    hooks.add_hookspecs(Hooks)
    return hooks


def labels(hooks: pluggy.PluginManager) -> object:
    """Call the hook ``label``."""
    return hooks.hook.label(name="Ada")


def test_every_package_with_an_entry_point_of_the_group_is_a_plugin(packages: Packages, run: Run) -> None:
    """Unchanged, it is a plugin of pluggy, follows a save, and stays as it was if the save is a mistake."""
    running, hooks = run(packages.config()), hooks_of_shop()
    serve_hooks(hooks, running.host)
    assert running.status("shop_tea").path == str(packages.folder / "shop_tea.py")
    assert labels(hooks) == ["tea Ada"]
    assert running.host.call("label", name="Bob") == ["tea Bob"], "the host's own calls reach it, too"
    manager = running.manager
    manager.handle_file_change(packages.write("shop_tea.py", LABEL.format(word="green tea")))
    assert labels(hooks) == ["green tea Ada"]
    manager.handle_file_change(packages.write("shop_tea.py", LABEL.format(word="no tea") + "1 / 0"))
    assert running.status("shop_tea").state is PluginState.STALE
    assert labels(hooks) == ["green tea Ada"]


def test_an_entry_point_names_a_module_in_a_package(packages: Packages, run: Run) -> None:
    """The hook implementations are there; the package itself may be empty, and all its files are watched."""
    packages.write("shop_cups/__init__.py", "")
    packages.write("shop_cups/words.py", "WORD = 'cup'\n")
    hook = "from shop_cups.words import WORD\nfrom shop_cups import words as other\n"
    packages.write("shop_cups/sub/hooks.py", hook + LABEL.format(word="{WORD}"))
    packages.install("shop-cups", "[shop]\ncups = shop_cups.sub.hooks\n")
    running, hooks = run(packages.config()), hooks_of_shop()
    serve_hooks(hooks, running.host)
    assert running.status("shop_cups").entry == "sub/hooks.py"
    assert labels(hooks) == ["tea Ada", "cup Ada"]
    running.manager.handle_file_change(packages.write("shop_cups/words.py", "WORD = 'mug'\n"))
    assert labels(hooks) == ["tea Ada", "mug Ada"]


def test_an_entry_point_names_a_function_or_an_object(packages: Packages, run: Run) -> None:
    """A function gets ``ctx``, as ``register`` does; the marked methods of an object are its hooks."""
    packages.write("shop_milk.py", REGISTER.replace("register", "setup").format(word="milk"))
    packages.install("shop-milk", "[shop]\nmilk = shop_milk:setup\n")
    method = "    @hookimpl\n    def label(self, name):\n        return f'sugar {name}'\n"
    body = f"class Sugar:\n{method}\n\nsugar = Sugar()\n"
    packages.write("shop_sugar.py", HEAD + body)
    packages.install("shop-sugar", "[shop]\nsugar = shop_sugar:sugar\n")
    running, hooks = run(packages.config()), hooks_of_shop()
    serve_hooks(hooks, running.host)
    assert sorted(map(str, running.host.call("label", name="Ada"))) == ["milk Ada", "sugar Ada", "tea Ada"]
    assert sorted(name for name, _ in hooks.list_name_plugin()) == ["shop_milk", "sugar", "tea"]
    running.manager.handle_file_change(
        packages.write("shop_sugar.py", HEAD + body.replace("sugar {", "no {"))
    )
    assert "no Ada" in running.host.call("label", name="Ada")


def test_a_package_with_several_entry_points(packages: Packages, run: Run) -> None:
    """It is one plugin, which reloads in one swap, and a plugin of pluggy for each entry point."""
    packages.write("shop_set/__init__.py", "")
    for name in ("pot", "cup"):
        packages.write(f"shop_set/{name}.py", LABEL.format(word=name))
    packages.install(
        "shop-set", "[shop]\npot = shop_set.pot\ncup = shop_set.cup\n[other]\nsame = shop_set.pot\n"
    )
    running, hooks = run(packages.config(entry_points=("other", "shop"))), hooks_of_shop()
    serve_hooks(hooks, running.host)
    assert labels(hooks) == ["tea Ada", "pot Ada", "cup Ada"]
    assert [name for name, _ in hooks.list_name_plugin()] == ["cup", "pot", "tea"]
    swaps = running.host.swaps
    for name in ("pot", "cup"):
        packages.write(f"shop_set/{name}.py", LABEL.format(word=f"new {name}"))
    running.manager.rebuild("shop_set")
    assert labels(hooks) == ["tea Ada", "new pot Ada", "new cup Ada"]
    assert running.host.swaps == swaps + 1


def test_a_plugin_of_hook_implementations_needs_no_register(packages: Packages, run: Run) -> None:
    """This holds for a package by its name, a directory and a single file as well."""
    packages.workspace["cake"] = LABEL.format(word="cake")
    (packages.workspace.plugins / "bread.py").write_text(LABEL.format(word="bread"))
    running = run(packages.config(entry_points=(), packages=("shop_tea",), files=True))
    hooks = hooks_of_shop()
    serve_hooks(hooks, running.host)
    assert labels(hooks) == ["tea Ada", "cake Ada", "bread Ada"]
    packages.workspace["cake"] = LABEL.format(word="fresh cake")
    running.manager.rebuild("cake")
    assert labels(hooks) == ["tea Ada", "fresh cake Ada", "bread Ada"]


def test_functions_of_pytest_need_no_mark(packages: Packages, run: Run) -> None:
    """As pytest itself, hotload takes functions ``pytest_…`` for hook implementations."""
    packages.write("shop_tea.py", "def pytest_report_header():\n    return 'tea'\n")
    assert run(packages.config()).host.call("pytest_report_header") == ["tea"]


@pytest.mark.parametrize("is_served", [True, False])
def test_the_program_loads_its_entry_points_afterwards(
    packages: Packages, run: Run, *, is_served: bool
) -> None:
    """It skips hot plugins, which have the names of the entry points, or they take the place of proxies."""
    running, hooks = run(packages.config()), hooks_of_shop()
    if is_served:
        serve_hooks(hooks, running.host)
    assert hooks.load_setuptools_entrypoints("shop") == (not is_served)
    if not is_served:
        serve_hooks(hooks, running.host)
    assert labels(hooks) == ["tea Ada"]
    *_, (plugin, distribution) = hooks.list_plugin_distinfo()
    assert (plugin, distribution.project_name) == (hooks.get_plugin("tea"), "shop-tea")
    assert (cast("ModuleType", plugin).__name__, distribution.version) == ("shop_tea", "1.5")


def test_the_program_has_loaded_its_entry_points(packages: Packages, run: Run) -> None:
    """A hot plugin takes the place of the program's copy of it, which historic hooks have called already."""
    source = LABEL + "\n@hookimpl\ndef began(notes):\n    notes.append('{word}')\n"
    packages.write("shop_tea.py", source.format(word="tea"))
    hooks, notes = hooks_of_shop(), list[str]()
    assert hooks.load_setuptools_entrypoints("shop") == 1
    hooks.hook.began.call_historic(kwargs={"notes": notes})
    running = run(packages.config())
    stop = serve_hooks(hooks, running.host)
    assert labels(hooks) == ["tea Ada"]
    assert notes == ["tea"]
    running.manager.handle_file_change(packages.write("shop_tea.py", source.format(word="green tea")))
    assert labels(hooks) == ["green tea Ada"]
    stop()
    assert (labels(hooks), notes) == ([], ["tea"])


def test_a_group_without_a_package(packages: Packages, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the setting, the interpreter and the nearest group; the host runs without plugins."""
    caplog.set_level(logging.WARNING)
    running = run(packages.config(entry_points=("shpo",)))
    said = running.said()
    assert f'entry_points = ["shpo"]: no package on the import path of {sys.executable} has an' in said
    assert 'did you mean "shop"' in said


def test_an_entry_point_of_a_package_that_is_gone(packages: Packages, run: Run) -> None:
    """The plugin fails with the interpreter and the remedy, and so does one without the named module."""
    packages.install("shop-gone", "[shop]\ngone = shop_gone\n")
    packages.write("shop_half/__init__.py", "")
    packages.install("shop-half", "[shop]\nhalf = shop_half.hooks\n")
    packages.write("shop_other/__init__.py", "")
    packages.write("shop_other/a.py", LABEL.format(word="a"))
    packages.install("shop-other", "[shop]\na = shop_other.a\nb = shop_other.b\n")
    running = run(packages.config())
    gone = running.fault("shop_gone").message
    assert f'no package "shop_gone" on the import path of {sys.executable}, although an installed' in gone
    assert "install it again" in gone
    half = running.fault("shop_half").message
    assert half.startswith("no hooks.py in ")
    assert "install the package again" in half
    other = running.fault("shop_other").message
    assert "no b.py, although the entry point b names it" in other
    assert running.host.call("label", name="Ada") == ["tea Ada"]


@pytest.mark.parametrize(
    ("source", "point", "problem"),
    [
        (
            "x = 1\n",
            "shop_tea",
            "shop_tea.py has run and defines no register, and no function that is marked",
        ),
        ("x = 1\n", "shop_tea:gone", "shop_tea.py has run and defines no gone; add: def gone"),
        ("x = 1\n", "shop_tea:x", "x is a int, not a function"),
    ],
)
def test_an_entry_point_without_a_plugin(
    packages: Packages, run: Run, source: str, point: str, problem: str
) -> None:
    """The fault names the file and what is missing in it."""
    packages.write("shop_tea.py", source)
    packages.install("shop-tea", f"[shop]\ntea = {point}\n")
    running = run(packages.config())
    assert problem in running.fault("shop_tea").message


def test_a_part_of_the_program_itself_is_no_plugin(packages: Packages, run: Run) -> None:
    """The package that specifies the hooks cannot be hot; a part of Python or of hotload neither."""
    packages.write("shop_app/__init__.py", "from .hooks import *\n")
    marker = HEAD.replace("hookimpl", "spec").replace("Hookimpl", "Hookspec")
    specified = f"{marker}@spec\ndef label(name): ...\n"
    packages.write("shop_app/hooks.py", specified)
    packages.write("shop_app/builtin.py", LABEL.format(word="own"))
    packages.install("shop-app", "[shop]\nown = shop_app.builtin\n")
    hooks = pluggy.PluginManager("shop")
    hooks.add_hookspecs(importlib.import_module("shop_app.hooks"))
    running = run(packages.config())
    said = r"shop_app specifies hooks of the program.*enabled = false under \[plugins\.shop_app\]"
    with pytest.raises(RegisterError, match=said):
        serve_hooks(hooks, running.host)
    packages.install("shop-json", "[shop]\njson = json\n")
    with pytest.raises(ConfigError, match=r'entry_points = \["shop"\]: json is a part of Python itself'):
        packages.config()


def test_one_package_is_left_out(packages: Packages, run: Run) -> None:
    """``enabled = false`` in its table leaves a package to the program."""
    running = run(packages.config(plugins={"shop_tea": {"enabled": False}}))
    hooks = hooks_of_shop()
    serve_hooks(hooks, running.host)
    assert running.status("shop_tea").state is PluginState.OFF
    hooks.load_setuptools_entrypoints("shop")
    assert labels(hooks) == ["tea Ada"]
    assert importlib.import_module("shop_tea").__spec__ is not None


PAGES = (
    HEAD
    + """
def page():
    return '{word}'


@hookimpl
def pages():
    def inner():
        return '{word}'

    return [("/tea", page), ("/inner", inner)]
"""
)


EXTRA = "@hookspec\ndef extra(leaf):\n    ...\n"


@pytest.mark.parametrize("live", [True, False])
def test_the_program_keeps_what_a_hook_returns(packages: Packages, run: Run, *, live: bool) -> None:
    """With ``live``, it gets handles of the functions that every version has at the top of a module."""
    running, hooks = run(packages.config()), hooks_of_shop()
    serve_hooks(hooks, running.host, live=live)
    running.manager.handle_file_change(packages.write("shop_tea.py", PAGES.format(word="one")))
    ((page, inner),) = [dict(each).values() for each in hooks.hook.pages()]
    running.manager.handle_file_change(packages.write("shop_tea.py", PAGES.format(word="two")))
    assert (page(), inner()) == ("two" if live else "one", "one")
    running.manager.handle_file_change(packages.write("shop_tea.py", PAGES.format(word="no") + "1 / 0"))
    assert (page(), inner()) == ("two" if live else "one", "one")


def test_a_package_specifies_hooks_for_others(packages: Packages, request: pytest.FixtureRequest) -> None:
    """It does so while it loads; the specification of the new version takes the place of the old one."""
    packages.write("shop_program.py", "import pluggy\n\nhooks = pluggy.PluginManager('shop')\n")
    packages.write("shop_tea/hookspecs.py", HEAD.replace("impl", "spec") + EXTRA)
    add = "from shop_program import hooks\nfrom shop_tea import hookspecs\n\nhooks.add_hookspecs(hookspecs)\n"
    packages.write("shop_tea/__init__.py", add + LABEL.format(word="{hooks.hook.extra(leaf=1)}"))
    packages.write("shop_milk.py", HEAD + "@hookimpl\ndef extra(leaf):\n    return f'milk {leaf}'\n")
    packages.install("shop-milk", "[shop]\nmilk = shop_milk\n")
    hooks = importlib.import_module("shop_program").hooks
    hooks.add_hookspecs(Hooks)
    hooks.load_setuptools_entrypoints("shop")
    running = Running(packages.config())
    serve_hooks(hooks, running.host)
    request.addfinalizer(running.manager.stop)
    running.manager.start()
    assert labels(hooks) == ["['milk 1'] Ada"]
    specs = packages.folder / "shop_tea/hookspecs.py"
    specs.write_text(specs.read_text().replace("(leaf)", "(leaf, size=1)"))
    running.manager.handle_file_change(specs)
    assert (running.status("shop_tea").state, labels(hooks)) == (PluginState.OK, ["['milk 1'] Ada"])
    assert hooks.hook.extra.spec.argnames == ("leaf",)
    assert running.wait_for(lambda: running.status("shop_tea").memory == "freed")
    with pytest.raises(ValueError, match="already registered"):
        hooks.add_hookspecs(Hooks)


FIXTURES = """
import pytest


@pytest.fixture
def leaf():
    return '{word}'


@pytest.fixture(name="tea")
def make_tea(leaf):
    yield f"tea of {{leaf}}"


def brew():
    return '{word}'


pot = pytest.fixture(scope="module")(brew)
"""
TESTS = """
import shop_host


def test_first(tea, pot):
    assert (tea, pot) == ("tea of one", "one")


def test_save(request):
    shop_host.save("two")
    assert request.getfixturevalue("tea") == "tea of two"


def test_next(tea):
    assert tea == "tea of two"
"""


def test_a_package_brings_fixtures_of_pytest(
    packages: Packages, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fixtures need no hook implementation beside them; the next test uses the new ones."""
    packages.write("shop_tea.py", FIXTURES.format(word="one"))
    tests = packages.workspace.plugins.parent / "test_shop.py"
    tests.write_text(TESTS)
    running = run(packages.config())
    host = ModuleType("shop_host")

    def save(word: str) -> None:
        running.manager.handle_file_change(packages.write("shop_tea.py", FIXTURES.format(word=word)))

    def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
        serve_hooks(pluginmanager, running.host)

    vars(host).update(save=save, pytest_addoption=pytest_addoption)
    monkeypatch.setitem(sys.modules, "shop_host", host)
    monkeypatch.chdir(tmp_path)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:xdist", str(tests)]
    assert pytest.main(options, plugins=[host]) == 0
    assert running.status("shop_tea").state is PluginState.OK
    assert running.host.call("leaf (fixture)") == ["two"]


def test_the_recipe_for_installed_plugins_of_pytest(packages: Packages, tmp_path: Path) -> None:
    """A module that ``pytest -p`` names makes them hot before pytest loads them, with their options."""
    blocks = dict(re.findall(r"^```python (\S+)\n(.*?)^```", RECIPES.read_text(), re.MULTILINE | re.DOTALL))
    option = "def pytest_addoption(parser):\n    parser.addoption('--tea')\n"
    packages.write("shop_tea.py", f"{option}{FIXTURES.format(word='one')}")
    save = f"from pathlib import Path\npath = Path({str(packages.folder)!r}, 'shop_tea.py')\n"
    save += "path.write_text(path.read_text().replace('one', 'two'))\nhot.manager.rebuild('shop_tea')\n"
    steps = textwrap.indent(save, "    ")
    tests = f"import hot\n\ndef test_first(leaf, request):\n    assert leaf == 'one'\n{steps}\n"
    (tmp_path / "test_it.py").write_text(tests + "def test_next(leaf):\n    assert leaf == 'two'\n")
    (tmp_path / "hot.py").write_text(blocks["hot.py"].replace("pytest11", "shop"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "hot", "-p", "no:cacheprovider", "--tea", "green"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(packages.folder), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
