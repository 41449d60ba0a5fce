"""``Workbench``: the calls of hook points that the user makes by hand, pinned calls, and all results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from textual.content import Content

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.events import AnyEvent, PluginDisabled, PluginLoaded, PluginRemoved
from hotload_tui.tui.calls import CallResult, HookCall, call_result, change_words, result_text
from hotload_tui.tui.requests import Requests, reason_of
from hotload_tui.tui.text import clean_line, count
from hotload_tui.tui.view_state import ViewState
from hotload_tui.tui.widgets.hooks_view import HooksView

KEPT: Final = 50
"""The maximum number of earlier calls, over all hook points."""

SHOWN: Final = 5
"""The maximum number of results of calls that are not pinned."""

_CHANGES_ANSWERS: Final = (PluginLoaded, PluginDisabled, PluginRemoved)
"""After these events, a hook point may answer differently."""


class Workbench:
    """Makes the calls that the user typed, repeats pinned calls after reloads, and shows all results."""

    def __init__(
        self,
        state: ViewState,
        hooks: HooksView,
        api: ManagerApi,
        requests: Requests,
        clock: Callable[[], float],
        *,
        say: Callable[[str], None],
        keep: Callable[[], None],
        read_again: Callable[[], None],
    ) -> None:
        """Begin with the stored view state.

        ``keep`` stores it when earlier or pinned calls have changed; ``read_again`` reads how often handlers
        were called, which no event reports.
        """
        self._earlier = list(state.earlier)
        self._pinned = list(state.pinned)
        self._hooks = hooks
        self._api = api
        self._requests = requests
        self._clock = clock
        self._say = say
        self._keep = keep
        self._read_again = read_again
        self._is_due = False
        """Whether to repeat the pinned calls once more when those under way have ended."""
        self._results: dict[HookCall, CallResult] = {}
        self._before: dict[HookCall, CallResult] = {}
        """The results before the last reload that changed them."""
        self._newest: HookCall | None = None
        """The user's newest call since the last reload; its result is on top."""
        self._show()

    def store(self, state: ViewState) -> None:
        """Write the earlier and the pinned calls to ``state``."""
        state.earlier, state.pinned = list(self._earlier), list(self._pinned)

    def call(self, call: HookCall, *, is_pinned: bool = False) -> None:
        """Call a hook point, and pin this call if ``is_pinned``."""
        self._earlier = [call, *(other for other in self._earlier if other != call)][:KEPT]
        if is_pinned and call not in self._pinned:
            self._pinned.append(call)
        self._change(self._request((call,)))

    def pin(self) -> None:
        """Pin or unpin the newest call of the hook point under the cursor; without one, ask for arguments."""
        point = self._hooks.point
        call = next((call for call in (*self._earlier, *self._pinned) if call.point == point), None)
        if not point:
            self._say(self._hooks.why_no_point())
        elif call is None:
            self._hooks.ask(point, is_pinned=True)
            name = clean_line(point, 60)
            self._say(f"{name} was not called yet: type what to call it with; enter pins that")
        elif call in self._pinned:
            self._pinned.remove(call)
            self._change(f"{clean_line(str(call), 60)} is not pinned any more.")
        else:
            self._pinned.append(call)
            if call not in self._results:
                self._request((call,))
            self._change(f"Pinned {clean_line(str(call), 60)}: it runs again after each reload.")

    def faulty_plugin(self) -> str:
        """Return the plugin of the first handler that failed in the result on top of those with a failure.

        The results of the hook point under the cursor precede the others; empty if no call has failed.
        """
        calls = sorted(self._order(), key=lambda call: call.point != self._hooks.point)
        answers = (answer for call in calls for answer in self._results[call].answers)
        return next((answer.plugin for answer in answers if answer.failed), "")

    def _change(self, text: str) -> None:
        """Report, show and store a change of the earlier or the pinned calls."""
        self._say(text)
        self._show()
        self._keep()

    def follow(self, events: Iterable[AnyEvent]) -> None:
        """Repeat the pinned calls if one of the events may have changed their answers."""
        if self._is_due or any(isinstance(event, _CHANGES_ANSWERS) for event in events):
            self.repeat()

    def repeat(self) -> None:
        """Repeat the pinned calls; if they are under way, they run once more afterwards."""
        pinned = tuple(self._pinned)
        self._is_due = bool(pinned and self._request(pinned, reloaded=True))

    def _request(self, calls: tuple[HookCall, ...], *, reloaded: bool = False) -> str:
        """Make calls one after the other; return the reason if they are under way."""
        label = f"call {', '.join(map(str, calls))}"
        take = partial(self._take, reloaded=reloaded)
        return self._requests.submit(label, lambda: tuple(map(self._made, calls)), take)

    def _made(self, call: HookCall) -> CallResult:
        positional, keywords, twice = call.arguments
        now = self._clock()
        if twice:
            return CallResult(call, now, trouble=f"{twice} is given twice; leave one of them out")
        try:
            return call_result(call, now, self._api.invoke(call.point, *positional, **keywords))
        except BaseException as error:  # every error is shown
            return CallResult(call, now, trouble=reason_of(error))

    def _take(self, results: tuple[CallResult, ...], *, reloaded: bool) -> None:
        """Show results; if they are those of pinned calls after a reload, mark and report the changes."""
        words = []
        for result in results:
            call, old = result.call, self._results.pop(result.call, None)
            if reloaded and old is not None:
                if change := change_words(result, old):  # the last change stays marked until the next one
                    self._before[call] = old
                    words.append(change)
            else:
                self._before.pop(call, None)
            self._results[call] = result
        self._newest = None if reloaded or not results else results[-1].call
        loose = [call for call in self._results if call not in self._pinned]
        for call in loose[:-SHOWN]:
            del self._results[call]
        self._show(from_top=self._newest is not None)
        self._say("; ".join(words))
        self._read_again()
        if self._is_due:
            self.repeat()

    def _show(self, *, from_top: bool = False) -> None:
        self._hooks.earlier = tuple(self._earlier)
        blocks = list(self._blocks())
        self._hooks.show_results(Content("\n\n").join(blocks) if blocks else None, from_top=from_top)

    def _order(self) -> list[HookCall]:
        """Return the calls with results: the newest, the pinned ones, then the others, newest first."""
        order = [call for call in self._pinned if call in self._results]
        order += [call for call in reversed(self._results) if call not in self._pinned]
        return sorted(order, key=lambda call: call != self._newest)

    def _blocks(self) -> Iterator[Content]:
        """Yield the results."""
        for call in self._order():
            yield result_text(self._results[call], self._before.get(call), pinned=call in self._pinned)
        if waiting := sum(call not in self._results for call in self._pinned):
            yield Content.styled(f"{count(waiting, 'pinned call')} not run yet", "$foreground-muted")
