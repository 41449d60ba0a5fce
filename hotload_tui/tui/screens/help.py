"""``HelpScreen``: the keys of the pane that has the focus, and those that work everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, TypeAlias

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from hotload_tui.core.plugin import PluginState
from hotload_tui.tui.text import clean_line

HelpRow: TypeAlias = tuple[str, str, str]
"""Key or sign, the binding's name in ``[keys]``, what it means."""

_STATES: Final[tuple[HelpRow, ...]] = (
    *(
        (f"{state.glyph} {state}", "", meaning)
        for state, meaning in (
            (PluginState.OK, "the newest version serves"),
            (PluginState.STALE, "an older version serves: the newest one failed"),
            (PluginState.FAIL, "nothing serves"),
            (PluginState.HELD, "kept at a version chosen by hand, or back from one that killed the host"),
            (PluginState.OFF, "disabled: its folder's name begins with _"),
            (PluginState.WAIT, "waits for a plugin that it requires"),
            (PluginState.BUILD, "being built"),
            (PluginState.NEW, "found, not loaded yet"),
        )
    ),
    ("+ ok !", "", "it serves, but a call of it raised: the Error tab has it"),
    ("!*FAIL", "", "the star: you have not looked at it since it broke"),
)

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


class HelpScreen(ModalScreen[None]):
    """Lists keys with what they do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1,enter", "close", "Close"),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
        Binding("slash", "search", "Search", show=False),
    ]
    AUTO_FOCUS = "VerticalScroll"

    def __init__(self, pane: str, own: Iterable[HelpRow], common: Iterable[HelpRow]) -> None:
        super().__init__()
        self._pane = pane
        self._own = tuple(own)
        self._common = tuple(common)

    def compose(self) -> ComposeResult:
        """Lay out the lists; they scroll where there is no room."""
        with Vertical(classes="dialog help"):
            yield Input(placeholder="/ searches, esc closes, arrows scroll", compact=True)
            with VerticalScroll():
                yield Static(self._text(""), markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show only lines that have the text in them."""
        self.query_one("VerticalScroll > Static", Static).update(self._text(event.value.strip()))

    def on_input_submitted(self) -> None:
        """Go back to the lines that were found."""
        self.set_focus(self.query_one(VerticalScroll))

    def _text(self, wanted: str) -> Content:
        groups = (
            (f"In the {self._pane}", "  key, name in [keys] of hotload.toml", self._own),
            ("Everywhere", "", self._common),
            ("States", "", _STATES),
        )
        blocks = []
        for title, hint, rows in groups:
            found = [row for row in rows if wanted.casefold() in " ".join(row).casefold()]
            if found:
                blocks.append(Content("\n").join([Content.assemble((title, "bold"), hint), *_keys(found)]))
        return (
            Content("\n\n").join(blocks) if blocks else Content(f"Nothing is about {clean_line(wanted, 40)}.")
        )

    def action_search(self) -> None:
        """Type what to look for."""
        self.set_focus(self.query_one(Input))

    def action_close(self) -> None:
        """Go back: out of a search, then out of the help."""
        search = self.query_one(Input)
        if search.value or search.has_focus:
            search.value = ""
            self.set_focus(self.query_one(VerticalScroll))
        else:
            self.dismiss()

    def action_scroll(self, direction: str) -> None:
        """Scroll a line."""
        body = self.query_one(VerticalScroll)
        if direction == "down":
            body.scroll_down(animate=False)
        else:
            body.scroll_up(animate=False)


def _keys(rows: Iterable[HelpRow]) -> Iterable[Content]:
    for key, name, meaning in rows:
        name_cell = f"{name:<12} " if name else ""
        yield Content.assemble(
            (f"  {key:<8} ", "bold $text-accent"), (name_cell, "$foreground-muted"), meaning
        )


def key_lines(screen: Screen[None]) -> tuple[str, list[HelpRow], list[HelpRow]]:
    """Return the focused pane's name, its keys and the keys that work everywhere."""
    focused = screen.focused
    own: dict[tuple[str, str], list[str]] = {}
    common: dict[tuple[str, str], list[str]] = {}
    for node, binding, _, meaning in screen.active_bindings.values():
        group = own if node is focused else common
        if binding.tooltip:
            group.setdefault((binding.id or "", meaning), []).append(screen.app.get_key_display(binding))
    name = _PANES.get(type(focused).__name__, "console") if focused else "console"
    return name, _joined(own), _joined(common)


def _joined(keys: Mapping[tuple[str, str], list[str]]) -> list[HelpRow]:
    return [(" ".join(names), name, meaning) for (name, meaning), names in keys.items()]
