"""The lines around the panes: status, toasts, keys, and the message on a terminal that is too small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from textual import events
from textual.containers import Container
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget

from hotload_tui.core.events import (
    AnyEvent,
    PluginDisabled,
    PluginDiscovered,
    PluginFailed,
    PluginHeld,
    PluginLoaded,
    PluginMended,
    PluginOld,
    PluginRemoved,
)
from hotload_tui.core.model import PluginState, Snapshot
from hotload_tui.tui.framework import Punctual
from hotload_tui.tui.keys import LEAST_NEEDED, Steps
from hotload_tui.tui.text import clean_line, count, cut, shows_place
from hotload_tui.tui.widgets.panes import Body

SHORT: Final = 3.0
LONG: Final = 10.0
"""Seconds that a text stays: ``LONG`` if it reports trouble, else ``SHORT``."""

DRAW_INTERVAL: Final = 0.2
"""Seconds between two painted texts."""

_PADDING: Final = 2
"""Cells beside a toast's text."""


class Notice(Punctual, Container):
    """Shows one text at a time, at the right on the free part of a pane's border, or in rows of its own.

    It is a part of the main screen, so dialogs lie above it. Each text restarts its only timer. The widget is
    hidden, never removed: a Textual toast that was replaced at once could stay painted for ever.
    """

    def __init__(self, room: Callable[[], int]) -> None:
        """``room`` returns the free cells of the border."""
        self._body = Body()
        super().__init__(self._body)
        self._room = room
        self._timer: Timer | None = None
        self.text = ""
        self._is_bad = False
        self._due = False

    def show(self, text: str, *, bad: bool) -> None:
        """Show ``text`` in place of the previous text."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(LONG if bad else SHORT, self.hide)
        self.text, self._is_bad = clean_line(text), bad
        if not self.has_class("-shown"):
            self._draw()
        elif not self._due:  # a text may grow with every reload: do not paint it each time
            self._due = True
            self.set_timer(DRAW_INTERVAL, self._draw)

    def _draw(self) -> None:
        self._due = False
        if self.text:
            self._body.set_class(self._is_bad, "-bad")
            text = Content(f"! {self.text}" if self._is_bad else self.text)
            self.set_class(text.cell_length + _PADDING <= self._room(), "-over")
            self._body.show(text)
            self.add_class("-shown")

    def hide(self) -> None:
        """Hide the text, and paint the panes below it."""
        self.text = ""
        self.remove_class("-shown")
        self.screen.refresh(layout=True)


WINDOW: Final = 2.0
"""Seconds within which events share one line."""

_FAILED: Final = "failed"


class News:
    """Describes the events of plugins in one line, to which events within ``WINDOW`` seconds are added."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._opened = 0.0
        self._latest: dict[str, tuple[str, str]] = {}
        """The verb of each plugin's last event, and the reason or an empty text."""

    @property
    def is_bad(self) -> bool:
        """Whether the line reports a failure."""
        return any(verb == _FAILED for verb, _ in self._latest.values())

    def add(self, events: Iterable[AnyEvent], reading: str = "", followed: str = "") -> str:
        """Return the line with these events; empty if none of them is news.

        A fault of the plugin ``reading`` is no news: the user is reading it. That of the plugin ``followed``
        comes to the screen by itself, where its reason would hide it.
        """
        news = [found for event in events if (found := _news_of(event, reading))]
        if not news:
            return ""
        if self._clock() - self._opened > WINDOW:
            self._opened = self._clock()
            self._latest = {}
        for name, verb, reason in news:
            self._latest.pop(name, None)  # only the last event of a plugin counts
            self._latest[name] = verb, "" if name == followed and verb == _FAILED else reason
        return self._line()

    def _line(self) -> str:
        groups: dict[str, list[str]] = {}
        for name, (verb, _) in self._latest.items():
            groups.setdefault(verb, []).append(name)
        parts = []
        for verb, names in sorted(groups.items(), key=lambda item: item[0] == _FAILED):
            _, reason = self._latest[names[0]]
            if len(names) > 1:
                parts.append(f"{len(names)} {verb}")
            else:
                parts.append(f"{names[0]} {verb}" + (f" ({reason})" if reason else ""))
        return ", ".join(parts)


