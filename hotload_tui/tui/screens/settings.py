"""``SettingsScreen``: each value of the configuration, with where it came from, and what is wrong with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Final

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from hotload_tui.core.config_loader import Resolved
from hotload_tui.core.errors import ConfigError
from hotload_tui.tui.keys import check_keys
from hotload_tui.tui.text import clean_line

_KEY: Final = 40  # cells
_VALUE: Final = 40
_GAP: Final = "  "
_BEFORE: Final = "What was read before holds; it is read again at the next save."
_KEYS: Final = "The keys are as they were when the console was opened; all else in the file applies."


class SettingsScreen(ModalScreen[None]):
    """Reads the configuration again whenever it is opened."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,comma", "dismiss", "Close"),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
    ]
    AUTO_FOCUS = "VerticalScroll"

    def __init__(self, read: Callable[[], Resolved], fault: str, project: Path) -> None:
        """``read`` resolves the files, variables and flags; ``fault`` is what the host says is wrong."""
        super().__init__()
        self._read = read
        self._fault = fault
        self._inside = f"{project}{os.sep}"
        """What paths inside the project have in front; without it they fit into a line."""

    def compose(self) -> ComposeResult:
        """Lay out the values; they scroll where there is no room."""
        with Vertical(classes="dialog wide"):
            with VerticalScroll():
                resolved, faults = self._found()
                yield Static(Content("\n").join(faults), classes="faults", markup=False)
                if resolved:
                    yield Static(Content("\n").join(_settings(resolved, self._inside)), markup=False)
            yield Static("a later source outweighs an earlier one; esc closes", classes="keys", markup=False)

    def action_scroll(self, direction: str) -> None:
        """Scroll a line."""
        body = self.query_one(VerticalScroll)
        body.scroll_relative(y=1 if direction == "down" else -1, animate=False)

    def _found(self) -> tuple[Resolved | None, list[Content]]:
        """Return what is set, as far as it can be read, and what is wrong with it."""
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
