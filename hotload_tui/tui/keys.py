"""All commands and keys of the console: the name of each in ``[keys]``, its method and its texts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from string import punctuation
from typing import Final, NamedTuple, TypeAlias

from textual.binding import Binding, BindingType
from textual.keys import Keys

from hotload_tui.core.errors import ConfigError
from hotload_tui.core.model import PluginState, PluginStatus

TABS: Final = ("overview", "error", "log", "source", "hashes", "history", "hooks")
"""The tabs in order; the position of a tab, from 1, is its key."""


class Entry(NamedTuple):
    """An entry of the command palette; ``{}`` in the title is the name of a plugin."""

    title: str
    help: str


class Command(NamedTuple):
    """A command of the console: footer, help, palette and routing follow from it."""

    run: str
    """The method that runs it, seen from the screen, and a word to pass to it: ``actions.rebuild``."""
    key: Binding | None = None
    entry: Entry | None = None


def _key(
    name: str, keys: str, meaning: str, action: str = "", *, label: str = "", shown: bool = False
) -> Binding:
    """Return the binding ``name`` of ``[keys]``; the footer shows its label, and help its meaning."""
    return Binding(keys, action, label or name.capitalize(), id=name, tooltip=meaning, show=shown)


COMMANDS: Final = (
    Command(
        "actions.rebuild",
        _key("rebuild", "r", "compile and load again, changed or not", shown=True),
        Entry("plugin: rebuild {}", "compile and load again"),
    ),
    Command("actions.plan_plugin", entry=Entry("plugin: plan {}", "what a rebuild would do, and why")),
    Command(
        "actions.rebuild_all",
        _key("rebuild_all", "R", "load what changed or failed, else everything", label="All", shown=True),
        Entry("all: rebuild what changed", "or failed; everything, if nothing did"),
    ),
    Command("actions.plan", entry=Entry("all: plan", "what a rebuild would do now, and why")),
    Command(
        "actions.request disable",
        _key("toggle", "d", "switch the selected plugin off or on", label="Disable", shown=True),
        Entry("plugin: disable {}", "rename its folder"),
    ),
    Command(
        "actions.request enable",
        _key("toggle", "d", "switch the selected plugin off or on", label="Enable", shown=True),
        Entry("plugin: enable {}", "rename its folder"),
    ),
    Command(
        "actions.clean",
        _key("clean", "c", "remove the selected plugin's artifacts", shown=True),
        Entry("plugin: clean {}", "remove its artifacts"),
    ),
    Command(
        "actions.clean_all",
        _key("clean_all", "C", "remove all artifacts; asks first", label="Clean all"),
        Entry("all: clean", "remove all artifacts; asks first"),
    ),
    Command(
        "actions.restart",
        _key("restart", "u", "restart the host; asks if it answers"),
        Entry("app: restart the host", "asks if it answers"),
    ),
    Command("debug", _key("debug", "B", "give this terminal to a waiting breakpoint()")),
    Command(
        "actions.edit",
        _key("edit", "e", "open $VISUAL or $EDITOR, at the failing line", shown=True),
        Entry("plugin: edit {}", "open it in the editor"),
    ),
    Command(
        "actions.new",
        _key("new", "n", "make a new plugin from the template", shown=True),
        Entry("plugin: new", "make one from the template"),
    ),
    Command("copy_focused", _key("copy", "y", "copy the text under the cursor, also to a file")),
    Command(
        "show_help",
        _key("help", "question_mark,f1", "the keys of the pane that has the focus", shown=True),
        Entry("app: help", "the keys of the pane that has the focus"),
    ),
    Command(
        "actions.report",
        _key("report", "Y", "copy a report of the failure, for an issue"),
        Entry("error: copy report", "plain text, for an issue"),
    ),
    Command("actions.report markdown", entry=Entry("error: copy report as Markdown", "for an issue tracker")),
    Command(
        "actions.show_settings",
        _key("settings", "comma", "each setting, and where it came from"),
        Entry("app: settings", "each value, and where it came from"),
    ),
    Command(
        "actions.undo",
        _key("undo", "z", "undo a disable, enable, clean or rollback"),
        Entry("all: undo", "undo a disable, enable, clean or rollback"),
    ),
    Command(
        "actions.pause",
        _key("pause", "p", "keep saves for later; again: apply all of them"),
        Entry("watch: pause", "keep what is saved for later, or apply it"),
    ),
    Command(
        "actions.resume",
        _key("pause", "p", "keep saves for later; again: apply all of them"),
        Entry("watch: resume", "keep what is saved for later, or apply it"),
    ),
    Command(
        "actions.release",
        _key("release", "h", "let a HELD plugin follow its source again"),
        Entry("plugin: release {}", "let a HELD one follow its source"),
    ),
    Command("open_filter", _key("filter", "slash", "filter by text (!x: without x; s:fail: state)")),
    Command(
        "filters.toggle_problems",
        _key("problems", "exclamation_mark", "show only plugins that have a problem"),
        Entry("view: problems only", "or everything again"),
    ),
    Command(
        "follow.toggle",
        _key("follow_new", "F", "show new faults at once, or only mark them"),
        Entry("view: follow new faults", "show them at once, or only mark their rows"),
    ),
    Command(
        "follow.go next",
        _key("next_problem", "N", "go to the next problem"),
        Entry("error: next problem", "select its plugin and open the Error tab"),
    ),
    Command(
        "follow.go previous",
        _key("last_problem", "P", "go to the previous problem"),
        Entry("error: previous problem", "select its plugin and open the Error tab"),
    ),
    Command(
        "filters.toggle_kept", entry=Entry("view: keep this filter", "for the next time, or not any more")
    ),
    Command(
        "filters.sort",
        _key("sort", "s", "sort the table by the next column"),
        Entry("view: sort by the next column", "name, state, generation, load time, …"),
    ),
    Command(
        "filters.reverse",
        _key("reverse", "S", "reverse the order of the table"),
        Entry("view: reverse the order", "last first"),
    ),
    Command(
        "maximise",
        _key("maximise", "plus", "maximise the focused pane, or restore it"),
        Entry("view: maximise", "maximise the focused pane, or restore it"),
    ),
    Command("go_back", _key("back", "escape", "one level back, at last to the table")),
    Command(
        "focus_table",
        _key("table", "0", "go to the table of plugins"),
        Entry("view: table", "go to the table of plugins"),
    ),
    *(
        Command(
            f"open_tab {tab}",
            _key(tab, str(number), f"go to the {tab.capitalize()} tab"),
            Entry(f"view: {tab}", "go to this tab"),
        )
        for number, tab in enumerate(TABS, 1)
    ),
    Command(
        "focus_log",
        _key("log_below", "8", "go to the log at the bottom, or to its tab"),
        Entry("view: log at the bottom", "go to it"),
    ),
    Command(
        "focus_timeline",
        _key("timeline", "9", "go to the timeline (from 160 columns on)"),
        Entry("view: timeline", "go to it"),
    ),
    Command("save_screenshot", entry=Entry("app: screenshot", "save the screen as SVG")),
    Command("app.action_quit", entry=Entry("app: quit", "unload the plugins and quit")),
)
"""The commands of the console's screen, in the order of footer, help and palette."""

