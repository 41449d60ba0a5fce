"""The subcommand that prints in capital letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hotload_tui import PluginContext


@click.command()
@click.argument("words", nargs=-1)
@click.option("--times", default=1, help="How often.")
def shout(words: tuple[str, ...], times: int) -> None:
    """Print WORDS in capital letters."""
    for _ in range(times):
        click.echo(" ".join(words).upper())


def register(ctx: PluginContext) -> None:
    """Register the subcommand."""
    ctx.hook("command", lambda: shout)
