"""The folder ``compiled/``, which several processes share: its files, its trash and its records.

The records say which artifact of each plugin was live last, which plugins are held, and which digest belongs
to sources that nobody touched since.

A process that publishes shares the folder with others; a process that removes files or changes the record
locks it for itself. The lock is the kernel's, on the folder: it leaves no file behind and ends with its
process.

``compiled/trash/<when>/`` has the files that one command removed; the newest few are kept, within a bound.
With the record, a cold start with a broken source runs the last good artifact, and a hold outlives its
host; each process changes only the entries of its own plugins. The index of sources saves reading them:
where it is missing, damaged or out of date, they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from hotload_tui.core.errors import ArtifactError, near
from hotload_tui.core.model import Fault
from hotload_tui.core.source import (
    FORMAT,
    NOISE,
    FileFacts,
    Listing,
    Source,
    is_as_listed,
    is_older,
    printable,
)

if sys.platform != "win32":
    import fcntl

SUFFIX = ".hotplug"
DIGITS = 12
"""Hexadecimal digits of the digest in an artifact's name."""

_NAME = re.compile(rf"(.+)-[0-9a-f]{{{DIGITS}}}{re.escape(SUFFIX)}", re.DOTALL)
_DRAFT = (".hotload-", ".tmp")  # of a file that is being written
_LONGEST_STEM = 200  # bytes of a plugin's name in an artifact's


def artifact_name(plugin: str, digest: str) -> str:
    """Return the file name of the artifact of ``plugin`` at ``digest``."""
    return f"{_stem(plugin)}-{digest[:DIGITS]}{SUFFIX}"


def is_artifact_of(plugin: str, file_name: str) -> bool:
    """Tell whether ``file_name`` is an artifact of just this plugin (``a`` does not own ``a-b``'s)."""
    match = _NAME.fullmatch(file_name)
    return match is not None and match[1] == _stem(plugin)


def artifacts_of(folder: Path, plugin: str) -> list[Path]:
    """Return the plugin's artifacts, newest first; raises ``ArtifactError`` if they cannot be listed."""
    return find_artifacts(folder, [plugin]).get(plugin, [])


def find_artifacts(folder: Path, plugins: Iterable[str] | None = None) -> dict[str, list[Path]]:
    """Return the artifacts of these plugins, or all under the names that they are filed under, newest first.

    Raises:
        ArtifactError: the folder cannot be listed.

    """
    wanted = None if plugins is None else {_stem(plugin): plugin for plugin in plugins}
    found: dict[str, list[tuple[int, Path]]] = {}
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is wanted, of a folder that may be large
    except (FileNotFoundError, NotADirectoryError):
        return {}  # none made yet; that no folder can be made is said when writing
    except OSError as error:
        raise ArtifactError(f"cannot list {near(folder)}: {error.strerror}") from error
    starts = tuple(f"{stem}-" for stem in wanted) if wanted is not None else ("",)
    for name in names:
        is_likely = name.endswith(SUFFIX) and name.startswith(starts)
        match = _NAME.fullmatch(name) if is_likely else None
        owner = match and (match[1] if wanted is None else wanted.get(match[1]))
        if owner:
            path = folder / name
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile by another process
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):  # a folder or link of this name is somebody else's
                    found.setdefault(owner, []).append((facts.st_mtime_ns, path))
    return {owner: [path for _, path in sorted(own, reverse=True)] for owner, own in found.items()}


def remove(folder: Path, paths: Iterable[Path]) -> int:
    """Remove files while nobody publishes any; returns how many. Raises ``ArtifactError``."""
    count = 0
    with alone(folder):
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise ArtifactError(f"cannot remove {near(path)}: {error.strerror}") from error
            count += 1
    return count


