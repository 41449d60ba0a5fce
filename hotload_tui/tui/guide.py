"""``Guide``: one line that leads a new user from the first plugin to the first fixed fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui.text import clean_line

FIRST: Final = 2
"""The maximum number of plugins of a project whose user may need the guide."""

EDIT: Final = "edit"
ERROR: Final = "error"
"""The names of what a user learns: that a save reloads a plugin, and where the error of a plugin is."""


class Guide:
    """Knows what the user has done already, and names the next key."""

    def __init__(self, learned: Iterable[str]) -> None:
        self.learned = set(learned)

    def next(self, plugins: Sequence[PluginStatus], reading: str) -> str:
        """Return what to press next; empty if the user knows it, or the project is a large one.

        ``reading`` is the name of the plugin whose Error tab the user sees.
        """
        faulty = next((plugin for plugin in plugins if plugin.fault), None)
        if any(plugin.reloads for plugin in plugins):
            self.learned.add(EDIT)
        if faulty is not None and any(plugin.fault and plugin.name == reading for plugin in plugins):
            self.learned.add(ERROR)
        if len(plugins) > FIRST:
            return ""
        if faulty is not None:
            name = clean_line(faulty.name, 30)
            return "" if ERROR in self.learned else f"Next: enter shows why {name} failed; e opens the line."
        if len(plugins) == 1 and plugins[0].state is PluginState.OK and EDIT not in self.learned:
            return f"Next: e opens {clean_line(plugins[0].name, 30)} in your editor; a save reloads it."
        return ""
