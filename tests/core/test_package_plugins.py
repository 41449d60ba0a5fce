import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from shutil import rmtree
from types import ModuleType

import pytest

from hotload_tui import Config, HookHost, HotloadManager, PluginState
from hotload_tui.core.config import NOTIFIERS
from hotload_tui.core.directories import find_plugins
from hotload_tui.core.errors import ConfigError, RefusedError
from hotload_tui.core.events import PluginLoaded
from hotload_tui.core.watch.scanner import Repositories
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

FOO = '''"""Answers."""

from .words import word


class Model:
    name = "model"


def answer():
    return word()


def register(ctx):
    ctx.hook("answer", answer)
'''
BAR = """import llm_foo
import llm_foo.words
from llm_foo import Model, answer
from llm_foo import words as other

assert llm_foo.words.word is other.word and llm_foo.Model is Model
assert __import__("llm_foo", fromlist=[""]).Model is Model


class Larger(Model):
    pass


def register(ctx):
    ctx.hook("larger", lambda: f"{Larger.name} {answer()}")
"""


class Project:
    """A project and a folder on the import path, in which packages lie."""

    def __init__(self, workspace: Workspace, elsewhere: Path) -> None:
        self.workspace = workspace
        self.elsewhere = elsewhere

    def write(self, place: str, content: str) -> Path:
        """Write a file on the import path, as an editor does that replaces it."""
        path = self.elsewhere / place
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_text(content)
        return draft.replace(path)

    def say(self, word: str) -> Path:
        """Let llm_foo answer with ``word``."""
        return self.write("llm_foo/words.py", f"def word():\n    return {word!r}\n")

    def config(self, *packages: str, **settings: object) -> Config:
        """Return a configuration in which these packages are plugins."""
        return self.workspace.config(packages=packages, **settings)


