"""The comparison of the disk with the known state, and the sweep that works without notifications."""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from hotload_tui.core import directories as discovery
from hotload_tui.core.directories import PluginDirectory
from hotload_tui.core.errors import RuntimeDirError
from hotload_tui.core.primitives import monotonic, time, time_ns
from hotload_tui.core.source import (
    FileFacts,
    Listing,
    Source,
    SourceFile,
    SourceRule,
    digest_of,
    folder_facts,
    is_as_listed,
    printable,
    read_file,
    scan,
)
from hotload_tui.core.watch.debounce import SETTLED

Mark: TypeAlias = tuple[int, int] | None
"""Inode and modification time of git's index; ``None`` if there is no index."""


class Repositories:
    """Detects by ``index.lock`` whether git is at work."""

    def __init__(self, root: Path, longest: float) -> None:
        """Watch the repository that encloses ``root``; a lock older than ``longest`` s was left behind."""
        self._around = [os.fspath(folder) for folder in (root, *root.parents)]
        self._longest = longest

    def busy(self, plugins: Mapping[str, Path]) -> set[str]:
        """Return the plugins in or around whose directories git is at work."""
        around = self._enclosing()
        if around is not None and self._is_locked(around):
            return set(plugins)
        own = {name: self._git_folder_of(path) for name, path in plugins.items()}
        return {name for name, place in own.items() if place is not None and self._is_locked(place)}

    def overtaken(self, plugins: Mapping[str, Path], since: Mark) -> set[str]:
        """Return the plugins of which a scan after the mark ``since`` may have read half of git's change."""
        busy = self.busy(plugins)  # first: if git ends now, its new index shows in the mark below
        return busy if self.mark() == since else set(plugins)

    def mark(self) -> Mark:
        """Return a value that differs after each change by git, because git replaces its index."""
        around = self._enclosing()
        try:
            found = (around / "index").stat() if around is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_ino, found.st_mtime_ns)

    def _git_folder_of(self, plugin: Path) -> Path | None:
        """Return the directory of git's index for a plugin with a working tree of its own, or elsewhere."""
        is_below = os.fspath(plugin).startswith(self._around[0])
        folders = (plugin,) if is_below else (plugin, *plugin.parents)
        return next((found for folder in folders if (found := _git_folder(os.fspath(folder)))), None)

    def _is_locked(self, place: Path) -> bool:
        try:
            return time() - (place / "index.lock").stat().st_mtime <= self._longest
        except OSError:
            return False

    def _enclosing(self) -> Path | None:
        return next((found for folder in self._around if (found := _git_folder(folder))), None)


def _git_folder(folder: str) -> Path | None:
    """Return the directory of git's index if ``folder`` is the top of a working tree, otherwise ``None``."""
    place = f"{folder}/.git"
    try:
        mode = os.stat(place).st_mode  # noqa: PTH116 - runs for each folder on the way up at each save
        if stat.S_ISDIR(mode):
            return Path(place)
        # A worktree or a submodule: the file contains the path.
        return Path(folder, Path(place).read_text().removeprefix("gitdir:").strip())
    except (OSError, UnicodeDecodeError):
        return None


_GRAIN = 20_000_000  # ns: two writes this close may leave the same mtime
_RECENT = 60_000_000_000  # ns: a written page of a memory map stays dirty for less

_NOTHING = Listing({}, {}, {})


class PluginChange(Struct, frozen=True):
    """A plugin whose files have changed, or that has appeared or disappeared."""

    name: str
    source: Source | None = None
    """The source as read; ``None``: the plugin is gone, disabled or unreadable, so check the disk."""
    modified: float = 0.0
    """When the newest change was written, in seconds since the epoch."""
    is_settled: bool = True
    """Whether the files were quiet for so long that a failure is not due to a half-written file."""


class Verdict(enum.Enum):
    """The result of a scan that has no change to report."""

    SAME = enum.auto()
    TORN = enum.auto()
    """The files look like the middle of a save."""


class _Read(Struct, frozen=True):
    sha256: str
    is_racy: bool
    """Whether the file was written so shortly before the read that another write may not show."""


class _Known(Struct):
    directory: PluginDirectory
    listing: Listing
    read: dict[str, _Read]
    digest: str = ""
    """Empty until every file has been read."""
    trouble: str = ""
    """Why the plugin could not be read."""
    newest: int = 0
    """The last write time of all files, in ns since the epoch."""


