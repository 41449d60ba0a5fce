"""All errors of this package, as one tree.

::

    HotloadError                 the root: its message says what, where and what to do
    ├── ConfigError              hotload.toml or a Config value is wrong            (exit 2)
    ├── UsageError               a command has an argument that it cannot take      (exit 2)
    ├── NotFoundError            the target of a command does not exist             (exit 3)
    │   ├── RuntimeDirError      the runtime directory is missing or unusable
    │   ├── UnknownPluginError   no plugin has that name
    │   └── NoHostError          no running host was reached
    ├── RefusedError             not possible now; the message gives the reason     (exit 1)
    ├── HandleError              the object of a kept handle is not there, or is of another kind
    ├── ArtifactError            an artifact is missing, damaged, foreign or cannot be written
    │   └── StorageError         … because there is no space at present, or only reading is allowed
    ├── ProtocolError            the other side of a socket broke the protocol
    └── PluginError              a plugin failed at a step
        ├── DiscoverError        … its directory is no plugin
        ├── CompileError         … its source does not compile
        ├── RequirementError     … a plugin that it requires is not live
        ├── LoadError            … its modules did not execute
        ├── RegisterError        … its register() is missing, has the wrong shape, or raised
        └── HookError            … its handler cannot be called in this way

A ``PluginError`` is chained (``from``) to the plugin's own exception, if there is one; the fault that the
user sees describes that exception.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final

INTERRUPTED: Final = 130
"""Exit code of a command that Ctrl-C ended, as in shells."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known name, or else at all names; empty if there are no names."""
    from difflib import get_close_matches  # needed only after a mistake

    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return "there are: " + ", ".join(names) if names else ""


def near(path: str | Path) -> str:
    """Return a path as the user would type it: relative to the working directory, if it lies below."""
    try:
        return os.fspath(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.fspath(path)


class HotloadError(Exception):
    """The root of all errors of this package; its text can be shown to a user."""

    exit_code: ClassVar[int] = 1


class ConfigError(HotloadError):
    """The configuration is wrong; the text names the file, the key and the fix."""

    exit_code = 2


class UsageError(HotloadError):
    """A command has an argument that it cannot take."""

    exit_code = 2


class NotFoundError(HotloadError):
    """The target of a command does not exist."""

    exit_code = 3


class RuntimeDirError(NotFoundError):
    """The runtime directory does not exist or cannot be read."""


class UnknownPluginError(NotFoundError):
    """No plugin has that name."""


class NoHostError(NotFoundError):
    """No running host could be reached."""


class RefusedError(HotloadError):
    """The request is valid but not possible now; the text gives the reason."""


class HandleError(HotloadError):
    """The live version has no object for a handle that the program kept, or it is of another kind."""


class ArtifactError(HotloadError):
    """An artifact is missing or damaged, has another format, or cannot be written."""


class StorageError(ArtifactError):
    """An artifact cannot be written at present: no space is left, or the file system is read-only."""


class ProtocolError(HotloadError):
    """The other side of a socket sent a message that the protocol does not allow."""


class PluginError(HotloadError):
    """A plugin failed at a step; ``plugin`` is its name."""

    def __init__(
        self,
        plugin: str,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        columns: tuple[int, int] = (-1, -1),
        program: str = "",
    ) -> None:
        """Keep the message, and for the fault the place (``file``, ``line``; 0: unknown).

        ``columns``: the first column, from 0, and the one after the last; -1: unknown. ``program``: what
        must be installed.
        """
        super().__init__(message)
        self.plugin = plugin
        self.file = file
        self.line = line
        self.columns = columns
        self.program = program


class DiscoverError(PluginError):
    """The plugin's directory cannot be read as a plugin."""


class CompileError(PluginError):
    """The plugin's source does not compile, or cannot define ``register``."""


class RequirementError(PluginError):
    """A required plugin is missing, failed, or requires this plugin in turn."""


class LoadError(PluginError):
    """The plugin's modules did not execute, or its state could not be migrated."""


class RegisterError(PluginError):
    """``register`` is missing, has the wrong shape, or raised."""


class HookError(PluginError):
    """A handler cannot be called in the way that the host calls it."""
