"""Which directories are plugins; enabling, disabling and making them.

The name decides: ``_x`` is the disabled plugin ``x``; ``.x``, ``__x`` and plain files are nothing.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import keyword
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from hotload_tui.core.config import Config
from hotload_tui.core.errors import RefusedError, RuntimeDirError, UnknownPluginError, UsageError, near
from hotload_tui.core.plugin import PluginState, PluginStatus
from hotload_tui.core.source import ENTRY
from hotload_tui.core.templates import OF_THE_PROJECT, SIMPLE, TEMPLATES

TEMPLATE = "TEMPLATE.py"
"""A plain file in the runtime directory from which new plugins are made."""

_NAME: Final = re.compile(r"[^\W_][\w.\- ]*")


class PluginDirectory(Struct, frozen=True):
    """A directory that is a plugin."""

    name: str
    path: Path
    enabled: bool


def find_plugins(runtime_dir: Path) -> dict[str, PluginDirectory]:
    """Return the plugins under ``runtime_dir`` by name; where ``x`` stands beside ``_x``, ``x`` counts.

    Raises:
        RuntimeDirError: the directory is not there or cannot be listed.

    """
    found: dict[str, PluginDirectory] = {}
    try:
        with os.scandir(runtime_dir) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except FileNotFoundError:
        raise RuntimeDirError(
            f"no plugin directory {near(runtime_dir)}: make it (mkdir {near(runtime_dir)}), "
            "let 'hotload new NAME' make it with a first plugin, or name another with --plugins"
        ) from None
    except OSError as error:
        raise RuntimeDirError(
            f"cannot list plugin directory {near(runtime_dir)}: {error.strerror}"
        ) from error
    for entry in entries:
        name, enabled = name_of(entry.name), not entry.name.startswith("_")
        if name is not None and (enabled or name not in found) and _is_directory(entry):
            found[name] = PluginDirectory(name, runtime_dir / entry.name, enabled)
    return found


def found_status(directory: PluginDirectory, config: Config) -> PluginStatus:
    """Return how a plugin stands of which nothing but its directory is known."""
    enabled = directory.enabled and config.of(directory.name).enabled
    state = PluginState.NEW if enabled else PluginState.OFF
    return PluginStatus(directory.name, state, str(directory.path))


def find_plugin(runtime_dir: Path, name: str) -> PluginDirectory | None:
    """Return the plugin of that name under ``runtime_dir``, or ``None``."""
    if "\\" in name:  # how a name that is not UTF-8 is shown; only a list tells what it is
        try:
            return find_plugins(runtime_dir).get(name)
        except RuntimeDirError:
            return None
    on, off = runtime_dir / name, runtime_dir / f"_{name}"
    return plugin_at(on) or plugin_at(off) or plugin_at(on)  # it may be enabled between two looks


def plugin_at(path: Path) -> PluginDirectory | None:
    """Return the plugin that ``path`` is by its name, or ``None``; it need not have an entry."""
    name = name_of(path.name)
    if name is None or not _is_directory(path):
        return None
    return PluginDirectory(name, path, enabled=not path.name.startswith("_"))


def name_of(directory_name: str) -> str | None:
    """Return the name of the plugin that a directory of this name would be, or ``None``."""
    if directory_name.startswith((".", "__")) or directory_name in ("", "_"):
        return None
    return os.fsencode(directory_name).decode("utf-8", "backslashreplace").removeprefix("_")


def enable(plugin: PluginDirectory) -> PluginDirectory:
    """Rename ``_x`` to ``x``; nothing happens if the plugin is enabled and no ``_x`` stands beside it.

    Raises:
        RefusedError: ``x`` exists already, or the system refuses the renaming.

    """
    if not plugin.enabled:
        return _rename(plugin, plugin.path.name.removeprefix("_"), enabled=True)
    twin = plugin_at(plugin.path.with_name(f"_{plugin.path.name}"))
    if twin is not None:
        raise _in_the_way(twin, plugin.path, "enable")
    return plugin


def disable(plugin: PluginDirectory) -> PluginDirectory:
    """Rename ``x`` to ``_x``; nothing happens if the plugin is disabled.

    Raises:
        RefusedError: ``_x`` exists already, or the system refuses the renaming.

    """
    return _rename(plugin, f"_{plugin.path.name}", enabled=False) if plugin.enabled else plugin


def create(runtime_dir: Path, name: str, template: str = SIMPLE) -> PluginDirectory:
    """Make the plugin ``name`` from a template, its test ``test_<name>.py`` beside it, and the folder.

    For the template ``simple`` the project's own ``TEMPLATE.py`` is taken, where there is one; in it the name
    takes the place of each ``$name``. A file that is no directory is no plugin: the test reloads nothing.

    Raises:
        UsageError: a plugin cannot have that name, or there is no such template.
        RefusedError: it exists already, the template needs what is not installed, or the system refuses.

    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot name a plugin: begin with a letter or digit; letters, digits, '
            "'_', '-', '.' and spaces may follow"
        )
    if template not in TEMPLATES:
        raise UsageError(f'no template "{template}"; {nearest(template, TEMPLATES)}')
    path = runtime_dir / name
    for existing in (path, path.with_name(f"_{name}")):
        if os.path.lexists(existing):
            raise RefusedError(f"{near(existing)} exists already; choose another name")
    needs = TEMPLATES[template].needs
    if needs and importlib.util.find_spec(needs) is None:
        raise RefusedError(f"{needs} is not installed here: pip install 'hotload-tui[{needs}]'")
    try:
        files, test = _material(runtime_dir, template)
        _make(path, files)
        _add_test(path, test)
    except OSError as error:
        raise RefusedError(f"cannot make {near(path)}: {error.strerror}") from error
    return PluginDirectory(name, path, enabled=True)