class Scanner:
    """Keeps the facts of all plugins' files, and reads the files that differ; used by one thread."""

    def __init__(self, root: Path, rule: SourceRule, doubted: set[str]) -> None:
        """Compare the plugins under ``root``; the next scan reports the ``doubted`` plugins in any case."""
        self._root = root
        self._rule = rule
        self._doubted = doubted
        self._known: dict[str, _Known] = {}
        self._by_folder: dict[tuple[int, int], set[str]] = {}
        self._has_new_links = False

    def begin(self) -> None:
        """Record the current state as known; read only the plugins with recently written files."""
        for name, directory in self._list().items():
            known = _unknown(directory)
            try:
                known.listing = self._scan(directory)
                self._read_recent(known)
            except OSError as error:
                known.trouble = str(error)
            self._remember(name, known)
        self._has_new_links = False

    def names(self) -> Collection[str]:
        """Return the names of the known plugins."""
        return self._known.keys()

    def paths(self, names: Collection[str]) -> dict[str, Path]:
        """Return the directories of the named plugins, without the unknown plugins."""
        return {name: self._known[name].directory.path for name in names if name in self._known}

    def directories(self) -> list[str]:
        """Return the paths of all plugins' directories; the notifier listens to single files at the root."""
        paths = [known.directory.path for known in list(self._known.values())]
        return [os.fspath(path) for path in paths if not self._rule.layout.is_file(path)]

    def relatives(self, name: str) -> set[str]:
        """Return the named plugin and all plugins that share a folder with it through links."""
        known = self._known.get(name)
        found = {name}
        for facts in known.listing.folders.values() if known else ():
            found |= self._by_folder[facts[:2]]
        return found

    def take_new_links(self) -> bool:
        """Return, once, whether new links to folders appeared: the notifier does not listen behind them."""
        taken, self._has_new_links = self._has_new_links, False
        return taken

    def moved(self) -> set[str]:
        """Return the plugins that have appeared, disappeared, or moved to another directory."""
        found = self._list()
        return {name for name in found.keys() | self._known.keys() if self._is_moved(name, found.get(name))}

    def has_strangers(self) -> bool:
        """Return whether there may be an unknown plugin; faster than ``moved``."""
        known = {known.directory.path.name for known in self._known.values()}
        try:
            names = os.listdir(self._root)  # noqa: PTH208 - only the names are needed
        except OSError:
            return bool(known)
        return any(
            discovery.plugin_at(self._root / name, self._rule.layout) for name in names if name not in known
        )

    def is_different(self, name: str) -> bool:
        """Return whether the plugin's files may differ from the known state; read recently written files."""
        known = self._known.get(name)
        if known is None or known.trouble or name in self._doubted:
            return True
        path = os.fspath(self._folder(known.directory))
        try:
            return not is_as_listed(path, known.listing) or self._is_rewritten(known)
        except OSError:
            return True

    def look(self, name: str, *, settled: bool, again: bool = False) -> PluginChange | Verdict:
        """Compare a plugin with the known state, and record its current state as known.

        ``settled`` accepts files that look like the middle of a save; ``again`` reports the plugin as changed
        even if its files are known.
        """
        is_doubted = name in self._doubted
        found = self._look(name, settled=settled, again=again or is_doubted)
        if is_doubted and found is not Verdict.TORN:
            self._doubted.discard(name)
        return found

    def doubt(self, name: str) -> None:
        """Report a plugin at the next scan in any case."""
        self._doubted.add(name)

    def _look(self, name: str, *, settled: bool, again: bool) -> PluginChange | Verdict:
        known = self._known.get(name)
        directory = discovery.find_plugin(self._root, name, self._rule.layout)
        if directory is None:
            return self._gone(name, known, settled=settled)
        again = again or known is None or known.directory.enabled != directory.enabled
        try:
            if directory.enabled:
                return self._compare(known or _unknown(directory), directory, settled=settled, again=again)
            self._remember(name, _Known(directory, self._scan(directory), {}))
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError) and not settled:
                return Verdict.TORN
            return self._unreadable(known or _unknown(directory), directory, error, again=again)
        return PluginChange(name) if again else Verdict.SAME

    # ---- the result of a scan

    def _gone(self, name: str, known: _Known | None, *, settled: bool) -> PluginChange | Verdict:
        if known is None:
            return Verdict.SAME
        if not settled:
            return Verdict.TORN
        self._forget(name)
        return PluginChange(name)

    def _compare(
        self, known: _Known, directory: PluginDirectory, *, settled: bool, again: bool
    ) -> PluginChange | Verdict:
        listing, folder = self._scan(directory), self._folder(directory)
        again = again or _was_renamed(known.listing, listing)
        changed = _changed(known, listing, is_report=again or bool(known.trouble))
        if not changed and not again and listing.files == known.listing.files and not known.trouble:
            self._remember(directory.name, _Known(directory, listing, known.read, known.digest))
            return Verdict.SAME
        if not settled and _is_torn(known, listing, changed, self._rule.layout.entry_of(directory.path).file):
            return Verdict.TORN
        now = time_ns()
        files = {path: read_file(folder, path) for path in changed}
        read = {path: _read(files[path], facts, now) for path, facts in changed.items()}
        there = {path: facts for path, facts in listing.files.items() if facts}
        kept = {path: known.read[path] for path in there if path not in read}
        digest = self._digest(read | kept, directory)
        if digest == known.digest and not again:
            self._remember(directory.name, _Known(directory, listing, read | kept, digest))
            return Verdict.SAME
        files |= {path: read_file(folder, path) for path in kept}
        if not settled and scan(directory.path, self._rule).files != listing.files:
            return Verdict.TORN  # the files as read may not belong together
        read = {path: _read(files[path], facts, now) for path, facts in there.items()}
        self._remember(directory.name, _Known(directory, listing, read, self._digest(read, directory)))
        source = self._source(directory, files, listing)
        return PluginChange(directory.name, source, _modified(known.listing, listing, changed), settled)

    def _unreadable(
        self, known: _Known, directory: PluginDirectory, error: OSError, *, again: bool
    ) -> PluginChange | Verdict:
        is_reported = known.trouble == str(error) and not again
        self._remember(directory.name, _Known(directory, known.listing, {}, trouble=str(error)))
        return Verdict.SAME if is_reported else PluginChange(directory.name)

    # ---- the known state

    def _scan(self, directory: PluginDirectory) -> Listing:
        """List a plugin's files; for a disabled plugin, only its directory."""
        if directory.enabled:
            return scan(directory.path, self._rule)
        if self._rule.layout.is_file(directory.path):
            return _NOTHING
        return Listing({"": folder_facts(os.fspath(directory.path))}, {}, {})

    def _list(self) -> dict[str, PluginDirectory]:
        try:
            return discovery.find_plugins(self._root, self._rule.layout)
        except RuntimeDirError:
            return {}

    def _is_moved(self, name: str, found: PluginDirectory | None) -> bool:
        known = self._known.get(name)
        if known is None or found is None or known.directory.path != found.path:
            return True
        here = known.listing.folders.get("")
        try:
            return here is not None and folder_facts(os.fspath(found.path))[:2] != here[:2]
        except OSError:
            return True

    def _read_recent(self, known: _Known) -> None:
        now = time_ns()
        files = {path: facts for path, facts in known.listing.files.items() if facts}
        if any(now - facts[3] < _RECENT for facts in files.values()):
            path = self._folder(known.directory)
            known.read = {each: _read(read_file(path, each), facts, now) for each, facts in files.items()}
            known.digest = self._digest(known.read, known.directory)

    def _digest(self, read: dict[str, _Read], directory: PluginDirectory) -> str:
        files = sorted((printable(path), each.sha256) for path, each in read.items())
        return digest_of(files, self._rule.layout.entry_of(directory.path))

    def _folder(self, directory: PluginDirectory) -> Path:
        return self._rule.layout.folder_of(directory.path)

    def _source(
        self, directory: PluginDirectory, files: dict[str, SourceFile], listing: Listing
    ) -> Source | None:
        """Return the source with these files; ``None`` if it has no entry, or another plugin its name."""
        layout = self._rule.layout
        entry = layout.entry_of(directory.path)
        if not listing.files.get(entry.file) or layout.rival_of(directory.path) is not None:
            return None
        ordered = tuple(sorted(files.values(), key=lambda file: file.path))
        digest = digest_of(((file.path, file.sha256) for file in ordered), entry)
        home = str(self._folder(directory).absolute())
        return Source(directory.name, home, ordered, digest, listing.files, entry=entry)

    def _is_rewritten(self, known: _Known) -> bool:
        """Return whether a file's bytes have changed although its facts are the same."""
        since = time_ns() - _RECENT
        if known.newest <= since:
            return False
        for path, facts in known.listing.files.items():
            before = known.read.get(path)
            if facts and facts[3] > since and before:
                now = read_file(self._folder(known.directory), path)
                if now.sha256 != before.sha256:
                    known.read[path] = _Read(before.sha256, is_racy=True)  # the scan then reads it, too
                    return True
        return False

    def _remember(self, name: str, known: _Known) -> None:
        before = self._known.get(name)
        links = known.listing.links
        if links and (before is None or before.listing.links != links):
            self._has_new_links = True
        if before is not None and before.listing.folders != known.listing.folders:
            self._forget(name)
        known.newest = max((facts[3] for facts in known.listing.files.values() if facts), default=0)
        self._known[name] = known
        for facts in known.listing.folders.values():
            self._by_folder.setdefault(facts[:2], set()).add(name)

    def _forget(self, name: str) -> None:
        for facts in self._known.pop(name).listing.folders.values():
            names = self._by_folder.get(facts[:2], set())
            names.discard(name)
            if not names:
                self._by_folder.pop(facts[:2], None)


