"""``PlanScreen``: what a rebuild would do now, and why; its user may have it done."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from hotload_tui.core.plan import Plan
from hotload_tui.tui.text import clean_line


class PlanScreen(ModalScreen[bool]):
    """Shows a plan; returns whether it is to be carried out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r,R", "answer(True)", "Rebuild"),
        Binding("escape,q,enter", "answer(False)", "Close"),
        Binding("j", "scroll('down')", "Down", show=False),
        Binding("k", "scroll('up')", "Up", show=False),
    ]
    AUTO_FOCUS = "VerticalScroll"

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def compose(self) -> ComposeResult:
        """Lay out the lines; they scroll where there is no room."""
        with Vertical(classes="dialog help"):
            with VerticalScroll():
                yield Static("\n".join(map(clean_line, self._plan.lines())), markup=False)
            hint = "r does it  esc closes" if self._plan.work else "esc closes"
            yield Static(hint, classes="keys", markup=False)

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - actions take what the binding says
        """Close, and say whether to do it."""
        self.dismiss(answer and bool(self._plan.work))

    def action_scroll(self, direction: str) -> None:
        """Scroll a line."""
        body = self.query_one(VerticalScroll)
        (body.scroll_down if direction == "down" else body.scroll_up)(animate=False)
