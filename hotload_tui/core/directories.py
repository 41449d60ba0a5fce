"""Find, enable, disable and create plugins on the disk.

The name of a directory decides: ``_x`` is the disabled plugin ``x``; ``.x``, ``__x`` and plain files are
ignored, except Python files in a project whose ``Layout`` has ``files``. The packages of the ``Layout`` are
plugins wherever they are; the configuration disables them.
"""

from __future__ import annotations

import contextlib
import keyword
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from hotload_tui.core.config import Config
from hotload_tui.core.errors import (
    RefusedError,
    RuntimeDirError,
    UnknownPluginError,
    UsageError,
    near,
    nearest,
)
from hotload_tui.core.layout import DEFAULT, Layout
from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.core.module_names import installed_spec

_scandir = os.scandir  # a plugin can replace it

SIMPLE: Final = "simple"
TEMPLATES: Final = (SIMPLE, "package", "async", "pluggy")
"""The templates of a new plugin: folders beside this module, whose files end in ``.in``."""

_NEEDS: Final = {"pluggy": "pluggy"}
"""The package that a template's plugin needs to run; also the name of the extra that installs it."""

_TEST: Final = "test.py.in"

TEMPLATE = "TEMPLATE.py"
"""A plain file in the runtime directory: the project's own template for new plugins."""

_NAME: Final = re.compile(r"[^\W_][\w.\- ]*")


class PluginDirectory(Struct, frozen=True):
    """A directory, a single file, or a package on the import path that is a plugin."""

    name: str
    path: Path
    enabled: bool
    is_package: bool = False


def find_plugins(runtime_dir: Path, layout: Layout = DEFAULT) -> dict[str, PluginDirectory]:
    """Return the plugins under ``runtime_dir`` by name; if both ``x`` and ``_x`` exist, ``x`` counts.

    If both a directory and a file have a name, the directory counts; reading it reports the clash.

    Raises:
        RuntimeDirError: the directory does not exist or cannot be listed.

    """
    found: dict[str, PluginDirectory] = {}
    try:
        with _scandir(runtime_dir) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except FileNotFoundError:
        if layout.packages:  # such a project need not have the folder
            return _packages(layout)
        raise RuntimeDirError(
            f"no plugin directory {near(runtime_dir)}: create it (mkdir {near(runtime_dir)}), "
            "create it with a first plugin ('hotload new NAME'), or name another with --plugins"
        ) from None
    except OSError as error:
        raise RuntimeDirError(
            f"cannot list plugin directory {near(runtime_dir)}: {error.strerror}"
        ) from error
    for entry in entries:
        name, enabled = layout.name_of(entry.name), not entry.name.startswith("_")
        if name is None or not _is_plugin(entry, layout):
            continue
        before = found.get(name)
        if before is None or _rank(entry.name, layout) > _rank(before.path.name, layout):
            found[name] = PluginDirectory(name, runtime_dir / entry.name, enabled)
    return found | _packages(layout)


def _packages(layout: Layout) -> dict[str, PluginDirectory]:
    places = layout.packages.items()
    return {name: PluginDirectory(name, Path(place), enabled=True, is_package=True) for name, place in places}


def _rank(file_name: str, layout: Layout) -> tuple[bool, bool]:
    """Return a value that is greater for the directory or file that counts if several have one name."""
    return not file_name.startswith("_"), not layout.is_file(file_name)


def found_status(directory: PluginDirectory, config: Config, layout: Layout) -> PluginStatus:
    """Return the status of a plugin of which only the directory is known."""
    enabled = directory.enabled and config.of(directory.name).enabled
    state = PluginState.NEW if enabled else PluginState.OFF
    entry = layout.entry_of(directory.path)
    return PluginStatus(directory.name, state, str(directory.path), entry=entry.file)