def _unknown(directory: PluginDirectory) -> _Known:
    return _Known(directory, _NOTHING, {})


def _changed(known: _Known, listing: Listing, *, is_report: bool) -> dict[str, FileFacts]:
    """Return the files to read for the digest; none if all are known to be unchanged.

    A report needs all files, even those that have not been read yet because they are old.
    """
    if not known.read and listing.files == known.listing.files and not is_report:
        return {}
    return {
        path: facts
        for path, facts in listing.files.items()
        if facts
        and (known.listing.files.get(path) != facts or path not in known.read or known.read[path].is_racy)
    }


def _was_renamed(before: Listing, after: Listing) -> bool:
    """Return whether the directory itself changed, but nothing in it: it was renamed away and back.

    Code that read the disk in between has unloaded the plugin. The same for a plugin that is a single file.
    """
    was, now = before.folders.get(""), after.folders.get("")
    if was is None and now is None and before.files.keys() == after.files.keys():
        pairs = [(before.files[path], facts) for path, facts in after.files.items()]
        return any(was and now and was != now and was[:4] == now[:4] for was, now in pairs)
    return was is not None and now is not None and was[:3] == now[:3] and was[3] != now[3]


def _is_torn(known: _Known, listing: Listing, changed: Mapping[str, FileFacts], entry: str) -> bool:
    if not known.listing.files and listing.files.get(entry) is None:
        return True
    if any(facts and not listing.files.get(path) for path, facts in known.listing.files.items()):
        return True
    since = time_ns() - int(SETTLED * 1e9)
    return any(size == 0 and written > since for _, _, size, _, written in changed.values())


