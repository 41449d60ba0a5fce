"""The folder ``compiled/``, which several processes share: its files, its trash and its records.

A process that publishes an artifact takes a shared lock on the folder; a process that removes files or
changes the record takes an exclusive lock. The kernel holds the lock on the folder itself, so the lock leaves
no file behind and ends with its process.

``compiled/trash/<when>/`` contains the artifacts that one command removed. The trash keeps the newest 5
commands, up to 64 MiB.

``last-good.json`` records, for each plugin, which artifacts were live last, whether the plugin is held, and
which versions are barred from loading or suspected. With it, a cold start with a broken source runs the last
good artifact, a version that kills its host gives way to the previous good one, and a hold survives its host.
Each process changes only the entries of its own plugins.

``sources.json`` maps unchanged sources to their digests, so that they need not be read. If it is missing,
damaged or out of date, the sources are read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from hotload_tui.core.errors import ArtifactError, near
from hotload_tui.core.layout import DEFAULT, Layout
from hotload_tui.core.model import Fault, HistoryEntry
from hotload_tui.core.primitives import Lock, time_ns
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
_DRAFT = (".hotload-", ".tmp")  # prefix and suffix of a file that is being written
_LONGEST_STEM = 200  # bytes of a plugin's name in an artifact's name


def artifact_name(plugin: str, digest: str) -> str:
    """Return the file name of the artifact of ``plugin`` at ``digest``."""
    return f"{_stem(plugin)}-{digest[:DIGITS]}{SUFFIX}"


def find_artifacts(folder: Path, plugins: Iterable[str] | None = None) -> dict[str, list[Path]]:
    """Return the artifacts of each of these plugins, newest first.

    Without ``plugins``, return all artifacts by the plugin name in their file names, which is a hash for a
    long name.

    Raises:
        ArtifactError: the folder cannot be listed.

    """
    wanted = None if plugins is None else {_stem(plugin): plugin for plugin in plugins}
    found: dict[str, list[tuple[int, Path]]] = {}
    try:
        names = os.listdir(folder)  # noqa: PTH208 - only names are needed, and the folder may be large
    except (FileNotFoundError, NotADirectoryError):
        return {}  # no artifacts yet; a write reports it if the folder cannot be created
    except OSError as error:
        raise ArtifactError(f"cannot list {near(folder)}: {error.strerror}") from error
    starts = tuple(f"{stem}-" for stem in wanted) if wanted is not None else ("",)
    for name in names:
        is_likely = name.endswith(SUFFIX) and name.startswith(starts)
        match = _NAME.fullmatch(name) if is_likely else None
        owner = match and (match[1] if wanted is None else wanted.get(match[1]))
        if owner:
            path = folder / name
            with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):  # a folder or link with this name is no artifact
                    found.setdefault(owner, []).append((facts.st_mtime_ns, path))
    return {owner: [path for _, path in sorted(own, reverse=True)] for owner, own in found.items()}


def remove(folder: Path, paths: Iterable[Path]) -> int:
    """Remove files while no process publishes any; return their number. Raises ``ArtifactError``."""
    with locked(folder):
        return _each(paths, Path.unlink)


def _each(paths: Iterable[Path], remove_one: Callable[[Path], object]) -> int:
    count = 0
    for path in paths:
        try:
            remove_one(path)
        except FileNotFoundError:
            continue  # another process has just removed it
        except OSError as error:
            raise ArtifactError(f"cannot remove {near(path)}: {error.strerror}") from error
        count += 1
    return count


def make_private(folder: Path) -> None:
    """Create a folder to which only this user can write, whatever the umask: its code runs as this user."""
    if not folder.parent.exists():
        make_private(folder.parent)
    is_new = not folder.exists()
    folder.mkdir(mode=0o755, exist_ok=True)
    if is_new:
        _give(folder, folder.parent)


def _give(thing: Path | int, folder: Path) -> None:
    """Give what the administrator creates in a folder to its owner, as in a project mounted into a container.

    Otherwise the owner cannot read it, nor replace a record.
    """
    if sys.platform != "win32" and os.geteuid() == 0:
        with contextlib.suppress(OSError):  # some file systems have fixed owners
            os.chown(thing, folder.stat().st_uid, -1, follow_symlinks=type(thing) is int)


def replace_file(
    target: Path, content: bytes | Callable[[BinaryIO], None], *, is_durable: bool = True
) -> None:
    """Write ``content`` to ``target`` atomically: no reader sees a part of it, even if this process dies.

    ``content`` can be a function that writes it.

    With ``is_durable`` the function waits for the disk, so that this also holds after a power failure. A
    missing folder is created.
    """
    prefix, suffix = _DRAFT
    try:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
    except FileNotFoundError:
        make_private(target.parent)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _give(handle, target.parent)
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""The errors of a disk that may pass: no space, no space for this user, a read-only file system."""

