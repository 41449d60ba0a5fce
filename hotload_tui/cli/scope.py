"""The scope of a command: the options that all commands share, and the hosts that these options select."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeAlias

import click
from msgspec import Struct, structs

from hotload_tui.cli import output
from hotload_tui.cli.report import folder
from hotload_tui.core.config import Config
from hotload_tui.core.config_files import FILE_NAME, Resolved, resolve, unmatched_entries
from hotload_tui.core.directories import unknown
from hotload_tui.core.errors import ConfigError, NoHostError, UsageError
from hotload_tui.core.model import PluginStatus
from hotload_tui.tui.terminal import quickened

if TYPE_CHECKING:
    from hotload_tui import HotloadManager
    from hotload_tui.remote import Host, RemoteManager

    Manager: TypeAlias = HotloadManager | RemoteManager
    """The manager that runs a command: in this process, or in the running host."""


_P = ParamSpec("_P")


class Scope(Struct, frozen=True):
    """The values of the shared options, given before or after the command's name."""

    plugins: Path | None = None
    compiled: Path | None = None
    config: Path | None = None
    host: int | None = None
    entry: str | None = None
    register: str | None = None
    files: bool | None = None

    def settings(self, *, of_host: bool = False) -> Config:
        """Return the configuration; set ``of_host`` for a command that a running host can carry out.

        Such a host keeps the configuration that it read before; a broken file must not make it unreachable.
        In that case the result contains only the folders from the options and the environment.

        Raises:
            ConfigError: the configuration is wrong, and ``of_host`` is not set or no host runs on the folder.

        """
        try:
            resolved = self.resolved()
        except ConfigError as error:
            config = self.without_files()
            if not (of_host and self._hosts(config)):
                raise
            output.narrate(f"warning: {error}; the running host keeps its previous configuration")
            return config
        for warning in resolved.warnings:
            output.narrate(f"warning: {warning}")
        return resolved.config

    def resolved(self) -> Resolved:
        """Return the configuration with the source of each value.

        Raises:
            ConfigError: the configuration is wrong.

        """
        resolved = self.read()
        if resolved.config.keys:
            with quickened():
                from hotload_tui.tui.keys import check_keys  # imported only if keys are configured

            check_keys(resolved.config.keys, str(self.config or FILE_NAME))
        return resolved

    def read(self) -> Resolved:
        """Return the configuration without a check of the console's keys, which a host does not know.

        Raises:
            ConfigError: the configuration is wrong.

        """
        return resolve(self.config, runtime_dir=self.plugins, compiled_dir=self.compiled, given=self.given())

    def follow(self, manager: HotloadManager) -> Callable[[], None]:
        """Give the manager each change of the configuration's files; return the undo function."""
        from hotload_tui import follow_config  # not imported for --help

        return follow_config(
            manager,
            self.config,
            runtime_dir=self.plugins,
            compiled_dir=self.compiled,
            given=self.given(),
        )

    def given(self) -> dict[str, object]:
        """Return the settings that options of the same names set, without the folders."""
        options = {"entry": self.entry, "register": self.register, "files": self.files}
        return {key: value for key, value in options.items() if value is not None}

    def as_arguments(self) -> list[str]:
        """Return the options that give another process the same folders and configuration."""
        paths = {"--plugins": self.plugins, "--compiled": self.compiled, "--config": self.config}
        words = {"--entry": self.entry, "--register": self.register}
        given = [(name, value) for name, value in (*paths.items(), *words.items()) if value is not None]
        switch = {None: [], True: ["--files"], False: ["--no-files"]}[self.files]
        return [*(part for name, value in given for part in (name, str(value))), *switch]

    def refuse_host(self, command: str) -> None:
        """Refuse ``--host`` for a command that never uses a host.

        Raises:
            UsageError: ``--host`` was given.

        """
        if self.host is not None:
            raise UsageError(f"--host: '{command}' works in a separate process; leave --host out")

    def reach(self, config: Config) -> RemoteManager | None:
        """Connect to the running host until the command ends, or return ``None`` if no host runs.

        Raises:
            UsageError: several hosts run, and ``--host`` was not given.
            NoHostError: the chosen host does not run, or the host does not answer.

        """
        from hotload_tui.remote import RemoteManager  # not imported for --help

        hosts = self._hosts(config)
        place = folder(config.runtime_dir)
        if self.host is not None:
            chosen = [host for host in hosts if host.pid == self.host]
            if not chosen:
                raise NoHostError(f"no host {self.host} runs on {place}; {_listed(hosts)}")
            hosts = chosen
        if len(hosts) > 1:
            pids = ", ".join(str(host.pid) for host in hosts)
            raise UsageError(f"{len(hosts)} hosts run on {place}; choose one with --host PID: {pids}")
        return click.get_current_context().with_resource(RemoteManager(hosts[0].socket)) if hosts else None

    def reach_running(self, command: str, config: Config | None = None) -> RemoteManager:
        """Connect to the running host until the command ends; pass ``config`` if it is already read.

        Raises:
            ConfigError: as for ``settings``.
            NoHostError: no host runs.

        """
        config = config or self.settings(of_host=True)
        remote = self.reach(config)
        if remote is None:
            place = Path(config.runtime_dir).absolute()
            raise NoHostError(
                f"'{command}' needs a host that runs on {place}/: start one with"
                " 'hotload' or 'hotload run', or call serve(manager) in your program"
            )
        return remote

    def without_files(self) -> Config:
        """Return the default configuration with the folders from the options and the environment."""
        config = Config()
        runtime_dir = self.plugins or os.environ.get("HOTLOAD_RUNTIME_DIR") or config.runtime_dir
        compiled_dir = self.compiled or os.environ.get("HOTLOAD_COMPILED_DIR") or config.compiled_dir
        return structs.replace(config, runtime_dir=str(runtime_dir), compiled_dir=str(compiled_dir))

    def _hosts(self, config: Config) -> list[Host]:
        from hotload_tui.remote import find_hosts  # not imported for --help

        return find_hosts(Path(config.runtime_dir))


