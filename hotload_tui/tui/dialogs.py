"""Screens over the console: short questions, the plan of a rebuild, the settings, and the help."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, TypeVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from hotload_tui.core.config_files import Resolved
from hotload_tui.core.directories import oddity
from hotload_tui.core.errors import ConfigError
from hotload_tui.core.model import Plan, PluginState
from hotload_tui.tui.keys import check_keys
from hotload_tui.tui.text import clean_line


class AskNameScreen(ModalScreen[None]):
    """Passes each name to ``make`` and stays open, so that the user can fix a refused name."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "Cancel")]

    def __init__(self, make: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make
        self._reason = Static(classes="error -empty", markup=False)

    def compose(self) -> ComposeResult:
        """Lay out the prompt, the reason for the last refusal, and the keys."""
        with Vertical(classes="dialog"):
            yield Static("Name of the new plugin (a directory is made from the template)", markup=False)
            yield Input(placeholder="greeter", compact=True)
            yield self._reason
            yield Static("enter make it  esc cancel", classes="keys", markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what a plugin of this name cannot have, while the user can still choose another name."""
        self._show_reason(oddity(event.value.strip()))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Pass the name to ``make``; the manager checks it."""
        if event.value.strip():
            self.refuse(self._make(event.value.strip()))

    def refuse(self, reason: str) -> None:
        """Show why the name was refused; show nothing for an empty reason."""
        self._show_reason(f"! {reason}" if reason else "")

    def _show_reason(self, text: str) -> None:
        self._reason.update(clean_line(text))
        self._reason.set_class(not text, "-empty")


class ConfirmScreen(ModalScreen[bool]):
    """Asks a question; the Cancel button has the focus, and the dialog shows its keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape", "dismiss(False)", "Cancel"),
        Binding("left,right", "app.focus_next", "Other button", show=False),
    ]
    AUTO_FOCUS = "#cancel"

    def __init__(self, question: str, verb: str) -> None:
        super().__init__()
        self._question = question
        self._verb = verb

    def compose(self) -> ComposeResult:
        """Lay out the question, its two answers and the keys."""
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(self._verb, id="yes", variant="error", compact=True)
            yield Static(
                f"y {self._verb.lower()}  n or esc cancel  enter the marked one", classes="keys", markup=False
            )

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Close with the button's answer."""
        self.dismiss(event.button.id == "yes")


_T = TypeVar("_T")


class ScrollDialog(ModalScreen[_T]):
    """A dialog whose text scrolls if it does not fit."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll(1)", "Down", show=False),
        Binding("k", "scroll(-1)", "Up", show=False),
    ]
    AUTO_FOCUS = "VerticalScroll"

    def __init__(self) -> None:
        super().__init__()
        self.area = VerticalScroll()

    def action_scroll(self, rows: int) -> None:
        """Scroll down, or up with a negative number of rows."""
        self.area.scroll_relative(y=rows, animate=False)


class PlanScreen(ScrollDialog[bool]):
    """Shows a plan; returns whether the user wants to carry it out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,R", "accept", "Rebuild"),
        Binding("escape,q,enter", "dismiss(False)", "Close"),
    ]

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def compose(self) -> ComposeResult:
        """Lay out the lines, which scroll if they do not fit."""
        with Vertical(classes="dialog help"):
            with self.area:
                yield Static("\n".join(map(clean_line, self._plan.lines())), markup=False)
            hint = "r does it  esc closes" if self._plan.work else "esc closes"
            yield Static(hint, classes="keys", markup=False)

    def action_accept(self) -> None:
        """Close, and carry out the plan if it has work."""
        self.dismiss(bool(self._plan.work))


_KEY: Final = 40  # cells
_VALUE: Final = 40
_GAP: Final = "  "
_BEFORE: Final = "What was read before holds; it is read again at the next save."
_KEYS: Final = "The keys are as they were when the console was opened; all else in the file applies."


class SettingsScreen(ScrollDialog[None]):
    """Shows the configuration, which it reads again each time it is opened."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,comma", "dismiss", "Close"),
    ]

    def __init__(self, read: Callable[[], Resolved], fault: str, project: Path) -> None:
        """``read`` resolves the files, variables and flags; ``fault`` is the host's configuration fault."""
        super().__init__()
        self._read = read
        self._fault = fault
        self._inside = f"{project}{os.sep}"
        """The prefix of paths inside the project; without it, they fit into a line."""

    def compose(self) -> ComposeResult:
        """Lay out the values, which scroll if they do not fit."""
        with Vertical(classes="dialog wide"):
            with self.area:
                resolved, faults = self._found()
                yield Static(Content("\n").join(faults), classes="faults", markup=False)
                if resolved:
                    yield Static(Content("\n").join(_settings(resolved, self._inside)), markup=False)
            yield Static("a later source overrides an earlier one; esc closes", classes="keys", markup=False)

    def _found(self) -> tuple[Resolved | None, list[Content]]:
        """Return the configuration, ``None`` if it cannot be read, and its faults."""
        try:
            resolved = self._read()
        except ConfigError as error:
            return None, self._faults(str(error), _BEFORE)
        try:
            check_keys(resolved.config.keys)
        except ConfigError as error:
            return resolved, self._faults(str(error), _KEYS)
        return resolved, self._faults(self._fault, _BEFORE)

    def _faults(self, fault: str, meaning: str) -> list[Content]:
        lines = fault.replace(self._inside, "").splitlines()
        marked = [Content.styled(f"! {clean_line(line)}", "bold $text-error") for line in lines]
        return [*marked, Content.styled(f"{meaning}\n", "italic")] if marked else []


def _settings(resolved: Resolved, inside: str) -> Iterable[Content]:
    rows = [
        (
            clean_line(setting.key, _KEY),
            clean_line(_written(setting.value), _VALUE),
            clean_line(setting.source.replace(inside, "")),
        )
        for setting in resolved.settings
    ]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    yield from (Content.styled(f"~ {clean_line(each)}", "$text-warning") for each in resolved.warnings)
    for key, value, source in rows:
        style = "$foreground-muted" if source == "default" else "bold"
        yield Content.assemble(f"{key:<{key_width}}{_GAP}{value:<{value_width}}{_GAP}", (source, style))


def _written(value: object) -> str:
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)