def _news_of(event: AnyEvent, reading: str) -> tuple[str, str, str] | None:
    """Return the plugin's name, the verb and the reason; ``None`` if the event is no news."""
    reason = ""
    match event:
        case PluginFailed() if event.name != reading:
            verb, reason = _FAILED, clean_line(f"{event.fault.type}: {event.fault.message}", 100)
        case PluginLoaded():
            verb = "loaded" if event.generation == 1 else "reloaded"
        case PluginHeld() if not event.is_by_fault:
            verb, reason = "held", "z takes it back, h releases it"
        case PluginDisabled():
            verb, reason = "disabled", "d or z enables it"
        case PluginDiscovered():
            verb = "found"
        case PluginMended():
            verb = "fixed"
        case PluginRemoved():
            verb = "gone"
        case PluginOld():
            verb, reason = "OLD", clean_line(event.reason, 100)
        case _:
            return None
    return clean_line(event.name, 40), verb, reason


HINT: Final = "? help"

LONG_WORK: Final = 0.5
"""Seconds after which the status line shows the progress of work."""

_ACTIONS: Final = {"compile": "compiling", "load": "loading"}

_STYLES: Final = {
    PluginState.OK: "$text-success",
    PluginState.OLD: "bold $text-warning",
    PluginState.STALE: "bold $text-warning",
    PluginState.FAIL: "bold $text-error",
    PluginState.HELD: "bold $text-accent",
}
_FOLDER: Final = 28
"""Cells for the folder's name."""