@pytest.fixture
def project(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """Return a project with the package llm_foo on the import path, far from plugins/."""
    project = Project(workspace, tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.syspath_prepend(project.elsewhere)
    project.write("llm_foo/__init__.py", FOO)
    project.say("one")
    yield project
    for name in [name for name in sys.modules if name.startswith("llm_")]:
        del sys.modules[name]


def imported(name: str) -> ModuleType:
    """Return what a program gets that imports a module."""
    return importlib.import_module(name)


def test_a_package_on_the_import_path_is_a_plugin(project: Project, run: Run) -> None:
    """It loads from where it is, reloads after a save, and a mistake leaves the last good version."""
    running = run(project.config("llm_foo"))
    manager, host = running.manager, running.host
    status = running.status("llm_foo")
    assert (status.path, status.entry) == (str(project.elsewhere / "llm_foo"), "__init__.py")
    assert host.call("answer") == ["one"]
    manager.handle_file_change(project.say("two"))
    assert host.call("answer") == ["two"]
    broken = project.write("llm_foo/words.py", "1 / 0\n")
    assert manager.load_plugin(broken.parent).state is PluginState.STALE
    place = running.fault("llm_foo").place
    assert place is not None
    assert (place.file, place.line, place.owner) == (str(broken), 1, "plugin")
    assert host.call("answer") == ["two"]
    assert [file.path for file in manager.detail("llm_foo").files] == ["__init__.py", "words.py"]
    assert manager.rollback("llm_foo", 1).state is PluginState.HELD
    assert host.call("answer") == ["one"]
    assert manager.clean("llm_foo") == 3
    project.say("three")
    assert manager.release("llm_foo").state is PluginState.OK
    assert [each.action for each in manager.plan().plugins] == ["keep"]


def test_the_programs_import_reaches_the_live_version(project: Project, run: Run) -> None:
    """A program that imports the package by its own name, or from it, never keeps an old version."""
    running = run(project.config("llm_foo"))
    package, words = imported("llm_foo"), imported("llm_foo.words")
    answer, model, word = package.answer, package.Model, words.word
    assert (answer(), word(), model().name) == ("one", "one", "model")
    assert isinstance(model(), model)
    assert package.words is words
    assert package.__file__ == str(project.elsewhere / "llm_foo/__init__.py")
    with pytest.raises(ModuleNotFoundError, match=r"llm_foo\.nothing"):
        imported("llm_foo.nothing")
    running.manager.handle_file_change(project.say("two"))
    assert (answer(), word(), package.words.word()) == ("two", "two", "two")
    running.manager.stop()
    assert "llm_foo" not in sys.modules
    assert imported("llm_foo").answer() == "two", "without hotload, it is an ordinary package"


def test_plugins_that_import_a_package_require_it(project: Project, run: Run) -> None:
    """They load after it, get its own classes and functions, and reload with it in one swap."""
    project.workspace["about"] = BAR
    running = run(project.config("llm_foo"))
    assert running.host.call("larger") == ["model one"]
    swaps = running.host.swaps
    project.write("llm_foo/__init__.py", FOO.replace('"model"', '"large"'))
    running.manager.handle_file_change(project.say("two"))
    assert running.host.call("larger") == ["large two"]
    assert running.host.swaps == swaps + 1
    project.write("llm_foo/__init__.py", "1 / 0")
    running.manager.handle_file_change(project.say("three"))
    assert running.host.call("larger") == ["large two"]
    assert running.manager.plan("about").plugins[0].requires == ("llm_foo",)


def test_a_module_that_is_one_file_is_a_plugin(project: Project, run: Run) -> None:
    """A file on the import path has no other file of its folder; programs and plugins import it."""
    project.write("llm_bar.py", BAR)
    project.workspace["user"] = (
        "import llm_bar\n\n\ndef register(ctx):\n    ctx.hook('user', llm_bar.Larger)\n"
    )
    running = run(project.config("llm_foo", "llm_bar"))
    assert [file.path for file in running.manager.detail("llm_bar").files] == ["llm_bar.py"]
    assert running.host.call("larger") == ["model one"]
    larger = imported("llm_bar").Larger
    assert [type(each).__name__ for each in running.host.call("user")] == ["Larger"]
    assert isinstance(running.host.call("user")[0], larger)
    path = project.write("llm_bar.py", BAR.replace("pass", "name = 'bar'"))
    running.manager.handle_file_change(path)
    assert running.host.call("larger") == ["bar one"]
    assert larger.name == "bar"


def test_the_program_has_imported_the_package_already(project: Project, run: Run) -> None:
    """Its copy stays old; the log and the status say so, and plugins get the live version all the same."""
    copy = imported("llm_foo")
    project.workspace["about"] = BAR
    running = run(project.config("llm_foo"))
    (sentence,) = running.status("llm_foo").outdated
    assert "the program imported llm_foo before hotload loaded it: that copy (" in sentence
    assert "never reloads; import it after the start, or as hotplug.llm_foo" in sentence
    assert running.said().count(f"warning llm_foo: {sentence}") == 1
    running.manager.handle_file_change(project.say("two"))
    assert running.said().count(sentence) == 1
    assert imported("llm_foo") is copy
    assert (copy.answer(), running.host.call("larger")) == ("one", ["model two"])
    assert imported("hotplug.llm_foo").answer() == "two"


def test_a_package_that_is_not_installed(project: Project, run: Run) -> None:
    """The plugin fails with the interpreter and the remedy; the others run, and an installation is found."""
    running = run(project.config("llm_foo", "llm_gone"))
    assert running.host.call("answer") == ["one"]
    assert running.status("llm_gone").state is PluginState.FAIL
    message = running.fault("llm_gone").message
    assert f'no package "llm_gone" on the import path of {sys.executable}: install it there' in message
    assert "pip install -e FOLDER" in message
    assert "correct the name in packages in hotload.toml" in message


def test_a_package_without_an_entry(project: Project, run: Run) -> None:
    """The fault names the file, and does not ask for a rename of the folder."""
    (project.elsewhere / "llm_empty").mkdir()
    running = run(project.config("llm_empty"))
    message = running.fault("llm_empty").message
    assert message.startswith("no __init__.py in ")
    assert message.endswith("add one that defines register(ctx), or remove it from packages in hotload.toml")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("llm-foo", "must have a name that an import can use"),
        ("llm.foo", "without dots"),
        ("json", "is a part of Python itself"),
        ("hotload_tui", "is a part of hotload itself"),
        ("llm_around", "contains .*plugins, which cannot be a part of a plugin"),
        ("llm_built", "contains .*compiled, which cannot be a part of a plugin"),
        ("llm_twin", "_llm_twin is a plugin of the same name; rename it, or remove this entry"),
    ],
)
def test_a_name_that_cannot_be_a_plugin(project: Project, name: str, problem: str) -> None:
    """The configuration says which name is wrong, and why."""
    plugins = project.elsewhere / "llm_around" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "_llm_twin").mkdir()
    compiled = project.elsewhere / "llm_built" / "compiled"
    compiled.mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf'packages = \["{name}"\]: .*{problem}'):
        project.config(name, runtime_dir=str(plugins), compiled_dir=str(compiled))


def test_the_configuration_disables_a_package(project: Project, run: Run) -> None:
    """A package is not renamed: ``disable`` names the setting, and the setting works while a host runs."""
    running = run(project.config("llm_foo"))
    manager = running.manager
    with pytest.raises(RefusedError, match=r"enabled = false under \[plugins\.llm_foo\] in hotload\.toml"):
        manager.disable("llm_foo")
    with pytest.raises(RefusedError, match="llm_foo is a plugin already, in "):
        manager.new("llm_foo", "simple")
    assert manager.enable("llm_foo").state is PluginState.OK
    off = {"llm_foo": {"enabled": False}}
    manager.reconfigure(lambda: project.config("llm_foo", plugins=off))
    assert running.status("llm_foo").state is PluginState.OFF
    assert running.host.call("answer") == []
    manager.reconfigure(lambda: project.config("llm_foo"))
    assert running.host.call("answer") == ["one"]


