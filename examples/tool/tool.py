"""A command-line tool whose subcommands are plugins: ``python tool.py [SUBCOMMAND …]``.

Without a subcommand it reads command lines until the end of input; each line uses the plugins as they are
saved.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from hotload_tui import Config, HookHost, HotloadManager

HERE = Path(__file__).parent


class Plugins(click.Group):
    """A group whose subcommands are the ``click`` commands of plugins at the hook point "command"."""

    def __init__(self, host: HookHost) -> None:
        super().__init__("tool", invoke_without_command=True, no_args_is_help=False)
        self._host = host

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in order."""
        return sorted(self._found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return the live command with this name."""
        return self._found().get(cmd_name)

    def _found(self) -> dict[str, click.Command]:
        found = [command for command in self._host.call("command") if isinstance(command, click.Command)]
        return {command.name or "": command for command in found}


def run(command: click.Command, arguments: list[str]) -> int:
    """Run one command line, and print errors of usage on standard error."""
    try:
        result: object = command.main(arguments, prog_name="tool", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 1
    return result if isinstance(result, int) else 0


def main(arguments: list[str]) -> int:
    """Run one command line, or the lines of standard input."""
    host = HookHost()
    # No watcher is needed: rebuild() finds the changes, and a tool that ends at once loads artifacts.
    config = Config(
        runtime_dir=str(HERE / "plugins"), compiled_dir=str(HERE / "compiled"), enable_watch=False
    )
    with HotloadManager(host, config) as manager:
        group = Plugins(host)
        if arguments:
            return run(group, arguments)
        for line in sys.stdin:
            manager.rebuild()
            try:
                run(group, shlex.split(line))
            except ValueError as error:
                click.echo(f"Error: {error}", err=True)
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