_ROOM = 1 << 16  # bytes; most artifacts are smaller


def has_room(folder: Path) -> bool:
    """Return whether a file can be written into ``folder``, by writing one."""
    probe = folder / "room".join(_DRAFT)
    try:
        replace_file(probe, bytes(_ROOM), is_durable=False)
        probe.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def make_durable(paths: Iterable[Path]) -> None:
    """Wait until these files are on the disk; skip files that are gone or cannot be synced."""
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files of killed processes, unless another process holds the folder's lock."""
    prefix, suffix = _DRAFT
    with locked(folder, wait=False) as is_alone, contextlib.suppress(OSError):
        if is_alone:  # else the next start removes them
            for path in list(folder.glob(f"{prefix}*{suffix}")):
                path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, *, is_shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Keep other users of ``folder`` from removing files in it and, unless shared, from publishing any.

    Yields whether the lock is held: some systems and file systems have none.
    """
    if sys.platform == "win32":
        yield False
        return
    handle = -1
    is_held = False
    with contextlib.suppress(OSError):  # no folder, permission or lock: each write is still atomic
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        is_held = True
    try:
        yield is_held
    finally:
        if is_held:
            fcntl.flock(handle, fcntl.LOCK_UN)  # else a child process forked meanwhile keeps the lock
        if handle >= 0:
            os.close(handle)


def _stem(plugin: str) -> str:
    # A directory name and a file name may each have 255 bytes, but the file name also has digest and suffix.
    if len(plugin.encode()) <= _LONGEST_STEM:
        return plugin
    return hashlib.sha256(plugin.encode()).hexdigest()


_FOLDER = "trash"
_KEPT = 5  # commands
_LARGEST = 64 * 2**20  # bytes of all commands together; the newest command is always kept


def discard(folder: Path, paths: Iterable[Path], when: str) -> int:
    """Move artifacts of ``folder`` into the trash of the command ``when``; return their number.

    The values of ``when`` must sort in the order of the commands. Raises ``ArtifactError`` if an artifact
    cannot be moved.
    """
    bin_ = folder / _FOLDER / when

    def move(path: Path) -> None:
        make_private(bin_)
        path.replace(bin_ / path.name)

    with locked(folder):
        count = _each(paths, move)
        _prune(folder / _FOLDER)
    return count


def restore(folder: Path, when: str) -> int:
    """Move back the artifacts that a command removed, except those that exist again; return their number.

    Raises ``ArtifactError`` if an artifact cannot be moved.
    """
    count, bin_ = 0, folder / _FOLDER / when
    try:
        with locked(folder):
            for path in sorted(bin_.glob("*")):
                if not (folder / path.name).exists():
                    path.replace(folder / path.name)
                    count += 1
            shutil.rmtree(bin_, ignore_errors=True)
    except OSError as error:
        raise ArtifactError(f"cannot bring back artifacts in {near(folder)}: {error.strerror}") from error
    return count


def _prune(trash: Path) -> None:
    with contextlib.suppress(OSError):  # another process may prune at the same time
        bins = sorted(trash.iterdir(), reverse=True)
        size = 0
        for number, each in enumerate(bins):
            size += sum(path.stat().st_size for path in each.iterdir())
            if number and (number >= _KEPT or size > _LARGEST):
                shutil.rmtree(each, ignore_errors=True)


RECORD = "last-good.json"
FAULTS = "faults.json"

_Kept: TypeAlias = dict[str, dict[str, object]]  # plugin → its entries; unknown keys are kept

_LAST_GOOD, _HOLD, _BARRED, _FAULTS = "last_good", "hold", "barred", "faults"
_SUSPECTED = "suspected"
_WEAK = (_LAST_GOOD, _FAULTS)  # entries that are not worth waiting for the disk: they change often


_KEPT_GOOD = 4  # good artifacts that the record names for each plugin


class Hold(Struct, frozen=True):
    """Keeps a plugin from following its source, until the user releases it or its source changes."""

    source: str
    """Digest of the source that the plugin does not follow."""
    digest: str
    """Digest of the artifact that is live instead; empty if none is live."""
    reason: str
    fault: Fault | None = None
    """The failure of the source, if that is the reason."""
    is_pinned: bool = False
    """Whether the user chose the version: then only the user ends the hold, and a changed source does not."""


class Barred(Struct, frozen=True):
    """Versions of a plugin that must not be loaded, such as versions that killed their host."""

    digests: tuple[str, ...]
    fault: Fault
    """Why the version that was barred last is barred."""


class _Suspected(Struct, frozen=True):
    digest: str
    reason: str


class _Faults(Struct, frozen=True):
    entries: tuple[HistoryEntry, ...]


_T = TypeVar("_T", Hold, Barred, _Suspected, _Faults)
Stamp: TypeAlias = tuple[int, int, int, int]
"""Inode, size in bytes, mtime and ctime in ns; all 0 for a file that is missing."""
_NONE: Stamp = (0, 0, 0, 0)


class _PluginFile:
    """A JSON file in ``compiled_dir`` with entries for each plugin."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: _Kept = {}
        self._stamp = _NONE
        self.read()

    def read(self) -> None:
        """Read the record if its file changed: another process may have written it."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp != _NONE:
            return
        self._stamp = stamp  # from before the read: the next call reads what changes during it
        try:
            self._kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, ValueError, msgspec.DecodeError):
            self._kept = {}  # a missing or damaged file only loses last good digests, holds, bars and faults

    def _entry(self, plugin: str, key: str, kind: type[_T]) -> _T | None:
        found = self._kept.get(plugin, {}).get(key)
        if found is None:  # as for most plugins: a start asks several times for each
            return None
        try:
            return msgspec.convert(found, kind)
        except msgspec.ValidationError:
            return None  # another release wrote it

    def _change(self, key: str, values: Mapping[str, object]) -> None:
        """Set the plugins' values for ``key`` (an empty value removes it); write only what differs."""
        if all(self._kept.get(plugin, {}).get(key) == (value or None) for plugin, value in values.items()):
            return
        try:
            if not self._path.parent.is_dir():
                make_private(self._path.parent)
            with locked(self._path.parent):
                self.read()
                self._stamp = _NONE  # if the write fails, the values in memory are not in the file
                for plugin, value in values.items():
                    facts = {**self._kept.pop(plugin, {}), key: value}
                    if not value:
                        del facts[key]
                    if facts:
                        self._kept[plugin] = facts
                content = msgspec.json.encode(dict(sorted(self._kept.items())))
                replace_file(self._path, content, is_durable=key not in _WEAK)
                self._stamp = stamp_of(self._path)  # the lock keeps other writers out
        except OSError as error:
            self.read()
            raise ArtifactError(f"cannot write {near(self._path)}: {error.strerror}") from error


