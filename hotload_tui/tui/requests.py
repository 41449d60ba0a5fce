"""What the keys ask of the manager: each request runs in a daemon thread and tells how it ended.

Each method returns why the request makes no sense now, in words for the user, or an empty text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from textual.message import Message

from hotload_tui.core.api import ManagerApi
from hotload_tui.core.errors import RuntimeDirError
from hotload_tui.core.plugin import PluginState, PluginStatus
from hotload_tui.tui.calls import CallResult, HookCall, call_result
from hotload_tui.tui.messages import CallsEnded, CommandEnded, PlanMade, StartEnded, StopEnded, reason_of
from hotload_tui.tui.text import clean_line, count

NOTHING_SELECTED = "No plugin is selected: the table is empty. n makes one."


class Requests:
    """Sends commands to the manager."""

    def __init__(self, api: ManagerApi, post: Callable[[Message], bool]) -> None:
        self._api = api
        self._post = post
        self._lock = threading.Lock()
        self._running: set[str] = set()

    @property
    def running(self) -> tuple[str, ...]:
        """What is under way, for whoever wants to quit."""
        with self._lock:
            return tuple(sorted(self._running))

    def start(self, start: Callable[[], None]) -> None:
        """Scan, load and watch; nobody waits for it."""

        def work() -> Message:
            try:
                start()
            except BaseException as error:  # whatever keeps the host from starting is shown, never a crash
                return StartEnded(reason_of(error), folder_missing=isinstance(error, RuntimeDirError))
            return StartEnded("")

        threading.Thread(target=self._tell, args=(work,), name="hotload-start", daemon=True).start()

    def stop(self, stop: Callable[[], None]) -> None:
        """Stop watching and unload everything; ``StopEnded`` comes whatever goes wrong in there."""

        def work() -> Message:
            try:
                stop()
            except BaseException as error:  # whoever quits wants to leave all the same
                return StopEnded(f"while unloading: {reason_of(error)}")
            return StopEnded("")

        threading.Thread(target=self._tell, args=(work,), name="hotload-stop", daemon=True).start()

    def rebuild(self, plugin: PluginStatus | None) -> str:
        """Compile and load one plugin again."""
        if plugin is None:
            return NOTHING_SELECTED
        name = plugin.name
        if plugin.state is PluginState.OFF:
            return f"{clean_line(name)} is off; d enables it."

        def work() -> CommandEnded:
            self._api.rebuild(name, force=True)
            return CommandEnded("")  # the events tell it

        return self._submit(f"rebuild {name}", work)

    def rebuild_all(self) -> str:
        """Rebuild what changed; everything, if nothing did."""

        def work() -> CommandEnded:
            if self._api.rebuild():
                return CommandEnded("")  # the events tell it
            return CommandEnded("There are no plugins to rebuild; n makes one.")

        return self._submit("rebuild all", work)

    def plan(self, plugin: PluginStatus | None) -> str:
        """Ask what a rebuild of a plugin, or of what changed, would do; ``PlanMade`` tells."""
        name = plugin.name if plugin else None

        def work() -> PlanMade:
            return PlanMade(self._api.plan(name), plugin)

        return self._submit(f"plan {name or 'all'}", work)

    def enable(self, plugin: PluginStatus | None) -> str:
        """Switch a plugin on."""
        if plugin is None:
            return NOTHING_SELECTED
        name = plugin.name

        def work() -> CommandEnded:
            self._api.enable(name)
            return CommandEnded("")

        return self._submit(f"enable {name}", work)

    def disable(self, plugin: PluginStatus | None) -> str:
        """Switch a plugin off."""
        if plugin is None:
            return NOTHING_SELECTED
        name = plugin.name

        def work() -> CommandEnded:
            self._api.disable(name)
            return CommandEnded("")

        return self._submit(f"disable {name}", work)

    def clean(self, plugin: PluginStatus | None) -> str:
        """Remove the artifacts of one plugin."""
        if plugin is None:
            return NOTHING_SELECTED
        name = plugin.name

        def work() -> CommandEnded:
            removed = self._api.clean(name)
            return CommandEnded(
                f"{clean_line(name)}: {count(removed, 'artifact')} removed;"
                " r builds it again, z brings it back"
            )

        return self._submit(f"clean {name}", work)

    def clean_all(self) -> str:
        """Remove the artifacts of all plugins."""

        def work() -> CommandEnded:
            return CommandEnded(
                f"{count(self._api.clean(), 'artifact')} removed; R builds all again, z brings them back"
            )

        return self._submit("clean all", work)

    def new(self, name: str) -> str:
        """Make a plugin from the template."""

        def work() -> CommandEnded:
            made = self._api.new(name)
            return CommandEnded(f"Made {clean_line(made.path)}; e opens it", made=made.name)

        return self._submit(f"new {name}", work)

    def rollback(self, name: str, generation: int) -> str:
        """Let an earlier generation serve again."""

        def work() -> CommandEnded:
            status = self._api.rollback(name, generation)
            return CommandEnded(
                f"{clean_line(name)}: what generation {generation} was serves as generation"
                f" {status.generation}, held; h releases it"
            )

        return self._submit(f"rollback {name}", work)

    def release(self, plugin: PluginStatus | None) -> str:
        """Let a plugin follow its source again."""
        if plugin is None:
            return NOTHING_SELECTED
        name = plugin.name
        if not plugin.held:
            return f"{clean_line(name)} is not held: it follows its source."

        def work() -> CommandEnded:
            self._api.release(name)
            return CommandEnded(f"{clean_line(name)} released: it follows its source again")

        return self._submit(f"release {name}", work)

    def pause(self) -> str:
        """Keep what is saved from now on for later."""

        def work() -> CommandEnded:
            self._api.pause()
            return CommandEnded("Paused: what is saved is kept; p applies it")

        return self._submit("pause", work)

    def resume(self) -> str:
        """Apply what was saved meanwhile, and follow saves again."""

        def work() -> CommandEnded:
            applied = len(self._api.resume())
            what = count(applied, "changed plugin") if applied else "nothing had changed"
            return CommandEnded(f"Watching again: {what}")

        return self._submit("resume", work)

    def undo(self) -> str:
        """Take the last disable, enable or clean back."""

        def work() -> CommandEnded:
            return CommandEnded(f"Taken back: {clean_line(self._api.undo())}")

        return self._submit("undo", work)

    def call(self, calls: tuple[HookCall, ...], now: Callable[[], float], *, reloaded: bool = False) -> str:
        """Call hook points one after the other; ``CallsEnded`` tells what came back."""

        def one(call: HookCall) -> CallResult:
            positional, keywords, twice = call.arguments
            if twice:
                return CallResult(call, now(), trouble=f"{twice} is given twice; leave one of them out")
            try:
                return call_result(call, now(), self._api.invoke(call.point, *positional, **keywords))
            except BaseException as error:  # as with commands: whatever it raises is shown
                return CallResult(call, now(), trouble=reason_of(error))

        def work() -> CallsEnded:
            return CallsEnded(tuple(map(one, calls)), reloaded=reloaded)

        return self._submit(f"call {', '.join(map(str, calls))}", work)

    def _submit(self, label: str, work: Callable[[], Message]) -> str:
        with self._lock:
            if label in self._running:
                return f"Still busy: {clean_line(label)}"
            self._running.add(label)
        threading.Thread(target=self._run, args=(label, work), name=f"hotload-{label}", daemon=True).start()
        return ""

    def _run(self, label: str, work: Callable[[], Message]) -> None:
        try:
            message = work()
        except BaseException as error:  # whatever a command raises is shown; it must not end silently
            message = CommandEnded(clean_line(reason_of(error)), command=clean_line(label), failed=True)
        finally:
            with self._lock:
                self._running.discard(label)
        self._tell(lambda: message)

    def _tell(self, work: Callable[[], Message]) -> None:
        message = work()
        try:
            self._post(message)
        except RuntimeError:  # the console's loop has ended; nobody is left to be told
            return