def test_a_project_needs_no_folder_of_plugins(project: Project, run: Run) -> None:
    """A project whose plugins are all packages works without the folder plugins/."""
    project.workspace.plugins.rmdir()
    running = run(project.config("llm_foo"))
    assert running.host.call("answer") == ["one"]
    running.manager.handle_file_change(project.say("two"))
    assert running.host.call("answer") == ["two"]
    assert running.manager.snapshot().watcher.trouble == ""


@pytest.mark.parametrize("notifier", NOTIFIERS)
@pytest.mark.parametrize("has_folder", [True, False])
def test_each_notifier_follows_packages(
    project: Project, run: Run, notifier: str, *, has_folder: bool
) -> None:
    """A save in a package, or of a module that is one file, loads it wherever it is."""
    project.write("llm_bar.py", BAR)
    if not has_folder:
        project.workspace.plugins.rmdir()
    watch = {"notifier": notifier}
    settings: dict[str, object] = {"enable_watch": True, "watch": watch, "sweep_interval": 0.2}
    running = run(project.config("llm_foo", "llm_bar", **settings))
    running.wait_for(lambda: running.manager.snapshot().watcher.state == "watching")
    project.say("two")
    running.wait_for(lambda: running.host.call("larger") == ["model two"])
    project.write("llm_bar.py", BAR.replace("pass", "name = 'bar'"))
    running.wait_for(lambda: running.host.call("larger") == ["bar two"])
    if has_folder:
        return
    rmtree(project.elsewhere / "llm_foo")
    running.wait_for(lambda: running.status("llm_foo").state is PluginState.STALE)
    project.say("three")
    project.write("llm_foo/__init__.py", FOO)
    running.wait_for(lambda: running.host.call("larger") == ["bar three"])
    project.workspace["later"] = "def register(ctx):\n    ctx.hook('later', str)\n"
    running.wait_for(lambda: running.host.call("later") == [""])


def test_git_at_work_in_the_checkout_of_a_package(project: Project) -> None:
    """A reload waits for git, whose working tree may lie above the package and apart from the project."""
    (project.elsewhere / ".git").mkdir()
    repositories = Repositories(project.workspace.plugins, 2.0)
    paths = {"llm_foo": project.elsewhere / "llm_foo"}
    assert repositories.busy(paths) == set()
    (project.elsewhere / ".git" / "index.lock").touch()
    assert repositories.busy(paths) == {"llm_foo"}


def test_an_editable_installation_whose_folder_has_another_name(
    project: Project, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installer such as setuptools finds such a package with an importer of its own."""
    project.write("src/__init__.py", FOO)
    project.write("src/words.py", "def word():\n    return 'source'\n")

    class Editable(MetaPathFinder):
        def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
            place = project.elsewhere / "src"
            if name != "llm_mapped":
                return None
            return spec_from_file_location(
                name, place / "__init__.py", submodule_search_locations=[str(place)]
            )

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable()])
    running = run(project.config("llm_mapped"))
    assert running.host.call("answer") == ["source"]
    path = project.write("src/words.py", "def word():\n    return 'edited'\n")
    running.manager.handle_file_change(path)
    assert running.host.call("answer") == ["edited"]
    assert imported("llm_mapped.words").word() == "edited"


def test_a_start_uses_what_an_earlier_one_built(project: Project, run: Run) -> None:
    """The artifacts of packages and of the plugins that import them are found again."""
    project.workspace["about"] = BAR
    run(project.config("llm_foo")).manager.stop()
    running = run(project.config("llm_foo"))
    assert running.host.call("larger") == ["model one"]
    assert "compiled" not in running.said()
    assert [event.name for event in running.told(PluginLoaded)] == ["llm_foo", "about"]
    assert sorted(find_plugins(project.workspace.plugins, project.config("llm_foo").layout)) == [
        "about",
        "llm_foo",
    ]


def test_the_configured_entry_and_function(project: Project) -> None:
    """``entry`` and ``register`` hold for packages, too."""
    project.write("llm_foo/__init__.py", "from .words import word\n")
    project.write("llm_foo/main.py", "from . import word\n\n\ndef setup(ctx):\n    ctx.hook('said', word)\n")
    host = HookHost()
    with HotloadManager(host, project.config("llm_foo", entry="main.py", register="setup")):
        assert host.call("said") == ["one"]
        assert imported("llm_foo").word() == "one"
