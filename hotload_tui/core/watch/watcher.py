"""``Watcher``: notifications lead to scans, and scans find changes."""

from __future__ import annotations

import functools
import logging
import os
import queue
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from hotload_tui.core.config import Config
from hotload_tui.core.errors import near
from hotload_tui.core.model import WatcherStatus
from hotload_tui.core.primitives import Event, Lock, Thread, current_thread, monotonic
from hotload_tui.core.source import SourceRule
from hotload_tui.core.watch.debounce import Debouncer
from hotload_tui.core.watch.notifier import MakeNotifier, Notifier, notifier_for, overflow
from hotload_tui.core.watch.scanner import Mark, PluginChange, Repositories, Scanner, Sweep, Verdict, tick

_APART = 1.0  # seconds between two notifiers: making one takes 20 ms for 2,000 directories, with the GIL held
_RETRY = 10.0  # seconds until a partial notifier is replaced
_ROOT_RETRY = 0.1

SWEEP_WHEN_DEGRADED: Final = 0.5
"""Seconds per sweep of all plugins while some changes cause no notification."""

Notifications: TypeAlias = "queue.SimpleQueue[Collection[str] | None]"
"""Paths with changes; ``None``: there may be changes anywhere."""


class NotifierThread:
    """The work of one thread: ``run``; any thread may call the other methods."""

    def __init__(
        self,
        root: Path,
        packages: Collection[str],
        make_notifier: MakeNotifier,
        notifications: Notifications,
        *,
        directories: Callable[[], list[str]],
        report: Callable[[WatcherStatus], None],
        check: Callable[[], None],
    ) -> None:
        """Listen below ``root`` and to ``packages``; if that fails, to those ``directories`` that work.

        ``report`` receives the status; ``check`` is called at each step of the notifier.
        """
        self._root = root
        self._packages = packages
        self._make_notifier = make_notifier
        self._notifications = notifications
        self._directories = directories
        self._report = report
        self._check = check
        self._ended = Event()
        self._woken = Event()  # set: make a new notifier
        self._made_at = 0.0
        self._retry_at = 0.0
        self._lock = Lock()
        self._notifier: Notifier | None = None  # listens now
        self._beginning: WatcherStatus | None = None  # to report once the notifier listens

    def run(self) -> None:
        """Listen until ``end``."""
        while not self._ended.is_set():
            self._woken.clear()
            self._made_at = monotonic()
            self._retry_at = 0.0
            try:
                self._listen_to_all()
            except Exception as error:  # any failure: a name that is not UTF-8 ends a notifier
                self._report(_degraded(error))
                self._retry_at = monotonic() + _RETRY
            self._check()
            self._pause()

    def end(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._interrupt()

    def renew(self) -> None:
        """Listen with a new notifier soon: the current one missed a change."""
        self._woken.set()
        self._interrupt()

    def is_set(self) -> bool:
        """Return whether the notifier must stop, also for a new one; the first call shows that it listens."""
        self._check()
        begun, self._beginning = self._beginning, None
        if begun is not None:
            self._report(begun)
            self._notifications.put(None)  # changes from before it listened
        return self._is_over()

    def _listen_to_all(self) -> None:
        """Listen below the root; if that fails, to the directories that can be watched."""
        root = os.fspath(self._root)
        packages = [each for each in self._packages if os.path.exists(each)]  # noqa: PTH110 - as text
        places = packages if packages and not self._root.is_dir() else [root, *packages]
        try:
            self._listen(places, WatcherStatus("watching"))
        except Exception as error:  # as in ``run``
            if self._beginning is None:
                raise
            refusal = error
        else:
            return
        if isinstance(refusal, FileNotFoundError):
            if not self._root.is_dir():  # otherwise a directory below it vanished: try again
                trouble = f"no plugin directory {near(self._root)}; it is watched for"
                self._report(WatcherStatus("failed", trouble))
            return
        # One directory that cannot be watched would fail the whole tree: name each directory.
        self._retry_at = monotonic() + _RETRY
        self._listen([*places, *self._directories()], _degraded(refusal), is_partial=True)

    def _listen(self, directories: list[str], begun: WatcherStatus, *, is_partial: bool = False) -> None:
        """Make a notifier and listen to it; report ``begun`` once it listens."""
        self._beginning = begun
        notifier = self._make_notifier(directories, is_partial)
        with self._lock:
            self._notifier = notifier
        try:
            while not self._is_over():
                paths = notifier.wait(self)
                if paths is not None or not self._is_over():
                    self._notifications.put(paths)
        finally:
            with self._lock:  # nothing interrupts a closed notifier
                self._notifier = None
            notifier.close()

    def _interrupt(self) -> None:
        with self._lock:
            if self._notifier is not None:
                self._notifier.interrupt()

    def _pause(self) -> None:
        """Wait until the next notifier may be made; ``end`` cuts the wait short."""
        wait = self._made_at + _APART - monotonic()
        if not self._root.is_dir() and not self._packages:
            wait = _ROOT_RETRY
        if wait > 0:
            self._ended.wait(wait)

    def _is_over(self) -> bool:
        """Return whether the notifier must end; a partial notifier listens until the next one is due."""
        if self._ended.is_set():
            return True
        now = monotonic()
        is_due = self._woken.is_set() and now - self._made_at >= _APART
        return is_due or (self._retry_at != 0.0 and now >= self._retry_at)


def _degraded(error: Exception) -> WatcherStatus:
    return WatcherStatus(
        "degraded",
        f"the system does not report all changes ({error}); scanning every {SWEEP_WHEN_DEGRADED:g} s",
    )


logger = logging.getLogger("hotload.engine")

_DEFAULTS: Final = Config()
_GIT_STEP = 0.005  # seconds between two checks whether git is done
_MISSING = 1.0  # seconds until a notification counts as missing: on a busy machine it comes late

OnChange: TypeAlias = Callable[[Sequence[PluginChange]], Collection[str]]
"""Called with the changes; returns the names of the plugins to report again once they are settled."""


class Dispatcher:
    """The work of one thread: ``run``, until ``is_ended``."""

    def __init__(
        self,
        notifications: Notifications,
        *,
        root: Path,
        rule: SourceRule,
        on_change: OnChange,
        on_tick: Callable[[], None],
        settle_time: float,
        debounce_time: float,
        sweep_interval: float,
        doubted: set[str],
    ) -> None:
        self._root = root
        self._prefixes = _prefixes(root)
        self._packages = _packages(rule)
        self._rule = rule
        self._notifications = notifications
        self._on_change = on_change
        self._on_tick = on_tick
        self._sweep_interval = sweep_interval
        self.scanner = Scanner(root, rule, doubted)
        self._debouncer = Debouncer(settle_time, debounce_time)
        self._repositories = Repositories(root, debounce_time)
        self._mark = self._repositories.mark()  # all earlier changes by git are reported
        self._unproven: set[str] = set()  # reported, and to be reported again once settled
        # Found by the sweep, and when: perhaps changed, and changed for sure. A notification may still come.
        self._unnotified: dict[str, float] = {}
        self._changed: dict[str, float] = {}
        self._held: set[str] = set()  # waiting for git
        self._broken: set[str] = set()  # the last scan failed
        self._overflow = overflow()
        self._slices = Sweep(root, self.scanner)

    def run(
        self, is_ended: Callable[[], bool], is_degraded: Callable[[], bool], renew: Callable[[], None]
    ) -> None:
        """Dispatch; call ``renew`` if the notifier misses changes; ``is_degraded`` makes the sweep fast."""
        next_slice = monotonic()
        while not is_ended():
            due = self._debouncer.next_due()
            wake = next_slice if due is None else min(next_slice, due)
            if self._collect(max(0.0, wake - monotonic())):
                renew()
            now = monotonic()
            if now >= next_slice:
                interval = (
                    min(self._sweep_interval, SWEEP_WHEN_DEGRADED) if is_degraded() else self._sweep_interval
                )
                if self._sweep(now, interval):
                    renew()
                self._on_tick()
                next_slice = now + tick(interval)
            self._dispatch(is_ended)
            if self.scanner.take_new_links():
                renew()

    # ---- notifications

    def _collect(self, patience: float) -> bool:
        """Wait for notifications and record them; return whether the system's queue may have overflowed."""
        try:
            paths = self._notifications.get(timeout=patience)
        except queue.Empty:
            return False
        now = monotonic()
        while True:
            if paths is None or len(paths) >= self._overflow:
                self._look_around(now)
            if paths is not None and len(paths) >= self._overflow:
                return True
            for path in paths or ():
                self._notify(path, now)
            try:
                paths = self._notifications.get_nowait()
            except queue.Empty:
                return False

    def _notify(self, path: str, now: float) -> None:
        for start, package in self._packages:
            if f"{path}{os.sep}".startswith(start):
                rest = path[len(start) :]
                self._note(package, rest.split(os.sep) if rest else (), now)  # noqa: PTH206 - as below
                return
        prefix = next((prefix for prefix in self._prefixes if path.startswith(prefix)), None)
        if prefix is None:
            if path in {each.rstrip(os.sep) for each in self._prefixes}:
                self._look_around(now)
            return
        directory, *parts = path[len(prefix) :].split(os.sep)  # noqa: PTH206 - thousands of paths in a burst
        name = self._rule.layout.name_of(directory)
        if name is not None:
            self._note(name, parts, now)

    def _note(self, name: str, parts: Sequence[str], now: float) -> None:
        """Schedule a scan of a plugin in which the path with these ``parts`` changed, if that path counts."""
        if parts and self._rule.leaves_out_below(parts):
            return
        relatives = {name} if self._debouncer.is_waiting(name) else self.scanner.relatives(name)
        for each in relatives:
            self._unnotified.pop(each, None)
            self._changed.pop(each, None)
            self._debouncer.notify(each, now)

    def _look_around(self, now: float) -> None:
        """Schedule a scan of all plugins that may differ from the known state."""
        self._prefixes, self._packages = _prefixes(self._root), _packages(self._rule)
        known = set(self.scanner.names())
        for name in self.scanner.moved() | {name for name in known if self.scanner.is_different(name)}:
            self._debouncer.notify(name, now)

    # ---- the sweep

    def _sweep(self, now: float, interval: float) -> bool:
        """Schedule scans of changes without a notification; return whether to make a new notifier."""
        if self._slices.has_other_root():
            self._look_around(now)
            return True
        for name in self._slices.slice(now, interval) | self._slices.arrivals(now, interval):
            if not self._debouncer.is_waiting(name):
                self._unnotified[name] = now
                self._debouncer.notify(name, now)
        late = [name for name, found_at in self._changed.items() if now - found_at >= _MISSING]
        for name in late:
            del self._changed[name]
        return bool(late)

    # ---- scans

    def _dispatch(self, is_ended: Callable[[], bool]) -> None:
        now = monotonic()
        due = self._debouncer.due(now)
        if not due:
            return
        overdue = {name for name in due if self._debouncer.is_overdue(name, now)}
        waiting = [name for name in due if name not in overdue]
        busy = self._repositories.busy(self.scanner.paths(waiting))
        mark = self._repositories.mark()
        if not busy and mark != self._mark:
            # git's change is complete on disk: report all of it together, even without notifications.
            self._mark = mark
            due = sorted({*due, *filter(self.scanner.is_different, self.scanner.names())})
        self._held = self._held | busy if busy else set()
        for name in self._held:  # all at the same moment: git's change is reported together
            self._debouncer.delay(name, now + _GIT_STEP)
        changes = [change for name in due if name not in busy and (change := self._look(name))]
        overtaken = self._overtaken([change.name for change in changes if change.name not in overdue], mark)
        changes = [change for change in changes if change.name not in overtaken]
        if changes and not is_ended():
            self._report_changes(changes)

    def _overtaken(self, names: Collection[str], mark: Mark) -> set[str]:
        """Return the plugins that git began to change during their scan; scan them again."""
        now = monotonic()
        overtaken = self._repositories.overtaken(self.scanner.paths(names), mark) if names else set()
        for name in overtaken:
            self.scanner.doubt(name)
            self._debouncer.notify(name, now)
            self._debouncer.delay(name, now + _GIT_STEP)
        return overtaken

    def _look(self, name: str) -> PluginChange | None:
        now = monotonic()
        settled = self._debouncer.is_settled(name, now)
        again = settled and name in self._unproven
        try:
            found = self.scanner.look(name, settled=settled, again=again)
        except Exception as error:  # no answer of a file system may end the watching of other plugins
            return self._failed(name, now, error)
        self._broken.discard(name)
        if found is Verdict.TORN or (found is Verdict.SAME and name in self._unproven):
            self._debouncer.postpone(name, now)
            return None
        self._debouncer.looked(name, now)
        if isinstance(found, PluginChange):
            self._debouncer.changed(name, now)
            if (found_at := self._unnotified.pop(name, None)) is not None:
                self._changed.setdefault(name, found_at)
            return found
        self._unnotified.pop(name, None)  # nothing changed, so no notification is missing
        return None

    def _failed(self, name: str, now: float, error: Exception) -> PluginChange | None:
        """Report, once in a row, that a plugin cannot be scanned; its next notification scans it again."""
        self._debouncer.looked(name, now)
        self._unnotified.pop(name, None)
        if name in self._broken:
            return None
        self._broken.add(name)
        logger.error("looking for changes of %s failed; the others are watched", name, exc_info=error)
        return PluginChange(name)

    def _report_changes(self, changes: Sequence[PluginChange]) -> None:
        names = {change.name for change in changes}
        unsettled = {change.name for change in changes if not change.is_settled}
        try:
            again = set(self._on_change(changes)) & set(self.scanner.names())
        except Exception:  # foreign code: a failing call must neither end the watching nor lose the change
            logger.exception("handling changes of %s failed", ", ".join(sorted(names)))
            again = unsettled
        self._unproven = (self._unproven - names) | again
        now = monotonic()
        for name in again:
            self._debouncer.postpone(name, now)


def _prefixes(root: Path) -> tuple[str, ...]:
    """Return the prefixes of all paths below the root: a system may resolve links in it."""
    places = dict.fromkeys([os.fspath(root), os.path.realpath(root)])
    return tuple(os.path.join(place, "") for place in places)  # noqa: PTH118 - the separator at the end


def _packages(rule: SourceRule) -> list[tuple[str, str]]:
    """Return the prefixes of all paths in packages, also with links resolved, each with the plugin's name."""
    places = rule.layout.packages.items()
    return [(prefix, name) for name, place in places for prefix in _prefixes(Path(place))]


_PATIENCE = 0.08  # seconds that ``stop`` waits for the threads; their current work may end later


NewDispatcher: TypeAlias = Callable[[Notifications], Dispatcher]
"""Makes a dispatcher that takes its notifications from a queue, and to which every plugin is new."""


class Threads:
    """The threads of a watcher, from ``start`` to ``stop``; used once."""

    def __init__(
        self,
        root: Path,
        packages: Collection[str],
        make_notifier: MakeNotifier,
        new_dispatcher: NewDispatcher,
        on_status: Callable[[], None],
    ) -> None:
        self._on_status = on_status
        self._new_dispatcher = new_dispatcher
        self._notifications: Notifications = queue.SimpleQueue()
        self._dispatcher = new_dispatcher(self._notifications)
        self._notifier_thread = NotifierThread(
            root,
            packages,
            make_notifier,
            self._notifications,
            directories=lambda: self._dispatcher.scanner.directories(),  # noqa: PLW0108 - it may be replaced
            report=self._note,
            check=self._check_watch,
        )
        self._stopped = Event()
        self.status = WatcherStatus("watching")
        """Whether changes are found, and the trouble if not."""
        self._died: dict[str, BaseException] = {}
        self._notifier = self._thread("hotload-notify", self._notifier_thread.run)
        self._watch = self._thread("hotload-watch", self._dispatch)

    def start(self) -> None:
        """Record the current state as known, and start the threads."""
        self._dispatcher.scanner.begin()
        self._notifier.start()
        self._watch.start()

    def stop(self) -> None:
        """Stop the threads; return within a tenth of a second."""
        self._stopped.set()
        self._notifier_thread.end()
        self._notifications.put(())
        until = monotonic() + _PATIENCE
        for thread in (self._notifier, self._watch):
            if thread is not current_thread():
                thread.join(max(0.0, until - monotonic()))

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # also a misdirected exception; the other thread reports it
                self._died[name] = error

        return Thread(run, name)

    def _dispatch(self) -> None:
        self._dispatcher.run(
            self._is_ended, lambda: self.status.state == "degraded", self._notifier_thread.renew
        )

    # ---- each thread restarts the other

    def _is_ended(self) -> bool:
        """Return whether the dispatcher must end; restart the notifier's thread if it has ended."""
        if self._stopped.is_set():
            return True
        if not self._notifier.is_alive():
            self._notifier = self._thread("hotload-notify", self._notifier_thread.run)
            self._replace(self._notifier)
        return False

    def _check_watch(self) -> None:
        """Restart the dispatcher if it has ended; called at each step of the notifier."""
        if self._watch.is_alive() or self._stopped.is_set() or self._watch.ident is None:
            return
        # Its unreported changes would be lost: to a new dispatcher every plugin is new.
        self._dispatcher = self._new_dispatcher(self._notifications)
        self._notifications.put(None)
        self._watch = self._thread("hotload-watch", self._dispatch)
        self._replace(self._watch)

    def _replace(self, thread: threading.Thread) -> None:
        before = self.status
        error = self._died.pop(thread.name, None)
        self._note(WatcherStatus("degraded", f"the thread {thread.name} ended ({error!r}); a new one begins"))
        logger.error("the thread %s ended", thread.name, exc_info=error)
        thread.start()
        self._note(before)

    def _note(self, status: WatcherStatus) -> None:
        if status != self.status:
            self.status = status
            self._on_status()


class Watcher:
    """Reports plugins that have changed, appeared or disappeared to ``on_change``, with their sources.

    The call comes from a thread of the watcher; the next call reports the changes that happen meanwhile.
    """

    def __init__(
        self,
        root: Path,
        on_change: OnChange,
        *,
        on_status: Callable[[], None] = lambda: None,
        on_tick: Callable[[], None] = lambda: None,
        settle_time: float = _DEFAULTS.settle_time,
        debounce_time: float = _DEFAULTS.debounce_time,
        sweep_interval: float = _DEFAULTS.sweep_interval,
        make_notifier: MakeNotifier | None = None,
        rule: SourceRule | None = None,
        doubted: set[str] | None = None,
    ) -> None:
        """Watch ``root`` once started; scan a save after ``settle_time`` s of quiet.

        A stream of changes delays the scan by at most ``debounce_time`` s. The next scan reports each plugin
        in ``doubted``, even if its files are known. ``on_tick`` is called every 0.1 to 1 s. ``make_notifier``
        makes the notifiers.
        """
        self._root = root.absolute()
        self._on_status = on_status
        self._make_notifier = make_notifier or notifier_for(_DEFAULTS.watch.notifier)
        rule = rule or SourceRule()
        self._packages = rule.layout.packages.values()
        self._new_dispatcher = functools.partial(
            Dispatcher,
            root=self._root,
            rule=rule,
            on_change=on_change,
            on_tick=on_tick,
            settle_time=settle_time,
            debounce_time=debounce_time,
            sweep_interval=sweep_interval,
            doubted=set() if doubted is None else doubted,
        )
        self._threads: Threads | None = None

    def start(self) -> None:
        """Start to watch: no change after the return is missed; do nothing if already started."""
        if self._threads is None:
            self._threads = Threads(
                self._root, self._packages, self._make_notifier, self._new_dispatcher, self._on_status
            )
            self._threads.start()

    def stop(self) -> None:
        """Stop watching; a running call of ``on_change`` may end after the return, but no other begins."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.stop()

    def status(self) -> WatcherStatus:
        """Return whether it watches, and the trouble if not."""
        return WatcherStatus("off") if self._threads is None else self._threads.status
