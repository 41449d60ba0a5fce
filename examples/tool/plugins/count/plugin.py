"""The subcommand that counts words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hotload_tui import PluginContext


@click.command()
@click.argument("words", nargs=-1)
def count(words: tuple[str, ...]) -> None:
    """Print how many WORDS there are."""
    click.echo(len(words))


def register(ctx: PluginContext) -> None:
    """Register the subcommand."""
    ctx.hook("command", lambda: count)
