"""``Config``: every setting of the manager, checked when it is made."""

from __future__ import annotations

import keyword
import math
import os
import sys
from typing import Final

from msgspec import Struct, field
from msgspec.structs import force_setattr

from hotload_tui.core.errors import ConfigError

NOTIFIERS: Final = ("inotify", "watchfiles", "sweep")
"""What ``[watch] notifier`` may name."""


class PluginConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[plugins.<directory name>]`` table."""

    hook_point: str | None = None
    """The hook point of ``ctx.hook(handler)``."""
    priority: int | None = None
    """The priority of a hook that names none (lower runs first; 100 if absent)."""
    enabled: bool = True
    requires: tuple[str, ...] = ()
    """Plugins that it requires, besides those of ``REQUIRES`` in its ``plugin.py``."""
    settings: dict[str, object] = field(default_factory=dict)
    """What the plugin reads as ``ctx.settings``."""


class WatchConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[watch]`` table."""

    ignore: tuple[str, ...] = ()
    """Patterns as in a ``.gitignore`` in each plugin's directory; what they match is no part of it."""
    notifier: str = "inotify" if sys.platform == "linux" else "watchfiles"
    """What reports changes, one of ``NOTIFIERS``; with ``sweep`` only regular looks find them."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a ``HotloadManager``; relative paths are relative to the working directory.

    Raises:
        ConfigError: a value is out of range; the text names the key.

    """

    runtime_dir: str = "plugins"
    """The folder whose directories are plugins."""
    compiled_dir: str = "compiled"
    """Where artifacts go; made when missing."""
    module_path: str = "hotplug"
    """The package name under which plugins' modules appear."""
    debounce_time: float = 2.0
    """Seconds: the longest that a stream of changes may put off a reload."""
    settle_time: float = 0.002
    """Seconds of quiet after which a single save is looked at; close saves are given more."""
    enable_watch: bool = True
    load_timeout: float = 10.0
    """Seconds that executing a plugin's modules and its ``register`` may take together."""
    drain_timeout: float = 5.0
    """Seconds that calls in flight in an old generation are waited for."""
    keep_generations: int = 10
    """Artifacts kept per plugin."""
    max_error_rate: float | None = None
    """The share of calls of a new version's handlers that may fail, from 0 to 1; more, and the version before
    serves again. Absent: a version that loads serves on."""
    probation: float = 10.0
    """Seconds after a swap in which ``max_error_rate`` holds."""
    sweep_interval: float = 5.0
    """Seconds between two looks at all plugins, for changes that the system did not report."""
    watch: WatchConfig = field(default_factory=WatchConfig)
    plugins: dict[str, PluginConfig] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """``[keys]``: binding id to key; checked by the console, which alone knows the bindings."""

    def __post_init__(self) -> None:
        """Check ranges; accept path objects for the two folders."""
        for name in ("runtime_dir", "compiled_dir"):
            force_setattr(self, name, os.fspath(getattr(self, name)))
        for name in ("debounce_time", "load_timeout", "drain_timeout", "sweep_interval", "probation"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} = {value}: must be a number of seconds greater than 0")
        if not 0 <= self.settle_time < math.inf:
            raise ConfigError(f"settle_time = {self.settle_time}: must be a number of seconds, not negative")
        if self.max_error_rate is not None and not 0 <= self.max_error_rate <= 1:
            raise ConfigError(f"max_error_rate = {self.max_error_rate}: must be a share from 0 to 1, as 0.5")
        if self.keep_generations < 1:
            raise ConfigError(f"keep_generations = {self.keep_generations}: must be at least 1")
        if not self.module_path.isidentifier() or keyword.iskeyword(self.module_path):
            raise ConfigError(
                f'module_path = "{self.module_path}": must be a Python identifier, such as "hotplug"'
            )
        if self.watch.notifier not in NOTIFIERS:
            known = ", ".join(f'"{name}"' for name in NOTIFIERS)
            raise ConfigError(f'watch.notifier = "{self.watch.notifier}": must be one of {known}')
        _check_patterns(self.watch.ignore)

    def of(self, plugin: str) -> PluginConfig:
        """Return the settings of one plugin; defaults where nothing is configured."""
        return self.plugins.get(plugin, _UNCONFIGURED)


def _check_patterns(patterns: tuple[str, ...]) -> None:
    if not patterns:
        return
    from pathspec import GitIgnoreSpec  # 30 ms, for those only who have patterns

    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise ConfigError(f'watch.ignore: "{pattern}" is no pattern as in a .gitignore') from error


_UNCONFIGURED = PluginConfig()
