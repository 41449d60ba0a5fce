import os
from pathlib import Path

import pytest

from hotload_tui.core.directories import (
    TEMPLATE,
    create,
    disable,
    enable,
    find_plugins,
    plugin_at,
    unknown,
)
from hotload_tui.core.errors import RefusedError, RuntimeDirError, UsageError
from hotload_tui.core.layout import DEFAULT


def names(root: Path) -> dict[str, bool]:
    """Return the plugins' names, each with whether it is enabled."""
    return {plugin.name: plugin.enabled for plugin in find_plugins(root).values()}


def test_the_name_decides_what_is_a_plugin(tmp_path: Path) -> None:
    """One leading underscore disables a plugin; two, a leading dot and plain files are ignored."""
    for name in ("greet", "_off", "__init", "__pycache__", ".git", "a-b", "a b", "ü", "json", "class", "_"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.py").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    expected = {"greet": True, "off": False, "a-b": True, "a b": True, "ü": True, "json": True, "class": True}
    assert names(tmp_path) == expected


def test_a_linked_directory_is_a_plugin(tmp_path: Path) -> None:
    """A symbolic link to a directory is a plugin."""
    (tmp_path / "root").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root" / "greet").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "root") == {"greet": True}


@pytest.mark.parametrize("pair", [("x", "_x"), ("X", "_X")])
def test_x_beside_its_disabled_twin_runs(tmp_path: Path, pair: tuple[str, str]) -> None:
    """If ``x`` and ``_x`` exist, the enabled one counts, and neither can be renamed to the other."""
    for name in pair:
        (tmp_path / name).mkdir()
    assert names(tmp_path) == {pair[0]: True}
    on, off = (plugin_at(tmp_path / name) for name in pair)
    assert on is not None
    assert off is not None
    with pytest.raises(RefusedError, match="exists already"):
        disable(on)
    with pytest.raises(RefusedError, match="exists already"):
        enable(off)


def test_enable_and_disable_rename(tmp_path: Path) -> None:
    """Enabling and disabling rename the directory, and a second call changes nothing."""
    (tmp_path / "greet").mkdir()
    plugin = find_plugins(tmp_path)["greet"]
    off = disable(plugin)
    assert (off.path, disable(off)) == (tmp_path / "_greet", off)
    assert off.path.is_dir()
    on = enable(off)
    assert (on.path, enable(on), on) == (tmp_path / "greet", on, plugin)


def test_a_missing_or_odd_runtime_directory_is_named(tmp_path: Path) -> None:
    """The error for a missing or odd plugin directory names it and, if missing, the command to make it."""
    with pytest.raises(RuntimeDirError, match=r"no plugin directory .*nowhere.*mkdir"):
        find_plugins(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeDirError, match=r"file.*Not a directory"):
        find_plugins(tmp_path / "file")


def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    """A directory whose name is not UTF-8 is a plugin with an escaped name."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).mkdir()
    assert names(tmp_path) == {"caf\\xe9": True}
    assert DEFAULT.name_of(os.fsdecode(b"caf\xe9")) == "caf\\xe9"


def test_new_plugins_come_from_the_template(tmp_path: Path) -> None:
    """A new plugin is made from TEMPLATE.py if it exists, otherwise from the built-in template."""
    built_in = create(tmp_path / "plugins", "greet")
    assert "def register(ctx)" in (built_in.path / "plugin.py").read_text()
    (tmp_path / "plugins" / TEMPLATE).write_text("# mine\n")
    mine = create(tmp_path / "plugins", "my-plugin 2")
    assert (mine.path / "plugin.py").read_text() == "# mine\n"
    assert sorted(path.name for path in (tmp_path / "plugins").iterdir()) == [
        TEMPLATE,
        "greet",
        "my-plugin 2",
        "test_greet.py",
        "test_my_plugin_2.py",
    ]


@pytest.mark.parametrize("name", ["", "_x", ".x", "a/b", "..", "-x", " x", "a\n", "a\0", "a" * 300])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    """An invalid name is refused with an error that says so."""
    with pytest.raises((UsageError, RefusedError), match="cannot"):
        create(tmp_path / "plugins", name)


@pytest.mark.parametrize("there", ["x", "_x"])
def test_an_existing_plugin_is_not_overwritten(tmp_path: Path, there: str) -> None:
    """A name is taken if a plugin has it, enabled or disabled."""
    (tmp_path / there).mkdir()
    with pytest.raises(RefusedError, match="exists already"):
        create(tmp_path, "x")


@pytest.mark.parametrize(
    ("known", "hint"),
    [(["greet"], 'did you mean "greet"'), (["a", "b"], "there are: a, b"), ([], "hotload new")],
)
def test_an_unknown_name_gets_a_hint(known: list[str], hint: str) -> None:
    """The error for an unknown name suggests the nearest, lists all names, or says how to make a plugin."""
    assert hint in str(unknown("gret", known))
