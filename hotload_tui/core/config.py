"""``Config``: every setting of the manager, checked at construction."""

from __future__ import annotations

import keyword
import math
import os
import shlex
import sys
from typing import Final, Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import force_setattr

from hotload_tui.core import packages as on_path
from hotload_tui.core.errors import ConfigError
from hotload_tui.core.layout import EntryPoint, Layout

NOTIFIERS: Final = ("inotify", "watchfiles", "sweep")
"""The values that ``[watch] notifier`` accepts."""


ON_FAULT: Final = ("collect", "raise", "log")
"""The values that ``on_fault`` accepts."""


Gate: TypeAlias = Literal["tests", "checks"]
"""What a version can be made to pass."""

_POSITIVE: Final = (
    *((name, "seconds") for name in ("debounce_time", "load_timeout", "drain_timeout", "sweep_interval")),
    ("probation", "seconds"),
    ("gate_timeout", "seconds"),
    ("max_file_size", "MiB"),
)
"""The settings that must be greater than 0, and their units."""


class PluginConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[plugins.<directory name>]`` table."""

    hook_point: str | None = None
    """The hook point for ``ctx.hook(handler)``, which names none."""
    priority: int | None = None
    """The priority for hooks that set none (lower runs first; 100 if absent)."""
    enabled: bool = True
    requires: tuple[str, ...] = ()
    """Plugins that the plugin requires, in addition to ``REQUIRES`` in its ``plugin.py``."""
    reload: Literal["swap", "replace"] | None = None
    """``replace``: the running version leaves before a new one is tried. ``None``: as ``RELOAD`` in
    ``plugin.py`` says, else ``swap``."""
    share: tuple[str, ...] = ()
    """Packages beside ``plugin.py`` that are imported once under their real names and never reloaded."""
    forget: bool = False
    """Remove a retired version's functions, classes and objects from the containers of other code."""
    follow: Literal["state", "all"] = "state"
    """Where objects of the plugin's classes follow a reload: in its state and in the containers that the
    program has registered, or everywhere."""
    gate: Gate | tuple[Gate, ...] | None = None
    """What a version must pass before it goes live. ``None``: as the project's ``gate`` says."""
    checks: tuple[str, ...] | None = None
    """The checks of a version. ``None``: as the project's ``checks`` says."""
    settings: dict[str, object] = field(default_factory=dict)
    """The table that the plugin reads as ``ctx.settings``."""


class WatchConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[watch]`` table."""

    ignore: tuple[str, ...] = ()
    """Patterns as in a ``.gitignore`` in each plugin's directory; matching files do not belong to it."""
    notifier: str = "inotify" if sys.platform == "linux" else "watchfiles"
    """The notifier that reports changes, one of ``NOTIFIERS``; with ``sweep``, only regular scans do."""


class DatabaseConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[database]`` table: where the rows with settings of plugins are."""

    url: str = ""
    """The address for SQLAlchemy; empty for none. The rows override the files."""
    table: str = "hotload_plugins"


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a ``HotloadManager``; relative paths are relative to the working directory.

    Raises:
        ConfigError: a value is out of range; the text names the key.

    """

    runtime_dir: str = "plugins"
    """The folder that contains the plugins' directories."""
    compiled_dir: str = "compiled"
    """The folder for artifacts; it is created if missing."""
    module_path: str = "hotplug"
    """The package name under which plugins' modules appear."""
    debounce_time: float = 2.0
    """Seconds: the longest time for which a stream of changes can delay a reload."""
    settle_time: float = 0.002
    """Seconds without a change after which a single save is read; saves in quick succession wait longer."""
    enable_watch: bool = True
    entry: str = "plugin.py"
    """The file in each plugin's directory that runs and defines the function ``register``."""
    register: str = "register"
    """The name of the function that registers a plugin."""
    files: bool = False
    """Whether a Python file directly in ``runtime_dir`` is a plugin, too."""
    packages: tuple[str, ...] = ()
    """The names of packages on the import path that are plugins, too, wherever they are."""
    entry_points: tuple[str, ...] = ()
    """Groups of entry points: every package on the import path with one in these groups is a plugin, too."""
    shared: tuple[str, ...] = ()
    """Python files and packages that plugins import, and that reload with these plugins.

    They are paths, or names of packages on the import path.
    """
    gate: Gate | tuple[Gate, ...] = ()
    """What a version must pass before it goes live: the plugin's own ``tests``, the ``checks``, or both."""
    gate_timeout: float = 60.0
    """Seconds that the tests of one plugin may take, and each of the checks."""
    checks: tuple[str, ...] = ()
    """Commands that check the source of a plugin, whose path is their last argument, such as ``mypy``."""
    load_timeout: float = 10.0
    """Seconds that executing a plugin's modules and its ``register`` may take together."""
    drain_timeout: float = 5.0
    """Seconds that the manager waits for in-flight calls in an old generation. This is also the limit for
    each of its ``on_unload`` functions, threads and tasks to end."""
    max_file_size: float = 64.0
    """MiB that a single file of a plugin may have; a plugin with a larger file is not built."""
    keep_generations: int = 10
    """Number of newest artifacts kept per plugin; artifacts in use are kept in addition."""
    native_limit: int = 50
    """Number of versions of one native module that a process loads; each of them stays in memory."""
    max_error_rate: float | None = None
    """The share of a new version's handler calls that may fail, from 0 to 1. If more calls fail, and at least
    3, the previous version (if any) becomes live again, and the plugin is HELD there. ``None``: no limit."""
    probation: float = 10.0
    """Seconds after a swap in which ``max_error_rate`` applies."""
    on_fault: str = "collect"
    """What a fault of running code leads to, besides the plugin's fault: nothing more (``collect``), an
    exception from the call of the hook point (``raise``), or a traceback in ``hotload.events`` (``log``)."""
    sweep_interval: float = 5.0
    """Seconds between two scans of all plugins, for changes that the system did not report."""
    watch: WatchConfig = field(default_factory=WatchConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    plugins: dict[str, PluginConfig] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """``[keys]``: binding id to key. The console checks it, because only the console knows the bindings."""

    def __post_init__(self) -> None:
        """Check all ranges, and convert path objects to text for the two folders."""
        for name in ("runtime_dir", "compiled_dir"):
            force_setattr(self, name, os.fspath(getattr(self, name)))
        for name, unit in _POSITIVE:
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} = {value}: must be a number of {unit} greater than 0")
        if not 0 <= self.settle_time < math.inf:
            raise ConfigError(f"settle_time = {self.settle_time}: must be a number of seconds, not negative")
        if self.max_error_rate is not None and not 0 <= self.max_error_rate <= 1:
            raise ConfigError(f"max_error_rate = {self.max_error_rate}: must be a share from 0 to 1, as 0.5")
        for name in ("keep_generations", "native_limit"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 1")
        if not self.module_path.isidentifier() or keyword.iskeyword(self.module_path):
            raise ConfigError(
                f'module_path = "{self.module_path}": must be a Python identifier, such as "hotplug"'
            )
        _check_words(self)
        _check_commands(self)
        _check_patterns(self.watch.ignore)

    @property
    def layout(self) -> Layout:
        """What a plugin looks like in this project."""
        found = on_path.entry_points(self.entry_points)
        names = dict.fromkeys((*self.packages, *(point.package for point in found)))
        packages = {name: on_path.locate(name) for name in names}
        points: dict[str, dict[tuple[str, str], EntryPoint]] = {}
        for each in found:  # the same object in several groups is one
            file = on_path.file_of(packages[each.package], each.module)
            of_package = points.setdefault(each.package, {})
            point = EntryPoint(each.name, each.module, file, each.object)
            of_package.setdefault((each.module, each.object), point)
        shared = {on_path.name_of(place): on_path.shared_place(place) for place in self.shared}
        return Layout(
            self.entry,
            self.register,
            self.files,
            {**packages, **shared},
            tuple(shared),
            self.entry_points,
            {name: tuple(of_package.values()) for name, of_package in points.items()},
        )

    def of(self, plugin: str) -> PluginConfig:
        """Return the settings of one plugin; defaults if nothing is configured."""
        return self.plugins.get(plugin, _UNCONFIGURED)

    def gate_of(self, plugin: str) -> tuple[Gate, ...]:
        """Return what a version of a plugin must pass before it goes live; empty if nothing."""
        own = self.of(plugin).gate
        gate = self.gate if own is None else own
        return (gate,) if isinstance(gate, str) else gate

    def checks_of(self, plugin: str) -> tuple[str, ...]:
        """Return the checks of a plugin."""
        own = self.of(plugin).checks
        return self.checks if own is None else own


def _check_words(config: Config) -> None:
    settings = [("packages", name, name) for name in config.packages]
    settings += [("shared", place, on_path.name_of(place)) for place in config.shared]
    if problem := on_path.problem_with(settings):
        raise ConfigError(problem)
    layout = config.layout
    groups = '", "'.join(config.entry_points)
    named = [("entry_points", groups, name) for name in layout.points if name not in config.packages]
    settings += named
    if problem := (on_path.problem_with(settings) if named else "") or layout.problem():
        raise ConfigError(problem)
    for setting, written, name in settings:
        place, beside = layout.packages[name], layout.file_names(name)
        if problem := on_path.clash(place, (config.runtime_dir, config.compiled_dir), beside):
            raise ConfigError(f'{setting} = ["{written}"]: {problem}')
    if config.on_fault not in ON_FAULT:
        known = ", ".join(f'"{name}"' for name in ON_FAULT)
        raise ConfigError(f'on_fault = "{config.on_fault}": must be one of {known}')
    if config.watch.notifier not in NOTIFIERS:
        known = ", ".join(f'"{name}"' for name in NOTIFIERS)
        raise ConfigError(f'watch.notifier = "{config.watch.notifier}": must be one of {known}')


def _check_commands(config: Config) -> None:
    own = ((f"plugins.{name}.checks", each.checks or ()) for name, each in config.plugins.items())
    for key, commands in (("checks", config.checks), *own):
        for command in commands:
            try:
                words = shlex.split(command)
            except ValueError:
                words = []
            if not words:
                raise ConfigError(f"{key} = ['{command}']: must be a command, such as \"ruff check\"")


def _check_patterns(patterns: tuple[str, ...]) -> None:
    if not patterns:
        return
    from pathspec import GitIgnoreSpec  # takes 30 ms, so it is imported only for patterns

    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise ConfigError(f'watch.ignore: "{pattern}" is no pattern as in a .gitignore') from error


_UNCONFIGURED = PluginConfig()
