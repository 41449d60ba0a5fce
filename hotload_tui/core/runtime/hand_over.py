"""Hand the workers and exclusive resources of plugins over from the live versions to the next ones, or back.

::

    live versions    workers end ── release ─┐
    next versions                            └─ acquire ───┐               ┌─ workers begin
    hook table       ─────────── live versions ────────────┴─ next versions ───────────────

All live versions of a batch release before the first next version acquires: plugins may exchange resources.
Each step has a counterpart. If a step fails, the counterparts of the steps before it run in reverse order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from functools import partial

from hotload_tui.core.errors import PluginError, RegisterError
from hotload_tui.core.faults import message_of
from hotload_tui.core.primitives import perf_counter
from hotload_tui.core.runtime.context import LivePlugin
from hotload_tui.core.runtime.following import FollowedContainers, Followers
from hotload_tui.core.runtime.resources import Owned, ResourceCalls


class HandOver:
    """The hand-over from the live version of a plugin, if there is one, to a trial."""

    def __init__(
        self,
        old: LivePlugin | None,
        new: LivePlugin | None,
        calls: ResourceCalls,
        containers: FollowedContainers,
    ) -> None:
        """Prepare; without ``new``, only ``leave`` is of use. Objects in ``containers`` follow."""
        self._old = old
        self._new = new
        self._resource_calls = calls
        self._containers = containers
        self._back: list[Callable[[], None]] = []
        self._began = 0.0
        self.seconds = 0.0
        """The time from ``leave`` to the end of ``enter``."""
        self.not_started: list[str] = []
        """Why workers of the live version did not start again."""
        self.endings: list[BaseException] = []
        """The errors of the live version's workers and ``release`` functions, which stop no hand-over."""

    def leave(self, limit: float, aside: Collection[int]) -> None:
        """End the live version's workers, and release what it owns.

        A worker gets ``limit`` seconds, unless it runs in one of the threads in ``aside``.
        """
        self._began = perf_counter()
        if self._old is not None:
            self._end_workers(self._old, limit, aside)
            self._release(self._old)
        if self._new is not None:
            self._close_ports(self._new)

    def enter(self, make_room: Callable[[], bool]) -> None:
        """Acquire what the trial owns; ``make_room`` as in ``take_back``.

        Raises:
            PluginError: a function of the trial raised or took too long; everything is as before, or the
                error says what is not.

        """
        assert self._new is not None
        try:
            self._acquire(self._new)
            if self._new.has_followers:
                self._follow(self._new)
        except PluginError as error:
            failures = self.take_back(make_room)
            _add_notes(error, [*map(_in_words, self.endings), *self.not_started])
            if failures:
                raise RegisterError(error.plugin, "the hand-over failed") from _both(error, failures)
            raise
        self.seconds = perf_counter() - self._began

    def take_back(self, make_room: Callable[[], bool] = lambda: False) -> list[PluginError]:
        """Give everything back to the live version; return the errors of that.

        If a step fails and ``make_room`` returns true, it has made others give back what this version may
        need, and the step runs again.
        """
        failures: list[PluginError] = []
        while self._back:
            step = self._back.pop()
            try:
                step()
            except PluginError as error:
                if make_room():
                    self._back.append(step)
                else:
                    failures.append(error)
        return failures

    # ---- the steps

    def _end_workers(self, old: LivePlugin, limit: float, aside: Collection[int]) -> None:
        context = old.context
        workers = context.pause()
        self._back.append(lambda: self.not_started.extend(context.resume(workers)))
        for worker in reversed(workers):
            error = worker.end(limit, aside)
            if error is not None:
                self.endings.append(error)
            if error is not None or not worker.is_running():
                context.dismiss(worker)

    def _release(self, old: LivePlugin) -> None:
        taken = {each.key for each in self._new.context.owned if each.replace} if self._new else set()
        for owned in reversed(old.context.owned):
            if not owned.is_held or owned.key in taken:
                continue
            try:
                self._resource_calls.release(old.name, _digest(old), owned)
            except PluginError as error:
                self.endings.append(error.__cause__ or error)
            else:
                self._back.append(partial(self._acquire_for, old, owned))

    def _close_ports(self, new: LivePlugin) -> None:
        undo = new.context.listening.drop_others(self._old.context.listening if self._old else None)

        def open_again() -> None:
            try:
                undo()
            except OSError as error:
                raise RegisterError(new.name, "a port of ctx.listen cannot be opened again") from error

        self._back.append(open_again)

    def _acquire(self, new: LivePlugin) -> None:
        new.context.listening.open(new.name)
        self._back.append(new.context.listening.shut)
        previous: dict[str, Owned[object]] = {}
        if self._old is not None:
            previous = {each.key: each for each in self._old.context.owned if each.is_held}
        for owned in new.context.owned:
            before = previous.get(owned.key) if owned.replace is not None else None
            if before is None:
                self._acquire_for(new, owned)
                self._back.append(partial(self._resource_calls.release, new.name, _digest(new), owned))
            else:
                self._resource_calls.replace(new.name, _digest(new), owned, before)
                self._back.append(partial(self._replace_back, owned, before))

    def _follow(self, new: LivePlugin) -> None:
        """Give the kept objects the new version's classes."""
        version = new.context.version
        assert version is not None
        # Again: calls may have added objects since the trial.
        followers = Followers(new.state, version, self._containers, everywhere=new.follows_everywhere)
        self._back.append(followers.go_back)
        self._resource_calls.call(new.name, _digest(new), "adopt of a kept object", followers.follow)

    def _acquire_for(self, version: LivePlugin, owned: Owned[object]) -> None:
        self._resource_calls.acquire(version.name, _digest(version), owned)

    def _replace_back(self, owned: Owned[object], before: Owned[object]) -> None:
        old, new = self._old, self._new
        assert old is not None
        assert new is not None
        if before.replace is not None:
            self._resource_calls.replace(old.name, _digest(old), before, owned)
            return
        try:
            self._resource_calls.release(new.name, _digest(new), owned)
        finally:
            self._acquire_for(old, before)


