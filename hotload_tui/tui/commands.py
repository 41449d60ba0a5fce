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
from hotload_tui.tui.screen import ConsoleScreen
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
        selected = console.selection.plugin
        for command in (*_of_plugins(console, [selected] if selected else []), *_of_all(console)):
            yield DiscoveryHit(Content(command.title), command.run, command.title, command.help)

    async def search(self, query: str) -> Hits:
        """Offer all commands that match ``query``, for every plugin."""
        console = self._console
        if console is None:
            return
        matcher = self.matcher(query)
        every = (*_of_plugins(console, list(console.selection.plugins)), *_of_all(console), *self._themes())
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
    actions = console.actions
    for plugin in plugins:
        is_off = plugin.state is PluginState.OFF
        for verb, action, meaning in (
            ("rebuild", actions.rebuild, "compile and load again"),
            ("plan", actions.plan_plugin, "what a rebuild would do, and why"),
            ("enable", actions.enable, "rename its folder")
            if is_off
            else ("disable", actions.disable, "rename its folder"),
            ("clean", actions.clean, "remove its artifacts"),
            ("release", actions.release, "let a HELD one follow its source"),
            ("edit", actions.edit, "open it in the editor"),
        ):
            title = f"plugin: {verb} {clean_line(plugin.name, 60)}"
            yield Command(title, partial(_on, console, plugin.name, action), meaning)


def _on(console: ConsoleScreen, name: str, action: Callable[[], None]) -> None:
    """Select the plugin's row, as a user would, then run ``action``."""
    console.selection.choose(name)
    console.call_later(action)


def _of_all(console: ConsoleScreen) -> Iterator[Command]:
    app, actions, filters = console.app, console.actions, console.filters
    yield Command("plugin: new", actions.new, "make one from the template")
    yield Command("all: rebuild what changed", actions.rebuild_all, "everything, if nothing did")
    yield Command("all: plan", actions.plan, "what a rebuild would do now, and why")
    yield Command("all: clean", actions.clean_all, "remove all artifacts; asks first")
    for tab in TABS:
        yield Command(f"view: {tab}", partial(console.action_open_tab, tab), "go to this tab")
    yield Command("all: undo", actions.undo, "take back the last disable, enable or clean")
    yield Command(
        f"watch: {'resume' if actions.is_paused else 'pause'}",
        actions.pause,
        "keep what is saved for later, or apply it",
    )
    yield Command("view: problems only", filters.toggle_problems, "or everything again")
    yield Command("view: keep this filter", filters.toggle_kept, "for the next time, or not any more")
    yield Command("view: sort by the next column", filters.sort, "name, state, load time, age")
    yield Command("view: turn the order around", filters.reverse, "last first")
    yield Command(
        "view: maximise", console.action_maximise, "give the pane the whole screen, or take it back"
    )
    yield Command("error: copy report", actions.report, "plain text, for an issue")
    yield Command(
        "error: copy report as Markdown", partial(actions.report, markdown=True), "for an issue tracker"
    )
    yield Command("view: table", console.action_focus_table, "go to the table of plugins")
    yield Command("app: settings", actions.show_settings, "each value, and where it came from")
    yield Command("app: restart the host", actions.restart, "asks if it answers")
    yield Command("app: help", console.action_help, "the keys of the pane that has the focus")
    yield Command(
        "app: screenshot", partial(app.set_timer, 0.1, app.deliver_screenshot), "save the screen as SVG"
    )
    yield Command("app: quit", partial(app.call_later, app.action_quit), "unload the plugins and quit")