APP: Final[list[BindingType]] = [
    _key("quit", "q", "quit; unloads the plugins, unless attached", "quit", shown=True),
    Binding("ctrl+p", "command_palette", "palette", show=False, priority=True),
    # This key works in dialogs too, and [keys] cannot change it, so that the user can always quit.
    Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    _key("palette", "colon", "all commands, by name", "command_palette"),
    _key("suspend", "ctrl+z", "go to the shell; fg returns; plugins go on", "suspend_process"),
]
SCREEN: Final[list[BindingType]] = [
    replace(command.key, action=f"run('{command.run}')") for command in COMMANDS if command.key
]
TABLE: Final[list[BindingType]] = [
    _key("down", "j", "next row (also the arrow)", "cursor_down"),
    _key("up", "k", "previous row (also the arrow)", "cursor_up"),
    _key("top", "g", "first row", "scroll_top"),
    _key("bottom", "G", "last row", "scroll_bottom"),
    _key("open", "enter", "open the details; the Error tab of what failed", "select_cursor"),
]
SCROLL: Final[list[BindingType]] = [
    _key("down", "j", "scroll down (also the arrow)", "scroll_down"),
    _key("up", "k", "scroll up (also the arrow)", "scroll_up"),
    _key("top", "g", "to the top", "scroll_home"),
    _key("bottom", "G", "to the end", "scroll_end"),
]
WIDE: Final[list[BindingType]] = [
    *SCROLL,
    _key("left", "left", "scroll to the left", "scroll_left"),
    _key("right", "right", "scroll to the right", "scroll_right"),
]
LOG: Final[list[BindingType]] = [
    *WIDE,
    _key("follow", "f", "follow new lines, or stay", "toggle_follow"),
    _key("wrap", "w", "wrap long lines, or cut them", "toggle_wrap", shown=True),
    _key("timestamps", "t", "show or hide the time of each line", "toggle_stamps", label="Times"),
    _key("steps", "v", "show or hide the steps of builds and loads", "toggle_steps", shown=True),
    _key("level", "l", "all lines, warnings and errors, or errors only", "next_level", shown=True),
]
ERROR: Final[list[BindingType]] = [
    *WIDE,
    _key("edit", "e", "open $VISUAL or $EDITOR, at the failing line", "edit_frame", shown=True),
    _key("locals", "v", "show or hide the frame's local variables", "toggle_locals", shown=True),
    _key("next_frame", "right_square_bracket", "move the cursor to the next frame", "next_frame(1)"),
    _key("last_frame", "left_square_bracket", "move the cursor to the previous frame", "next_frame(-1)"),
    _key(
        "frames",
        "x",
        "show or fold frames of the host and libraries",
        "toggle_frames",
        label="Fold",
        shown=True,
    ),
]
HISTORY: Final[list[BindingType]] = [
    *TABLE[:-1],
    _key(
        "rollback", "enter", "make this generation live again", "select_cursor", label="Roll back", shown=True
    ),
]
HOOKS: Final[list[BindingType]] = [
    *TABLE[:-1],
    _key("call", "enter", "ask for arguments and call the hook point", "select_cursor", shown=True),
    _key(
        "pin",
        "space",
        "repeat the newest call after each reload",
        "screen.run('workbench.pin')",
        shown=True,
    ),
    _key(
        "call_fault",
        "f",
        "go to the Error tab of the failed call",
        "screen.run('show_call_fault')",
        label="Fault",
        shown=True,
    ),
]
SOURCE: Final[list[BindingType]] = [
    *WIDE,
    _key("version", "v", "as loaded, on disk, or the difference", "next_version", shown=True),
]

