import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hotload_tui import Config, PluginState
from hotload_tui.core.errors import ConfigError
from tests.conftest import Running, Workspace

Run = Callable[[Config], Running]

SETUP = "def setup(ctx):\n    ctx.hook('greet', lambda: {word!r})\n"
LAYOUTS = [
    ("plugin.py", "setup"),
    ("__init__.py", "register"),
    ("main.py", "setup"),
]


def source(register: str, word: str = "one") -> str:
    """Return an entry that greets with a word, which it imports from a file beside it."""
    return (
        f"from .words import END\n\n\ndef {register}(ctx):\n    ctx.hook('greet', lambda: '{word}' + END)\n"
    )


@pytest.mark.parametrize(("entry", "register"), LAYOUTS)
def test_a_project_names_the_entry_and_the_function(
    workspace: Workspace, run: Run, entry: str, register: str
) -> None:
    """Plugins with these names load, reload after an edit of each file, and keep running after a mistake."""
    workspace["greet/words.py"] = "END = '!'"
    workspace[f"greet/{entry}"] = source(register)
    running = run(workspace.config(entry=entry, register=register))
    assert running.host.call("greet") == ["one!"]
    workspace[f"greet/{entry}"] = source(register, "two")
    running.manager.rebuild("greet")
    assert running.host.call("greet") == ["two!"]
    workspace["greet/words.py"] = "END = '?'"
    running.manager.rebuild("greet")
    assert running.host.call("greet") == ["two?"]
    workspace[f"greet/{entry}"] = source(register) + "1 / 0"
    running.manager.rebuild("greet")
    assert running.status("greet").state is PluginState.STALE
    assert running.host.call("greet") == ["two?"]
    place = running.fault("greet").place
    assert place is not None
    assert (Path(place.file).name, place.line) == (entry, 6)
    assert running.status("greet").entry == entry


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"words.py": ""}, "no __init__.py in .*greet; add one that defines setup\\(ctx\\)"),
        ({"__init__.py": ""}, "__init__.py is empty; define setup\\(ctx\\) in it"),
        ({"__init__.py": "x = 1"}, "__init__.py defines no setup; add: def setup\\(ctx\\) -> None"),
        ({"__init__.py": "x = 1\n" + "#" * 40_000}, "__init__.py defines no setup; add: def setup\\(ctx\\)"),
        ({"__init__.py": "if 0: setup = 1"}, "__init__.py has run and defines no setup; add: def setup"),
        ({"__init__.py": "setup = 1"}, "setup is a int, not a function; write: def setup\\(ctx\\)"),
        (
            {"__init__.py": "async def setup(ctx): ..."},
            "setup is async, but runs in a thread without an event loop .* own_cog .* def setup\\(ctx\\)",
        ),
        ({"__init__.py": "def setup(): ..."}, "setup must take one argument, ctx"),
        ({"__init__.py": "def setup(ctx): 1 / 0"}, "division by zero"),
        (
            {"plugin.py": "def setup(ctx): ..."},
            'no __init__.py in .*greet; rename plugin.py, or set entry = "plugin.py" in hotload.toml',
        ),
    ],
)
def test_messages_use_the_names_of_the_project(
    workspace: Workspace, run: Run, files: dict[str, str], message: str
) -> None:
    """A plugin that does not fit fails with a message that has the project's entry and function."""
    for path, content in files.items():
        workspace[f"greet/{path}"] = content
    running = run(workspace.config(entry="__init__.py", register="setup"))
    assert re.search(message, running.fault("greet").message)


def test_the_same_files_with_another_function_are_another_version(workspace: Workspace, run: Run) -> None:
    """After a change of the setting, a host runs the other function, from an artifact beside the first."""
    first = "def register(ctx):\n    ctx.hook('greet', lambda: 'register')\n"
    workspace["greet/words.py"] = "END = '!'"
    workspace["greet"] = first + SETUP.format(word="setup")
    for register in ("register", "setup", "register"):
        running = run(workspace.config(register=register))
        assert running.host.call("greet") == [register]
        running.manager.stop()
    assert len(list(workspace.compiled.glob("greet-*"))) == 2


def test_a_plugin_reaches_a_plugin_whose_entry_is_its_package(workspace: Workspace, run: Run) -> None:
    """A required plugin gives the names of its ``__init__.py`` and its modules, and follows an edit."""
    workspace["base/words.py"] = "END = '!'"
    workspace["base/__init__.py"] = "LOW = 1\ndef register(ctx): ..."
    user = "REQUIRES = ['base']\ndef register(ctx):\n    base = ctx.plugin('base')\n"
    workspace["greet/__init__.py"] = user + "    ctx.hook('greet', lambda: f'{base.LOW}{base.words.END}')\n"
    running = run(workspace.config(entry="__init__.py"))
    assert running.host.call("greet") == ["1!"]
    workspace["base/__init__.py"] = "LOW = 2\ndef register(ctx): ..."
    running.manager.rebuild("base")
    assert running.host.call("greet") == ["2!"]


def test_no_pattern_leaves_out_the_entry(workspace: Workspace, run: Run) -> None:
    """``[watch] ignore`` leaves out other files, never the entry that the project names."""
    workspace["greet/main.py"] = SETUP.format(word="one")
    watch = {"ignore": ["*.py"]}
    running = run(workspace.config(entry="main.py", register="setup", watch=watch))
    assert running.host.call("greet") == ["one"]


def test_a_plan_and_the_details_read_the_entry(workspace: Workspace, run: Run) -> None:
    """The plan names the points of the entry, and the details its description, before anything runs."""
    workspace["greet/main.py"] = '"""Greets."""\n' + SETUP.format(word="one")
    running = run(workspace.config(entry="main.py", register="setup"))
    assert running.manager.detail("greet").description == "Greets."
    workspace["greet/main.py"] = SETUP.format(word="one").replace("greet", "meet")
    (plan,) = running.manager.plan("greet").plugins
    assert (plan.comes, plan.goes) == (("meet",), ("greet",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"entry": "main"}, 'entry = "main": must be the name of a Python file, such as "__init__.py"'),
        ({"entry": "src/main.py"}, 'entry = "src/main.py": must be the name of a Python file'),
        ({"entry": "my-main.py"}, 'entry = "my-main.py": must be the name of a Python file'),
        ({"entry": "class.py"}, 'entry = "class.py": must be the name of a Python file'),
        ({"register": "set up"}, 'register = "set up": must be the name of a function, such as "setup"'),
        ({"register": "def"}, 'register = "def": must be the name of a function'),
    ],
)
def test_wrong_names_are_refused(settings: dict[str, str], message: str) -> None:
    """A name that no file or function can have is refused, with an example."""
    with pytest.raises(ConfigError, match=message):
        Config(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("template", ["simple", "package", "async"])
def test_a_new_plugin_has_the_entry_and_the_function_of_the_project(
    workspace: Workspace, run: Run, tmp_path: Path, template: str
) -> None:
    """A plugin from a template loads in such a project, and its generated test passes."""
    running = run(workspace.config(entry="__init__.py", register="setup"))
    assert running.manager.new("fresh", template).state is PluginState.OK
    assert (workspace.plugins / "fresh" / "__init__.py").is_file()
    assert not (workspace.plugins / "fresh" / "plugin.py").exists()
    test = workspace.plugins / "test_fresh.py"
    names: dict[str, Callable[[Path], None]] = {"__file__": str(test)}  # type: ignore[dict-item]
    exec(compile(test.read_text(), str(test), "exec"), names)
    names["test_fresh"](tmp_path / "artifacts")