def replace_file(target: Path, content: bytes, *, is_durable: bool = True) -> None:
    """Put ``content`` at ``target`` so that no reader, and no process that dies, ever sees half of it.

    ``is_durable``: nor does anybody after a power failure, for which the disk is waited for. A folder that
    is not there is made.
    """
    prefix, suffix = _DRAFT
    try:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_durable(paths: Iterable[Path]) -> None:
    """Wait until the disk has these files; those that are gone, or cannot be waited for, are left out."""
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files of processes that were killed, unless somebody is writing just now."""
    prefix, suffix = _DRAFT
    with _locked(folder, wait=False) as is_alone, contextlib.suppress(OSError):
        if is_alone:  # else the next start will
            for path in list(folder.glob(f"{prefix}*{suffix}")):
                path.unlink(missing_ok=True)


@contextmanager
def sharing(folder: Path) -> Iterator[None]:
    """Keep others from removing anything in ``folder``."""
    with _locked(folder, is_shared=True):
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others from publishing and removing anything in ``folder``; waits for who does."""
    with _locked(folder):
        yield


@contextmanager
def _locked(folder: Path, *, is_shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold the folder's lock, and tell whether it is held: not every system and file system has one."""
    if sys.platform == "win32":
        yield False
        return
    handle = -1
    is_held = False
    with contextlib.suppress(OSError):  # no folder, no permission or no such lock: each file is atomic anyway
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        is_held = True
    try:
        yield is_held
    finally:
        if is_held:
            fcntl.flock(handle, fcntl.LOCK_UN)  # a child forked meanwhile would hold it on
        if handle >= 0:
            os.close(handle)


def _stem(plugin: str) -> str:
    # A directory's name may have 255 bytes, and so may a file's, but that one needs room for more.
    if len(plugin.encode()) <= _LONGEST_STEM:
        return plugin
    return hashlib.sha256(plugin.encode()).hexdigest()


_FOLDER = "trash"
_KEPT = 5  # commands
_LARGEST = 64 * 2**20  # bytes, of all but the newest


def discard(folder: Path, paths: Iterable[Path], when: str) -> int:
    """Move artifacts of ``folder`` into the trash of the command ``when``; returns how many.

    ``when`` sorts as the commands came. Raises ``ArtifactError``: one cannot be moved.
    """
    count, bin_ = 0, folder / _FOLDER / when
    with alone(folder):
        for path in paths:
            try:
                bin_.mkdir(parents=True, exist_ok=True)
                path.replace(bin_ / path.name)
            except FileNotFoundError:
                continue  # removed meanwhile by another process
            except OSError as error:
                raise ArtifactError(f"cannot remove {near(path)}: {error.strerror}") from error
            count += 1
        _prune(folder / _FOLDER)
    return count


def restore(folder: Path, when: str) -> int:
    """Move back what a command removed and nobody has made anew; returns how many.

    Raises ``ArtifactError``: one cannot be moved.
    """
    count, bin_ = 0, folder / _FOLDER / when
    try:
        with alone(folder):
            for path in sorted(bin_.glob("*")):
                if not (folder / path.name).exists():
                    path.replace(folder / path.name)
                    count += 1
            shutil.rmtree(bin_, ignore_errors=True)
    except OSError as error:
        raise ArtifactError(f"cannot bring back artifacts in {near(folder)}: {error.strerror}") from error
    return count


def _prune(trash: Path) -> None:
    with contextlib.suppress(OSError):  # another process may be at it, too
        bins = sorted(trash.iterdir(), reverse=True)
        size = 0
        for number, each in enumerate(bins):
            size += sum(path.stat().st_size for path in each.iterdir())
            if number and (number >= _KEPT or size > _LARGEST):
                shutil.rmtree(each, ignore_errors=True)


RECORD = "last-good.json"

_Kept: TypeAlias = dict[str, dict[str, object]]  # plugin → what is kept of it; unknown keys stay

_LAST_GOOD, _HOLD, _BARRED = "last_good", "hold", "barred"


class Hold(Struct, frozen=True):
    """Keeps a plugin from following its source, until that changes or somebody releases it."""

    source: str
    """Digest of the source that is not followed."""
    digest: str
    """Digest of the artifact that serves in its place; empty: none does."""
    reason: str
    fault: Fault | None = None
    """What the source did, if that is why."""


class Barred(Struct, frozen=True):
    """Versions of a plugin that killed their host."""

    digests: tuple[str, ...]
    fault: Fault
    """What the newest of them did."""


_Stamp: TypeAlias = tuple[int, int, int, int]
_NONE: _Stamp = (0, 0, 0, 0)


class Record:
    """What ``compiled_dir`` has on record of each plugin."""

    def __init__(self, compiled_dir: Path) -> None:
        self._path = compiled_dir / RECORD
        self._kept: _Kept = {}
        self._stamp = _NONE
        self.read()

    def read(self) -> None:
        """Look what is on record now: another process may have added to it."""
        stamp = _stamp_of(self._path)
        if stamp == self._stamp != _NONE:
            return
        self._stamp = stamp  # of before: what changes now is read the next time
        try:
            self._kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, ValueError, msgspec.DecodeError):
            self._kept = {}  # a missing or damaged file costs a broken plugin its last good, no more

    def last_good(self, plugin: str) -> str:
        """Return the digest that served last; empty when none did."""
        digest = self._kept.get(plugin, {}).get(_LAST_GOOD)
        return digest if isinstance(digest, str) else ""

    def hold(self, plugin: str) -> Hold | None:
        """Return what keeps the plugin from following its source."""
        kept = self._kept.get(plugin, {}).get(_HOLD)
        try:
            return None if kept is None else msgspec.convert(kept, Hold)
        except msgspec.ValidationError:
            return None

    def barred(self, plugin: str) -> Barred | None:
        """Return which versions of the plugin must not be loaded."""
        kept = self._kept.get(plugin, {}).get(_BARRED)
        try:
            return None if kept is None else msgspec.convert(kept, Barred)
        except msgspec.ValidationError:
            return None

    def serve(self, digests: Mapping[str, str]) -> None:
        """Remember what serves now as the last good; raises ``ArtifactError``: it cannot be written."""
        self._change(_LAST_GOOD, digests)

    def forget(self, plugin: str | None = None) -> dict[str, str]:
        """Forget the last good of one plugin, or of all; returns what it was. Raises ``ArtifactError``."""
        self.read()
        known = {name: self.last_good(name) for name in (self._kept if plugin is None else [plugin])}
        self.serve(dict.fromkeys(known, ""))
        return {name: digest for name, digest in known.items() if digest}

    def keep(self, plugin: str, hold: Hold) -> None:
        """Hold the plugin; raises ``ArtifactError``: it cannot be written."""
        self._change(_HOLD, {plugin: msgspec.to_builtins(hold)})

    def let_go(self, plugin: str) -> None:
        """End the hold; raises ``ArtifactError``: it cannot be written."""
        self._change(_HOLD, {plugin: None})

    def bar(self, plugin: str, digest: str, fault: Fault) -> None:
        """Have one more version not loaded; raises ``ArtifactError``: it cannot be written."""
        self.read()
        before = self.barred(plugin)
        digests = {*(before.digests if before else ()), digest}
        self._change(_BARRED, {plugin: msgspec.to_builtins(Barred(tuple(sorted(digests)), fault))})

    def unbar(self, plugin: str) -> None:
        """Let every version be loaded again; raises ``ArtifactError``: it cannot be written."""
        self._change(_BARRED, {plugin: None})

    def _change(self, key: str, values: Mapping[str, object]) -> None:
        """Set what is kept of plugins under ``key`` (nothing removes it); written only when it differs."""
        if all(self._kept.get(plugin, {}).get(key) == (value or None) for plugin, value in values.items()):
            return
        try:
            if not self._path.parent.is_dir():
                self._path.parent.mkdir(parents=True, exist_ok=True)
            with alone(self._path.parent):
                self.read()
                self._stamp = _NONE  # whatever comes between, it is not on record before it is written
                for plugin, value in values.items():
                    facts = {**self._kept.pop(plugin, {}), key: value}
                    if not value:
                        del facts[key]
                    if facts:
                        self._kept[plugin] = facts
                content = msgspec.json.encode(dict(sorted(self._kept.items())))
                # Each reload comes here: what served last is not worth waiting for the disk.
                replace_file(self._path, content, is_durable=key != _LAST_GOOD)
                self._stamp = _stamp_of(self._path)  # nobody else writes meanwhile
        except OSError as error:
            self.read()
            raise ArtifactError(f"cannot write {near(self._path)}: {error.strerror}") from error