class HelpRow(NamedTuple):
    """One line of the help."""

    key: str
    """A key, or a sign of the table."""
    name: str
    """The name of the key's binding in ``[keys]``; empty for a sign."""
    meaning: str
    run: Callable[[], Awaitable[object]] | None = None
    """Does what the key does; ``None`` for a sign."""


STATES: Final[tuple[HelpRow, ...]] = (
    *(
        HelpRow(f"{state.glyph} {state}", "", meaning)
        for state, meaning in (
            (PluginState.OK, "the newest version is live"),
            (PluginState.OLD, "the newest version is live; an older one is still called"),
            (PluginState.STALE, "an older version is live: the newest one failed"),
            (PluginState.FAIL, "no version is live"),
            (PluginState.HELD, "the version is kept: you chose it, or a newer one crashed"),
            (PluginState.OFF, "disabled: its folder's name begins with _"),
            (PluginState.WAIT, "waits for a plugin that it requires"),
            (PluginState.BUILD, "being built"),
            (PluginState.NEW, "found, not loaded yet"),
        )
    ),
    HelpRow("+ ok !", "", "it is live, but its code has failed since (Error tab)"),
    HelpRow("!*FAIL", "", "the star: you have not looked at it since it broke"),
)
"""The signs of the states and their meanings."""

_PANES: Mapping[str, str] = {
    "PluginTable": "table",
    "Overview": "Overview tab",
    "ErrorView": "Error tab",
    "LogView": "log",
    "SourceView": "Source tab",
    "HashesView": "Hashes tab",
    "HistoryView": "History tab",
    "HooksTable": "Hooks tab",
}


