"""The end of a generation: its calls leave, its clean-up runs, its modules are dropped."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from hotload_tui.core.faults import fault_of
from hotload_tui.core.leaks import FREED, Remains
from hotload_tui.core.loader.live import LivePlugin
from hotload_tui.core.plugin import Fault


class Retirement(Struct, frozen=True):
    """How a generation went."""

    plugin: str
    generation: int
    faults: tuple[Fault, ...]
    """Of its ``on_unload`` functions."""
    memory: str
    """``freed``, or what is left."""


def part(live: LivePlugin, module_path: str) -> tuple[str, int, tuple[Fault, ...], Remains]:
    """Clean up after a generation and drop its modules; what is returned holds nothing of it."""
    faults = tuple(_unload(live, module_path))
    live.generation.release()
    shown = (
        (live.name + name.removeprefix(live.generation.root), module)
        for name, module in live.generation.modules.items()
    )
    return live.name, live.generation.number, faults, Remains(shown)


def _unload(live: LivePlugin, module_path: str) -> Iterable[Fault]:
    """Run the plugin's ``on_unload`` functions, the newest first, each fenced."""
    while live.context.unloaders:
        function = live.context.unloaders.pop()
        try:
            function()
        except BaseException as error:  # foreign code: one clean-up must not stop the next
            yield fault_of(error, phase="unload", plugin=live.name, module_path=module_path)


def verdict_on(remains: Remains, inside: int) -> str:
    verdict = remains.verdict()
    if verdict != FREED and inside:
        return f"{verdict} ({inside} calls are still inside)"
    return verdict
