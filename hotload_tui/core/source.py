"""A plugin's source: which of its files count, their bytes, and the digest over them.

One rule for digest, artifact and watcher: every regular file under the plugin's directory, but for what
``is_noise`` names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER, decode_source
from pathlib import Path

from msgspec import Struct

from hotload_tui.core.errors import DiscoverError, near

ENTRY = "plugin.py"
"""The file that makes a directory a plugin."""

FORMAT = 1
"""Counts up when artifacts of an earlier release cannot be read any more."""

_ATTEMPTS = 3
_NOISE = re.compile(
    r"""\..*                                              # hidden
      | __pycache__ | node_modules | venv
      | .*\.(pyc|pyo|tmp|bak|orig|rej|part|swp|vsctmp|lock)
      | .*~ | \#.*\# | 4913                               # backups and probes of vim, nano, emacs
      | .*___jb_(tmp|old)___                              # JetBrains' safe write
      | sed[A-Za-z0-9]{6}                                 # sed -i
      | .*\.py\.[A-Za-z0-9]{6}                            # Qt's and rsync's temporary files
    """,
    re.VERBOSE,
)


class SourceFile(Struct, frozen=True):
    """One file as it was read."""

    path: str
    """Relative to the plugin's directory, with forward slashes."""
    content: bytes
    sha256: str


class Source(Struct, frozen=True):
    """A plugin's files as they were at one moment."""

    name: str
    root: str
    """Absolute path of the plugin's directory."""
    files: tuple[SourceFile, ...]
    """In order of path."""
    digest: str
    """64 hexadecimal digits."""


def is_noise(name: str) -> bool:
    """Tell whether a file or folder name belongs to an editor, a cache or a build, not to the plugin."""
    return _NOISE.fullmatch(name) is not None


def read_source(name: str, root: Path) -> Source:
    """Read every file of the plugin ``name`` once.

    Raises:
        DiscoverError: there is no readable ``plugin.py``, or another file cannot be read.

    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _read(name, root)
        except FileNotFoundError:
            continue  # a file vanished between listing and reading: an editor at work; look again
    try:
        return _read(name, root)
    except FileNotFoundError as error:
        raise DiscoverError(name, f"{near(error.filename)} vanished while it was read") from None


def check_entry(name: str, root: Path) -> None:
    """Raise ``DiscoverError`` if there is no ``plugin.py`` that could be read; reads nothing of it."""
    try:
        _check_entry(name, root)
    except OSError as error:
        raise _unreadable(name, error) from None


def decoded(content: bytes) -> str:
    """Return the text of a Python file as the compiler reads it; what cannot be decoded is replaced."""
    try:
        return decode_source(content)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return content.decode("utf-8", "replace")


def signature(root: Path) -> frozenset[tuple[str, int, int, int, int]]:
    """Return (path, inode, bytes, mtime, ctime) of every file: it differs if any of them may have changed.

    Empty when the directory cannot be listed; that is for ``read_source`` to explain.
    """
    found = set()
    try:
        for path, relative in _files(root):
            facts = path.stat()
            found.add((relative, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    except OSError:
        return frozenset()
    return frozenset(found)


def _read(name: str, root: Path) -> Source:
    try:
        _check_entry(name, root)
        files = [
            _read_file(path, relative) for path, relative in sorted(_files(root), key=lambda found: found[1])
        ]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(name, error) from None
    return Source(name, str(root.absolute()), tuple(files), _digest(files))


def _unreadable(name: str, error: OSError) -> DiscoverError:
    return DiscoverError(
        name, f"cannot read {near(error.filename)}: {error.strerror}", file=str(error.filename)
    )


def _read_file(path: Path, relative: str) -> SourceFile:
    content = path.read_bytes()
    return SourceFile(relative, content, hashlib.sha256(content).hexdigest())


def _check_entry(name: str, root: Path) -> None:
    entry = root / ENTRY
    if entry.is_file():
        return
    if entry.is_symlink():
        reason = f"{near(entry)} is a link to {entry.readlink()}, which is no file"
    elif entry.is_dir():
        reason = f"{near(entry)} is a directory; it must be a file that defines register(ctx)"
    elif entry.exists():
        reason = f"{near(entry)} is no regular file; it must be a file that defines register(ctx)"
    else:
        missing = f"no {ENTRY} in {near(root)}"
        reason = f"{missing}; add one that defines register(ctx), or rename the directory to _{name}"
    raise DiscoverError(name, reason, file=str(entry))


def _files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield (path, relative path) of each regular file; a folder reached twice through links once."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, onerror=_raise, followlinks=True):
        facts = Path(folder).stat()
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = sorted(name for name in folders if not is_noise(name))
        for name in names:
            path = Path(folder, name)
            if not is_noise(name) and _is_regular(path):
                yield path, _printable(path.relative_to(root).as_posix())


def _raise(error: OSError) -> None:
    raise error  # os.walk leaves out what it cannot list, and a plugin must not shrink in silence


def _is_regular(path: Path) -> bool:
    # A pipe or socket would block whoever reads it; a dangling link is somebody's lock file.
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return False
        raise


def _printable(path: str) -> str:
    # File names need not be UTF-8; manifests and messages must be.
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _digest(files: list[SourceFile]) -> str:
    # Over the sources, never the compiled bytes: marshal's output is not reproducible.
    total = hashlib.sha256(b"%d %b %d" % (FORMAT, MAGIC_NUMBER, sys.flags.optimize))
    for file in files:
        total.update(b"%d:%b" % (len(file.path.encode()), file.path.encode()))
        total.update(bytes.fromhex(file.sha256))
    return total.hexdigest()