class StatusLine(Punctual, Widget):
    """Shows the state of the host, the plugins and the watcher in one line."""

    snapshot: reactive[Snapshot | None] = reactive(None, repaint=False)
    busy: reactive[str] = reactive("starting")
    """The work under way besides watching; empty if there is none."""
    running: reactive[str] = reactive("", repaint=False)
    """The user's commands under way; empty if there are none."""
    trouble: reactive[str] = reactive("")
    """The problem of the host, of the first scan or of the last read; empty if there is none."""
    follows: reactive[bool] = reactive(True)
    """Whether new faults come to the screen by themselves."""
    filtered: reactive[str] = reactive("")
    """The active filters; empty if there are none."""
    newest: reactive[str] = reactive("")
    """The last line of the log while the log below is hidden; else empty."""

    def __init__(self, project: Path) -> None:
        super().__init__()
        self._project = project
        self.is_foreign = False
        """Whether the host is another program, which continues after the user leaves the console."""
        self._drawn = Content("")
        self._is_long = False
        """Whether the work under way takes so long that its progress is shown."""
        self._due: Timer | None = None

    def watch_snapshot(self) -> None:
        """Paint the line if its values have changed; most reads change none of them."""
        self._time_work()
        if not self._facts().is_same(self._drawn):
            self.refresh()

    def watch_running(self) -> None:
        """Show the commands if they take long."""
        self.watch_snapshot()

    def _time_work(self) -> None:
        """Show the progress of work after ``LONG_WORK`` seconds."""
        is_busy = bool(self._work())
        if not is_busy and self._due is not None:
            self._due.stop()
            self._due, self._is_long = None, False
        elif is_busy and self._due is None:
            self._due = self.set_timer(LONG_WORK, self._show_work)

    def _show_work(self) -> None:
        self._is_long = True
        self.refresh()

    def _work(self) -> str:
        """Return the work under way and how much of it is done; empty if there is none."""
        work = self.snapshot.work if self.snapshot else None
        if work is None:
            return f"{clean_line(self.running, 40)}…" if self.running else ""
        number = f" ({work.done} of {work.of} done)" if work.of > 1 else ""
        return f"{_ACTIONS.get(work.phase, work.phase)} {clean_line(work.plugin, 30)}…{number}"

    def render(self) -> Content:
        """Draw the state on the left, and the hint or the last line of the log on the right."""
        left = self._drawn = self._facts()
        room = self.size.width - left.cell_length - 3
        if room < len(HINT):
            return left.truncate(self.size.width, ellipsis=True)
        newest = clean_line(self.newest)
        right = cut(newest, room)
        if not newest or not shows_place(right, newest):
            right = HINT
        tail = Content.styled(right, "$foreground-muted")
        return Content.assemble(left, " " * (self.size.width - left.cell_length - tail.cell_length), tail)

    def _facts(self) -> Content:
        return Content("  ").join([part for part in self._parts() if part])

    def _parts(self) -> Iterator[Content]:
        """Yield the parts; those that are empty are not shown."""
        yield Content.styled(self._folder(), "bold")
        if (snapshot := self.snapshot) is not None:
            host = snapshot.host
            yield Content(f"attached to {host.pid}" if self.is_foreign else "")
            yield Content.styled("! settings" if host.config_fault else "", "bold $text-error")
            yield from self._counts(snapshot)
            if not self.busy and not self.trouble and not self._is_long:
                yield self._watching(snapshot)
            place = clean_line(host.breakpoint, 60)
            yield Content.styled(f"B: breakpoint at {place}" if place else "", "bold reverse")
        yield Content("" if self.follows else "follow off")
        yield Content.styled(self.filtered, "bold reverse")
        yield Content.styled(clean_line(self.trouble), "bold $text-error")
        yield Content.styled(self._work() if self._is_long else self.busy, "italic")

    def _folder(self) -> str:
        folder = clean_line(self._project.name or str(self._project))
        return folder if len(folder) <= _FOLDER else f"…{folder[1 - _FOLDER :]}"

    def _counts(self, snapshot: Snapshot) -> list[Content]:
        states = Counter(plugin.state for plugin in snapshot.plugins)
        counts = [
            Content.styled(f"{state.glyph} {state} {states[state]}", _STYLES.get(state, ""))
            for state in PluginState
            if states[state]
        ]
        raising = sum(plugin.raises for plugin in snapshot.plugins)
        if raising:
            counts.append(Content.styled(f"! {count(raising, 'fault')}", "bold $text-error"))
        return counts

    def _watching(self, snapshot: Snapshot) -> Content:
        watcher = snapshot.watcher
        trouble = f": {clean_line(watcher.trouble, 200)}" if watcher.trouble else ""
        if watcher.paused:
            waiting = f" ({count(len(watcher.waiting), 'change')})" if watcher.waiting else ""
            return Content.styled(f"PAUSED{waiting}{trouble}", "bold reverse")
        match watcher.state:
            case "watching":
                return Content.styled(f"watching{trouble}", "$text-warning" if trouble else "")
            case "degraded":
                return Content.styled(f"watching slowly{trouble}", "$text-warning")
            case "off":
                return Content.styled(f"not watching{trouble}", "$text-warning")
            case "failed":
                return Content.styled(trouble.removeprefix(": ") or "watching FAILED", "bold $text-error")


NEEDED: Final = (60, 15)
"""The columns and rows that the console needs."""

_NARROW: Final = 20
"""The width in columns below which a whole sentence would need more rows than there are."""


class TooSmall(Widget):
    """Shows the terminal's size and the size that the console needs."""

    def render(self) -> Content:
        """Draw one line, shorter on a very narrow terminal; each change of the size draws it again."""
        width, height = self.app.size
        sizes = f"{width}x{height}: needs {NEEDED[0]}x{NEEDED[1]}"
        return Content(sizes if width < _NARROW else f"Terminal {sizes} (ctrl+q quits)")