def enter_all(
    entering: Mapping[LivePlugin, HandOver], entered: dict[LivePlugin, HandOver]
) -> dict[LivePlugin, PluginError]:
    """Let trials acquire, each after those that it requires; return the errors of those that cannot.

    The trials that can are added to ``entered``. If a live version needs a resource back that another trial
    has taken, all of ``entered`` is given back; those trials have not failed, and may try once more.
    """
    lost: list[str] = []

    def make_room() -> bool:
        others = [*entered.values()]
        entered.clear()
        for other in reversed(others):
            errors = [each.__cause__ or each for each in other.take_back()]
            lost.extend([*map(_in_words, errors), *other.not_started])
        return bool(others)

    failed: dict[LivePlugin, PluginError] = {}
    for trial, hand_over in entering.items():
        if _requires_one_of(trial, failed):
            hand_over.take_back(make_room)
            continue
        try:
            hand_over.enter(make_room)
        except PluginError as error:
            failed[trial] = error
            _add_notes(error, lost)
            lost.clear()
        else:
            entered[trial] = hand_over
    return failed


def _requires_one_of(trial: LivePlugin, others: Collection[LivePlugin]) -> bool:
    required = [peer.generation() for peer in trial.generation.peers.values()]
    return any(other.generation in required for other in others)


def _digest(version: LivePlugin) -> str:
    return version.generation.artifact.manifest.digest


def _in_words(error: BaseException) -> str:
    return f"the previous version: {type(error).__name__}: {message_of(error)}"


def _add_notes(error: PluginError, notes: list[str]) -> None:
    for note in notes:
        with contextlib.suppress(Exception):  # an exception class of the plugin may not accept notes
            BaseException.add_note(error.__cause__ or error, note)


def _both(error: PluginError, failures: list[PluginError]) -> BaseExceptionGroup[BaseException]:
    """Return the errors of a trial and of the previous version, which could not take its resources back."""
    problem = "the hand-over failed, and the previous version, still live, could not take everything back"
    return BaseExceptionGroup(problem, [each.__cause__ or each for each in (error, *failures)])