def command(
    kind: type[click.Command] = click.Command, *, host: bool, hidden: bool = False
) -> Callable[[Callable[Concatenate[Scope, _P], int]], click.Command]:
    """Return a decorator that makes a subcommand from a function of the scope, which returns the exit code.

    The subcommand accepts the shared options, too. Without ``host`` it never uses a host, and refuses
    ``--host``.
    """

    def accept(function: Callable[Concatenate[Scope, _P], int]) -> click.Command:
        @functools.wraps(function)
        def run(scope: Scope, /, *args: _P.args, **given: _P.kwargs) -> int:
            if not host:
                scope.refuse_host(function.__name__)
            return function(scope, *args, **given)

        made = click.command(cls=kind, hidden=hidden)(click.pass_obj(run))
        made.params += shared_options(host=host)
        return made

    return accept


def shared_options(*, host: bool) -> list[click.Option]:
    """Return the options that a command has before or after its name."""
    options = [
        _folder_option("--plugins", "DIR", "The folder of the plugins."),
        _folder_option("--compiled", "DIR", "The folder of the artifacts."),
        _folder_option("--config", "FILE", "The configuration, instead of ./hotload.toml."),
        _text_option("--entry", "FILE", "The entry of each plugin, instead of plugin.py."),
        _text_option("--register", "NAME", "The function that registers a plugin, instead of register."),
        _switch("--files/--no-files", "Whether single Python files are plugins, too."),
    ]
    if host:
        text = "The running host to use, if there are several."
        options.append(
            click.Option(
                ["--host"], type=int, metavar="PID", help=text, expose_value=False, callback=_remember
            )
        )
    return options


def _folder_option(name: str, metavar: str, text: str) -> click.Option:
    kind = click.Path(path_type=Path)
    return click.Option([name], type=kind, metavar=metavar, help=text, expose_value=False, callback=_remember)


def _switch(names: str, text: str) -> click.Option:
    return click.Option([names], default=None, help=text, expose_value=False, callback=_remember)


def _text_option(name: str, metavar: str, text: str) -> click.Option:
    return click.Option([name], metavar=metavar, help=text, expose_value=False, callback=_remember)


def _remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Store an option in the scope; a value after the command's name overrides a value before it."""
    scope = context.obj if isinstance(context.obj, Scope) else Scope()
    context.obj = scope if value is None else structs.replace(scope, **{str(parameter.name): value})


for_audience = click.option(
    "--present", "presents", is_flag=True, help="For an audience: more space, captions, and the last key."
)
"""Adds the option of the commands that open the console."""


def manager_of_command(config: Config) -> HotloadManager:
    """Return a manager that stops, and unloads its plugins, when the command ends."""
    from hotload_tui import HookHost, HotloadManager  # not imported for --help

    manager = HotloadManager(HookHost(), config)
    click.get_current_context().call_on_close(manager.stop)
    return manager


def scanned(config: Config) -> HotloadManager:
    """Return a manager that has scanned the disk and has run no code of a plugin.

    Raises:
        RuntimeDirError: the folder of plugins is missing or unusable.

    """
    manager = manager_of_command(config)
    manager.scan()
    for warning in unmatched_entries(config, [status.name for status in manager.snapshot().plugins]):
        output.narrate(f"warning: {warning}")
    return manager


def choose(statuses: Sequence[PluginStatus], names: Sequence[str]) -> list[PluginStatus]:
    """Return the plugins with these names, or all plugins if ``names`` is empty.

    Raises:
        UnknownPluginError: a name is unknown; the text suggests a similar name.

    """
    found = {status.name: status for status in statuses}
    for name in names:
        if name not in found:
            raise unknown(name, found)
    return [found[name] for name in dict.fromkeys(names)] if names else list(statuses)


def _listed(hosts: Sequence[Host]) -> str:
    return "running are " + ", ".join(str(host.pid) for host in hosts) if hosts else "none does"