OPEN: Final = "open"
"""The binding of the table that opens the details."""

Steps: TypeAlias = tuple[tuple[str, str], ...]
"""Names of bindings with the labels that the footer shows for them; an empty label keeps the usual one."""

_READ: Final[Steps] = ((OPEN, "Error"), ("edit", ""), ("history", ""))
_NEXT: Final[Mapping[PluginState, Steps]] = {
    PluginState.STALE: _READ,
    PluginState.FAIL: _READ,
    PluginState.OLD: ((OPEN, "Why"), ("rebuild", "")),
    PluginState.WAIT: ((OPEN, "Why"),),
    PluginState.OFF: (("toggle", ""),),
}

LEAST_NEEDED: Final = ("clean", "rebuild_all", "new", "toggle", "rebuild", "edit")
"""The bindings that the footer leaves out first if it is too narrow."""


def next_steps(plugin: PluginStatus | None) -> Steps:
    """Return the bindings that matter most for a plugin in its state; ``None``: there is no plugin."""
    if plugin is None:
        return (("new", ""),)
    if plugin.held:
        return (("release", ""), *(_READ[:1] if plugin.fault else ((OPEN, "Why"),)), ("history", ""))
    if plugin.fault is not None:
        return _READ
    return _NEXT.get(plugin.state, ())


_PANES: Final = (TABLE, LOG, ERROR, SOURCE, WIDE, HISTORY, HOOKS)
GROUPS: Final = (APP, SCREEN, *_PANES)
_MODIFIERS: Final = frozenset({"ctrl", "shift", "alt", "meta", "super", "hyper"})


def _all() -> Iterator[Binding]:
    for group in GROUPS:
        for composite in group:
            yield from Binding.make_bindings([composite])


def check_keys(keys: Mapping[str, str], file: str = "hotload.toml") -> None:
    """Check ``[keys]`` of the configuration ``file``.

    Raises:
        ConfigError: a name belongs to no binding (the message has the nearest one), or a key is missing,
            unknown or already taken.

    """
    known = sorted({binding.id for binding in _all() if binding.id})
    for name, key in keys.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f'{file}: [keys] {name}: no such binding; did you mean "{near}"? All: {", ".join(known)}'
            )
        for part in map(str.strip, key.split(",")):
            if not part:
                problem = 'no key is named; write one such as "x" or "ctrl+x"'
            elif not _is_key(part):
                problem = f'there is no key "{part}"; write one such as "x", "f5" or "ctrl+x"'
            else:
                continue
            raise ConfigError(f'{file}: [keys] {name} = "{key}": {problem}')
    _check_clashes(keys, file)


def _is_key(key: str) -> bool:
    """Return whether a terminal can send ``key``: a character or a key name, with or without modifiers."""
    *modifiers, last = [key] if len(key) == 1 else key.split("+")
    if not _MODIFIERS.issuperset(modifiers):
        return False
    return last.isprintable() and (len(last) == 1 or last in _names())


@cache
def _names() -> frozenset[str]:
    """Return the key names of more than one character: ``enter``, ``f5``, ``question_mark``."""
    named = {"comma", *(str(key.value) for key in Keys)}
    return frozenset(
        {name for name in named if name.isidentifier()} | {_long_name(c) for c in punctuation if c != ","}
    )


def _check_clashes(keys: Mapping[str, str], file: str) -> None:
    """Refuse a key that two bindings of one pane share: the user could never reach one of them."""
    common = [*APP, *SCREEN]
    for pane in _PANES:
        owners: dict[str, str] = {}
        for binding in Binding.make_bindings([*common, *pane]):
            name = binding.id or binding.action
            wanted = keys.get(name, "").split(",") if name in keys else [binding.key]
            for key in (_long_name(part.strip()) for part in wanted):
                owner = owners.setdefault(key, name)
                if owner != name:
                    raise ConfigError(
                        f'{file}: [keys]: "{key}" would be both "{owner}" and "{name}";'
                        " give one of them another key"
                    )


def _long_name(key: str) -> str:
    """Return the name under which bindings store a key: ``question_mark`` for ``?``."""
    return next(iter(Binding.make_bindings([Binding(key, "none")]))).key
