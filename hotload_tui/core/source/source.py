"""A plugin's files as they were read, and the digest over them."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterable
from importlib.util import MAGIC_NUMBER, decode_source
from pathlib import Path
from typing import Final

from msgspec import Struct

from hotload_tui.core.errors import DiscoverError, near
from hotload_tui.core.source.rule import ENTRY, SourceRule
from hotload_tui.core.source.scan import FileFacts, Listing, is_as_listed, is_older, scan

FORMAT = 1
"""Counts up when artifacts of an earlier release cannot be read any more."""

_ATTEMPTS = 3
_GRAIN = 2_000_000_000  # ns: the coarsest times that a file system keeps
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NO_PATTERNS: Final = SourceRule()


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
    """In order of path; none where the digest was known without reading them."""
    digest: str
    """64 hexadecimal digits."""
    facts: dict[str, FileFacts | None]
    """By which a later change shows without reading."""
    seconds: float = 0.0
    """What reading took."""
    folders: dict[str, tuple[int, int, int, int]] = {}
    """By which a file that is added later shows without listing; none where that is not known."""
    read_at: int = 0
    """When reading began, in ns since the epoch."""


def read_source(name: str, root: Path, rule: SourceRule = _NO_PATTERNS) -> Source:
    """Read every file of the plugin ``name`` once.

    Raises:
        DiscoverError: there is no readable ``plugin.py``, or another file cannot be read.

    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _read(name, root, rule)
        except FileNotFoundError:
            continue  # a file vanished between listing and reading: an editor at work; look again
    try:
        return _read(name, root, rule)
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


def is_as_read(source: Source, rule: SourceRule = _NO_PATTERNS) -> bool:
    """Tell whether the files on disk are still those that were read; looks at them without reading."""
    try:
        # A folder may have the same times after another change in the same moment.
        if source.folders and is_older(source.folders, {}, source.read_at - _GRAIN):
            listing = Listing(source.folders, source.facts, {})
            if is_as_listed(source.root, listing):
                return True
        return scan(Path(source.root), rule).files == source.facts
    except OSError:
        return False


def read_file(root: Path, relative: str) -> SourceFile:
    """Read one file of the plugin in ``root``; raises ``OSError``."""
    with open(f"{root}/{relative}", "rb") as file:  # noqa: PTH123 - Path takes longer than reading does
        content = file.read()
    return SourceFile(printable(relative), content, hashlib.sha256(content).hexdigest())


def printable(path: str) -> str:
    """Return the name that a file has in manifests and messages, where all is UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def digest_of(files: Iterable[tuple[str, str]]) -> str:
    """Return the digest of a plugin whose files have these (path, SHA-256), in order of path."""
    # Over the sources, never the compiled bytes: marshal's output is not reproducible.
    total = hashlib.sha256(b"%d %b %d" % (FORMAT, MAGIC_NUMBER, sys.flags.optimize))
    for path, sha256 in files:
        total.update(b"%d:%b" % (len(path.encode()), path.encode()))
        total.update(bytes.fromhex(sha256))
    return total.hexdigest()


def _read(name: str, root: Path, rule: SourceRule) -> Source:
    started, read_at = time.perf_counter(), time.time_ns()
    try:
        _check_entry(name, root)
        listing = scan(root, rule)
        facts = listing.files
        files = [read_file(root, relative) for relative, found in facts.items() if found]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(name, error) from None
    files.sort(key=lambda file: file.path)
    digest = digest_of((file.path, file.sha256) for file in files)
    seconds = time.perf_counter() - started
    return Source(name, str(root.absolute()), tuple(files), digest, facts, seconds, listing.folders, read_at)


def _unreadable(name: str, error: OSError) -> DiscoverError:
    return DiscoverError(
        name, f"cannot read {near(error.filename)}: {error.strerror}", file=str(error.filename)
    )


def _check_entry(name: str, root: Path) -> None:
    entry = root / ENTRY
    try:
        if stat.S_ISREG(entry.stat().st_mode):
            return
    except OSError as error:  # is_file() hides all of them from Python 3.14 on
        if error.errno not in _MISSING:
            raise
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