class Caption(Widget):
    """Shows what an audience should look at, and the last key that was pressed."""

    text: reactive[str] = reactive("")
    key: reactive[str] = reactive("")
    """The last key as it is printed on a keyboard; empty before the first one."""

    def render(self) -> Content:
        """Draw the text in the rows that there are, and the key at the end of the first row."""
        key = Content.styled(f" {clean_line(self.key, 20)} ", "bold reverse") if self.key else Content("")
        room = self.size.width - key.cell_length - 1
        rows = Content(self.text).wrap(max(1, room))[: self.size.height]
        first, *more = rows or [Content("")]
        return Content("\n").join([Content.assemble(first.truncate(room, pad=True), " ", key), *more])


class _Key(NamedTuple):
    """One key of the line."""

    name: str
    """The name of its binding in ``[keys]``."""
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
    """Shows the keys of the focused pane, the next steps for the selected plugin, and the other keys.

    Where they do not fit, the least needed keys are left out. The palette's key is on the right. A click on a
    key presses it. It is a single widget: Textual's ``Footer`` mounts a new widget for each key whenever the
    focus moves, which took half of the time of a tab switch.
    """

    ALLOW_SELECT = False

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[_Key, ...] = ()
        self._palette: tuple[_Key, ...] = ()
        self._steps: Steps = ()

    def on_mount(self) -> None:
        """Subscribe to changes of the screen's bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._follow)

    def show_steps(self, steps: Steps) -> None:
        """Show the keys for these steps first, after the focused pane's own keys."""
        if steps != self._steps:
            self._steps = steps
            self._follow(self.screen)

    def render(self) -> Content:
        """Draw the line; cut the keys that do not fit."""
        keys = Content(" ").join([key.content for key in self._fitting()])
        palette = Content("").join(
            [Content.styled("▏", "$line") + key.content + " " for key in self._palette]
        )
        return keys.truncate(max(0, self.size.width - palette.cell_length), pad=True) + palette

    @property
    def _right(self) -> int:
        """The first cell of the palette's key."""
        return self.size.width - sum(key.content.cell_length + 1 for key in self._palette)

    def _fitting(self) -> list[_Key]:
        """Return the keys without the least needed ones, which would not fit."""
        shown = list(self._keys)
        steps = {name for name, _ in self._steps}
        for name in LEAST_NEEDED:
            if sum(key.content.cell_length + 1 for key in shown) <= self._right:
                break
            shown = [key for key in shown if key.name != name or name in steps]
        return shown

    def on_click(self, event: events.Click) -> None:
        """Press the key under the mouse."""
        for start, end, key in self._places():
            if start <= event.x < end:
                if key.is_enabled:
                    self.app.simulate_key(key.key)
                else:
                    self.app.bell()

    def _places(self) -> Iterator[tuple[int, int, _Key]]:
        """Yield the start cell, the end cell and each key; the palette's key covers keys that are cut."""
        right = self._right
        start = 0
        for key in self._fitting():
            end = start + key.content.cell_length
            yield start, min(end, right - 1), key
            start = end + 1
        yield from ((right, self.size.width, key) for key in self._palette)

    def _follow(self, screen: Screen[object]) -> None:
        """Draw the line again if its keys have changed."""
        if not self.app.app_focus or screen is not self.screen:
            return  # the line stays while the terminal has lost the focus
        labels = dict(self._steps)
        own: dict[str, _Key] = {}
        common: dict[str, _Key] = {}
        steps: dict[str, _Key] = {}
        palette: tuple[_Key, ...] = ()
        for node, binding, is_enabled, _ in screen.active_bindings.values():
            name = binding.id or binding.action
            shown = self.app.get_key_display(binding)
            key = _Key(name, binding.key, shown, labels.get(name) or binding.description, is_enabled)
            if name in labels:
                steps.setdefault(name, key)  # the first of several keys for one action
            elif binding.show:
                (common if node in (screen, self.app) else own).setdefault(name, key)
            elif binding.key == self.app.COMMAND_PALETTE_BINDING:
                palette = (key,)
        ordered = [steps[name] for name in labels if name in steps]
        keys = (*own.values(), *ordered, *common.values())
        if (keys, palette) != (self._keys, self._palette):
            self._keys, self._palette = keys, palette
            self.refresh()
