"""The command palette's entries; each title begins with the object of the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.fuzzy import Matcher

from hotload_tui.core.model import PluginState, PluginStatus
from hotload_tui.tui.keys import TABS
from hotload_tui.tui.screens.console import ConsoleScreen
from hotload_tui.tui.text import clean_line


class Command(NamedTuple):
    """One entry of the palette."""

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
        selected = [console.selected] if console.selected else []
        for command in (*_of_plugins(console, selected), *_of_all(console)):
            yield DiscoveryHit(Content(command.title), command.run, command.title, command.help)

    async def search(self, query: str) -> Hits:
        """Offer all commands that match ``query``, for every plugin."""
        console = self._console
        if console is None:
            return
        matcher = self.matcher(query)
        every = (*_of_plugins(console, list(console.plugins)), *_of_all(console), *self._themes())
        for command in every:
            score = matcher.match(command.title)
            if score > 0:
                yield Hit(
                    score, _highlighted(command.title, matcher), command.run, command.title, command.help
                )

    @property
    def _console(self) -> ConsoleScreen | None:
        screen = self.screen
        return screen if isinstance(screen, ConsoleScreen) else None

    def _themes(self) -> Iterator[Command]:
        for name in sorted(self.app.available_themes):
            yield Command(f"theme: {name}", partial(setattr, self.app, "theme", name), "use these colours")


def _highlighted(title: str, matcher: Matcher) -> Content:
    """Mark the matching characters; Textual's own method would read brackets in a plugin's name as markup."""
    content = Content(title)
    _, offsets = matcher.fuzzy_search.match(matcher.query, title)
    for offset in offsets:
        content = content.stylize(matcher.match_style, offset, offset + 1)
    return content


def _of_plugins(console: ConsoleScreen, plugins: list[PluginStatus]) -> Iterator[Command]:
    for plugin in plugins:
        name = clean_line(plugin.name, 60)
        switch = "enable" if plugin.state is PluginState.OFF else "disable"
        for verb, action, meaning in (
            ("rebuild", console.action_rebuild, "compile and load again"),
            ("plan", console.action_plan_plugin, "what a rebuild would do, and why"),
            (switch, getattr(console, f"action_{switch}"), "rename its folder"),
            ("clean", console.action_clean, "remove its artifacts"),
            ("release", console.action_release, "let a HELD one follow its source"),
            ("edit", console.action_edit, "open it in the editor"),
        ):
            yield Command(f"plugin: {verb} {name}", partial(_on, console, plugin.name, action), meaning)


def _on(console: ConsoleScreen, name: str, action: Callable[[], None]) -> None:
    """Select the plugin's row, as a user would, then run ``action``."""
    console.choose(name)
    console.call_later(action)


def _of_all(console: ConsoleScreen) -> Iterator[Command]:
    app = console.app
    yield Command("plugin: new", console.action_new, "make one from the template")
    yield Command("all: rebuild what changed", console.action_rebuild_all, "everything, if nothing did")
    yield Command("all: plan", console.action_plan, "what a rebuild would do now, and why")
    yield Command("all: clean", console.action_clean_all, "remove all artifacts; asks first")
    for tab in TABS:
        yield Command(f"view: {tab}", partial(console.action_open_tab, tab), "go to this tab")
    yield Command("all: undo", console.action_undo, "take back the last disable, enable or clean")
    yield Command(
        f"watch: {'resume' if console.is_paused else 'pause'}",
        console.action_pause,
        "keep what is saved for later, or apply it",
    )
    yield Command("view: problems only", console.action_problems, "or everything again")
    yield Command("view: keep this filter", console.action_keep_filter, "for the next time, or not any more")
    yield Command("view: sort by the next column", console.action_sort, "name, state, load time, age")
    yield Command("view: turn the order around", console.action_reverse, "last first")
    yield Command(
        "view: maximise", console.action_maximise, "give the pane the whole screen, or take it back"
    )
    yield Command("error: copy report", console.action_report, "plain text, for an issue")
    yield Command(
        "error: copy report as Markdown",
        partial(console.action_report, markdown=True),
        "for an issue tracker",
    )
    yield Command("view: table", console.action_focus_table, "go to the table of plugins")
    yield Command("app: settings", console.action_settings, "each value, and where it came from")
    yield Command("app: restart the host", console.action_restart, "asks if it answers")
    yield Command("app: help", console.action_help, "the keys of the pane that has the focus")
    yield Command(
        "app: screenshot", partial(app.set_timer, 0.1, app.deliver_screenshot), "save the screen as SVG"
    )
    yield Command("app: quit", partial(app.call_later, app.action_quit), "unload the plugins and quit")