class Record(_PluginFile):
    """The record of each plugin in ``compiled_dir``: its last good, held, barred and suspected versions."""

    def __init__(self, compiled_dir: Path) -> None:
        super().__init__(compiled_dir / RECORD)

    def last_good(self, plugin: str) -> str:
        """Return the digest of the artifact that was live last; empty if none was."""
        return next(iter(self.good(plugin)), "")

    def good(self, plugin: str) -> tuple[str, ...]:
        """Return the digests of the artifacts that were live and are not barred, the last one first."""
        found = self._kept.get(plugin, {}).get(_LAST_GOOD)
        if isinstance(found, str):  # another release wrote it
            return (found,)
        return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()

    def hold(self, plugin: str) -> Hold | None:
        """Return the plugin's hold, or ``None``."""
        return self._entry(plugin, _HOLD, Hold)

    def barred(self, plugin: str) -> Barred | None:
        """Return the versions of the plugin that must not be loaded, or ``None``."""
        return self._entry(plugin, _BARRED, Barred)

    def set_last_good(self, digests: Mapping[str, str]) -> None:
        """Record the live digests as the last good ones; an empty digest forgets all good ones.

        Raises ``ArtifactError`` if the write fails.
        """
        if all(self.last_good(name) == digest for name, digest in digests.items()):
            return
        self.read()
        self.set_good(
            {name: (digest, *self.good(name)) if digest else () for name, digest in digests.items()}
        )

    def set_good(self, digests: Mapping[str, Iterable[str]]) -> None:
        """Record the good digests of some plugins, the last one first; raises ``ArtifactError``."""
        self._change(_LAST_GOOD, {name: [*dict.fromkeys(own)][:_KEPT_GOOD] for name, own in digests.items()})

    def forget(self, plugin: str | None = None) -> dict[str, tuple[str, ...]]:
        """Forget the good digests of one plugin, or of all, and return them. Raises ``ArtifactError``."""
        self.read()
        known = {name: self.good(name) for name in (self._kept if plugin is None else [plugin])}
        self.set_good(dict.fromkeys(known, ()))
        return {name: digests for name, digests in known.items() if digests}

    def keep(self, plugin: str, hold: Hold | None) -> None:
        """Record a hold on the plugin, or (``None``) its end; raises ``ArtifactError`` if the write fails."""
        self._change(_HOLD, {plugin: msgspec.to_builtins(hold)})

    def bar(self, plugin: str, digest: str, fault: Fault) -> None:
        """Bar one more version from being loaded, so that it is no good one; raises ``ArtifactError``."""
        self.read()
        self.set_good({plugin: [each for each in self.good(plugin) if each != digest]})
        before = self.barred(plugin)
        digests = {*(before.digests if before else ()), digest}
        self._change(_BARRED, {plugin: msgspec.to_builtins(Barred(tuple(sorted(digests)), fault))})

    def unbar(self, plugin: str) -> None:
        """Let every version be loaded again; raises ``ArtifactError`` if the write fails."""
        self._change(_BARRED, {plugin: None})

    def suspect(self, plugin: str, digest: str, reason: str) -> None:
        """Record why a version may have ended its host; raises ``ArtifactError`` if the write fails."""
        self._change(_SUSPECTED, {plugin: msgspec.to_builtins(_Suspected(digest, reason))})

    def unsuspect(self, plugin: str) -> None:
        """Forget such a reason; raises ``ArtifactError`` if the write fails."""
        self._change(_SUSPECTED, {plugin: None})

    def suspicion(self, plugin: str) -> tuple[str, str]:
        """Return the digest of the version that may have ended its host, and the reason; empty for none."""
        found = self._entry(plugin, _SUSPECTED, _Suspected)
        return (found.digest, found.reason) if found is not None else ("", "")