def _read(file: SourceFile, facts: FileFacts, now: int) -> _Read:
    return _Read(file.sha256, now - facts[3] < _GRAIN)


def _modified(before: Listing, after: Listing, changed: Mapping[str, FileFacts]) -> float:
    """Return when the newest changed file was written; for a removed file, when its folder changed."""
    times = [facts[3] for path, facts in changed.items() if before.files.get(path) != facts]
    times += [facts[2] for path, facts in after.folders.items() if before.folders.get(path) != facts]
    return max(times, default=0) / 1e9


_SLICES = 5  # slices per sweep
_SHORTEST, _LONGEST = 0.1, 1.0  # seconds between two slices; waking up costs more than a small slice

_RootFacts: TypeAlias = tuple[int, int, int]


def tick(interval: float) -> float:
    """Return the seconds between two slices for a sweep of all plugins once per ``interval``."""
    return min(max(interval / _SLICES, _SHORTEST), _LONGEST)


class Sweep:
    """Checks each plugin once per interval, one slice of them at a time, and the root at each slice."""

    def __init__(self, root: Path, scanner: Scanner) -> None:
        self._root = root
        self._scanner = scanner
        self._queue: list[str] = []
        self._owed = 0.0
        self._swept_at = monotonic()
        self._listed_at = self._swept_at
        self._facts = self._root_facts()
        self._directory = self._facts and self._facts[:2]

    def slice(self, now: float, interval: float) -> set[str]:
        """Return the plugins of the next slice that may differ from the known state."""
        share = (now - self._swept_at) / interval
        self._swept_at = now
        total = len(self._scanner.names())
        self._owed = min(self._owed + share * total, total)
        found = set()
        while self._owed >= 1:
            self._owed -= 1
            if not self._queue:
                self._queue = sorted(self._scanner.names(), reverse=True)
            name = self._queue.pop()
            if self._scanner.is_different(name):
                found.add(name)
        return found

    def arrivals(self, now: float, interval: float) -> set[str]:
        """Return the plugins that appeared or disappeared, if the root changed or the interval is over."""
        facts = self._root_facts()
        if facts == self._facts:
            if now - self._listed_at < interval:
                return set()
            self._listed_at = now
            return self._scanner.moved() if self._scanner.has_strangers() else set()
        self._listed_at = now
        # Another change within the clock's grain would leave the same facts: check again next time.
        is_racy = facts is not None and time_ns() - facts[2] < _GRAIN
        self._facts = None if is_racy else facts
        return self._scanner.moved()

    def has_other_root(self) -> bool:
        """Return whether the root is another directory than at the last call."""
        facts = self._root_facts()
        before, self._directory = self._directory, facts and facts[:2]
        return before != self._directory

    def _root_facts(self) -> _RootFacts | None:
        try:
            found = self._root.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns
