"""``KeyLine``: the keys that do something where the focus is, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget


class _Key(NamedTuple):
    """A key as the line shows it."""

    key: str
    shown: str
    label: str
    is_enabled: bool

    @property
    def content(self) -> Content:
        text = Content.assemble(
            (self.shown, "bold $footer-key-foreground"), (f" {self.label}", "$footer-description-foreground")
        )
        return text if self.is_enabled else text.stylize("dim")


class KeyLine(Widget):
    """Shows the keys of the pane with the focus, and the palette's on the right; a click on one presses it.

    It is a single widget. Textual's ``Footer`` mounts a new one for each key whenever the focus moves, which
    took half of the time of a switch of tabs.
    """

    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[_Key, ...] = ()
        self._palette: tuple[_Key, ...] = ()

    def on_mount(self) -> None:
        """Follow the screen's bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._follow)

    def render(self) -> Content:
        """Draw the line; keys that have no room are cut."""
        keys = Content(" ").join([key.content for key in self._keys])
        palette = Content("").join(
            [Content.styled("▏", "$foreground 20%") + key.content + " " for key in self._palette]
        )
        return keys.truncate(max(0, self.size.width - palette.cell_length), pad=True) + palette

    def on_click(self, event: events.Click) -> None:
        """Press the key under the mouse."""
        for start, end, key in self._places():
            if start <= event.x < end:
                if key.is_enabled:
                    self.app.simulate_key(key.key)
                else:
                    self.app.bell()

    def _places(self) -> Iterator[tuple[int, int, _Key]]:
        """Yield the cells at which each key starts and ends; the palette's lies above keys that are cut."""
        right = self.size.width - sum(key.content.cell_length + 1 for key in self._palette)
        start = 0
        for key in self._keys:
            end = start + key.content.cell_length
            yield start, min(end, right - 1), key
            start = end + 1
        yield from ((right, self.size.width, key) for key in self._palette)

    def _follow(self, screen: Screen[object]) -> None:
        """Draw the line again if other keys are to be shown."""
        if not self.app.app_focus or screen is not self.screen:
            return  # a terminal that has lost the focus keeps its line
        keys: dict[str, _Key] = {}
        palette: tuple[_Key, ...] = ()
        for _, binding, is_enabled, _ in screen.active_bindings.values():
            key = _Key(binding.key, self.app.get_key_display(binding), binding.description, is_enabled)
            if binding.show:
                keys.setdefault(binding.action, key)  # of several keys for one action, the first
            elif binding.key == self.app.COMMAND_PALETTE_BINDING:
                palette = (key,)
        if (tuple(keys.values()), palette) != (self._keys, self._palette):
            self._keys, self._palette = tuple(keys.values()), palette
            self.refresh()