def oddity(name: str) -> str:
    """Return what a plugin of this name cannot have; empty for a name of Python's, or of no plugin."""
    if not _NAME.fullmatch(name) or (name.isidentifier() and not keyword.iskeyword(name)):
        return ""
    return f'"{name}" is no Python name: "import {name}.x" is not possible, "from . import x" is'


def unknown(name: str, known: Iterable[str]) -> UnknownPluginError:
    """Return the error for a name that is no plugin, with the nearest one that is."""
    hint = nearest(name, known) or "there are none yet; 'hotload new NAME' makes one"
    return UnknownPluginError(f'no plugin "{name}"; {hint}')


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the name that was probably meant, else at all there are; empty for none."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return "there are: " + ", ".join(names) if names else ""


def _material(runtime_dir: Path, template: str) -> tuple[Mapping[str, str], str]:
    """Return the files of a new plugin, and its test."""
    own = runtime_dir / TEMPLATE
    if template == SIMPLE and own.is_file():
        return {ENTRY: own.read_text(encoding="utf-8")}, OF_THE_PROJECT
    return TEMPLATES[template].files, TEMPLATES[template].test


def _make(path: Path, files: Mapping[str, str]) -> None:
    # Under a hidden name first: a watcher must not meet a plugin that has no entry yet.
    draft = path.with_name(f".{path.name}.new")
    draft.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (draft / name).write_text(text.replace("$name", path.name), encoding="utf-8")
    draft.rename(path)


def _add_test(path: Path, text: str) -> None:
    """Write the plugin's test, unless a file of that name is there: it is somebody's."""
    word = re.sub(r"\W", "_", path.name)
    with (
        contextlib.suppress(FileExistsError),
        path.with_name(f"test_{word}.py").open("x", encoding="utf-8") as file,
    ):
        file.write(text.replace("$name", path.name).replace("$word", word))


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


def _is_directory(path: Path | os.DirEntry[str]) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a loop of links
        return False
