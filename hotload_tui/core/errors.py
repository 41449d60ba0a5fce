"""Everything that can go wrong, as one tree.

::

    HotloadError                 the root: a message that says what, where and what to do
    ├── ConfigError              hotload.toml or a Config value is wrong          (exit 2)
    ├── UsageError               a command was given what it cannot take          (exit 2)
    ├── NotFoundError            nothing to act on                                (exit 3)
    │   ├── RuntimeDirError      the runtime directory is not there or unusable
    │   ├── UnknownPluginError   no plugin of that name
    │   └── NoHostError          no running host was reached
    ├── RefusedError             possible in general, not now; the message says why (exit 1)
    ├── ArtifactError            an artifact is missing, damaged, foreign or cannot be written
    ├── ProtocolError            the other side of a socket broke the rules
    └── PluginError              a plugin could not take the next step
        ├── DiscoverError        … its directory is no plugin
        ├── CompileError         … its source does not compile
        ├── RequirementError     … another plugin that it requires does not serve
        ├── LoadError            … its modules did not execute
        ├── RegisterError        … its register() is missing, misshapen or raised
        └── HookError            … its handler cannot be called in this way

A ``PluginError`` is chained (``from``) to the exception of the plugin, where there is one: the fault shown
to the user is about that exception.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Final

INTERRUPTED: Final = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""


def near(path: str | Path) -> str:
    """Return a path as its user would type it: from the working directory, if it lies below."""
    try:
        return os.fspath(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.fspath(path)


class HotloadError(Exception):
    """The root of all errors of this package; its text is fit to be shown to a user."""

    exit_code: ClassVar[int] = 1


class ConfigError(HotloadError):
    """The configuration is wrong; the text names the file, the key and the way out."""

    exit_code = 2


class UsageError(HotloadError):
    """A command was given something that it cannot take."""

    exit_code = 2


class NotFoundError(HotloadError):
    """There is nothing to act on."""

    exit_code = 3


class RuntimeDirError(NotFoundError):
    """The runtime directory does not exist or cannot be read."""


class UnknownPluginError(NotFoundError):
    """No plugin has that name."""


class NoHostError(NotFoundError):
    """No running host could be reached."""


class RefusedError(HotloadError):
    """The request makes sense but cannot be granted now; the text gives the reason."""


class ArtifactError(HotloadError):
    """An artifact is missing, damaged, of another format or cannot be written."""


class ProtocolError(HotloadError):
    """The other side of a socket sent what the protocol does not allow."""


class PluginError(HotloadError):
    """A plugin could not take the next step; ``plugin`` is its name."""

    def __init__(self, plugin: str, message: str, *, file: str = "", line: int = 0) -> None:
        """Keep the place (``file``, ``line``; 0: unknown) beside the message, for the fault."""
        super().__init__(message)
        self.plugin = plugin
        self.file = file
        self.line = line


class DiscoverError(PluginError):
    """The plugin's directory cannot be read as a plugin."""


class CompileError(PluginError):
    """The plugin's source does not compile, or cannot define ``register``."""


class RequirementError(PluginError):
    """A plugin that it requires is missing, failed, or requires it in turn."""


class LoadError(PluginError):
    """The plugin's modules did not execute, or its state could not be migrated."""


class RegisterError(PluginError):
    """``register`` is missing, has the wrong shape, or raised."""


class HookError(PluginError):
    """A handler cannot be called in the way that the host calls it."""