class FaultRecord(_PluginFile):
    """The faults of each plugin's running code, in this host and earlier hosts."""

    def __init__(self, compiled_dir: Path) -> None:
        super().__init__(compiled_dir / FAULTS)

    def faults(self, plugin: str) -> tuple[HistoryEntry, ...]:
        """Return the faults of the plugin's versions, the one that happened last at the end."""
        found = self._entry(plugin, _FAULTS, _Faults)
        return found.entries if found is not None else ()

    def set_faults(self, faults: Mapping[str, tuple[HistoryEntry, ...]]) -> None:
        """Record the faults of these plugins; raises ``ArtifactError`` if the write fails."""
        builtins = {name: msgspec.to_builtins(_Faults(own)) if own else None for name, own in faults.items()}
        self._change(_FAULTS, builtins)


def stamp_of(path: Path) -> Stamp:
    """Return facts that change with each version of the file: each write replaces the file."""
    try:
        facts = path.stat()
    except OSError:
        return _NONE
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


INDEX = "sources.json"

_RECENT = 60_000_000_000  # ns; a second write to a mapped page within this time may not change any fact


class _Known(Struct, frozen=True, array_like=True):
    root: str
    digest: str
    folders: dict[str, tuple[int, int, int, int]]
    files: dict[str, FileFacts | None]


class SourceIndex:
    """The facts and digests of sources that were read, also by earlier processes; safe in any thread."""

    def __init__(self, compiled_dir: Path, ignore: Sequence[str], layout: Layout = DEFAULT) -> None:
        """Read the index; ``ignore`` holds the patterns of files that belong to no plugin."""
        self._layout = layout
        self._path = compiled_dir / INDEX
        # The release that wrote the index may have other rules for a plugin's files and digest.
        rule = repr((FORMAT, MAGIC_NUMBER, NOISE, list(ignore), layout))
        self._rule = hashlib.sha256(rule.encode()).hexdigest()
        self._lock = Lock()
        self._known = self._read()
        self.is_new = False
        """Whether the index has an entry that is not written yet."""

    def find(self, name: str, root: Path) -> Source | None:
        """Return a plugin's source without its files, if the facts of all of them are unchanged."""
        known = self._known.get(name)
        if known is None or known.root != str(root.absolute()):
            return None
        try:
            if not is_as_listed(known.root, Listing(known.folders, known.files, {})):
                return None
        except OSError:
            return None
        now, entry = time_ns(), self._layout.entry_of(root)
        return Source(
            name, known.root, (), known.digest, known.files, folders=known.folders, read_at=now, entry=entry
        )

    def note(self, source: Source) -> None:
        """Remember a source, if every later change of it is sure to change its facts."""
        if sys.platform == "win32":  # where ctime is the time of creation, and shows no write
            return
        is_old = is_older(source.folders, source.facts, source.read_at - _RECENT)
        if not source.folders or not is_old or not all(map(_is_text, (*source.folders, *source.facts))):
            return
        known = _Known(source.root, source.digest, source.folders, source.facts)
        with self._lock:
            self.is_new |= self._known.get(source.name) != known
            self._known[source.name] = known

    def save(self) -> None:
        """Write the index if it has new entries; if that fails, the next host reads the sources again."""
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
