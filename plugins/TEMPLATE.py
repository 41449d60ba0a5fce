"""Greet by name (the console shows this first line as the description of the plugin)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotload_tui import PluginContext


def greet(name: str = "you") -> str:
    """Answer a call of the hook point "$name"; try it: hotload call $name Ada."""
    return f"Hello, {name}!"


def register(ctx: PluginContext) -> None:
    """Register the handlers; hotload calls this once for each version that it loads."""
    ctx.hook("$name", greet)  # with priority=50 it would run before the others, which have 100

    # Change something and save: the new version goes live. Break it: the last good version keeps running.
    # When you need more:
    #
    # ctx.settings.get("greeting", "Hello")     [plugins.<name>.settings] in hotload.toml, read only
    # ctx.state["calls"] = 1                    a mapping that survives reloads; keep plain values in it
    # ctx.on_unload(connection.close)           runs when this version's last call has ended
    # ctx.log.info("ready as %s", ctx.name)     goes to the console's log