class HelpScreen(ModalScreen[HelpRow]):
    """Lists the keys and the states with their meanings; returns the key that the user wants to use."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "close", "Close"),
        Binding("slash", "search", "Search", show=False),
        Binding("j", "move('down')", "Down", show=False),
        Binding("k", "move('up')", "Up", show=False),
    ]
    AUTO_FOCUS = "OptionList"

    def __init__(self, pane: str, own: Iterable[HelpRow], common: Iterable[HelpRow]) -> None:
        super().__init__()
        self._pane = pane
        self._own = tuple(own)
        self._common = tuple(common)
        self._rows: dict[str, HelpRow] = {}
        """The rows that can be run, by the ids of their options."""
        self._search = Input(placeholder="/ searches, enter does it, esc closes", compact=True)
        self._list = OptionList(*self._options(""), markup=False, compact=True)

    def compose(self) -> ComposeResult:
        """Lay out the search above the list, which scrolls if it does not fit."""
        with Vertical(classes="dialog help"):
            yield self._search
            yield self._list

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show only the lines that contain the text."""
        self._list.set_options(self._options(event.value.strip()))
        self._list.action_first()

    def on_input_submitted(self) -> None:
        """Return the focus to the matching lines."""
        self.set_focus(self._list)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Close, and do what the key in this line does."""
        self.dismiss(self._rows[event.option_id or ""])

    def _options(self, wanted: str) -> list[Option]:
        groups = (
            (f"In the {self._pane}", "  key, name in [keys] of hotload.toml", self._own),
            ("Everywhere", "", self._common),
            ("States", "", STATES),
        )
        options: list[Option] = []
        self._rows = {}
        for title, hint, rows in groups:
            found = [row for row in rows if wanted.casefold() in " ".join(row[:3]).casefold()]
            if found:
                options += [Option(Content(), disabled=True)] if options else []
                options.append(Option(Content.assemble((title, "bold"), hint), disabled=True))
            for row in found:
                number = str(len(options))
                options.append(Option(key_row(row), id=number, disabled=row.run is None))
                self._rows[number] = row
        nothing = Option(Content(f"Nothing is about {clean_line(wanted, 40)}."), disabled=True)
        return options or [nothing]

    def action_move(self, way: str) -> None:
        """Move the cursor ``down`` or ``up``."""
        if way == "down":
            self._list.action_cursor_down()
        else:
            self._list.action_cursor_up()

    def action_search(self) -> None:
        """Focus the search line."""
        self.set_focus(self._search)

    def action_close(self) -> None:
        """Leave the search, or close the help if there is no search."""
        if self._search.value or self._search.has_focus:
            self._search.value = ""
            self.set_focus(self._list)
        else:
            self.dismiss()


def key_row(row: HelpRow) -> Content:
    """Return the line for a row."""
    name = f"{row.name:<12} " if row.name else ""
    return Content.assemble(
        (f"  {row.key:<8} ", "bold $text-accent"), (name, "$foreground-muted"), row.meaning
    )


def key_lines(screen: Screen[None]) -> tuple[str, list[HelpRow], list[HelpRow]]:
    """Return the focused pane's name, its keys, and the keys that work everywhere."""
    focused = screen.focused
    own: dict[tuple[str, str], HelpRow] = {}
    common: dict[tuple[str, str], HelpRow] = {}
    for node, binding, _, meaning in screen.active_bindings.values():
        group, key = own if node is focused else common, screen.app.get_key_display(binding)
        if not binding.tooltip:
            continue
        known = group.get((binding.id or "", meaning))
        shown = f"{known.key} {key}" if known else key
        run = partial(screen.app.run_action, binding.action, node)
        group[binding.id or "", meaning] = HelpRow(shown, binding.id or "", meaning, run)
    name = _PANES.get(type(focused).__name__, "console") if focused else "console"
    return name, list(own.values()), list(common.values())
