"""Greet by name (this first line is the plugin's description in the console)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotload_tui import PluginContext


def greet(name: str = "you") -> str:
    """Answer a call of the hook point "$name"; try it: hotload call $name Ada."""
    return f"Hello, {name}!"


def register(ctx: PluginContext) -> None:
    """Say what the plugin offers; runs once for each version that is loaded."""
    ctx.hook("$name", greet)  # priority=50 would run before the others: they have 100

    # Change something, save: the new version serves. Break it: the last good one goes on.
    # When you need more:
    #
    # ctx.settings.get("greeting", "Hello")     [plugins.<name>.settings] in hotload.toml, read only
    # ctx.state["calls"] = 1                    a mapping that survives reloads; keep plain values in it
    # ctx.on_unload(connection.close)           runs when this version's last call has ended
    # ctx.log.info("ready as %s", ctx.name)     goes to the console's log
