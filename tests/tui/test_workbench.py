from __future__ import annotations

import threading

from hotload_tui.core.events import PluginCleaned, PluginLoaded
from hotload_tui.core.model import Invocation
from hotload_tui.tui.calls import HookCall
from hotload_tui.tui.view_state import ViewState
from hotload_tui.tui.widgets.hooks_view import HooksView
from hotload_tui.tui.workbench import Workbench
from tests.tui.fakes import Manager

ADA = HookCall("greet", '"Ada"')
LOADED = PluginLoaded(0, "one", 2, "", (), 0)


class Bench:
    """A workbench with its manager, and the texts that it said."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.said: list[str] = []
        self.requests = manager.requests()
        self.hooks = HooksView()
        self.workbench = Workbench(
            ViewState(pinned=[ADA]),
            self.hooks,
            manager,
            self.requests,
            lambda: 0.0,
            say=self.said.append,
            keep=lambda: None,
            read_again=lambda: None,
        )


def test_pinned_calls_run_again_only_after_events_that_change_answers() -> None:
    """A load repeats the pinned calls and reports how many answers changed; other events repeat nothing."""
    it = Bench(Manager())
    it.workbench.repeat()
    it.manager.finish()
    it.workbench.follow([PluginCleaned(0, "one", 1)])
    assert it.requests.running == ()
    it.workbench.follow([LOADED])
    it.manager.finish()
    assert it.manager.commands == ["greet('Ada',)"] * 2
    assert [text for text in it.said if text] == ["greet('Ada'): 1 answer changed"]
    assert "was 'call 1'" in it.hooks.text_to_copy()


class Slow(Manager):
    """A manager whose calls wait."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def invoke(self, point: str, /, *args: object, **kwargs: object) -> Invocation:
        """Wait, then answer."""
        self.go.wait()
        return super().invoke(point, *args, **kwargs)


def test_a_reload_during_a_pinned_call_repeats_it_once_more_afterwards() -> None:
    """The answers shown at last are those of the newest version."""
    manager = Slow()
    it = Bench(manager)
    it.workbench.repeat()
    it.workbench.follow([LOADED])
    it.workbench.follow([LOADED])
    manager.go.set()
    it.manager.finish()
    it.manager.finish()
    assert it.requests.running == ()
    assert len(manager.commands) == 2


def test_a_call_by_hand_is_no_repetition() -> None:
    """The user's own call is made once, and its results are not compared with earlier ones."""
    it = Bench(Manager())
    it.workbench.call(HookCall("greet", "1"))
    it.manager.finish()
    assert it.manager.commands == ["greet(1,)"]