def _stamp_of(path: Path) -> _Stamp:
    """Return what tells one version of a file from the next: each is a new one, never written into."""
    try:
        facts = path.stat()
    except OSError:
        return _NONE
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


INDEX = "sources.json"

_RECENT = 60_000_000_000  # ns: a mapped page that is written twice within less may leave all facts the same


class _Known(Struct, frozen=True, array_like=True):
    root: str
    digest: str
    folders: dict[str, tuple[int, int, int, int]]
    files: dict[str, FileFacts | None]


class SourceIndex:
    """What was read of each plugin, by this process or one before it; safe to use from any thread."""

    def __init__(self, compiled_dir: Path, ignore: Sequence[str]) -> None:
        """Read it; ``ignore`` are the patterns of files that count for no plugin."""
        self._path = compiled_dir / INDEX
        # What belongs to a plugin, and how its digest is made, may differ in the release that wrote it.
        rule = repr((FORMAT, MAGIC_NUMBER, NOISE, list(ignore)))
        self._rule = hashlib.sha256(rule.encode()).hexdigest()
        self._lock = threading.Lock()
        self._known = self._read()
        self.is_new = False
        """Whether something was noted that is not written yet."""

    def find(self, name: str, root: Path) -> Source | None:
        """Return a plugin's source, without its files, if all facts of them are as when they were read."""
        known = self._known.get(name)
        if known is None or known.root != str(root.absolute()):
            return None
        try:
            if not is_as_listed(known.root, Listing(known.folders, known.files, {})):
                return None
        except OSError:
            return None
        now = time.time_ns()
        return Source(name, known.root, (), known.digest, known.files, folders=known.folders, read_at=now)

    def note(self, source: Source) -> None:
        """Remember what was read, if a later change of it is sure to show in its facts."""
        if sys.platform == "win32":  # where ctime is when a file was made: it shows no write
            return
        is_old = is_older(source.folders, source.facts, source.read_at - _RECENT)
        if not source.folders or not is_old or not all(map(_is_text, (*source.folders, *source.facts))):
            return
        known = _Known(source.root, source.digest, source.folders, source.facts)
        with self._lock:
            self.is_new |= self._known.get(source.name) != known
            self._known[source.name] = known

    def save(self) -> None:
        """Write it, if there is something new in it; what cannot be written is read again next time."""
        with self._lock:
            if not self.is_new:
                return
            self.is_new = False
            self._known = {name: known for name, known in self._known.items() if Path(known.root).is_dir()}
            content = msgspec.json.encode(self._known)
        head = f"{self._rule} {hashlib.sha256(content).hexdigest()}\n".encode()
        with contextlib.suppress(OSError):
            replace_file(self._path, head + content, is_durable=False)

    def _read(self) -> dict[str, _Known]:
        try:
            head, _, content = self._path.read_bytes().partition(b"\n")
            if head.decode() != f"{self._rule} {hashlib.sha256(content).hexdigest()}":
                return {}
            return msgspec.json.decode(content, type=dict[str, _Known])
        except (OSError, ValueError, msgspec.DecodeError):
            return {}


def _is_text(path: str) -> bool:
    return printable(path) == path
