"""The folder of artifacts: names, atomic files, and the manners between processes that share it.

Who publishes shares the folder; who removes, or changes the record of what served, is alone in it. The lock
is the kernel's, on the folder itself: it leaves no file behind and ends with its process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hotload_tui.core.errors import ArtifactError, near

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
