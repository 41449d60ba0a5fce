"""From a save to ``on_change``, beside the system's bare notification and watchfiles with defaults."""

from __future__ import annotations

import ctypes
import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from watchfiles import watch

from hotload_tui import Config
from hotload_tui.core.config import WatchConfig
from hotload_tui.core.watch.notifier import notifier_for
from hotload_tui.core.watch.scanner import PluginChange
from hotload_tui.core.watch.watcher import Watcher

_APART = 0.02  # seconds between two saves, each of another plugin, as by an occasional user
_LOST = 10.0  # seconds until a save counts as lost
_MODIFIED, _CLOSED, _MOVED = 0x2, 0x8, 0x80


class Tree:
    """Plugins of five files each; the measured watcher calls ``heard``."""

    def __init__(self, plugins: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.root = Path(self._folder.name, "plugins")
        self.entries: list[Path] = []
        for number in range(plugins):
            folder = self.root / f"p{number}"
            folder.mkdir(parents=True)
            for file in ("plugin.py", "a.py", "b.py", "c.py", "d.py"):
                (folder / file).write_text("A = 1\n")
                os.utime(folder / file, (1e9, 1e9))  # long ago, as most files are
            self.entries.append(folder / "plugin.py")
        self._heard = threading.Event()
        self._at = 0.0

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()

    def heard(self) -> None:
        """Record that a change was reported."""
        self._at = time.perf_counter()
        self._heard.set()

    def times(self, saves: int) -> list[float]:
        """Save one plugin after the other, and return the seconds until each report."""
        seconds = []
        for number in range(saves):
            time.sleep(_APART)
            self._heard.clear()
            begun = time.perf_counter()
            self.entries[number % len(self.entries)].write_text(f"A = {number + 2}\n")
            seconds.append(self._at - begun if self._heard.wait(_LOST) else _LOST)
        return seconds


def by_watcher(saves: int, notifier: str = WatchConfig().notifier) -> list[float]:
    """Measure the watcher with a user's settings, shortly after other saves."""
    return _measured(functools.partial(_watcher, notifier=notifier), saves)


def by_inotify(saves: int) -> list[float]:
    """Measure a thread that only reads the system's notification: the floor."""
    return _measured(_inotify, saves)


def by_watchfiles(saves: int) -> list[float]:
    """Measure watchfiles with its defaults."""
    return _measured(_watchfiles, saves)


def idle(plugins: int, seconds: float, notifier: str = WatchConfig().notifier) -> float:
    """Return the share of a core that watching takes while nothing changes."""
    tree = Tree(plugins)
    with contextmanager(_watcher)(tree, notifier):
        time.sleep(1.0)  # the checks after the start
        share = _share(seconds)
    tree.close()
    return share


def _measured(listening: Callable[[Tree], Iterator[Watcher | None]], saves: int) -> list[float]:
    tree = Tree(50)
    with contextmanager(listening)(tree):
        seconds = tree.times(saves)
    tree.close()
    return seconds


def _watcher(tree: Tree, notifier: str) -> Iterator[Watcher]:
    begun = threading.Event()

    def hear(_changes: Sequence[PluginChange]) -> tuple[str, ...]:
        begun.set()
        tree.heard()
        return ()

    config = Config()
    watcher = Watcher(
        tree.root,
        hear,
        settle_time=config.settle_time,
        debounce_time=config.debounce_time,
        sweep_interval=config.sweep_interval,
        make_notifier=notifier_for(notifier),
    )
    watcher.start()
    _save_until(begun, tree)
    yield watcher
    watcher.stop()


def _save_until(begun: threading.Event, tree: Tree) -> None:
    """Save until the first save is reported, which means that everything listens."""
    number = 0
    while not begun.wait(0.2):
        number += 1
        tree.entries[0].write_text(f"B = {number}\n")


def _inotify(tree: Tree) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(0)
    for entry in tree.entries:
        libc.inotify_add_watch(descriptor, os.fsencode(entry.parent), _MODIFIED | _CLOSED | _MOVED)
    ends = threading.Event()

    def read() -> None:
        while os.read(descriptor, 65536) and not ends.is_set():
            tree.heard()

    reader = threading.Thread(target=read)
    reader.start()
    yield
    ends.set()
    tree.entries[0].write_text("A = 1\n")
    reader.join()
    os.close(descriptor)


def _watchfiles(tree: Tree) -> Iterator[None]:
    ends, begun = threading.Event(), threading.Event()

    def listen() -> None:
        for _ in watch(tree.root, stop_event=ends):
            begun.set()
            tree.heard()

    listener = threading.Thread(target=listen)
    listener.start()
    _save_until(begun, tree)
    yield
    ends.set()
    listener.join()


def _share(seconds: float) -> float:
    used = time.process_time()
    time.sleep(seconds)
    return (time.process_time() - used) / seconds