def find_plugin(runtime_dir: Path, name: str, layout: Layout = DEFAULT) -> PluginDirectory | None:
    """Return the plugin of that name under ``runtime_dir``, or ``None``."""
    if name in layout.packages:
        return _packages(layout)[name]
    if "\\" in name:  # how a name that is not UTF-8 is shown; only a listing finds its directory
        try:
            return find_plugins(runtime_dir, layout).get(name)
        except RuntimeDirError:
            return None
    names = layout.file_names(name)
    names += names[: len(names) // 2]  # it may be enabled between two checks
    found = (plugin_at(runtime_dir / each, layout) for each in names)
    return next((each for each in found if each is not None and each.name == name), None)


def plugin_at(path: Path, layout: Layout = DEFAULT) -> PluginDirectory | None:
    """Return the plugin whose directory or file is ``path``, or ``None``; it need not have an entry."""
    name = layout.name_of(path.name)
    if name is None or not _is_plugin(path, layout):
        return None
    return PluginDirectory(name, path, enabled=not path.name.startswith("_"))


def enable(plugin: PluginDirectory) -> PluginDirectory:
    """Rename ``_x`` to ``x``; do nothing if the plugin is enabled and there is no ``_x``.

    Raises:
        RefusedError: both ``x`` and ``_x`` exist, or the system refuses the rename.

    """
    if plugin.is_package:
        return plugin
    if not plugin.enabled:
        return _rename(plugin, plugin.path.name.removeprefix("_"), enabled=True)
    twin = plugin.path.with_name(f"_{plugin.path.name}")
    if twin.is_dir() if plugin.path.is_dir() else twin.is_file():
        raise _in_the_way(PluginDirectory(plugin.name, twin, enabled=False), plugin.path, "enable")
    return plugin


def disable(plugin: PluginDirectory) -> PluginDirectory:
    """Rename ``x`` to ``_x``; do nothing if the plugin is disabled.

    Raises:
        RefusedError: ``_x`` exists already, the system refuses the rename, or the plugin is a package.

    """
    if plugin.is_package:
        setting = f"enabled = false under [plugins.{plugin.name}] in hotload.toml"
        raise RefusedError(f"{plugin.name} is a package, which keeps its name: write {setting}")
    return _rename(plugin, f"_{plugin.path.name}", enabled=False) if plugin.enabled else plugin


def create(runtime_dir: Path, name: str, template: str = SIMPLE, layout: Layout = DEFAULT) -> PluginDirectory:
    """Create the plugin ``name`` from a template, its test ``test_<name>.py`` beside it, and the folder.

    With ``layout.files``, the template ``simple`` gives a single file. For this template, the project's own
    ``TEMPLATE.py`` is used if it exists. Each ``$name`` is replaced by the name. The other templates define
    the function that ``layout`` names. The test is a plain file and no plugin, so it causes no reload.

    Raises:
        UsageError: a plugin cannot have that name, or there is no such template.
        RefusedError: the plugin exists already, the template needs a package that is not installed, or the
            system refuses to create the files.

    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot name a plugin: begin with a letter or digit; letters, digits, '
            "'_', '-', '.' and spaces may follow"
        )
    if template not in TEMPLATES:
        raise UsageError(f'no template "{template}"; {nearest(template, TEMPLATES)}')
    is_file = layout.files and template == SIMPLE
    path = runtime_dir / (f"{name}.py" if is_file else name)
    if name in layout.packages:
        raise RefusedError(f"{name} is a plugin already, in {near(layout.packages[name])}")
    if layout.name_of(path.name) != name:
        raise UsageError(f'"{path.name}" cannot be a plugin: it is a test or template; choose another name')
    for existing in (runtime_dir / each for each in layout.file_names(name)):
        if os.path.lexists(existing):
            raise RefusedError(f"{near(existing)} exists already; choose another name")
    needs = _NEEDS.get(template)
    if needs and installed_spec(needs) is None:
        raise RefusedError(f"{needs} is not installed here: pip install 'hotload-tui[{needs}]'")
    try:
        files, test = _material(runtime_dir, template, layout)
        _make(path, name, files, is_file=is_file)
        _add_test(runtime_dir, name, test)
    except OSError as error:
        raise RefusedError(f"cannot create {near(path)}: {error.strerror}") from error
    return PluginDirectory(name, path, enabled=True)


def oddity(name: str) -> str:
    """Return a note on the import that this name rules out; empty for a Python name or an invalid name."""
    if not _NAME.fullmatch(name) or (name.isidentifier() and not keyword.iskeyword(name)):
        return ""
    return f'"{name}" is no Python name: "import {name}.x" is not possible, "from . import x" is'


def unknown(name: str, known: Iterable[str]) -> UnknownPluginError:
    """Return the error for the name of an unknown plugin, with the nearest known name."""
    hint = nearest(name, known) or "there are none yet; 'hotload new NAME' makes one"
    return UnknownPluginError(f'no plugin "{name}"; {hint}')


def _material(runtime_dir: Path, template: str, layout: Layout) -> tuple[dict[str, str], str]:
    """Return the files and the test of a new plugin; both contain ``$name`` in place of its name."""
    home = Path(__file__).with_name("templates")
    project = runtime_dir / TEMPLATE
    if template == SIMPLE and project.is_file():
        # Its test checks no result: only the project knows what its template returns.
        files, test = (
            {layout.entry: project.read_text("utf-8")},
            (home / "project" / _TEST).read_text("utf-8"),
        )
    else:
        texts = {path.name: path.read_text("utf-8") for path in (home / template).glob("*.in")}
        test = texts.pop(_TEST, "") or (home / _TEST).read_text("utf-8")
        entry = texts.pop(f"{DEFAULT.entry}.in").replace("def register(", f"def {layout.register}(")
        files = {layout.entry: entry, **{name.removesuffix(".in"): text for name, text in texts.items()}}
    return files, test.replace("$layout", layout.arguments())


def _make(path: Path, name: str, files: dict[str, str], *, is_file: bool) -> None:
    # Under a hidden name first: a watcher must not see a plugin that has no entry yet.
    draft = path.with_name(f".{path.name}.new")
    (draft.parent if is_file else draft).mkdir(parents=True, exist_ok=True)
    for file_name, text in files.items():
        place = draft if is_file else draft / file_name
        place.write_text(text.replace("$name", name), encoding="utf-8")
    draft.rename(path)


def _add_test(runtime_dir: Path, name: str, text: str) -> None:
    """Write the plugin's test, unless a file with that name exists."""
    word = re.sub(r"\W", "_", name)
    with (
        contextlib.suppress(FileExistsError),
        (runtime_dir / f"test_{word}.py").open("x", encoding="utf-8") as file,
    ):
        file.write(text.replace("$name", name).replace("$word", word))


def _rename(plugin: PluginDirectory, directory_name: str, *, enabled: bool) -> PluginDirectory:
    target = plugin.path.with_name(directory_name)
    verb = "enable" if enabled else "disable"
    if os.path.lexists(target):
        raise _in_the_way(plugin, target, verb)
    try:
        plugin.path.rename(target)
    except OSError as error:
        raise RefusedError(f"cannot {verb} {plugin.name}: {error.strerror} ({near(target)})") from error
    return PluginDirectory(plugin.name, target, enabled)


def _in_the_way(plugin: PluginDirectory, target: Path, verb: str) -> RefusedError:
    there = f"{near(target)} exists already beside {near(plugin.path)}"
    return RefusedError(f"cannot {verb} {plugin.name}: {there}; remove or rename one of the two")


def _is_plugin(path: Path | os.DirEntry[str], layout: Layout) -> bool:
    try:
        return path.is_file() if layout.is_file(path.name) else path.is_dir()
    except OSError:  # a loop of links
        return False
