"""The ``hotload`` command and its subcommands."""

from __future__ import annotations

import importlib
from typing import Final

import click

from hotload_tui.cli.scope import Scope, for_audience, shared_options

_GROUPS: Final = {
    "Keep plugins running": ("run", "attach", "demo"),
    "Look": ("status", "plan", "check", "call", "logs", "doctor"),
    "Change plugins": ("new", "enable", "disable", "build", "clean", "database"),
    "Change a running host": ("reload", "rollback", "release", "pause", "resume", "undo"),
}
"""The commands in the order of ``--help``; a command that is not named here comes at the end."""

_MODULES: Final = ("look", "change", "running")
"""The modules of the subcommands, in the order in which a subcommand is looked for."""


class _Commands(click.Group):
    """Imports modules only until one has the subcommand: no command waits for the imports of all others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(name for module in _MODULES for name in _commands_of(module))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in groups, each with the first sentence of its help, which is never cut."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        left = {name: each for name, each in found.items() if each is not None and not each.hidden}
        width = max(map(len, left))  # one column for all groups
        groups = {
            **_GROUPS,
            "Other commands": tuple(left.keys() - {each for names in _GROUPS.values() for each in names}),
        }
        for title, names in groups.items():
            rows = [(f"{name:{width}}", _sentence(left[name])) for name in names if name in left]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        found = (_commands_of(module).get(cmd_name) for module in _MODULES)
        return next(filter(None, found), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that ``args`` names.

        Raises:
            click.UsageError: there is no such command; the text suggests a similar name.

        """
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # only after a typing error

            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{near[0]}'?", ctx) from None


def _sentence(command: click.Command) -> str:
    """Return the first sentence of a command's help."""
    first = (command.help or "").partition("\n\n")[0]
    return " ".join(first.split()).partition(". ")[0].rstrip(".")


def _commands_of(module: str) -> dict[str, click.Command]:
    found = vars(importlib.import_module(f"hotload_tui.cli.{module}")).values()
    return {each.name: each for each in found if isinstance(each, click.Command) and each.name}


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a plugin failed, 2 wrong usage or configuration,"
    " 3 nothing to act on or no host, 130 interrupted.",
)
@click.version_option(
    package_name="hotload-tui", prog_name="hotload", message="%(prog)s %(version)s", help="Show the version."
)
@for_audience
@click.option("--web", "in_browser", is_flag=True, help="The console in a browser on this machine.")
@click.pass_context
def hotload(context: click.Context, *, presents: bool, in_browser: bool) -> int:
    """Plugins that reload while the program runs. Without a command: the console."""
    if context.invoked_subcommand is not None:
        return 0
    scope = context.obj
    assert isinstance(scope, Scope)
    from hotload_tui.cli import running  # imported only when needed, like each subcommand

    if in_browser:
        if presents:
            raise click.UsageError("--present: not with --web, where each tab has the size of its window")
        return running.open_in_browser(scope)
    return running.open_console(scope, running.Show(presents))


hotload.params += shared_options(host=True)
