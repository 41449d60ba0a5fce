"""Checks of the screen's layout."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from textual.widget import Widget
from textual.widgets import Tab, Tabs

from hotload_tui.tui.widgets.status import NEEDED
from tests.tui.console import Console

# The widgets that the main screen shows at each breakpoint.
_ALWAYS = ("StatusLine", "PluginTable", "Tabs", "TabbedContent", "KeyLine")
_MAXIMISED = ("-max-plugins", "-max-detail", "-max-strip")


def text_of(it: Console, widget: Widget) -> str:
    """Return the text that is painted in a widget's region."""
    x, y, width, height = widget.region
    return "\n".join(line[x : x + width].rstrip() for line in it.text.split("\n")[y : y + height])


def broken_layout(it: Console) -> list[str]:
    """Return the faults of the layout; empty for a sound one."""
    return list(_faults(it))


def _faults(it: Console) -> Iterator[str]:
    width, height = it.app.size
    lines = it.text.split("\n")
    if len(lines) != height:
        yield f"{len(lines)} lines on {height} rows"
    yield from (f"wider than the screen: {line!r}" for line in lines if cell_len(line) > width)
    if (width, height) < NEEDED:
        return
    yield from _misplaced(it)
    if it.app.screen is it.main and not any(it.main.has_class(name) for name in _MAXIMISED):
        yield from (f"{name} is not seen" for name in _ALWAYS if not _is_seen(it.main.query(name).first()))
        yield from (f"the tab {tab.label} is cut" for tab in it.main.query(Tab) if not _is_whole(tab))
        yield from _overlaps(it)


def _misplaced(it: Console) -> Iterator[str]:
    """Yield widgets that should be visible but have no size, or are partly outside of the screen."""
    for widget in it.app.screen.query("*"):
        if not _is_displayed(widget):
            continue
        if any(isinstance(node, Widget) and node.is_scrollable for node in widget.ancestors):
            continue  # scrollable content may be longer than its visible part
        if not widget.size and not widget.region.area:
            yield f"{widget} has no size"
        elif not it.app.screen.region.contains_region(widget.region):
            yield f"{widget} is outside of the screen: {widget.region}"


def _is_displayed(widget: Widget) -> bool:
    return all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget))


def _is_seen(widget: Widget) -> bool:
    return bool(widget.region.area) and widget.screen.region.contains_region(widget.region)


def _is_whole(tab: Tab) -> bool:
    row = next(node for node in tab.ancestors if isinstance(node, Tabs))  # widgets in between may be longer
    return row.region.contains_region(tab.region)


def _overlaps(it: Console) -> Iterator[str]:
    panes = [
        it.main.query_one(selector) for selector in ("StatusLine", "#plugins", "#detail", "#strip", "KeyLine")
    ]
    seen = [pane for pane in panes if _is_displayed(pane)]
    for number, pane in enumerate(seen):
        for other in seen[number + 1 :]:
            if pane.region.overlaps(other.region):
                yield f"{pane} lies over {other}"
