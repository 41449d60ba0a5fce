"""The ``hotload`` command and its subcommands."""

from __future__ import annotations

import click

from hotload_tui.cli import attach, change, doctor, logs, look, serving
from hotload_tui.cli.scope import Scope, shared_options


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        from importlib.metadata import version  # 20 ms that nothing else pays

        click.echo(f"hotload {version('hotload-tui')}")
        context.exit()


@shared_options(host=True)
@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a plugin failed, 2 wrong usage or configuration,"
    " 3 nothing to act on or no host, 130 interrupted.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@click.pass_context
def hotload(context: click.Context) -> int:
    """Plugins that reload while the program runs. Without a command: the console."""
    if context.invoked_subcommand is not None:
        return 0
    scope = context.obj
    assert isinstance(scope, Scope)
    return serving.open_console(scope)


for command in (
    serving.run,
    attach.attach,
    look.status,
    look.plan,
    look.build,
    look.check,
    look.call,
    change.new,
    change.enable,
    change.disable,
    change.clean,
    change.reload,
    change.rollback,
    change.release,
    change.undo,
    change.pause,
    change.resume,
    logs.logs,
    doctor.doctor,
    look.trial,
):
    hotload.add_command(command)
