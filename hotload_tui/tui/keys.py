"""All keys of the console: the name of each in ``[keys]``, its action and its help text."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from string import punctuation
from typing import Final

from textual.binding import Binding, BindingType
from textual.keys import Keys

from hotload_tui.core.errors import ConfigError

TABS: Final = ("overview", "error", "log", "source", "hashes", "history", "hooks")
"""The tabs in order; the position of a tab, from 1, is its key."""


def _key(
    name: str,
    keys: str,
    action: str,
    label: str,
    meaning: str,
    *,
    shown: bool = False,
) -> Binding:
    return Binding(keys, action, label, id=name, tooltip=meaning, show=shown)


def _run(name: str, key: str, meaning: str, *, label: str = "", shown: bool = False) -> Binding:
    """Return the binding of a controller's method, which has the same name in the screen's table."""
    return _key(name, key, f"run('{name}')", label or name.capitalize(), meaning, shown=shown)


APP: Final[list[BindingType]] = [
    _key(
        "quit",
        "q",
        "quit",
        "Quit",
        "quit; plugins that came with the console are unloaded",
        shown=True,
    ),
    Binding("ctrl+p", "command_palette", "palette", show=False, priority=True),
    # This key works in dialogs too, and [keys] cannot change it, so that the user can always quit.
    Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    _key("palette", "colon", "command_palette", "Palette", "all commands, by name"),
    _key(
        "suspend",
        "ctrl+z",
        "suspend_process",
        "Suspend",
        "go to the shell; fg comes back, and plugins go on",
    ),
]
SCREEN: Final[list[BindingType]] = [
    _run("rebuild", "r", "compile and load the selected plugin again", shown=True),
    _run("rebuild_all", "R", "rebuild what changed; all, if nothing did", label="All", shown=True),
    _key("toggle", "d", "run('disable')", "Disable", "switch the selected plugin off or on", shown=True),
    _key("toggle", "d", "run('enable')", "Enable", "switch the selected plugin off or on", shown=True),
    _run("clean", "c", "remove the selected plugin's artifacts", shown=True),
    _run("clean_all", "C", "remove all artifacts; asks first", label="Clean all"),
    _run("restart", "u", "restart the host; asks if it answers"),
    _key("debug", "B", "debug", "Debug", "hand this terminal to a breakpoint() that waits"),
    _run("edit", "e", "open $VISUAL or $EDITOR, at the failing line", shown=True),
    _run("new", "n", "make a new plugin from the template", shown=True),
    _key("copy", "y", "copy", "Copy", "copy what is under the cursor, also to a file"),
    _key("help", "question_mark,f1", "help", "Help", "the keys of the pane that has the focus", shown=True),
    _run("report", "Y", "copy a report of the failure, to be pasted into an issue"),
    _run("settings", "comma", "each setting, and where it came from"),
    _run("undo", "z", "take back the last disable, enable or clean"),
    _run("pause", "p", "keep what is saved for later; again: apply it and follow saves"),
    _run("release", "h", "let a HELD plugin follow its source again"),
    _run("filter", "slash", "show only what contains a text (!x: not x; s:fail: by state)"),
    _run("problems", "exclamation_mark", "show only plugins that have a problem"),
    _run("sort", "s", "sort the table by the next column"),
    _run("reverse", "S", "turn the order of the table around"),
    _key("maximise", "plus", "maximise", "Maximise", "give the whole screen to the pane, or take it back"),
    _key("back", "escape", "back", "Back", "one level back, at last to the table"),
    _key("table", "0", "focus_table", "Table", "go to the table of plugins"),
    *(
        _key(
            name, str(number), f"open_tab('{name}')", name.capitalize(), f"go to the {name.capitalize()} tab"
        )
        for number, name in enumerate(TABS, 1)
    ),
]
TABLE: Final[list[BindingType]] = [
    _key("down", "j", "cursor_down", "Down", "next row (also the arrow)"),
    _key("up", "k", "cursor_up", "Up", "row before (also the arrow)"),
    _key("top", "g", "scroll_top", "Top", "first row"),
    _key("bottom", "G", "scroll_bottom", "Bottom", "last row"),
    _key("open", "enter", "select_cursor", "Open", "open the details; the Error tab of what failed"),
]
SCROLL: Final[list[BindingType]] = [
    _key("down", "j", "scroll_down", "Down", "scroll down (also the arrow)"),
    _key("up", "k", "scroll_up", "Up", "scroll up (also the arrow)"),
    _key("top", "g", "scroll_home", "Top", "to the top"),
    _key("bottom", "G", "scroll_end", "Bottom", "to the end"),
]
WIDE: Final[list[BindingType]] = [
    *SCROLL,
    _key("left", "left", "scroll_left", "Left", "scroll to the left"),
    _key("right", "right", "scroll_right", "Right", "scroll to the right"),
]
LOG: Final[list[BindingType]] = [
    *WIDE,
    _key("follow", "f", "toggle_follow", "Follow", "follow new lines, or stay"),
    _key("wrap", "w", "toggle_wrap", "Wrap", "wrap long lines, or cut them", shown=True),
    _key("timestamps", "t", "toggle_stamps", "Times", "show or hide the time of each line"),
]
ERROR: Final[list[BindingType]] = [
    *WIDE,
    _key("locals", "v", "toggle_locals", "Locals", "show or hide local variables", shown=True),
    _key("next_frame", "right_square_bracket", "next_frame(1)", "Next", "next frame or cause"),
    _key("last_frame", "left_square_bracket", "next_frame(-1)", "Before", "frame or cause before"),
    _key("frames", "x", "toggle_frames", "Fold", "show or fold frames of the host and libraries", shown=True),
]
HISTORY: Final[list[BindingType]] = [
    *TABLE[:-1],
    _key("rollback", "enter", "select_cursor", "Roll back", "make this generation live again", shown=True),
]
HOOKS: Final[list[BindingType]] = [
    *TABLE[:-1],
    _key("call", "enter", "select_cursor", "Call", "ask for arguments and call the hook point", shown=True),
    _key(
        "pin",
        "space",
        "screen.run('pin')",
        "Pin",
        "run the newest call again after each reload, or not",
        shown=True,
    ),
]
SOURCE: Final[list[BindingType]] = [
    *WIDE,
    _key(
        "version",
        "v",
        "next_version",
        "Version",
        "turn from as loaded to on disk to the difference",
        shown=True,
    ),
]

_PANES: Final = (TABLE, LOG, ERROR, SOURCE, WIDE, HISTORY, HOOKS)
_GROUPS: Final = (APP, SCREEN, *_PANES)
_MODIFIERS: Final = frozenset({"ctrl", "shift", "alt", "meta", "super", "hyper"})


def _all() -> Iterator[Binding]:
    for group in _GROUPS:
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
