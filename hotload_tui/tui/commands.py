"""The command palette: the commands of ``keys.py``; each title begins with the object of its command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.fuzzy import Matcher

from hotload_tui.core.model import PluginStatus
from hotload_tui.tui.keys import COMMANDS
from hotload_tui.tui.screen import ConsoleScreen
from hotload_tui.tui.text import clean_line


class Offer(NamedTuple):
    """A command that the palette offers."""

    title: str
    run: Callable[[], object]
    help: str


class ConsoleCommands(Provider):
    """Offers the actions of keys, and actions that have no key."""

    async def discover(self) -> Hits:
        """Offer the selected plugin's commands and all general commands except themes."""
        console = self._console
        if console is None:
            return
        selected = console.selection.plugin
        for offer in _offers(console, [selected] if selected else []):
            yield DiscoveryHit(Content(offer.title), offer.run, offer.title, offer.help)

    async def search(self, query: str) -> Hits:
        """Offer all commands that match ``query``, for every plugin."""
        console = self._console
        if console is None:
            return
        matcher = self.matcher(query)
        for offer in (*_offers(console, console.selection.plugins), *self._themes()):
            score = matcher.match(offer.title)
            if score > 0:
                yield Hit(score, _highlighted(offer.title, matcher), offer.run, offer.title, offer.help)

    @property
    def _console(self) -> ConsoleScreen | None:
        screen = self.screen
        return screen if isinstance(screen, ConsoleScreen) else None

    def _themes(self) -> Iterator[Offer]:
        for name in sorted(self.app.available_themes):
            yield Offer(f"theme: {name}", partial(setattr, self.app, "theme", name), "use these colours")


def _highlighted(title: str, matcher: Matcher) -> Content:
    """Mark the matching characters; Textual's own method would read brackets in a plugin's name as markup."""
    content = Content(title)
    _, offsets = matcher.fuzzy_search.match(matcher.query, title)
    for offset in offsets:
        content = content.stylize(matcher.match_style, offset, offset + 1)
    return content


def _offers(console: ConsoleScreen, plugins: Iterable[PluginStatus]) -> Iterator[Offer]:
    """Yield the commands on each plugin, then the others, each with the key that does the same now."""
    shown: dict[str, str] = {}
    for _, binding, _, _ in console.active_bindings.values():
        if binding.id:
            shown.setdefault(binding.id, console.app.get_key_display(binding))
    for plugin in (*plugins, None):
        for command in COMMANDS:
            title, text = command.entry or ("", "")
            if ("{}" in title) == bool(plugin) and title and console.actions.is_offered(command.run, plugin):
                name = clean_line(plugin.name, 60) if plugin else ""
                is_here = plugin is None or plugin == console.selection.plugin
                key = shown.get(command.key.id or "", "") if command.key and is_here else ""
                run = partial(_run, console, command.run, plugin)
                yield Offer(title.format(name), run, f"{key:<5} {text}")


def _run(console: ConsoleScreen, command: str, plugin: PluginStatus | None) -> None:
    """Select the plugin's row, as a user would, then run the command."""
    if plugin:
        console.selection.choose(plugin.name)
    console.call_later(console.action_run, command)
